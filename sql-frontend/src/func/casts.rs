//! The casts of `pg_cast`, the conversions through text, and the length coercions of text and time.

use super::CastContext::{Assignment, Explicit, Implicit};
use super::catalog::{Catalog, Options};
use super::context::ContextValue;
use super::kind::*;
use crate::types::datetime::calendar::{self, MICROS_PER_DAY, MICROS_PER_SEC};
use crate::types::{Category, Datum, InputContext, Numeric, PgType, TimeZone, datum_at, length};
use crate::{Result, SqlError, SqlState};
use num_traits::ToPrimitive;
use std::sync::Arc;

pub(super) fn register(c: &mut Catalog) {
    integers(c);
    floats(c);
    numerics(c);
    strings(c);
    times(c);
    object_ids(c);
    through_text(c);
    outputs(c);
    lengths(c);
}

fn range<T>(value: Option<T>, ty: PgType) -> Result<Option<T>> {
    value.map(Some).ok_or_else(|| SqlError::out_of_range(ty.sql_name()))
}

fn integers(c: &mut Catalog) {
    c.cast1::<Int2, Int4>(Implicit, |v| Ok(Some(v.into())));
    c.cast1::<Int2, Int8>(Implicit, |v| Ok(Some(v.into())));
    c.cast1::<Int4, Int8>(Implicit, |v| Ok(Some(v.into())));
    c.cast1::<Int4, Int2>(Assignment, |v| range(v.try_into().ok(), PgType::Int2));
    c.cast1::<Int8, Int2>(Assignment, |v| range(v.try_into().ok(), PgType::Int2));
    c.cast1::<Int8, Int4>(Assignment, |v| range(v.try_into().ok(), PgType::Int4));
    c.cast1::<Int2, Float4>(Implicit, |v| Ok(Some(v.into())));
    c.cast1::<Int2, Float8>(Implicit, |v| Ok(Some(v.into())));
    c.cast1::<Int4, Float4>(Implicit, |v| Ok(Some(v as f32)));
    c.cast1::<Int4, Float8>(Implicit, |v| Ok(Some(v.into())));
    c.cast1::<Int8, Float4>(Implicit, |v| Ok(Some(v as f32)));
    c.cast1::<Int8, Float8>(Implicit, |v| Ok(Some(v as f64)));
    c.cast1::<Int2, Num>(Implicit, |v| Ok(Some(i64::from(v).into())));
    c.cast1::<Int4, Num>(Implicit, |v| Ok(Some(i64::from(v).into())));
    c.cast1::<Int8, Num>(Implicit, |v| Ok(Some(v.into())));
    c.cast1::<Int4, Bool>(Explicit, |v| Ok(Some(v != 0)));
    c.cast1::<Bool, Int4>(Explicit, |v| Ok(Some(v.into())));
    c.cast1::<Int4, Char>(Explicit, |v| match u8::try_from(v) {
        Ok(0) => Ok(Some(String::new())),
        Ok(b) if b.is_ascii() => Ok(Some(char::from(b).to_string())),
        _ => Err(SqlError::out_of_range("\"char\"")),
    });
    c.cast1::<Char, Int4>(Explicit, |v| Ok(Some(v.bytes().next().unwrap_or(0).into())));
}

/// To the nearest integer, ties to even, as C's rint does.
fn rounded<T: TryFrom<i64>>(v: f64, ty: PgType) -> Result<Option<T>> {
    let v = v.round_ties_even();
    // 2^63 is the first float beyond i64.
    let inside = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&v);
    range(if inside { T::try_from(v as i64).ok() } else { None }, ty)
}

fn floats(c: &mut Catalog) {
    c.cast1::<Float4, Int2>(Assignment, |v| rounded(v.into(), PgType::Int2));
    c.cast1::<Float4, Int4>(Assignment, |v| rounded(v.into(), PgType::Int4));
    c.cast1::<Float4, Int8>(Assignment, |v| rounded(v.into(), PgType::Int8));
    c.cast1::<Float8, Int2>(Assignment, |v| rounded(v, PgType::Int2));
    c.cast1::<Float8, Int4>(Assignment, |v| rounded(v, PgType::Int4));
    c.cast1::<Float8, Int8>(Assignment, |v| rounded(v, PgType::Int8));
    c.cast1::<Float4, Float8>(Implicit, |v| Ok(Some(v.into())));
    c.cast1::<Float8, Float4>(Assignment, |v| {
        let narrow = v as f32;
        if narrow.is_infinite() && v.is_finite() {
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
        }
        if narrow == 0.0 && v != 0.0 {
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow"));
        }
        Ok(Some(narrow))
    });
    c.cast1::<Float4, Num>(Assignment, |v| Ok(Some(Numeric::from_float(v.into(), 6))));
    c.cast1::<Float8, Num>(Assignment, |v| Ok(Some(Numeric::from_float(v, 15))));
}

fn whole(v: &Numeric, ty: PgType) -> Result<i64> {
    let what = match v {
        Numeric::Finite { .. } => {
            let Numeric::Finite { digits, .. } = v.round(0) else { return Ok(0) };
            return digits.to_i64().ok_or_else(|| SqlError::out_of_range(ty.sql_name()));
        }
        Numeric::NaN => "NaN",
        _ => "infinity",
    };
    Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot convert {what} to {ty}")))
}

fn numerics(c: &mut Catalog) {
    c.cast1::<Num, Int2>(Assignment, |v| range(whole(&v, PgType::Int2)?.try_into().ok(), PgType::Int2));
    c.cast1::<Num, Int4>(Assignment, |v| range(whole(&v, PgType::Int4)?.try_into().ok(), PgType::Int4));
    c.cast1::<Num, Int8>(Assignment, |v| Ok(Some(whole(&v, PgType::Int8)?)));
    c.cast1::<Num, Float4>(Implicit, |v| {
        let f = v.to_f32();
        if (f.is_infinite() && v.is_finite()) || (f == 0.0 && !v.is_zero()) {
            return Err(float_range(&v, PgType::Float4));
        }
        Ok(Some(f))
    });
    c.cast1::<Num, Float8>(Implicit, |v| {
        let f = v.to_f64();
        if (f.is_infinite() && v.is_finite()) || (f == 0.0 && !v.is_zero()) {
            return Err(float_range(&v, PgType::Float8));
        }
        Ok(Some(f))
    });
}

fn float_range(v: &Numeric, ty: PgType) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("\"{v}\" is out of range for type {ty}"))
}

fn strings(c: &mut Catalog) {
    use PgType as T;
    for (from, to, context) in [
        (T::Text, T::Varchar, Implicit),
        (T::Text, T::Bpchar, Implicit),
        (T::Varchar, T::Text, Implicit),
        (T::Varchar, T::Bpchar, Implicit),
        (T::Name, T::Text, Implicit),
        (T::Name, T::Varchar, Assignment),
        (T::Name, T::Bpchar, Assignment),
        (T::Char, T::Text, Implicit),
        (T::Char, T::Varchar, Assignment),
        (T::Char, T::Bpchar, Assignment),
        (T::Unknown, T::Text, Implicit),
        (T::Unknown, T::Varchar, Implicit),
        (T::Unknown, T::Bpchar, Implicit),
    ] {
        c.relabel(from, to, context);
    }
    let mut name = |from, f: fn(&str) -> String| {
        let body: Body = Arc::new(move |args, rows| {
            let view = Text::view(args[0].array.as_ref())?;
            column::<Name>(rows, |row| Ok((!args[0].is_null(row)).then(|| f(view.value(args[0].row(row))))))
        });
        c.cast_body(from, T::Name, Implicit, Options::default(), body);
    };
    let cut = |s: &str| crate::types::text::truncate_name(s).to_string();
    name(T::Text, cut);
    name(T::Varchar, cut);
    name(T::Bpchar, |s| crate::types::text::truncate_name(s.trim_end_matches(' ')).to_string());
    for from in [T::Text, T::Varchar, T::Bpchar] {
        let body = map1::<Text, Char>(|s| Ok(Some(s.chars().next().map(String::from).unwrap_or_default())));
        c.cast_body(from, T::Char, Assignment, Options::default(), body);
    }
    for to in [T::Text, T::Varchar] {
        let body = map1::<Bpchar, Text>(|s| Ok(Some(s.trim_end_matches(' ').to_string())));
        c.cast_body(T::Bpchar, to, Implicit, Options::default(), body);
    }
    for to in [T::Text, T::Varchar, T::Bpchar] {
        let body = map1::<Bool, Text>(|b| Ok(Some(b.to_string())));
        c.cast_body(T::Bool, to, Assignment, Options::default(), body);
    }
}

fn midnight(days: i32) -> Result<i64> {
    match days {
        i32::MIN => Ok(i64::MIN),
        i32::MAX => Ok(i64::MAX),
        _ => calendar::check_timestamp(i128::from(days) * i128::from(MICROS_PER_DAY))
            .map_err(|_| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")),
    }
}

fn day_of(micros: i64) -> i32 {
    match micros {
        i64::MIN => i32::MIN,
        i64::MAX => i32::MAX,
        _ => calendar::split(micros).0 as i32,
    }
}

/// The instant at which a zone's clocks show `local`.
pub(super) fn to_instant(local: i64, zone: &TimeZone) -> Result<i64> {
    if matches!(local, i64::MIN | i64::MAX) {
        return Ok(local);
    }
    let offset = zone.offset_of_local(local);
    calendar::check_timestamp(i128::from(local) - i128::from(offset) * i128::from(MICROS_PER_SEC))
}

/// What a zone's clocks show at an instant.
pub(super) fn to_local(instant: i64, zone: &TimeZone) -> Result<i64> {
    if matches!(instant, i64::MIN | i64::MAX) {
        return Ok(instant);
    }
    calendar::check_timestamp(
        i128::from(instant) + i128::from(zone.offset_at(instant)) * i128::from(MICROS_PER_SEC),
    )
}

/// A constant text argument as a time zone.
pub(super) fn zone_arg(arg: &Arg) -> Result<TimeZone> {
    if arg.array.is_empty() || arg.array.is_null(0) {
        return Ok(TimeZone::UTC);
    }
    TimeZone::parse(Text::view(arg.array.as_ref())?.value(0))
}

/// Lifts a function of a value and the session's zone.
pub(super) fn zoned<A: Kind, R: Kind>(
    f: for<'a> fn(A::Ref<'a>, &TimeZone) -> Result<Option<R::Owned>>,
) -> Body {
    Arc::new(move |args, rows| {
        let (view, zone) = (A::view(args[0].array.as_ref())?, zone_arg(&args[1])?);
        column::<R>(rows, |row| {
            if args[0].is_null(row) { Ok(None) } else { f(A::get(&view, args[0].row(row))?, &zone) }
        })
    })
}

fn times(c: &mut Catalog) {
    use PgType as T;
    let zone = || Options::hidden([ContextValue::TimeZone]);
    c.cast1::<Date, Timestamp>(Implicit, |d| Ok(Some(midnight(d)?)));
    c.cast1::<Timestamp, Date>(Assignment, |t| Ok(Some(day_of(t))));
    c.cast1::<Timestamp, Time>(Assignment, |t| {
        Ok((!matches!(t, i64::MIN | i64::MAX)).then(|| calendar::split(t).1))
    });
    c.cast1::<Time, Interval>(Implicit, |t| {
        Ok(Some(crate::types::Interval { months: 0, days: 0, micros: t }))
    });
    c.cast1::<Interval, Time>(Assignment, |i| Ok(Some(i.micros.rem_euclid(MICROS_PER_DAY))));
    c.cast_body(
        T::Date,
        T::Timestamptz,
        Implicit,
        zone(),
        zoned::<Date, Timestamptz>(|d, z| Ok(Some(to_instant(midnight(d)?, z)?))),
    );
    c.cast_body(
        T::Timestamp,
        T::Timestamptz,
        Implicit,
        zone(),
        zoned::<Timestamp, Timestamptz>(|t, z| Ok(Some(to_instant(t, z)?))),
    );
    c.cast_body(
        T::Timestamptz,
        T::Timestamp,
        Assignment,
        zone(),
        zoned::<Timestamptz, Timestamp>(|t, z| Ok(Some(to_local(t, z)?))),
    );
    c.cast_body(
        T::Timestamptz,
        T::Date,
        Assignment,
        zone(),
        zoned::<Timestamptz, Date>(|t, z| Ok(Some(day_of(to_local(t, z)?)))),
    );
    c.cast_body(
        T::Timestamptz,
        T::Time,
        Assignment,
        zone(),
        zoned::<Timestamptz, Time>(|t, z| {
            Ok((!matches!(t, i64::MIN | i64::MAX)).then_some(calendar::split(to_local(t, z)?).1))
        }),
    );
}

fn object_ids(c: &mut Catalog) {
    use PgType as T;
    let names = [T::Regclass, T::Regtype, T::Regproc];
    for to in [T::Oid, T::Regclass, T::Regtype, T::Regproc] {
        let small = map1::<Int2, Oid>(|v| Ok(Some(i32::from(v) as u32)));
        let plain = map1::<Int4, Oid>(|v| Ok(Some(v as u32)));
        let wide = map1::<Int8, Oid>(|v| match u32::try_from(v) {
            Ok(oid) => Ok(Some(oid)),
            Err(_) => Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "OID out of range")),
        });
        c.cast_body(T::Int2, to, Implicit, Options::default(), small);
        c.cast_body(T::Int4, to, Implicit, Options::default(), plain);
        c.cast_body(T::Int8, to, Implicit, Options::default(), wide);
    }
    for from in [T::Oid, T::Regclass, T::Regtype, T::Regproc] {
        let plain = map1::<Oid, Int4>(|v| Ok(Some(v as i32)));
        c.cast_body(from, T::Int4, Assignment, Options::default(), plain);
        c.cast_body(from, T::Int8, Assignment, Options::default(), map1::<Oid, Int8>(|v| Ok(Some(v.into()))));
    }
    for name in names {
        c.relabel(name, T::Oid, Implicit);
        c.relabel(T::Oid, name, Implicit);
    }
}

/// Output function, then input function.
fn through_text(c: &mut Catalog) {
    for from in PgType::all() {
        for to in PgType::all() {
            let text = from.category() == Category::String || to.category() == Category::String;
            // Those of arrays are made when they are needed.
            let array = from.element().is_some() || to.element().is_some();
            let skip =
                array || from == to || to == PgType::Unknown || from == PgType::Void || to == PgType::Void;
            if skip || !(text || from == PgType::Unknown) || c.casts.contains_key(&(from, to)) {
                continue;
            }
            let timely =
                |ty| matches!(ty, PgType::Date | PgType::Time | PgType::Timestamp | PgType::Timestamptz);
            let hidden: Vec<ContextValue> = if timely(from) || timely(to) {
                vec![ContextValue::TimeZone, ContextValue::TransactionTime]
            } else {
                Vec::new()
            };
            let name = format!("{}_from_{}", to.name(), from.name());
            let body: Body = Arc::new(move |args, rows| convert(args, rows, from, to));
            let made = c.make(&name, &[from], to, Options::hidden(hidden), body);
            c.io.insert((from, to), made);
        }
    }
}

/// Each type's output function as a function to text.
fn outputs(c: &mut Catalog) {
    for ty in PgType::all().chain(PgType::arrays()) {
        if ty.arrow() == PgType::Text.arrow() {
            continue;
        }
        let hidden: Vec<ContextValue> = if ty.element().unwrap_or(ty) == PgType::Timestamptz {
            vec![ContextValue::TimeZone, ContextValue::TransactionTime]
        } else {
            Vec::new()
        };
        let body: Body = Arc::new(move |args, rows| convert(args, rows, ty, PgType::Text));
        let made = c.make(&format!("{}_out", ty.name()), &[ty], PgType::Text, Options::hidden(hidden), body);
        c.outputs.insert(ty, made);
    }
}

pub(super) fn convert(
    args: &[Arg],
    rows: usize,
    from: PgType,
    to: PgType,
) -> Result<datafusion::arrow::array::ArrayRef> {
    let mut context = InputContext { zone: TimeZone::UTC, now: None };
    if let [_, zone, now] = args {
        let now = Timestamptz::view(now.array.as_ref())?.value(0);
        context = InputContext { zone: zone_arg(zone)?, now: Some(now) };
    }
    let mut text = String::new();
    column_of(to, rows, |row| {
        let value = datum_at(args[0].array.as_ref(), args[0].row(row), from)?;
        if value.is_null() {
            return Ok(Datum::Null);
        }
        text.clear();
        value.write_text(from, &context.zone, &mut text);
        Datum::input(to, &text, -1, &context)
    })
}

fn lengths(c: &mut Catalog) {
    for ty in [
        PgType::Varchar,
        PgType::Bpchar,
        PgType::Time,
        PgType::Timestamp,
        PgType::Timestamptz,
        PgType::Interval,
    ] {
        let body: Body = Arc::new(move |args, rows| {
            let (typmods, explicit) =
                (Int4::view(args[1].array.as_ref())?, Bool::view(args[2].array.as_ref())?);
            column_of(ty, rows, |row| {
                let value = datum_at(args[0].array.as_ref(), args[0].row(row), ty)?;
                let (typmod, cut) = (typmods.value(args[1].row(row)), explicit.value(args[2].row(row)));
                length::coerce(value, ty, typmod, cut)
            })
        });
        let made = c.make(ty.name(), &[ty, PgType::Int4, PgType::Bool], ty, Options::default(), body);
        c.lengths.insert(ty, made);
    }
}

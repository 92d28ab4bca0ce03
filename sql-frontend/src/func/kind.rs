//! How Rust functions read and build Arrow columns: one marker a type, and `mapN`, which lifts a function on values to columns.

use super::pace::Pace;
use crate::types::arrow::{interval_from_native, interval_native};
use crate::types::{self, Datum, Numeric, PgType, to_array};
use crate::{Result, SqlError};
use datafusion::arrow::array::*;
use std::sync::Arc;

/// An argument: a column, or one value that stands for all rows.
#[derive(Clone, Debug)]
pub(crate) struct Arg {
    pub array: ArrayRef,
    pub constant: bool,
}

impl Arg {
    pub(crate) fn row(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(self.row(row))
    }
}

/// A function's work: arguments and number of rows to a column of that many rows.
pub(crate) type Body = Arc<dyn Fn(&[Arg], usize) -> Result<ArrayRef> + Send + Sync>;

/// A type as functions see it.
pub(crate) trait Kind: 'static {
    const TYPE: PgType;
    type View<'a>;
    type Ref<'a>;
    type Owned;
    fn view(array: &dyn Array) -> Result<Self::View<'_>>;
    fn get<'a>(view: &Self::View<'a>, row: usize) -> Result<Self::Ref<'a>>;
    fn build(values: Vec<Option<Self::Owned>>) -> Result<ArrayRef>;

    /// Bytes of a value.
    fn size(_: &Self::Owned) -> usize {
        size_of::<Self::Owned>()
    }
}

/// A column made row by row, at a pace that lets the statement end.
pub(crate) fn column<K: Kind>(
    rows: usize,
    mut value: impl FnMut(usize) -> Result<Option<K::Owned>>,
) -> Result<ArrayRef> {
    let mut pace = Pace::default();
    let mut out = Vec::with_capacity(rows);
    for row in 0..rows {
        let value = value(row)?;
        pace.made(value.as_ref().map_or(0, K::size))?;
        out.push(value);
    }
    K::build(out)
}

/// The same, of a type that is known at run time only.
pub(crate) fn column_of(
    ty: PgType,
    rows: usize,
    mut value: impl FnMut(usize) -> Result<Datum>,
) -> Result<ArrayRef> {
    let mut pace = Pace::default();
    let mut out = Vec::with_capacity(rows);
    for row in 0..rows {
        let value = value(row)?;
        pace.made(value.size())?;
        out.push(value);
    }
    to_array(&out, ty)
}

pub(crate) fn downcast<A: Array + 'static>(array: &dyn Array) -> Result<&A> {
    array.as_any().downcast_ref::<A>().ok_or_else(|| {
        SqlError::internal(format!("a function got an argument as Arrow {}", array.data_type()))
    })
}

macro_rules! primitive {
    ($name:ident, $array:ty, $native:ty) => {
        pub(crate) struct $name;
        impl Kind for $name {
            const TYPE: PgType = PgType::$name;
            type View<'a> = &'a $array;
            type Ref<'a> = $native;
            type Owned = $native;
            fn view(array: &dyn Array) -> Result<&$array> {
                downcast(array)
            }
            fn get<'a>(view: &Self::View<'a>, row: usize) -> Result<Self::Ref<'a>> {
                Ok(view.value(row))
            }
            fn build(values: Vec<Option<$native>>) -> Result<ArrayRef> {
                let array: $array = values.into_iter().collect();
                Ok(Arc::new(array))
            }
        }
    };
}

primitive!(Bool, BooleanArray, bool);
primitive!(Int2, Int16Array, i16);
primitive!(Int4, Int32Array, i32);
primitive!(Int8, Int64Array, i64);
primitive!(Float4, Float32Array, f32);
primitive!(Float8, Float64Array, f64);
primitive!(Date, Date32Array, i32);
primitive!(Time, Time64MicrosecondArray, i64);
primitive!(Timestamp, TimestampMicrosecondArray, i64);
primitive!(Oid, UInt32Array, u32);

macro_rules! text {
    ($name:ident) => {
        pub(crate) struct $name;
        impl Kind for $name {
            const TYPE: PgType = PgType::$name;
            type View<'a> = &'a StringArray;
            type Ref<'a> = &'a str;
            type Owned = String;
            fn view(array: &dyn Array) -> Result<&StringArray> {
                downcast(array)
            }
            fn get<'a>(view: &Self::View<'a>, row: usize) -> Result<Self::Ref<'a>> {
                Ok(view.value(row))
            }
            fn build(values: Vec<Option<String>>) -> Result<ArrayRef> {
                let array: StringArray = values.into_iter().collect();
                Ok(Arc::new(array))
            }
            fn size(value: &String) -> usize {
                value.len()
            }
        }
    };
}

text!(Text);
text!(Bpchar);
text!(Name);
text!(Char);

pub(crate) struct Bytea;
impl Kind for Bytea {
    const TYPE: PgType = PgType::Bytea;
    type View<'a> = &'a BinaryArray;
    type Ref<'a> = &'a [u8];
    type Owned = Vec<u8>;
    fn view(array: &dyn Array) -> Result<&BinaryArray> {
        downcast(array)
    }
    fn get<'a>(view: &Self::View<'a>, row: usize) -> Result<Self::Ref<'a>> {
        Ok(view.value(row))
    }
    fn build(values: Vec<Option<Vec<u8>>>) -> Result<ArrayRef> {
        let array: BinaryArray = values.into_iter().collect();
        Ok(Arc::new(array))
    }
    fn size(value: &Vec<u8>) -> usize {
        value.len()
    }
}

pub(crate) struct Num;
impl Kind for Num {
    const TYPE: PgType = PgType::Numeric;
    type View<'a> = &'a BinaryArray;
    type Ref<'a> = Numeric;
    type Owned = Numeric;
    fn view(array: &dyn Array) -> Result<&BinaryArray> {
        downcast(array)
    }
    fn get<'a>(view: &Self::View<'a>, row: usize) -> Result<Self::Ref<'a>> {
        Numeric::decode(view.value(row))
    }
    fn build(values: Vec<Option<Numeric>>) -> Result<ArrayRef> {
        let mut builder = BinaryBuilder::with_capacity(values.len(), values.len() * 12);
        let mut buffer = Vec::new();
        for value in values {
            match value {
                None => builder.append_null(),
                Some(n) => {
                    buffer.clear();
                    n.write_encoding(&mut buffer);
                    builder.append_value(&buffer);
                }
            }
        }
        Ok(Arc::new(builder.finish()))
    }
    fn size(value: &Numeric) -> usize {
        value.size()
    }
}

pub(crate) struct Uuid;
impl Kind for Uuid {
    const TYPE: PgType = PgType::Uuid;
    type View<'a> = &'a FixedSizeBinaryArray;
    type Ref<'a> = [u8; 16];
    type Owned = [u8; 16];
    fn view(array: &dyn Array) -> Result<&FixedSizeBinaryArray> {
        downcast(array)
    }
    fn get<'a>(view: &Self::View<'a>, row: usize) -> Result<Self::Ref<'a>> {
        view.value(row).try_into().map_err(|_| SqlError::internal("a uuid of wrong length"))
    }
    fn build(values: Vec<Option<[u8; 16]>>) -> Result<ArrayRef> {
        let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
        for value in values {
            match value {
                Some(v) => builder.append_value(v)?,
                None => builder.append_null(),
            }
        }
        Ok(Arc::new(builder.finish()))
    }
}

pub(crate) struct Timestamptz;
impl Kind for Timestamptz {
    const TYPE: PgType = PgType::Timestamptz;
    type View<'a> = &'a TimestampMicrosecondArray;
    type Ref<'a> = i64;
    type Owned = i64;
    fn view(array: &dyn Array) -> Result<&TimestampMicrosecondArray> {
        downcast(array)
    }
    fn get<'a>(view: &Self::View<'a>, row: usize) -> Result<Self::Ref<'a>> {
        Ok(view.value(row))
    }
    fn build(values: Vec<Option<i64>>) -> Result<ArrayRef> {
        let array: TimestampMicrosecondArray = values.into_iter().collect();
        Ok(Arc::new(array.with_data_type(PgType::Timestamptz.arrow())))
    }
}

pub(crate) struct Interval;
impl Kind for Interval {
    const TYPE: PgType = PgType::Interval;
    type View<'a> = &'a IntervalMonthDayNanoArray;
    type Ref<'a> = types::Interval;
    type Owned = types::Interval;
    fn view(array: &dyn Array) -> Result<&IntervalMonthDayNanoArray> {
        downcast(array)
    }
    fn get<'a>(view: &Self::View<'a>, row: usize) -> Result<Self::Ref<'a>> {
        Ok(interval_from_native(view.value(row)))
    }
    fn build(values: Vec<Option<types::Interval>>) -> Result<ArrayRef> {
        let array: IntervalMonthDayNanoArray =
            values.iter().map(|v| v.as_ref().map(interval_native)).collect::<Vec<_>>().into();
        Ok(Arc::new(array))
    }
}

/// Lifts a function of N values to columns; a null among the arguments makes the row null, without a call.
macro_rules! lift {
    ($name:ident; $($kind:ident $arg:ident $index:literal),*) => {
        pub(crate) fn $name<$($kind: Kind,)* Out: Kind>(
            f: for<'a> fn($($kind::Ref<'a>),*) -> Result<Option<Out::Owned>>,
        ) -> Body {
            Arc::new(move |args, rows| {
                $(let $arg = $kind::view(args[$index].array.as_ref())?;)*
                column::<Out>(rows, |row| {
                    if $(args[$index].is_null(row))||* {
                        return Ok(None);
                    }
                    f($($kind::get(&$arg, args[$index].row(row))?),*)
                })
            })
        }
    };
}

lift!(map1; A a 0);
lift!(map2; A a 0, B b 1);
lift!(map3; A a 0, B b 1, C c 2);
lift!(map4; A a 0, B b 1, C c 2, D d 3);
lift!(map6; A a 0, B b 1, C c 2, D d 3, E e 4, F g 5);

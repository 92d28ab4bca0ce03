//! Floating point: IEEE arithmetic with PostgreSQL's overflow, underflow and domain errors.

use super::catalog::{Catalog, Options};
use super::kind::*;
use crate::types::PgType;
use crate::{Result, SqlError, SqlState};

fn overflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

fn underflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow")
}

/// A result that is infinite though nothing that went in was, or zero though nothing was.
fn checked(value: f64, infinite_in: bool, zero_in: bool) -> Result<Option<f64>> {
    if value.is_infinite() && !infinite_in {
        return Err(overflow());
    }
    if value == 0.0 && !zero_in {
        return Err(underflow());
    }
    Ok(Some(value))
}

macro_rules! width {
    ($c:ident, $kind:ident, $native:ty, $other:expr) => {{
        const T: PgType = PgType::$kind;
        let c: &mut Catalog = $c;
        let checked = |v: $native, infinite: bool, zero: bool| -> Result<Option<$native>> {
            if v.is_infinite() && !infinite {
                return Err(overflow());
            }
            if v == 0.0 && !zero {
                return Err(underflow());
            }
            Ok(Some(v))
        };
        let _ = checked;
        let arithmetic: [(&'static str, for<'a> fn($native, $native) -> Result<Option<$native>>); 4] = [
            ("+", |a, b| {
                let v = a + b;
                if v.is_infinite() && a.is_finite() && b.is_finite() { Err(overflow()) } else { Ok(Some(v)) }
            }),
            ("-", |a, b| {
                let v = a - b;
                if v.is_infinite() && a.is_finite() && b.is_finite() { Err(overflow()) } else { Ok(Some(v)) }
            }),
            ("*", |a, b| {
                let v = a * b;
                if v.is_infinite() && a.is_finite() && b.is_finite() {
                    return Err(overflow());
                }
                if v == 0.0 && a != 0.0 && b != 0.0 { Err(underflow()) } else { Ok(Some(v)) }
            }),
            ("/", |a, b| {
                if b == 0.0 && !a.is_nan() {
                    return Err(SqlError::division_by_zero());
                }
                let v = a / b;
                if v.is_infinite() && a.is_finite() {
                    return Err(overflow());
                }
                if v == 0.0 && a != 0.0 && b.is_finite() { Err(underflow()) } else { Ok(Some(v)) }
            }),
        ];
        for (name, f) in arithmetic {
            let body = map2::<$kind, $kind, $kind>(f);
            c.operator(name, &[T, T], T, Options::default(), body.clone());
            if let Some(other) = $other {
                let mixed = || Options { work: Some(vec![T, T]), ..Options::default() };
                c.operator(name, &[T, other], T, mixed(), body.clone());
                c.operator(name, &[other, T], T, mixed(), body.clone());
            }
        }
        c.op1::<$kind, $kind>("-", |a| Ok(Some(-a)));
        c.op1::<$kind, $kind>("+", |a| Ok(Some(a)));
        c.op1::<$kind, $kind>("@", |a| Ok(Some(a.abs())));
        c.fn1::<$kind, $kind>("abs", |a| Ok(Some(a.abs())));
    }};
}

pub(super) fn register(c: &mut Catalog) {
    width!(c, Float4, f32, None::<PgType>);
    width!(c, Float8, f64, Some(PgType::Float4));
    c.op2::<Float8, Float8, Float8>("^", power);
    c.fn2::<Float8, Float8, Float8>("power", power);
    c.fn2::<Float8, Float8, Float8>("pow", power);
    c.fn1::<Float8, Float8>("sqrt", square_root);
    c.op1::<Float8, Float8>("|/", square_root);
    c.fn1::<Float8, Float8>("cbrt", |x| Ok(Some(x.cbrt())));
    c.op1::<Float8, Float8>("||/", |x| Ok(Some(x.cbrt())));
    c.fn1::<Float8, Float8>("exp", |x| {
        if x.is_nan() || x.is_infinite() {
            return Ok(Some(x.exp()));
        }
        checked(x.exp(), false, false)
    });
    c.fn1::<Float8, Float8>("ln", |x| Ok(Some(logarithm(x)?.ln())));
    c.fn1::<Float8, Float8>("log", |x| Ok(Some(logarithm(x)?.log10())));
    c.fn1::<Float8, Float8>("log10", |x| Ok(Some(logarithm(x)?.log10())));
    for name in ["ceil", "ceiling"] {
        c.fn1::<Float8, Float8>(name, |x| Ok(Some(x.ceil())));
    }
    c.fn1::<Float8, Float8>("floor", |x| Ok(Some(x.floor())));
    c.fn1::<Float8, Float8>("round", |x| Ok(Some(x.round_ties_even())));
    c.fn1::<Float8, Float8>("trunc", |x| Ok(Some(x.trunc())));
    c.fn1::<Float8, Float8>("sign", |x| {
        Ok(Some(if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }))
    });
    c.fn1::<Float8, Float8>("degrees", |x| Ok(Some(x / (std::f64::consts::PI / 180.0))));
    c.fn1::<Float8, Float8>("radians", |x| Ok(Some(x * (std::f64::consts::PI / 180.0))));
    c.function(
        "pi",
        &[],
        PgType::Float8,
        Options::default(),
        std::sync::Arc::new(|_, rows| Float8::build(vec![Some(std::f64::consts::PI); rows])),
    );
    let periodic: [(&'static str, for<'a> fn(f64) -> Result<Option<f64>>); 4] = [
        ("sin", |x| Ok(Some(finite(x)?.sin()))),
        ("cos", |x| Ok(Some(finite(x)?.cos()))),
        ("tan", |x| Ok(Some(finite(x)?.tan()))),
        ("cot", |x| Ok(Some(1.0 / finite(x)?.tan()))),
    ];
    for (name, f) in periodic {
        c.fn1::<Float8, Float8>(name, f);
    }
    c.fn1::<Float8, Float8>("asin", |x| Ok(Some(unit(x)?.asin())));
    c.fn1::<Float8, Float8>("acos", |x| Ok(Some(unit(x)?.acos())));
    c.fn1::<Float8, Float8>("atan", |x| Ok(Some(x.atan())));
    c.fn2::<Float8, Float8, Float8>("atan2", |y, x| Ok(Some(y.atan2(x))));
    c.fn1::<Float8, Float8>("sinh", |x| Ok(Some(x.sinh())));
    c.fn1::<Float8, Float8>("cosh", |x| Ok(Some(x.cosh())));
    c.fn1::<Float8, Float8>("tanh", |x| Ok(Some(x.tanh())));
}

fn out_of_domain() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

fn finite(x: f64) -> Result<f64> {
    if x.is_infinite() { Err(out_of_domain()) } else { Ok(x) }
}

fn unit(x: f64) -> Result<f64> {
    if x.abs() > 1.0 { Err(out_of_domain()) } else { Ok(x) }
}

fn square_root(x: f64) -> Result<Option<f64>> {
    if x < 0.0 {
        return Err(SqlError::new(
            SqlState::INVALID_ARGUMENT_FOR_POWER,
            "cannot take square root of a negative number",
        ));
    }
    Ok(Some(x.sqrt()))
}

fn logarithm(x: f64) -> Result<f64> {
    let bad = |m: &str| Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, m));
    if x == 0.0 {
        return bad("cannot take logarithm of zero");
    }
    if x < 0.0 { bad("cannot take logarithm of a negative number") } else { Ok(x) }
}

fn power(x: f64, y: f64) -> Result<Option<f64>> {
    let bad = |m: &str| Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, m));
    if x.is_nan() || y.is_nan() {
        let one = (x == 1.0) || (y == 0.0);
        return Ok(Some(if one { 1.0 } else { f64::NAN }));
    }
    if x == 0.0 && y < 0.0 {
        return bad("zero raised to a negative power is undefined");
    }
    if x < 0.0 && y.floor() != y {
        return bad("a negative number raised to a non-integer power yields a complex result");
    }
    let v = x.powf(y);
    if x.is_infinite() || y.is_infinite() {
        return Ok(Some(v));
    }
    checked(v, false, x == 0.0)
}

//! Operators and functions on exact numerics.

use super::catalog::{Catalog, Options};
use super::kind::*;
use crate::types::{Numeric, PgType};
use crate::{Result, SqlError, SqlState};
use num_bigint::BigInt;
use num_traits::ToPrimitive;
use std::sync::Arc;

type Binary = for<'a> fn(Numeric, Numeric) -> Result<Option<Numeric>>;
type Unary = for<'a> fn(Numeric) -> Result<Option<Numeric>>;

pub(super) fn register(c: &mut Catalog) {
    let operators: [(&'static str, Binary); 6] = [
        ("+", |a, b| Ok(Some(a.add(&b)?))),
        ("-", |a, b| Ok(Some(a.sub(&b)?))),
        ("*", |a, b| Ok(Some(a.mul(&b)?))),
        ("/", |a, b| Ok(Some(a.div(&b)?))),
        ("%", |a, b| Ok(Some(a.rem(&b)?))),
        ("^", |a, b| Ok(Some(a.power(&b)?))),
    ];
    for (name, f) in operators {
        c.op2::<Num, Num, Num>(name, f);
    }
    let two: [(&'static str, Binary); 6] = [
        ("mod", |a, b| Ok(Some(a.rem(&b)?))),
        ("power", |a, b| Ok(Some(a.power(&b)?))),
        ("pow", |a, b| Ok(Some(a.power(&b)?))),
        ("div", |a, b| Ok(Some(a.div_trunc(&b)?))),
        ("log", |base, x| Ok(Some(x.log(&base)?))),
        ("gcd", |a, b| Ok(Some(a.gcd(&b)))),
    ];
    for (name, f) in two {
        c.fn2::<Num, Num, Num>(name, f);
    }
    c.fn2::<Num, Num, Num>("lcm", |a, b| Ok(Some(a.lcm(&b)?)));
    let one: [(&'static str, Unary); 13] = [
        ("abs", |a| Ok(Some(a.abs()))),
        ("ceil", |a| Ok(Some(a.ceil()))),
        ("ceiling", |a| Ok(Some(a.ceil()))),
        ("floor", |a| Ok(Some(a.floor()))),
        ("round", |a| Ok(Some(a.round(0)))),
        ("trunc", |a| Ok(Some(a.trunc(0)))),
        ("sign", |a| Ok(Some(if a.is_nan() { a } else { Numeric::new(a.signum(), 0) }))),
        ("sqrt", |a| Ok(Some(a.sqrt()?))),
        ("exp", |a| Ok(Some(a.exp()?))),
        ("ln", |a| Ok(Some(a.ln()?))),
        ("log", |a| Ok(Some(a.log(&Numeric::new(10, 0))?))),
        ("log10", |a| Ok(Some(a.log(&Numeric::new(10, 0))?))),
        ("trim_scale", |a| Ok(Some(a.trim_scale()))),
    ];
    for (name, f) in one {
        c.fn1::<Num, Num>(name, f);
    }
    c.op1::<Num, Num>("-", |a| Ok(Some(a.neg())));
    c.op1::<Num, Num>("+", |a| Ok(Some(a)));
    c.op1::<Num, Num>("@", |a| Ok(Some(a.abs())));
    c.fn2::<Num, Int4, Num>("round", |a, n| Ok(Some(a.round(n))));
    c.fn2::<Num, Int4, Num>("trunc", |a, n| Ok(Some(a.trunc(n))));
    c.fn1::<Num, Int4>("scale", |a| Ok(a.is_finite().then(|| a.scale() as i32)));
    c.fn1::<Num, Int4>("min_scale", |a| Ok(a.min_scale().map(|s| s as i32)));
    c.fn4::<Num, Num, Num, Int4, Int4>("width_bucket", width_bucket);
    // Length coercion of numeric(p,s).
    let body: Body = {
        let lifted = map3::<Num, Int4, Bool, Num>(|a, typmod, _| Ok(Some(a.with_typmod(typmod)?)));
        Arc::new(move |args, rows| lifted(args, rows))
    };
    let params = [PgType::Numeric, PgType::Int4, PgType::Bool];
    let made = c.make("numeric", &params, PgType::Numeric, Options::default(), body);
    c.lengths.insert(PgType::Numeric, made);
}

fn width_bucket(x: Numeric, low: Numeric, high: Numeric, count: i32) -> Result<Option<i32>> {
    let bad = |m: &str| SqlError::new(SqlState::INVALID_ARGUMENT_FOR_WIDTH_BUCKET, m);
    if count <= 0 {
        return Err(bad("count must be greater than zero"));
    }
    if x.is_nan() || low.is_nan() || high.is_nan() {
        return Err(bad("operand, lower bound, and upper bound cannot be NaN"));
    }
    if !low.is_finite() || !high.is_finite() {
        return Err(bad("lower and upper bounds must be finite"));
    }
    let direction = low.compare(&high);
    if direction.is_eq() {
        return Err(bad("lower bound cannot equal upper bound"));
    }
    // Mirror a falling range into a rising one.
    let (x, low, high) = if direction.is_gt() { (x.neg(), low.neg(), high.neg()) } else { (x, low, high) };
    if x.compare(&low).is_lt() {
        return Ok(Some(0));
    }
    if x.compare(&high).is_ge() {
        return match count.checked_add(1) {
            Some(last) => Ok(Some(last)),
            None => Err(SqlError::out_of_range("integer")),
        };
    }
    let share = x.sub(&low)?.mul(&Numeric::new(BigInt::from(count), 0))?.div_trunc(&high.sub(&low)?)?;
    let Numeric::Finite { digits, .. } = share else { return Ok(None) };
    Ok(Some(digits.to_i32().unwrap_or(count - 1) + 1))
}

//! Integer arithmetic: checked, in the width PostgreSQL computes in.

use super::catalog::{Catalog, Options};
use super::kind::*;
use crate::types::{Numeric, PgType};
use crate::{Result, SqlError, SqlState};

fn checked<T>(value: Option<T>, ty: PgType) -> Result<Option<T>> {
    match value {
        Some(v) => Ok(Some(v)),
        None => Err(SqlError::out_of_range(ty.sql_name())),
    }
}

fn nonzero<T: Default + PartialEq>(divisor: T) -> Result<T> {
    if divisor == T::default() { Err(SqlError::division_by_zero()) } else { Ok(divisor) }
}

/// Everything that exists once for each width.
macro_rules! width {
    ($c:ident, $kind:ident, $native:ty, [$($other:ident),*]) => {{
        const T: PgType = PgType::$kind;
        let c: &mut Catalog = $c;
        let arithmetic: [(&'static str, for<'a> fn($native, $native) -> Result<Option<$native>>); 8] = [
            ("+", |a, b| checked(a.checked_add(b), T)),
            ("-", |a, b| checked(a.checked_sub(b), T)),
            ("*", |a, b| checked(a.checked_mul(b), T)),
            ("/", |a, b| checked(a.checked_div(nonzero(b)?), T)),
            // The least integer modulo −1 is 0, not an overflow.
            ("%", |a, b| Ok(Some(a.checked_rem(nonzero(b)?).unwrap_or(0)))),
            ("&", |a, b| Ok(Some(a & b))),
            ("|", |a, b| Ok(Some(a | b))),
            ("#", |a, b| Ok(Some(a ^ b))),
        ];
        for (i, (name, f)) in arithmetic.into_iter().enumerate() {
            let body = map2::<$kind, $kind, $kind>(f);
            c.operator(name, &[T, T], T, Options::default(), body.clone());
            // Between widths: computed in the wider one. Bit operators have no such forms.
            if i < 4 {
                $(
                    let mixed = || Options { work: Some(vec![T, T]), ..Options::default() };
                    c.operator(name, &[T, PgType::$other], T, mixed(), body.clone());
                    c.operator(name, &[PgType::$other, T], T, mixed(), body.clone());
                )*
            }
            if name == "%" {
                c.function("mod", &[T, T], T, Options::default(), body);
            }
        }
        c.op1::<$kind, $kind>("-", |a| checked(a.checked_neg(), T));
        c.op1::<$kind, $kind>("+", |a| Ok(Some(a)));
        c.op1::<$kind, $kind>("~", |a| Ok(Some(!a)));
        c.op1::<$kind, $kind>("@", |a| checked(a.checked_abs(), T));
        c.fn1::<$kind, $kind>("abs", |a| checked(a.checked_abs(), T));
        c.op2::<$kind, Int4, $kind>("<<", |a, n| Ok(Some(a.wrapping_shl(n as u32))));
        c.op2::<$kind, Int4, $kind>(">>", |a, n| Ok(Some(a.wrapping_shr(n as u32))));
    }};
}

pub(super) fn register(c: &mut Catalog) {
    width!(c, Int2, i16, []);
    width!(c, Int4, i32, [Int2]);
    width!(c, Int8, i64, [Int2, Int4]);
    c.fn2::<Int4, Int4, Int4>("gcd", |a, b| {
        checked(gcd(i64::from(a), i64::from(b)).and_then(|g| i32::try_from(g).ok()), PgType::Int4)
    });
    c.fn2::<Int8, Int8, Int8>("gcd", |a, b| checked(gcd(a, b), PgType::Int8));
    c.fn2::<Int4, Int4, Int4>("lcm", |a, b| {
        checked(lcm(i64::from(a), i64::from(b)).and_then(|g| i32::try_from(g).ok()), PgType::Int4)
    });
    c.fn2::<Int8, Int8, Int8>("lcm", |a, b| checked(lcm(a, b), PgType::Int8));
    c.fn1::<Int8, Num>("factorial", |n| Ok(Some(Numeric::factorial(n)?)));
    c.fn1::<Int4, Text>("to_hex", |n| Ok(Some(format!("{n:x}"))));
    c.fn1::<Int8, Text>("to_hex", |n| Ok(Some(format!("{n:x}"))));
    c.fn4::<Float8, Float8, Float8, Int4, Int4>("width_bucket", |x, low, high, count| {
        let bad = |m: &str| SqlError::new(SqlState::INVALID_ARGUMENT_FOR_WIDTH_BUCKET, m);
        if count <= 0 {
            return Err(bad("count must be greater than zero"));
        }
        if x.is_nan() || low.is_nan() || high.is_nan() {
            return Err(bad("operand, lower bound, and upper bound cannot be NaN"));
        }
        if low.is_infinite() || high.is_infinite() {
            return Err(bad("lower and upper bounds must be finite"));
        }
        if low == high {
            return Err(bad("lower bound cannot equal upper bound"));
        }
        let (below, beyond, share) = if low < high {
            (x < low, x >= high, (x - low) / (high - low))
        } else {
            (x > low, x <= high, (low - x) / (low - high))
        };
        if below {
            return Ok(Some(0));
        }
        if beyond {
            return checked(count.checked_add(1), PgType::Int4);
        }
        Ok(Some(((share * f64::from(count)) as i32).min(count - 1) + 1))
    });
}

/// `None` when the result is beyond i64 (only of its least value).
fn gcd(a: i64, b: i64) -> Option<i64> {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).ok()
}

fn lcm(a: i64, b: i64) -> Option<i64> {
    if a == 0 || b == 0 {
        return Some(0);
    }
    let divisor = gcd(a, b)?;
    (a / divisor).checked_mul(b)?.checked_abs()
}

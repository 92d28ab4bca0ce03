//! Exact decimals of any size, as PostgreSQL's `numeric`: a value and the number of digits shown after its point.

mod arith;
mod key;
mod math;
mod parse;

pub(crate) use key::NumericBytes;

use num_bigint::{BigInt, Sign};
use num_traits::{ToPrimitive, Zero};
use std::cmp::Ordering;

/// Digits after the point that a numeric can have at most.
pub const MAX_SCALE: u32 = 16383;
/// Digits before the point that a numeric can have at most.
pub const MAX_WEIGHT: u32 = 131_072;

/// `NaN`, an infinity, or `digits × 10^-scale` shown with `scale` digits after the point.
///
/// `PartialEq` tells looks apart (1.0 and 1.00); SQL's equality is [`Numeric::compare`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Numeric {
    NegInfinity,
    Finite { digits: BigInt, scale: u32 },
    Infinity,
    NaN,
}

impl Numeric {
    pub fn new(digits: impl Into<BigInt>, scale: u32) -> Self {
        Numeric::Finite { digits: digits.into(), scale }
    }

    pub fn zero() -> Self {
        Self::new(0, 0)
    }

    pub fn is_zero(&self) -> bool {
        matches!(self, Numeric::Finite { digits, .. } if digits.is_zero())
    }

    /// Bytes of its digits.
    pub fn size(&self) -> usize {
        match self {
            Numeric::Finite { digits, .. } => digits.bits() as usize / 8,
            _ => 0,
        }
    }

    pub fn is_nan(&self) -> bool {
        matches!(self, Numeric::NaN)
    }

    pub fn is_finite(&self) -> bool {
        matches!(self, Numeric::Finite { .. })
    }

    /// −1, 0, 1; NaN counts as positive, as it sorts.
    pub fn signum(&self) -> i32 {
        match self {
            Numeric::NegInfinity => -1,
            Numeric::Finite { digits, .. } => match digits.sign() {
                Sign::Minus => -1,
                Sign::NoSign => 0,
                Sign::Plus => 1,
            },
            Numeric::Infinity | Numeric::NaN => 1,
        }
    }

    /// Digits shown after the point; 0 for what is not finite.
    pub fn scale(&self) -> u32 {
        match self {
            Numeric::Finite { scale, .. } => *scale,
            _ => 0,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Numeric::NegInfinity => 0,
            Numeric::Finite { .. } => 1,
            Numeric::Infinity => 2,
            Numeric::NaN => 3,
        }
    }

    /// SQL's order: −Infinity, the numbers by value, Infinity, NaN.
    pub fn compare(&self, other: &Numeric) -> Ordering {
        match (self, other) {
            (Numeric::Finite { digits: a, scale: s }, Numeric::Finite { digits: b, scale: t }) => {
                if s == t {
                    return a.cmp(b);
                }
                if a.sign() != b.sign() {
                    return a.sign().cmp(&b.sign());
                }
                let top = (*s).max(*t);
                (a * pow10(top - s)).cmp(&(b * pow10(top - t)))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }

    /// The nearest integer, halves away from zero; `None` when it does not fit or is not finite.
    pub fn to_i64(&self) -> Option<i64> {
        match self.round(0) {
            Numeric::Finite { digits, .. } => digits.to_i64(),
            _ => None,
        }
    }

    pub fn to_f64(&self) -> f64 {
        match self {
            Numeric::NegInfinity => f64::NEG_INFINITY,
            Numeric::Infinity => f64::INFINITY,
            Numeric::NaN => f64::NAN,
            Numeric::Finite { digits, scale } => {
                // Correct rounding is the parser's: through text, as PostgreSQL does it.
                format!("{digits}e-{scale}").parse().unwrap_or(f64::NAN)
            }
        }
    }

    pub fn to_f32(&self) -> f32 {
        match self {
            Numeric::Finite { digits, scale } => format!("{digits}e-{scale}").parse().unwrap_or(f32::NAN),
            other => other.to_f64() as f32,
        }
    }
}

impl From<i64> for Numeric {
    fn from(v: i64) -> Self {
        Numeric::new(v, 0)
    }
}

impl From<i128> for Numeric {
    fn from(v: i128) -> Self {
        Numeric::new(v, 0)
    }
}

/// 10^n.
pub(crate) fn pow10(n: u32) -> BigInt {
    if n <= 38 { BigInt::from(10i128.pow(n)) } else { BigInt::from(10).pow(n) }
}

/// Number of decimal digits of |n|; 0 for zero.
pub(crate) fn digit_count(n: &BigInt) -> u32 {
    if n.is_zero() {
        return 0;
    }
    if let Some(small) = n.magnitude().to_u128() {
        return small.ilog10() + 1;
    }
    // log10(2) from below, then corrected by one comparison.
    let estimate = ((n.bits() - 1) as f64 * std::f64::consts::LOG10_2) as u32;
    if n.magnitude() >= pow10(estimate + 1).magnitude() {
        estimate + 2
    } else if n.magnitude() >= pow10(estimate).magnitude() {
        estimate + 1
    } else {
        estimate
    }
}

/// `digits / divisor`, halves away from zero; `divisor` > 0.
pub(crate) fn div_round(digits: &BigInt, divisor: &BigInt) -> BigInt {
    let (q, r) = (digits / divisor, digits % divisor);
    if (r.magnitude() << 1u32) >= *divisor.magnitude() {
        if digits.sign() == Sign::Minus { q - 1 } else { q + 1 }
    } else {
        q
    }
}

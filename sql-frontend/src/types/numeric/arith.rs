//! Exact arithmetic with PostgreSQL's result scales (`numeric.c`).

use super::{MAX_SCALE, MAX_WEIGHT, Numeric, digit_count, div_round, pow10};
use crate::{Result, SqlError, SqlState};
use num_bigint::{BigInt, Sign};
use num_integer::Integer;
use num_traits::{Signed, Zero};

/// Significant digits that inexact results have at least.
pub(super) const MIN_SIG_DIGITS: i64 = 16;
/// Greatest scale that inexact results get.
pub(super) const MAX_DISPLAY_SCALE: i64 = 1000;
/// Widest scale `round` and `trunc` accept.
const MAX_RESULT_SCALE: i32 = 2000;

pub(crate) fn overflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

/// Weight and value of the first digit to base 10000, as PostgreSQL stores it; zeros for zero.
pub(super) fn nbase_head(digits: &BigInt, scale: u32) -> (i64, i64) {
    let len = i64::from(digit_count(digits));
    if len == 0 {
        return (0, 0);
    }
    let top = len - i64::from(scale) - 1;
    let take = top.rem_euclid(4) + 1;
    let head = if len >= take {
        digits.magnitude() / pow10((len - take) as u32).magnitude()
    } else {
        digits.magnitude() * pow10((take - len) as u32).magnitude()
    };
    (top.div_euclid(4), head.iter_u64_digits().next().unwrap_or(0) as i64)
}

impl Numeric {
    /// Refuses what PostgreSQL cannot store.
    pub(super) fn checked(digits: BigInt, scale: u32) -> Result<Numeric> {
        let (digits, scale) = if scale > MAX_SCALE {
            (div_round(&digits, &pow10(scale - MAX_SCALE)), MAX_SCALE)
        } else {
            (digits, scale)
        };
        if digits.bits() > 400_000 && digit_count(&digits) > scale + MAX_WEIGHT {
            return Err(overflow());
        }
        Ok(Numeric::Finite { digits, scale })
    }

    pub fn neg(&self) -> Numeric {
        match self {
            Numeric::Finite { digits, scale } => Numeric::Finite { digits: -digits, scale: *scale },
            Numeric::Infinity => Numeric::NegInfinity,
            Numeric::NegInfinity => Numeric::Infinity,
            Numeric::NaN => Numeric::NaN,
        }
    }

    pub fn abs(&self) -> Numeric {
        match self {
            Numeric::NaN => Numeric::NaN,
            n if n.signum() < 0 => n.neg(),
            n => n.clone(),
        }
    }

    pub fn add(&self, other: &Numeric) -> Result<Numeric> {
        match (self, other) {
            (Numeric::Finite { digits: a, scale: s }, Numeric::Finite { digits: b, scale: t }) => {
                let sum = match s.cmp(t) {
                    std::cmp::Ordering::Equal => a + b,
                    std::cmp::Ordering::Less => a * pow10(t - s) + b,
                    std::cmp::Ordering::Greater => a + b * pow10(s - t),
                };
                Numeric::checked(sum, *s.max(t))
            }
            (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
            (Numeric::Infinity, Numeric::NegInfinity) | (Numeric::NegInfinity, Numeric::Infinity) => {
                Ok(Numeric::NaN)
            }
            (Numeric::Finite { .. }, infinite) | (infinite, _) => Ok(infinite.clone()),
        }
    }

    pub fn sub(&self, other: &Numeric) -> Result<Numeric> {
        self.add(&other.neg())
    }

    fn infinity(sign: i32) -> Numeric {
        if sign < 0 { Numeric::NegInfinity } else { Numeric::Infinity }
    }

    pub fn mul(&self, other: &Numeric) -> Result<Numeric> {
        match (self, other) {
            (Numeric::Finite { digits: a, scale: s }, Numeric::Finite { digits: b, scale: t }) => {
                Numeric::checked(a * b, s + t)
            }
            (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
            _ => match self.signum() * other.signum() {
                0 => Ok(Numeric::NaN),
                sign => Ok(Numeric::infinity(sign)),
            },
        }
    }

    pub fn div(&self, other: &Numeric) -> Result<Numeric> {
        let (Numeric::Finite { digits: a, scale: s }, Numeric::Finite { digits: b, scale: t }) =
            (self, other)
        else {
            return match (self, other) {
                (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
                (Numeric::Finite { .. }, _) => Ok(Numeric::zero()),
                (_, Numeric::Finite { .. }) => match self.signum() * other.signum() {
                    0 => Err(SqlError::division_by_zero()),
                    sign => Ok(Numeric::infinity(sign)),
                },
                _ => Ok(Numeric::NaN),
            };
        };
        if b.is_zero() {
            return Err(SqlError::division_by_zero());
        }
        let ((w1, d1), (w2, d2)) = (nbase_head(a, *s), nbase_head(b, *t));
        let weight = w1 - w2 - i64::from(d1 <= d2);
        let scale =
            (MIN_SIG_DIGITS - weight * 4).max(i64::from(*s)).max(i64::from(*t)).clamp(0, MAX_DISPLAY_SCALE)
                as u32;
        Numeric::checked(quotient(a, *s, b, *t, scale), scale)
    }

    /// Remainder of the division that truncates: the sign is the dividend's.
    pub fn rem(&self, other: &Numeric) -> Result<Numeric> {
        match (self, other) {
            (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
            (_, n) if n.is_zero() => Err(SqlError::division_by_zero()),
            (Numeric::Finite { digits: a, scale: s }, Numeric::Finite { digits: b, scale: t }) => {
                let top = *s.max(t);
                Ok(Numeric::Finite { digits: (a * pow10(top - s)) % (b * pow10(top - t)), scale: top })
            }
            (Numeric::Finite { .. }, _) => Ok(self.clone()),
            _ => Ok(Numeric::NaN),
        }
    }

    /// `div(a, b)`: the quotient without its fraction, scale 0.
    pub fn div_trunc(&self, other: &Numeric) -> Result<Numeric> {
        match (self, other) {
            (Numeric::Finite { digits: a, scale: s }, Numeric::Finite { digits: b, scale: t }) => {
                if b.is_zero() {
                    return Err(SqlError::division_by_zero());
                }
                let top = *s.max(t);
                Numeric::checked((a * pow10(top - s)) / (b * pow10(top - t)), 0)
            }
            _ => self.div(other),
        }
    }

    /// Rounded to `scale` digits after the point (before it when negative), halves away from zero.
    pub fn round(&self, scale: i32) -> Numeric {
        self.rescale(scale, div_round)
    }

    /// Cut to `scale` digits after the point (before it when negative).
    pub fn trunc(&self, scale: i32) -> Numeric {
        self.rescale(scale, |digits, divisor| digits / divisor)
    }

    /// Shown with exactly `scale` digits, cutting what is beyond: for values that came with their scale from outside.
    pub(crate) fn trunc_exact(&self, scale: u32) -> Numeric {
        let Numeric::Finite { digits, scale: had } = self else { return self.clone() };
        let digits = if scale >= *had { digits * pow10(scale - had) } else { digits / pow10(had - scale) };
        Numeric::Finite { digits, scale }
    }

    fn rescale(&self, scale: i32, divide: impl Fn(&BigInt, &BigInt) -> BigInt) -> Numeric {
        let Numeric::Finite { digits, scale: had } = self else { return self.clone() };
        let want = scale.clamp(-MAX_RESULT_SCALE, MAX_RESULT_SCALE);
        let had_signed = *had as i32;
        if want >= had_signed {
            return Numeric::Finite {
                digits: digits * pow10((want - had_signed) as u32),
                scale: want as u32,
            };
        }
        let cut = divide(digits, &pow10((had_signed - want) as u32));
        if want >= 0 {
            Numeric::Finite { digits: cut, scale: want as u32 }
        } else {
            Numeric::Finite { digits: cut * pow10((-want) as u32), scale: 0 }
        }
    }

    pub fn floor(&self) -> Numeric {
        self.rescale(0, |digits, divisor| digits.div_floor(divisor)).without_scale()
    }

    pub fn ceil(&self) -> Numeric {
        self.rescale(0, Integer::div_ceil).without_scale()
    }

    fn without_scale(self) -> Numeric {
        match self {
            Numeric::Finite { digits, .. } => Numeric::Finite { digits, scale: 0 },
            other => other,
        }
    }

    /// Without zeros at the end of the fraction.
    pub fn trim_scale(&self) -> Numeric {
        let Numeric::Finite { digits, scale } = self else { return self.clone() };
        let min = self.min_scale().unwrap_or(0);
        Numeric::Finite { digits: digits / pow10(scale - min), scale: min }
    }

    /// Digits after the point that the value needs.
    pub fn min_scale(&self) -> Option<u32> {
        let Numeric::Finite { digits, scale } = self else { return None };
        if digits.is_zero() {
            return Some(0);
        }
        let (mut digits, mut scale, ten) = (digits.clone(), *scale, BigInt::from(10));
        while scale > 0 {
            let (quotient, rest) = digits.div_rem(&ten);
            if !rest.is_zero() {
                break;
            }
            digits = quotient;
            scale -= 1;
        }
        Some(scale)
    }

    /// Greatest common divisor; the scale is the greater one.
    pub fn gcd(&self, other: &Numeric) -> Numeric {
        let (Numeric::Finite { digits: a, scale: s }, Numeric::Finite { digits: b, scale: t }) =
            (self, other)
        else {
            return Numeric::NaN;
        };
        let top = *s.max(t);
        Numeric::Finite { digits: (a * pow10(top - s)).gcd(&(b * pow10(top - t))), scale: top }
    }

    /// Least common multiple; the scale is the greater one.
    pub fn lcm(&self, other: &Numeric) -> Result<Numeric> {
        let (Numeric::Finite { digits: a, scale: s }, Numeric::Finite { digits: b, scale: t }) =
            (self, other)
        else {
            return Ok(Numeric::NaN);
        };
        let top = *s.max(t);
        Numeric::checked((a * pow10(top - s)).lcm(&(b * pow10(top - t))).abs(), top)
    }

    /// Length check of `numeric(p,s)`: rounds to the scale, refuses what has too many digits before the point (22003).
    pub fn with_typmod(&self, typmod: i32) -> Result<Numeric> {
        let Some((precision, scale)) = crate::types::typmod::numeric(typmod) else { return Ok(self.clone()) };
        let refuse = |detail: String| {
            Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(detail))
        };
        let Numeric::Finite { .. } = self else {
            if self.is_nan() {
                return Ok(Numeric::NaN);
            }
            return refuse(format!(
                "A field with precision {precision}, scale {scale} cannot hold an infinite value."
            ));
        };
        let rounded = self.round(scale);
        let whole = precision - scale;
        if let Numeric::Finite { digits, scale: shown } = &rounded {
            let before = i64::from(digit_count(digits)) - i64::from(*shown);
            if digits.sign() != Sign::NoSign && before > i64::from(whole) {
                let limit = if whole == 0 { "1".to_string() } else { format!("10^{whole}") };
                return refuse(format!(
                    "A field with precision {precision}, scale {scale} must round to an absolute value less than {limit}."
                ));
            }
        }
        Ok(rounded)
    }
}

/// `a·10^-s / b·10^-t` at `scale`, halves away from zero, as unscaled digits.
pub(super) fn quotient(a: &BigInt, s: u32, b: &BigInt, t: u32, scale: u32) -> BigInt {
    let shift = i64::from(scale) + i64::from(t) - i64::from(s);
    let (mut n, mut d) = (a.clone(), b.clone());
    if shift >= 0 {
        n *= pow10(shift as u32);
    } else {
        d *= pow10((-shift) as u32);
    }
    if d.is_negative() {
        (n, d) = (-n, -d);
    }
    div_round(&n, &d)
}

//! Roots, powers and logarithms: the result scale as `numeric.c` chooses it, the digits by series in fixed point.

use super::arith::{MAX_DISPLAY_SCALE, MIN_SIG_DIGITS, nbase_head, overflow, quotient};
use super::{Numeric, digit_count, div_round, pow10};
use crate::{Result, SqlError, SqlState};
use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

const LOG10_E: f64 = std::f64::consts::LOG10_E;
/// Digits computed beyond those shown.
const GUARD: i64 = 12;

fn scale_for(weight: i64, at_least: u32) -> u32 {
    (MIN_SIG_DIGITS - weight).max(i64::from(at_least)).clamp(0, MAX_DISPLAY_SCALE) as u32
}

fn error(state: SqlState, message: &str) -> SqlError {
    SqlError::new(state, message)
}

/// A value in fixed point at `work` digits.
fn fixed(digits: &BigInt, scale: u32, work: i64) -> BigInt {
    let shift = work - i64::from(scale);
    if shift >= 0 { digits * pow10(shift as u32) } else { digits / pow10((-shift) as u32) }
}

/// From fixed point at `work` digits to `scale` digits.
fn finish(value: BigInt, work: i64, scale: u32) -> Result<Numeric> {
    let cut = work - i64::from(scale);
    let digits = if cut >= 0 { div_round(&value, &pow10(cut as u32)) } else { value * pow10((-cut) as u32) };
    Numeric::checked(digits, scale)
}

/// 2·atanh(n/d) in fixed point.
fn two_atanh(n: &BigInt, d: &BigInt, one: &BigInt) -> BigInt {
    let z = (n * one) / d;
    let square = (&z * &z) / one;
    let (mut power, mut sum, mut k) = (z.clone(), z, 3u32);
    loop {
        power = (&power * &square) / one;
        if power.is_zero() {
            return sum * 2;
        }
        sum += &power / k;
        k += 2;
    }
}

fn ln2(one: &BigInt) -> BigInt {
    let part = |k: i32| two_atanh(&BigInt::one(), &BigInt::from(k), one);
    part(26) * 9 - part(4801) + part(8749) * 4
}

/// ln of a positive value in fixed point.
fn ln_fixed(value: &BigInt, work: i64) -> BigInt {
    let one = pow10(work as u32);
    // value = f · 2^k with f in [0.7, 1.42)
    let k = value.bits() as i64 - one.bits() as i64;
    let mut f = if k >= 0 { value >> k as usize } else { value << (-k) as usize };
    let mut k = k;
    if &f * 5 > &one * 7 {
        f >>= 1usize;
        k += 1;
    }
    // Shifting right dropped bits: divide exactly instead.
    let (n, d) = if k >= 0 {
        let power = BigInt::one() << k as usize;
        (value - &one * &power, value + &one * &power)
    } else {
        let scaled = value << (-k) as usize;
        (&scaled - &one, &scaled + &one)
    };
    two_atanh(&n, &d, &one) + ln2(&one) * k
}

/// e^x in fixed point at `work` digits; `x` is at the same scale.
fn exp_fixed(x: &BigInt, work: i64) -> BigInt {
    let one = pow10(work as u32);
    let ln2 = ln2(&one);
    let k = div_round(x, &ln2).to_i64().unwrap_or(0);
    const HALVINGS: usize = 8;
    let r = (x - &ln2 * k) >> HALVINGS;
    let (mut term, mut sum, mut n) = (one.clone(), one.clone(), 1u32);
    loop {
        term = (&term * &r) / (&one * n);
        if term.is_zero() {
            break;
        }
        sum += &term;
        n += 1;
    }
    for _ in 0..HALVINGS {
        sum = (&sum * &sum) / &one;
    }
    if k >= 0 { sum << k as usize } else { sum >> (-k) as usize }
}

/// Decimal weight of ln(x), as PostgreSQL estimates it.
fn ln_weight(digits: &BigInt, scale: u32) -> i64 {
    if !digits.is_positive() {
        return 0;
    }
    let x = Numeric::new(digits.clone(), scale);
    let near = x.compare(&Numeric::new(9, 1)).is_ge() && x.compare(&Numeric::new(11, 1)).is_le();
    if near {
        let difference = digits - pow10(scale);
        if difference.is_zero() {
            return 0;
        }
        let (weight, head) = nbase_head(&difference, scale);
        return weight * 4 + (head as f64).log10() as i64;
    }
    let len = i64::from(digit_count(digits));
    let kept = len.min(17);
    let lead = (digits / pow10((len - kept) as u32)).to_f64().unwrap_or(1.0);
    let ln = lead.ln() + (len - kept - i64::from(scale)) as f64 * std::f64::consts::LN_10;
    ln.abs().log10() as i64
}

impl Numeric {
    pub fn sqrt(&self) -> Result<Numeric> {
        let Numeric::Finite { digits, scale } = self else {
            return match self {
                Numeric::NegInfinity => Err(negative_sqrt()),
                other => Ok(other.clone()),
            };
        };
        if digits.is_negative() {
            return Err(negative_sqrt());
        }
        let (weight, _) = nbase_head(digits, *scale);
        let result_weight = (weight + 1) * 4 / 2 - 1;
        self.sqrt_at(scale_for(result_weight, *scale))
    }

    /// The root of a finite number that is not negative, at a given scale.
    pub(crate) fn sqrt_at(&self, result_scale: u32) -> Result<Numeric> {
        let Numeric::Finite { digits, scale } = self else { return Ok(self.clone()) };
        // Truncated one digit further on, which is enough to round by: a root is never exactly half way.
        let work = i64::from(result_scale) + 1;
        finish(fixed(digits, *scale, 2 * work).sqrt(), work, result_scale)
    }

    pub fn ln(&self) -> Result<Numeric> {
        let Numeric::Finite { digits, scale } = self else {
            return match self {
                Numeric::NegInfinity => Err(log_of_negative()),
                other => Ok(other.clone()),
            };
        };
        check_log_argument(digits)?;
        let result_scale = scale_for(ln_weight(digits, *scale), *scale);
        let work = i64::from(result_scale.max(*scale)) + GUARD;
        finish(ln_fixed(&fixed(digits, *scale, work), work), work, result_scale)
    }

    /// Logarithm of `self` to `base`.
    pub fn log(&self, base: &Numeric) -> Result<Numeric> {
        let (Numeric::Finite { digits: b, scale: t }, Numeric::Finite { digits: x, scale: s }) = (base, self)
        else {
            return log_special(base, self);
        };
        check_log_argument(b)?;
        check_log_argument(x)?;
        let (base_weight, weight) = (ln_weight(b, *t), ln_weight(x, *s));
        let result_scale = scale_for(weight - base_weight, *s.max(t));
        let work = i64::from(result_scale.max(*s).max(*t)) + GUARD + base_weight.abs() + weight.abs();
        let (top, bottom) = (ln_fixed(&fixed(x, *s, work), work), ln_fixed(&fixed(b, *t, work), work));
        if bottom.is_zero() {
            return Err(SqlError::division_by_zero());
        }
        Numeric::checked(quotient(&top, 0, &bottom, 0, result_scale), result_scale)
    }

    pub fn exp(&self) -> Result<Numeric> {
        let Numeric::Finite { digits, scale } = self else {
            return Ok(if *self == Numeric::NegInfinity { Numeric::zero() } else { self.clone() });
        };
        let value = self.to_f64();
        let weight = (value * LOG10_E).clamp(-2000.0, 2000.0);
        let result_scale = scale_for(weight as i64, *scale);
        if value.abs() >= 6000.0 {
            return if value > 0.0 { Err(overflow()) } else { Ok(Numeric::new(0, result_scale)) };
        }
        let work = i64::from(result_scale.max(*scale)) + weight.max(0.0) as i64 + GUARD + 6;
        finish(exp_fixed(&fixed(digits, *scale, work), work), work, result_scale)
    }

    pub fn power(&self, exponent: &Numeric) -> Result<Numeric> {
        let (Numeric::Finite { digits: b, scale: s }, Numeric::Finite { digits: e, scale: t }) =
            (self, exponent)
        else {
            return self.power_special(exponent);
        };
        if b.is_zero() && e.is_negative() {
            return Err(error(
                SqlState::INVALID_ARGUMENT_FOR_POWER,
                "zero raised to a negative power is undefined",
            ));
        }
        let whole = exponent.min_scale() == Some(0);
        if b.is_negative() && !whole {
            return Err(error(
                SqlState::INVALID_ARGUMENT_FOR_POWER,
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        if whole && let Some(n) = (e / pow10(*t)).to_i32() {
            return power_integer(b, *s, n);
        }
        if b.is_zero() {
            return Ok(Numeric::new(0, MIN_SIG_DIGITS as u32));
        }
        // A negative base got here with an integer exponent beyond int4: the sign is its parity's.
        let flip = b.is_negative() && (e / pow10(*t)).bit(0);
        let b = b.abs();
        let rough = 24 + i64::from(*s);
        let ln = ln_fixed(&fixed(&b, *s, rough + GUARD), rough + GUARD);
        let estimate = Numeric::checked(ln, (rough + GUARD) as u32)?.to_f64() * exponent.to_f64();
        if estimate.abs() > 2000.0 * 3.01 {
            if estimate > 0.0 {
                return Err(overflow());
            }
            return Ok(Numeric::new(0, MAX_DISPLAY_SCALE as u32));
        }
        let weight = estimate * LOG10_E;
        let result_scale = scale_for(weight as i64, *s.max(t));
        let e_weight = i64::from(digit_count(e)) - i64::from(*t);
        let work =
            i64::from(result_scale.max(*s).max(*t)) + weight.max(0.0) as i64 + e_weight.max(0) + GUARD + 8;
        let one = pow10(work as u32);
        let product = ln_fixed(&fixed(&b, *s, work), work) * fixed(e, *t, work) / &one;
        let result = finish(exp_fixed(&product, work), work, result_scale)?;
        Ok(if flip { result.neg() } else { result })
    }

    /// The POSIX rules for `pow` with what is not finite.
    fn power_special(&self, exponent: &Numeric) -> Result<Numeric> {
        let one = Numeric::new(1, 0);
        if self.is_nan() {
            return Ok(if exponent.is_zero() { one } else { Numeric::NaN });
        }
        if exponent.is_nan() {
            return Ok(if self.compare(&one).is_eq() { one } else { Numeric::NaN });
        }
        if exponent.is_finite() {
            // The base is an infinity.
            let whole = exponent.min_scale() == Some(0);
            if self.signum() < 0 && !whole {
                return Err(error(
                    SqlState::INVALID_ARGUMENT_FOR_POWER,
                    "a negative number raised to a non-integer power yields a complex result",
                ));
            }
            return Ok(match exponent.signum() {
                0 => one,
                -1 => Numeric::zero(),
                _ => {
                    let odd =
                        matches!(exponent.trim_scale(), Numeric::Finite { digits, .. } if digits.bit(0));
                    if self.signum() < 0 && odd { Numeric::NegInfinity } else { Numeric::Infinity }
                }
            });
        }
        if self.is_zero() {
            return if exponent.signum() < 0 {
                Err(error(
                    SqlState::INVALID_ARGUMENT_FOR_POWER,
                    "zero raised to a negative power is undefined",
                ))
            } else {
                Ok(Numeric::zero())
            };
        }
        let size = self.abs().compare(&one);
        Ok(if size.is_eq() {
            one
        } else if size.is_gt() == (exponent.signum() > 0) {
            Numeric::Infinity
        } else {
            Numeric::zero()
        })
    }

    /// `n!`.
    pub fn factorial(n: i64) -> Result<Numeric> {
        if n < 0 {
            return Err(error(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                "factorial of a negative number is undefined",
            ));
        }
        if n > 32177 {
            return Err(overflow());
        }
        Numeric::checked((2..=n).fold(BigInt::one(), |product, k| product * k), 0)
    }
}

/// `power_var_int`: at least 16 digits after the point.
fn power_integer(base: &BigInt, scale: u32, n: i32) -> Result<Numeric> {
    let result_scale = scale_for(0, scale);
    let weight = if base.is_zero() {
        0.0
    } else {
        let len = i64::from(digit_count(base));
        let kept = len.min(17);
        let lead = (base.magnitude() / pow10((len - kept) as u32).magnitude()).to_f64().unwrap_or(1.0);
        f64::from(n) * (lead.log10() + (len - kept - i64::from(scale)) as f64)
    };
    if weight > 131_072.0 {
        return Err(overflow());
    }
    if weight + 1.0 < -f64::from(result_scale) {
        return Ok(Numeric::new(0, result_scale));
    }
    if n == 0 {
        return finish(BigInt::one(), 0, result_scale);
    }
    if base.is_zero() {
        return Ok(Numeric::new(0, result_scale));
    }
    // Enough leading digits that the last one shown is right after n rounded multiplications.
    let keep = result_scale + weight.max(0.0) as u32 + 30;
    let (digits, power_scale) = power_rounded(base, i64::from(scale), n.unsigned_abs(), keep);
    if n > 0 {
        return finish(digits, power_scale, result_scale);
    }
    // 1 / (digits · 10^-scale) at result_scale.
    let shift = i64::from(result_scale) + power_scale;
    let (top, bottom) = if shift >= 0 {
        (pow10(shift as u32), digits)
    } else {
        (BigInt::one(), digits * pow10((-shift) as u32))
    };
    Numeric::checked(quotient(&top, 0, &bottom, 0, 0), result_scale)
}

/// Square and multiply, keeping `keep` leading digits.
fn power_rounded(base: &BigInt, scale: i64, n: u32, keep: u32) -> (BigInt, i64) {
    let shorten = |(digits, scale): (BigInt, i64)| {
        let len = digit_count(&digits);
        if len <= keep {
            return (digits, scale);
        }
        (div_round(&digits, &pow10(len - keep)), scale - i64::from(len - keep))
    };
    let mut result = (BigInt::one(), 0i64);
    let mut square = (base.clone(), scale);
    let mut left = n;
    loop {
        if left & 1 == 1 {
            result = shorten((&result.0 * &square.0, result.1 + square.1));
        }
        left >>= 1;
        if left == 0 {
            return result;
        }
        square = shorten((&square.0 * &square.0, square.1 * 2));
    }
}

fn negative_sqrt() -> SqlError {
    error(SqlState::INVALID_ARGUMENT_FOR_POWER, "cannot take square root of a negative number")
}

fn log_of_negative() -> SqlError {
    error(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, "cannot take logarithm of a negative number")
}

fn check_log_argument(digits: &BigInt) -> Result<()> {
    if digits.is_zero() {
        return Err(error(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, "cannot take logarithm of zero"));
    }
    if digits.is_negative() { Err(log_of_negative()) } else { Ok(()) }
}

fn log_special(base: &Numeric, x: &Numeric) -> Result<Numeric> {
    if base.is_nan() || x.is_nan() {
        return Ok(Numeric::NaN);
    }
    for value in [base, x] {
        match value.signum() {
            -1 => return Err(log_of_negative()),
            0 => {
                return Err(error(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, "cannot take logarithm of zero"));
            }
            _ => {}
        }
    }
    Ok(match (base.is_finite(), x.is_finite()) {
        (false, false) => Numeric::NaN,
        (false, true) => Numeric::zero(),
        _ => Numeric::Infinity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Numeric {
        text.parse().unwrap()
    }

    #[test]
    fn as_postgresql_shows_them() {
        assert_eq!(n("2").sqrt().unwrap().to_string(), "1.414213562373095");
        assert_eq!(n("2").power(&n("10")).unwrap().to_string(), "1024.0000000000000000");
        assert_eq!(n("2").power(&n("0.5")).unwrap().to_string(), "1.4142135623730950");
        assert_eq!(n("10").ln().unwrap().to_string(), "2.3025850929940457");
        assert_eq!(n("1").exp().unwrap().to_string(), "2.7182818284590452");
        assert_eq!(n("100").log(&n("10")).unwrap().to_string(), "2.0000000000000000");
        assert_eq!(n("0").ln().unwrap_err().sqlstate.0, "2201E");
    }
}

//! Numerics from and to text.

use super::arith::overflow;
use super::{MAX_SCALE, Numeric, pow10};
use crate::{Result, SqlError};
use num_bigint::BigInt;
use num_traits::Zero;
use std::fmt;
use std::str::FromStr;

impl FromStr for Numeric {
    type Err = SqlError;

    /// PostgreSQL's input: digits, point, exponent, `NaN`, `[+-]Infinity`, blanks around.
    fn from_str(text: &str) -> Result<Numeric> {
        let bad = || SqlError::invalid_text("numeric", text);
        let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let (negative, body) = match trimmed.as_bytes().first() {
            Some(b'-') => (true, &trimmed[1..]),
            Some(b'+') => (false, &trimmed[1..]),
            _ => (false, trimmed),
        };
        if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let signed = body.len() != trimmed.len();
            return match body.to_ascii_lowercase().as_str() {
                "nan" if !signed => Ok(Numeric::NaN),
                "infinity" | "inf" if negative => Ok(Numeric::NegInfinity),
                "infinity" | "inf" => Ok(Numeric::Infinity),
                _ => Err(bad()),
            };
        }
        let (mantissa, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], Some(&body[at + 1..])),
            None => (body, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() == 0
            || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        {
            return Err(bad());
        }
        let exponent = match exponent {
            None => 0,
            Some(e) => {
                let unsigned = e.strip_prefix(['+', '-']).unwrap_or(e);
                if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(bad());
                }
                match e.parse::<i64>() {
                    Ok(e) if e.abs() < i64::from(i32::MAX / 2) => e,
                    _ => return Err(overflow()),
                }
            }
        };
        let mut digits = if whole.len() + fraction.len() <= 38 {
            let small =
                whole.bytes().chain(fraction.bytes()).fold(0u128, |n, b| n * 10 + u128::from(b - b'0'));
            BigInt::from(small)
        } else {
            BigInt::from_str(&format!("{whole}{fraction}")).map_err(|_| bad())?
        };
        if negative {
            digits = -digits;
        }
        let scale = fraction.len() as i64 - exponent;
        if digits.is_zero() {
            return Ok(Numeric::new(0, scale.clamp(0, i64::from(MAX_SCALE)) as u32));
        }
        if scale < -200_000 {
            return Err(overflow());
        }
        if scale < 0 {
            return Numeric::checked(digits * pow10((-scale) as u32), 0);
        }
        if scale > 400_000 {
            return Ok(Numeric::new(0, MAX_SCALE));
        }
        Numeric::checked(digits, scale as u32)
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, scale) = match self {
            Numeric::NaN => return f.write_str("NaN"),
            Numeric::Infinity => return f.write_str("Infinity"),
            Numeric::NegInfinity => return f.write_str("-Infinity"),
            Numeric::Finite { digits, scale } => (digits, *scale as usize),
        };
        if scale == 0 {
            return write!(f, "{digits}");
        }
        let text = digits.magnitude().to_string();
        if digits.sign() == num_bigint::Sign::Minus {
            f.write_str("-")?;
        }
        if text.len() > scale {
            let (whole, fraction) = text.split_at(text.len() - scale);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{text:0>scale$}")
        }
    }
}

impl Numeric {
    /// The shortest-looking exact decimal of a float at PostgreSQL's cast precision: 15 significant digits for float8, 6 for float4.
    pub fn from_float(value: f64, significant: usize) -> Numeric {
        if value.is_nan() {
            return Numeric::NaN;
        }
        if value.is_infinite() {
            return if value > 0.0 { Numeric::Infinity } else { Numeric::NegInfinity };
        }
        // C's %.15g drops zeros at the end.
        let text = format!("{:.*e}", significant - 1, value);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        format!("{mantissa}e{exponent}").parse().unwrap_or(Numeric::NaN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Numeric {
        text.parse().unwrap()
    }

    #[test]
    fn text_keeps_the_scale() {
        for text in ["0", "1.00", "-0.05", "123456789012345678901234567890.123", "NaN", "-Infinity", "0.000"]
        {
            assert_eq!(n(text).to_string(), text);
        }
        assert_eq!(n(" 1.5e3 ").to_string(), "1500");
        assert_eq!(n("1.5e-3").to_string(), "0.0015");
        assert_eq!(n(".5").to_string(), "0.5");
        assert_eq!(n("5.").to_string(), "5");
        for bad in ["", ".", "1e", "abc", "1.2.3", "1 2", "-NaN", "0x1"] {
            assert!(bad.parse::<Numeric>().is_err(), "{bad}");
        }
    }

    #[test]
    fn result_scales_are_postgresqls() {
        assert_eq!(n("1.10").add(&n("2.20")).unwrap().to_string(), "3.30");
        assert_eq!(n("1.5").mul(&n("2.25")).unwrap().to_string(), "3.375");
        assert_eq!(n("1").div(&n("3")).unwrap().to_string(), "0.33333333333333333333");
        assert_eq!(n("10").div(&n("4")).unwrap().to_string(), "2.5000000000000000");
        assert_eq!(n("-7.5").rem(&n("2")).unwrap().to_string(), "-1.5");
        assert_eq!(n("2.5").round(0).to_string(), "3");
        assert_eq!(n("-2.5").round(0).to_string(), "-3");
        assert_eq!(n("1250").round(-2).to_string(), "1300");
        assert_eq!(n("-2.1").floor().to_string(), "-3");
        assert_eq!(n("-2.9").ceil().to_string(), "-2");
        assert_eq!(n("1.2300").trim_scale().to_string(), "1.23");
        let typmod = crate::types::PgType::Numeric.typmod(&[4, 2]).unwrap();
        assert_eq!(n("12.345").with_typmod(typmod).unwrap().to_string(), "12.35");
        assert_eq!(n("99.995").with_typmod(typmod).unwrap_err().sqlstate.0, "22003");
    }

    #[test]
    fn floats_become_numerics_as_c_prints_them() {
        assert_eq!(Numeric::from_float(0.1, 15).to_string(), "0.1");
        assert_eq!(Numeric::from_float(1e20, 15).to_string(), "100000000000000000000");
        assert_eq!(Numeric::from_float(1.0 / 3.0, 15).to_string(), "0.333333333333333");
    }
}

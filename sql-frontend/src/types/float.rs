//! Floats from and to text: the shortest digits that read back as the same float, as PostgreSQL prints them since version 12.

use crate::{Result, SqlError, SqlState};
use num_bigint::BigInt;
use std::fmt::Write;

/// Appends a float8: fixed notation for decimal exponents −4 to 14, else scientific.
pub(crate) fn write_f64(value: f64, out: &mut String) {
    if special(value, out) {
        return;
    }
    let bits = value.to_bits();
    let (raw_exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let (mantissa, exponent) =
        if raw_exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, raw_exponent - 1075) };
    let mut text = format!("{:e}", value.abs());
    if on_boundary(&text, mantissa, exponent, fraction == 0 && raw_exponent > 1) {
        text = format!("{:.*e}", digits_of(&text), value.abs());
    }
    layout(&text, value.is_sign_negative(), 15, out);
}

/// Appends a float4: fixed notation for decimal exponents −4 to 5, else scientific.
pub(crate) fn write_f32(value: f32, out: &mut String) {
    if special(f64::from(value), out) {
        return;
    }
    let bits = value.to_bits();
    let (raw_exponent, fraction) = ((bits >> 23 & 0xff) as i32, bits & ((1 << 23) - 1));
    let (mantissa, exponent) =
        if raw_exponent == 0 { (fraction, -149) } else { (fraction | 1 << 23, raw_exponent - 150) };
    let mut text = format!("{:e}", value.abs());
    if on_boundary(&text, u64::from(mantissa), exponent, fraction == 0 && raw_exponent > 1) {
        text = format!("{:.*e}", digits_of(&text), value.abs());
    }
    layout(&text, value.is_sign_negative(), 6, out);
}

fn special(value: f64, out: &mut String) -> bool {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if value == 0.0 {
        out.push_str(if value.is_sign_negative() { "-0" } else { "0" });
    } else {
        return false;
    }
    true
}

fn digits_of(text: &str) -> usize {
    text.split('e').next().unwrap_or("").bytes().filter(u8::is_ascii_digit).count()
}

/// Whether the decimal lies exactly half way to a neighbouring float. It still reads back right (ties go to even), so Rust prints
/// it; PostgreSQL's Ryu does not rely on the reader and prints one digit more.
fn on_boundary(text: &str, mantissa: u64, exponent: i32, power_of_two: bool) -> bool {
    if !mantissa.is_multiple_of(2) {
        return false;
    }
    let Some((decimal, e10)) = text.split_once('e') else { return false };
    let Ok(e10) = e10.parse::<i32>() else { return false };
    let fraction = decimal.len().saturating_sub(2) as i32;
    let Ok(digits) = decimal.replace('.', "").parse::<u64>() else { return false };
    // decimal = digits · 10^k; the middles are (2m ± 1) · 2^(e−1), and (4m − 1) · 2^(e−2) below a power of two.
    let k = e10 - fraction;
    let candidates = [
        (2 * mantissa + 1, exponent - 1),
        (2 * mantissa - 1, exponent - 1),
        (4 * mantissa - 1, exponent - 2),
    ];
    let used = if power_of_two { &candidates[..] } else { &candidates[..2] };
    used.iter().any(|&(odd, e2)| {
        // An odd number times 2^e2 has e2 factors of two: so must the decimal.
        if digits.trailing_zeros() as i32 + k != e2 {
            return false;
        }
        let (mut left, mut right) = (BigInt::from(digits), BigInt::from(odd));
        if k >= 0 {
            left *= BigInt::from(10).pow(k as u32);
        } else {
            right *= BigInt::from(10).pow(-k as u32);
        }
        if e2 >= 0 {
            right <<= e2 as usize;
        } else {
            left <<= -e2 as usize;
        }
        left == right
    })
}

/// From `d.ddde±x` to PostgreSQL's layout.
fn layout(text: &str, negative: bool, fixed_below: i32, out: &mut String) {
    if negative {
        out.push('-');
    }
    let (decimal, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..fixed_below).contains(&exponent) {
        out.push_str(decimal);
        let _ = write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
        return;
    }
    let digits = decimal.replace('.', "");
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.push_str(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', whole - digits.len()));
    } else {
        out.push_str(&digits[..whole]);
        out.push('.');
        out.push_str(&digits[whole..]);
    }
}

fn body<'a>(text: &'a str, type_name: &str) -> Result<&'a str> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let word = digits.to_ascii_lowercase();
    // Rust's parser accepts exactly PostgreSQL's words and decimals besides.
    if digits.is_empty()
        || (!digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && !matches!(word.as_str(), "nan" | "inf" | "infinity"))
    {
        return Err(SqlError::invalid_text(type_name, text));
    }
    Ok(trimmed)
}

fn is_zero_text(text: &str) -> bool {
    !text.split(['e', 'E']).next().unwrap_or("").bytes().any(|b| matches!(b, b'1'..=b'9'))
}

fn out_of_range(text: &str, type_name: &str) -> SqlError {
    SqlError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("\"{text}\" is out of range for type {type_name}"),
    )
}

pub(crate) fn parse_f64(text: &str) -> Result<f64> {
    const NAME: &str = "double precision";
    let body = body(text, NAME)?;
    let value: f64 = body.parse().map_err(|_| SqlError::invalid_text(NAME, text))?;
    let literal = body.contains(|c: char| c.is_ascii_digit());
    if literal && (value.is_infinite() || value == 0.0 && !is_zero_text(body)) {
        return Err(out_of_range(body, NAME));
    }
    Ok(value)
}

pub(crate) fn parse_f32(text: &str) -> Result<f32> {
    const NAME: &str = "real";
    let body = body(text, NAME)?;
    let value: f32 = body.parse().map_err(|_| SqlError::invalid_text(NAME, text))?;
    let literal = body.contains(|c: char| c.is_ascii_digit());
    if literal && (value.is_infinite() || value == 0.0 && !is_zero_text(body)) {
        return Err(out_of_range(body, NAME));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(v: f64) -> String {
        let mut out = String::new();
        write_f64(v, &mut out);
        out
    }

    fn show4(v: f32) -> String {
        let mut out = String::new();
        write_f32(v, &mut out);
        out
    }

    #[test]
    fn layout_is_postgresqls() {
        assert_eq!(show(1.0), "1");
        assert_eq!(show(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(show(1e15), "1e+15");
        assert_eq!(show(123456789012345.0), "123456789012345");
        assert_eq!(show(0.0001), "0.0001");
        assert_eq!(show(0.00001), "1e-05");
        assert_eq!(show(-1.5e300), "-1.5e+300");
        assert_eq!(show(f64::MIN_POSITIVE), "2.2250738585072014e-308");
        assert_eq!(show(5e-324), "5e-324");
        assert_eq!(show(-0.0), "-0");
        assert_eq!(show4(1234567.0), "1.234567e+06");
        assert_eq!(show4(123456.0), "123456");
        assert_eq!(show4(0.1), "0.1");
        // Exactly between two floats: one digit more than the strictly shortest.
        assert_eq!(show(3.092_535_278_770_144e18), "3.0925352787701443e+18");
        assert_eq!(show(2f64.powi(-44)), "5.684341886080802e-14");
        assert_eq!(show(9007199254740992.0), "9.007199254740992e+15");
    }

    #[test]
    fn input_refuses_what_postgresql_refuses() {
        assert_eq!(parse_f64(" -Infinity ").unwrap(), f64::NEG_INFINITY);
        assert_eq!(parse_f64("1e400").unwrap_err().sqlstate.0, "22003");
        assert_eq!(parse_f64("1e-400").unwrap_err().sqlstate.0, "22003");
        assert_eq!(parse_f64("0e400").unwrap(), 0.0);
        assert_eq!(parse_f64("").unwrap_err().sqlstate.0, "22P02");
        assert_eq!(parse_f64("1 2").unwrap_err().sqlstate.0, "22P02");
        assert!(parse_f32("1e39").is_err());
    }
}

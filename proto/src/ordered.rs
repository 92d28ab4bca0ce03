//! Order-preserving encoding: comparing two encodings byte by byte gives the order of the values.
//!
//! | value | encoding |
//! |---|---|
//! | `u64` | 8 bytes, big-endian |
//! | `i64` | the same with the sign bit flipped |
//! | `f64` | IEEE bits, sign bit flipped when positive, all bits when negative; -0 as 0, every NaN as one, last |
//! | bytes | `00` written as `00 ff`, closed by `00 01` |
//!
//! A descending column is the bytewise complement of the ascending one. (The escape is FoundationDB's tuple layer's
//! and CockroachDB's.)

/// Decoding met bytes that no encoder writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed ordered encoding: {0}")]
pub struct Malformed(pub &'static str);

pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, (value as u64) ^ (1 << 63));
}

pub fn put_f64(out: &mut Vec<u8>, value: f64) {
    let value = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN.abs()
    } else {
        value
    };
    let bits = value.to_bits();
    put_u64(out, if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits });
}

pub fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// Reads from the front of `input` and moves it on.
pub fn take_u64(input: &mut &[u8]) -> Result<u64, Malformed> {
    let (head, rest) = input.split_first_chunk::<8>().ok_or(Malformed("integer cut short"))?;
    *input = rest;
    Ok(u64::from_be_bytes(*head))
}

pub fn take_i64(input: &mut &[u8]) -> Result<i64, Malformed> {
    Ok((take_u64(input)? ^ (1 << 63)) as i64)
}

pub fn take_f64(input: &mut &[u8]) -> Result<f64, Malformed> {
    let raw = take_u64(input)?;
    Ok(f64::from_bits(if raw >> 63 == 1 { raw ^ (1 << 63) } else { !raw }))
}

pub fn take_bytes(input: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    loop {
        let at = input.iter().position(|&b| b == 0).ok_or(Malformed("bytes not closed"))?;
        out.extend_from_slice(&input[..at]);
        let mark = *input.get(at + 1).ok_or(Malformed("escape cut short"))?;
        *input = &input[at + 2..];
        match mark {
            0xff => out.push(0),
            0x01 => return Ok(out),
            _ => return Err(Malformed("unknown escape")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn enc<T>(put: impl Fn(&mut Vec<u8>, T), value: T) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, value);
        out
    }

    proptest! {
        #[test]
        fn bytes_keep_order(a: Vec<u8>, b: Vec<u8>) {
            let (x, y) = (enc(|o, v: &Vec<u8>| put_bytes(o, v), &a), enc(|o, v: &Vec<u8>| put_bytes(o, v), &b));
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            let mut rest = &x[..];
            prop_assert_eq!(take_bytes(&mut rest).unwrap(), a);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn integers_keep_order(a: i64, b: i64) {
            let (x, y) = (enc(put_i64, a), enc(put_i64, b));
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            prop_assert_eq!(take_i64(&mut &x[..]).unwrap(), a);
        }

        #[test]
        fn floats_keep_order(a: f64, b: f64) {
            let (x, y) = (enc(put_f64, a), enc(put_f64, b));
            if let Some(order) = a.partial_cmp(&b) {
                prop_assert_eq!(order, x.cmp(&y));
            }
            let back = take_f64(&mut &x[..]).unwrap();
            prop_assert!(back == a || (a.is_nan() && back.is_nan()));
        }

        #[test]
        fn malformed_input_is_an_error(raw: Vec<u8>) {
            let _ = take_bytes(&mut &raw[..]);
            let _ = take_i64(&mut &raw[..]);
        }
    }

    #[test]
    fn nan_is_last_and_zeros_are_one() {
        assert!(enc(put_f64, f64::NAN) > enc(put_f64, f64::INFINITY));
        assert_eq!(enc(put_f64, -f64::NAN), enc(put_f64, f64::NAN));
        assert_eq!(enc(put_f64, -0.0), enc(put_f64, 0.0));
    }
}

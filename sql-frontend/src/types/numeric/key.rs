//! Numerics as bytes.
//!
//! The *key* orders and equals as the numbers do: one byte of class (−Infinity 0, negative 1, zero 2, positive 3,
//! Infinity 4, NaN 5); for the finite but zero, three bytes of base-100 exponent (the value is `0.d₁d₂… × 100^e`), the base-100 digits each
//! plus one, without trailing zeros, closed by a zero; all but the class complemented for negatives. It closes itself,
//! so more bytes may follow it in a row's key. The *encoding* is the key followed by the display scale, two bytes
//! big-endian: this is what Arrow arrays hold.

use super::{MAX_SCALE, Numeric, pow10};
use crate::{Result, SqlError};
use num_bigint::{BigInt, BigUint, Sign};
use num_traits::ToPrimitive;

const NEG_INFINITY: u8 = 0;
const NEGATIVE: u8 = 1;
const ZERO: u8 = 2;
const POSITIVE: u8 = 3;
const INFINITY: u8 = 4;
const NAN: u8 = 5;
const EXPONENT_BIAS: i64 = 0x80_0000;

/// Marker for the two lengths of form: see the module.
pub(crate) struct NumericBytes;

impl NumericBytes {
    /// The key inside an encoding.
    pub(crate) fn key_of(encoding: &[u8]) -> &[u8] {
        &encoding[..encoding.len().saturating_sub(2)]
    }
}

impl Numeric {
    /// Appends the ordered, self-closing key: equal for equal numbers whatever their display scale.
    pub fn write_key(&self, out: &mut Vec<u8>) {
        let (digits, scale) = match self {
            Numeric::NegInfinity => return out.push(NEG_INFINITY),
            Numeric::Infinity => return out.push(INFINITY),
            Numeric::NaN => return out.push(NAN),
            Numeric::Finite { digits, .. } if digits.sign() == Sign::NoSign => return out.push(ZERO),
            Numeric::Finite { digits, scale } => (digits, *scale),
        };
        let negative = digits.sign() == Sign::Minus;
        out.push(if negative { NEGATIVE } else { POSITIVE });
        let start = out.len();
        let odd = scale % 2;
        let mut small = [0u8; 20];
        let large;
        let pairs: &[u8] = match digits.magnitude().to_u128().and_then(|m| m.checked_mul(10u128.pow(odd))) {
            Some(mut m) => {
                let mut at = small.len();
                while m > 0 {
                    at -= 1;
                    small[at] = (m % 100) as u8;
                    m /= 100;
                }
                &small[at..]
            }
            None => {
                large = (digits.magnitude() * 10u32.pow(odd)).to_radix_be(100);
                &large
            }
        };
        let exponent = pairs.len() as i64 - i64::from((scale + odd) / 2);
        out.extend_from_slice(&((exponent + EXPONENT_BIAS) as u32).to_be_bytes()[1..]);
        let used = pairs.iter().rposition(|&p| p != 0).map_or(0, |last| last + 1);
        out.extend(pairs[..used].iter().map(|p| p + 1));
        out.push(0);
        if negative {
            out[start..].iter_mut().for_each(|b| *b = !*b);
        }
    }

    /// The key with the display scale: the form in Arrow.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        self.write_encoding(&mut out);
        out
    }

    pub(crate) fn write_encoding(&self, out: &mut Vec<u8>) {
        self.write_key(out);
        out.extend_from_slice(&(self.scale() as u16).to_be_bytes());
    }

    /// Reads a key from the front of `input` and moves it on. The number shows at least `scale` digits, and more where
    /// the value needs them.
    pub fn take_key(input: &mut &[u8], scale: u32) -> Result<Numeric> {
        let class = take(input, 1)?[0];
        let flip = match class {
            NEG_INFINITY => return Ok(Numeric::NegInfinity),
            ZERO => return Ok(Numeric::new(0, scale)),
            INFINITY => return Ok(Numeric::Infinity),
            NAN => return Ok(Numeric::NaN),
            NEGATIVE => 0xff,
            POSITIVE => 0,
            _ => return Err(malformed()),
        };
        let head = take(input, 3)?;
        let biased = head.iter().fold(0i64, |e, b| e << 8 | i64::from(b ^ flip));
        let end = input.iter().position(|b| b ^ flip == 0).ok_or_else(malformed)?;
        let pairs = take(input, end)?;
        take(input, 1)?;
        if pairs.iter().any(|b| b ^ flip > 100) {
            return Err(malformed());
        }
        // value = P × 100^(exponent − n)
        let power = 2 * (biased - EXPONENT_BIAS - pairs.len() as i64);
        if power.unsigned_abs() > 400_000 {
            return Err(malformed());
        }
        let mut digits = if pairs.len() <= 9 {
            BigInt::from(pairs.iter().fold(0u64, |n, b| n * 100 + u64::from((b ^ flip) - 1)))
        } else {
            let plain: Vec<u8> = pairs.iter().map(|b| (b ^ flip) - 1).collect();
            BigInt::from(BigUint::from_radix_be(&plain, 100).ok_or_else(malformed)?)
        };
        let shift = power + i64::from(scale);
        let mut shown = scale;
        if shift >= 0 {
            digits *= pow10(shift as u32);
        } else {
            // The last pair may carry one decimal zero; anything more is a scale the caller did not know.
            let ten = BigInt::from(10);
            let mut missing = -shift;
            while missing > 0 && (&digits % &ten).sign() == Sign::NoSign {
                digits /= &ten;
                missing -= 1;
            }
            shown += missing as u32;
        }
        if class == NEGATIVE {
            digits = -digits;
        }
        Ok(Numeric::Finite { digits, scale: shown.min(MAX_SCALE) })
    }

    /// Reverses [`Numeric::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Numeric> {
        let (mut key, scale) = bytes.split_last_chunk::<2>().ok_or_else(malformed)?;
        let number = Numeric::take_key(&mut key, u32::from(u16::from_be_bytes(*scale)))?;
        if key.is_empty() { Ok(number) } else { Err(malformed()) }
    }
}

fn take<'a>(input: &mut &'a [u8], n: usize) -> Result<&'a [u8]> {
    let (head, rest) = input.split_at_checked(n).ok_or_else(malformed)?;
    *input = rest;
    Ok(head)
}

fn malformed() -> SqlError {
    SqlError::internal("malformed numeric bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: &Numeric) -> Vec<u8> {
        let mut out = Vec::new();
        n.write_key(&mut out);
        out
    }

    fn any_numeric() -> impl Strategy<Value = Numeric> {
        prop_oneof![
            8 => (any::<i64>(), 0u32..30).prop_map(|(d, s)| Numeric::new(d, s)),
            4 => (-1000i64..1000, 0u32..5).prop_map(|(d, s)| Numeric::new(d, s)),
            4 => (any::<i128>(), any::<i128>(), 0u32..60)
                .prop_map(|(a, b, s)| Numeric::new(BigInt::from(a) * BigInt::from(b), s)),
            1 => Just(Numeric::NaN),
            1 => Just(Numeric::Infinity),
            1 => Just(Numeric::NegInfinity),
        ]
    }

    proptest! {
        #[test]
        fn keys_order_as_numbers(a in any_numeric(), b in any_numeric()) {
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.compare(&b));
        }

        #[test]
        fn encoding_round_trips(a in any_numeric()) {
            prop_assert_eq!(Numeric::decode(&a.encode()).unwrap(), a);
        }

        #[test]
        fn bad_bytes_are_an_error(raw: Vec<u8>) {
            let _ = Numeric::decode(&raw);
        }
    }

    #[test]
    fn scale_does_not_enter_the_key() {
        assert_eq!(key(&Numeric::new(10, 1)), key(&Numeric::new(100, 2)));
        assert_ne!(Numeric::new(10, 1).encode(), Numeric::new(100, 2).encode());
        assert_eq!(Numeric::take_key(&mut &key(&Numeric::new(150, 2))[..], 0).unwrap(), Numeric::new(15, 1));
    }
}

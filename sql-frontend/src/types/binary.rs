//! Binary send and receive of every type, as PostgreSQL's wire has them.

use super::datetime::calendar::{self, PG_EPOCH_DAYS, PG_EPOCH_MICROS};
use super::datetime::checked_interval;
use super::{Datum, Numeric, PgType, array, length};
use crate::{Result, SqlError, SqlState};
use num_bigint::{BigInt, BigUint, Sign};

fn malformed() -> SqlError {
    SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, "incorrect binary data format")
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed())
}

fn text(bytes: &[u8]) -> Result<String> {
    let bad = |byte: u8| {
        SqlError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"),
        )
    };
    if bytes.contains(&0) {
        return Err(bad(0));
    }
    match std::str::from_utf8(bytes) {
        Ok(s) => Ok(s.to_string()),
        Err(e) => Err(bad(bytes.get(e.valid_up_to()).copied().unwrap_or(0))),
    }
}

pub(super) fn receive(ty: PgType, bytes: &[u8], typmod: i32) -> Result<Datum> {
    let value = match ty {
        PgType::Bool => Datum::Bool(exact::<1>(bytes)?[0] != 0),
        PgType::Int2 => Datum::Int2(i16::from_be_bytes(exact(bytes)?)),
        PgType::Int4 => Datum::Int4(i32::from_be_bytes(exact(bytes)?)),
        PgType::Int8 => Datum::Int8(i64::from_be_bytes(exact(bytes)?)),
        PgType::Float4 => Datum::Float4(f32::from_be_bytes(exact(bytes)?)),
        PgType::Float8 => Datum::Float8(f64::from_be_bytes(exact(bytes)?)),
        PgType::Numeric => Datum::Numeric(receive_numeric(bytes)?),
        PgType::Text | PgType::Varchar | PgType::Bpchar | PgType::Unknown => Datum::Text(text(bytes)?),
        PgType::Name => Datum::Text(super::text::truncate_name(&text(bytes)?).to_string()),
        PgType::Char => Datum::Text(match exact::<1>(bytes)? {
            [0] => String::new(),
            one => text(&one)?,
        }),
        PgType::Json => Datum::Text(super::json::checked(&text(bytes)?)?),
        PgType::Bytea => Datum::Bytea(bytes.to_vec()),
        PgType::Int2vector | PgType::Oidvector | PgType::Array(_) => Datum::Array(array::receive(ty, bytes)?),
        PgType::Uuid => Datum::Uuid(exact(bytes)?),
        PgType::Date => match i32::from_be_bytes(exact(bytes)?) {
            infinite @ (i32::MIN | i32::MAX) => Datum::Date(infinite),
            days => Datum::Date(calendar::check_date(i64::from(days) + i64::from(PG_EPOCH_DAYS))?),
        },
        PgType::Time => match i64::from_be_bytes(exact(bytes)?) {
            t if (0..=calendar::MICROS_PER_DAY).contains(&t) => Datum::Time(t),
            _ => {
                return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "time out of range"));
            }
        },
        PgType::Timestamp => Datum::Timestamp(receive_timestamp(bytes)?),
        PgType::Timestamptz => Datum::Timestamptz(receive_timestamp(bytes)?),
        PgType::Interval => {
            let [time @ .., _, _, _, _, _, _, _, _] = &exact::<16>(bytes)?;
            let rest = &bytes[8..];
            Datum::Interval(checked_interval(
                i128::from(i32::from_be_bytes(exact(&rest[4..])?)),
                i128::from(i32::from_be_bytes(exact(&rest[..4])?)),
                i128::from(i64::from_be_bytes(*time)),
            )?)
        }
        PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc => {
            Datum::Oid(u32::from_be_bytes(exact(bytes)?))
        }
        PgType::Void => Datum::Text(String::new()),
    };
    length::coerce(value, ty, typmod, false)
}

fn receive_timestamp(bytes: &[u8]) -> Result<i64> {
    match i64::from_be_bytes(exact(bytes)?) {
        infinite @ (i64::MIN | i64::MAX) => Ok(infinite),
        micros => calendar::check_timestamp(i128::from(micros) + i128::from(PG_EPOCH_MICROS)),
    }
}

pub(super) fn send(value: &Datum, ty: PgType, out: &mut Vec<u8>) {
    match value {
        Datum::Null => {}
        Datum::Bool(v) => out.push(u8::from(*v)),
        Datum::Int2(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Int4(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Int8(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Float4(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Float8(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Numeric(v) => send_numeric(v, out),
        Datum::Text(v) if ty == PgType::Char => out.push(v.bytes().next().unwrap_or(0)),
        Datum::Text(v) => out.extend_from_slice(v.as_bytes()),
        Datum::Bytea(v) => out.extend_from_slice(v),
        Datum::Uuid(v) => out.extend_from_slice(v),
        Datum::Date(v) => out.extend_from_slice(&date_on_wire(*v).to_be_bytes()),
        Datum::Time(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Timestamp(v) | Datum::Timestamptz(v) => {
            out.extend_from_slice(&timestamp_on_wire(*v).to_be_bytes());
        }
        Datum::Interval(v) => {
            out.extend_from_slice(&v.micros.to_be_bytes());
            out.extend_from_slice(&v.days.to_be_bytes());
            out.extend_from_slice(&v.months.to_be_bytes());
        }
        Datum::Oid(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Array(items) => array::send(items, ty, out),
    }
}

pub(super) fn date_on_wire(days: i32) -> i32 {
    if matches!(days, i32::MIN | i32::MAX) { days } else { days - PG_EPOCH_DAYS }
}

pub(super) fn timestamp_on_wire(micros: i64) -> i64 {
    if matches!(micros, i64::MIN | i64::MAX) { micros } else { micros - PG_EPOCH_MICROS }
}

const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_NEG_INFINITY: u16 = 0xF000;

/// Number of digits, weight of the first, sign, display scale, then the digits to base 10000.
pub(super) fn send_numeric(value: &Numeric, out: &mut Vec<u8>) {
    let mut put = |words: [u16; 4]| words.iter().for_each(|w| out.extend_from_slice(&w.to_be_bytes()));
    let (digits, scale) = match value {
        Numeric::NaN => return put([0, 0, NUMERIC_NAN, 0]),
        Numeric::Infinity => return put([0, 0, NUMERIC_INFINITY, 0]),
        Numeric::NegInfinity => return put([0, 0, NUMERIC_NEG_INFINITY, 0]),
        Numeric::Finite { digits, scale } => (digits, *scale),
    };
    // Whole base-10000 digits after the point.
    let pad = (4 - scale % 4) % 4;
    let mut groups: Vec<u16> = Vec::new();
    let mut pairs = (digits.magnitude() * 10u32.pow(pad)).to_radix_be(100);
    if pairs.len() % 2 == 1 {
        pairs.insert(0, 0);
    }
    groups.extend(pairs.chunks(2).map(|p| u16::from(p[0]) * 100 + u16::from(p[1])));
    let fraction = i64::from((scale + pad) / 4);
    let mut weight = groups.len() as i64 - fraction - 1;
    let leading = groups.iter().take_while(|g| **g == 0).count();
    weight -= leading as i64;
    let used = groups.iter().rposition(|g| *g != 0).map_or(leading, |last| last + 1);
    let groups = &groups[leading..used.max(leading)];
    if groups.is_empty() {
        weight = 0;
    }
    let sign = if digits.sign() == Sign::Minus { NUMERIC_NEGATIVE } else { 0 };
    put([groups.len() as u16, weight as i16 as u16, sign, scale as u16]);
    groups.iter().for_each(|g| out.extend_from_slice(&g.to_be_bytes()));
}

fn receive_numeric(bytes: &[u8]) -> Result<Numeric> {
    let bad = |what: &str| {
        SqlError::new(
            SqlState::INVALID_BINARY_REPRESENTATION,
            format!("invalid {what} in external \"numeric\" value"),
        )
    };
    let words: Vec<u16> = bytes.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect();
    let [count, weight, sign, scale, groups @ ..] = &words[..] else { return Err(malformed()) };
    if !bytes.len().is_multiple_of(2) || groups.len() != usize::from(*count) {
        return Err(malformed());
    }
    match *sign {
        NUMERIC_NAN => return Ok(Numeric::NaN),
        NUMERIC_INFINITY => return Ok(Numeric::Infinity),
        NUMERIC_NEG_INFINITY => return Ok(Numeric::NegInfinity),
        0 | NUMERIC_NEGATIVE => {}
        _ => return Err(bad("sign")),
    }
    if *scale > 0x3fff {
        return Err(bad("scale"));
    }
    if groups.iter().any(|g| *g > 9999) {
        return Err(bad("digit"));
    }
    let pairs: Vec<u8> = groups.iter().flat_map(|g| [(g / 100) as u8, (g % 100) as u8]).collect();
    let magnitude = BigUint::from_radix_be(&pairs, 100).unwrap_or_default();
    let mut digits = BigInt::from(magnitude);
    if *sign == NUMERIC_NEGATIVE {
        digits = -digits;
    }
    // value = digits · 10000^(weight − count + 1), cut to the display scale as PostgreSQL cuts it.
    let power = 4 * (i64::from(*weight as i16) - groups.len() as i64 + 1);
    let value = if power >= 0 {
        Numeric::new(digits * super::numeric::pow10(power as u32), 0)
    } else {
        Numeric::new(digits, (-power) as u32)
    };
    Ok(value.trunc_exact(u32::from(*scale)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TimeZone;

    #[test]
    fn every_type_comes_back() {
        let samples = [
            (PgType::Bool, "t"),
            (PgType::Int2, "-5"),
            (PgType::Int4, "123456"),
            (PgType::Int8, "-9000000000"),
            (PgType::Float4, "1.5"),
            (PgType::Float8, "-0.1"),
            (PgType::Text, "grüß"),
            (PgType::Bytea, "\\x00ff"),
            (PgType::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            (PgType::Date, "1999-12-31"),
            (PgType::Date, "-infinity"),
            (PgType::Time, "23:59:59.999999"),
            (PgType::Timestamp, "1999-12-31 23:59:59"),
            (PgType::Timestamptz, "infinity"),
            (PgType::Interval, "1 year -2 days +03:00:00"),
            (PgType::Oid, "4294967295"),
            (PgType::Numeric, "0"),
            (PgType::Numeric, "0.00"),
            (PgType::Numeric, "-12345.6700"),
            (PgType::Numeric, "0.00001"),
            (PgType::Numeric, "100000000"),
            (PgType::Numeric, "NaN"),
            (PgType::Numeric, "123456789012345678901234567890.123456789"),
        ];
        for (ty, text) in samples {
            let value = Datum::from_text(ty, text, -1, &TimeZone::UTC).unwrap();
            let mut wire = Vec::new();
            value.write_binary(ty, &mut wire);
            let back = Datum::from_binary(ty, &wire, -1).unwrap();
            assert_eq!(back.to_text(ty, &TimeZone::UTC), text, "{ty}");
        }
        let mut wire = Vec::new();
        Datum::Numeric("1.5".parse().unwrap()).write_binary(PgType::Numeric, &mut wire);
        assert_eq!(wire, [0, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0x13, 0x88]);
    }

    #[test]
    fn garbage_is_refused() {
        for ty in PgType::all() {
            for len in 0..20 {
                let _ = Datum::from_binary(ty, &vec![0xa7; len], -1);
                let _ = Datum::from_binary(ty, &vec![0; len], -1);
            }
        }
        assert_eq!(Datum::from_binary(PgType::Int4, &[1], -1).unwrap_err().sqlstate.0, "22P03");
        assert_eq!(Datum::from_binary(PgType::Text, &[0xff], -1).unwrap_err().sqlstate.0, "22021");
    }
}

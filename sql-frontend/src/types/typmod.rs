//! Type modifiers: the `(10,2)` behind a type's name, encoded as PostgreSQL encodes them.

use super::PgType;
use crate::{Result, SqlError, SqlState};

const HEADER: i32 = 4;
const MAX_CHARS: i64 = 10_485_760;

fn bad(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

pub(super) fn encode(ty: PgType, modifiers: &[i64]) -> Result<i32> {
    match (ty, modifiers) {
        (_, []) => Ok(-1),
        (PgType::Varchar | PgType::Bpchar, [n]) => {
            let name = if ty == PgType::Varchar { "varchar" } else { "char" };
            if *n < 1 {
                return Err(bad(format!("length for type {name} must be at least 1")));
            }
            if *n > MAX_CHARS {
                return Err(bad(format!("length for type {name} cannot exceed {MAX_CHARS}")));
            }
            Ok(*n as i32 + HEADER)
        }
        (PgType::Numeric, [precision]) => encode_numeric(*precision, 0),
        (PgType::Numeric, [precision, scale]) => encode_numeric(*precision, *scale),
        (PgType::Numeric, _) => Err(bad("invalid NUMERIC type modifier".into())),
        (PgType::Time | PgType::Timestamp | PgType::Timestamptz | PgType::Interval, [p]) => {
            if *p < 0 {
                let name = ty.name().trim_end_matches("tz").to_uppercase();
                let zone = if ty == PgType::Timestamptz { " WITH TIME ZONE" } else { "" };
                return Err(bad(format!("{name}({p}){zone} precision must not be negative")));
            }
            // PostgreSQL lowers it to 6 with a warning.
            Ok((*p).min(6) as i32)
        }
        _ => Err(SqlError::new(
            SqlState::SYNTAX_ERROR,
            if matches!(ty, PgType::Varchar | PgType::Bpchar) {
                "invalid type modifier".to_string()
            } else {
                format!("type modifier is not allowed for type \"{}\"", ty.name())
            },
        )),
    }
}

fn encode_numeric(precision: i64, scale: i64) -> Result<i32> {
    if !(1..=1000).contains(&precision) {
        return Err(bad(format!("NUMERIC precision {precision} must be between 1 and 1000")));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(bad(format!("NUMERIC scale {scale} must be between -1000 and 1000")));
    }
    Ok(((precision as i32) << 16 | (scale as i32 & 0x7ff)) + HEADER)
}

/// Precision and scale of a numeric's modifier.
pub(crate) fn numeric(typmod: i32) -> Option<(i32, i32)> {
    if typmod < HEADER {
        return None;
    }
    let raw = typmod - HEADER;
    Some((raw >> 16, ((raw & 0x7ff) ^ 1024) - 1024))
}

/// Greatest length in characters of a varchar or bpchar.
pub(crate) fn chars(typmod: i32) -> Option<usize> {
    (typmod >= HEADER).then(|| (typmod - HEADER) as usize)
}

/// Digits after the second's point.
pub(crate) fn seconds(typmod: i32) -> Option<u32> {
    (typmod >= 0).then(|| (typmod & 0xffff).min(6) as u32)
}

pub(super) fn format(ty: PgType, typmod: i32) -> String {
    if let (PgType::Array(_), Some(element)) = (ty, ty.element()) {
        return format!("{}[]", element.format(typmod));
    }
    match ty {
        PgType::Numeric => match numeric(typmod) {
            Some((p, s)) => format!("numeric({p},{s})"),
            None => "numeric".into(),
        },
        PgType::Varchar | PgType::Bpchar => match chars(typmod) {
            Some(n) => format!("{}({n})", ty.sql_name()),
            None if ty == PgType::Bpchar => "bpchar".into(),
            None => ty.sql_name().into(),
        },
        PgType::Time | PgType::Timestamp | PgType::Timestamptz | PgType::Interval => match seconds(typmod) {
            Some(p) if ty == PgType::Interval => format!("interval({p})"),
            Some(p) => {
                let (head, tail) = ty.sql_name().split_once(' ').unwrap_or((ty.sql_name(), ""));
                format!("{head}({p}) {tail}")
            }
            None => ty.sql_name().into(),
        },
        _ => ty.sql_name().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_look_as_in_postgresql() {
        let typmod = PgType::Numeric.typmod(&[10, 2]).unwrap();
        assert_eq!(typmod, 655366);
        assert_eq!(PgType::Numeric.format(typmod), "numeric(10,2)");
        assert_eq!(numeric(PgType::Numeric.typmod(&[3, -5]).unwrap()), Some((3, -5)));
        assert_eq!(PgType::Varchar.format(PgType::Varchar.typmod(&[5]).unwrap()), "character varying(5)");
        assert_eq!(PgType::Timestamptz.format(3), "timestamp(3) with time zone");
        assert_eq!(PgType::Text.format(-1), "text");
        assert!(PgType::Varchar.typmod(&[0]).is_err());
        assert!(PgType::Int4.typmod(&[3]).is_err());
    }
}

//! Type names.

use super::Positions;
use super::position::At;
use crate::error::{SqlError, SqlState};
use crate::types::PgType;
use sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, Ident, IntervalFields, ObjectName,
    ObjectNamePart, TimezoneInfo,
};

/// A type name with its modifier (−1 for none). 42704 for an unknown one, 0A000 for what PostgreSQL has and we have not.
pub fn bind_type(ty: &DataType, positions: Option<&Positions>) -> Result<(PgType, i32), SqlError> {
    let plain = |ty: PgType| Ok((ty, -1));
    let with = |ty: PgType, modifiers: &[i64]| Ok((ty, ty.typmod(modifiers)?));
    match ty {
        DataType::Bool | DataType::Boolean => plain(PgType::Bool),
        DataType::Int2(None) | DataType::SmallInt(None) => plain(PgType::Int2),
        DataType::Int(None) | DataType::Int4(None) | DataType::Integer(None) => plain(PgType::Int4),
        DataType::Int8(None) | DataType::BigInt(None) => plain(PgType::Int8),
        DataType::Real | DataType::Float4 => plain(PgType::Float4),
        DataType::Float8 | DataType::DoublePrecision | DataType::Float(ExactNumberInfo::None) => {
            plain(PgType::Float8)
        }
        DataType::Float(ExactNumberInfo::Precision(p)) => match p {
            0 => Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "precision for type float must be at least 1 bit",
            )),
            1..=24 => plain(PgType::Float4),
            25..=53 => plain(PgType::Float8),
            _ => Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "precision for type float must be less than 54 bits",
            )),
        },
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => match info {
            ExactNumberInfo::None => plain(PgType::Numeric),
            ExactNumberInfo::Precision(p) => with(PgType::Numeric, &[*p as i64]),
            ExactNumberInfo::PrecisionAndScale(p, s) => with(PgType::Numeric, &[*p as i64, *s]),
        },
        DataType::Text => plain(PgType::Text),
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            match chars(length)? {
                Some(n) => with(PgType::Varchar, &[n]),
                None => plain(PgType::Varchar),
            }
        }
        DataType::Char(length) | DataType::Character(length) => {
            with(PgType::Bpchar, &[chars(length)?.unwrap_or(1)])
        }
        DataType::Bytea => plain(PgType::Bytea),
        DataType::Uuid => plain(PgType::Uuid),
        DataType::Date => plain(PgType::Date),
        DataType::Time(p, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => precision(PgType::Time, *p),
        DataType::Timestamp(p, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            precision(PgType::Timestamp, *p)
        }
        DataType::Timestamp(p, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            precision(PgType::Timestamptz, *p)
        }
        DataType::Interval { fields: None, precision: p } => precision(PgType::Interval, *p),
        DataType::Interval { fields: Some(fields), .. } => {
            Err(SqlError::unsupported(format!("type interval {}", fields_name(fields))))
        }
        DataType::Regclass => plain(PgType::Regclass),
        DataType::JSON => plain(PgType::Json),
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
            let (element, typmod) = bind_type(element, positions)?;
            if element.is_array() || typmod != -1 {
                return Err(SqlError::unsupported(format!("type {}", ty.to_string().to_lowercase())));
            }
            let array = element.array();
            plain(array.ok_or_else(|| SqlError::unsupported(format!("an array of {element}")))?)
        }
        DataType::Custom(name, modifiers) => custom(name, modifiers, positions),
        other => Err(SqlError::unsupported(format!("type {}", other.to_string().to_lowercase()))),
    }
}

fn fields_name(fields: &IntervalFields) -> String {
    fields.to_string().to_lowercase()
}

fn precision(ty: PgType, p: Option<u64>) -> Result<(PgType, i32), SqlError> {
    match p {
        Some(p) => Ok((ty, ty.typmod(&[p.min(i64::MAX as u64) as i64])?)),
        None => Ok((ty, -1)),
    }
}

fn chars(length: &Option<CharacterLength>) -> Result<Option<i64>, SqlError> {
    match length {
        None => Ok(None),
        Some(CharacterLength::IntegerLength { length, unit: None }) => {
            Ok(Some((*length).min(i64::MAX as u64) as i64))
        }
        Some(other) => Err(SqlError::unsupported(format!("character length {other}"))),
    }
}

fn custom(
    name: &ObjectName,
    modifiers: &[String],
    positions: Option<&Positions>,
) -> Result<(PgType, i32), SqlError> {
    let parts: Vec<&Ident> = name
        .0
        .iter()
        .filter_map(|p| match p {
            ObjectNamePart::Identifier(ident) => Some(ident),
            ObjectNamePart::Function(_) => None,
        })
        .collect();
    let at = parts.first().and_then(|i| positions.and_then(|p| p.of_span(i.span)));
    let unknown =
        || Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist")));
    let ident = match parts[..] {
        [ident] => ident,
        [schema, ident] if fold(schema) == "pg_catalog" => ident,
        _ => return unknown().at(at),
    };
    let folded = fold(ident);
    let found = if ident.quote_style.is_some() && folded == "char" {
        Some(PgType::Char)
    } else {
        PgType::from_name(&folded)
    };
    let Some(ty) = found else { return unknown().at(at) };
    let modifiers: Vec<i64> = modifiers
        .iter()
        .map(|m| m.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|_| {
            SqlError::new(SqlState::SYNTAX_ERROR, "type modifiers must be simple constants or identifiers")
        })
        .at(at)?;
    Ok((ty, ty.typmod(&modifiers).at(at)?))
}

/// An identifier as PostgreSQL stores it: folded to lower case unless quoted.
pub(crate) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

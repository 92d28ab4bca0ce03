//! Literals.

use super::Binder;
use super::position::At;
use super::typed::{Pending, Typed, param_name, placeholder};
use crate::error::{SqlError, SqlState};
use crate::types::{Datum, PgType, to_scalar};
use sqlparser::ast::{Value, ValueWithSpan};

/// Highest parameter number, PostgreSQL's limit of the wire protocol.
const MAX_PARAMS: usize = 65_535;

impl Binder<'_> {
    pub(super) fn value(&mut self, value: &ValueWithSpan) -> Result<Typed, SqlError> {
        let pos = self.positions.of_span(value.span);
        match &value.value {
            Value::Number(text, _) => self.number(text, pos),
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => Ok(Typed::unknown(text, pos)),
            Value::DollarQuotedString(text) => Ok(Typed::unknown(&text.value, pos)),
            Value::Boolean(b) => {
                Ok(Typed::literal(to_scalar(&Datum::Bool(*b), PgType::Bool), PgType::Bool, pos))
            }
            Value::Null => Ok(Typed::null(pos)),
            Value::Placeholder(name) => self.param(name, pos),
            other => Err(SqlError::unsupported(format!("the literal {other}"))).at(pos),
        }
    }

    /// int4, int8 or numeric, the first that holds it.
    pub(super) fn number(&self, text: &str, pos: Option<u32>) -> Result<Typed, SqlError> {
        let (datum, ty) = if let Ok(v) = text.parse::<i32>() {
            (Datum::Int4(v), PgType::Int4)
        } else if let Ok(v) = text.parse::<i64>() {
            (Datum::Int8(v), PgType::Int8)
        } else {
            (Datum::from_text(PgType::Numeric, text, -1, &self.ctx.zone).at(pos)?, PgType::Numeric)
        };
        Ok(Typed::literal(to_scalar(&datum, ty), ty, pos))
    }

    fn param(&mut self, name: &str, pos: Option<u32>) -> Result<Typed, SqlError> {
        let number = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        let Some(at) = number.and_then(|n| n.checked_sub(1)).filter(|n| *n < MAX_PARAMS) else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_PARAMETER,
                format!("there is no parameter {name}"),
            ))
            .at(pos);
        };
        if !self.params_allowed {
            return Err(SqlError::new(
                SqlState::UNDEFINED_PARAMETER,
                format!("there is no parameter {name}"),
            ))
            .at(pos);
        }
        if self.params.len() <= at {
            self.params.resize(at + 1, None);
        }
        Ok(match self.params[at] {
            Some(ty) => Typed::new(placeholder(&param_name(at), ty), ty, pos),
            None => Typed {
                pending: Some(Pending::Param(at)),
                ..Typed::new(placeholder(&param_name(at), PgType::Unknown), PgType::Unknown, pos)
            },
        })
    }
}

//! The values of `generate_series(start, stop, step)`.

use crate::error::{SqlError, SqlState};
use crate::func::{StatementContext, resolve_binary_operator};
use crate::types::{Datum, Interval, Numeric, PgType};
use std::cmp::Ordering;

#[derive(Clone)]
pub(super) struct Steps {
    next: Option<Datum>,
    stop: Datum,
    step: Datum,
    ty: PgType,
    step_ty: PgType,
    up: bool,
}

impl Steps {
    pub(super) fn new(
        start: Datum,
        stop: Datum,
        step: Datum,
        ty: PgType,
        step_ty: PgType,
    ) -> Result<Self, SqlError> {
        let none = start.is_null() || stop.is_null() || step.is_null();
        let zero = match step_ty {
            PgType::Int4 => Datum::Int4(0),
            PgType::Int8 => Datum::Int8(0),
            PgType::Numeric => Datum::Numeric(Numeric::zero()),
            _ => Datum::Interval(Interval::default()),
        };
        let up = match step.compare(&zero, step_ty) {
            Some(Ordering::Equal) => {
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero"));
            }
            Some(Ordering::Less) => false,
            _ => true,
        };
        Ok(Steps { next: (!none).then_some(start), stop, step, ty, step_ty, up })
    }

    fn advance(&self, from: &Datum) -> Result<Option<Datum>, SqlError> {
        match (from, &self.step) {
            // The end of the type ends the series, as in PostgreSQL.
            (Datum::Int4(a), Datum::Int4(b)) => Ok(a.checked_add(*b).map(Datum::Int4)),
            (Datum::Int8(a), Datum::Int8(b)) => Ok(a.checked_add(*b).map(Datum::Int8)),
            _ => {
                let plus = resolve_binary_operator("+", self.ty, self.step_ty)?;
                plus.eval(&[from.clone(), self.step.clone()], &StatementContext::default()).map(Some)
            }
        }
    }

    pub(super) fn take(&mut self) -> Result<Option<Datum>, SqlError> {
        let Some(value) = self.next.take() else { return Ok(None) };
        let beyond = if self.up { Ordering::Greater } else { Ordering::Less };
        if value.compare(&self.stop, self.ty) == Some(beyond) {
            return Ok(None);
        }
        self.next = self.advance(&value)?;
        Ok(Some(value))
    }
}

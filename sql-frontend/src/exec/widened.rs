//! Comparisons of integers across their types.
//!
//! `int4_column = int8_value` compares both sides as int8. The column's key holds an int4 all the same: the value is
//! fitted to it, and one beyond the column's range is known to be below or above all of it.

use crate::func::widening;
use crate::types::{Datum, PgType};
use datafusion::common::Column;
use datafusion::logical_expr::Expr;

/// A column as a comparison has it.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    pub column: &'a Column,
    /// The type that it is compared in, where that is not its own.
    pub wide: Option<PgType>,
}

impl<'a> Operand<'a> {
    pub fn of(expr: &'a Expr) -> Option<Operand<'a>> {
        match expr {
            Expr::Column(column) => Some(Operand { column, wide: None }),
            _ => match widening(expr)? {
                (Expr::Column(column), wide) => Some(Operand { column, wide: Some(wide) }),
                _ => None,
            },
        }
    }

    /// The type of the values it is compared with; `ty` is the column's own.
    pub fn compared_as(&self, ty: PgType) -> PgType {
        self.wide.unwrap_or(ty)
    }
}

/// A value beside the range of a type.
#[derive(Clone, Debug, PartialEq)]
pub enum Fit {
    Within(Datum),
    Below,
    Above,
}

/// Fits a value to a column's type. Values that are no integers are of that type already.
pub fn fit(value: &Datum, ty: PgType) -> Fit {
    let (number, own) = match *value {
        Datum::Int2(v) => (i64::from(v), PgType::Int2),
        Datum::Int4(v) => (i64::from(v), PgType::Int4),
        Datum::Int8(v) => (v, PgType::Int8),
        _ => return Fit::Within(value.clone()),
    };
    let fitted = match ty {
        _ if ty == own => return Fit::Within(value.clone()),
        PgType::Int2 => i16::try_from(number).ok().map(Datum::Int2),
        PgType::Int4 => i32::try_from(number).ok().map(Datum::Int4),
        PgType::Int8 => Some(Datum::Int8(number)),
        _ => return Fit::Within(value.clone()),
    };
    match fitted {
        Some(value) => Fit::Within(value),
        None if number < 0 => Fit::Below,
        None => Fit::Above,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_fitted() {
        assert_eq!(fit(&Datum::Int8(-5), PgType::Int2), Fit::Within(Datum::Int2(-5)));
        assert_eq!(fit(&Datum::Int8(i64::from(i32::MAX) + 1), PgType::Int4), Fit::Above);
        assert_eq!(fit(&Datum::Int4(-40_000), PgType::Int2), Fit::Below);
        assert_eq!(fit(&Datum::Int2(7), PgType::Int8), Fit::Within(Datum::Int8(7)));
        assert_eq!(fit(&Datum::Null, PgType::Int4), Fit::Within(Datum::Null));
    }
}

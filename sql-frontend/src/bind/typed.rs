//! A bound expression with its PostgreSQL type.

use crate::types::PgType;
use datafusion::arrow::datatypes::{Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Placeholder;
use std::sync::Arc;

/// An expression that has been given a meaning.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub expr: Expr,
    pub ty: PgType,
    /// −1: none, or not known to survive.
    pub typmod: i32,
    /// Where it begins.
    pub pos: Option<u32>,
    /// Set while `ty` is unknown and something may still decide it.
    pub pending: Option<Pending>,
    /// Table id and column id of a plain column.
    pub origin: Option<(u64, u32)>,
}

/// Something without a type yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pending {
    /// A string literal's text.
    Literal(String),
    /// `NULL`.
    Null,
    /// Parameter, counted from 0.
    Param(usize),
}

impl Typed {
    pub fn new(expr: Expr, ty: PgType, pos: Option<u32>) -> Self {
        Typed { expr, ty, typmod: -1, pos, pending: None, origin: None }
    }

    pub fn literal(value: ScalarValue, ty: PgType, pos: Option<u32>) -> Self {
        Typed::new(Expr::Literal(value, None), ty, pos)
    }

    pub fn unknown(text: &str, pos: Option<u32>) -> Self {
        let expr = Expr::Literal(ScalarValue::Utf8(Some(text.to_string())), None);
        Typed { pending: Some(Pending::Literal(text.to_string())), ..Typed::new(expr, PgType::Unknown, pos) }
    }

    pub fn null(pos: Option<u32>) -> Self {
        let expr = Expr::Literal(ScalarValue::Utf8(None), None);
        Typed { pending: Some(Pending::Null), ..Typed::new(expr, PgType::Unknown, pos) }
    }

    pub fn bool(expr: Expr, pos: Option<u32>) -> Self {
        Typed::new(expr, PgType::Bool, pos)
    }
}

/// A nullable field of a type's Arrow shape.
pub(crate) fn field(name: &str, ty: PgType) -> FieldRef {
    Arc::new(Field::new(name, ty.arrow(), true))
}

/// A typed placeholder; `id` starts with `$`.
pub(crate) fn placeholder(id: &str, ty: PgType) -> Expr {
    Expr::Placeholder(Placeholder::new_with_field(id.to_string(), Some(field("", ty))))
}

/// The name of parameter `n` (from 0).
pub(crate) fn param_name(n: usize) -> String {
    format!("${}", n + 1)
}

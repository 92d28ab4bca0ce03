//! Arrays: constructors, subscripts, `ANY` and `ALL`.

use super::Binder;
use super::expr::strip;
use super::position::At;
use super::typed::Typed;
use crate::error::{SqlError, SqlState};
use crate::func::{CastContext, array};
use crate::types::{Datum, PgType, from_scalar, to_scalar};
use datafusion::logical_expr::Expr;
use sqlparser::ast::{self, AccessExpr, Subscript};

impl Binder<'_> {
    /// `ARRAY[…]`; a cast around it goes to the elements.
    pub(super) fn array(
        &mut self,
        elements: &[ast::Expr],
        wanted: Option<PgType>,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        if elements.iter().any(|e| matches!(strip(e), ast::Expr::Array(_))) {
            return Err(SqlError::unsupported("an array of more than one dimension")).at(pos);
        }
        let mut bound = Vec::with_capacity(elements.len());
        for element in elements {
            bound.push(self.expr(element)?);
        }
        let (bound, element) = match wanted {
            Some(ty) => {
                let cast = bound.into_iter().map(|e| self.cast(e, ty, -1, CastContext::Explicit));
                (cast.collect::<Result<Vec<_>, _>>()?, ty)
            }
            None if bound.is_empty() => {
                return Err(SqlError::new(
                    SqlState::INDETERMINATE_DATATYPE,
                    "cannot determine type of empty array",
                )
                .hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."))
                .at(pos);
            }
            None => self.unify("ARRAY", bound)?,
        };
        if element.element().is_some() {
            return Err(SqlError::unsupported("an array of more than one dimension")).at(pos);
        }
        let ty =
            element.array().ok_or_else(|| SqlError::unsupported(format!("an array of {element}"))).at(pos)?;
        if let Some(items) = literals(&bound, element) {
            return Ok(Typed::literal(to_scalar(&Datum::Array(items), ty), ty, pos));
        }
        let call = array::constructor(element, ty, bound.len());
        Ok(Typed::new(call.call(bound.into_iter().map(|e| e.expr).collect()), ty, pos))
    }

    /// `array[n]`.
    pub(super) fn subscripts(
        &mut self,
        root: &ast::Expr,
        chain: &[AccessExpr],
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let [AccessExpr::Subscript(Subscript::Index { index })] = chain else {
            return Err(SqlError::unsupported("this form of subscript")).at(pos);
        };
        let value = self.expr(root)?;
        let Some(found) = array::subscript(value.ty) else {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("cannot subscript type {} because it does not support subscripting", value.ty),
            ))
            .at(pos);
        };
        let index = self.expr(index)?;
        let index = self.assign(index, "subscript", PgType::Int4, -1).map_err(|e| {
            if e.sqlstate != SqlState::DATATYPE_MISMATCH {
                return e;
            }
            SqlError::new(SqlState::DATATYPE_MISMATCH, "array subscript must have type integer")
        })?;
        self.finish_call(&found, vec![value, index], pos)
    }

    /// `left op ANY (array)`, or `ALL`.
    pub(super) fn quantified_array(
        &mut self,
        left: &ast::Expr,
        op: &str,
        right: &ast::Expr,
        all: bool,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let at = self.positions.after(left);
        let value = self.expr(left)?;
        let array = self.expr(right)?;
        // An untyped right side is an array of what the left is.
        let array = match (&array.pending, value.ty.array()) {
            (Some(_), Some(ty)) => self.coerce(array, ty)?,
            (Some(_), None) if value.ty == PgType::Unknown => self.coerce(array, PgType::TEXT_ARRAY)?,
            _ => array,
        };
        let found = array::resolve_any(op, value.ty, array.ty, all).at(at)?;
        let [l, r] = found.arg_types[..] else { return Err(SqlError::internal("an operator of two sides")) };
        let (value, array) = (self.coerce(value, l)?, self.coerce(array, r)?);
        let expr = match found.call(vec![value.expr, array.expr]) {
            Expr::ScalarFunction(call) => match array::as_list(&call) {
                Some(list) => list,
                None => Expr::ScalarFunction(call),
            },
            other => other,
        };
        Ok(Typed::bool(expr, pos))
    }
}

fn literals(elements: &[Typed], ty: PgType) -> Option<Vec<Datum>> {
    let datum = |e: &Typed| match &e.expr {
        Expr::Literal(value, _) => from_scalar(value, ty).ok(),
        _ => None,
    };
    elements.iter().map(datum).collect()
}

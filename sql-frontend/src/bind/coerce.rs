//! Bringing expressions to types: implicit casts, assignments, explicit casts, common types.

use super::Binder;
use super::position::At;
use super::typed::{Pending, Typed, param_name, placeholder};
use crate::error::{SqlError, SqlState};
use crate::func::{CastContext, CastPlan, StatementContext, cast, common_type};
use crate::types::{Datum, PgType, from_scalar, to_scalar};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

impl Binder<'_> {
    /// For an argument whose type a resolution chose.
    pub(super) fn coerce(&mut self, from: Typed, ty: PgType) -> Result<Typed, SqlError> {
        self.cast(from, ty, -1, CastContext::Implicit)
    }

    /// What is still unknown becomes text.
    pub(super) fn settle(&mut self, from: Typed) -> Result<Typed, SqlError> {
        if from.ty == PgType::Unknown { self.coerce(from, PgType::Text) } else { Ok(from) }
    }

    /// Casts in a context. 42846 where there is no such cast.
    pub(super) fn cast(
        &mut self,
        from: Typed,
        ty: PgType,
        typmod: i32,
        context: CastContext,
    ) -> Result<Typed, SqlError> {
        let pos = from.pos;
        let from = match from.pending.clone() {
            Some(Pending::Literal(text)) => return self.read_literal(&text, ty, typmod, context, pos),
            Some(Pending::Null) => {
                return Ok(Typed { typmod, ..Typed::literal(to_scalar(&Datum::Null, ty), ty, pos) });
            }
            Some(Pending::Param(at)) => {
                let known = *self.params[at].get_or_insert(ty);
                Typed::new(placeholder(&param_name(at), known), known, pos)
            }
            None => from,
        };
        if from.ty == ty && (typmod == -1 || typmod == from.typmod) {
            return Ok(from);
        }
        if from.ty == PgType::Regclass && ty.is_string() && context >= CastContext::Assignment {
            // Its text is a name, which the catalog knows.
            if let Some(name) = self.ctx.catalog.function(None, "regclassout", &[PgType::Regclass]) {
                let text = self.finish_call(&name, vec![from], pos)?;
                return self.cast(text, ty, typmod, context);
            }
        }
        if ty == PgType::Regclass
            && from.ty.is_string()
            && context == CastContext::Explicit
            && let Some(relation) = self.ctx.catalog.function(None, "regclassin", &[PgType::Text])
        {
            return self.finish_call(&relation, vec![from], pos);
        }
        let Some(plan) = cast(from.ty, ty, typmod, context) else {
            return Err(SqlError::new(
                SqlState::CANNOT_COERCE,
                format!("cannot cast type {} to {}", from.ty, ty),
            ))
            .at(pos);
        };
        let origin = if from.ty == ty { from.origin } else { None };
        let expr = match &from.expr {
            // Folded here, so that keys are found and DataFusion has its literals; an error waits for the execution.
            Expr::Literal(value, _) if !plan.is_noop() => match self.fold_cast(&plan, value) {
                Some(folded) => Expr::Literal(folded, None),
                None => plan.call(from.expr),
            },
            _ if plan.is_noop() => from.expr,
            _ => plan.call(from.expr),
        };
        Ok(Typed { typmod, origin, ..Typed::new(expr, ty, pos) })
    }

    fn fold_cast(&self, plan: &CastPlan, value: &ScalarValue) -> Option<ScalarValue> {
        let session = StatementContext { timezone: self.ctx.zone, ..StatementContext::default() };
        let datum = from_scalar(value, plan.from).ok()?;
        let cast = plan.eval(&datum, &session).ok()?;
        Some(to_scalar(&cast, plan.to))
    }

    /// A string literal read by the type's input function, at once: its errors are those of the statement.
    fn read_literal(
        &mut self,
        text: &str,
        ty: PgType,
        typmod: i32,
        context: CastContext,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        if ty == PgType::Regclass && text.parse::<u32>().is_err() {
            let oid = self.ctx.catalog.regclass(text).ok_or_else(|| {
                SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"))
            });
            return Ok(Typed::literal(to_scalar(&Datum::Oid(oid.at(pos)?), ty), ty, pos));
        }
        let mut datum = Datum::from_text(ty, text, -1, &self.ctx.zone).at(pos)?;
        if typmod != -1
            && let Some(plan) = cast(ty, ty, typmod, context)
        {
            let session = StatementContext { timezone: self.ctx.zone, ..StatementContext::default() };
            datum = plan.eval(&datum, &session)?;
        }
        Ok(Typed { typmod, ..Typed::literal(to_scalar(&datum, ty), ty, pos) })
    }

    /// A value on its way into a column. 42804 when only an explicit cast would do.
    pub(super) fn assign(
        &mut self,
        from: Typed,
        column: &str,
        ty: PgType,
        typmod: i32,
    ) -> Result<Typed, SqlError> {
        let (from_ty, pos, pending) = (from.ty, from.pos, from.pending.is_some());
        if !pending && from_ty != ty && cast(from_ty, ty, typmod, CastContext::Assignment).is_none() {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("column \"{column}\" is of type {ty} but expression is of type {from_ty}"),
            )
            .hint("You will need to rewrite or cast the expression."))
            .at(pos);
        }
        self.cast(from, ty, typmod, CastContext::Assignment)
    }

    /// A condition. 42804 `argument of WHERE must be type boolean, not type …`.
    pub(super) fn condition(&mut self, from: Typed, of: &str) -> Result<Typed, SqlError> {
        let (ty, pos) = (from.ty, from.pos);
        if ty == PgType::Bool || ty == PgType::Unknown {
            return self.coerce(from, PgType::Bool);
        }
        Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!("argument of {of} must be type boolean, not type {ty}"),
        ))
        .at(pos)
    }

    /// Brings all to their common type. The position of an error is that of the first that does not fit.
    pub(super) fn unify(
        &mut self,
        construct: &str,
        items: Vec<Typed>,
    ) -> Result<(Vec<Typed>, PgType), SqlError> {
        let ty = self.common(construct, &items)?;
        let items = items.into_iter().map(|i| self.coerce(i, ty)).collect::<Result<_, _>>()?;
        Ok((items, ty))
    }

    pub(super) fn common(&mut self, construct: &str, items: &[Typed]) -> Result<PgType, SqlError> {
        let types: Vec<PgType> = items.iter().map(|i| i.ty).collect();
        match common_type(construct, &types) {
            Ok(ty) => Ok(ty),
            Err(error) => {
                let at = (1..=types.len()).find(|n| common_type(construct, &types[..*n]).is_err());
                Err(error).at(at.and_then(|n| items[n - 1].pos))
            }
        }
    }
}

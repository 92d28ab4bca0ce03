//! Which type can become which, when, and how.

use super::StatementContext;
use super::catalog::{CATALOG, CastMethod};
use super::eval;
use super::scalar::Function;
use crate::types::{Category, Datum, InputContext, PgType, length};
use crate::{Result, SqlError};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF, lit};
use std::sync::Arc;

/// Where a cast stands: each context allows what the ones before it allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CastContext {
    /// Inserted silently into an expression.
    Implicit,
    /// A value on its way into a column.
    Assignment,
    /// `CAST`, `::`.
    Explicit,
}

/// How to bring a value to a type.
#[derive(Clone)]
pub struct CastPlan {
    pub from: PgType,
    pub to: PgType,
    pub typmod: i32,
    pub context: CastContext,
    step: Option<(Arc<Function>, Arc<ScalarUDF>)>,
    length: Option<(Arc<Function>, Arc<ScalarUDF>)>,
}

impl std::fmt::Debug for CastPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {} ({:?})", self.from, self.to.format(self.typmod), self.context)
    }
}

/// The cast from one type to another with a type modifier (−1 for none), if `context` allows one; includes the length check of
/// the modifier: an explicit cast to `varchar(n)` cuts, an assignment refuses with 22001.
///
/// Not allowed: an explicit cast is refused by the caller with 42846 `cannot cast type … to …`, an assignment with 42804
/// `column "…" is of type … but expression is of type …` and the hint `You will need to rewrite or cast the expression.`
///
/// From `Unknown` there is a plan for every type (its input function), but a literal is better read at bind time.
pub fn cast(from: PgType, to: PgType, typmod: i32, context: CastContext) -> Option<CastPlan> {
    let step = match step(from, to, context)? {
        CastMethod::Relabel => None,
        CastMethod::Udf(function, udf) => Some((function, udf)),
    };
    let length = if typmod >= 0 { CATALOG.lengths.get(&to).cloned() } else { None };
    Some(CastPlan { from, to, typmod, context, step, length })
}

/// Whether an argument of type `from` may stand where `to` is declared.
pub(crate) fn coercible(from: PgType, to: PgType) -> bool {
    from == to || from == PgType::Unknown || step(from, to, CastContext::Implicit).is_some()
}

pub(crate) fn step(from: PgType, to: PgType, context: CastContext) -> Option<CastMethod> {
    if from == to {
        return Some(CastMethod::Relabel);
    }
    if from.element().is_some() || to.element().is_some() {
        return super::array::step(from, to, context);
    }
    if let Some((least, method)) = CATALOG.casts.get(&(from, to)) {
        // A cast of the catalog decides, even against one through text.
        return (*least <= context || from == PgType::Unknown).then(|| method.clone());
    }
    // PostgreSQL's automatic I/O casts: to strings by assignment, from strings only when asked for.
    let least = if from == PgType::Unknown {
        CastContext::Implicit
    } else if to.category() == Category::String {
        CastContext::Assignment
    } else if from.category() == Category::String {
        CastContext::Explicit
    } else {
        return None;
    };
    if least > context { None } else { CATALOG.io_cast(from, to) }
}

impl CastPlan {
    /// Whether the value stays as it is in Arrow, so that `call` returns its argument.
    pub fn is_noop(&self) -> bool {
        self.step.is_none() && self.length.is_none()
    }

    /// The expression of the target's type; hidden arguments are placeholders.
    pub fn call(&self, expr: Expr) -> Expr {
        let mut expr = expr;
        if let Some((function, udf)) = &self.step {
            let mut args = vec![expr];
            args.extend(function.hidden.iter().map(|h| h.placeholder()));
            expr = Expr::ScalarFunction(ScalarFunction::new_udf(udf.clone(), args));
        }
        if let Some((_, udf)) = &self.length {
            let explicit = self.context == CastContext::Explicit;
            let args = vec![expr, lit(self.typmod), lit(explicit)];
            expr = Expr::ScalarFunction(ScalarFunction::new_udf(udf.clone(), args));
        }
        expr
    }

    /// The same on one value, for literals, defaults and the fast path.
    pub fn eval(&self, value: &Datum, context: &StatementContext) -> Result<Datum> {
        if value.is_null() {
            return Ok(Datum::Null);
        }
        let explicit = self.context == CastContext::Explicit;
        let cast = match (&self.step, value) {
            (None, value) => value.clone(),
            (Some(_), Datum::Text(text)) if self.from == PgType::Unknown => {
                let input = InputContext { zone: context.timezone, now: Some(context.transaction_time) };
                Datum::input(self.to, text, -1, &input)?
            }
            (Some((function, _)), value) => eval::function(function, std::slice::from_ref(value), context)?,
        };
        length::coerce(cast, self.to, self.typmod, explicit)
    }
}

/// 42846, for an explicit cast that does not exist.
pub fn cannot_cast(from: PgType, to: PgType) -> SqlError {
    SqlError::new(crate::SqlState::CANNOT_COERCE, format!("cannot cast type {from} to {to}"))
}

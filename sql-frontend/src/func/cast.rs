//! Which type can become which, when, and how.

use super::StatementContext;
use crate::Result;
use crate::types::{Datum, PgType};
use datafusion::logical_expr::Expr;

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
#[derive(Clone, Debug)]
pub struct CastPlan {
    pub from: PgType,
    pub to: PgType,
    pub typmod: i32,
    pub context: CastContext,
}

/// The cast from one type to another with a type modifier (−1 for none), if `context` allows one; includes the length check of
/// the modifier: an explicit cast to `varchar(n)` cuts, an assignment refuses with 22001.
///
/// Not allowed: an explicit cast is refused by the caller with 42846 `cannot cast type … to …`, an assignment with 42804
/// `column "…" is of type … but expression is of type …` and the hint `You will need to rewrite or cast the expression.`
///
/// From `Unknown` there is a plan for every type (its input function), but a literal is better read at bind time.
pub fn cast(from: PgType, to: PgType, typmod: i32, context: CastContext) -> Option<CastPlan> {
    let _ = (from, to, typmod, context);
    todo!()
}

impl CastPlan {
    /// Whether the value stays as it is in Arrow, so that `call` returns its argument.
    pub fn is_noop(&self) -> bool {
        todo!()
    }

    /// The expression of the target's type; hidden arguments are placeholders.
    pub fn call(&self, expr: Expr) -> Expr {
        let _ = expr;
        todo!()
    }

    /// The same on one value, for literals, defaults and the fast path.
    pub fn eval(&self, value: &Datum, context: &StatementContext) -> Result<Datum> {
        let _ = (value, context);
        todo!()
    }
}

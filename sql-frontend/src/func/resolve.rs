//! Choosing a function or operator by PostgreSQL's rules (manual, chapter 10).

use super::{ContextValue, StatementContext};
use crate::types::{Datum, PgType};
use crate::{Result, SqlError, SqlState};
use datafusion::logical_expr::{AggregateUDF, Expr, Operator, ScalarUDF, WindowUDF};
use std::sync::Arc;

/// A function or operator that was chosen.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The name it was asked for by: the default column name of a function call.
    pub name: String,
    /// What each argument must be cast to before the call, in order (one for each given argument).
    pub arg_types: Vec<PgType>,
    pub result: PgType,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// A call of one of ours; the hidden arguments follow the visible ones.
    Call { udf: Arc<ScalarUDF>, hidden: Vec<ContextValue> },
    /// DataFusion's own operator on the keys of both sides.
    Compare(Operator),
    /// DataFusion's own operator (AND, OR, concatenation of what cannot differ).
    Native(Operator),
    /// The hidden value is the result: `now()`, `current_user`.
    Context(ContextValue),
    /// DataFusion's CASE-like forms.
    Coalesce,
}

impl Resolved {
    /// A call of a function from outside, without hidden arguments.
    pub fn external(name: &str, arg_types: Vec<PgType>, result: PgType, udf: Arc<ScalarUDF>) -> Resolved {
        Resolved { name: name.into(), arg_types, result, body: Body::Call { udf, hidden: vec![] } }
    }

    /// The expression for arguments that already have `arg_types`.
    pub fn call(&self, args: Vec<Expr>) -> Expr {
        let _ = args;
        todo!()
    }

    /// Whether two calls with the same arguments in one statement may differ: `random()`, `nextval()`.
    pub fn is_volatile(&self) -> bool {
        todo!()
    }

    /// Whether a null argument always makes the result null.
    pub fn is_strict(&self) -> bool {
        todo!()
    }

    /// The same on single values, for literals, defaults and the fast path.
    pub fn eval(&self, args: &[Datum], context: &StatementContext) -> Result<Datum> {
        let _ = (args, context);
        todo!()
    }
}

/// An aggregate that was chosen. `count(*)` is `resolve_aggregate("count", &[])`: call it with no arguments.
#[derive(Clone, Debug)]
pub struct ResolvedAggregate {
    pub arg_types: Vec<PgType>,
    pub result: PgType,
    pub udaf: Arc<AggregateUDF>,
}

/// A window function that was chosen: build `Expr::WindowFunction` from `body` and give it to `finish`.
#[derive(Clone, Debug)]
pub struct ResolvedWindow {
    pub arg_types: Vec<PgType>,
    pub result: PgType,
    pub body: WindowBody,
}

#[derive(Clone, Debug)]
pub enum WindowBody {
    Window(Arc<WindowUDF>),
    Aggregate(Arc<AggregateUDF>),
}

impl ResolvedWindow {
    /// Brings the window expression to `result`'s Arrow type (DataFusion counts in UInt64).
    pub fn finish(&self, window: Expr) -> Expr {
        let _ = window;
        todo!()
    }
}

/// Whether any scalar, aggregate or window function has this name, whatever its arguments.
pub fn function_exists(name: &str) -> bool {
    let _ = name;
    todo!()
}

/// A scalar function by name (folded, without `pg_catalog.`). 42883 when none fits, 42725 when several do equally well. Aggregates and
/// window functions are not found here: ask for those first, by [`resolve_aggregate`].
/// `coalesce`, `greatest`, `least` and `nullif` are resolved here too.
pub fn resolve_function(name: &str, args: &[PgType]) -> Result<Resolved> {
    let _ = (name, args);
    todo!()
}

/// A binary operator by its PostgreSQL spelling: `+ - * / % ^ || = <> != < <= > >= ~ ~* !~ !~* ~~ ~~* !~~ !~~* & | # << >>`, and
/// the words `LIKE`, `NOT LIKE`, `ILIKE`, `NOT ILIKE`, `SIMILAR TO`, `NOT SIMILAR TO`, `IS DISTINCT FROM`, `IS NOT DISTINCT FROM`, `AND`, `OR`,
/// `AT TIME ZONE` (zone on the right).
pub fn resolve_binary_operator(op: &str, left: PgType, right: PgType) -> Result<Resolved> {
    let _ = (op, left, right);
    todo!()
}

/// `-`, `+`, `~`, `@`, `|/`, `||/`, `NOT`.
pub fn resolve_unary_operator(op: &str, arg: PgType) -> Result<Resolved> {
    let _ = (op, arg);
    todo!()
}

/// The aggregate of that name: `Ok(None)` when no aggregate has the name, 42883 when none fits the arguments.
pub fn resolve_aggregate(name: &str, args: &[PgType]) -> Result<Option<ResolvedAggregate>> {
    let _ = (name, args);
    todo!()
}

/// A function called with `OVER`: window functions proper and all aggregates. 42809 for a plain function
/// (`OVER specified, but … is not a window function nor an aggregate function`).
pub fn resolve_window(name: &str, args: &[PgType]) -> Result<ResolvedWindow> {
    let _ = (name, args);
    todo!()
}

/// The one type for the branches of `construct` (`CASE`, `UNION`, `VALUES`, `IN`, …): 42804 `… types … and … cannot be matched`. All unknown: text.
pub fn common_type(construct: &str, types: &[PgType]) -> Result<PgType> {
    let _ = (construct, types);
    Err(SqlError::new(SqlState::DATATYPE_MISMATCH, ""))
}

/// What equality, order, hashing, grouping, joining and duplicate removal must be done on for an expression of type `ty`; the
/// expression itself where [`PgType::has_plain_equality`]. Sorting a key ascending sorts the values ascending, nulls stay null.
pub fn key(ty: PgType, expr: Expr) -> Expr {
    let _ = ty;
    expr
}

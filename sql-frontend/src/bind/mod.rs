//! From sqlparser's tree to typed logical plans, by PostgreSQL's rules.
//!
//! The binder resolves names, types, casts, operators and functions itself; DataFusion sees only plans in which every
//! expression has its final type. Columns carry names that are unique in the statement (`t3.id`, `c17`), the names that the
//! client sees are kept apart in [`BoundQuery::columns`], so that two output columns may share a name. What the binder does
//! not know it refuses with `0A000` and a position; nothing is accepted and ignored.
//!
//! Subqueries become [`crate::exec::apply::Apply`] nodes, semi joins or anti joins; DataFusion's own subquery expressions
//! are not used. Columns of an outer query appear inside a subquery as placeholders `$o…`, values of the session such as
//! `now()` as `$quorate.…`, parameters as `$1`…; all are filled in at execution, so a bound statement can be cached by its
//! text, the session's time zone and search path, and the versions in [`BoundQuery::tables`].

mod aggregate;
mod array;
mod call;
mod catalog;
mod coerce;
mod comparison;
mod conflict;
mod cte;
mod datatype;
mod dml;
mod expr;
mod from;
mod guard;
mod insert;
mod join;
mod lateral;
mod literal;
mod locking;
mod modify;
mod order;
mod output;
mod position;
mod predicate;
mod recheck;
mod row;
mod scope;
mod select;
mod set_function;
mod setop;
mod subquery;
mod typed;
mod window;

pub use catalog::{Catalog, Relation};
pub use datatype::bind_type;
pub use dml::{BoundConflict, BoundDelete, BoundInsert, BoundUpdate, ConflictAction, ReturningClause};
pub(crate) use order::check_row_count;
pub use position::Positions;

use crate::catalog::TableDescriptor;
use crate::error::{SqlError, SqlState};
use crate::exec::params::is_volatile;
use crate::exec::{Engine, PointQuery, RowProgram};
use crate::types::{PgType, TimeZone};
use datafusion::logical_expr::LogicalPlan;
use sqlparser::ast;
use std::sync::Arc;

/// What a statement is bound against.
pub struct BindContext<'a> {
    pub catalog: &'a dyn Catalog,
    /// The statement's text: error positions are counted in its characters.
    pub sql: &'a str,
    pub engine: &'a Engine,
    /// In which literals of timestamptz are read.
    pub zone: TimeZone,
    /// Types the client declared for `$1`…; `None` (or a missing entry) is inferred.
    pub param_types: &'a [Option<PgType>],
}

/// One column as the client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutColumn {
    pub name: String,
    pub ty: PgType,
    /// −1: none.
    pub typmod: i32,
    /// Table id and column id, if it is a plain column of a table (for `RowDescription`).
    pub origin: Option<(u64, u32)>,
}

/// A bound and optimized query; immutable, cheap to share, valid as long as its tables keep their versions.
#[derive(Clone, Debug)]
pub struct BoundQuery {
    pub columns: Vec<OutColumn>,
    /// Of `$1`…, all known.
    pub param_types: Vec<PgType>,
    /// Optimized, with placeholders.
    pub plan: Arc<LogicalPlan>,
    /// The same as a lookup of one row by key, if it is one.
    pub point: Option<Arc<PointQuery>>,
    /// Id and version of each table it reads.
    pub tables: Vec<(u64, u64)>,
    /// It locks rows (`FOR UPDATE`, or it finds the rows of an `UPDATE` or `DELETE`).
    pub locks: bool,
    /// It reads the system catalog.
    pub catalog: bool,
}

impl BoundQuery {
    /// Whether it calls functions that may do or say something else each time, as `nextval` does.
    pub fn is_volatile(&self) -> bool {
        is_volatile(&self.plan).unwrap_or(true)
    }
}

/// The state of binding one statement.
pub(crate) struct Binder<'a> {
    ctx: &'a BindContext<'a>,
    positions: Positions,
    /// Open query levels, the innermost last.
    levels: Vec<scope::Level>,
    /// Types of `$1`… as far as known.
    params: Vec<Option<PgType>>,
    params_allowed: bool,
    /// Common table expressions in sight, the innermost last.
    ctes: Vec<cte::Cte>,
    /// For names that are unique in the statement.
    counter: u64,
    depth: usize,
    /// Nodes of expressions that were duplicated, see `guard`.
    copied: usize,
    /// Steps that further references to WITH queries have added, see `cte`.
    expanded: usize,
    /// Id and version of the tables that were met.
    tables: Vec<(u64, u64)>,
    /// The clauses that lock the rows of the query that comes next.
    locks: Vec<locking::RowLock>,
    /// It is a plain subquery in `FROM`; what it would lock is left here.
    lift: bool,
    lifted: Option<locking::Lifted>,
    /// Something is locked.
    locked: bool,
    /// The system catalog was met.
    catalog: bool,
    /// Aliases that exist but are out of reach, for hints.
    hidden_aliases: Vec<String>,
    /// Whether this is a query or a statement with a scan, and not a bare expression.
    subqueries: bool,
}

impl<'a> Binder<'a> {
    fn new(ctx: &'a BindContext<'a>) -> Self {
        Binder {
            ctx,
            positions: Positions::new(ctx.sql),
            levels: vec![],
            params: ctx.param_types.to_vec(),
            params_allowed: true,
            ctes: vec![],
            counter: 0,
            depth: 0,
            copied: 0,
            expanded: 0,
            tables: vec![],
            locks: vec![],
            lift: false,
            lifted: None,
            locked: false,
            catalog: false,
            hidden_aliases: vec![],
            subqueries: true,
        }
    }

    fn subqueries_allowed(&self) -> bool {
        self.subqueries
    }

    /// A name that no other column of the statement has.
    fn fresh(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}{}", self.counter)
    }

    /// Types of all parameters. 42P18 for one that nothing decided.
    fn param_types(&self) -> Result<Vec<PgType>, SqlError> {
        let typed = self.params.iter().enumerate().map(|(at, ty)| {
            ty.ok_or_else(|| {
                SqlError::new(
                    SqlState::INDETERMINATE_DATATYPE,
                    format!("could not determine data type of parameter ${}", at + 1),
                )
            })
        });
        typed.collect()
    }
}

/// Binds a query (`SELECT`, `VALUES`, `TABLE`, `WITH`).
pub fn bind_query(ctx: &BindContext<'_>, query: &ast::Query) -> Result<BoundQuery, SqlError> {
    select::bind_query(ctx, query)
}

/// Binds `INSERT`, behind the `WITH` before it. The source's columns are the table's, all of them and in its order, with defaults filled in and cast by
/// the rules of assignment.
pub fn bind_insert(
    ctx: &BindContext<'_>,
    with: Option<&ast::With>,
    insert: &ast::Insert,
) -> Result<BoundInsert, SqlError> {
    dml::bind_insert(ctx, with, insert)
}

/// Binds `UPDATE`. The scan locks the rows it yields: all columns of the old row, then the new values, then what else
/// `RETURNING` needs.
pub fn bind_update(
    ctx: &BindContext<'_>,
    with: Option<&ast::With>,
    update: &ast::Update,
) -> Result<BoundUpdate, SqlError> {
    dml::bind_update(ctx, with, update)
}

/// Binds `DELETE`, like [`bind_update`].
pub fn bind_delete(
    ctx: &BindContext<'_>,
    with: Option<&ast::With>,
    delete: &ast::Delete,
) -> Result<BoundDelete, SqlError> {
    dml::bind_delete(ctx, with, delete)
}

/// Binds one expression over the columns of `table` (a `CHECK` condition), or over nothing (a `DEFAULT`), and casts it to
/// `ty` by the rules of assignment. Subqueries, aggregates and parameters are refused.
pub fn bind_expr_over_table(
    ctx: &BindContext<'_>,
    table: Option<&Arc<TableDescriptor>>,
    expr: &ast::Expr,
    ty: PgType,
    typmod: i32,
) -> Result<RowProgram, SqlError> {
    dml::bind_expr_over_table(ctx, table, expr, ty, typmod)
}

//! The way around the relational engine: statements that touch one row by its whole primary key go straight to the
//! coordinator.
//!
//! The binder's optimized plan is looked at once: a projection over a scan whose filters fix every key column to a
//! literal or parameter. What remains of it (other filters, computed columns) is compiled once, with the parameters as
//! further input columns, so that one execution is a read by key and, if there is anything to compute, the evaluation of
//! ready expressions on one row.

pub mod normalize;
mod point;

pub use point::PointScan;

use crate::{
    bind::{BoundQuery, OutColumn},
    error::SqlError,
    exec::source::StoredTable,
    types::PgType,
};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};

/// The point read that a query comes down to, if it does.
pub fn of_query(query: &BoundQuery) -> Option<PointScan> {
    let (exprs, scan) = peel(&query.plan)?;
    let source = scan.source.downcast_ref::<StoredTable>()?;
    let out: Vec<PgType> = query.columns.iter().map(|column: &OutColumn| column.ty).collect();
    let exprs = match exprs {
        Some(exprs) => exprs,
        None => scan.projected_schema.columns().into_iter().map(Expr::Column).collect(),
    };
    if exprs.len() != out.len() || scan.fetch == Some(0) {
        return None;
    }
    match PointScan::new(source, scan, exprs, out, query.param_types.clone()) {
        Ok(point) => point,
        // Whatever is the matter, the relational engine will say it.
        Err(error) => {
            let _: SqlError = error;
            None
        }
    }
}

/// A projection (if there is one) and the scan beneath it.
fn peel(plan: &LogicalPlan) -> Option<(Option<Vec<Expr>>, &TableScan)> {
    match plan {
        LogicalPlan::TableScan(scan) => Some((None, scan)),
        LogicalPlan::Projection(projection) => match &*projection.input {
            LogicalPlan::TableScan(scan) => Some((Some(projection.expr.clone()), scan)),
            _ => None,
        },
        _ => None,
    }
}

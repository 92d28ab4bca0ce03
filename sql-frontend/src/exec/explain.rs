//! `EXPLAIN`: the executable plan as PostgreSQL's indented text.

use super::charged::ChargedExec;
use super::shown::describe;
use super::{ExecContext, ahead, engine};
use crate::bind::BoundQuery;
use crate::error::SqlError;
use crate::exec::memory::sql_error;
use crate::types::Datum;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::TryStreamExt;
use std::sync::Arc;

/// Below a plan that is shown without having been run.
const ANSWERED_FIRST: &str =
    "Note: a filter's subquery is answered first; its rows are then found by key where an index serves.";

/// Lines of the column `QUERY PLAN`. With `analyze` the query runs, its rows are counted and thrown away.
pub async fn explain(
    query: &BoundQuery,
    params: &[Datum],
    analyze: bool,
    ctx: &ExecContext,
) -> Result<Vec<String>, SqlError> {
    let mut plan = engine::bind_values(query, params, ctx)?;
    if analyze {
        plan = ahead::answered(plan, ctx).await.map_err(sql_error)?;
    }
    let physical = ctx.engine.physical(&plan).await.map_err(sql_error)?;
    if analyze {
        let mut rows = execute_stream(Arc::clone(&physical), ctx.engine.task(ctx)).map_err(sql_error)?;
        while rows.try_next().await.map_err(sql_error)?.is_some() {}
    }
    let mut lines = Vec::new();
    draw(&physical, 0, analyze, &mut lines);
    if ahead::asks(&plan) {
        lines.push(ANSWERED_FIRST.into());
    }
    Ok(lines)
}

fn draw(plan: &Arc<dyn ExecutionPlan>, depth: usize, analyze: bool, lines: &mut Vec<String>) {
    let any: &dyn std::any::Any = &**plan;
    if is_transparent(any)
        && let [child] = plan.children()[..]
    {
        return draw(child, depth, analyze, lines);
    }
    let (title, details) = describe(plan);
    let mut line = if depth == 0 { title } else { format!("{}->  {title}", " ".repeat(depth * 6 - 4)) };
    if analyze {
        line.push_str(&actual(plan));
    }
    lines.push(line);
    let indent = " ".repeat(depth * 6 + 2);
    lines.extend(details.into_iter().map(|d| format!("{indent}{d}")));
    for child in plan.children() {
        draw(child, depth + 1, analyze, lines);
    }
}

/// Whether a node only yields now and then, only counts, or only renames columns.
fn is_transparent(plan: &dyn std::any::Any) -> bool {
    if plan.is::<CooperativeExec>() || plan.is::<ChargedExec>() {
        return true;
    }
    plan.downcast_ref::<ProjectionExec>().is_some_and(only_renames)
}

/// Whether it computes nothing.
pub(super) fn only_renames(projection: &ProjectionExec) -> bool {
    projection.expr().iter().all(|e| {
        let expr: &dyn std::any::Any = e.expr.as_ref();
        expr.is::<Column>()
    })
}

fn actual(plan: &Arc<dyn ExecutionPlan>) -> String {
    let Some(metrics) = plan.metrics() else { return String::new() };
    let metrics = metrics.aggregate_by_name();
    let mut parts = Vec::new();
    if let Some(rows) = metrics.output_rows() {
        parts.push(format!("rows={rows}"));
    }
    if let Some(read) = metrics.sum_by_name("rows_read") {
        parts.push(format!("rows read={}", read.as_usize()));
    }
    if let Some(nanos) = metrics.elapsed_compute() {
        parts.push(format!("time={:.3} ms", nanos as f64 / 1e6));
    }
    if parts.is_empty() { String::new() } else { format!(" (actual {})", parts.join(" ")) }
}

//! One step of a plan as `EXPLAIN` shows it: a title and what stands below, in the statement's own words.

use super::apply_exec::ApplyExec;
use super::evaluated_exec::EvaluatedExec;
use super::leaf::LeafExec;
use super::lock_rows_exec::LockRowsExec;
use super::scan::{ScanExec, without_positions};
use super::text::{all, order, sql};
use datafusion::common::{JoinSide, JoinType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::window::{
    PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr, WindowExpr,
};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use std::any::Any;
use std::sync::Arc;

type Plan = Arc<dyn ExecutionPlan>;

/// The title, and the lines below it.
pub(super) fn describe(plan: &Plan) -> (String, Vec<String>) {
    let any: &dyn Any = plan.as_ref();
    if let Some(scan) = any.downcast_ref::<ScanExec>() {
        return scan.explain();
    }
    if let Some(filter) = any.downcast_ref::<FilterExec>() {
        return line(format!("Filter: {}", sql(filter.predicate(), &names(filter.input()))));
    }
    if let Some(projection) = any.downcast_ref::<ProjectionExec>() {
        return line(format!("Project: {}", columns(projection).join(", ")));
    }
    if let Some(evaluated) = any.downcast_ref::<EvaluatedExec>() {
        return describe(evaluated.projection());
    }
    if let Some(sort) = any.downcast_ref::<SortExec>() {
        let most = sort.fetch().map(|n| format!("Limit: {n}"));
        return (format!("Sort: {}", order(sort.expr(), &names(sort.input()))), most.into_iter().collect());
    }
    if let Some(limit) = any.downcast_ref::<GlobalLimitExec>() {
        let skip = (limit.skip() > 0).then(|| format!(" Offset: {}", limit.skip()));
        let most = limit.fetch().map_or("all".to_string(), |n| n.to_string());
        return line(format!("Limit: {most}{}", skip.unwrap_or_default()));
    }
    if let Some(aggregate) = any.downcast_ref::<AggregateExec>() {
        return aggregated(aggregate);
    }
    if let Some(window) = any.downcast_ref::<WindowAggExec>() {
        return windows(window.window_expr(), &names(window.input()));
    }
    if let Some(window) = any.downcast_ref::<BoundedWindowAggExec>() {
        return windows(window.window_expr(), &names(window.input()));
    }
    if let Some(locks) = any.downcast_ref::<LockRowsExec>() {
        return locks.explain();
    }
    if let Some(apply) = any.downcast_ref::<ApplyExec>() {
        return line(apply.explain(&names(apply.input())));
    }
    if any.is::<UnionExec>() {
        return line("Append".into());
    }
    if any.is::<EmptyExec>() || any.is::<PlaceholderRowExec>() {
        return line("Result".into());
    }
    if let Some(recursive) = any.downcast_ref::<RecursiveQueryExec>() {
        let all = if recursive.is_distinct() { "" } else { " All" };
        return line(format!("Recursive Union{all}"));
    }
    if any.is::<WorkTableExec>() {
        return line("Work Table Scan".into());
    }
    joined(any).unwrap_or_else(|| {
        let shown = displayable(plan.as_ref()).one_line().to_string();
        line(title_of(&without_positions(shown.trim())))
    })
}

fn line(title: String) -> (String, Vec<String>) {
    (title, vec![])
}

/// `SortExec: expr=[…]` as `Sort: expr=[…]`.
fn title_of(shown: &str) -> String {
    let (name, rest) = shown.split_once(':').unwrap_or((shown, ""));
    let name = name.trim_end_matches("Exec");
    if rest.is_empty() { name.to_string() } else { format!("{name}:{rest}") }
}

fn columns(projection: &ProjectionExec) -> Vec<String> {
    let below = names(projection.input());
    projection.expr().iter().map(|e| sql(&e.expr, &below)).collect()
}

fn groups(aggregate: &AggregateExec) -> Vec<String> {
    let below = names(aggregate.input());
    aggregate.group_expr().expr().iter().map(|(e, _)| sql(e, &below)).collect()
}

fn results(aggregate: &AggregateExec) -> Vec<String> {
    let below = names(aggregate.input());
    let result = |(e, filter): (&Arc<AggregateFunctionExpr>, &Option<Arc<dyn PhysicalExpr>>)| {
        let filter = filter.as_ref().map(|f| format!(" FILTER (WHERE {})", sql(f, &below)));
        aggregate_call(e, &below) + &filter.unwrap_or_default()
    };
    aggregate.aggr_expr().iter().zip(aggregate.filter_expr()).map(result).collect()
}

fn aggregate_call(e: &AggregateFunctionExpr, below: &[String]) -> String {
    let name = e.fun().name();
    let args = all(&e.expressions(), below);
    match name {
        // Of equal values, one is shown.
        "first_value" => args,
        "count" if args == "1" => "count(*)".into(),
        _ => {
            let distinct = if e.is_distinct() { "DISTINCT " } else { "" };
            let by = e.order_bys();
            let by = if by.is_empty() { String::new() } else { format!(" ORDER BY {}", order(by, below)) };
            format!("{name}({distinct}{args}{by})")
        }
    }
}

fn aggregated(aggregate: &AggregateExec) -> (String, Vec<String>) {
    let (groups, mut results) = (groups(aggregate), results(aggregate));
    results.retain(|result| !groups.contains(result));
    let mut title = "Aggregate".to_string();
    if !results.is_empty() {
        title += &format!(": {}", results.join(", "));
    }
    let key = (!groups.is_empty()).then(|| format!("Group Key: {}", groups.join(", ")));
    (title, key.into_iter().collect())
}

fn windows(exprs: &[Arc<dyn WindowExpr>], below: &[String]) -> (String, Vec<String>) {
    line(format!("Window: {}", exprs.iter().map(|e| window_call(e, below)).collect::<Vec<_>>().join(", ")))
}

fn window_call(expr: &Arc<dyn WindowExpr>, below: &[String]) -> String {
    let any = expr.as_any();
    let plain =
        any.downcast_ref::<PlainAggregateWindowExpr>().map(PlainAggregateWindowExpr::get_aggregate_expr);
    let sliding =
        any.downcast_ref::<SlidingAggregateWindowExpr>().map(SlidingAggregateWindowExpr::get_aggregate_expr);
    let standard = any.downcast_ref::<StandardWindowExpr>();
    let call = match (plain.or(sliding), standard) {
        (Some(aggregate), _) => aggregate_call(aggregate, below),
        (None, Some(standard)) => {
            let function = standard.get_standard_func_expr();
            let udf = function.as_any().downcast_ref::<WindowUDFExpr>();
            let name = udf.map_or(function.name(), |udf| udf.fun().name());
            format!("{name}({})", all(&function.expressions(), below))
        }
        (None, None) => expr.name().to_string(),
    };
    let mut over = Vec::new();
    if !expr.partition_by().is_empty() {
        over.push(format!("PARTITION BY {}", all(expr.partition_by(), below)));
    }
    if !expr.order_by().is_empty() {
        over.push(format!("ORDER BY {}", order(expr.order_by(), below)));
    }
    format!("{call} OVER ({})", over.join(" "))
}

fn joined(plan: &dyn Any) -> Option<(String, Vec<String>)> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let (left, right) = (names(join.left()), names(join.right()));
        let on = join.on().iter().map(|(l, r)| format!("{} = {}", sql(l, &left), sql(r, &right)));
        let mut lines = vec![format!("Hash Cond: {}", on.collect::<Vec<_>>().join(" AND "))];
        lines.extend(join.filter().map(|f| filtered(f, &left, &right)));
        return Some((format!("Hash {}", join_name(join.join_type())), lines));
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let lines = join.filter().map(|f| filtered(f, &names(join.left()), &names(join.right())));
        return Some((format!("Nested Loop {}", join_name(join.join_type())), lines.into_iter().collect()));
    }
    plan.is::<CrossJoinExec>().then(|| line("Cross Join".into()))
}

fn join_name(ty: &JoinType) -> &'static str {
    match ty {
        JoinType::Inner => "Join",
        JoinType::Left => "Left Join",
        JoinType::Right => "Right Join",
        JoinType::Full => "Full Join",
        JoinType::LeftSemi | JoinType::RightSemi | JoinType::LeftMark | JoinType::RightMark => "Semi Join",
        JoinType::LeftAnti | JoinType::RightAnti => "Anti Join",
    }
}

fn filtered(filter: &JoinFilter, left: &[String], right: &[String]) -> String {
    let inside: Vec<String> = filter
        .column_indices()
        .iter()
        .map(|column| {
            let side = if column.side == JoinSide::Left { left } else { right };
            side.get(column.index).cloned().unwrap_or_default()
        })
        .collect();
    format!("Join Filter: {}", sql(filter.expression(), &inside))
}

/// What each column of a step is, in the statement's words.
fn names(plan: &Plan) -> Vec<String> {
    let schema = plan.schema();
    match traced(plan) {
        Some(traced) if traced.len() == schema.fields().len() => traced,
        _ => schema.fields().iter().map(|field| field.name().clone()).collect(),
    }
}

fn traced(plan: &Plan) -> Option<Vec<String>> {
    let any: &dyn Any = plan.as_ref();
    if let Some(projection) = any.downcast_ref::<ProjectionExec>() {
        return Some(columns(projection));
    }
    if let Some(evaluated) = any.downcast_ref::<EvaluatedExec>() {
        return traced(evaluated.projection());
    }
    if let Some(aggregate) = any.downcast_ref::<AggregateExec>() {
        return Some([groups(aggregate), results(aggregate)].concat());
    }
    if let Some(filter) = any.downcast_ref::<FilterExec>() {
        return Some(picked(names(filter.input()), filter.projection().as_ref().map(|p| &p[..])));
    }
    if let Some(join) = any.downcast_ref::<HashJoinExec>() {
        let both = sides(join.join_type(), names(join.left()), names(join.right()));
        return Some(picked(both, join.projection.as_ref().map(|p| &p[..])));
    }
    if let Some(join) = any.downcast_ref::<NestedLoopJoinExec>() {
        let both = sides(join.join_type(), names(join.left()), names(join.right()));
        return Some(picked(both, join.projection().as_ref().map(|p| &p[..])));
    }
    if let Some(window) = any.downcast_ref::<WindowAggExec>() {
        return Some(with_windows(window.window_expr(), names(window.input())));
    }
    if let Some(window) = any.downcast_ref::<BoundedWindowAggExec>() {
        return Some(with_windows(window.window_expr(), names(window.input())));
    }
    if let Some(apply) = any.downcast_ref::<ApplyExec>() {
        let mut out = names(apply.input());
        let result = apply.result(&out);
        out.extend(result);
        return Some(out);
    }
    if let Some(leaf) = any.downcast_ref::<LeafExec>() {
        return leaf.shown().map(<[String]>::to_vec);
    }
    match plan.children()[..] {
        [left, right] if any.is::<CrossJoinExec>() => Some([names(left), names(right)].concat()),
        [first, ..] if any.is::<UnionExec>() => Some(names(first)),
        [input] => Some(names(input)),
        _ => None,
    }
}

fn with_windows(exprs: &[Arc<dyn WindowExpr>], below: Vec<String>) -> Vec<String> {
    let calls: Vec<String> = exprs.iter().map(|e| window_call(e, &below)).collect();
    [below, calls].concat()
}

fn sides(ty: &JoinType, left: Vec<String>, right: Vec<String>) -> Vec<String> {
    match ty {
        JoinType::LeftSemi | JoinType::LeftAnti => left,
        JoinType::RightSemi | JoinType::RightAnti => right,
        _ => [left, right].concat(),
    }
}

fn picked(names: Vec<String>, projection: Option<&[usize]>) -> Vec<String> {
    match projection {
        Some(columns) => columns.iter().filter_map(|at| names.get(*at).cloned()).collect(),
        None => names,
    }
}

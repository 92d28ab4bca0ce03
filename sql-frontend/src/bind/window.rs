//! Window functions.

use super::Binder;
use super::datatype::fold;
use super::position::At;
use super::scope::Clause;
use super::typed::Typed;
use crate::error::{SqlError, SqlState};
use crate::func::{WindowBody, key, resolve_window};
use crate::types::PgType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, LogicalPlan, Projection, SortExpr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use sqlparser::ast::{self, Function, NamedWindowExpr, WindowSpec, WindowType};
use std::sync::Arc;

/// Partition and order of a window.
type WindowKey = (Vec<Expr>, Vec<SortExpr>);

impl Binder<'_> {
    pub(super) fn window_call(
        &mut self,
        function: &Function,
        name: &str,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let clause = self.level().clause;
        if !matches!(clause, Clause::Select | Clause::OrderBy) || self.level().in_aggregate {
            let message = if self.level().in_aggregate {
                "aggregate function calls cannot contain window function calls".to_string()
            } else {
                format!("window functions are not allowed in {}", clause.name())
            };
            let state =
                if self.level().in_aggregate { SqlState::GROUPING_ERROR } else { SqlState::WINDOWING_ERROR };
            return Err(SqlError::new(state, message));
        }
        if self.level().in_window {
            return Err(SqlError::new(SqlState::WINDOWING_ERROR, "window function calls cannot be nested"));
        }
        if function.null_treatment.is_some() {
            return Err(SqlError::unsupported("RESPECT NULLS and IGNORE NULLS"));
        }
        let Some(over) = &function.over else { return Err(SqlError::internal("a window call without OVER")) };
        self.level().in_window = true;
        let parts = self.window_parts(function, name, over, pos);
        self.level().in_window = false;
        parts
    }

    fn window_parts(
        &mut self,
        function: &Function,
        name: &str,
        over: &WindowType,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let args = self.args(&function.args, false)?;
        if args.distinct {
            return Err(SqlError::unsupported("DISTINCT for window functions"));
        }
        if !args.order_by.is_empty() {
            return Err(SqlError::unsupported("aggregate ORDER BY for window functions"));
        }
        let types: Vec<PgType> = args.list.iter().map(|a| a.ty).collect();
        let resolved = resolve_window(name, &types).at(pos)?;
        let is_aggregate = matches!(resolved.body, WindowBody::Aggregate(_));
        if args.list.is_empty() && !args.star && name == "count" {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                "count(*) must be used to call a parameterless aggregate function",
            ));
        }
        let filter = match &function.filter {
            None => None,
            Some(_) if !is_aggregate => {
                return Err(SqlError::unsupported("FILTER for non-aggregate window functions"));
            }
            Some(filter) => Some(self.in_clause(Clause::WindowPartition, |b| {
                let f = b.expr(filter)?;
                b.condition(f, "FILTER")
            })?),
        };
        let mut exprs = Vec::with_capacity(args.list.len());
        for (arg, ty) in args.list.into_iter().zip(&resolved.arg_types) {
            exprs.push(self.coerce(arg, *ty)?.expr);
        }
        if exprs.is_empty() && is_aggregate {
            // count(*) counts a literal.
            exprs.push(Expr::Literal(ScalarValue::Int64(Some(1)), None));
        }
        let (partition_by, order_by, frame) = self.window(over)?;
        let window_frame = match frame {
            Some(frame) => self.frame(&frame, !order_by.is_empty())?,
            None => WindowFrame::new((!order_by.is_empty()).then_some(false)),
        };
        let fun = match resolved.body(&exprs) {
            WindowBody::Window(udwf) => WindowFunctionDefinition::WindowUDF(udwf),
            WindowBody::Aggregate(udaf) => WindowFunctionDefinition::AggregateUDF(udaf),
        };
        let window = Expr::WindowFunction(Box::new(WindowFunction {
            fun,
            params: WindowFunctionParams {
                args: exprs,
                partition_by,
                order_by,
                window_frame,
                filter: filter.map(|f| Box::new(f.expr)),
                null_treatment: None,
                distinct: false,
            },
        }));
        Ok(Typed::new(resolved.finish(window), resolved.result, pos))
    }

    /// Partition, order and frame of a window, named or written out.
    fn window(
        &mut self,
        over: &WindowType,
    ) -> Result<(Vec<Expr>, Vec<SortExpr>, Option<ast::WindowFrame>), SqlError> {
        let spec = match over {
            WindowType::WindowSpec(spec) => self.resolve_spec(spec, 0)?,
            WindowType::NamedWindow(name) => self.named_window(name, 0)?,
        };
        let mut partition = Vec::with_capacity(spec.partition_by.len());
        for expr in &spec.partition_by {
            let typed = self.in_clause(Clause::WindowPartition, |b| b.expr(expr))?;
            let typed = self.settle(typed)?;
            partition.push(key(typed.ty, typed.expr));
        }
        let mut order = Vec::with_capacity(spec.order_by.len());
        for item in &spec.order_by {
            order.push(self.in_clause(Clause::WindowOrder, |b| b.sort_expr(item))?);
        }
        Ok((partition, order, spec.window_frame))
    }

    fn named_window(&mut self, name: &ast::Ident, depth: usize) -> Result<WindowSpec, SqlError> {
        let wanted = fold(name);
        let found = self.level().windows.iter().find(|w| fold(&w.0) == wanted).map(|w| w.1.clone());
        match found {
            Some(NamedWindowExpr::WindowSpec(spec)) => self.resolve_spec(&spec, depth + 1),
            Some(NamedWindowExpr::NamedWindow(other)) if depth < 32 => self.named_window(&other, depth + 1),
            _ => {
                Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("window \"{wanted}\" does not exist")))
                    .at(self.positions.of_span(name.span))
            }
        }
    }

    /// A specification with what it takes over from the window it is based on.
    fn resolve_spec(&mut self, spec: &WindowSpec, depth: usize) -> Result<WindowSpec, SqlError> {
        let Some(base_name) = &spec.window_name else { return Ok(spec.clone()) };
        let name = fold(base_name);
        let pos = self.positions.of_span(base_name.span);
        if depth > 32 {
            return Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("window \"{name}\" does not exist"),
            ))
            .at(pos);
        }
        let base = self.named_window(base_name, depth)?;
        let fail = |what: &str| Err(SqlError::new(SqlState::WINDOWING_ERROR, what.to_string())).at(pos);
        if !spec.partition_by.is_empty() {
            return fail(&format!("cannot override PARTITION BY clause of window \"{name}\""));
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return fail(&format!("cannot override ORDER BY clause of window \"{name}\""));
        }
        if base.window_frame.is_some() {
            return fail(&format!("cannot copy window \"{name}\" because it has a frame clause"));
        }
        Ok(WindowSpec {
            window_name: None,
            partition_by: base.partition_by,
            order_by: if spec.order_by.is_empty() { base.order_by } else { spec.order_by.clone() },
            window_frame: spec.window_frame.clone(),
        })
    }

    fn frame(&mut self, frame: &ast::WindowFrame, ordered: bool) -> Result<WindowFrame, SqlError> {
        let units = match frame.units {
            ast::WindowFrameUnits::Rows => WindowFrameUnits::Rows,
            ast::WindowFrameUnits::Range => WindowFrameUnits::Range,
            ast::WindowFrameUnits::Groups => WindowFrameUnits::Groups,
        };
        if units == WindowFrameUnits::Groups && !ordered {
            return Err(SqlError::new(SqlState::WINDOWING_ERROR, "GROUPS mode requires an ORDER BY clause"));
        }
        let end = frame.end_bound.clone().unwrap_or(ast::WindowFrameBound::CurrentRow);
        let rank = |bound: &ast::WindowFrameBound| match bound {
            ast::WindowFrameBound::Preceding(None) => 0,
            ast::WindowFrameBound::Preceding(Some(_)) => 1,
            ast::WindowFrameBound::CurrentRow => 2,
            ast::WindowFrameBound::Following(Some(_)) => 3,
            ast::WindowFrameBound::Following(None) => 4,
        };
        let (from, to) = (rank(&frame.start_bound), rank(&end));
        let wrong = match (from, to) {
            (4, _) => Some("frame start cannot be UNBOUNDED FOLLOWING"),
            (_, 0) => Some("frame end cannot be UNBOUNDED PRECEDING"),
            (2, 1) => Some("frame starting from current row cannot have preceding rows"),
            (3, 1) => Some("frame starting from following row cannot have preceding rows"),
            (3, 2) => Some("frame starting from following row cannot end with current row"),
            _ => None,
        };
        if let Some(message) = wrong {
            return Err(SqlError::new(SqlState::WINDOWING_ERROR, message));
        }
        let start = self.bound(&frame.start_bound, units)?;
        let end = self.bound(&end, units)?;
        if units == WindowFrameUnits::Range && !ordered {
            // Without an order all rows are peers: a frame that reaches the current row holds the whole partition.
            return Ok(WindowFrame::new(None));
        }
        if ends_before_it_begins(&start, &end) {
            return Ok(empty_frame());
        }
        Ok(WindowFrame::new_bounds(units, start, end))
    }

    fn bound(
        &mut self,
        bound: &ast::WindowFrameBound,
        units: WindowFrameUnits,
    ) -> Result<WindowFrameBound, SqlError> {
        let offset = |e: &ast::Expr| -> Result<ScalarValue, SqlError> {
            if units == WindowFrameUnits::Range {
                return Err(SqlError::unsupported("RANGE with an offset"));
            }
            let number = match super::expr::strip(e) {
                ast::Expr::Value(v) => match &v.value {
                    ast::Value::Number(n, _) => n.parse::<u64>().ok(),
                    _ => None,
                },
                ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, .. } => {
                    return Err(SqlError::new(
                        SqlState("22013"),
                        "frame starting offset must not be negative",
                    ));
                }
                _ => None,
            };
            match number {
                Some(n) => Ok(ScalarValue::UInt64(Some(n))),
                None => Err(SqlError::unsupported("a frame offset that is not a number")),
            }
        };
        let none = || ScalarValue::UInt64(None);
        Ok(match bound {
            ast::WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
            ast::WindowFrameBound::Preceding(None) => WindowFrameBound::Preceding(none()),
            ast::WindowFrameBound::Following(None) => WindowFrameBound::Following(none()),
            ast::WindowFrameBound::Preceding(Some(e)) => WindowFrameBound::Preceding(offset(e)?),
            ast::WindowFrameBound::Following(Some(e)) => WindowFrameBound::Following(offset(e)?),
        })
    }

    /// Takes the window calls out of expressions into the plan; the expressions then name their columns.
    pub(super) fn plan_windows(
        &mut self,
        plan: LogicalPlan,
        exprs: &mut [&mut Expr],
    ) -> Result<LogicalPlan, SqlError> {
        let mut windows: Vec<(Expr, String)> = Vec::new();
        for expr in exprs.iter_mut() {
            let taken = std::mem::take(*expr);
            let replaced = taken.transform_down(|e| {
                if !matches!(e, Expr::WindowFunction(_)) {
                    return Ok(Transformed::no(e));
                }
                let known = windows.iter().find(|(w, _)| *w == e).map(|(_, n)| n.clone());
                let name = match known {
                    Some(name) => name,
                    None => {
                        let name = self.fresh("w");
                        windows.push((e, name.clone()));
                        name
                    }
                };
                Ok(Transformed::new(Expr::Column(Column::from_name(name)), true, TreeNodeRecursion::Jump))
            })?;
            **expr = replaced.data;
        }
        if windows.is_empty() {
            return Ok(plan);
        }
        let mut plan = self.plan_window_inputs(plan, &mut windows)?;
        // One node for each partition and order; the plan sorts between them as needed.
        let mut groups: Vec<(WindowKey, Vec<Expr>)> = Vec::new();
        for (window, name) in windows {
            let Expr::WindowFunction(call) = &window else { continue };
            let key = (call.params.partition_by.clone(), call.params.order_by.clone());
            let named = window.alias(name);
            match groups.iter_mut().find(|(k, _)| *k == key) {
                Some((_, members)) => members.push(named),
                None => groups.push((key, vec![named])),
            }
        }
        for (_, exprs) in groups {
            plan = LogicalPlan::Window(Window::try_new(exprs, Arc::new(plan))?);
        }
        Ok(plan)
    }

    /// Computes what the windows take beneath them, once for each row, so that they name columns. Planning by itself would compute
    /// an expression beneath the sort under another name than the one that the window then looks for its order under.
    fn plan_window_inputs(
        &mut self,
        plan: LogicalPlan,
        windows: &mut [(Expr, String)],
    ) -> Result<LogicalPlan, SqlError> {
        let mut computed: Vec<(Expr, String)> = Vec::new();
        for (window, _) in windows.iter_mut() {
            let Expr::WindowFunction(call) = window else { continue };
            let params = &mut call.params;
            let order = params.order_by.iter_mut().map(|o| &mut o.expr);
            let filter = params.filter.iter_mut().map(|f| &mut **f);
            for input in params.args.iter_mut().chain(&mut params.partition_by).chain(order).chain(filter) {
                if matches!(input, Expr::Column(_)) || !(input.any_column_refs() || input.is_volatile()) {
                    continue;
                }
                let known = computed.iter().find(|(e, _)| e == input && !e.is_volatile());
                let name = known.map_or_else(|| self.fresh("i"), |(_, name)| name.clone());
                if known.is_none() {
                    computed.push((input.clone(), name.clone()));
                }
                *input = Expr::Column(Column::from_name(name));
            }
        }
        if computed.is_empty() {
            return Ok(plan);
        }
        let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        exprs.extend(computed.into_iter().map(|(e, name)| e.alias(name)));
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }
}

fn ends_before_it_begins(start: &WindowFrameBound, end: &WindowFrameBound) -> bool {
    use WindowFrameBound::{Following, Preceding};
    match (start, end) {
        (Preceding(ScalarValue::UInt64(Some(start))), Preceding(ScalarValue::UInt64(Some(end)))) => {
            start < end
        }
        (Following(ScalarValue::UInt64(Some(start))), Following(ScalarValue::UInt64(Some(end)))) => {
            start > end
        }
        _ => false,
    }
}

/// A frame behind the end of every partition. DataFusion refuses one that ends before it begins.
fn empty_frame() -> WindowFrame {
    let behind = || WindowFrameBound::Following(ScalarValue::UInt64(Some(1 << 48)));
    WindowFrame::new_bounds(WindowFrameUnits::Rows, behind(), behind())
}

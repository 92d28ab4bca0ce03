//! Queries: from the tree to a plan with named outputs.

use super::aggregate::Grouping;
use super::datatype::fold;
use super::locking::{RowLock, refuse_locks};
use super::order::{OrderItem, OrderKey};
use super::output::refuse_extras;
use super::position::At;
use super::scope::{Clause, Level, PendingApply};
use super::typed::{Pending, Typed};
use super::{BindContext, Binder, BoundQuery, OutColumn, order};
use crate::error::{SqlError, SqlState};
use crate::exec::PointQuery;
use crate::func::key;
use crate::types::PgType;
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, Sort, SortExpr};
use sqlparser::ast::{self, Distinct, GroupByExpr, SetExpr};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An output column before its projection.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub typed: Typed,
    pub name: String,
}

/// A column of a planned query.
#[derive(Clone, Debug)]
pub(super) struct RelColumn {
    pub name: String,
    pub column: Column,
    pub ty: PgType,
    pub typmod: i32,
    pub origin: Option<(u64, u32)>,
    /// An unknown literal in the branch of a set operation or source of an `INSERT`, still without a type.
    pub pending: Option<Pending>,
    /// Where its expression stands.
    pub pos: Option<u32>,
}

/// A planned query.
#[derive(Clone, Debug)]
pub(super) struct Rel {
    pub plan: LogicalPlan,
    pub columns: Vec<RelColumn>,
}

/// What becomes of literals that nothing gave a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknowns {
    /// They are text.
    Settle,
    /// Whoever uses the query decides.
    Keep,
}

pub(super) fn bind_query(ctx: &BindContext<'_>, query: &ast::Query) -> Result<BoundQuery, SqlError> {
    let mut binder = Binder::new(ctx);
    let rel = binder.query(query, Unknowns::Settle)?;
    binder.finish(rel)
}

impl Binder<'_> {
    /// The optimized result of a statement.
    pub(super) fn finish(&mut self, rel: Rel) -> Result<BoundQuery, SqlError> {
        let plan = self.ctx.engine.optimize(rel.plan)?;
        let columns: Vec<OutColumn> = rel
            .columns
            .into_iter()
            .map(|c| OutColumn { name: c.name, ty: c.ty, typmod: c.typmod, origin: c.origin })
            .collect();
        let param_types = self.param_types()?;
        let point = PointQuery::of(&plan, &columns, &param_types).map(Arc::new);
        let mut tables = std::mem::take(&mut self.tables);
        tables.sort_unstable();
        tables.dedup();
        Ok(BoundQuery {
            columns,
            param_types,
            plan: Arc::new(plan),
            point,
            tables,
            locks: self.locked,
            catalog: self.catalog,
        })
    }

    pub(super) fn query(&mut self, query: &ast::Query, unknowns: Unknowns) -> Result<Rel, SqlError> {
        self.depth += 4;
        let ctes = self.ctes.len();
        let result = if self.depth > 256 {
            Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded"))
        } else {
            self.query_inner(query, unknowns)
        };
        self.ctes.truncate(ctes);
        self.depth -= 4;
        result
    }

    fn query_inner(&mut self, query: &ast::Query, unknowns: Unknowns) -> Result<Rel, SqlError> {
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return Err(SqlError::unsupported("this clause"));
        }
        let mut locks = std::mem::take(&mut self.locks);
        if matches!(&*query.body, SetExpr::Values(_)) {
            // What locks the rows of all relations around them leaves those that are no table's.
            locks.clear();
        }
        let lift = std::mem::take(&mut self.lift);
        if let Some(with) = &query.with {
            self.with(with)?;
        }
        for lock in &query.locks {
            locks.push(RowLock::new(lock)?);
        }
        check_lockable(&locks, &query.body)?;
        (self.locks, self.lift) = (locks, lift);
        let items = order::items(query.order_by.as_ref())?;
        let bare = query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
        let unknowns = if bare { unknowns } else { Unknowns::Settle };
        let rel = match &*query.body {
            SetExpr::Select(select) => self.select(select, items, unknowns)?,
            body => {
                let rel = self.set_expr(body, unknowns)?;
                self.sort_rel(rel, items)?
            }
        };
        self.levels.push(Level::new());
        let limited = self.limits(rel, query);
        self.levels.pop();
        limited
    }

    pub(super) fn set_expr(&mut self, body: &SetExpr, unknowns: Unknowns) -> Result<Rel, SqlError> {
        match body {
            SetExpr::Select(select) => self.select(select, &[], unknowns),
            SetExpr::Query(query) => self.query(query, unknowns),
            SetExpr::Values(values) => self.values(values, unknowns),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                self.set_operation(left, *op, *set_quantifier, right)
            }
            SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default();
                let schema = table.schema_name.clone();
                self.table_command(schema, name)
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(SqlError::unsupported("a data-modifying statement inside a query"))
            }
        }
    }

    /// `ORDER BY` over a finished query: by its columns only.
    fn sort_rel(&mut self, rel: Rel, items: &[ast::OrderByExpr]) -> Result<Rel, SqlError> {
        if items.is_empty() {
            return Ok(rel);
        }
        let outputs: Vec<Output> = rel
            .columns
            .iter()
            .map(|c| Output {
                typed: Typed::new(Expr::Column(c.column.clone()), c.ty, None),
                name: c.name.clone(),
            })
            .collect();
        let items = self.order_items(items, &outputs, false)?;
        let sort = items
            .iter()
            .filter_map(|i| match i.key {
                OrderKey::Output(at) => {
                    let typed = &outputs[at].typed;
                    Some(SortExpr::new(key(typed.ty, typed.expr.clone()), i.asc, i.nulls_first))
                }
                OrderKey::Expr(_) => None,
            })
            .collect();
        let plan = LogicalPlan::Sort(Sort { expr: sort, input: Arc::new(rel.plan), fetch: None });
        Ok(Rel { plan, columns: rel.columns })
    }

    fn select(
        &mut self,
        select: &ast::Select,
        order: &[ast::OrderByExpr],
        unknowns: Unknowns,
    ) -> Result<Rel, SqlError> {
        refuse_extras(select)?;
        let mut level = Level::new();
        level.locks = std::mem::take(&mut self.locks);
        level.lifted = std::mem::take(&mut self.lift);
        self.levels.push(level);
        let result = self.select_level(select, order, unknowns);
        self.levels.pop();
        result
    }

    fn select_level(
        &mut self,
        select: &ast::Select,
        order: &[ast::OrderByExpr],
        unknowns: Unknowns,
    ) -> Result<Rel, SqlError> {
        let mut plan = self.from(&select.from)?;
        self.check_locks()?;
        self.check_windows(&select.named_window)?;
        self.level().windows = select.named_window.clone();
        if let Some(condition) = &select.selection {
            plan = self.filter(plan, condition)?;
        }
        let mut outputs = self.in_clause(Clause::Select, |b| b.select_list(&select.projection))?;
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => None,
            Some(Distinct::Distinct) => Some(vec![]),
            Some(Distinct::On(exprs)) => Some(exprs.clone()),
        };
        // What is sorted or made distinct must have a type.
        let keep = unknowns == Unknowns::Keep && order.is_empty() && distinct.is_none();
        if !keep {
            for output in &mut outputs {
                output.typed = self.settle(output.typed.clone())?;
            }
        }
        let groups = self.group_by(&select.group_by, &select.projection, &outputs)?;
        let select_applies = self.take_pending();
        let having = match &select.having {
            None => None,
            Some(having) => Some(self.in_clause(Clause::Having, |b| {
                let typed = b.expr(having)?;
                b.condition(typed, "HAVING")
            })?),
        };
        let having_applies = self.take_pending();
        let mut items = self.order_items(order, &outputs, true)?;
        let mut on = self.distinct_on(distinct.as_deref(), &mut outputs, &mut items)?;
        let order_applies = self.take_pending();

        let grouped = groups.is_some() || having.is_some() || self.level().has_aggregates;
        self.check_locked_outputs(grouped, &outputs, &items)?;
        let mut applies = (having_applies, select_applies, order_applies);
        if grouped {
            let (groups, below) = groups.unwrap_or_default();
            plan = self.apply_all(plan, below)?;
            plan = self.group(plan, &groups, &mut outputs, having, &mut items, &mut on, &mut applies)?;
        } else {
            if !self.level().locked.is_empty() && !self.level().lifted {
                let (items, ordered) = (std::mem::take(&mut items), std::mem::take(&mut applies.2));
                plan = self.locked_in_order(plan, &outputs, items, &applies.1, ordered)?;
            }
            plan = self.apply_all(plan, applies.1)?;
            plan = self.apply_all(plan, applies.2)?;
        }
        plan = self.windows_of(plan, &mut outputs, &mut items, &mut on)?;
        plan = self.apply_sets(plan, grouped)?;
        let rel = self.project(plan, outputs, items, distinct.is_some(), on)?;
        self.lift(rel)
    }

    /// 42P20 for two of one name.
    fn check_windows(&mut self, windows: &[ast::NamedWindowDefinition]) -> Result<(), SqlError> {
        for (at, window) in windows.iter().enumerate() {
            let name = fold(&window.0);
            if windows[..at].iter().any(|other| fold(&other.0) == name) {
                let error =
                    SqlError::new(SqlState::WINDOWING_ERROR, format!("window \"{name}\" is already defined"));
                return Err(error).at(self.positions.paren_after(self.positions.of_span(window.0.span)));
            }
        }
        Ok(())
    }

    fn check_locked_outputs(
        &mut self,
        grouped: bool,
        outputs: &[Output],
        items: &[OrderItem],
    ) -> Result<(), SqlError> {
        let windows = |t: &Typed| t.expr.exists(|e| Ok(matches!(e, Expr::WindowFunction(_)))).unwrap_or(true);
        let ordered = |i: &OrderItem| matches!(&i.key, OrderKey::Expr(typed) if windows(typed));
        let level = self.level();
        if grouped {
            refuse_locks(&level.locks, "aggregate functions")?;
        }
        if outputs.iter().any(|o| windows(&o.typed)) || items.iter().any(ordered) {
            refuse_locks(&level.locks, "window functions")?;
        }
        if !level.sets.is_empty() {
            refuse_locks(&level.locks, "set-returning functions in the target list")?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn group(
        &mut self,
        plan: LogicalPlan,
        groups: &[Typed],
        outputs: &mut [Output],
        having: Option<Typed>,
        items: &mut [OrderItem],
        on: &mut [Typed],
        applies: &mut (Vec<PendingApply>, Vec<PendingApply>, Vec<PendingApply>),
    ) -> Result<LogicalPlan, SqlError> {
        let mut grouping = Grouping::new(self, groups);
        // Subqueries of the select list and of HAVING run above the aggregate, on its groups.
        let mut above = Vec::new();
        for (stage, list) in [&mut applies.0, &mut applies.1, &mut applies.2].into_iter().enumerate() {
            for apply in std::mem::take(list) {
                grouping.append(&apply.name);
                above.push((stage, apply));
            }
        }
        for output in outputs.iter_mut() {
            output.typed.expr = grouping.rewrite(self, output.typed.expr.clone())?;
        }
        let having = having.map(|h| grouping.rewrite(self, h.expr)).transpose()?;
        for item in items.iter_mut() {
            if let OrderKey::Expr(typed) = &mut item.key {
                typed.expr = grouping.rewrite(self, typed.expr.clone())?;
            }
        }
        for typed in on.iter_mut() {
            typed.expr = grouping.rewrite(self, typed.expr.clone())?;
        }
        let mut ready = (Vec::new(), Vec::new());
        for (stage, mut apply) in above {
            for (_, expr) in &mut apply.params {
                *expr = grouping.rewrite(self, expr.clone())?;
            }
            if let Some(probe) = apply.probe.take() {
                apply.probe = Some(grouping.rewrite(self, probe)?);
            }
            if stage == 0 { ready.0.push(apply) } else { ready.1.push(apply) }
        }
        let mut plan = grouping.plan(plan)?;
        plan = self.apply_all(plan, ready.0)?;
        if let Some(having) = having {
            plan = LogicalPlan::Filter(Filter::try_new(having, Arc::new(plan))?);
        }
        self.apply_all(plan, ready.1)
    }

    fn windows_of(
        &mut self,
        plan: LogicalPlan,
        outputs: &mut [Output],
        items: &mut [OrderItem],
        on: &mut [Typed],
    ) -> Result<LogicalPlan, SqlError> {
        let mut exprs: Vec<&mut Expr> = outputs.iter_mut().map(|o| &mut o.typed.expr).collect();
        for item in items {
            if let OrderKey::Expr(typed) = &mut item.key {
                exprs.push(&mut typed.expr);
            }
        }
        exprs.extend(on.iter_mut().map(|t| &mut t.expr));
        self.plan_windows(plan, &mut exprs)
    }

    /// Projection, duplicates, order: the end of a `SELECT`.
    fn project(
        &mut self,
        plan: LogicalPlan,
        outputs: Vec<Output>,
        items: Vec<OrderItem>,
        distinct: bool,
        on: Vec<Typed>,
    ) -> Result<Rel, SqlError> {
        let mut exprs = Vec::with_capacity(outputs.len() + items.len());
        let mut columns = Vec::with_capacity(outputs.len());
        for output in outputs {
            let name = self.fresh("c");
            exprs.push(output.typed.expr.alias(&name));
            columns.push(RelColumn {
                name: output.name,
                column: Column::from_name(name),
                ty: output.typed.ty,
                typmod: output.typed.typmod,
                origin: output.typed.origin,
                pending: output.typed.pending,
                pos: output.typed.pos,
            });
        }
        let mut hidden = 0;
        let mut sort = Vec::with_capacity(items.len());
        for item in items {
            let (expr, ty) = match item.key {
                OrderKey::Output(at) => (Expr::Column(columns[at].column.clone()), columns[at].ty),
                OrderKey::Expr(_) if distinct && on.is_empty() => {
                    return Err(SqlError::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                    ))
                    .at(item.pos);
                }
                OrderKey::Expr(typed) => {
                    let name = self.fresh("s");
                    exprs.push(typed.expr.alias(&name));
                    hidden += 1;
                    (Expr::Column(Column::from_name(name)), typed.ty)
                }
            };
            sort.push(SortExpr::new(key(ty, expr), item.asc, item.nulls_first));
        }
        let mut partition = Vec::with_capacity(on.len());
        for typed in on {
            let name = self.fresh("d");
            exprs.push(typed.expr.alias(&name));
            hidden += 1;
            partition.push(key(typed.ty, Expr::Column(Column::from_name(name))));
        }
        let late = if distinct || sort.is_empty() { vec![] } else { called_late(&mut exprs, &sort) };
        let mut plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
        if distinct && partition.is_empty() {
            plan = self.distinct(plan, &columns)?;
        }
        let plan =
            if partition.is_empty() { plan } else { self.first_of_each(plan, partition, sort.clone())? };
        let plan = if sort.is_empty() {
            plan
        } else {
            LogicalPlan::Sort(Sort { expr: sort, input: Arc::new(plan), fetch: None })
        };
        let plan = if hidden == 0 && late.is_empty() {
            plan
        } else {
            let mut kept: Vec<Expr> = columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
            for (at, call) in late {
                kept[at] = call;
            }
            LogicalPlan::Projection(Projection::try_new(kept, Arc::new(plan))?)
        };
        Ok(Rel { plan, columns })
    }
}

/// Takes the columns that call volatile functions away, unless they are sorted by: these are called for sorted rows, and only
/// for those that a limit leaves. What they read takes their place.
fn called_late(exprs: &mut Vec<Expr>, sort: &[SortExpr]) -> Vec<(usize, Expr)> {
    let sorted = |e: &Expr| {
        let Expr::Alias(alias) = e else { return true };
        sort.iter().any(|key| key.expr.column_refs().contains(&Column::from_name(&alias.name)))
    };
    let (late, early): (Vec<_>, Vec<_>) =
        std::mem::take(exprs).into_iter().enumerate().partition(|(_, e)| e.is_volatile() && !sorted(e));
    let read: BTreeSet<Column> =
        late.iter().flat_map(|(_, e)| e.column_refs().into_iter().cloned().collect::<Vec<_>>()).collect();
    exprs.extend(early.into_iter().map(|(_, e)| e).chain(read.into_iter().map(Expr::Column)));
    late
}

fn check_lockable(locks: &[RowLock], body: &SetExpr) -> Result<(), SqlError> {
    let refuse = |what| refuse_locks(locks, what);
    match body {
        SetExpr::Select(select) => {
            if select.distinct.is_some() {
                refuse("DISTINCT clause")?;
            }
            if !matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty()) {
                refuse("GROUP BY clause")?;
            }
            if select.having.is_some() {
                refuse("HAVING clause")?;
            }
            Ok(())
        }
        SetExpr::SetOperation { .. } => refuse("UNION/INTERSECT/EXCEPT"),
        SetExpr::Values(_) => refuse("VALUES"),
        SetExpr::Table(_) => refuse("TABLE"),
        _ => Ok(()),
    }
}

//! The select list, grouping and duplicate removal.

use super::Binder;
use super::datatype::fold;
use super::order::{OrderItem, OrderKey};
use super::position::At;
use super::scope::{Clause, NsItem, PendingApply};
use super::select::{Output, RelColumn};
use super::typed::Typed;
use crate::error::{SqlError, SqlState};
use crate::func::{WindowBody, key, resolve_window};
use datafusion::common::Column;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, SortExpr, WindowFrame,
    WindowFunctionDefinition,
};
use sqlparser::ast::{
    self, GroupByExpr, SelectItem, SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};
use std::sync::Arc;

/// `GROUP BY` expressions and the subqueries in them.
pub(super) type Groups = Option<(Vec<Typed>, Vec<PendingApply>)>;

/// Clauses of other dialects.
pub(super) fn refuse_extras(select: &ast::Select) -> Result<(), SqlError> {
    let extra = if select.top.is_some() {
        "TOP"
    } else if select.into.is_some() {
        "SELECT INTO"
    } else if !select.lateral_views.is_empty() {
        "LATERAL VIEW"
    } else if select.prewhere.is_some() {
        "PREWHERE"
    } else if !select.connect_by.is_empty() {
        "CONNECT BY"
    } else if !select.cluster_by.is_empty() || !select.distribute_by.is_empty() || !select.sort_by.is_empty()
    {
        "CLUSTER BY"
    } else if select.qualify.is_some() {
        "QUALIFY"
    } else if select.value_table_mode.is_some()
        || select.exclude.is_some()
        || select.select_modifiers.is_some()
    {
        "this form of SELECT"
    } else if select.flavor != ast::SelectFlavor::Standard {
        "FROM before SELECT"
    } else {
        return Ok(());
    };
    Err(SqlError::unsupported(extra))
}

impl Binder<'_> {
    pub(super) fn select_list(&mut self, items: &[SelectItem]) -> Result<Vec<Output>, SqlError> {
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let typed = self.expr(expr)?;
                    out.push(Output { typed, name: name_of(expr) });
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    if alias.quote_style == Some('\'') {
                        let text = format!("syntax error at or near \"'{}'\"", alias.value);
                        return Err(SqlError::new(SqlState::SYNTAX_ERROR, text)).at(self.positions.of(item));
                    }
                    let typed = self.expr(expr)?;
                    out.push(Output { typed, name: fold(alias) });
                }
                SelectItem::Wildcard(options) => {
                    plain_wildcard(options)?;
                    let items = self.level().items.clone();
                    if items.is_empty() {
                        return Err(SqlError::new(
                            SqlState::SYNTAX_ERROR,
                            "SELECT * with no tables specified is not valid",
                        ))
                        .at(self.positions.of(item));
                    }
                    for relation in items.iter().filter(|i| i.columns_visible) {
                        self.expand(relation, &mut out, None);
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    plain_wildcard(options)?;
                    let pos = self.positions.of(name);
                    let (schema, relation) = super::call::function_name(name)?;
                    let Some((depth, found)) = self.find_item(schema.as_deref(), &relation)? else {
                        return Err(self.missing_from(&relation)).at(pos);
                    };
                    self.expand(&found, &mut out, Some(depth));
                }
                other => {
                    return Err(SqlError::unsupported(format!("{other} in a select list")))
                        .at(self.positions.of(other));
                }
            }
        }
        Ok(out)
    }

    fn expand(&mut self, item: &NsItem, out: &mut Vec<Output>, depth: Option<usize>) {
        let depth = depth.unwrap_or(self.levels.len() - 1);
        for column in item.columns.iter().filter(|c| !c.hidden) {
            let shown = if item.alias.is_empty() {
                column.name.clone()
            } else {
                format!("{}.{}", item.alias, column.name)
            };
            let typed = self.refer(depth, column, shown, None);
            out.push(Output { typed, name: column.name.clone() });
        }
    }

    /// `None` without a `GROUP BY` clause.
    pub(super) fn group_by(
        &mut self,
        group_by: &GroupByExpr,
        select: &[SelectItem],
        outputs: &[Output],
    ) -> Result<Groups, SqlError> {
        let GroupByExpr::Expressions(exprs, modifiers) = group_by else {
            return Err(SqlError::unsupported("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::unsupported("this form of GROUP BY"));
        }
        if exprs.is_empty() {
            return Ok(None);
        }
        // Subqueries in the select list were met before; those found from here on belong below the aggregate, and so do
        // those of outputs that are grouped by.
        let mut before = self.take_pending();
        let mut groups = Vec::with_capacity(exprs.len());
        // A list in parentheses is one of items.
        let items = exprs.iter().flat_map(|expr| match expr {
            ast::Expr::Tuple(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        });
        for expr in items {
            let pos = self.positions.of(expr);
            if matches!(expr, ast::Expr::Rollup(_) | ast::Expr::Cube(_) | ast::Expr::GroupingSets(_)) {
                return Err(SqlError::unsupported("grouping sets")).at(pos);
            }
            let typed = match selected(expr, select) {
                Some(at) => outputs[at].typed.clone(),
                None => self.group_item(expr, outputs, pos)?,
            };
            if has_aggregate(&typed.expr) {
                return Err(SqlError::new(
                    SqlState::GROUPING_ERROR,
                    "aggregate functions are not allowed in GROUP BY",
                ))
                .at(pos);
            }
            groups.push(typed);
        }
        let grouped = |p: &mut PendingApply| {
            let result = Column::from_name(p.name.clone());
            groups.iter().any(|group| group.expr.column_refs().contains(&result))
        };
        let mut below: Vec<PendingApply> = before.extract_if(.., grouped).collect();
        below.append(&mut self.take_pending());
        self.level().pending = before;
        Ok(Some((groups, below)))
    }

    fn group_item(
        &mut self,
        expr: &ast::Expr,
        outputs: &[Output],
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        if let Some(at) = self.output_position("GROUP BY", expr, outputs.len(), pos)? {
            return Ok(outputs[at].typed.clone());
        }
        if let ast::Expr::Identifier(ident) = expr {
            // An input column comes first; only a name that is none may be an output's.
            let name = fold(ident);
            let input = self
                .level()
                .items
                .iter()
                .any(|i| i.columns_visible && i.columns.iter().any(|c| c.name == name));
            if !input && let Some(output) = outputs.iter().find(|o| o.name == name) {
                return Ok(output.typed.clone());
            }
        }
        let typed = self.in_clause(Clause::GroupBy, |b| b.expr(expr))?;
        self.settle(typed)
    }

    /// The expressions of `DISTINCT ON`, which must be the first ones of the order.
    pub(super) fn distinct_on(
        &mut self,
        on: Option<&[ast::Expr]>,
        outputs: &mut [Output],
        items: &mut [OrderItem],
    ) -> Result<Vec<Typed>, SqlError> {
        let Some(on) = on.filter(|on| !on.is_empty()) else { return Ok(vec![]) };
        let mut bound = Vec::with_capacity(on.len());
        for expr in on {
            let pos = self.positions.of(expr);
            let order = ast::OrderByExpr {
                expr: expr.clone(),
                options: ast::OrderByOptions { asc: None, nulls_first: None },
                with_fill: None,
            };
            let item = self.order_items(std::slice::from_ref(&order), outputs, true)?;
            bound.push(match item.into_iter().next().map(|i| i.key) {
                Some(OrderKey::Output(at)) => Typed { pos, ..outputs[at].typed.clone() },
                Some(OrderKey::Expr(typed)) => typed,
                None => return Err(SqlError::internal("one item was given")),
            });
        }
        let mut matched = vec![false; bound.len()];
        for item in items.iter() {
            if matched.iter().all(|m| *m) {
                break;
            }
            let expr = match &item.key {
                OrderKey::Output(at) => &outputs[*at].typed.expr,
                OrderKey::Expr(typed) => &typed.expr,
            };
            match bound.iter().position(|b| b.expr == *expr) {
                Some(at) => matched[at] = true,
                None => {
                    return Err(SqlError::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
                    ))
                    .at(bound[0].pos);
                }
            }
        }
        Ok(bound)
    }

    /// The first row of each partition in an order.
    pub(super) fn first_of_each(
        &mut self,
        plan: LogicalPlan,
        partition_by: Vec<Expr>,
        order_by: Vec<SortExpr>,
    ) -> Result<LogicalPlan, SqlError> {
        let (plan, name) = self.numbered(plan, partition_by, order_by)?;
        let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
        let first = Expr::Column(Column::from_name(name)).eq(one);
        Ok(LogicalPlan::Filter(Filter::try_new(first, Arc::new(plan))?))
    }

    /// Appends the row's number within its partition, as int8.
    pub(super) fn numbered(
        &mut self,
        plan: LogicalPlan,
        partition_by: Vec<Expr>,
        order_by: Vec<SortExpr>,
    ) -> Result<(LogicalPlan, String), SqlError> {
        let resolved = resolve_window("row_number", &[])?;
        let fun = match &resolved.body {
            WindowBody::Window(udwf) => WindowFunctionDefinition::WindowUDF(Arc::clone(udwf)),
            WindowBody::Aggregate(udaf) => WindowFunctionDefinition::AggregateUDF(Arc::clone(udaf)),
        };
        let name = self.fresh("w");
        let raw = self.fresh("w");
        let window = Expr::WindowFunction(Box::new(WindowFunction {
            fun,
            params: WindowFunctionParams {
                args: vec![],
                partition_by,
                window_frame: WindowFrame::new((!order_by.is_empty()).then_some(false)),
                order_by,
                filter: None,
                null_treatment: None,
                distinct: false,
            },
        }));
        let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let plan = LogicalPlanBuilder::from(plan).window(vec![window.alias(&raw)])?.build()?;
        let number = resolved.finish(Expr::Column(Column::from_name(raw))).alias(&name);
        let exprs = columns.into_iter().chain([number]).collect();
        Ok((LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?), name))
    }

    /// Removes duplicate rows; the columns keep their names and order.
    pub(super) fn distinct(
        &mut self,
        plan: LogicalPlan,
        columns: &[RelColumn],
    ) -> Result<LogicalPlan, SqlError> {
        let mut groups = Vec::with_capacity(columns.len());
        let mut firsts = Vec::new();
        for column in columns {
            let expr = Expr::Column(column.column.clone());
            if column.ty.has_plain_equality() {
                groups.push(expr);
                continue;
            }
            let name = self.fresh("g");
            groups.push(key(column.ty, expr.clone()).alias(name));
            let first = AggregateFunction::new_udf(first_value_udaf(), vec![expr], false, None, vec![], None);
            firsts.push(Expr::AggregateFunction(first).alias(column.column.name.clone()));
        }
        if groups.is_empty() {
            // No columns: at most one row.
            return Ok(LogicalPlanBuilder::from(plan).limit(0, Some(1))?.build()?);
        }
        let plain = firsts.is_empty();
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), groups, firsts)?);
        if plain {
            return Ok(plan);
        }
        let exprs = columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }
}

pub(super) fn has_aggregate(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_) | Expr::WindowFunction(_)))).unwrap_or(true)
}

pub(super) fn plain_wildcard(options: &WildcardAdditionalOptions) -> Result<(), SqlError> {
    let plain = options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none();
    if plain { Ok(()) } else { Err(SqlError::unsupported("options of *")) }
}

/// The name PostgreSQL gives an output column without an alias (its `FigureColname`).
pub(super) fn name_of(expr: &ast::Expr) -> String {
    figure(expr).map_or_else(|| "?column?".into(), |(name, _)| name)
}

/// Name, and whether it is a good one (a type's name is not).
fn figure(expr: &ast::Expr) -> Option<(String, bool)> {
    let good = |name: &str| Some((name.to_string(), true));
    match expr {
        ast::Expr::Identifier(ident) => Some((fold(ident), true)),
        ast::Expr::CompoundIdentifier(idents) => idents.last().map(|i| (fold(i), true)),
        ast::Expr::Nested(inner) | ast::Expr::Collate { expr: inner, .. } => figure(inner),
        ast::Expr::Function(f) => super::call::function_name(&f.name).ok().map(|(_, name)| (name, true)),
        ast::Expr::Cast { expr, data_type, .. } => match figure(expr) {
            Some((name, true)) => Some((name, true)),
            _ => name_of_type(data_type),
        },
        ast::Expr::TypedString(t) => name_of_type(&t.data_type),
        ast::Expr::Array(_) => good("array"),
        ast::Expr::CompoundFieldAccess { root, access_chain }
            if access_chain.iter().all(|access| matches!(access, ast::AccessExpr::Subscript(_))) =>
        {
            figure(root)
        }
        ast::Expr::Interval(_) => Some(("interval".into(), false)),
        ast::Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".into(), false)),
        },
        ast::Expr::Exists { .. } => good("exists"),
        ast::Expr::Subquery(query) => match &*query.body {
            ast::SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(e) => figure(e),
                SelectItem::ExprWithAlias { alias, .. } => Some((fold(alias), true)),
                _ => None,
            },
            ast::SetExpr::Values(_) => good("column1"),
            _ => None,
        },
        ast::Expr::Extract { .. } => good("extract"),
        ast::Expr::Substring { shorthand, .. } => good(if *shorthand { "substr" } else { "substring" }),
        ast::Expr::Position { .. } => good("position"),
        ast::Expr::Overlay { .. } => good("overlay"),
        ast::Expr::Ceil { .. } => good("ceil"),
        ast::Expr::Floor { .. } => good("floor"),
        ast::Expr::AtTimeZone { .. } => good("timezone"),
        ast::Expr::Trim { trim_where, .. } => match trim_where {
            Some(ast::TrimWhereField::Leading) => good("ltrim"),
            Some(ast::TrimWhereField::Trailing) => good("rtrim"),
            _ => good("btrim"),
        },
        _ => None,
    }
}

/// An array's is that of its elements.
fn name_of_type(of: &ast::DataType) -> Option<(String, bool)> {
    let (ty, _) = super::bind_type(of, None).ok()?;
    let named = if matches!(of, ast::DataType::Array(_)) { ty.element().unwrap_or(ty) } else { ty };
    Some((named.name().to_string(), false))
}

/// The place in a select list of an expression with a subquery: bound once more, it would be another one.
fn selected(expr: &ast::Expr, select: &[SelectItem]) -> Option<usize> {
    let subquery = ast::visit_expressions(expr, |e| {
        use ast::Expr::{AllOp, AnyOp, Exists, InSubquery, Subquery};
        match e {
            Subquery(_) | Exists { .. } | InSubquery { .. } | AnyOp { .. } | AllOp { .. } => {
                std::ops::ControlFlow::Break(())
            }
            _ => std::ops::ControlFlow::Continue(()),
        }
    });
    if subquery.is_continue() {
        return None;
    }
    // Behind a `*`, outputs have other places.
    let single = select.iter().map_while(|item| match item {
        SelectItem::UnnamedExpr(one) | SelectItem::ExprWithAlias { expr: one, .. } => Some(one),
        _ => None,
    });
    single.into_iter().position(|one| one == expr)
}

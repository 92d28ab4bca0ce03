//! Aggregates: calls, grouping, and the check that what is not aggregated is grouped.

use super::Binder;
use super::call::Args;
use super::position::At;
use super::scope::Clause;
use super::typed::Typed;
use crate::error::{SqlError, SqlState};
use crate::exec::ordered::Ordered;
use crate::func::{Place, ResolvedAggregate, key};
use crate::types::PgType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, SortExpr};
use sqlparser::ast;
use std::sync::Arc;

impl Binder<'_> {
    /// Marks the level as inside an aggregate's arguments; the answer goes to [`Binder::restore_level_flag`].
    pub(super) fn level_flag(&mut self, aggregate: bool) -> bool {
        let level = self.level();
        let was = level.in_aggregate;
        level.in_aggregate |= aggregate;
        was
    }

    pub(super) fn restore_level_flag(&mut self, was: bool) {
        self.level().in_aggregate = was;
    }

    pub(super) fn aggregate_call(
        &mut self,
        resolved: ResolvedAggregate,
        name: &str,
        args: Args,
        filter: Option<&ast::Expr>,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let clause = self.level().clause;
        if self.level().in_aggregate {
            return Err(SqlError::new(SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested"));
        }
        if !matches!(
            clause,
            Clause::Select | Clause::Having | Clause::OrderBy | Clause::WindowPartition | Clause::WindowOrder
        ) {
            let message = match clause {
                Clause::Filter => "aggregate functions are not allowed in FILTER".to_string(),
                Clause::JoinOn => "aggregate functions are not allowed in JOIN conditions".to_string(),
                other => format!("aggregate functions are not allowed in {}", other.name()),
            };
            return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
        }
        if args.list.is_empty() && !args.star && name == "count" {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                "count(*) must be used to call a parameterless aggregate function",
            ));
        }
        self.check_aggregate_level(&args)?;
        let mut exprs = Vec::with_capacity(args.list.len());
        for (arg, ty) in args.list.into_iter().zip(&resolved.arg_types) {
            exprs.push(self.coerce(arg, *ty)?);
        }
        let minmax = matches!(name, "min" | "max" | "bool_and" | "bool_or" | "every");
        let udaf = Arc::clone(&resolved.udaf);
        let exprs: Vec<Expr> = exprs.into_iter().map(|e| e.expr).collect();
        let was = self.level_flag(true);
        let order_by = self.aggregate_order(&args.order_by);
        let filter = filter
            .map(|f| {
                self.in_clause(Clause::Filter, |b| {
                    let f = b.expr(f)?;
                    b.condition(f, "FILTER")
                })
            })
            .transpose();
        self.restore_level_flag(was);
        let (order_by, filter) = (order_by?, filter?);
        let (udaf, exprs, distinct_flag) = if args.distinct {
            let keys: Vec<Expr> =
                exprs.iter().zip(&resolved.arg_types).map(|(arg, ty)| key(*ty, arg.clone())).collect();
            let written = args.order_by.iter().map(|o| self.positions.of(&o.expr));
            let order: Result<_, _> =
                order_by.iter().zip(written).map(|(item, pos)| place(item, &keys).at(pos)).collect();
            let order = order?;
            if minmax { (udaf, exprs, false) } else { resolved.distinct(exprs, order) }
        } else if order_by.is_empty() {
            (udaf, resolved.args(exprs), false)
        } else {
            // The order's keys are arguments too: see `exec::ordered`.
            let order = order_by.iter().map(|s| (s.asc, s.nulls_first)).collect();
            let keys = order_by.into_iter().map(|s| s.expr);
            (
                Arc::new(Ordered::udaf(udaf, order)),
                resolved.args(exprs).into_iter().chain(keys).collect(),
                false,
            )
        };
        self.level().has_aggregates = true;
        let expr = Expr::AggregateFunction(AggregateFunction {
            func: udaf,
            params: AggregateFunctionParams {
                args: exprs,
                distinct: distinct_flag,
                filter: filter.map(|f| Box::new(f.expr)),
                order_by: vec![],
                null_treatment: None,
            },
        });
        Ok(Typed::new(expr, resolved.result, pos))
    }

    fn aggregate_order(&mut self, order: &[ast::OrderByExpr]) -> Result<Vec<SortExpr>, SqlError> {
        order.iter().map(|o| self.sort_expr(o)).collect()
    }

    /// An aggregate whose arguments are all columns of an outer query belongs to that query.
    fn check_aggregate_level(&self, args: &Args) -> Result<(), SqlError> {
        let mut outer = false;
        let mut local = args.list.is_empty();
        for arg in &args.list {
            let _ = arg.expr.apply(|e| {
                match e {
                    Expr::Placeholder(p) if p.id.starts_with("$o") => outer = true,
                    Expr::Column(_) => local = true,
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        if outer && !local {
            return Err(SqlError::unsupported("an aggregate of an outer query's columns inside a subquery"));
        }
        Ok(())
    }
}

/// Prefix of a column that nothing names.
const NO_COLUMN: &str = "none";

/// What grouping makes of a level's expressions.
pub(super) struct Grouping {
    /// Group expressions as bound, and the column that holds each afterwards.
    groups: Vec<(Expr, Column)>,
    aggregates: Vec<(Expr, Column)>,
    group_exprs: Vec<Expr>,
    aggregate_exprs: Vec<Expr>,
    /// Columns that subqueries append above the aggregate.
    appended: Vec<String>,
}

impl Grouping {
    pub fn new(binder: &mut Binder<'_>, groups: &[Typed]) -> Self {
        let mut grouping = Grouping {
            groups: vec![],
            aggregates: vec![],
            group_exprs: vec![],
            aggregate_exprs: vec![],
            appended: vec![],
        };
        for group in groups {
            grouping.add_group(binder, &group.expr, group.ty);
        }
        grouping
    }

    pub fn add_group(&mut self, binder: &mut Binder<'_>, expr: &Expr, ty: PgType) {
        if self.groups.iter().any(|(known, _)| known == expr) {
            return;
        }
        let name = binder.fresh("g");
        if ty.has_plain_equality() {
            self.group_exprs.push(expr.clone().alias(&name));
            self.groups.push((expr.clone(), Column::from_name(name)));
            return;
        }
        // Grouped by what makes values equal; one of the equal values is shown.
        let shown = binder.fresh("g");
        self.group_exprs.push(key(ty, expr.clone()).alias(name));
        let first = Expr::AggregateFunction(AggregateFunction::new_udf(
            first_value_udaf(),
            vec![expr.clone()],
            false,
            None,
            vec![],
            None,
        ));
        self.aggregate_exprs.push(first.alias(&shown));
        self.groups.push((expr.clone(), Column::from_name(shown)));
    }

    pub fn append(&mut self, name: &str) {
        self.appended.push(name.to_string());
    }

    /// Rewrites an expression of the level to one over the aggregate's output. 42803 for ungrouped columns.
    pub fn rewrite(&mut self, binder: &mut Binder<'_>, expr: Expr) -> Result<Expr, SqlError> {
        let mut failed = None;
        let rewritten = expr.transform_down(|e| {
            if let Some((_, column)) = self.groups.iter().find(|(g, _)| *g == e) {
                return Ok(Transformed::new(Expr::Column(column.clone()), true, TreeNodeRecursion::Jump));
            }
            match &e {
                Expr::AggregateFunction(_) => {
                    let known = self.aggregates.iter().find(|(a, _)| *a == e).map(|(_, c)| c.clone());
                    let column = match known {
                        Some(column) => column,
                        None => {
                            let name = binder.fresh("a");
                            self.aggregate_exprs.push(e.clone().alias(&name));
                            let column = Column::from_name(name);
                            self.aggregates.push((e.clone(), column.clone()));
                            column
                        }
                    };
                    Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump))
                }
                Expr::Column(column) if !self.is_output(column) => {
                    if self.depends_on_groups(binder, column) {
                        let ty = binder.type_of_column(column);
                        self.add_group(binder, &e, ty);
                        let column = self.groups.last().map(|(_, c)| c.clone());
                        if let Some(column) = column {
                            return Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump));
                        }
                    }
                    failed.get_or_insert_with(|| column.clone());
                    Ok(Transformed::no(e))
                }
                _ => Ok(Transformed::no(e)),
            }
        });
        let rewritten = rewritten?.data;
        match failed {
            Some(column) => Err(binder.ungrouped(&column)),
            None => Ok(rewritten),
        }
    }

    fn is_output(&self, column: &Column) -> bool {
        column.relation.is_none()
            && (self.appended.contains(&column.name)
                || self.groups.iter().any(|(_, c)| c == column)
                || self.aggregates.iter().any(|(_, c)| c == column))
    }

    /// Whether the table's whole primary key is grouped by, so that its other columns have one value in each group.
    fn depends_on_groups(&self, binder: &mut Binder<'_>, column: &Column) -> bool {
        let level = binder.level();
        let Some(item) =
            level.items.iter().find(|i| i.table.is_some() && i.columns.iter().any(|c| c.column == *column))
        else {
            return false;
        };
        let Some(table) = &item.table else { return false };
        table.has_declared_key()
            && table.primary.columns.iter().all(|key| {
                let position = table.position(key.column);
                let part = position.and_then(|p| item.columns.get(p));
                part.is_some_and(|p| self.groups.iter().any(|(g, _)| *g == Expr::Column(p.column.clone())))
            })
    }

    /// The aggregate over its input, once all expressions are rewritten.
    pub fn plan(self, input: LogicalPlan) -> Result<LogicalPlan, SqlError> {
        let mut aggregates = self.aggregate_exprs;
        if aggregates.is_empty() && self.group_exprs.is_empty() {
            // HAVING alone: one group, and DataFusion wants something to compute for it.
            let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
            let count = AggregateFunction::new_udf(count_udaf(), vec![one], false, None, vec![], None);
            aggregates.push(Expr::AggregateFunction(count).alias(format!("{}0", NO_COLUMN)));
        }
        let aggregate = Aggregate::try_new(Arc::new(input), self.group_exprs, aggregates)?;
        Ok(LogicalPlan::Aggregate(aggregate))
    }
}

impl Binder<'_> {
    fn type_of_column(&mut self, column: &Column) -> PgType {
        let found = self.level().items.iter().flat_map(|i| &i.columns).find(|c| c.column == *column);
        found.map_or(PgType::Text, |c| c.ty)
    }

    fn ungrouped(&mut self, column: &Column) -> SqlError {
        let mention = self.level().mentions.iter().find(|m| m.column == *column).cloned();
        let Some(mention) = mention else {
            return SqlError::new(
                SqlState::GROUPING_ERROR,
                format!(
                    "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                    column.name
                ),
            );
        };
        let message = if mention.from_subquery {
            format!("subquery uses ungrouped column \"{}\" from outer query", mention.shown)
        } else {
            format!(
                "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                mention.shown
            )
        };
        let error: Result<(), SqlError> =
            Err(SqlError::new(SqlState::GROUPING_ERROR, message)).at(mention.pos);
        error.err().unwrap_or_else(|| SqlError::internal("an error was just made"))
    }
}

/// Which of the arguments `aggregate(DISTINCT … ORDER BY …)` is ordered by; anything else is 42P10.
fn place(item: &SortExpr, arguments: &[Expr]) -> Result<Place, SqlError> {
    match arguments.iter().position(|argument| *argument == item.expr) {
        Some(argument) => Ok(Place { argument, asc: item.asc, nulls_first: item.nulls_first }),
        None => Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
        )),
    }
}

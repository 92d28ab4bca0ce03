//! Relations that may mention their neighbours: `LATERAL`, and functions.

use super::Binder;
use super::call::function_name;
use super::from::name_of;
use super::position::At;
use super::scope::{Level, NsItem, PendingApply};
use super::select::{Rel, RelColumn, Unknowns};
use super::typed::placeholder;
use crate::error::SqlError;
use crate::exec::apply::ApplyKind;
use crate::session::outcome;
use crate::session::parse::{self, Command};
use crate::types::PgType;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use sqlparser::ast::{self, TableFactor};
use std::sync::Arc;

/// The right side of a join that may mention the left one.
pub(super) struct Side {
    pub rel: Rel,
    pub item: NsItem,
    /// What it mentions.
    pub params: Vec<(String, Expr)>,
}

impl Binder<'_> {
    pub(super) fn side(&mut self, factor: &TableFactor) -> Result<Side, SqlError> {
        let ((rel, alias), params) = self.with_outer(|b| b.lateral_rel(factor))?;
        let (_, mut item) = self.derived_item(rel.clone(), alias.as_ref())?;
        item.alias = name_of(factor, item.alias)?;
        Ok(Side { rel, item, params })
    }

    /// A side beside each row of the left one.
    pub(super) fn lateral(
        &mut self,
        left: LogicalPlan,
        side: Side,
        kind: ApplyKind,
    ) -> Result<LogicalPlan, SqlError> {
        let Side { rel, mut item, params } = side;
        let rel = self.beside_rows(left, rel, params, kind)?;
        for (column, outside) in item.columns.iter_mut().zip(rel.columns) {
            column.column = outside.column;
        }
        self.add_item(item)?;
        Ok(rel.plan)
    }

    /// The same with the condition of a `LEFT JOIN`, which is one of the right side's rows, for each row of the left.
    pub(super) fn lateral_on(
        &mut self,
        left: LogicalPlan,
        mut side: Side,
        condition: &ast::Expr,
        first: usize,
        pos: Option<u32>,
    ) -> Result<LogicalPlan, SqlError> {
        self.add_item(side.item.clone())?;
        let conjuncts = self.join_condition(condition, first)?;
        if !self.take_pending().is_empty() {
            return Err(SqlError::unsupported("a subquery in the condition of an outer join")).at(pos);
        }
        let own: Vec<Column> = side.rel.columns.iter().map(|c| c.column.clone()).collect();
        let mut filters = Vec::with_capacity(conjuncts.len());
        for conjunct in conjuncts {
            let outer: Vec<Column> =
                conjunct.column_refs().into_iter().filter(|c| !own.contains(c)).cloned().collect();
            let mut filled = Vec::with_capacity(outer.len());
            for column in outer {
                let ty = self.type_in_sight(&column)?;
                self.counter += 1;
                let id = format!("$o{}", self.counter);
                side.params.push((id.clone(), Expr::Column(column.clone())));
                filled.push((column, placeholder(&id, ty)));
            }
            let inside = conjunct.transform_up(|e| match &e {
                Expr::Column(c) => match filled.iter().find(|(column, _)| column == c) {
                    Some((_, value)) => Ok(Transformed::yes(value.clone())),
                    None => Ok(Transformed::no(e)),
                },
                _ => Ok(Transformed::no(e)),
            })?;
            filters.push(inside.data);
        }
        side.rel.plan = self.filter_all(side.rel.plan, filters)?;
        self.level().items.pop();
        self.lateral(left, side, ApplyKind::LateralLeft)
    }

    fn type_in_sight(&mut self, column: &Column) -> Result<PgType, SqlError> {
        let mut columns = self.level().items.iter().flat_map(|item| &item.columns);
        let found = columns.find(|c| c.column == *column).map(|c| c.ty);
        found.ok_or_else(|| SqlError::internal(format!("a condition on {column}, which no relation has")))
    }

    /// The rows of a query beside each row of a plan that its parameters come from.
    pub(super) fn beside_rows(
        &mut self,
        left: LogicalPlan,
        rel: Rel,
        params: Vec<(String, Expr)>,
        kind: ApplyKind,
    ) -> Result<Rel, SqlError> {
        // The inner columns get names of their own, as they come out of the node.
        let names: Vec<String> = rel.columns.iter().map(|_| self.fresh("l")).collect();
        let ordered: Vec<Expr> = rel.columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
        let inner = LogicalPlan::Projection(Projection::try_new(ordered, Arc::new(rel.plan))?);
        let columns = rel
            .columns
            .iter()
            .zip(&names)
            .map(|(c, name)| RelColumn { column: Column::from_name(name.clone()), ..c.clone() })
            .collect();
        let pending = PendingApply { name: String::new(), inner, params, probe: None, kind };
        let plan = self.apply_one(left, pending, Some(names))?;
        Ok(Rel { plan, columns })
    }

    /// The rows of a query whose parameters subqueries make: these have run before.
    pub(super) fn beside_subqueries(
        &mut self,
        subqueries: Vec<PendingApply>,
        rel: Rel,
        params: Vec<(String, Expr)>,
    ) -> Result<Rel, SqlError> {
        let row = self.apply_all(super::from::one_row(), subqueries)?;
        let Rel { plan, columns } = self.beside_rows(row, rel, params, ApplyKind::LateralInner)?;
        let kept = columns.iter().map(|c| Expr::Column(c.column.clone())).collect();
        Ok(Rel { plan: LogicalPlan::Projection(Projection::try_new(kept, Arc::new(plan))?), columns })
    }

    fn lateral_rel(&mut self, factor: &TableFactor) -> Result<(Rel, Option<ast::TableAlias>), SqlError> {
        match factor {
            TableFactor::Derived { subquery, alias, .. } => {
                self.lock_inside(alias.as_ref());
                Ok((self.query(subquery, Unknowns::Settle)?, alias.clone()))
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                self.levels.push(Level::new());
                let rel = self.function_rel(name, args, *with_ordinality, alias.as_ref());
                self.levels.pop();
                Ok((rel?, alias.clone()))
            }
            TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
                self.levels.push(Level::new());
                let rel = self.function_rel(name, &args.args, *with_ordinality, alias.as_ref());
                self.levels.pop();
                Ok((rel?, alias.clone()))
            }
            TableFactor::UNNEST { .. } => {
                self.levels.push(Level::new());
                let rel = self.unnest_rel(factor);
                self.levels.pop();
                rel
            }
            other => Err(SqlError::unsupported(format!("LATERAL {other}"))),
        }
    }

    pub(super) fn function_factor(
        &mut self,
        name: &ast::ObjectName,
        args: &[ast::FunctionArg],
        with_ordinality: bool,
        alias: Option<&ast::TableAlias>,
    ) -> Result<LogicalPlan, SqlError> {
        self.levels.push(Level::new());
        let rel = self.function_rel(name, args, with_ordinality, alias);
        self.levels.pop();
        let (plan, mut item) = self.derived_item(rel?, alias)?;
        if alias.is_none() {
            item.alias = function_name(name)?.1;
        }
        self.add_item(item)?;
        Ok(plan)
    }

    fn function_rel(
        &mut self,
        name: &ast::ObjectName,
        args: &[ast::FunctionArg],
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
    ) -> Result<Rel, SqlError> {
        let pos = self.positions.of(name);
        let (schema, function) = function_name(name)?;
        if schema.as_deref() == Some("quorate") && function == outcome::FUNCTION && !ordinality {
            return self.outcome_rel(args);
        }
        if schema.as_deref().is_some_and(|s| s != "pg_catalog") {
            return Err(self.no_function(schema.as_deref(), &function, &[])).at(pos);
        }
        let args = args.iter().map(|arg| match arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) => Ok(e),
            _ => Err(SqlError::unsupported("named arguments")).at(pos),
        });
        let args = args.collect::<Result<Vec<_>, _>>()?;
        self.table_function(&function, args, ordinality, alias, pos)
    }

    /// `quorate.transaction_outcome(…)`.
    fn outcome_rel(&mut self, args: &[ast::FunctionArg]) -> Result<Rel, SqlError> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let mut parsed = parse::parse(&outcome::as_query(&args.join(", ")))?;
        let Some(Command::Statement(statement)) = parsed.pop().map(|parsed| parsed.command) else {
            return Err(SqlError::internal("transaction_outcome stands for no statement"));
        };
        let ast::Statement::Query(query) = &*statement else {
            return Err(SqlError::internal("transaction_outcome stands for no query"));
        };
        self.query(query, Unknowns::Settle)
    }

    /// `unnest(…)`, which the parser knows by itself.
    pub(super) fn unnest_factor(&mut self, factor: &TableFactor) -> Result<LogicalPlan, SqlError> {
        self.levels.push(Level::new());
        let rel = self.unnest_rel(factor);
        self.levels.pop();
        let (rel, alias) = rel?;
        let (plan, mut item) = self.derived_item(rel, alias.as_ref())?;
        item.alias = name_of(factor, item.alias)?;
        self.add_item(item)?;
        Ok(plan)
    }

    fn unnest_rel(&mut self, factor: &TableFactor) -> Result<(Rel, Option<ast::TableAlias>), SqlError> {
        let TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } = factor
        else {
            return Err(SqlError::unsupported("UNNEST WITH OFFSET"));
        };
        let pos = self.positions.of(factor);
        let rel = self.table_function("unnest", array_exprs.iter(), *with_ordinality, alias.as_ref(), pos)?;
        Ok((rel, alias.clone()))
    }
}

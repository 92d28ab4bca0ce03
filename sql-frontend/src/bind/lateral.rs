//! Relations that may mention their neighbours: `LATERAL`, and functions.

use super::Binder;
use super::call::function_name;
use super::datatype::fold;
use super::from::name_of;
use super::position::At;
use super::scope::{Clause, Level, PendingApply};
use super::select::{Rel, RelColumn, Unknowns};
use super::typed::Typed;
use crate::error::SqlError;
use crate::exec::apply::ApplyKind;
use crate::exec::series::Series;
use crate::func::CastContext;
use crate::types::PgType;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, Projection};
use sqlparser::ast::{self, TableFactor};
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn lateral(
        &mut self,
        left: LogicalPlan,
        factor: &TableFactor,
        outer: bool,
    ) -> Result<LogicalPlan, SqlError> {
        let ((rel, alias), params) = self.with_outer(|b| b.lateral_rel(factor))?;
        if params.is_empty() && !outer {
            let (plan, mut item) = self.derived_item(rel, alias.as_ref())?;
            item.alias = name_of(factor, item.alias)?;
            self.add_item(item)?;
            return Ok(LogicalPlanBuilder::from(left).cross_join(plan)?.build()?);
        }
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
        let kind = if outer { ApplyKind::LateralLeft } else { ApplyKind::LateralInner };
        let pending = PendingApply { name: String::new(), inner, params, probe: None, kind };
        let plan = self.apply_one(left, pending, Some(names))?;
        let (plan, mut item) = self.derived_item(Rel { plan, columns }, alias.as_ref())?;
        item.alias = name_of(factor, item.alias)?;
        self.add_item(item)?;
        Ok(plan)
    }

    fn lateral_rel(&mut self, factor: &TableFactor) -> Result<(Rel, Option<ast::TableAlias>), SqlError> {
        match factor {
            TableFactor::Derived { subquery, alias, .. } => {
                Ok((self.query(subquery, Unknowns::Settle)?, alias.clone()))
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                self.levels.push(Level::new());
                let rel = self.table_function(name, args, *with_ordinality, alias.as_ref());
                self.levels.pop();
                Ok((rel?, alias.clone()))
            }
            TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
                self.levels.push(Level::new());
                let rel = self.table_function(name, &args.args, *with_ordinality, alias.as_ref());
                self.levels.pop();
                Ok((rel?, alias.clone()))
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
        let rel = self.table_function(name, args, with_ordinality, alias);
        self.levels.pop();
        let (plan, mut item) = self.derived_item(rel?, alias)?;
        if alias.is_none() {
            item.alias = function_name(name)?.1;
        }
        self.add_item(item)?;
        Ok(plan)
    }

    /// A function in `FROM`; only `generate_series` is one.
    fn table_function(
        &mut self,
        name: &ast::ObjectName,
        args: &[ast::FunctionArg],
        with_ordinality: bool,
        alias: Option<&ast::TableAlias>,
    ) -> Result<Rel, SqlError> {
        let pos = self.positions.of(name);
        let (_, function) = function_name(name)?;
        if with_ordinality {
            return Err(SqlError::unsupported("WITH ORDINALITY")).at(pos);
        }
        let mut bound = Vec::with_capacity(args.len());
        for arg in args {
            match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) => {
                    bound.push(self.in_clause(Clause::From, |b| b.expr(e))?);
                }
                _ => return Err(SqlError::unsupported("named arguments")).at(pos),
            }
        }
        let types: Vec<PgType> = bound.iter().map(|a| a.ty).collect();
        if function != "generate_series" {
            if crate::func::function_exists(&function) {
                return Err(SqlError::unsupported(format!("the function {function} in FROM"))).at(pos);
            }
            return Err(self.no_function(None, &function, &types)).at(pos);
        }
        let column = alias.map_or_else(|| function.clone(), |a| fold(&a.name));
        self.series(bound, &column, &types, pos)
    }

    fn series(
        &mut self,
        args: Vec<Typed>,
        column: &str,
        types: &[PgType],
        pos: Option<u32>,
    ) -> Result<Rel, SqlError> {
        let wrong = |b: &Self| Err(b.no_function(None, "generate_series", types)).at(pos);
        if !(2..=3).contains(&args.len()) {
            return wrong(self);
        }
        let rank = |ty: &PgType| match ty {
            PgType::Unknown | PgType::Int2 | PgType::Int4 => Some(PgType::Int4),
            PgType::Int8 => Some(PgType::Int8),
            PgType::Numeric => Some(PgType::Numeric),
            PgType::Date | PgType::Timestamp => Some(PgType::Timestamp),
            PgType::Timestamptz => Some(PgType::Timestamptz),
            _ => None,
        };
        let numbers = [PgType::Int4, PgType::Int8, PgType::Numeric];
        let ranks: Option<Vec<PgType>> = types.iter().take(2).map(rank).collect();
        let Some(mut ranks) = ranks else { return wrong(self) };
        let interval = types.get(2).is_some_and(|t| *t == PgType::Interval);
        if let Some(step) = types.get(2)
            && *step != PgType::Interval
            && *step != PgType::Unknown
        {
            let Some(r) = rank(step) else { return wrong(self) };
            ranks.push(r);
        }
        let (ty, step_ty) = if ranks.iter().any(|r| !numbers.contains(r)) {
            // A date alone is a timestamptz to generate_series, as to PostgreSQL (the preferred type of its category).
            let zoned = ranks.contains(&PgType::Timestamptz) || types[..2].contains(&PgType::Date);
            if args.len() < 3 || !(interval || types[2] == PgType::Unknown) {
                return wrong(self);
            }
            (if zoned { PgType::Timestamptz } else { PgType::Timestamp }, PgType::Interval)
        } else if interval {
            return wrong(self);
        } else {
            let ty = *numbers.iter().rev().find(|n| ranks.contains(n)).unwrap_or(&PgType::Int4);
            (ty, ty)
        };
        let mut exprs = Vec::with_capacity(3);
        let given = args.len();
        for (at, arg) in args.into_iter().enumerate() {
            let to = if at == 2 { step_ty } else { ty };
            exprs.push(self.cast(arg, to, -1, CastContext::Implicit)?.expr);
        }
        if given == 2 {
            let one = self.number("1", pos)?;
            exprs.push(self.cast(one, step_ty, -1, CastContext::Implicit)?.expr);
        }
        if exprs.iter().any(|e| !e.column_refs().is_empty()) {
            return Err(SqlError::internal("arguments of a series are constants or outer columns"));
        }
        let args: [Expr; 3] =
            exprs.try_into().map_err(|_| SqlError::internal("a series has three arguments"))?;
        let name = self.fresh("c");
        self.counter += 1;
        let node = Series::try_new(self.counter, &name, args, ty, step_ty)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        let column = RelColumn {
            name: column.to_string(),
            column: Column::from_name(name),
            ty,
            typmod: -1,
            origin: None,
            pending: None,
            pos: None,
        };
        Ok(Rel { plan, columns: vec![column] })
    }
}

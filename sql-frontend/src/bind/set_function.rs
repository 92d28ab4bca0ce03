//! Functions that return sets: in `FROM`, and in a select list.

use super::Binder;
use super::datatype::fold;
use super::position::At;
use super::scope::{Clause, PendingApply};
use super::select::{Rel, RelColumn};
use super::typed::{Typed, placeholder};
use crate::error::{SqlError, SqlState};
use crate::exec::apply::ApplyKind;
use crate::exec::rows_from::{RowsFrom, SetFunction};
use crate::func::CastContext;
use crate::types::PgType;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Projection};
use sqlparser::ast;
use std::sync::Arc;

/// A function of the select list, and the column that stands for it.
#[derive(Clone, Debug)]
pub(crate) struct SetCall {
    function: SetFunction,
    args: Vec<Typed>,
    name: String,
}

/// Whether a function of this name returns a set.
pub(super) fn is_set_function(name: &str) -> bool {
    matches!(name, "generate_series" | "unnest" | "generate_subscripts")
}

impl Binder<'_> {
    /// A call in `FROM`. `unnest` of several arrays has a column for each.
    pub(super) fn table_function<'e>(
        &mut self,
        name: &str,
        args: impl IntoIterator<Item = &'e ast::Expr>,
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        pos: Option<u32>,
    ) -> Result<Rel, SqlError> {
        let mut bound = Vec::new();
        for arg in args {
            bound.push(self.in_clause(Clause::From, |b| b.expr(arg))?);
        }
        if !is_set_function(name) {
            return self.scalar_factor(name, bound, ordinality, alias, pos);
        }
        let mut calls = Vec::new();
        if name == "unnest" && bound.len() > 1 {
            for arg in bound {
                calls.push(self.set_function(name, vec![arg], pos)?);
            }
        } else {
            calls.push(self.set_function(name, bound, pos)?);
        }
        // A single column is called as the table is.
        let single = alias.filter(|_| calls.len() == 1).map_or_else(|| name.to_string(), |a| fold(&a.name));
        let mut columns = Vec::new();
        let column = |b: &mut Self, name: &str, ty| RelColumn {
            name: name.to_string(),
            column: Column::from_name(b.fresh("c")),
            ty,
            typmod: -1,
            origin: None,
            pending: None,
            pos: None,
        };
        for (function, _) in &calls {
            columns.push(column(self, &single, function.result()));
        }
        if ordinality {
            columns.push(column(self, "ordinality", PgType::Int8));
        }
        let names: Vec<String> = columns.iter().map(|c| c.column.name.clone()).collect();
        let pending = self.take_pending();
        let plan = if pending.is_empty() {
            let calls =
                calls.into_iter().map(|(f, args)| (f, args.into_iter().map(|a| a.expr).collect())).collect();
            self.rows_from(calls, &names)?
        } else {
            let row = self.apply_all(super::from::one_row(), pending)?;
            self.sets_beside(row, calls, names)?
        };
        Ok(Rel { plan, columns })
    }

    /// A function in `FROM` that returns one value: one row of it.
    fn scalar_factor(
        &mut self,
        name: &str,
        args: Vec<Typed>,
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        pos: Option<u32>,
    ) -> Result<Rel, SqlError> {
        let types: Vec<PgType> = args.iter().map(|a| a.ty).collect();
        let value = match self.ctx.catalog.function(None, name, &types) {
            Some(resolved) => self.finish_call(&resolved, args, pos)?,
            None if crate::func::function_exists(name) => self.call(name, args, pos)?,
            None => return Err(self.no_function(None, name, &types)).at(pos),
        };
        if ordinality {
            return Err(SqlError::unsupported(format!("the function {name} WITH ORDINALITY"))).at(pos);
        }
        let column = RelColumn {
            name: alias.map_or_else(|| name.to_string(), |a| fold(&a.name)),
            column: Column::from_name(self.fresh("c")),
            ty: value.ty,
            typmod: -1,
            origin: None,
            pending: None,
            pos: None,
        };
        let exprs = vec![value.expr.alias(column.column.name.clone())];
        let pending = self.take_pending();
        let row = self.apply_all(super::from::one_row(), pending)?;
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(row))?);
        Ok(Rel { plan, columns: vec![column] })
    }

    fn rows_from(
        &mut self,
        calls: Vec<(SetFunction, Vec<Expr>)>,
        names: &[String],
    ) -> Result<LogicalPlan, SqlError> {
        if calls.iter().flat_map(|(_, args)| args).any(|e| !e.column_refs().is_empty()) {
            return Err(SqlError::internal("arguments of a set are constants or outer columns"));
        }
        self.counter += 1;
        let node = RowsFrom::try_new(self.counter, calls, names)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// A call in a select list: its column comes from beside the rows.
    pub(super) fn set_call(
        &mut self,
        name: &str,
        args: Vec<Typed>,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let clause = if self.levels.is_empty() { Clause::Default } else { self.level().clause };
        if clause == Clause::Select
            && let Some(within) = self.level().conditional
        {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("set-returning functions are not allowed in {within}"),
            )
            .hint("You might be able to move the set-returning function into a LATERAL FROM item."));
        }
        if clause != Clause::Select {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("set-returning functions are not allowed in {}", clause.name()),
            ));
        }
        if self.level().in_aggregate || self.level().in_window {
            return Err(SqlError::unsupported("a set-returning function inside an aggregate or window call"));
        }
        let nested = |e: &Typed, sets: &[SetCall]| {
            e.expr.column_refs().iter().any(|c| c.relation.is_none() && sets.iter().any(|s| s.name == c.name))
        };
        if args.iter().any(|a| nested(a, &self.levels.last().map(|l| l.sets.clone()).unwrap_or_default())) {
            return Err(SqlError::unsupported("a set-returning function inside another"));
        }
        let (function, args) = self.set_function(name, args, pos)?;
        let ty = function.result();
        let column = self.fresh("f");
        self.level().sets.push(SetCall { function, args, name: column.clone() });
        Ok(Typed::new(Expr::Column(Column::from_name(column)), ty, pos))
    }

    /// Puts the sets of the select list beside each row.
    pub(super) fn apply_sets(&mut self, plan: LogicalPlan, grouped: bool) -> Result<LogicalPlan, SqlError> {
        let sets = std::mem::take(&mut self.level().sets);
        if sets.is_empty() {
            return Ok(plan);
        }
        if grouped {
            return Err(SqlError::unsupported("a set-returning function in a grouped select list"));
        }
        let (sets, names) = sets.into_iter().map(|s| ((s.function, s.args), s.name)).unzip();
        self.sets_beside(plan, sets, names)
    }

    /// Rows of functions beside each row that their arguments come from.
    fn sets_beside(
        &mut self,
        plan: LogicalPlan,
        sets: Vec<(SetFunction, Vec<Typed>)>,
        names: Vec<String>,
    ) -> Result<LogicalPlan, SqlError> {
        let mut params = Vec::new();
        let mut calls = Vec::with_capacity(sets.len());
        for (function, typed) in sets {
            let mut args = Vec::with_capacity(typed.len());
            for arg in typed {
                self.counter += 1;
                let id = format!("$o{}", self.counter);
                args.push(placeholder(&id, arg.ty));
                params.push((id, arg.expr));
            }
            calls.push((function, args));
        }
        let inside: Vec<String> = names.iter().map(|_| self.fresh("c")).collect();
        let inner = self.rows_from(calls, &inside)?;
        let kind = ApplyKind::LateralInner;
        let pending = PendingApply { name: String::new(), inner, params, probe: None, kind };
        self.apply_one(plan, pending, Some(names))
    }

    fn set_function(
        &mut self,
        name: &str,
        args: Vec<Typed>,
        pos: Option<u32>,
    ) -> Result<(SetFunction, Vec<Typed>), SqlError> {
        let types: Vec<PgType> = args.iter().map(|a| a.ty).collect();
        let wrong = |b: &Self| Err(b.no_function(None, name, &types)).at(pos);
        if name == "generate_series" {
            let Some((ty, step)) = series_types(&types) else { return wrong(self) };
            return self.series(args, ty, step, pos);
        }
        let Some(array) = types.first().copied() else { return wrong(self) };
        if array == PgType::Unknown {
            return Err(SqlError::new(
                SqlState::INDETERMINATE_DATATYPE,
                "could not determine polymorphic type because input has type unknown",
            ))
            .at(pos);
        }
        match (array.element(), name, args.len()) {
            (Some(_), "unnest", 1) => Ok((SetFunction::Unnest(array), args)),
            (Some(_), "generate_subscripts", 2 | 3) => {
                let to = [array, PgType::Int4, PgType::Bool];
                let cast = args.into_iter().zip(to).map(|(arg, ty)| self.coerce(arg, ty));
                Ok((SetFunction::Subscripts(array), cast.collect::<Result<_, _>>()?))
            }
            _ => wrong(self),
        }
    }

    fn series(
        &mut self,
        args: Vec<Typed>,
        ty: PgType,
        step: PgType,
        pos: Option<u32>,
    ) -> Result<(SetFunction, Vec<Typed>), SqlError> {
        let mut all = Vec::with_capacity(3);
        for (at, arg) in args.into_iter().enumerate() {
            all.push(self.cast(arg, if at == 2 { step } else { ty }, -1, CastContext::Implicit)?);
        }
        if all.len() == 2 {
            let one = self.number("1", pos)?;
            all.push(self.cast(one, step, -1, CastContext::Implicit)?);
        }
        Ok((SetFunction::Series { ty, step }, all))
    }
}

/// Types of a series and of its step; `None` when there is no such series.
fn series_types(types: &[PgType]) -> Option<(PgType, PgType)> {
    if !(2..=3).contains(&types.len()) {
        return None;
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
    let mut ranks: Vec<PgType> = types.iter().take(2).map(rank).collect::<Option<_>>()?;
    let interval = types.get(2).is_some_and(|t| *t == PgType::Interval);
    if let Some(step) = types.get(2)
        && !matches!(step, PgType::Interval | PgType::Unknown)
    {
        ranks.push(rank(step)?);
    }
    if ranks.iter().any(|r| !numbers.contains(r)) {
        // A date alone is a timestamptz to generate_series, as to PostgreSQL (the preferred type of its category).
        let zoned = ranks.contains(&PgType::Timestamptz) || types[..2].contains(&PgType::Date);
        let stepped = interval || types.get(2) == Some(&PgType::Unknown);
        let ty = if zoned { PgType::Timestamptz } else { PgType::Timestamp };
        return stepped.then_some((ty, PgType::Interval));
    }
    if interval {
        return None;
    }
    let ty = *numbers.iter().rev().find(|n| ranks.contains(n)).unwrap_or(&PgType::Int4);
    Some((ty, ty))
}

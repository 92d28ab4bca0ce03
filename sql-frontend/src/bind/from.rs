//! `FROM`: relations and joins.

use super::call::function_name;
use super::catalog::Relation;
use super::datatype::fold;
use super::position::At;
use super::predicate::filter_all;
use super::scope::{Clause, Level, NsColumn, NsItem, PendingApply};
use super::select::{Rel, RelColumn, Unknowns};
use super::typed::Typed;
use super::{Binder, guard};
use crate::catalog::TableDescriptor;
use crate::error::{SqlError, SqlState};
use crate::exec::apply::ApplyKind;
use crate::exec::series::Series;
use crate::exec::source::{StoredTable, VirtualSource};
use crate::func::CastContext;
use crate::types::PgType;
use datafusion::common::{Column, JoinType, TableReference};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{
    EmptyRelation, Expr, Extension, LogicalPlan, LogicalPlanBuilder, Projection, TableSource,
};
use quorate_proto::kv::{LockMode, LockRequest, WaitPolicy};
use sqlparser::ast::{self, JoinConstraint, JoinOperator, LockType, NonBlock, TableFactor, TableWithJoins};
use std::sync::Arc;

/// A `FOR UPDATE` or `FOR SHARE` clause.
#[derive(Clone, Debug)]
pub(super) struct RowLock {
    request: LockRequest,
    /// Only the relation of this name.
    of: Option<String>,
}

impl RowLock {
    pub fn new(clause: &ast::LockClause) -> Result<Self, SqlError> {
        let mode = match clause.lock_type {
            LockType::Share => LockMode::Shared,
            LockType::Update => LockMode::Exclusive,
        };
        let wait = match clause.nonblock {
            None => WaitPolicy::Block(0),
            Some(NonBlock::Nowait) => WaitPolicy::NoWait,
            Some(NonBlock::SkipLocked) => WaitPolicy::SkipLocked,
        };
        let of = clause.of.as_ref().map(|name| function_name(name).map(|(_, n)| n)).transpose()?;
        Ok(RowLock { request: LockRequest { mode, wait }, of })
    }
}

impl Binder<'_> {
    /// The plan of a `FROM` clause; its relations are added to the level.
    pub(super) fn from(&mut self, from: &[TableWithJoins]) -> Result<LogicalPlan, SqlError> {
        let mut plan: Option<LogicalPlan> = None;
        for item in from {
            plan = Some(self.joined(plan, item)?);
        }
        Ok(plan.unwrap_or_else(one_row))
    }

    /// One item of `FROM` beside those before it.
    pub(super) fn joined(
        &mut self,
        before: Option<LogicalPlan>,
        item: &TableWithJoins,
    ) -> Result<LogicalPlan, SqlError> {
        // Relations before the comma are in sight of LATERAL only.
        let first = self.level().items.len();
        let mut plan = match before {
            None => self.factor(&item.relation)?,
            Some(before) => self.beside(before, &item.relation, None)?,
        };
        for join in &item.joins {
            plan = self.join(plan, join, first)?;
        }
        Ok(plan)
    }

    /// A relation joined to what stands left of it by a cross product, or by its lateral references.
    fn beside(
        &mut self,
        left: LogicalPlan,
        factor: &TableFactor,
        outer_on: Option<&ast::Expr>,
    ) -> Result<LogicalPlan, SqlError> {
        if !is_lateral(factor) {
            let right = self.factor(factor)?;
            return Ok(LogicalPlanBuilder::from(left).cross_join(right)?.build()?);
        }
        self.lateral(left, factor, outer_on.is_some())
    }

    fn lateral(
        &mut self,
        left: LogicalPlan,
        factor: &TableFactor,
        outer: bool,
    ) -> Result<LogicalPlan, SqlError> {
        let ((rel, alias), params) = self.with_outer(|b| b.lateral_rel(factor))?;
        let pos = None;
        if params.is_empty() && !outer {
            let (plan, item) = self.derived_item(rel, alias.as_ref(), pos)?;
            self.add_item(item, pos)?;
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
        let (plan, item) = self.derived_item(Rel { plan, columns }, alias.as_ref(), pos)?;
        self.add_item(item, pos)?;
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

    /// A relation on its own; it is added to the level.
    fn factor(&mut self, factor: &TableFactor) -> Result<LogicalPlan, SqlError> {
        let pos = self.positions.of(factor);
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample,
                index_hints,
            } => {
                if version.is_some() {
                    return Err(SqlError::unsupported("AS OF for a single table")).at(pos);
                }
                if sample.is_some() {
                    return Err(SqlError::unsupported("TABLESAMPLE")).at(pos);
                }
                if !with_hints.is_empty() || !partitions.is_empty() || !index_hints.is_empty() {
                    return Err(SqlError::unsupported("this form of table reference")).at(pos);
                }
                let (plan, item) = self.relation(name, alias.as_ref())?;
                self.add_item(item, pos)?;
                Ok(plan)
            }
            TableFactor::Derived { subquery, alias, lateral, sample: None } => {
                let rel = if *lateral {
                    self.query(subquery, Unknowns::Settle)?
                } else {
                    // A plain subquery does not see its neighbours.
                    let items = std::mem::take(&mut self.level().items);
                    let hidden = self.hidden_aliases.len();
                    self.hidden_aliases.extend(items.iter().map(|i| i.alias.clone()));
                    let rel = self.query(subquery, Unknowns::Settle);
                    self.hidden_aliases.truncate(hidden);
                    self.level().items = items;
                    rel?
                };
                if alias.is_none() {
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, "subquery in FROM must have an alias")
                        .hint("For example, FROM (SELECT ...) [AS] foo."))
                    .at(pos);
                }
                let (plan, item) = self.derived_item(rel, alias.as_ref(), pos)?;
                self.add_item(item, pos)?;
                Ok(plan)
            }
            TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
                self.function_factor(name, &args.args, *with_ordinality, alias.as_ref(), pos)
            }
            TableFactor::Function { name, args, with_ordinality, alias, lateral: _ } => {
                self.function_factor(name, args, *with_ordinality, alias.as_ref(), pos)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                if alias.is_some() {
                    return Err(SqlError::unsupported("an alias of a join")).at(pos);
                }
                self.joined(None, table_with_joins)
            }
            other => Err(SqlError::unsupported(format!("{other} in FROM"))).at(pos),
        }
    }

    fn function_factor(
        &mut self,
        name: &ast::ObjectName,
        args: &[ast::FunctionArg],
        with_ordinality: bool,
        alias: Option<&ast::TableAlias>,
        pos: Option<u32>,
    ) -> Result<LogicalPlan, SqlError> {
        self.levels.push(Level::new());
        let rel = self.table_function(name, args, with_ordinality, alias);
        self.levels.pop();
        let (plan, item) = self.derived_item(rel?, alias, pos)?;
        self.add_item(item, pos)?;
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
        };
        Ok(Rel { plan, columns: vec![column] })
    }

    /// A table, virtual table or common table expression by name.
    fn relation(
        &mut self,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
    ) -> Result<(LogicalPlan, NsItem), SqlError> {
        let pos = self.positions.of(name);
        let (schema, table) = function_name(name)?;
        if schema.is_none()
            && let Some(rel) = self.cte_reference(&table)?
        {
            let (plan, mut item) = self.derived_item(rel, alias, pos)?;
            if alias.is_none() {
                item.alias = table;
            }
            return Ok((plan, item));
        }
        match self.ctx.catalog.relation(schema.as_deref(), &table) {
            Some(Relation::Table(found)) => {
                let named = alias.map_or(table, |a| fold(&a.name));
                let lock = self.lock_for(&named);
                self.stored(&found, schema, &named, alias, lock)
            }
            Some(Relation::Virtual(found)) => {
                let mut columns = Vec::with_capacity(found.columns().len());
                let reference = TableReference::bare(self.fresh("t"));
                for column in found.columns() {
                    columns.push(NsColumn {
                        name: column.name.clone(),
                        column: Column::new(Some(reference.clone()), column.name.clone()),
                        ty: column.ty,
                        typmod: -1,
                        origin: None,
                        hidden: false,
                    });
                }
                let schema = Some(found.schema_name().to_string()).filter(|_| alias.is_none());
                let source: Arc<dyn TableSource> = Arc::new(VirtualSource::new(found));
                let plan = LogicalPlanBuilder::scan(reference, source, None)?.build()?;
                let item = NsItem {
                    schema,
                    alias: alias.map_or(table, |a| fold(&a.name)),
                    columns,
                    columns_visible: true,
                    table: None,
                };
                Ok((plan, rename(item, alias)?))
            }
            None => {
                let shown = schema.map_or_else(|| table.clone(), |s| format!("{s}.{table}"));
                Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist")))
                    .at(pos)
            }
        }
    }

    fn lock_for(&self, alias: &str) -> Option<LockRequest> {
        let locks = self.locks.iter().filter(|l| l.of.as_ref().is_none_or(|of| of == alias));
        locks.map(|l| l.request.clone()).max_by_key(|r| r.mode == LockMode::Exclusive)
    }

    /// A scan of a stored table.
    pub(super) fn stored(
        &mut self,
        table: &Arc<TableDescriptor>,
        schema: Option<String>,
        named: &str,
        alias: Option<&ast::TableAlias>,
        lock: Option<LockRequest>,
    ) -> Result<(LogicalPlan, NsItem), SqlError> {
        self.tables.push((table.id, table.version));
        let reference = TableReference::bare(self.fresh("t"));
        let columns = table
            .columns
            .iter()
            .map(|c| NsColumn {
                name: c.name.clone(),
                column: Column::new(Some(reference.clone()), c.name.clone()),
                ty: c.ty,
                typmod: c.typmod,
                origin: Some((table.id, c.id)),
                hidden: c.hidden,
            })
            .collect();
        let source: Arc<dyn TableSource> = Arc::new(StoredTable::new(Arc::clone(table), lock));
        let plan = LogicalPlanBuilder::scan(reference, source, None)?.build()?;
        let item = NsItem {
            schema: if alias.is_some() { None } else { Some(schema.unwrap_or_else(|| table.schema.clone())) },
            alias: named.to_string(),
            columns,
            columns_visible: true,
            table: Some(Arc::clone(table)),
        };
        Ok((plan, rename(item, alias)?))
    }

    /// `TABLE name`.
    pub(super) fn table_command(&mut self, schema: Option<String>, name: String) -> Result<Rel, SqlError> {
        let parts = schema.into_iter().chain([name]).map(|p| ast::Ident::new(p.to_ascii_lowercase()));
        let name = ast::ObjectName::from(parts.collect::<Vec<_>>());
        let (plan, item) = self.relation(&name, None)?;
        let columns = item
            .columns
            .into_iter()
            .filter(|c| !c.hidden)
            .map(|c| RelColumn {
                name: c.name,
                column: c.column,
                ty: c.ty,
                typmod: c.typmod,
                origin: c.origin,
                pending: None,
            })
            .collect();
        Ok(Rel { plan, columns })
    }

    /// A planned query as a relation.
    pub(super) fn derived_item(
        &mut self,
        rel: Rel,
        alias: Option<&ast::TableAlias>,
        pos: Option<u32>,
    ) -> Result<(LogicalPlan, NsItem), SqlError> {
        let columns = rel
            .columns
            .into_iter()
            .map(|c| NsColumn {
                name: c.name,
                column: c.column,
                ty: c.ty,
                typmod: c.typmod,
                origin: c.origin,
                hidden: false,
            })
            .collect();
        let item = NsItem {
            schema: None,
            alias: alias.map(|a| fold(&a.name)).unwrap_or_default(),
            columns,
            columns_visible: true,
            table: None,
        };
        Ok((rel.plan, rename(item, alias).at(pos)?))
    }

    fn join(&mut self, left: LogicalPlan, join: &ast::Join, first: usize) -> Result<LogicalPlan, SqlError> {
        let pos = self.positions.of(&join.relation);
        if join.global {
            return Err(SqlError::unsupported("GLOBAL JOIN")).at(pos);
        }
        let (kind, constraint) = match &join.join_operator {
            JoinOperator::Join(c) | JoinOperator::Inner(c) => (JoinType::Inner, c),
            JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (JoinType::Left, c),
            JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (JoinType::Right, c),
            JoinOperator::FullOuter(c) => (JoinType::Full, c),
            JoinOperator::CrossJoin(JoinConstraint::None) => {
                return self.beside(left, &join.relation, None);
            }
            _ => return Err(SqlError::unsupported("this kind of join")).at(pos),
        };
        let split = self.level().items.len();
        if is_lateral(&join.relation) {
            return self.lateral_join(left, &join.relation, kind, constraint, pos);
        }
        let right = self.factor(&join.relation)?;
        match constraint {
            JoinConstraint::On(condition) => {
                // Only the two sides of this join are in sight of its condition.
                let before: Vec<NsItem> = self.level().items.drain(..first).collect();
                let typed = self.in_clause(Clause::JoinOn, |b| {
                    let typed = b.expr(condition)?;
                    b.condition(typed, "JOIN/ON")
                });
                let pending = self.take_pending();
                self.level().items.splice(0..0, before);
                let typed = typed?;
                if !pending.is_empty() {
                    if kind != JoinType::Inner {
                        return Err(SqlError::unsupported("a subquery in the condition of an outer join"))
                            .at(pos);
                    }
                    let plan = LogicalPlanBuilder::from(left).cross_join(right)?.build()?;
                    let plan = self.apply_all(plan, pending)?;
                    return filter_all(plan, vec![typed.expr]);
                }
                let conjuncts = datafusion::logical_expr::utils::split_conjunction_owned(typed.expr);
                Ok(LogicalPlanBuilder::from(left).join_on(right, kind, guard::filters(conjuncts))?.build()?)
            }
            JoinConstraint::Using(names) => {
                let mut columns = Vec::with_capacity(names.len());
                for name in names {
                    columns.push((function_name(name)?.1, self.positions.of(name)));
                }
                self.join_using(left, right, kind, columns, first, split)
            }
            JoinConstraint::Natural => {
                let lefts = self.visible(first, split);
                let rights = self.visible(split, self.levels.last().map_or(0, |l| l.items.len()));
                let shared: Vec<(String, Option<u32>)> = lefts
                    .iter()
                    .filter(|c| !c.hidden && rights.iter().any(|r| r.name == c.name && !r.hidden))
                    .map(|c| (c.name.clone(), pos))
                    .collect();
                self.join_using(left, right, kind, shared, first, split)
            }
            JoinConstraint::None => {
                Err(SqlError::new(SqlState::SYNTAX_ERROR, "a join needs ON, USING or NATURAL")).at(pos)
            }
        }
    }

    fn lateral_join(
        &mut self,
        left: LogicalPlan,
        factor: &TableFactor,
        kind: JoinType,
        constraint: &JoinConstraint,
        pos: Option<u32>,
    ) -> Result<LogicalPlan, SqlError> {
        let condition = match constraint {
            JoinConstraint::On(condition) => condition,
            _ => return Err(SqlError::unsupported("USING with LATERAL")).at(pos),
        };
        let always = matches!(super::expr::strip(condition), ast::Expr::Value(v) if v.value == ast::Value::Boolean(true));
        match kind {
            JoinType::Inner => {
                let plan = self.lateral(left, factor, false)?;
                if always {
                    return Ok(plan);
                }
                let typed = self.in_clause(Clause::JoinOn, |b| {
                    let typed = b.expr(condition)?;
                    b.condition(typed, "JOIN/ON")
                })?;
                let pending = self.take_pending();
                let plan = self.apply_all(plan, pending)?;
                filter_all(plan, vec![typed.expr])
            }
            JoinType::Left if always => self.lateral(left, factor, true),
            JoinType::Left => {
                Err(SqlError::unsupported("LEFT JOIN LATERAL with a condition other than true")).at(pos)
            }
            _ => Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "The combining JOIN type must be INNER or LEFT for a LATERAL reference.",
            ))
            .at(pos),
        }
    }

    fn visible(&mut self, from: usize, to: usize) -> Vec<NsColumn> {
        self.level().items[from..to]
            .iter()
            .filter(|i| i.columns_visible)
            .flat_map(|i| i.columns.iter().cloned())
            .collect()
    }

    /// `USING`: equal columns appear once, first.
    fn join_using(
        &mut self,
        left: LogicalPlan,
        right: LogicalPlan,
        kind: JoinType,
        names: Vec<(String, Option<u32>)>,
        first: usize,
        split: usize,
    ) -> Result<LogicalPlan, SqlError> {
        let end = self.level().items.len();
        let (lefts, rights) = (self.visible(first, split), self.visible(split, end));
        let find = |columns: &[NsColumn], name: &str, side: &str, pos| {
            let mut found = columns.iter().filter(|c| c.name == name);
            let column = found.next().cloned();
            if found.next().is_some() {
                return Err(SqlError::new(
                    SqlState::AMBIGUOUS_COLUMN,
                    format!("common column name \"{name}\" appears more than once in {side} table"),
                ))
                .at(pos);
            }
            column
                .ok_or_else(|| {
                    SqlError::new(
                        SqlState::UNDEFINED_COLUMN,
                        format!("column \"{name}\" specified in USING clause does not exist in {side} table"),
                    )
                })
                .at(pos)
        };
        let mut on = Vec::with_capacity(names.len());
        let mut merged = Vec::with_capacity(names.len());
        let mut computed = Vec::new();
        for (name, pos) in &names {
            if merged.iter().any(|m: &NsColumn| m.name == *name) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column name \"{name}\" appears more than once in USING clause"),
                ))
                .at(*pos);
            }
            let l = find(&lefts, name, "left", *pos)?;
            let r = find(&rights, name, "right", *pos)?;
            let typed = |c: &NsColumn| Typed {
                typmod: c.typmod,
                ..Typed::new(Expr::Column(c.column.clone()), c.ty, *pos)
            };
            on.push(self.apply_operator("=", typed(&l), typed(&r), *pos)?.expr);
            let (both, ty) = self.unify("JOIN/USING", vec![typed(&l), typed(&r)])?;
            let keep = match kind {
                JoinType::Right if r.ty == ty => Some(r.clone()),
                JoinType::Inner | JoinType::Left if l.ty == ty => Some(l.clone()),
                _ => None,
            };
            merged.push(match keep {
                Some(column) => NsColumn { hidden: false, ..column },
                None => {
                    let fresh = self.fresh("u");
                    let expr = match kind {
                        JoinType::Right => both[1].expr.clone(),
                        JoinType::Full => Expr::Case(Case {
                            expr: None,
                            when_then_expr: vec![(
                                Box::new(Expr::IsNotNull(Box::new(both[0].expr.clone()))),
                                Box::new(both[0].expr.clone()),
                            )],
                            else_expr: Some(Box::new(both[1].expr.clone())),
                        }),
                        _ => both[0].expr.clone(),
                    };
                    computed.push(expr.alias(&fresh));
                    NsColumn {
                        name: name.clone(),
                        column: Column::from_name(fresh),
                        ty,
                        typmod: if l.typmod == r.typmod { l.typmod } else { -1 },
                        origin: None,
                        hidden: false,
                    }
                }
            });
        }
        let rest = lefts.iter().chain(&rights).filter(|c| !names.iter().any(|(n, _)| *n == c.name)).cloned();
        let columns = merged.into_iter().chain(rest).collect();
        for item in &mut self.level().items[first..] {
            item.columns_visible = false;
        }
        let item = NsItem { schema: None, alias: String::new(), columns, columns_visible: true, table: None };
        self.level().items.push(item);
        let builder = LogicalPlanBuilder::from(left);
        let plan = if on.is_empty() {
            // NATURAL without shared columns.
            builder.join_on(right, kind, Vec::<Expr>::new())?.build()?
        } else {
            builder.join_on(right, kind, on)?.build()?
        };
        if computed.is_empty() {
            return Ok(plan);
        }
        let all = plan.schema().columns().into_iter().map(Expr::Column).chain(computed).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(all, Arc::new(plan))?))
    }
}

/// The plan of a query without `FROM`.
pub(super) fn one_row() -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: true,
        schema: Arc::new(datafusion::common::DFSchema::empty()),
    })
}

/// Whether it may refer to its neighbours. Functions always may.
fn is_lateral(factor: &TableFactor) -> bool {
    matches!(
        factor,
        TableFactor::Derived { lateral: true, .. }
            | TableFactor::Function { .. }
            | TableFactor::Table { args: Some(_), .. }
    )
}

/// Column names of an alias: `AS t (a, b)`.
fn rename(mut item: NsItem, alias: Option<&ast::TableAlias>) -> Result<NsItem, SqlError> {
    let Some(alias) = alias else { return Ok(item) };
    if alias.at.is_some() || alias.columns.iter().any(|c| c.data_type.is_some()) {
        return Err(SqlError::unsupported("a column definition list"));
    }
    let visible = item.columns.iter().filter(|c| !c.hidden).count();
    if alias.columns.len() > visible {
        return Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!(
                "table \"{}\" has {visible} columns available but {} columns specified",
                item.alias,
                alias.columns.len()
            ),
        ));
    }
    let mut names = alias.columns.iter().map(|c| fold(&c.name));
    for column in item.columns.iter_mut().filter(|c| !c.hidden) {
        match names.next() {
            Some(name) => column.name = name,
            None => break,
        }
    }
    Ok(item)
}

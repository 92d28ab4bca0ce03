//! Which rows a query locks, and when: `FOR UPDATE` and its like, and the targets of `UPDATE` and `DELETE`.
//!
//! Rows are found without locks, put in order, and then locked one after the other for as long as some are wanted
//! ([`LockRows`]), so that nothing is locked that a condition, a join or a limit leaves out.

use super::Binder;
use super::call::function_name;
use super::order::{OrderItem, OrderKey};
use super::recheck::Recheck;
use super::scope::{NsItem, PendingApply};
use super::select::{Output, Rel};
use crate::error::{SqlError, SqlState};
use crate::exec::lock_rows::{LockRows, LockedRelation};
use crate::func::key;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Projection, SortExpr};
use quorate_proto::kv::{LockMode, LockRequest, WaitPolicy};
use sqlparser::ast::{self, LockType, NonBlock, SetExpr};
use std::sync::Arc;

/// A `FOR UPDATE` or `FOR SHARE` clause.
#[derive(Clone, Debug)]
pub(crate) struct RowLock {
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
        Ok(RowLock { request: LockRequest { mode, wait, firm: true }, of })
    }

    /// As error texts say it.
    fn words(&self) -> &'static str {
        match self.request.mode {
            LockMode::Shared => "FOR SHARE",
            LockMode::Exclusive => "FOR UPDATE",
        }
    }

    fn is_for(&self, alias: &str) -> bool {
        self.of.as_ref().is_none_or(|of| of == alias)
    }
}

/// The locks of a subquery that the level around it takes.
pub(crate) struct Lifted {
    locked: Vec<LockedRelation>,
    relations: Vec<NsItem>,
}

/// Whether a subquery in `FROM` only picks and computes, so that its rows are those of its tables.
pub(super) fn is_plain(query: &ast::Query) -> bool {
    let whole = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty();
    whole
        && match &*query.body {
            SetExpr::Select(select) => select.distinct.is_none() && select.having.is_none(),
            _ => false,
        }
}

/// 0A000 for the part of a query with which no row of a table can be told from its result.
pub(super) fn refuse_locks(locks: &[RowLock], with: &str) -> Result<(), SqlError> {
    match locks.first() {
        None => Ok(()),
        Some(lock) => Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("{} is not allowed with {with}", lock.words()),
        )),
    }
}

impl Binder<'_> {
    /// How the present level locks the table of this name.
    pub(super) fn lock_for(&mut self, alias: &str) -> Option<LockRequest> {
        let level = self.level();
        level.lockable.push(alias.to_string());
        let locks = level.locks.iter().filter(|lock| lock.is_for(alias));
        locks.map(|lock| lock.request.clone()).max_by_key(|request| request.mode == LockMode::Exclusive)
    }

    /// What locks a subquery of this name in `FROM` locks the tables in it.
    pub(super) fn lock_inside(&mut self, alias: Option<&ast::TableAlias>) {
        let alias = alias.map(|a| super::datatype::fold(&a.name)).unwrap_or_default();
        let level = self.level();
        level.lockable.push(alias.clone());
        let inherited = level.locks.iter().filter(|lock| lock.is_for(&alias));
        self.locks = inherited.map(|lock| RowLock { of: None, ..lock.clone() }).collect();
    }

    /// 42P01 for a clause that names what `FROM` does not hold, 0A000 where it cannot be locked.
    pub(super) fn check_locks(&mut self) -> Result<(), SqlError> {
        let level = self.level();
        let named = level.locks.iter().filter_map(|lock| Some((lock, lock.of.as_deref()?)));
        for (lock, of) in named {
            if level.lockable.iter().any(|alias| alias == of) {
                continue;
            }
            let clause = lock.words();
            return Err(if level.items.iter().any(|item| item.alias == of) {
                let what = format!("{clause} cannot be applied to \"{of}\", which is no table");
                SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, what)
            } else {
                let what = format!("relation \"{of}\" in {clause} clause not found in FROM clause");
                SqlError::new(SqlState::UNDEFINED_TABLE, what)
            });
        }
        Ok(())
    }

    /// The rows of `plan`, which the level's relations give, in their order, and locked.
    pub(super) fn locked_in_order(
        &mut self,
        plan: LogicalPlan,
        outputs: &[Output],
        items: Vec<OrderItem>,
        selected: &[PendingApply],
        ordered: Vec<PendingApply>,
    ) -> Result<LogicalPlan, SqlError> {
        let recheck = self.recheck(&plan)?;
        let mut plan = self.apply_all(plan, ordered)?;
        let mut keys = Vec::with_capacity(items.len());
        for item in items {
            let typed = match item.key {
                OrderKey::Output(at) => outputs[at].typed.clone(),
                OrderKey::Expr(typed) => typed,
            };
            keys.push((key(typed.ty, typed.expr), item.asc, item.nulls_first));
        }
        // The values of subqueries are found anew for the rows as they are when they are locked.
        for apply in selected {
            if keys.iter().any(|(key, ..)| mentions(key, &apply.name)) {
                let name = self.fresh("q");
                for (key, ..) in &mut keys {
                    *key = renamed(key.clone(), &apply.name, &name)?;
                }
                plan = self.apply_one(plan, PendingApply { name, ..apply.clone() }, None)?;
            }
        }
        let (plan, order) = self.sort_keys(plan, keys)?;
        self.lock_rows(plan, recheck, order)
    }

    /// Columns for what is sorted by and is none yet.
    fn sort_keys(
        &mut self,
        plan: LogicalPlan,
        keys: Vec<(Expr, bool, bool)>,
    ) -> Result<(LogicalPlan, Vec<SortExpr>), SqlError> {
        let mut computed = Vec::new();
        let mut order = Vec::with_capacity(keys.len());
        for (key, asc, nulls_first) in keys {
            let column = match key {
                Expr::Column(_) => key,
                key => {
                    let name = self.fresh("s");
                    computed.push(key.alias(&name));
                    Expr::Column(Column::from_name(name))
                }
            };
            order.push(SortExpr::new(column, asc, nulls_first));
        }
        if computed.is_empty() {
            return Ok((plan, order));
        }
        let all = plan.schema().columns().into_iter().map(Expr::Column).chain(computed).collect();
        Ok((LogicalPlan::Projection(Projection::try_new(all, Arc::new(plan))?), order))
    }

    /// See [`Recheck`]; of the present level.
    pub(super) fn recheck(&mut self, plan: &LogicalPlan) -> Result<Recheck, SqlError> {
        let level = self.level();
        Recheck::of(plan, level.items.iter().chain(&level.inside))
    }

    /// A plain subquery in `FROM`, with what the level around it needs to lock its rows.
    pub(super) fn lift(&mut self, rel: Rel) -> Result<Rel, SqlError> {
        let level = self.level();
        if !level.lifted || level.locked.is_empty() {
            return Ok(rel);
        }
        let LogicalPlan::Projection(projection) = &rel.plan else {
            return Err(SqlError::internal("a plain subquery without a projection"));
        };
        let mut needed = self.recheck(&projection.input)?.needed;
        needed.extend(projection.expr.iter().flat_map(Expr::column_refs).cloned());
        let level = self.level();
        needed.extend(level.locked.iter().flat_map(LockedRelation::key));
        let relations = level.items.drain(..).chain(level.inside.drain(..)).collect();
        let lifted = Lifted { locked: std::mem::take(&mut level.locked), relations };
        let visible = |column: &Column| projection.input.schema().has_column(column);
        let needed = needed.into_iter().filter(visible).map(Expr::Column);
        let exprs = projection.expr.iter().cloned().chain(needed).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(&projection.input))?);
        self.lifted = Some(lifted);
        Ok(Rel { plan, columns: rel.columns })
    }

    /// What the subquery in `FROM` that was just bound leaves to this level.
    pub(super) fn take_lifted(&mut self) {
        if let Some(lifted) = self.lifted.take() {
            let level = self.level();
            level.locked.extend(lifted.locked);
            level.inside.extend(lifted.relations);
        }
    }

    /// Locks the rows of the level's locked relations.
    pub(super) fn lock_rows(
        &mut self,
        plan: LogicalPlan,
        recheck: Recheck,
        order: Vec<SortExpr>,
    ) -> Result<LogicalPlan, SqlError> {
        self.counter += 1;
        // Most locks are taken by scans, and most rows have not changed: it is optimized when it is needed.
        let again = Arc::new(recheck.plan);
        let relations = std::mem::take(&mut self.level().locked);
        let node =
            LockRows::new(self.counter, Arc::new(plan), relations, order, again, recheck.row, recheck.needed);
        self.locked = true;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

/// A relation that is locked, of a scan's item.
pub(super) fn locked_relation(item: &NsItem, request: LockRequest) -> Result<LockedRelation, SqlError> {
    let name = item.columns.first().and_then(|c| c.column.relation.clone());
    match (name, &item.table) {
        (Some(name), Some(table)) => Ok(LockedRelation { name, table: Arc::clone(table), request }),
        _ => Err(SqlError::internal("a lock on what is no table")),
    }
}

fn mentions(expr: &Expr, name: &str) -> bool {
    expr.column_refs().iter().any(|c| c.relation.is_none() && c.name == name)
}

/// With the column of one name for that of another.
fn renamed(expr: Expr, from: &str, to: &str) -> Result<Expr, SqlError> {
    let renamed = expr.transform_up(|e| match &e {
        Expr::Column(c) if c.relation.is_none() && c.name == from => {
            Ok(Transformed::yes(Expr::Column(Column::from_name(to))))
        }
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(renamed.data)
}

//! Joins.

use super::Binder;
use super::call::function_name;
use super::from::is_lateral;
use super::lateral::Side;
use super::position::At;
use super::scope::{Clause, NsColumn, NsItem};
use super::typed::Typed;
use crate::error::{SqlError, SqlState};
use crate::exec::apply::ApplyKind;
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use sqlparser::ast::{self, JoinConstraint, JoinOperator};
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn join(
        &mut self,
        left: LogicalPlan,
        join: &ast::Join,
        first: usize,
    ) -> Result<LogicalPlan, SqlError> {
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
                return self.beside(left, &join.relation);
            }
            _ => return Err(SqlError::unsupported("this kind of join")).at(pos),
        };
        let split = self.level().items.len();
        let right = if is_lateral(&join.relation) {
            let side = self.side(&join.relation)?;
            if !side.params.is_empty() {
                return self.lateral_join(left, side, kind, constraint, first, pos);
            }
            self.add_item(side.item)?;
            side.rel.plan
        } else {
            self.factor(&join.relation)?
        };
        match constraint {
            JoinConstraint::On(condition) => {
                let conjuncts = self.join_condition(condition, first)?;
                let pending = self.take_pending();
                if !pending.is_empty() {
                    if kind != JoinType::Inner {
                        return Err(SqlError::unsupported("a subquery in the condition of an outer join"))
                            .at(pos);
                    }
                    let plan = LogicalPlanBuilder::from(left).cross_join(right)?.build()?;
                    let plan = self.apply_all(plan, pending)?;
                    return self.filter_all(plan, conjuncts);
                }
                let on = self.filters(conjuncts)?;
                Ok(LogicalPlanBuilder::from(left).join_on(right, kind, on)?.build()?)
            }
            JoinConstraint::Using(names) => {
                let mut columns = Vec::with_capacity(names.len());
                for name in names {
                    columns.push((function_name(name)?.1, None));
                }
                self.join_using(left, right, kind, columns, first, split)
            }
            JoinConstraint::Natural => {
                let lefts = self.visible(first, split);
                let rights = self.visible(split, self.levels.last().map_or(0, |l| l.items.len()));
                let shared: Vec<(String, Option<u32>)> = lefts
                    .iter()
                    .filter(|c| !c.hidden && rights.iter().any(|r| r.name == c.name && !r.hidden))
                    .map(|c| (c.name.clone(), None))
                    .collect();
                self.join_using(left, right, kind, shared, first, split)
            }
            JoinConstraint::None => {
                Err(SqlError::new(SqlState::SYNTAX_ERROR, "a join needs ON, USING or NATURAL")).at(pos)
            }
        }
    }

    /// Only the two sides of a join are in sight of its condition.
    pub(super) fn join_condition(
        &mut self,
        condition: &ast::Expr,
        first: usize,
    ) -> Result<Vec<Expr>, SqlError> {
        let before: Vec<NsItem> = self.level().items.drain(..first).collect();
        let conjuncts = self.in_clause(Clause::JoinOn, |b| b.conjuncts(condition, "JOIN/ON"));
        self.level().items.splice(0..0, before);
        conjuncts
    }

    fn lateral_join(
        &mut self,
        left: LogicalPlan,
        side: Side,
        kind: JoinType,
        constraint: &JoinConstraint,
        first: usize,
        pos: Option<u32>,
    ) -> Result<LogicalPlan, SqlError> {
        let condition = match constraint {
            JoinConstraint::On(condition) => condition,
            _ => return Err(SqlError::unsupported("USING with LATERAL")).at(pos),
        };
        match kind {
            JoinType::Inner => {
                let plan = self.lateral(left, side, ApplyKind::LateralInner)?;
                let conjuncts = self.join_condition(condition, first)?;
                let pending = self.take_pending();
                let plan = self.apply_all(plan, pending)?;
                self.filter_all(plan, conjuncts)
            }
            JoinType::Left => self.lateral_on(left, side, condition, first, pos),
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

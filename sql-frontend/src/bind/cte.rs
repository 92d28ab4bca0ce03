//! `WITH`, also recursive.

use super::Binder;
use super::datatype::fold;
use super::position::At;
use super::select::{Rel, RelColumn, Unknowns};
use crate::error::{SqlError, SqlState};
use crate::exec::params::{apply_of, is_volatile, locks_of};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use sqlparser::ast::{self, CteAsMaterialized, SetExpr, SetOperator, SetQuantifier, TableAlias};
use std::sync::Arc;

/// Steps of plans that references to WITH queries may add to one statement.
const MAX_EXPANDED: usize = 20_000;

/// A common table expression in sight.
#[derive(Clone, Debug)]
pub(super) struct Cte {
    name: String,
    /// `None` while its own recursive part is not yet allowed to mention it.
    rel: Option<Rel>,
    /// Its rows differ each time it runs, or it locks others.
    volatile: bool,
    references: usize,
}

impl Binder<'_> {
    pub(super) fn with(&mut self, with: &ast::With) -> Result<(), SqlError> {
        for (at, cte) in with.cte_tables.iter().enumerate() {
            if cte.from.is_some() {
                return Err(SqlError::unsupported("this form of WITH"));
            }
            let _: Option<CteAsMaterialized> = cte.materialized;
            let name = fold(&cte.alias.name);
            let pos = self.positions.of_span(cte.alias.name.span);
            let twice = with.cte_tables[..at].iter().any(|c| fold(&c.alias.name) == name);
            if twice {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                ))
                .at(pos);
            }
            let rel =
                match recursive_parts(&cte.query).filter(|_| with.recursive && mentions(&cte.query, &name)) {
                    Some((left, right, all)) => self.recursive(&cte.alias, left, right, all)?,
                    None => {
                        // Its own name means an outer relation in a plain WITH.
                        let rel = self.query(&cte.query, Unknowns::Settle)?;
                        renamed(rel, &cte.alias).at(pos)?
                    }
                };
            let volatile = is_volatile(&rel.plan)? || rel.plan.exists(|node| Ok(locks_of(node).is_some()))?;
            self.ctes.push(Cte { name, rel: Some(rel), volatile, references: 0 });
        }
        Ok(())
    }

    /// The relation that a name means, if it is that of a common table expression.
    pub(super) fn cte_reference(&mut self, name: &str) -> Result<Option<Rel>, SqlError> {
        let Some(at) = self.ctes.iter().rposition(|c| c.name == name) else { return Ok(None) };
        let cte = &mut self.ctes[at];
        cte.references += 1;
        if cte.volatile && cte.references > 1 {
            return Err(SqlError::unsupported(
                "several references to a WITH query that locks rows or calls volatile functions",
            ));
        }
        let Some(rel) = cte.rel.clone() else {
            return Err(SqlError::new(
                SqlState::INVALID_RECURSION,
                format!(
                    "recursive reference to query \"{name}\" must not appear within its non-recursive term"
                ),
            ));
        };
        if cte.references > 1 {
            self.multiply(&rel.plan)?;
        }
        // Each reference gets columns of its own.
        let alias = TableReference::bare(self.fresh("t"));
        let plan = LogicalPlanBuilder::from(rel.plan).alias(alias.clone())?.build()?;
        let columns = rel
            .columns
            .into_iter()
            .map(|c| RelColumn { column: Column::new(Some(alias.clone()), c.column.name.clone()), ..c })
            .collect();
        Ok(Some(Rel { plan, columns }))
    }

    /// A further reference stands for the whole query again. 54001 when that multiplies: nested, it grows exponentially.
    fn multiply(&mut self, plan: &LogicalPlan) -> Result<(), SqlError> {
        plan.apply(|_| {
            self.expanded += 1;
            Ok(TreeNodeRecursion::Continue)
        })?;
        if self.expanded > MAX_EXPANDED {
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement too complex")
                .hint("A WITH query is run for each reference, and its references to others multiply."));
        }
        Ok(())
    }

    fn recursive(
        &mut self,
        alias: &TableAlias,
        first: &SetExpr,
        again: &SetExpr,
        all: bool,
    ) -> Result<Rel, SqlError> {
        let name = fold(&alias.name);
        let pos = self.positions.of_span(alias.name.span);
        self.ctes.push(Cte { name: name.clone(), rel: None, volatile: false, references: 0 });
        let start = self.set_expr(first, Unknowns::Settle);
        self.ctes.pop();
        let start = renamed(start?, alias).at(pos)?;
        // The columns of both terms and of the table between the rounds have the same plain names.
        let names: Vec<String> = start.columns.iter().map(|_| self.fresh("r")).collect();
        let exprs =
            start.columns.iter().zip(&names).map(|(c, n)| Expr::Column(c.column.clone()).alias(n)).collect();
        let static_term = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(start.plan))?);
        let columns: Vec<RelColumn> = start
            .columns
            .iter()
            .zip(&names)
            .map(|(c, n)| RelColumn { column: Column::from_name(n.clone()), origin: None, ..c.clone() })
            .collect();
        if !all && columns.iter().any(|c| !c.ty.has_plain_equality()) {
            return Err(SqlError::unsupported("a recursive UNION over this type; use UNION ALL")).at(pos);
        }
        let table_name = self.fresh("work");
        let schema = Arc::clone(static_term.schema().inner());
        let nullable =
            schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
        let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(nullable));
        let work = Arc::new(CteWorkTable::new(&table_name, schema));
        let scan = LogicalPlanBuilder::scan(table_name.clone(), provider_as_source(work), None)?.build()?;
        let inside: Vec<RelColumn> = columns
            .iter()
            .map(|c| RelColumn {
                column: Column::new(Some(TableReference::bare(table_name.clone())), c.column.name.clone()),
                ..c.clone()
            })
            .collect();
        let plain =
            inside.iter().map(|c| Expr::Column(c.column.clone()).alias(c.column.name.clone())).collect();
        let scan = LogicalPlan::Projection(Projection::try_new(plain, Arc::new(scan))?);
        self.ctes.push(Cte {
            name: name.clone(),
            rel: Some(Rel { plan: scan, columns: columns.clone() }),
            volatile: false,
            references: 0,
        });
        let step = self.set_expr(again, Unknowns::Keep);
        let used = self.ctes.pop().map_or(0, |c| c.references);
        let step = step?;
        if used > 1 {
            return Err(SqlError::new(
                SqlState::INVALID_RECURSION,
                format!("recursive reference to query \"{name}\" must not appear more than once"),
            ))
            .at(pos);
        }
        if step.columns.len() != columns.len() {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                "each UNION query must have the same number of columns",
            ))
            .at(pos);
        }
        let mut exprs = Vec::with_capacity(columns.len());
        for (at, (from, to)) in step.columns.iter().zip(&columns).enumerate() {
            let common = crate::func::common_type("UNION", &[to.ty, from.ty]).at(pos)?;
            if common != to.ty {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "recursive query \"{name}\" column {} has type {} in non-recursive term but type {common} overall",
                        at + 1,
                        to.ty
                    ),
                )
                .hint("Cast the output of the non-recursive term to the correct type."))
                .at(to.pos.or(pos));
            }
            let typed = self.typed_column(from);
            exprs.push(self.coerce(typed, to.ty)?.expr.alias(to.column.name.clone()));
        }
        let recursive_term = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(step.plan))?);
        if hides_work_table(&recursive_term, &table_name)? {
            return Err(SqlError::new(
                SqlState::INVALID_RECURSION,
                format!("recursive reference to query \"{name}\" must not appear within a subquery"),
            ))
            .at(pos);
        }
        let plan = LogicalPlanBuilder::from(static_term)
            .to_recursive_query(table_name, recursive_term, !all)?
            .build()?;
        Ok(Rel { plan, columns })
    }
}

/// Column names from `name (a, b)`.
fn renamed(mut rel: Rel, alias: &TableAlias) -> Result<Rel, SqlError> {
    if alias.columns.len() > rel.columns.len() {
        return Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!(
                "WITH query \"{}\" has {} columns available but {} columns specified",
                fold(&alias.name),
                rel.columns.len(),
                alias.columns.len()
            ),
        ));
    }
    for (column, name) in rel.columns.iter_mut().zip(&alias.columns) {
        column.name = fold(&name.name);
    }
    Ok(rel)
}

/// The two sides of `… UNION [ALL] …`, if that is all of the query.
fn recursive_parts(query: &ast::Query) -> Option<(&SetExpr, &SetExpr, bool)> {
    let bare = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty();
    match &*query.body {
        SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } if bare => {
            Some((left, right, *set_quantifier == SetQuantifier::All))
        }
        _ => None,
    }
}

/// Whether the name of a relation occurs in a query.
fn mentions(query: &ast::Query, name: &str) -> bool {
    let found = ast::visit_relations(query, |relation| {
        let only = relation.0.len() == 1;
        let same = relation.0.last().and_then(|p| p.as_ident()).is_some_and(|i| fold(i) == name);
        if only && same { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    found.is_break()
}

/// Whether the table between the rounds is read inside a correlated subquery, which runs on its own.
fn hides_work_table(plan: &LogicalPlan, name: &str) -> Result<bool, SqlError> {
    let mut hidden = false;
    plan.apply(|node| {
        if let Some(apply) = apply_of(node) {
            hidden |= apply.inner.exists(|n| {
                Ok(matches!(n, LogicalPlan::TableScan(scan) if scan.table_name.table() == name))
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(hidden)
}

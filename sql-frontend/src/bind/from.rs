//! `FROM`: relations and joins.

use super::Binder;
use super::call::function_name;
use super::catalog::Relation;
use super::datatype::fold;
use super::locking::{is_plain, locked_relation};
use super::position::At;
use super::scope::{Level, NsColumn, NsItem, seen_name};
use super::select::{Rel, RelColumn, Unknowns};
use crate::catalog::{TableDescriptor, virtuals};
use crate::error::{SqlError, SqlState};
use crate::exec::apply::ApplyKind;
use crate::exec::source::{StoredTable, VirtualSource};
use crate::func::give_way;
use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan, LogicalPlanBuilder, TableSource};
use quorate_proto::kv::LockRequest;
use sqlparser::ast::{self, TableFactor, TableWithJoins};
use std::sync::Arc;

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
            Some(before) => self.beside(before, &item.relation)?,
        };
        for join in &item.joins {
            plan = self.join(plan, join, first)?;
        }
        Ok(plan)
    }

    /// A relation joined to what stands left of it by a cross product, or by its lateral references.
    pub(super) fn beside(
        &mut self,
        left: LogicalPlan,
        factor: &TableFactor,
    ) -> Result<LogicalPlan, SqlError> {
        let right = if is_lateral(factor) {
            let side = self.side(factor)?;
            if !side.params.is_empty() {
                return self.lateral(left, side, ApplyKind::LateralInner);
            }
            self.add_item(side.item)?;
            side.rel.plan
        } else {
            self.factor(factor)?
        };
        Ok(LogicalPlanBuilder::from(left).cross_join(right)?.build()?)
    }

    /// A relation on its own; it is added to the level.
    pub(super) fn factor(&mut self, factor: &TableFactor) -> Result<LogicalPlan, SqlError> {
        give_way()?;
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
                self.add_item(item)?;
                Ok(plan)
            }
            TableFactor::Derived { subquery, alias, lateral, sample: None } => {
                self.lock_inside(alias.as_ref());
                let rel = if *lateral {
                    self.query(subquery, Unknowns::Settle)?
                } else {
                    // A plain subquery does not see its neighbours.
                    let items = std::mem::take(&mut self.level().items);
                    let hidden = self.hidden_aliases.len();
                    self.hidden_aliases.extend(items.iter().map(|i| i.alias.clone()));
                    self.lift = is_plain(subquery);
                    let rel = self.query(subquery, Unknowns::Settle);
                    self.hidden_aliases.truncate(hidden);
                    self.level().items = items;
                    let rel = rel?;
                    self.take_lifted();
                    rel
                };
                if alias.is_none() {
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, "subquery in FROM must have an alias")
                        .hint("For example, FROM (SELECT ...) [AS] foo."))
                    .at(pos);
                }
                let (plan, item) = self.derived_item(rel, alias.as_ref())?;
                self.add_item(item)?;
                Ok(plan)
            }
            TableFactor::Table { name, args: Some(args), with_ordinality: false, alias, .. }
                if args.args.is_empty()
                    && function_name(name).is_ok_and(|(_, name)| virtuals::is_function(&name)) =>
            {
                let (plan, item) = self.relation(name, alias.as_ref())?;
                self.add_item(item)?;
                Ok(plan)
            }
            TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
                self.function_factor(name, &args.args, *with_ordinality, alias.as_ref())
            }
            TableFactor::Function { name, args, with_ordinality, alias, lateral: _ } => {
                self.function_factor(name, args, *with_ordinality, alias.as_ref())
            }
            TableFactor::UNNEST { .. } => self.unnest_factor(factor),
            TableFactor::NestedJoin { table_with_joins, alias } => {
                if alias.is_some() {
                    return Err(SqlError::unsupported("an alias of a join")).at(pos);
                }
                self.joined(None, table_with_joins)
            }
            other => Err(SqlError::unsupported(format!("{other} in FROM"))).at(pos),
        }
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
            let (plan, mut item) = self.derived_item(rel, alias)?;
            if alias.is_none() {
                item.alias = table;
            }
            return Ok((plan, item));
        }
        match self.ctx.catalog.relation(schema.as_deref(), &table) {
            Some(Relation::Table(found)) => {
                let named = alias.map_or(table, |a| fold(&a.name));
                let lock = self.lock_for(&named);
                let (plan, item) = self.stored(&found, schema, &named, alias, lock.clone())?;
                if let Some(lock) = lock {
                    let locked = locked_relation(&item, lock)?;
                    self.level().locked.push(locked);
                }
                Ok((plan, item))
            }
            Some(Relation::Virtual(found)) => {
                self.catalog = true;
                let mut columns = Vec::with_capacity(found.columns().len());
                let reference = TableReference::bare(self.fresh("t"));
                for column in found.columns() {
                    columns.push(NsColumn {
                        name: column.name.clone(),
                        column: Column::new(Some(reference.clone()), column.name.clone()),
                        ty: column.ty,
                        typmod: -1,
                        origin: None,
                        hidden: column.hidden,
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

    /// A scan of a stored table. With `lock`, its rows are candidates for that.
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
                name: seen_name(table, c),
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
        self.levels.push(Level::new());
        let found = self.relation(&name, None);
        self.levels.pop();
        let (plan, item) = found?;
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
                pos: None,
            })
            .collect();
        Ok(Rel { plan, columns })
    }

    /// A planned query as a relation.
    pub(super) fn derived_item(
        &mut self,
        rel: Rel,
        alias: Option<&ast::TableAlias>,
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
        Ok((rel.plan, rename(item, alias)?))
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
pub(super) fn is_lateral(factor: &TableFactor) -> bool {
    matches!(
        factor,
        TableFactor::Derived { lateral: true, .. }
            | TableFactor::Function { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::Table { args: Some(_), .. }
    )
}

/// The alias, or for a function without one its name.
pub(super) fn name_of(factor: &TableFactor, alias: String) -> Result<String, SqlError> {
    match factor {
        TableFactor::Function { name, .. } | TableFactor::Table { name, args: Some(_), .. }
            if alias.is_empty() =>
        {
            Ok(function_name(name)?.1)
        }
        TableFactor::UNNEST { .. } if alias.is_empty() => Ok("unnest".into()),
        _ => Ok(alias),
    }
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

//! Names in sight: the levels of nested queries, their relations, and what their clauses allow.

use super::datatype::fold;
use super::locking::RowLock;
use super::set_function::SetCall;
use super::typed::{Typed, placeholder};
use super::{Binder, position::At};
use crate::catalog::{ColumnDescriptor, TableDescriptor};
use crate::error::{SqlError, SqlState};
use crate::exec::apply::ApplyKind;
use crate::exec::lock_rows::LockedRelation;
use crate::types::PgType;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};
use sqlparser::ast::{Ident, NamedWindowDefinition};
use std::sync::Arc;

/// Relations of one FROM clause. To plan their joins takes longer than their number, and cannot be interrupted.
const MAX_RELATIONS: usize = 100;

/// A column that a name can mean.
#[derive(Clone, Debug)]
pub(crate) struct NsColumn {
    pub name: String,
    pub column: Column,
    pub ty: PgType,
    pub typmod: i32,
    pub origin: Option<(u64, u32)>,
    /// Found by name, but not part of `*`.
    pub hidden: bool,
}

/// The name by which statements find a column: none that can be written, while it is being added or dropped.
pub(crate) fn seen_name(table: &TableDescriptor, column: &ColumnDescriptor) -> String {
    if table.is_withheld(column) { "\0".into() } else { column.name.clone() }
}

/// A relation in `FROM`, or the merged columns of a join.
#[derive(Clone, Debug)]
pub(crate) struct NsItem {
    /// Of a table without an alias.
    pub schema: Option<String>,
    /// Empty for the merged columns of a join.
    pub alias: String,
    pub columns: Vec<NsColumn>,
    /// Its columns are found without qualification (those of `USING` only in the join's own item).
    pub columns_visible: bool,
    pub table: Option<Arc<TableDescriptor>>,
}

/// Which clause is being bound; aggregates, windows and the like are allowed in some only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    Select,
    Where,
    JoinOn,
    From,
    GroupBy,
    Having,
    OrderBy,
    Limit,
    Offset,
    Values,
    Returning,
    Set,
    Filter,
    WindowPartition,
    WindowOrder,
    Default,
    Check,
}

impl Clause {
    /// As error texts say it.
    pub fn name(self) -> &'static str {
        match self {
            Clause::Select => "SELECT",
            Clause::Where => "WHERE",
            Clause::JoinOn => "JOIN conditions",
            Clause::From => "functions in FROM",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::OrderBy => "ORDER BY",
            Clause::Limit => "LIMIT",
            Clause::Offset => "OFFSET",
            Clause::Values => "VALUES",
            Clause::Returning => "RETURNING",
            Clause::Set => "UPDATE",
            Clause::Filter => "FILTER",
            Clause::WindowPartition => "window PARTITION BY",
            Clause::WindowOrder => "window ORDER BY",
            Clause::Default => "DEFAULT expressions",
            Clause::Check => "check constraints",
        }
    }
}

/// A subquery in an expression, to be joined to the plan before the expression is used.
#[derive(Clone, Debug)]
pub(crate) struct PendingApply {
    pub name: String,
    pub inner: LogicalPlan,
    pub params: Vec<(String, Expr)>,
    pub probe: Option<Expr>,
    pub kind: ApplyKind,
}

/// A column of this level that an inner query mentions.
#[derive(Clone, Debug)]
pub(crate) struct OuterRef {
    pub id: String,
    pub column: Column,
}

/// A mention of a column, kept to say where an ungrouped one stands.
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    pub column: Column,
    pub pos: Option<u32>,
    pub shown: String,
    pub from_subquery: bool,
}

/// One query level.
#[derive(Debug)]
pub(crate) struct Level {
    pub items: Vec<NsItem>,
    pub clause: Clause,
    pub outer_refs: Vec<OuterRef>,
    pub pending: Vec<PendingApply>,
    pub mentions: Vec<Mention>,
    pub in_aggregate: bool,
    pub in_window: bool,
    /// `CASE` or `COALESCE`, within which rows cannot be multiplied.
    pub conditional: Option<&'static str>,
    pub has_aggregates: bool,
    pub windows: Vec<NamedWindowDefinition>,
    /// Set-returning functions of the select list.
    pub sets: Vec<SetCall>,
    /// The clauses that lock its rows.
    pub locks: Vec<RowLock>,
    /// Names of relations that such a clause may mention.
    pub lockable: Vec<String>,
    /// The tables that are locked.
    pub locked: Vec<LockedRelation>,
    /// It is a plain subquery in `FROM`: the level around it locks its rows.
    pub lifted: bool,
    /// The relations of such subqueries.
    pub inside: Vec<NsItem>,
}

impl Level {
    pub fn new() -> Self {
        Level {
            items: Vec::new(),
            clause: Clause::From,
            outer_refs: Vec::new(),
            pending: Vec::new(),
            mentions: Vec::new(),
            in_aggregate: false,
            in_window: false,
            conditional: None,
            has_aggregates: false,
            windows: Vec::new(),
            sets: Vec::new(),
            locks: Vec::new(),
            lockable: Vec::new(),
            locked: Vec::new(),
            lifted: false,
            inside: Vec::new(),
        }
    }
}

impl Binder<'_> {
    pub(crate) fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("a query level is open while its parts are bound")
    }

    /// Binds with another clause in force.
    pub(crate) fn in_clause<T>(
        &mut self,
        clause: Clause,
        bind: impl FnOnce(&mut Self) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let before = std::mem::replace(&mut self.level().clause, clause);
        let result = bind(self);
        self.level().clause = before;
        result
    }

    /// Binds what a `CASE` or the like holds.
    pub(crate) fn in_conditional<T>(
        &mut self,
        what: &'static str,
        bind: impl FnOnce(&mut Self) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let set = |b: &mut Self, to| {
            b.levels.last_mut().and_then(|level| std::mem::replace(&mut level.conditional, to))
        };
        let before = set(self, Some(what));
        let result = bind(self);
        set(self, before);
        result
    }

    /// Adds a relation. 42712 when its name is taken, 54000 when there are too many.
    pub(crate) fn add_item(&mut self, item: NsItem) -> Result<(), SqlError> {
        self.check_alias(&item)?;
        if self.level().items.len() >= MAX_RELATIONS {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                "too many relations in a FROM clause",
            )
            .detail(format!("At most {MAX_RELATIONS} can be joined at once.")));
        }
        self.level().items.push(item);
        Ok(())
    }

    fn check_alias(&mut self, item: &NsItem) -> Result<(), SqlError> {
        let taken = !item.alias.is_empty()
            && self.level().items.iter().any(|i| {
                i.alias == item.alias
                    && (i.schema == item.schema || i.schema.is_none() || item.schema.is_none())
            });
        if taken {
            return Err(SqlError::new(
                SqlState::DUPLICATE_ALIAS,
                format!("table name \"{}\" specified more than once", item.alias),
            ));
        }
        Ok(())
    }

    /// A column by an unqualified name.
    pub(crate) fn bind_name(&mut self, ident: &Ident) -> Result<Typed, SqlError> {
        let pos = self.positions.of_span(ident.span);
        let name = fold(ident);
        for depth in (0..self.levels.len()).rev() {
            let mut found: Option<NsColumn> = None;
            for item in self.levels[depth].items.iter().filter(|i| i.columns_visible) {
                for column in item.columns.iter().filter(|c| c.name == name) {
                    if found.is_some() {
                        return Err(SqlError::new(
                            SqlState::AMBIGUOUS_COLUMN,
                            format!("column reference \"{name}\" is ambiguous"),
                        ))
                        .at(pos);
                    }
                    found = Some(column.clone());
                }
            }
            if let Some(column) = found {
                let shown = self.shown(depth, &column);
                return Ok(self.refer(depth, &column, shown, pos));
            }
        }
        if self.levels.iter().any(|l| l.items.iter().any(|i| i.alias == name)) {
            return Err(SqlError::unsupported("a whole-row reference")).at(pos);
        }
        Err(SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))).at(pos)
    }

    /// `relation.column` for error texts, as PostgreSQL shows a column however it was written.
    fn shown(&self, depth: usize, column: &NsColumn) -> String {
        let item = self.levels[depth]
            .items
            .iter()
            .find(|i| !i.alias.is_empty() && i.columns.iter().any(|c| c.column == column.column));
        match item {
            Some(item) => format!("{}.{}", item.alias, column.name),
            None => column.name.clone(),
        }
    }

    /// `relation.column` or `schema.relation.column`.
    pub(crate) fn bind_compound(&mut self, idents: &[Ident]) -> Result<Typed, SqlError> {
        let pos = idents.first().and_then(|i| self.positions.of_span(i.span));
        let parts: Vec<String> = idents.iter().map(fold).collect();
        let (schema, relation, name) = match &parts[..] {
            [r, c] => (None, r.as_str(), c.as_str()),
            [s, r, c] => (Some(s.as_str()), r.as_str(), c.as_str()),
            _ => {
                return Err(SqlError::unsupported(format!("the reference {}", parts.join(".")))).at(pos);
            }
        };
        let Some((depth, item)) = self.find_item(schema, relation).at(pos)? else {
            return Err(self.missing_from(relation)).at(pos);
        };
        let mut matching = item.columns.iter().filter(|c| c.name == name);
        let Some(column) = matching.next().cloned() else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column {relation}.{name} does not exist"),
            ))
            .at(pos);
        };
        if matching.next().is_some() {
            return Err(SqlError::new(
                SqlState::AMBIGUOUS_COLUMN,
                format!("column reference \"{name}\" is ambiguous"),
            ))
            .at(pos);
        }
        Ok(self.refer(depth, &column, format!("{relation}.{name}"), pos))
    }

    pub(crate) fn missing_from(&self, relation: &str) -> SqlError {
        // Hidden behind an alias of its own, or standing beside a subquery that is not lateral.
        let aliased = self
            .levels
            .iter()
            .flat_map(|l| &l.items)
            .find(|i| i.table.as_ref().is_some_and(|t| t.name == relation) && i.alias != relation);
        if let Some(item) = aliased {
            return SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("invalid reference to FROM-clause entry for table \"{relation}\""),
            )
            .hint(format!("Perhaps you meant to reference the table alias \"{}\".", item.alias));
        }
        let hidden = self.hidden_aliases.iter().any(|a| a == relation);
        if hidden {
            return SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("invalid reference to FROM-clause entry for table \"{relation}\""),
            )
            .hint(format!(
                "There is an entry for table \"{relation}\", but it cannot be referenced from this part of the query."
            ));
        }
        SqlError::new(
            SqlState::UNDEFINED_TABLE,
            format!("missing FROM-clause entry for table \"{relation}\""),
        )
    }

    /// The innermost relation of that name and its level. 42P09 for a table called `excluded` beside the row of that name.
    pub(crate) fn find_item(
        &self,
        schema: Option<&str>,
        relation: &str,
    ) -> Result<Option<(usize, NsItem)>, SqlError> {
        for depth in (0..self.levels.len()).rev() {
            let items = self.levels[depth].items.iter();
            let mut found = items
                .filter(|i| i.alias == relation && schema.is_none_or(|s| i.schema.as_deref() == Some(s)));
            if let Some(item) = found.next() {
                return match found.next() {
                    None => Ok(Some((depth, item.clone()))),
                    Some(_) => Err(SqlError::new(
                        SqlState::AMBIGUOUS_ALIAS,
                        format!("table reference \"{relation}\" is ambiguous"),
                    )),
                };
            }
        }
        Ok(None)
    }

    /// The expression for a column found at `depth`: the column itself at the innermost level, else a placeholder that
    /// the subquery's [`crate::exec::apply::Apply`] fills in.
    pub(crate) fn refer(
        &mut self,
        depth: usize,
        column: &NsColumn,
        shown: String,
        pos: Option<u32>,
    ) -> Typed {
        let innermost = depth + 1 == self.levels.len();
        let level = &mut self.levels[depth];
        if !level.in_aggregate {
            level.mentions.push(Mention {
                column: column.column.clone(),
                pos,
                shown,
                from_subquery: !innermost,
            });
        }
        let expr = if innermost {
            Expr::Column(column.column.clone())
        } else {
            let known = level.outer_refs.iter().find(|o| o.column == column.column).map(|o| o.id.clone());
            let id = match known {
                Some(id) => id,
                None => {
                    self.counter += 1;
                    let id = format!("$o{}", self.counter);
                    let reference = OuterRef { id: id.clone(), column: column.column.clone() };
                    self.levels[depth].outer_refs.push(reference);
                    id
                }
            };
            placeholder(&id, column.ty)
        };
        let origin = if innermost { column.origin } else { None };
        Typed { typmod: column.typmod, origin, ..Typed::new(expr, column.ty, pos) }
    }
}

//! From a statement's tree to something that runs, bound against the catalog; kept as long as its tables stay the same.

use super::{
    Session,
    guard::catch,
    names::Names,
    nothing,
    parse::Command,
    stack::{is_deep, on_large_stack},
};
use crate::{
    bind::{self, BindContext, BoundDelete, BoundInsert, BoundQuery, BoundUpdate, OutColumn},
    catalog::Snapshot,
    error::{SqlError, SqlState},
    fast::{self, PointScan},
    types::PgType,
};
use sqlparser::ast::Statement;
use std::sync::Arc;

/// A statement as the client prepared it.
pub struct Prepared {
    pub sql: Arc<str>,
    /// None: an empty text.
    pub command: Option<Arc<Command>>,
    pub declared: Vec<Option<PgType>>,
    /// The latest plan; replaced when the catalog has moved on.
    pub planned: parking_lot::Mutex<Option<Arc<Planned>>>,
}

/// What runs.
pub enum Body {
    Query(BoundQuery),
    Insert(BoundInsert),
    Update(BoundUpdate),
    Delete(BoundDelete),
    /// `EXPLAIN` of one of these.
    Explain {
        inner: Arc<Planned>,
        analyze: bool,
    },
    /// `DECLARE` of a cursor for this query.
    Declare(Arc<Planned>),
    /// A query that cannot have rows.
    Nothing,
    /// All else; carried out from the command itself.
    Utility,
}

pub struct Planned {
    pub sql: Arc<str>,
    pub command: Arc<Command>,
    pub body: Body,
    /// A way around the relational engine.
    pub fast: Option<PointScan>,
    pub params: Vec<PgType>,
    /// What it returns; None: no rows.
    pub columns: Option<Vec<OutColumn>>,
    /// Ids and versions of the tables that it was bound against.
    pub tables: Vec<(u64, u64)>,
    /// It changes data.
    pub writes: bool,
}

impl Planned {
    pub fn types(&self) -> Vec<PgType> {
        self.columns.iter().flatten().map(|column| column.ty).collect()
    }

    fn utility(
        sql: Arc<str>,
        command: Arc<Command>,
        columns: Option<Vec<OutColumn>>,
        writes: bool,
    ) -> Planned {
        Planned {
            sql,
            command,
            body: Body::Utility,
            fast: None,
            params: Vec::new(),
            columns,
            tables: Vec::new(),
            writes,
        }
    }
}

/// Errors that a newer catalog could cure.
fn is_missing(error: &SqlError) -> bool {
    matches!(
        error.sqlstate,
        SqlState::UNDEFINED_TABLE
            | SqlState::UNDEFINED_COLUMN
            | SqlState::UNDEFINED_OBJECT
            | SqlState::INVALID_SCHEMA_NAME
            | SqlState::UNDEFINED_FUNCTION
            | SqlState::INVALID_COLUMN_REFERENCE
    )
}

impl Session {
    /// The catalog for the next statement, with the transaction's own changes.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        match &self.tx {
            super::tx::Tx::Open(open) => {
                let pinned = open.pinned.begin_statement();
                open.overlay.clone().unwrap_or(pinned)
            }
            super::tx::Tx::Idle => self.shared.catalog.current(),
        }
    }

    pub(super) fn names(&self, snapshot: Arc<Snapshot>) -> Names {
        Names::new(self.shared.clone(), snapshot, self.settings.search_path(self.user()), self.link.clone())
    }

    /// Plans a statement. What the node does not know yet is looked for in the newest catalog before it is refused.
    pub(super) async fn plan(
        &mut self,
        sql: &Arc<str>,
        command: &Arc<Command>,
        declared: &[Option<PgType>],
    ) -> Result<Arc<Planned>, SqlError> {
        let snapshot = self.snapshot();
        match self.plan_against(snapshot.clone(), sql, command, declared) {
            Err(error) if is_missing(&error) => {
                self.refresh_catalog().await?;
                let newer = self.snapshot();
                if newer.generation == snapshot.generation {
                    return Err(error);
                }
                self.plan_against(newer, sql, command, declared)
            }
            result => result,
        }
    }

    /// Reads the catalog anew, and lets the transaction use it if it can.
    pub(super) async fn refresh_catalog(&mut self) -> Result<(), SqlError> {
        if let super::tx::Tx::Open(open) = &self.tx {
            open.pinned.end_statement();
        }
        self.shared.catalog.refresh().await.map(drop)
    }

    fn plan_against(
        &self,
        snapshot: Arc<Snapshot>,
        sql: &Arc<str>,
        command: &Arc<Command>,
        declared: &[Option<PgType>],
    ) -> Result<Arc<Planned>, SqlError> {
        let names = self.names(snapshot);
        catch(|| on_large_stack(is_deep(sql), || self.plan_command(&names, sql, command, declared)))
            .map(Arc::new)
    }

    fn plan_command(
        &self,
        names: &Names,
        sql: &Arc<str>,
        command: &Arc<Command>,
        declared: &[Option<PgType>],
    ) -> Result<Planned, SqlError> {
        match &**command {
            Command::Statement(statement) => self.plan_statement(names, sql, command, statement, declared),
            Command::Declare(declare) => self.plan_declare(names, sql, command, &declare.statement, declared),
            Command::Fetch(fetch) => {
                let columns = self.fetched_columns(fetch);
                Ok(Planned::utility(sql.clone(), command.clone(), columns, false))
            }
            Command::AlterSequence(_) => Ok(Planned::utility(sql.clone(), command.clone(), None, true)),
            _ => {
                let columns = super::utility::columns_of(command);
                Ok(Planned::utility(sql.clone(), command.clone(), columns, false))
            }
        }
    }

    fn plan_declare(
        &self,
        names: &Names,
        sql: &Arc<str>,
        command: &Arc<Command>,
        inner: &Statement,
        declared: &[Option<PgType>],
    ) -> Result<Planned, SqlError> {
        let query = Arc::new(Command::Statement(Box::new(inner.clone())));
        let planned = self.plan_statement(names, sql, &query, inner, declared)?;
        if !matches!(planned.body, Body::Query(_) | Body::Nothing) {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "a cursor must be for a query"));
        }
        let (params, tables, writes) = (planned.params.clone(), planned.tables.clone(), planned.writes);
        let utility = Planned::utility(sql.clone(), command.clone(), None, writes);
        Ok(Planned { body: Body::Declare(Arc::new(planned)), params, tables, ..utility })
    }

    fn plan_statement(
        &self,
        names: &Names,
        sql: &Arc<str>,
        command: &Arc<Command>,
        statement: &Statement,
        declared: &[Option<PgType>],
    ) -> Result<Planned, SqlError> {
        let ctx = BindContext {
            catalog: names,
            sql,
            engine: &self.shared.engine,
            zone: self.settings.zone().clone(),
            param_types: declared,
        };
        let make = |body, fast, params: &[PgType], columns, tables, writes| Planned {
            sql: sql.clone(),
            command: command.clone(),
            body,
            fast,
            params: params.to_vec(),
            columns,
            tables,
            writes,
        };
        Ok(match statement {
            Statement::Query(query) => {
                let bound = match bind::bind_query(&ctx, query) {
                    Ok(bound) => bound,
                    Err(error) => {
                        let Some(columns) = nothing::columns(query) else { return Err(error) };
                        return Ok(make(Body::Nothing, None, &[], Some(columns), vec![], false));
                    }
                };
                let fast = fast::of_query(&bound);
                let (params, columns) = (bound.param_types.clone(), bound.columns.clone());
                let (tables, locks) = (bound.tables.clone(), bound.locks);
                make(Body::Query(bound), fast, &params, Some(columns), tables, locks)
            }
            Statement::Insert(insert) => {
                let bound = bind::bind_insert(&ctx, insert)?;
                let fast = None;
                let columns = bound.returning.as_ref().map(|r| r.columns().to_vec());
                let mut tables = bound.source.tables.clone();
                tables.push((bound.table.id, bound.table.version));
                let params = bound.param_types.clone();
                make(Body::Insert(bound), fast, &params, columns, tables, true)
            }
            Statement::Update(update) => {
                let bound = bind::bind_update(&ctx, update)?;
                let fast = fast::of_query(&bound.scan);
                let columns = bound.returning.as_ref().map(|r| r.columns().to_vec());
                let mut tables = bound.scan.tables.clone();
                tables.push((bound.table.id, bound.table.version));
                let params = bound.param_types.clone();
                make(Body::Update(bound), fast, &params, columns, tables, true)
            }
            Statement::Delete(delete) => {
                let bound = bind::bind_delete(&ctx, delete)?;
                let fast = fast::of_query(&bound.scan);
                let columns = bound.returning.as_ref().map(|r| r.columns().to_vec());
                let mut tables = bound.scan.tables.clone();
                tables.push((bound.table.id, bound.table.version));
                let params = bound.param_types.clone();
                make(Body::Delete(bound), fast, &params, columns, tables, true)
            }
            Statement::Explain { statement: inner, analyze, format, options, .. } => {
                if format.is_some() || options.is_some() {
                    return Err(SqlError::unsupported("EXPLAIN with options"));
                }
                self.plan_explain(names, sql, command, inner, declared, *analyze)?
            }
            _ => Planned::utility(sql.clone(), command.clone(), None, true),
        })
    }

    fn plan_explain(
        &self,
        names: &Names,
        sql: &Arc<str>,
        command: &Arc<Command>,
        inner: &Statement,
        declared: &[Option<PgType>],
        analyze: bool,
    ) -> Result<Planned, SqlError> {
        let planned = self.plan_statement(names, sql, command, inner, declared)?;
        if matches!(planned.body, Body::Utility | Body::Declare(_)) {
            return Err(SqlError::unsupported("EXPLAIN of this statement"));
        }
        let (params, tables, writes) =
            (planned.params.clone(), planned.tables.clone(), analyze && planned.writes);
        Ok(Planned {
            sql: sql.clone(),
            command: command.clone(),
            body: Body::Explain { inner: Arc::new(planned), analyze },
            fast: None,
            params,
            columns: Some(vec![OutColumn {
                name: "QUERY PLAN".into(),
                ty: PgType::Text,
                typmod: -1,
                origin: None,
            }]),
            tables,
            writes,
        })
    }
}

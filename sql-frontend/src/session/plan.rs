//! From a statement's tree to something that runs, bound against the catalog; kept as long as its tables stay the same.

use super::{
    Session,
    guard::guarded_now,
    names::Names,
    nothing,
    parse::{AsOf, Command},
    stack::{is_deep, on_large_stack},
};
use crate::{
    bind::{self, BindContext, BoundDelete, BoundInsert, BoundQuery, BoundUpdate, OutColumn},
    catalog::Snapshot,
    error::{SqlError, SqlState},
    fast::{self, PointScan},
    types::PgType,
};
use sqlparser::ast::{SetExpr, Statement, With};
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
    /// At which it reads, if it says so.
    pub as_of: Option<AsOf>,
}

/// What a plan is made from.
struct Request<'a> {
    names: &'a Names,
    sql: &'a Arc<str>,
    command: &'a Arc<Command>,
    /// Types that the client declared for its parameters.
    declared: &'a [Option<PgType>],
}

impl Request<'_> {
    fn utility(&self, columns: Option<Vec<OutColumn>>, writes: bool) -> Planned {
        Planned {
            sql: self.sql.clone(),
            command: self.command.clone(),
            body: Body::Utility,
            fast: None,
            params: Vec::new(),
            columns,
            tables: Vec::new(),
            writes,
            as_of: None,
        }
    }
}

impl Planned {
    pub fn types(&self) -> Vec<PgType> {
        self.columns.iter().flatten().map(|column| column.ty).collect()
    }

    /// It is about the catalog itself, and runs against the newest: what is not in it yet is not missed, as a table is that a
    /// statement names, but silently left out or made anew.
    pub fn needs_newest_catalog(&self) -> bool {
        match &self.body {
            Body::Query(query) => query.catalog,
            Body::Insert(insert) => insert.source.catalog,
            Body::Update(update) => update.scan.catalog,
            Body::Delete(delete) => delete.scan.catalog,
            Body::Explain { inner, .. } | Body::Declare(inner) => inner.needs_newest_catalog(),
            Body::Nothing => false,
            Body::Utility => self.command.reaches_beyond_session(),
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

/// `WITH … INSERT …` (`UPDATE`, `DELETE`), which the parser takes for a query, apart: the statement is the one behind.
pub(super) fn modification(statement: &Statement) -> (Option<&With>, &Statement) {
    let Statement::Query(query) = statement else { return (None, statement) };
    match &*query.body {
        SetExpr::Insert(inner) | SetExpr::Update(inner) | SetExpr::Delete(inner) => {
            (query.with.as_ref(), inner)
        }
        _ => (None, statement),
    }
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
        let names = &self.names(snapshot);
        let request = Request { names, sql, command, declared };
        self.shared.planned();
        let plan = || on_large_stack(is_deep(sql), || self.plan_command(&request));
        guarded_now(&self.stop(), plan).map(Arc::new)
    }

    fn plan_command(&self, request: &Request) -> Result<Planned, SqlError> {
        match &**request.command {
            Command::Statement(statement) => self.plan_statement(request, statement),
            Command::Past(statement, as_of) => self.plan_past(request, statement, as_of),
            Command::Declare(declare) => self.plan_declare(request, &declare.statement),
            Command::Fetch(fetch) => Ok(request.utility(self.fetched_columns(fetch), false)),
            Command::AlterSequence(_) => Ok(request.utility(None, true)),
            command => Ok(request.utility(super::utility::columns_of(command), false)),
        }
    }

    fn plan_past(&self, request: &Request, statement: &Statement, as_of: &AsOf) -> Result<Planned, SqlError> {
        let mut declared = request.declared.to_vec();
        if let AsOf::Parameter(n) = as_of {
            declared.resize(declared.len().max(*n), None);
            // Any of the forms that it may take can be said in text.
            declared[n - 1].get_or_insert(PgType::Text);
        }
        let planned = self.plan_statement(&Request { declared: &declared, ..*request }, statement)?;
        Ok(Planned { as_of: Some(as_of.clone()), ..planned })
    }

    fn plan_declare(&self, request: &Request, inner: &Statement) -> Result<Planned, SqlError> {
        let query = Arc::new(Command::Statement(Box::new(inner.clone())));
        let planned = self.plan_statement(&Request { command: &query, ..*request }, inner)?;
        if !matches!(planned.body, Body::Query(_) | Body::Nothing) {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "a cursor must be for a query"));
        }
        let (params, tables, writes) = (planned.params.clone(), planned.tables.clone(), planned.writes);
        let body = Body::Declare(Arc::new(planned));
        Ok(Planned { body, params, tables, ..request.utility(None, writes) })
    }

    fn plan_statement(&self, request: &Request, statement: &Statement) -> Result<Planned, SqlError> {
        let ctx = BindContext {
            catalog: request.names,
            sql: request.sql,
            engine: &self.shared.engine,
            zone: *self.settings.zone(),
            param_types: request.declared,
        };
        let make = |body, fast, params: &[PgType], columns, tables, writes| Planned {
            body,
            fast,
            params: params.to_vec(),
            tables,
            ..request.utility(columns, writes)
        };
        let (with, statement) = modification(statement);
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
                let bound = bind::bind_insert(&ctx, with, insert)?;
                let fast = None;
                let columns = bound.returning.as_ref().map(|r| r.columns().to_vec());
                let mut tables = bound.source.tables.clone();
                tables.push((bound.table.id, bound.table.version));
                let params = bound.param_types.clone();
                make(Body::Insert(bound), fast, &params, columns, tables, true)
            }
            Statement::Update(update) => {
                let bound = bind::bind_update(&ctx, with, update)?;
                let fast = fast::of_query(&bound.scan);
                let columns = bound.returning.as_ref().map(|r| r.columns().to_vec());
                let mut tables = bound.scan.tables.clone();
                tables.push((bound.table.id, bound.table.version));
                let params = bound.param_types.clone();
                make(Body::Update(bound), fast, &params, columns, tables, true)
            }
            Statement::Delete(delete) => {
                let bound = bind::bind_delete(&ctx, with, delete)?;
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
                self.plan_explain(request, inner, *analyze)?
            }
            _ => request.utility(None, true),
        })
    }

    fn plan_explain(&self, request: &Request, inner: &Statement, analyze: bool) -> Result<Planned, SqlError> {
        let planned = self.plan_statement(request, inner)?;
        if matches!(planned.body, Body::Utility | Body::Declare(_)) {
            return Err(SqlError::unsupported("EXPLAIN of this statement"));
        }
        let (params, tables) = (planned.params.clone(), planned.tables.clone());
        let writes = analyze && planned.writes;
        let column = OutColumn { name: "QUERY PLAN".into(), ty: PgType::Text, typmod: -1, origin: None };
        let body = Body::Explain { inner: Arc::new(planned), analyze };
        Ok(Planned { body, params, tables, ..request.utility(Some(vec![column]), writes) })
    }
}

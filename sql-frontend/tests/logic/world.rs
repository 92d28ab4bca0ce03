//! A catalog and tables in memory, and just enough of DDL and DML to run scripts.

use crate::memory::Memory;
use futures::TryStreamExt;
use parking_lot::Mutex;
use quorate_sql::bind::{self, BindContext, BoundQuery, Catalog, Relation};
use quorate_sql::catalog::{
    ColumnDescriptor, IndexColumn, IndexDescriptor, IndexState, TableDescriptor, TableState,
};
use quorate_sql::exec::{Engine, EngineConfig, ExecContext, execute, explain};
use quorate_sql::func::StatementContext;
use quorate_sql::row;
use quorate_sql::session::parse::Dialect;
use quorate_sql::session::stack::{Deep, is_deep};
use quorate_sql::types::{Datum, PgType, TimeZone, datum_at};
use quorate_sql::{SqlError, SqlState};
use sqlparser::ast::{self, ColumnOption, Statement, TableConstraint};
use sqlparser::parser::Parser;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
struct Tables(Mutex<BTreeMap<String, Arc<TableDescriptor>>>);

impl Catalog for Tables {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Relation> {
        if schema.is_some_and(|s| s != "public") {
            return None;
        }
        self.0.lock().get(name).cloned().map(Relation::Table)
    }
}

pub struct World {
    tables: Tables,
    memory: Memory,
    engine: Arc<Engine>,
    next_table: u64,
    next_row: i64,
}

impl World {
    pub fn new() -> Self {
        Self::with(EngineConfig::default())
    }

    /// In which every locked row is looked at again.
    pub fn in_doubt() -> Self {
        Self::with(EngineConfig { recheck_all: true, ..EngineConfig::default() })
    }

    fn with(config: EngineConfig) -> Self {
        World {
            tables: Tables::default(),
            memory: Memory::default(),
            engine: Engine::new(config).expect("an engine"),
            next_table: 100,
            next_row: 1,
        }
    }

    /// Rows, or one line with the error.
    pub async fn run(&mut self, sql: &str) -> Vec<String> {
        let before = self.memory.0.lock().clone();
        match Deep::new(is_deep(sql), self.try_run(sql)).await {
            Ok(rows) => rows,
            Err(e) => {
                *self.memory.0.lock() = before;
                let position = e.position.map_or("-".into(), |p| p.to_string());
                vec![format!("ERROR {} {position}: {}", e.sqlstate, e.message)]
            }
        }
    }

    fn context(&self) -> ExecContext {
        ExecContext {
            engine: Arc::clone(&self.engine),
            read: Arc::new(self.memory.clone()),
            session: Arc::new(StatementContext::default()),
            extension: Arc::new(()),
        }
    }

    async fn try_run(&mut self, sql: &str) -> Result<Vec<String>, SqlError> {
        let mut statements = Parser::parse_sql(&Dialect, sql)
            .map_err(|e| SqlError::new(SqlState::SYNTAX_ERROR, e.to_string()))?;
        let statement = statements.pop().ok_or_else(|| SqlError::internal("no statement"))?;
        let engine = Arc::clone(&self.engine);
        let mut sql = sql.to_string();
        let mut statement = statement;
        let mut params: Vec<Datum> = vec![];
        // `EXECUTE ('1', '2') AS SELECT …` is not SQL; scripts give parameters in a leading comment instead.
        let mut given: Vec<String> = vec![];
        if let Some(rest) = sql.strip_prefix("-- params ") {
            let (list, _) = rest.split_once('\n').unwrap_or((rest, ""));
            given = list.split(',').map(|p| p.trim().to_string()).collect();
        }
        let analyze = match &statement {
            Statement::Explain { analyze, .. } => Some(*analyze),
            _ => None,
        };
        if let Statement::Explain { statement: inner, .. } = statement {
            statement = *inner;
        }
        sql.shrink_to_fit();
        let text = sql.clone();
        match statement {
            Statement::CreateTable(create) => {
                let ctx = bind_context(&self.tables, &engine, &text);
                let table = table_of(&ctx, self.next_table, &create)?;
                self.next_table += 1;
                self.tables.0.lock().insert(table.name.clone(), Arc::new(table));
                Ok(vec![])
            }
            Statement::CreateIndex(create) => {
                self.create_index(&create)?;
                Ok(vec![])
            }
            Statement::Query(query) => {
                let bound = {
                    let ctx = bind_context(&self.tables, &engine, &text);
                    bind::bind_query(&ctx, &query)?
                };
                for (value, ty) in given.iter().zip(&bound.param_types) {
                    params.push(if value == "NULL" {
                        Datum::Null
                    } else {
                        Datum::from_text(*ty, value, -1, &TimeZone::UTC)?
                    });
                }
                if let Some(analyze) = analyze {
                    return explain::explain(&bound, &params, analyze, &self.context()).await;
                }
                let rows = self.rows(&bound, &params).await?;
                let types: Vec<PgType> = bound.columns.iter().map(|c| c.ty).collect();
                Ok(rows.iter().map(|r| shown(r, &types)).collect())
            }
            Statement::Insert(insert) => self.insert(&text, &insert).await,
            Statement::Update(update) => self.update(&text, &update).await,
            Statement::Delete(delete) => self.delete(&text, &delete).await,
            other => Err(SqlError::unsupported(format!("{other}"))),
        }
    }

    async fn rows(&self, query: &BoundQuery, params: &[Datum]) -> Result<Vec<Vec<Datum>>, SqlError> {
        let mut out = Vec::new();
        let mut stream = execute(query, params, &self.context());
        while let Some(batch) = stream.try_next().await? {
            for at in 0..batch.num_rows() {
                let row = query
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(i, c)| datum_at(batch.column(i), at, c.ty))
                    .collect::<Result<Vec<_>, _>>()?;
                out.push(row);
            }
        }
        Ok(out)
    }

    fn put(&self, table: &TableDescriptor, new: &[Datum]) -> Result<(), SqlError> {
        for (column, value) in table.columns.iter().zip(new) {
            if value.is_null() && !column.nullable {
                return Err(SqlError::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!(
                        "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                        column.name, table.name
                    ),
                ));
            }
        }
        let mut map = self.memory.0.lock();
        let (key, value) = row::encode_row(table, new)?;
        if map.contains_key(&key) {
            return Err(duplicate(&table.primary.name));
        }
        for index in &table.indexes {
            let entry = row::index_entry(table, index, new)?;
            if entry.exclusive && map.contains_key(&entry.key) {
                return Err(duplicate(&index.name));
            }
            map.insert(entry.key, entry.value);
        }
        map.insert(key, value);
        Ok(())
    }

    fn remove(&self, table: &TableDescriptor, old: &[Datum]) -> Result<(), SqlError> {
        let mut map = self.memory.0.lock();
        map.remove(&row::primary_key(table, old)?);
        for index in &table.indexes {
            map.remove(&row::index_entry(table, index, old)?.key);
        }
        Ok(())
    }

    async fn insert(&mut self, sql: &str, insert: &ast::Insert) -> Result<Vec<String>, SqlError> {
        let engine = Arc::clone(&self.engine);
        let bound = bind::bind_insert(&bind_context(&self.tables, &engine, sql), None, insert)?;
        let ctx = self.context();
        let rows = match &bound.values {
            Some(programs) => {
                programs.iter().map(|p| p.evaluate(&[], &[], &ctx)).collect::<Result<Vec<_>, _>>()?
            }
            None => self.rows(&bound.source, &[]).await?,
        };
        let mut out = Vec::new();
        for mut new in rows {
            for (column, value) in bound.table.columns.iter().zip(&mut new) {
                if column.hidden && value.is_null() {
                    *value = Datum::Int8(self.next_row);
                    self.next_row += 1;
                }
            }
            self.put(&bound.table, &new)?;
            if let Some(returning) = &bound.returning {
                let shown_row = returning.program.evaluate(&new, &[], &ctx)?;
                out.push(shown(&shown_row, &types_of(returning.columns())));
            }
        }
        Ok(out)
    }

    async fn update(&mut self, sql: &str, update: &ast::Update) -> Result<Vec<String>, SqlError> {
        let engine = Arc::clone(&self.engine);
        let bound = bind::bind_update(&bind_context(&self.tables, &engine, sql), None, update)?;
        let ctx = self.context();
        let width = bound.table.columns.len();
        let rows = self.rows(&bound.scan, &[]).await?;
        let mut out = Vec::new();
        let mut done = Vec::new();
        for row in &rows {
            let key = row::primary_key(&bound.table, &row[..width])?;
            if done.contains(&key) {
                continue;
            }
            done.push(key);
            self.remove(&bound.table, &row[..width])?;
        }
        let mut done_new = Vec::new();
        for row in rows {
            let key = row::primary_key(&bound.table, &row[..width])?;
            if done_new.contains(&key) {
                continue;
            }
            done_new.push(key);
            let mut new = row[..width].to_vec();
            for (at, value) in bound.assigned.iter().zip(&row[width..]) {
                new[*at] = value.clone();
            }
            self.put(&bound.table, &new)?;
            if let Some(returning) = &bound.returning {
                new.extend_from_slice(&row[width + bound.assigned.len()..]);
                let shown_row = returning.program.evaluate(&new, &[], &ctx)?;
                out.push(shown(&shown_row, &types_of(returning.columns())));
            }
        }
        Ok(out)
    }

    async fn delete(&mut self, sql: &str, delete: &ast::Delete) -> Result<Vec<String>, SqlError> {
        let engine = Arc::clone(&self.engine);
        let bound = bind::bind_delete(&bind_context(&self.tables, &engine, sql), None, delete)?;
        let ctx = self.context();
        let width = bound.table.columns.len();
        let mut out = Vec::new();
        for row in self.rows(&bound.scan, &[]).await? {
            self.remove(&bound.table, &row[..width])?;
            if let Some(returning) = &bound.returning {
                let shown_row = returning.program.evaluate(&row, &[], &ctx)?;
                out.push(shown(&shown_row, &types_of(returning.columns())));
            }
        }
        Ok(out)
    }

    fn create_index(&mut self, create: &ast::CreateIndex) -> Result<(), SqlError> {
        let name = create.table_name.to_string();
        let mut tables = self.tables.0.lock();
        let table = tables.get(&name).cloned().ok_or_else(|| SqlError::internal("no such table"))?;
        let mut changed = TableDescriptor::clone(&table);
        let columns = create
            .columns
            .iter()
            .map(|c| IndexColumn {
                column: changed.column_named(&c.column.expr.to_string()).expect("an indexed column").id,
                descending: c.column.options.asc == Some(false),
            })
            .collect();
        let index = IndexDescriptor {
            id: changed.next_index_id,
            name: create.name.as_ref().map(ToString::to_string).unwrap_or_default(),
            columns,
            unique: create.unique,
            state: IndexState::Public,
            plain: false,
        };
        let wanted: Vec<usize> = (0..changed.columns.len()).collect();
        let decoder = row::RowDecoder::for_rows(&changed, &wanted)?;
        let span = row::index_span(changed.id, changed.primary.id);
        let mut map = self.memory.0.lock();
        let rows: Vec<_> =
            map.iter().filter(|(k, _)| span.contains(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut datums = Vec::new();
        for (key, value) in rows {
            decoder.decode(&key, &value, &mut datums)?;
            let entry = row::index_entry(&changed, &index, &datums)?;
            map.insert(entry.key, entry.value);
        }
        changed.next_index_id += 1;
        changed.version += 1;
        changed.indexes.push(index);
        tables.insert(name, Arc::new(changed));
        Ok(())
    }
}

fn bind_context<'a>(tables: &'a Tables, engine: &'a Engine, sql: &'a str) -> BindContext<'a> {
    BindContext { catalog: tables, sql, engine, zone: TimeZone::UTC, param_types: &[] }
}

fn duplicate(name: &str) -> SqlError {
    SqlError::new(
        SqlState::UNIQUE_VIOLATION,
        format!("duplicate key value violates unique constraint \"{name}\""),
    )
}

fn types_of(columns: &[bind::OutColumn]) -> Vec<PgType> {
    columns.iter().map(|c| c.ty).collect()
}

fn shown(row: &[Datum], types: &[PgType]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(types)
        .map(|(d, ty)| if d.is_null() { "NULL".into() } else { d.to_text(*ty, &TimeZone::UTC) })
        .collect();
    cells.join("|")
}

fn table_of(ctx: &BindContext<'_>, id: u64, create: &ast::CreateTable) -> Result<TableDescriptor, SqlError> {
    let name = create.name.to_string();
    let mut columns = Vec::new();
    let mut primary: Vec<String> = vec![];
    let mut uniques: Vec<Vec<String>> = vec![];
    for (at, column) in create.columns.iter().enumerate() {
        let (ty, typmod) = bind::bind_type(&column.data_type, None)?;
        let mut described = ColumnDescriptor {
            id: at as u32 + 1,
            name: column.name.value.clone(),
            ty,
            typmod,
            nullable: true,
            default: None,
            hidden: false,
            sequence: None,
            missing: None,
            leaving: false,
        };
        for option in &column.options {
            match &option.option {
                ColumnOption::NotNull => described.nullable = false,
                ColumnOption::Null => {}
                ColumnOption::Default(expr) => {
                    bind::bind_expr_over_table(ctx, None, expr, ty, typmod)?;
                    described.default = Some(expr.to_string());
                }
                ColumnOption::PrimaryKey(_) => primary = vec![column.name.value.clone()],
                ColumnOption::Unique(_) => uniques.push(vec![column.name.value.clone()]),
                other => return Err(SqlError::unsupported(format!("{other}"))),
            }
        }
        columns.push(described);
    }
    for constraint in &create.constraints {
        match constraint {
            TableConstraint::PrimaryKey(key) => {
                primary = key.columns.iter().map(|c| c.column.expr.to_string()).collect();
            }
            TableConstraint::Unique(key) => {
                uniques.push(key.columns.iter().map(|c| c.column.expr.to_string()).collect());
            }
            other => return Err(SqlError::unsupported(format!("{other}"))),
        }
    }
    if primary.is_empty() {
        columns.push(ColumnDescriptor {
            id: columns.len() as u32 + 1,
            name: "rowid".into(),
            ty: PgType::Int8,
            typmod: -1,
            nullable: false,
            default: None,
            hidden: true,
            sequence: None,
            missing: None,
            leaving: false,
        });
        primary = vec!["rowid".into()];
    }
    for column in columns.iter_mut().filter(|c| primary.contains(&c.name)) {
        column.nullable = false;
    }
    let ids = |names: &[String]| -> Vec<IndexColumn> {
        let id = |n: &String| columns.iter().find(|c| c.name == *n).expect("a column of the key").id;
        names.iter().map(|n| IndexColumn { column: id(n), descending: false }).collect()
    };
    let index = |id: u32, name: String, columns: Vec<IndexColumn>| IndexDescriptor {
        id,
        name,
        columns,
        unique: true,
        state: IndexState::Public,
        plain: false,
    };
    let indexes: Vec<IndexDescriptor> = uniques
        .iter()
        .enumerate()
        .map(|(at, names)| index(at as u32 + 2, format!("{name}_{}_key", names.join("_")), ids(names)))
        .collect();
    Ok(TableDescriptor {
        id,
        schema: "public".into(),
        primary: index(1, format!("{name}_pkey"), ids(&primary)),
        next_column_id: columns.len() as u32 + 1,
        next_index_id: indexes.len() as u32 + 2,
        indexes,
        version: 1,
        state: TableState::Public,
        checks: vec![],
        closed: false,
        columns,
        name,
    })
}

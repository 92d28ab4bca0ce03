//! `CREATE TABLE`, `CREATE SCHEMA`.

use super::{Change, allocate_ids, naming, storage};
use crate::{
    bind::{BindContext, Positions, bind_expr_over_table, bind_type},
    catalog::{
        CheckConstraint, ColumnDescriptor, IndexColumn, IndexDescriptor, IndexState, SequenceDescriptor,
        Snapshot, TableDescriptor, TableState, keys, snapshot::encode_u64, store,
    },
    error::{SqlError, SqlState},
    session::{names::Names, parse::fold, run::Outcome},
    types::PgType,
};
use sqlparser::ast::{
    self, ColumnOption, CreateTable, DataType, Expr, GeneratedAs, SchemaName, Statement, TableConstraint,
    helpers::stmt_create_table::CreateTableBuilder,
};
use std::{collections::BTreeSet, sync::Arc};

const MAX_COLUMNS: usize = 1600;
/// Name of the row id of tables without a key.
pub const ROW_ID: &str = "rowid";

/// A table while it is put together.
struct Draft {
    table: TableDescriptor,
    sequences: Vec<SequenceDescriptor>,
    primary: Option<(Option<String>, Vec<IndexColumn>)>,
    /// What there is beside it.
    catalog: Arc<Snapshot>,
}

pub async fn run(change: &mut Change, create: &CreateTable) -> Result<Outcome, SqlError> {
    refuse(create)?;
    let (schema, name) = Names::split(&create.name)?;
    let schema = change.view()?.names.creation_schema(schema)?;
    check_name(&name)?;
    if store::is_name_taken(&change.txn, &schema, &name).await? {
        if create.if_not_exists {
            change.notice(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists, skipping"));
            return Ok(Outcome::done("CREATE TABLE"));
        }
        return Err(store::name_taken(&name));
    }
    storage::of_table(change, &create.table_options)?;
    let serials = create.columns.iter().filter(|c| is_serial(c)).count() as u64;
    let shared = change.shared()?;
    let first = allocate_ids(&shared, 1 + serials).await?;
    let draft = draft(change, create, first, schema, name)?;
    write(change, draft).await?;
    Ok(Outcome::done("CREATE TABLE"))
}

async fn write(change: &mut Change, draft: Draft) -> Result<(), SqlError> {
    let Draft { table, sequences, .. } = draft;
    let txn = change.txn.clone();
    store::take_name(&txn, &table.schema, &table.name, table.id).await?;
    if table.has_declared_key() {
        store::take_name(&txn, &table.schema, &table.primary.name, table.id).await?;
    }
    for index in &table.indexes {
        store::take_name(&txn, &table.schema, &index.name, table.id).await?;
    }
    for sequence in &sequences {
        store::take_name(&txn, &sequence.schema, &sequence.name, sequence.id).await?;
        store::put_sequence(&txn, sequence);
    }
    store::raise_generation(&txn).await?;
    change.put_table(table);
    change.overlay(|snapshot| {
        for sequence in sequences {
            snapshot.sequences.insert(sequence.id, Arc::new(sequence));
        }
    });
    Ok(())
}

pub fn check_name(name: &str) -> Result<(), SqlError> {
    if name.is_empty() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "zero-length delimited identifier"));
    }
    if name.len() > naming::MAX_NAME {
        return Err(SqlError::new(SqlState("42622"), format!("identifier \"{name}\" is too long"))
            .detail("Names have at most 63 bytes."));
    }
    Ok(())
}

fn refuse(create: &CreateTable) -> Result<(), SqlError> {
    let unsupported = [
        (create.temporary || create.global.is_some(), "CREATE TEMPORARY TABLE"),
        (
            create.external || create.or_replace || create.transient || create.volatile,
            "this form of CREATE TABLE",
        ),
        (create.query.is_some(), "CREATE TABLE AS"),
        (create.like.is_some() || create.clone.is_some(), "CREATE TABLE … LIKE"),
        (create.inherits.is_some(), "table inheritance"),
        (create.partition_by.is_some() || create.partition_of.is_some(), "declarative partitioning"),
        (create.on_commit.is_some(), "ON COMMIT"),
        (create.without_rowid || create.strict, "this form of CREATE TABLE"),
    ];
    match unsupported.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None if *create != bare(create) => {
            Err(SqlError::unsupported("a clause of CREATE TABLE that PostgreSQL does not have"))
        }
        None => Ok(()),
    }
}

/// The statement with all that is looked at. The parser knows clauses of many databases: none of them may go unseen.
fn bare(create: &CreateTable) -> CreateTable {
    CreateTableBuilder::new(create.name.clone())
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .constraints(create.constraints.clone())
        .table_options(create.table_options.clone())
        .build()
}

fn serial_type(ty: &DataType) -> Option<PgType> {
    let DataType::Custom(name, modifiers) = ty else { return None };
    if !modifiers.is_empty() {
        return None;
    }
    match name.to_string().to_lowercase().as_str() {
        "serial" | "serial4" => Some(PgType::Int4),
        "bigserial" | "serial8" => Some(PgType::Int8),
        "smallserial" | "serial2" => Some(PgType::Int2),
        _ => None,
    }
}

pub fn is_serial(column: &ast::ColumnDef) -> bool {
    serial_type(&column.data_type).is_some()
        || column.options.iter().any(|o| matches!(o.option, ColumnOption::Generated { .. }))
}

fn draft(
    change: &Change,
    create: &CreateTable,
    first_id: u64,
    schema: String,
    name: String,
) -> Result<Draft, SqlError> {
    if create.columns.len() > MAX_COLUMNS {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("tables can have at most {MAX_COLUMNS} columns"),
        ));
    }
    let primary = IndexDescriptor {
        id: 1,
        name: String::new(),
        columns: vec![],
        unique: true,
        state: IndexState::Public,
        plain: false,
    };
    let table = TableDescriptor {
        id: first_id,
        schema,
        name,
        columns: vec![],
        primary,
        indexes: vec![],
        version: 0,
        next_column_id: 1,
        next_index_id: 2,
        state: TableState::Public,
        checks: vec![],
        closed: false,
    };
    let mut draft = Draft { table, sequences: vec![], primary: None, catalog: change.now().clone() };
    draft.table.primary.name = naming::derived(&draft.catalog, &draft.table, &[], "pkey");
    for column in &create.columns {
        add_column(change, &mut draft, column, first_id)?;
    }
    let mut late = Vec::new();
    for column in &create.columns {
        column_constraints(&mut draft, column, &mut late)?;
    }
    for constraint in &create.constraints {
        table_constraint(&mut draft, constraint, &mut late)?;
    }
    finish_primary(&mut draft)?;
    for (name, expr) in late {
        let check = new_check(change, &draft.table, name, &expr)?;
        draft.table.checks.push(check);
    }
    Ok(draft)
}

fn add_column(
    change: &Change,
    draft: &mut Draft,
    def: &ast::ColumnDef,
    first_id: u64,
) -> Result<(), SqlError> {
    let mut column = plain_column(&change.sql, &draft.table, def)?;
    if is_serial(def) {
        let id = first_id + 1 + draft.sequences.len() as u64;
        let sequence = owned_sequence(draft, &column, id);
        column.default = Some(next_value(&sequence));
        column.sequence = Some(id);
        column.nullable = false;
        draft.sequences.push(sequence);
    }
    for option in &def.options {
        if let ColumnOption::Default(expr) = &option.option {
            column.default = default_text(change, expr, column.ty)?;
        }
    }
    draft.table.next_column_id += 1;
    draft.table.columns.push(column);
    Ok(())
}

/// A column's name, type and nullability.
pub fn plain_column(
    sql: &str,
    table: &TableDescriptor,
    def: &ast::ColumnDef,
) -> Result<ColumnDescriptor, SqlError> {
    let name = fold(&def.name);
    check_name(&name)?;
    if table.columns.iter().any(|c| c.name == name) {
        return Err(SqlError::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column \"{name}\" specified more than once"),
        ));
    }
    if matches!(name.as_str(), "tableoid" | "xmin" | "cmin" | "xmax" | "cmax" | "ctid") {
        return Err(SqlError::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column name \"{name}\" conflicts with a system column name"),
        ));
    }
    let (ty, typmod) = match serial_type(&def.data_type) {
        Some(ty) => (ty, -1),
        // Places in the text are looked for when there is something to tell of them.
        None => bind_type(&def.data_type, None)
            .or_else(|_| bind_type(&def.data_type, Some(&Positions::new(sql))))?,
    };
    if matches!(
        ty,
        PgType::Unknown
            | PgType::Void
            | PgType::Char
            | PgType::Regclass
            | PgType::Regtype
            | PgType::Regproc
            | PgType::Int2vector
            | PgType::Oidvector
            | PgType::Json
    ) {
        return Err(SqlError::unsupported(format!("a column of type {}", ty.sql_name())));
    }
    let defaults = def.options.iter().filter(|o| matches!(o.option, ColumnOption::Default(_))).count();
    if defaults + usize::from(is_serial(def)) > 1 {
        let text =
            format!("multiple default values specified for column \"{name}\" of table \"{}\"", table.name);
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, text));
    }
    let not_null =
        def.options.iter().any(|o| matches!(o.option, ColumnOption::NotNull | ColumnOption::PrimaryKey(_)));
    let null = def.options.iter().any(|o| matches!(o.option, ColumnOption::Null));
    if not_null && null {
        return Err(SqlError::new(
            SqlState::SYNTAX_ERROR,
            format!(
                "conflicting NULL/NOT NULL declarations for column \"{name}\" of table \"{}\"",
                table.name
            ),
        ));
    }
    Ok(ColumnDescriptor {
        id: table.next_column_id,
        name,
        ty,
        nullable: !not_null,
        default: None,
        hidden: false,
        sequence: None,
        missing: None,
        typmod,
        leaving: false,
    })
}

/// The text of a default after it was bound once; `NULL` is no default. Whether it is too long is found when it is used.
pub fn default_text(change: &Change, expr: &Expr, ty: PgType) -> Result<Option<String>, SqlError> {
    bind_constant(change, expr, ty, -1).map_err(no_columns)?;
    let text = expr.to_string();
    Ok((!text.eq_ignore_ascii_case("null")).then_some(text))
}

/// Nothing that a default names as a column is one to it.
fn no_columns(error: SqlError) -> SqlError {
    let qualified =
        error.sqlstate == SqlState::UNDEFINED_TABLE && error.message.starts_with("missing FROM-clause");
    if error.sqlstate != SqlState::UNDEFINED_COLUMN && !qualified {
        return error;
    }
    let refused =
        SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use column reference in DEFAULT expression");
    SqlError { position: error.position, ..refused }
}

pub fn bind_constant(
    change: &Change,
    expr: &Expr,
    ty: PgType,
    typmod: i32,
) -> Result<crate::exec::RowProgram, SqlError> {
    bind_expr_over_table(&bind_context(change)?, None, expr, ty, typmod)
}

fn bind_context(change: &Change) -> Result<BindContext<'_>, SqlError> {
    Ok(BindContext {
        catalog: &change.view()?.names,
        sql: &change.sql,
        engine: &change.ctx.engine,
        zone: change.ctx.session.timezone,
        param_types: &[],
    })
}

fn owned_sequence(draft: &Draft, column: &ColumnDescriptor, id: u64) -> SequenceDescriptor {
    let table = &draft.table;
    let max = match column.ty {
        PgType::Int2 => i64::from(i16::MAX),
        PgType::Int4 => i64::from(i32::MAX),
        _ => i64::MAX,
    };
    SequenceDescriptor {
        id,
        schema: table.schema.clone(),
        name: naming::derived(&draft.catalog, table, &[&column.name], "seq"),
        start: 1,
        increment: 1,
        min: 1,
        max,
        owner: Some((table.id, column.id)),
        cycle: false,
    }
}

fn next_value(sequence: &SequenceDescriptor) -> String {
    let quote = |name: &str| {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
    };
    let name = format!("{}.{}", quote(&sequence.schema), quote(&sequence.name));
    format!("nextval('{}'::text)", name.replace('\'', "''"))
}

type LateChecks = Vec<(Option<String>, Expr)>;

fn column_constraints(
    draft: &mut Draft,
    def: &ast::ColumnDef,
    checks: &mut LateChecks,
) -> Result<(), SqlError> {
    let name = fold(&def.name);
    let id = draft.table.column_named(&name).map_or(0, |c| c.id);
    let this = vec![IndexColumn { column: id, descending: false }];
    for option in &def.options {
        let given = option.name.as_ref().map(fold);
        match &option.option {
            ColumnOption::Null | ColumnOption::NotNull | ColumnOption::Default(_) => {}
            ColumnOption::PrimaryKey(key) => {
                refuse_primary(key)?;
                set_primary(draft, given, this.clone())?;
            }
            ColumnOption::Unique(unique) => {
                refuse_unique(unique)?;
                add_unique(draft, given, this.clone());
            }
            ColumnOption::Check(check) => {
                refuse_unenforced(check)?;
                let table = &draft.table.name;
                checks.push((given.or(Some(format!("{table}_{name}_check"))), (*check.expr).clone()));
            }
            ColumnOption::Generated { generated_as, sequence_options, generation_expr, .. } => {
                if generation_expr.is_some() || !matches!(generated_as, GeneratedAs::ByDefault) {
                    return Err(SqlError::unsupported("this form of a generated column")
                        .hint("GENERATED BY DEFAULT AS IDENTITY and serial are supported."));
                }
                if sequence_options.as_ref().is_some_and(|options| !options.is_empty()) {
                    return Err(SqlError::unsupported("options of an identity column"));
                }
            }
            ColumnOption::ForeignKey(_) => return Err(no_foreign_keys()),
            ColumnOption::Collation(name) => {
                let name = name.to_string().to_lowercase();
                if !matches!(name.trim_matches('"'), "c" | "posix" | "default" | "pg_catalog.default") {
                    return Err(SqlError::unsupported("a collation other than \"C\""));
                }
            }
            other => return Err(SqlError::unsupported(format!("the column option {other}"))),
        }
    }
    Ok(())
}

pub fn no_foreign_keys() -> SqlError {
    SqlError::unsupported("a foreign key").hint("Leave the REFERENCES clause out; nothing would enforce it.")
}

fn table_constraint(
    draft: &mut Draft,
    constraint: &TableConstraint,
    checks: &mut LateChecks,
) -> Result<(), SqlError> {
    match constraint {
        TableConstraint::PrimaryKey(key) => {
            refuse_primary(key)?;
            let columns = index_columns(&draft.table, &key.columns)?;
            set_primary(draft, key.name.as_ref().map(fold), columns)
        }
        TableConstraint::Unique(unique) => {
            refuse_unique(unique)?;
            let columns = index_columns(&draft.table, &unique.columns)?;
            add_unique(draft, unique.name.as_ref().map(fold), columns);
            Ok(())
        }
        TableConstraint::Check(check) => {
            refuse_unenforced(check)?;
            checks.push((check.name.as_ref().map(fold), (*check.expr).clone()));
            Ok(())
        }
        TableConstraint::ForeignKey(_) => Err(no_foreign_keys()),
        other => Err(SqlError::unsupported(format!("the constraint {other}"))),
    }
}

pub fn refuse_primary(key: &ast::PrimaryKeyConstraint) -> Result<(), SqlError> {
    refuse_forms(
        key.characteristics.is_some(),
        key.index_name.is_some() || key.index_type.is_some() || !key.index_options.is_empty(),
    )
}

/// Nulls are never alike in a unique key.
pub fn refuse_unique(unique: &ast::UniqueConstraint) -> Result<(), SqlError> {
    if unique.nulls_distinct == ast::NullsDistinctOption::NotDistinct {
        return Err(SqlError::unsupported("NULLS NOT DISTINCT"));
    }
    refuse_forms(
        unique.characteristics.is_some(),
        unique.index_name.is_some() || unique.index_type.is_some() || !unique.index_options.is_empty(),
    )
}

fn refuse_forms(deferrable: bool, options: bool) -> Result<(), SqlError> {
    match (deferrable, options) {
        (true, _) => Err(SqlError::unsupported("a deferrable constraint")),
        (_, true) => Err(SqlError::unsupported("an option of a key")),
        _ => Ok(()),
    }
}

fn refuse_unenforced(check: &ast::CheckConstraint) -> Result<(), SqlError> {
    if check.enforced == Some(false) { Err(SqlError::unsupported("NOT ENFORCED")) } else { Ok(()) }
}

/// Columns of a key as written: plain names with a direction. Where NULLs stand among them is said by [`nulls_stand_anywhere`].
pub fn index_columns(
    table: &TableDescriptor,
    columns: &[ast::IndexColumn],
) -> Result<Vec<IndexColumn>, SqlError> {
    if columns.len() > 32 {
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, "cannot use more than 32 columns in an index"));
    }
    let mut out: Vec<IndexColumn> = Vec::new();
    for column in columns {
        if column.operator_class.is_some() {
            return Err(SqlError::unsupported("an operator class"));
        }
        let Expr::Identifier(ident) = &column.column.expr else {
            return Err(SqlError::unsupported("an index on an expression"));
        };
        let name = fold(ident);
        let found = table.columns.iter().find(|c| c.name == name && !c.hidden).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" named in key does not exist"),
            )
        })?;
        let options = &column.column.options;
        let descending = options.asc == Some(false);
        if out.iter().any(|c| c.column == found.id) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" appears twice in a key"),
            ));
        }
        out.push(IndexColumn { column: found.id, descending });
    }
    Ok(out)
}

/// Where NULLs stand in an index changes no answer. Keys hold them last, or first when descending: who asks for something else is
/// told.
pub fn nulls_stand_anywhere(change: &mut Change, columns: &[ast::IndexColumn]) {
    for column in columns {
        let options = &column.column.options;
        let descending = options.asc == Some(false);
        if let Some(first) = options.nulls_first.filter(|first| *first != descending) {
            let where_to = if first { "FIRST" } else { "LAST" };
            change.notice(SqlState("00000"), format!("NULLS {where_to} has no effect on an index"));
        }
    }
}

fn set_primary(draft: &mut Draft, name: Option<String>, columns: Vec<IndexColumn>) -> Result<(), SqlError> {
    if draft.primary.is_some() {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{}\" are not allowed", draft.table.name),
        ));
    }
    draft.primary = Some((name, columns));
    Ok(())
}

fn finish_primary(draft: &mut Draft) -> Result<(), SqlError> {
    let table = &mut draft.table;
    match draft.primary.take() {
        Some((name, columns)) => {
            for key in &columns {
                for column in table.columns.iter_mut().filter(|c| c.id == key.column) {
                    column.nullable = false;
                }
            }
            if let Some(name) = name {
                table.primary.name = name;
            }
            table.primary.columns = columns;
        }
        None => {
            let id = table.next_column_id;
            table.next_column_id += 1;
            table.columns.push(row_id_column(table, id));
            table.primary.columns = vec![IndexColumn { column: id, descending: false }];
        }
    }
    Ok(())
}

fn row_id_column(table: &TableDescriptor, id: u32) -> ColumnDescriptor {
    let mut name = ROW_ID.to_string();
    while table.columns.iter().any(|c| c.name == name) {
        name.push('_');
    }
    ColumnDescriptor {
        id,
        name,
        ty: PgType::Int8,
        nullable: false,
        default: None,
        hidden: true,
        sequence: None,
        missing: None,
        typmod: -1,
        leaving: false,
    }
}

fn add_unique(draft: &mut Draft, name: Option<String>, columns: Vec<IndexColumn>) {
    let Draft { table, catalog, .. } = draft;
    let name = name.unwrap_or_else(|| naming::of_index(catalog, table, &columns, "key"));
    let id = table.next_index_id;
    table.next_index_id += 1;
    table.indexes.push(IndexDescriptor {
        id,
        name,
        columns,
        unique: true,
        state: IndexState::Public,
        plain: false,
    });
}

/// A condition over the table's columns, bound once.
pub fn new_check(
    change: &Change,
    table: &TableDescriptor,
    name: Option<String>,
    expr: &Expr,
) -> Result<CheckConstraint, SqlError> {
    let shared = Arc::new(table.clone());
    bind_expr_over_table(&bind_context(change)?, Some(&shared), expr, PgType::Bool, -1)?;
    let base = name.unwrap_or_else(|| match the_only_column(table, expr) {
        Some(column) => format!("{}_{column}_check", table.name),
        None => format!("{}_check", table.name),
    });
    let taken = |name: &str| table.checks.iter().any(|c| c.name == name);
    let mut chosen = base.clone();
    let mut n = 0;
    while taken(&chosen) {
        n += 1;
        chosen = format!("{base}{n}");
    }
    Ok(CheckConstraint { name: chosen, condition: expr.to_string(), leaving: false })
}

/// The column that a condition is about, if it is about one.
fn the_only_column(table: &TableDescriptor, expr: &Expr) -> Option<String> {
    let mut columns = BTreeSet::new();
    let _ = sqlparser::ast::visit_expressions(expr, |e| {
        let named = match e {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(idents) => idents.last(),
            _ => None,
        };
        let known = |name: &String| table.columns.iter().any(|column| column.name == *name);
        columns.extend(named.map(fold).filter(known));
        std::ops::ControlFlow::<()>::Continue(())
    });
    if columns.len() == 1 { columns.pop_first() } else { None }
}

/// `CREATE SCHEMA`.
pub async fn create_schema(change: &mut Change, statement: &Statement) -> Result<Outcome, SqlError> {
    let Statement::CreateSchema { schema_name, if_not_exists, with, options, default_collate_spec, clone } =
        statement
    else {
        return Err(SqlError::internal("not CREATE SCHEMA"));
    };
    if with.is_some() || options.is_some() || default_collate_spec.is_some() || clone.is_some() {
        return Err(SqlError::unsupported("a clause of CREATE SCHEMA that PostgreSQL does not have"));
    }
    let SchemaName::Simple(name) = schema_name else {
        return Err(SqlError::unsupported("CREATE SCHEMA … AUTHORIZATION"));
    };
    let (None, name) = Names::split(name)? else {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "a schema's name has one part"));
    };
    check_name(&name)?;
    if name.starts_with("pg_") {
        return Err(SqlError::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
            .detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    let key = keys::schema(&name);
    let found = store::claim(&change.txn, &key).await?;
    let taken = found.is_some()
        || change.now().has_schema(&name)
        || crate::catalog::virtuals::is_system_schema(&name);
    if taken {
        if *if_not_exists {
            change.notice(SqlState::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists, skipping"));
            return Ok(Outcome::done("CREATE SCHEMA"));
        }
        return Err(SqlError::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists")));
    }
    let shared = change.shared()?;
    let id = allocate_ids(&shared, 1).await?;
    change.txn.put(key, encode_u64(id));
    store::raise_generation(&change.txn).await?;
    change.overlay(|snapshot| {
        snapshot.schemas.insert(name, id);
    });
    Ok(Outcome::done("CREATE SCHEMA"))
}

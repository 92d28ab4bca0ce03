//! `ALTER TABLE`.

use super::{
    AfterCommit, Change, add_column, create_index, create_table, drop, drop_column, naming, rewrite, storage,
};
use crate::{
    catalog::{TableDescriptor, store},
    error::{SqlError, SqlState},
    session::{names::Names, parse::fold, run::Outcome},
};
use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, DropBehavior, RenameTableNameKind, TableConstraint,
};

pub async fn run(change: &mut Change, alter: &AlterTable) -> Result<Outcome, SqlError> {
    let done = Outcome::done("ALTER TABLE");
    if alter.location.is_some() || alter.on_cluster.is_some() || alter.table_type.is_some() {
        return Err(SqlError::unsupported("this form of ALTER TABLE"));
    }
    if alter.if_exists {
        let (schema, name) = Names::split(&alter.name)?;
        if change.view()?.names.object(schema.as_deref(), &name).is_none() {
            change.notice(SqlState("00000"), format!("relation \"{name}\" does not exist, skipping"));
            return Ok(done);
        }
    }
    let [operation] = alter.operations.as_slice() else {
        return Err(
            SqlError::unsupported("ALTER TABLE with several actions").hint("Write one ALTER TABLE for each.")
        );
    };
    let table = change.settled_table(&alter.name).await?;
    let newest = change.lock_table(&table).await?;
    one(change, newest, operation).await?;
    Ok(done)
}

async fn one(
    change: &mut Change,
    table: TableDescriptor,
    operation: &AlterTableOperation,
) -> Result<(), SqlError> {
    match operation {
        AlterTableOperation::AddConstraint { constraint, not_valid: false } => {
            add_constraint(change, table, constraint).await
        }
        AlterTableOperation::AddColumn { if_not_exists, column_def, column_position: None, .. } => {
            add_column::run(change, table, column_def, *if_not_exists).await
        }
        AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior, .. } => {
            let [name] = column_names.as_slice() else {
                return Err(SqlError::unsupported("dropping several columns at once")
                    .hint("Write one ALTER TABLE for each."));
            };
            let cascade = matches!(drop_behavior, Some(DropBehavior::Cascade));
            drop_column::run(change, table, &fold(name), *if_exists, cascade).await
        }
        AlterTableOperation::DropConstraint { if_exists, name, .. } => {
            drop_constraint(change, table, &fold(name), *if_exists).await
        }
        AlterTableOperation::RenameTable { table_name } => {
            let (RenameTableNameKind::As(name) | RenameTableNameKind::To(name)) = table_name;
            rename_table(change, table, Names::split(name)?.1).await
        }
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            rename_column(change, table, &fold(old_column_name), fold(new_column_name)).await
        }
        AlterTableOperation::AlterColumn { column_name, op } => {
            alter_column(change, table, &fold(column_name), op).await
        }
        AlterTableOperation::SetTblProperties { table_properties: options }
        | AlterTableOperation::SetOptionsParens { options } => storage::set(change, options),
        AlterTableOperation::OwnerTo { .. } => {
            Err(SqlError::unsupported("ALTER TABLE … OWNER TO").hint("There are no owners yet."))
        }
        other => Err(SqlError::unsupported(format!("ALTER TABLE … {other}"))),
    }
}

/// A change of the descriptor alone, harmless to those who still use the one before.
pub async fn replace(change: &mut Change, table: TableDescriptor) -> Result<(), SqlError> {
    store::raise_generation(&change.txn).await?;
    change.put_table(table);
    change.after_commit.push(AfterCommit::Settle);
    Ok(())
}

async fn add_constraint(
    change: &mut Change,
    table: TableDescriptor,
    constraint: &TableConstraint,
) -> Result<(), SqlError> {
    match constraint {
        TableConstraint::PrimaryKey(key) => {
            create_table::refuse_primary(key)?;
            let columns = create_table::index_columns(&table, &key.columns)?;
            add_primary_key(change, table, key.name.as_ref().map(fold), columns).await
        }
        TableConstraint::Unique(unique) => {
            create_table::refuse_unique(unique)?;
            let columns = create_table::index_columns(&table, &unique.columns)?;
            let name = match &unique.name {
                Some(name) => fold(name),
                None => naming::of_index(change.now(), &table, &columns, "key"),
            };
            create_index::add(change, table, name, columns, create_index::Kind::Constraint).await
        }
        TableConstraint::ForeignKey(_) => Err(create_table::no_foreign_keys()),
        TableConstraint::Check(_) => {
            Err(SqlError::unsupported("adding a CHECK to a table that exists")
                .hint("Give it in CREATE TABLE."))
        }
        other => Err(SqlError::unsupported(format!("the constraint {other}"))),
    }
}

async fn add_primary_key(
    change: &mut Change,
    table: TableDescriptor,
    name: Option<String>,
    columns: Vec<crate::catalog::IndexColumn>,
) -> Result<(), SqlError> {
    if table.has_declared_key() {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{}\" are not allowed", table.name),
        ));
    }
    change.alone("ALTER TABLE … ADD PRIMARY KEY")?;
    let mut target = rewrite::with_new_indexes(&table);
    target.primary.name = name.unwrap_or_else(|| naming::derived(change.now(), &table, &[], "pkey"));
    if store::is_name_taken(&change.txn, &target.schema, &target.primary.name).await? {
        return Err(store::name_taken(&target.primary.name));
    }
    let row_id = table.primary.columns.first().map(|c| c.column);
    target.columns.retain(|column| !column.hidden || Some(column.id) != row_id);
    for key in &columns {
        for column in target.columns.iter_mut().filter(|c| c.id == key.column) {
            column.nullable = false;
        }
    }
    target.primary.columns = columns;
    rewrite::start(change, table, target, false).await
}

async fn drop_constraint(
    change: &mut Change,
    mut table: TableDescriptor,
    name: &str,
    if_exists: bool,
) -> Result<(), SqlError> {
    if let Some(at) = table.checks.iter().position(|check| check.name == name) {
        table.checks.remove(at);
        return replace(change, table).await;
    }
    if let Some(index) = table.indexes.iter().find(|i| i.name == name && i.is_constraint()).map(|i| i.id) {
        return drop::remove_index(change, &table, index).await;
    }
    if table.has_declared_key() && table.primary.name == name {
        return Err(SqlError::unsupported("dropping a primary key"));
    }
    if if_exists {
        change.notice(
            SqlState("00000"),
            format!("constraint \"{name}\" of relation \"{}\" does not exist, skipping", table.name),
        );
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name),
    ))
}

async fn rename_table(change: &mut Change, mut table: TableDescriptor, name: String) -> Result<(), SqlError> {
    create_table::check_name(&name)?;
    store::take_name(&change.txn, &table.schema, &name, table.id).await?;
    store::free_name(&change.txn, &table.schema, &table.name).await?;
    table.name = name;
    replace(change, table).await
}

async fn rename_column(
    change: &mut Change,
    mut table: TableDescriptor,
    old: &str,
    new: String,
) -> Result<(), SqlError> {
    create_table::check_name(&new)?;
    if table.column_named(&new).is_some() {
        return Err(SqlError::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column \"{new}\" of relation \"{}\" already exists", table.name),
        ));
    }
    if !table.checks.is_empty() {
        return Err(SqlError::unsupported("renaming a column of a table with CHECK constraints"));
    }
    visible(&mut table, old)?.name = new;
    replace(change, table).await
}

fn visible<'a>(
    table: &'a mut TableDescriptor,
    name: &str,
) -> Result<&'a mut crate::catalog::ColumnDescriptor, SqlError> {
    let relation = table.name.clone();
    table.columns.iter_mut().find(|c| c.name == name && !c.hidden).ok_or_else(|| {
        SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{name}\" of relation \"{relation}\" does not exist"),
        )
    })
}

async fn alter_column(
    change: &mut Change,
    mut table: TableDescriptor,
    name: &str,
    operation: &AlterColumnOperation,
) -> Result<(), SqlError> {
    let primary = table.column_named(name).is_some_and(|c| table.is_primary_key(c.id));
    let column = visible(&mut table, name)?;
    match operation {
        AlterColumnOperation::SetDefault { value } => {
            column.default = create_table::default_text(change, value, column.ty)?;
        }
        AlterColumnOperation::DropDefault => column.default = None,
        AlterColumnOperation::DropNotNull if primary => {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("column \"{name}\" is in a primary key"),
            ));
        }
        AlterColumnOperation::DropNotNull => column.nullable = true,
        other => return Err(SqlError::unsupported(format!("ALTER COLUMN … {other}"))),
    }
    replace(change, table).await
}

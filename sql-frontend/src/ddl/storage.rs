//! Storage parameters and tablespaces: those of PostgreSQL are accepted and have no effect, others are refused.

use super::Change;
use crate::error::{SqlError, SqlState};
use crate::session::parse::fold;
use sqlparser::ast::{CreateTableOptions, Expr, SqlOption, Value};

/// Of tables, but for those that begin with `autovacuum_`.
const OF_TABLES: [&str; 6] = [
    "fillfactor",
    "parallel_workers",
    "toast_tuple_target",
    "user_catalog_table",
    "vacuum_index_cleanup",
    "vacuum_truncate",
];

/// Of B-trees.
const OF_INDEXES: [&str; 2] = ["deduplicate_items", "fillfactor"];

/// The options behind `CREATE TABLE`.
pub fn of_table(change: &mut Change, options: &CreateTableOptions) -> Result<(), SqlError> {
    match options {
        CreateTableOptions::None => Ok(()),
        CreateTableOptions::With(options)
        | CreateTableOptions::Options(options)
        | CreateTableOptions::Plain(options)
        | CreateTableOptions::TableProperties(options) => options.iter().try_for_each(|o| one(change, o)),
    }
}

/// `ALTER TABLE … SET (…)`.
pub fn set(change: &mut Change, options: &[SqlOption]) -> Result<(), SqlError> {
    options.iter().try_for_each(|option| one(change, option))
}

/// 22023 for what no B-tree has.
pub fn of_index(options: &[Expr]) -> Result<(), SqlError> {
    for option in options {
        let name = match option {
            Expr::BinaryOp { left, .. } => left,
            name => name,
        };
        match name {
            Expr::Identifier(name) if OF_INDEXES.contains(&fold(name).as_str()) => {}
            Expr::Identifier(name) => return Err(unrecognized(&fold(name))),
            other => return Err(unrecognized(&other.to_string())),
        }
    }
    Ok(())
}

fn one(change: &mut Change, option: &SqlOption) -> Result<(), SqlError> {
    let (name, value) = match option {
        SqlOption::KeyValue { key, value } => (fold(key), Some(value)),
        SqlOption::Ident(name) => (fold(name), None),
        SqlOption::TableSpace(space) => return tablespace(&space.name),
        other => return Err(SqlError::unsupported(format!("the option {other}"))),
    };
    match name.as_str() {
        // Which is how all tables are.
        "oids" if value.is_some_and(is_false) => return Ok(()),
        "oids" => {
            let text = "tables declared WITH OIDS are not supported";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, text));
        }
        name if OF_TABLES.contains(&name) || name.starts_with("autovacuum_") => {}
        name => return Err(unrecognized(name)),
    }
    change.notice(SqlState("00000"), format!("storage parameter \"{name}\" has no effect"));
    Ok(())
}

/// There is the one in which all is.
fn tablespace(name: &str) -> Result<(), SqlError> {
    if name.eq_ignore_ascii_case("pg_default") {
        return Ok(());
    }
    let text = format!("tablespace \"{}\" does not exist", name.to_lowercase());
    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, text))
}

fn is_false(value: &Expr) -> bool {
    match value {
        Expr::Value(value) => value.value == Value::Boolean(false),
        Expr::Identifier(word) => matches!(fold(word).as_str(), "off" | "false"),
        _ => false,
    }
}

fn unrecognized(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized parameter \"{name}\""))
}

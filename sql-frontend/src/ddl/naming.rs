//! Names of what is made without one, as PostgreSQL makes them: after the table and the columns, with a number where a
//! relation has that name already.

use crate::catalog::{IndexColumn, Snapshot, TableDescriptor};

/// Bytes that a name may have.
pub const MAX_NAME: usize = 63;
/// Bytes left for a number.
const ROOM: usize = 3;

/// `table_columns_suffix`. The suffix is that of the kind: `pkey`, `key`, `idx`, `seq`. The catalog need not know the table yet.
pub fn derived(catalog: &Snapshot, table: &TableDescriptor, columns: &[&str], suffix: &str) -> String {
    let mut base = table.name.clone();
    for column in columns {
        base.push('_');
        base.push_str(column);
    }
    base.truncate(base.floor_char_boundary(MAX_NAME - ROOM - 1 - suffix.len()));
    let plain = format!("{base}_{suffix}");
    let taken = |name: &str| {
        table.primary.name == name
            || table.index_named(name).is_some()
            || catalog.object(&table.schema, name).is_some()
    };
    let mut name = plain.clone();
    for number in 1u32.. {
        if !taken(&name) {
            break;
        }
        name = format!("{plain}{number}");
    }
    name
}

/// Of an index over these columns.
pub fn of_index(
    catalog: &Snapshot,
    table: &TableDescriptor,
    columns: &[IndexColumn],
    suffix: &str,
) -> String {
    let names: Vec<&str> = columns
        .iter()
        .filter_map(|key| table.column(key.column))
        .map(|column| column.name.as_str())
        .collect();
    derived(catalog, table, &names, suffix)
}

//! Keys in the details of errors, as a user knows them: index, table, and values in place of bytes.

use super::{Session, errors::KEY};
use crate::{
    catalog::TableDescriptor,
    error::SqlError,
    row::{column_from_key, key::split_prefix},
    types::TimeZone,
};

impl Session {
    /// Puts names and values in the place of ids and bytes, as far as the catalog knows them.
    pub(super) fn named(&self, mut error: SqlError) -> SqlError {
        if let Some(detail) = &error.detail
            && let Some((before, rest)) = detail.split_once(KEY)
        {
            let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
            error.detail = Some(format!("{before}{}{}", self.shown(&rest[..end]), &rest[end..]));
        }
        error
    }

    fn shown(&self, digits: &str) -> String {
        let whole = || format!("Key {digits}");
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let Some(key) = digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>() else {
            return whole();
        };
        let Some((table, index, rest)) = split_prefix(&key) else { return whole() };
        let snapshot = match &self.tx {
            super::tx::Tx::Open(open) => open.overlay.clone(),
            super::tx::Tx::Idle => None,
        };
        let snapshot = snapshot.unwrap_or_else(|| self.shared.catalog.current());
        match snapshot.tables.get(&table) {
            Some(table) => in_table(table, index, rest),
            None => format!("Key {} of index {index} of table {table}", rest.escape_ascii()),
        }
    }
}

/// `Key (a, b)=(1, x) of index "i" of table t`.
fn in_table(table: &TableDescriptor, index: u32, mut rest: &[u8]) -> String {
    let found = std::iter::once(&table.primary).chain(&table.indexes).find(|i| i.id == index);
    let Some(index) = found else { return format!("A key of table {}", table.qualified_name()) };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for part in &index.columns {
        let Some(column) = table.column(part.column) else { break };
        let Ok(value) = column_from_key(&mut rest, column.ty, part.descending) else { break };
        if column.hidden {
            continue;
        }
        names.push(column.name.as_str());
        values.push(if value.is_null() { "null".into() } else { value.to_text(column.ty, &TimeZone::UTC) });
    }
    let place = format!("index \"{}\" of table {}", index.name, table.qualified_name());
    if names.is_empty() {
        return format!("A key of {place}");
    }
    format!("Key ({})=({}) of {place}", names.join(", "), values.join(", "))
}

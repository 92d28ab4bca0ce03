//! Keys in the details of errors, as a user knows them: index, table, and values in place of bytes. And what the sessions run
//! that an error speaks of.

use super::{
    Session,
    errors::{KEY, LOCK, ROW, session_of},
    parse::lower_first,
    under_way::beginning,
};
use crate::{
    advisory::keys::LockId,
    catalog::TableDescriptor,
    error::SqlError,
    row::{column_from_key, key::split_prefix},
    types::TimeZone,
};
use std::sync::Arc;

impl Session {
    /// Puts names and values in the place of ids and bytes, as far as the catalog knows them, and adds what the sessions run that
    /// this gateway knows.
    pub(super) fn named(&self, mut error: SqlError) -> SqlError {
        if error.message.contains(ROW) {
            error.message = self.spelled(&error.message);
        }
        let Some(detail) = &error.detail else { return error };
        let mut detail = self.spelled(detail);
        let sessions = error.fields.as_mut().map(|fields| std::mem::take(&mut fields.sessions));
        for pid in sessions.unwrap_or_default() {
            if let Some(query) = self.shared.sessions.query(pid) {
                let line = session_of(pid).replacen('s', "S", 1);
                detail.push_str(&format!("\n{line} runs: {}", beginning(&query)));
            }
        }
        error.detail = Some(detail);
        error
    }

    fn spelled(&self, detail: &str) -> String {
        let (mut text, mut rest) = (String::new(), detail);
        while let Some((before, marked)) = rest.split_once(&KEY[..1]) {
            let digits = marked.split_once(':').map_or("", |(_, behind)| behind);
            let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            text.push_str(before);
            let (key, mark) = (bytes(&digits[..end]), &KEY[..1]);
            text.push_str(&match marked.starts_with(&ROW[mark.len()..]) {
                true => self.relation(&key),
                false => self.shown(&digits[..end], &key, !marked.starts_with(&LOCK[mark.len()..])),
            });
            rest = &digits[end..];
        }
        text + rest
    }

    /// At the beginning of a sentence, or the lock of the key within one.
    fn shown(&self, digits: &str, key: &[u8], begins: bool) -> String {
        if let Some(lock) = LockId::of_key(key) {
            return if begins { format!("Advisory lock {lock}") } else { format!("advisory lock {lock}") };
        }
        let key = match split_prefix(key) {
            Some((table, index, rest)) => self.in_table(table, index, rest),
            None => format!("Key {digits}"),
        };
        if begins { key } else { format!("the lock on {}", lower_first(&key)) }
    }

    /// As PostgreSQL ends the message about a row, as far as the catalog knows its table.
    fn relation(&self, key: &[u8]) -> String {
        let table = split_prefix(key).and_then(|(table, ..)| self.table(table));
        table.map_or(String::new(), |table| format!(" in relation \"{}\"", table.name))
    }

    fn table(&self, id: u64) -> Option<Arc<TableDescriptor>> {
        let snapshot = match &self.tx {
            super::tx::Tx::Open(open) => open.overlay.clone(),
            super::tx::Tx::Idle => None,
        };
        let snapshot = snapshot.unwrap_or_else(|| self.shared.catalog.current());
        snapshot.tables.get(&id).cloned()
    }

    fn in_table(&self, table: u64, index: u32, rest: &[u8]) -> String {
        match self.table(table) {
            Some(table) => in_table(&table, index, rest),
            None => format!("Key {} of index {index} of table {table}", rest.escape_ascii()),
        }
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>().unwrap_or_default()
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

//! Keys in the details of errors, as a user knows them: index, table, and values in place of bytes. And what the sessions run
//! that an error speaks of.

use super::{
    Session,
    errors::{KEY, LOCK, session_of},
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

impl Session {
    /// Puts names and values in the place of ids and bytes, as far as the catalog knows them, and adds what the sessions run that
    /// this gateway knows.
    pub(super) fn named(&self, mut error: SqlError) -> SqlError {
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
            text.push_str(&self.shown(&digits[..end], !marked.starts_with(&LOCK[1..])));
            rest = &digits[end..];
        }
        text + rest
    }

    /// At the beginning of a sentence, or the lock of the key within one.
    fn shown(&self, digits: &str, begins: bool) -> String {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let key = digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>().unwrap_or_default();
        if let Some(lock) = LockId::of_key(&key) {
            return if begins { format!("Advisory lock {lock}") } else { format!("advisory lock {lock}") };
        }
        let key = match split_prefix(&key) {
            Some((table, index, rest)) => self.in_table(table, index, rest),
            None => format!("Key {digits}"),
        };
        if begins { key } else { format!("the lock on {}", lower_first(&key)) }
    }

    fn in_table(&self, table: u64, index: u32, rest: &[u8]) -> String {
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

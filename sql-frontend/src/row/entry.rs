//! Whole rows and index entries.

use super::{
    key::{self, column_from_key, column_to_key, index_prefix, is_exact_in_key, malformed, skip_column},
    value,
};
use crate::{
    catalog::{IndexColumn, IndexDescriptor, TableDescriptor},
    error::SqlError,
    types::{Datum, PgType},
};
use quorate_proto::{Key, Value};

/// One entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    pub key: Key,
    pub value: Value,
    /// Another row with the same key breaks the index's uniqueness.
    pub exclusive: bool,
}

/// The key of a row under its table's primary index. A NULL among its columns is 23502's business, not this one's.
pub fn primary_key(table: &TableDescriptor, row: &[Datum]) -> Result<Key, SqlError> {
    let mut out = index_prefix(table.id, table.primary.id);
    put_columns(&mut out, table, &table.primary.columns, row)?;
    Ok(out.into())
}

/// The key and value of a row.
pub fn encode_row(table: &TableDescriptor, row: &[Datum]) -> Result<(Key, Value), SqlError> {
    Ok((primary_key(table, row)?, row_value(table, row)))
}

/// All columns that the primary key does not already hold exactly.
pub fn row_value(table: &TableDescriptor, row: &[Datum]) -> Value {
    let mut out = Vec::with_capacity(16 + table.columns.len() * 8);
    out.push(value::FORMAT);
    for (column, datum) in table.columns.iter().zip(row) {
        if !(table.is_primary_key(column.id) && is_exact_in_key(column.ty)) {
            value::put_column(&mut out, column.id, datum, column.missing.is_some());
        }
    }
    out.into()
}

/// The entry of a row in a secondary index.
pub fn index_entry(
    table: &TableDescriptor,
    index: &IndexDescriptor,
    row: &[Datum],
) -> Result<IndexEntry, SqlError> {
    let mut key = index_prefix(table.id, index.id);
    put_columns(&mut key, table, &index.columns, row)?;
    let mut null = false;
    for column in &index.columns {
        null |= datum_of(table, column.column, row)?.is_null();
    }
    if index.unique && !null {
        let mut pk = Vec::with_capacity(32);
        put_columns(&mut pk, table, &table.primary.columns, row)?;
        return Ok(IndexEntry { key: key.into(), value: pk.into(), exclusive: true });
    }
    put_columns(&mut key, table, &table.primary.columns, row)?;
    Ok(IndexEntry { key: key.into(), value: Value::default(), exclusive: false })
}

/// The key of the row that an index entry points to.
pub fn row_key_of_entry(
    table: &TableDescriptor,
    index: &IndexDescriptor,
    entry_key: &[u8],
    entry_value: &[u8],
) -> Result<Key, SqlError> {
    let mut out = index_prefix(table.id, table.primary.id);
    if !entry_value.is_empty() {
        out.extend_from_slice(entry_value);
        return Ok(out.into());
    }
    let mut rest = entry_key.get(key::PREFIX_LENGTH..).ok_or_else(|| malformed("index key cut short"))?;
    for column in &index.columns {
        skip_column(&mut rest, type_of(table, column.column)?, column.descending)?;
    }
    out.extend_from_slice(rest);
    Ok(out.into())
}

fn put_columns(
    out: &mut Vec<u8>,
    table: &TableDescriptor,
    columns: &[IndexColumn],
    row: &[Datum],
) -> Result<(), SqlError> {
    for column in columns {
        let datum = datum_of(table, column.column, row)?;
        column_to_key(out, type_of(table, column.column)?, datum, column.descending)?;
    }
    Ok(())
}

fn datum_of<'a>(table: &TableDescriptor, column: u32, row: &'a [Datum]) -> Result<&'a Datum, SqlError> {
    table.position(column).and_then(|at| row.get(at)).ok_or_else(|| malformed("row without a key column"))
}

fn type_of(table: &TableDescriptor, column: u32) -> Result<PgType, SqlError> {
    table.column(column).map(|c| c.ty).ok_or_else(|| malformed("index over an unknown column"))
}

/// Where a wanted column goes.
#[derive(Clone, Debug)]
struct Wanted {
    column: u32,
    ty: PgType,
    /// Position in the output.
    at: usize,
    missing: Datum,
}

/// Reads some columns of the entries of one index; built once for many entries.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    /// Key columns: type, direction, and where to put it if wanted. The primary key's columns follow an index's own.
    key: Vec<(PgType, bool, Option<usize>)>,
    /// Key columns of the row to be read from the value of a unique entry.
    pk: Vec<(PgType, bool, Option<usize>)>,
    /// Sorted by column id.
    value: Vec<Wanted>,
    width: usize,
    primary: bool,
}

impl RowDecoder {
    /// For rows: `wanted` are positions in `table.columns`, in output order.
    pub fn for_rows(table: &TableDescriptor, wanted: &[usize]) -> Result<RowDecoder, SqlError> {
        let place = |column: u32| wanted.iter().position(|&w| table.columns[w].id == column);
        let mut key = Vec::new();
        for column in &table.primary.columns {
            let ty = type_of(table, column.column)?;
            let at = place(column.column).filter(|_| is_exact_in_key(ty));
            key.push((ty, column.descending, at));
        }
        let mut value = Vec::new();
        for (at, &position) in wanted.iter().enumerate() {
            let column = &table.columns[position];
            // A column asked for twice is copied by the caller; here each goes to its first place.
            if (table.is_primary_key(column.id) && is_exact_in_key(column.ty)) || place(column.id) != Some(at)
            {
                continue;
            }
            let missing = match &column.missing {
                Some(raw) => value::decode_missing(raw, column.ty)?,
                None => Datum::Null,
            };
            value.push(Wanted { column: column.id, ty: column.ty, at, missing });
        }
        value.sort_by_key(|w: &Wanted| w.column);
        Ok(RowDecoder { key, pk: Vec::new(), value, width: wanted.len(), primary: true })
    }

    /// For entries of a secondary index, if it holds all the wanted columns exactly; else `None`, and the row must be read.
    pub fn for_index(
        table: &TableDescriptor,
        index: &IndexDescriptor,
        wanted: &[usize],
    ) -> Result<Option<RowDecoder>, SqlError> {
        let place = |column: u32| wanted.iter().position(|&w| table.columns[w].id == column);
        let covered = wanted.iter().all(|&w| {
            let column = &table.columns[w];
            is_exact_in_key(column.ty)
                && (table.is_primary_key(column.id) || index.columns.iter().any(|c| c.column == column.id))
        });
        if !covered {
            return Ok(None);
        }
        let mut key = Vec::new();
        for column in &index.columns {
            key.push((type_of(table, column.column)?, column.descending, place(column.column)));
        }
        let mut pk = Vec::new();
        for column in &table.primary.columns {
            pk.push((type_of(table, column.column)?, column.descending, place(column.column)));
        }
        Ok(Some(RowDecoder { key, pk, value: Vec::new(), width: wanted.len(), primary: false }))
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Reads one entry into `out`, which is cleared first.
    pub fn decode(&self, key: &[u8], value: &[u8], out: &mut Vec<Datum>) -> Result<(), SqlError> {
        out.clear();
        out.resize(self.width, Datum::Null);
        let mut rest = key.get(key::PREFIX_LENGTH..).ok_or_else(|| malformed("row key cut short"))?;
        take_key_columns(&mut rest, &self.key, out)?;
        if !self.primary {
            let mut pk = if value.is_empty() { rest } else { value };
            return take_key_columns(&mut pk, &self.pk, out);
        }
        for wanted in &self.value {
            if !wanted.missing.is_null() {
                out[wanted.at] = wanted.missing.clone();
            }
        }
        self.decode_value(value, out)
    }

    fn decode_value(&self, value: &[u8], out: &mut [Datum]) -> Result<(), SqlError> {
        let (&format, mut rest) = value.split_first().ok_or_else(|| malformed("empty row value"))?;
        if format != value::FORMAT {
            return Err(malformed("unknown format of a row value"));
        }
        let mut left = self.value.len();
        while left > 0 {
            let Some(raw) = value::next_column(&mut rest)? else { break };
            if let Ok(i) = self.value.binary_search_by_key(&raw.column, |w| w.column) {
                out[self.value[i].at] = raw.read(self.value[i].ty)?;
                left -= 1;
            }
        }
        Ok(())
    }
}

fn take_key_columns(
    rest: &mut &[u8],
    columns: &[(PgType, bool, Option<usize>)],
    out: &mut [Datum],
) -> Result<(), SqlError> {
    for &(ty, descending, at) in columns {
        match at {
            Some(at) => out[at] = column_from_key(rest, ty, descending)?,
            None => skip_column(rest, ty, descending)?,
        }
    }
    Ok(())
}

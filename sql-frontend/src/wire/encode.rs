//! Values as data rows.

use super::backend;
use crate::types::{Datum, PgType, TimeZone};
use bytes::{BufMut, BytesMut};

/// How a result's columns are written.
pub struct RowFormat<'a> {
    pub types: &'a [PgType],
    /// None: all text; one: for all; else one each.
    pub formats: &'a [i16],
    pub zone: &'a TimeZone,
    /// The name of a relation by its OID, as a regclass is written.
    pub relation: &'a (dyn Fn(u32) -> String + Sync),
}

impl RowFormat<'_> {
    pub fn code(&self, column: usize) -> i16 {
        format_of(self.formats, column)
    }
}

/// The format code of a column or parameter among `formats`.
pub fn format_of(formats: &[i16], column: usize) -> i16 {
    match formats {
        [] => 0,
        [all] => *all,
        each => each.get(column).copied().unwrap_or(0),
    }
}

/// Buffers that rows are put together in, kept from row to row.
#[derive(Default)]
pub struct Scratch {
    pub text: String,
    pub binary: Vec<u8>,
}

impl Scratch {
    pub fn clear(&mut self) {
        self.text.clear();
        self.binary.clear();
    }

    /// What was written since, whichever buffer it went to.
    pub fn written(&self) -> &[u8] {
        if self.binary.is_empty() { self.text.as_bytes() } else { &self.binary }
    }
}

/// Appends one data row.
pub fn put_row(out: &mut BytesMut, row: &[Datum], format: &RowFormat<'_>, scratch: &mut Scratch) {
    backend::data_row(out, row.len(), |out| {
        for (i, datum) in row.iter().enumerate() {
            if datum.is_null() {
                backend::null(out);
            } else if format.code(i) == 1 {
                scratch.binary.clear();
                datum.write_binary(format.types[i], &mut scratch.binary);
                out.put_u32(scratch.binary.len() as u32);
                out.put_slice(&scratch.binary);
            } else {
                scratch.text.clear();
                match (format.types[i], datum) {
                    (PgType::Regclass, Datum::Oid(oid)) => scratch.text.push_str(&(format.relation)(*oid)),
                    (ty, datum) => datum.write_text(ty, format.zone, &mut scratch.text),
                }
                out.put_u32(scratch.text.len() as u32);
                out.put_slice(scratch.text.as_bytes());
            }
        }
    });
}

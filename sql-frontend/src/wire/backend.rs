//! What the server says: messages appended to one growing buffer, which the connection writes out.

use crate::error::SqlError;
use bytes::{BufMut, BytesMut};

/// Transaction status in `ReadyForQuery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Idle,
    InTransaction,
    Failed,
}

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// OID of the table the column comes from, and its number there; 0 when it is computed.
    pub table: u32,
    pub column: i16,
    pub type_oid: u32,
    pub type_size: i16,
    pub typmod: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    /// The connection closes after it.
    Fatal,
    Warning,
    Notice,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
        }
    }
}

/// Appends one message of type `kind`; its length is filled in afterwards.
pub fn message(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let at = out.len();
    out.put_u32(0);
    body(out);
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A NUL inside would end the text early for the client, so it is left out.
pub fn put_cstring(out: &mut BytesMut, text: &str) {
    if text.as_bytes().contains(&0) {
        out.extend(text.bytes().filter(|&b| b != 0));
    } else {
        out.put_slice(text.as_bytes());
    }
    out.put_u8(0);
}

pub fn authentication_ok(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_u32(0));
}

pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        put_cstring(out, name);
        put_cstring(out, value);
    });
}

pub fn backend_key_data(out: &mut BytesMut, pid: u32, secret: u32) {
    message(out, b'K', |out| {
        out.put_u32(pid);
        out.put_u32(secret);
    });
}

/// The newest minor version that we speak, and the protocol options that we do not know.
pub fn negotiate_protocol(out: &mut BytesMut, minor: u32, unknown: &[&str]) {
    message(out, b'v', |out| {
        out.put_u32((3 << 16) | minor);
        out.put_u32(unknown.len() as u32);
        for name in unknown {
            put_cstring(out, name);
        }
    });
}

pub fn ready_for_query(out: &mut BytesMut, status: Status) {
    message(out, b'Z', |out| {
        out.put_u8(match status {
            Status::Idle => b'I',
            Status::InTransaction => b'T',
            Status::Failed => b'E',
        })
    });
}

pub fn parse_complete(out: &mut BytesMut) {
    message(out, b'1', |_| ());
}

pub fn bind_complete(out: &mut BytesMut) {
    message(out, b'2', |_| ());
}

pub fn close_complete(out: &mut BytesMut) {
    message(out, b'3', |_| ());
}

pub fn portal_suspended(out: &mut BytesMut) {
    message(out, b's', |_| ());
}

pub fn no_data(out: &mut BytesMut) {
    message(out, b'n', |_| ());
}

pub fn empty_query(out: &mut BytesMut) {
    message(out, b'I', |_| ());
}

pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| put_cstring(out, tag));
}

pub fn parameter_description(out: &mut BytesMut, oids: &[u32]) {
    message(out, b't', |out| {
        out.put_u16(oids.len() as u16);
        for &oid in oids {
            out.put_u32(oid);
        }
    });
}

/// `format(i)` is the format code of column i.
pub fn row_description(out: &mut BytesMut, fields: &[Field], format: impl Fn(usize) -> i16) {
    message(out, b'T', |out| {
        out.put_u16(fields.len() as u16);
        for (i, field) in fields.iter().enumerate() {
            put_cstring(out, &field.name);
            out.put_u32(field.table);
            out.put_i16(field.column);
            out.put_u32(field.type_oid);
            out.put_i16(field.type_size);
            out.put_i32(field.typmod);
            out.put_i16(format(i));
        }
    });
}

/// `columns` writes each value with its length before it (-1 for NULL); see [`value`].
pub fn data_row(out: &mut BytesMut, count: usize, columns: impl FnOnce(&mut BytesMut)) {
    message(out, b'D', |out| {
        out.put_u16(count as u16);
        columns(out);
    });
}

/// One value of a data row, written by `body`, with its length before it.
pub fn value<E>(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut) -> Result<(), E>) -> Result<(), E> {
    let at = out.len();
    out.put_u32(0);
    body(out)?;
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

pub fn null(out: &mut BytesMut) {
    out.put_i32(-1);
}

pub fn copy_in_response(out: &mut BytesMut, columns: usize) {
    copy_response(out, b'G', columns);
}

pub fn copy_out_response(out: &mut BytesMut, columns: usize) {
    copy_response(out, b'H', columns);
}

/// Text format throughout; binary COPY is refused before it comes to this.
fn copy_response(out: &mut BytesMut, kind: u8, columns: usize) {
    message(out, kind, |out| {
        out.put_u8(0);
        out.put_u16(columns as u16);
        for _ in 0..columns {
            out.put_u16(0);
        }
    });
}

pub fn copy_data(out: &mut BytesMut, data: &[u8]) {
    message(out, b'd', |out| out.put_slice(data));
}

pub fn copy_done(out: &mut BytesMut) {
    message(out, b'c', |_| ());
}

pub fn error(out: &mut BytesMut, severity: Severity, error: &SqlError) {
    let kind = if matches!(severity, Severity::Error | Severity::Fatal) { b'E' } else { b'N' };
    message(out, kind, |out| {
        let mut field = |code: u8, text: &str| {
            out.put_u8(code);
            put_cstring(out, text);
        };
        field(b'S', severity.name());
        field(b'V', severity.name());
        field(b'C', error.sqlstate.0);
        field(b'M', &error.message);
        if let Some(detail) = &error.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &error.hint {
            field(b'H', hint);
        }
        if let Some(position) = error.position {
            field(b'P', &position.to_string());
        }
        if let Some(names) = &error.fields {
            let named = [
                (b'W', &names.context),
                (b's', &names.schema),
                (b't', &names.table),
                (b'c', &names.column),
                (b'd', &names.data_type),
                (b'n', &names.constraint),
            ];
            for (code, name) in named {
                if let Some(name) = name {
                    field(code, name);
                }
            }
        }
        out.put_u8(0);
    });
}

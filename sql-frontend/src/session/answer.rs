//! Answers that were kept, given again: in the form that is asked for now.

use super::outcome::Answer;
use crate::{
    error::SqlError,
    types::{Datum, PgType, TimeZone},
    wire::encode::{RowFormat, Scratch, format_of, put_row},
};
use bytes::{Buf, BytesMut};

/// The form of a statement's rows.
pub struct Form<'a> {
    pub types: &'a [PgType],
    /// As a Bind message says it.
    pub formats: &'a [i16],
}

impl Form<'_> {
    /// Appends the answer's messages.
    ///
    /// # Errors
    /// A value cannot be brought into the form: it is the name of a relation that has gone, for instance.
    pub fn put(&self, answer: &Answer, out: &mut BytesMut) -> Result<(), SqlError> {
        let columns = 0..self.types.len();
        if columns.clone().all(|c| format_of(&answer.formats, c) == format_of(self.formats, c)) {
            out.extend_from_slice(&answer.rows);
            return Ok(());
        }
        let relation = |oid: u32| oid.to_string();
        let format =
            RowFormat { types: self.types, formats: self.formats, zone: &TimeZone::UTC, relation: &relation };
        let (mut rest, mut scratch) = (&answer.rows[..], Scratch::default());
        while let Some((kind, body)) = message(&mut rest)? {
            if kind == b'D' {
                let row = self.read(body, &answer.formats)?;
                put_row(out, &row, &format, &mut scratch);
            } else {
                crate::wire::backend::message(out, kind, |out| out.extend_from_slice(body));
            }
        }
        Ok(())
    }

    fn read(&self, mut body: &[u8], formats: &[i16]) -> Result<Vec<Datum>, SqlError> {
        let count = usize::from(body.try_get_u16().map_err(cut)?);
        let types = self.types.iter().enumerate().take(count);
        types
            .map(|(column, ty)| match body.try_get_i32().map_err(cut)? {
                length if length < 0 => Ok(Datum::Null),
                length => {
                    let bytes = body.split_off(..length as usize).ok_or_else(|| cut("a value"))?;
                    datum(*ty, bytes, format_of(formats, column))
                }
            })
            .collect()
    }
}

fn datum(ty: PgType, bytes: &[u8], format: i16) -> Result<Datum, SqlError> {
    if format == 1 {
        return Datum::from_binary(ty, bytes, -1);
    }
    let text = std::str::from_utf8(bytes).map_err(cut)?;
    Datum::from_text(ty, text, -1, &TimeZone::UTC)
}

/// The next message of the protocol, by its kind and its body.
fn message<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, SqlError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let kind = rest.get_u8();
    let length = (rest.try_get_u32().map_err(cut)? as usize).saturating_sub(4);
    let body = rest.split_off(..length).ok_or_else(|| cut("a message"))?;
    Ok(Some((kind, body)))
}

fn cut(what: impl std::fmt::Display) -> SqlError {
    SqlError::internal(format!("an answer that was kept cannot be read: {what}"))
}

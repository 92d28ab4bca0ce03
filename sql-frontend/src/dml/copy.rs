//! The text and CSV forms of `COPY`: bytes to fields of rows, and back.

use crate::{
    error::{SqlError, SqlState},
    session::parse::CopyOptions,
    types::{Datum, PgType, TimeZone},
};

/// Cuts a stream of bytes, which come in pieces of any size, into rows.
pub struct Splitter {
    options: CopyOptions,
    buffer: Vec<u8>,
    /// How far `buffer` was searched for the end of a row.
    searched: usize,
    quoted: bool,
    /// The line on which the last row ends.
    pub line: u64,
    skip_header: bool,
    ended: bool,
    ending: Option<Ending>,
}

/// What ends a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Lf,
    Cr,
    CrLf,
}

/// None: the NULL marker.
pub type Fields = Vec<Option<String>>;

/// A row, and the line on which it ends.
#[derive(Debug)]
pub struct Line {
    pub number: u64,
    pub fields: Fields,
}

/// Lines of a row without its end: values may hold line feeds.
fn lines(row: &[u8]) -> u64 {
    1 + row.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Longest row.
const MAX_ROW: usize = 64 << 20;

impl Splitter {
    pub fn new(options: CopyOptions) -> Self {
        let skip_header = options.header;
        Splitter {
            options,
            buffer: Vec::new(),
            searched: 0,
            quoted: false,
            line: 0,
            skip_header,
            ended: false,
            ending: None,
        }
    }

    pub fn push(&mut self, data: &[u8]) -> Result<(), SqlError> {
        if self.buffer.len() + data.len() > MAX_ROW + (1 << 20) {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a row of COPY is too long"));
        }
        if !self.ended {
            self.buffer.extend_from_slice(data);
        }
        Ok(())
    }

    /// All rows that are complete; with `last` also one that has no line end.
    pub fn rows(&mut self, last: bool) -> Result<Vec<Line>, SqlError> {
        let mut rows = Vec::new();
        let mut start = 0;
        while !self.ended {
            let Some((end, next)) = self.find_end(start, last)? else { break };
            let buffer = std::mem::take(&mut self.buffer);
            self.line += lines(&buffer[start..end]);
            let fields = self.row(&buffer[start..end]);
            self.buffer = buffer;
            start = next;
            rows.extend(fields?.map(|fields| Line { number: self.line, fields }));
        }
        self.buffer.drain(..start);
        self.searched = self.searched.saturating_sub(start);
        if last && !self.ended && !self.buffer.is_empty() {
            if self.quoted {
                self.line += lines(&self.buffer);
                return Err(bad("unterminated CSV quoted field"));
            }
            let line = std::mem::take(&mut self.buffer);
            self.line += lines(&line);
            if let Some(fields) = self.row(&line)? {
                rows.push(Line { number: self.line, fields });
            }
        }
        Ok(rows)
    }

    /// Where the row that begins at `start` ends, and where the next one begins. 22P04 if rows end in different ways.
    fn find_end(&mut self, start: usize, last: bool) -> Result<Option<(usize, usize)>, SqlError> {
        let (csv, quote, escape) = (self.options.csv, self.options.quote, self.options.escape);
        let mut at = self.searched.max(start);
        while let Some(&byte) = self.buffer.get(at) {
            if csv && byte == quote {
                self.quoted = !self.quoted;
            } else if if csv { self.quoted && byte == escape } else { byte == b'\\' } {
                // An escaped line feed belongs to the value.
                at += 1;
            } else if matches!(byte, b'\n' | b'\r') && !self.quoted {
                let ending = match (byte, self.buffer.get(at + 1)) {
                    (b'\n', _) => Ending::Lf,
                    (_, Some(b'\n')) => Ending::CrLf,
                    (_, None) if !last => break,
                    _ => Ending::Cr,
                };
                self.ends_in(ending)?;
                self.searched = at + if ending == Ending::CrLf { 2 } else { 1 };
                return Ok(Some((at, self.searched)));
            }
            at += 1;
        }
        // A backslash at the very end waits for what it escapes.
        self.searched = if at > self.buffer.len() { at - 2 } else { at };
        Ok(None)
    }

    /// The first row says how all end.
    fn ends_in(&mut self, ending: Ending) -> Result<(), SqlError> {
        let first = *self.ending.get_or_insert(ending);
        if first == ending {
            return Ok(());
        }
        self.line += 1;
        let how = if self.options.csv { "unquoted" } else { "literal" };
        let feeds = ending == Ending::Lf || first == Ending::Cr;
        let (what, mark) = if feeds { ("newline", "\\n") } else { ("carriage return", "\\r") };
        let hint = match self.options.csv {
            true => format!("Use quoted CSV field to represent {what}."),
            false => format!("Use \"{mark}\" to represent {what}."),
        };
        Err(bad(&format!("{how} {what} found in data")).hint(hint))
    }

    fn row(&mut self, line: &[u8]) -> Result<Option<Fields>, SqlError> {
        if line == b"\\." {
            self.ended = true;
            return Ok(None);
        }
        if std::mem::take(&mut self.skip_header) {
            return Ok(None);
        }
        let fields = if self.options.csv { self.csv_fields(line) } else { self.text_fields(line) };
        fields.map(Some)
    }

    fn text_fields(&self, line: &[u8]) -> Result<Fields, SqlError> {
        let mut fields = Vec::new();
        let mut rest = line;
        loop {
            let mut at = 0;
            while at < rest.len() && rest[at] != self.options.delimiter {
                at += if rest[at] == b'\\' { 2 } else { 1 };
            }
            let end = at.min(rest.len());
            fields.push(self.text_value(&rest[..end])?);
            if end == rest.len() {
                return Ok(fields);
            }
            rest = &rest[end + 1..];
        }
    }

    fn text_value(&self, raw: &[u8]) -> Result<Option<String>, SqlError> {
        if raw == self.options.null.as_bytes() {
            return Ok(None);
        }
        if !raw.contains(&b'\\') {
            return text(raw.to_vec()).map(Some);
        }
        let mut out = Vec::with_capacity(raw.len());
        let mut bytes = raw.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            let digit = |byte: Option<&u8>, radix: u32| byte.and_then(|b| char::from(*b).to_digit(radix));
            match bytes.next() {
                Some(b'b') => out.push(8),
                Some(b'f') => out.push(12),
                Some(b'n') => out.push(b'\n'),
                Some(b'r') => out.push(b'\r'),
                Some(b't') => out.push(b'\t'),
                Some(b'v') => out.push(11),
                Some(b'x') if digit(bytes.peek(), 16).is_some() => {
                    let mut value = 0;
                    for _ in 0..2 {
                        let Some(digit) = digit(bytes.peek(), 16) else { break };
                        value = value * 16 + digit;
                        bytes.next();
                    }
                    out.push(value as u8);
                }
                Some(first @ b'0'..=b'7') => {
                    let mut value = u32::from(first - b'0');
                    for _ in 0..2 {
                        let Some(digit) = digit(bytes.peek(), 8) else { break };
                        value = value * 8 + digit;
                        bytes.next();
                    }
                    out.push(value as u8);
                }
                Some(other) => out.push(other),
                None => out.push(b'\\'),
            }
        }
        text(out).map(Some)
    }

    fn csv_fields(&self, line: &[u8]) -> Result<Fields, SqlError> {
        let (quote, escape) = (self.options.quote, self.options.escape);
        let mut fields = Vec::new();
        let (mut out, mut was_quoted, mut quoted) = (Vec::new(), false, false);
        let mut at = 0;
        while at < line.len() {
            let byte = line[at];
            if quoted {
                let next = line.get(at + 1).copied();
                if byte == escape && matches!(next, Some(n) if n == quote || n == escape) {
                    out.extend(next);
                    at += 1;
                } else if byte == quote {
                    quoted = false;
                } else {
                    out.push(byte);
                }
            } else if byte == quote {
                quoted = true;
                was_quoted = true;
            } else if byte == self.options.delimiter {
                fields.push(self.csv_value(std::mem::take(&mut out), was_quoted)?);
                was_quoted = false;
            } else {
                out.push(byte);
            }
            at += 1;
        }
        if quoted {
            return Err(bad("unterminated CSV quoted field"));
        }
        fields.push(self.csv_value(out, was_quoted)?);
        Ok(fields)
    }

    fn csv_value(&self, raw: Vec<u8>, quoted: bool) -> Result<Option<String>, SqlError> {
        if !quoted && raw == self.options.null.as_bytes() {
            return Ok(None);
        }
        text(raw).map(Some)
    }
}

fn bad(message: &str) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}

fn text(raw: Vec<u8>) -> Result<String, SqlError> {
    String::from_utf8(raw).map_err(|_| {
        SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
    })
}

/// Appends one row for `COPY TO`.
pub fn put_row(out: &mut String, row: &[Datum], types: &[PgType], options: &CopyOptions, zone: &TimeZone) {
    for (i, (value, ty)) in row.iter().zip(types).enumerate() {
        if i > 0 {
            out.push(char::from(options.delimiter));
        }
        if value.is_null() {
            out.push_str(&options.null);
            continue;
        }
        let text = value.to_text(*ty, zone);
        if options.csv { put_csv(out, &text, options) } else { put_text(out, &text, options.delimiter) }
    }
    out.push('\n');
}

fn put_text(out: &mut String, text: &str, delimiter: u8) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c == char::from(delimiter) => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
}

pub fn put_csv(out: &mut String, text: &str, options: &CopyOptions) {
    let (quote, escape) = (char::from(options.quote), char::from(options.escape));
    let special = |c: char| c == quote || c == char::from(options.delimiter) || c == '\n' || c == '\r';
    if text != options.null && !text.chars().any(special) && text != "\\." {
        out.push_str(text);
        return;
    }
    out.push(quote);
    for c in text.chars() {
        if c == quote || c == escape {
            out.push(escape);
        }
        out.push(c);
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(csv: bool) -> CopyOptions {
        CopyOptions {
            csv,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { "".into() } else { "\\N".into() },
            header: false,
            quote: b'"',
            escape: b'"',
            freeze: false,
        }
    }

    fn split(csv: bool, input: &str, piece: usize) -> Vec<Fields> {
        let mut splitter = Splitter::new(options(csv));
        let mut rows = Vec::new();
        for chunk in input.as_bytes().chunks(piece) {
            splitter.push(chunk).unwrap();
            rows.extend(splitter.rows(false).unwrap());
        }
        rows.extend(splitter.rows(true).unwrap());
        rows.into_iter().map(|line| line.fields).collect()
    }

    fn some(fields: &[&str]) -> Fields {
        fields.iter().map(|f| Some(f.to_string())).collect()
    }

    #[test]
    fn text_form() {
        for piece in 1..20 {
            let rows = split(false, "1\t\\N\ta\\tb\\\\\\\nc\n2\t\tx\\x41\\101\n\\.\nrubbish", piece);
            assert_eq!(rows.len(), 2, "{piece}");
            assert_eq!(rows[0], vec![Some("1".into()), None, Some("a\tb\\\nc".into())]);
            assert_eq!(rows[1], some(&["2", "", "xAA"]));
        }
        assert_eq!(split(false, "\n", 9), vec![some(&[""])]);
        assert_eq!(split(false, "no end", 2), vec![some(&["no end"])]);
    }

    #[test]
    fn rows_end_in_one_way() {
        let one = |csv, input: &str| split(csv, input, 1).concat().len();
        for csv in [false, true] {
            for input in ["a\nb\n", "a\r\nb\r\n", "a\rb\r", "a\r\nb", "a\rb"] {
                assert_eq!(one(csv, input), 2, "{input:?}");
            }
            for (input, message) in [
                ("a\r\nb\nc", "newline"),
                ("a\rb\r\nc", "newline"),
                ("a\nb\r\nc", "carriage return"),
                ("a\r\nb\rc", "carriage return"),
                ("a\nb\rc", "carriage return"),
            ] {
                for piece in 1..6 {
                    let mut splitter = Splitter::new(options(csv));
                    let mut pieces = input.as_bytes().chunks(piece);
                    let error = pieces
                        .find_map(|chunk| {
                            splitter.push(chunk).unwrap();
                            splitter.rows(false).err()
                        })
                        .or_else(|| splitter.rows(true).err())
                        .unwrap();
                    assert_eq!(
                        (error.sqlstate, splitter.line),
                        (SqlState::BAD_COPY_FILE_FORMAT, 2),
                        "{input:?}"
                    );
                    assert!(error.message.contains(message), "{input:?}: {}", error.message);
                }
            }
        }
        assert_eq!(split(true, "\"a\nb\"\r\nc", 2), vec![some(&["a\nb"]), some(&["c"])]);
        assert_eq!(split(false, "a\\\r\nb", 2), vec![some(&["a\r"]), some(&["b"])]);
    }

    #[test]
    fn csv_form() {
        for piece in 1..20 {
            let rows = split(true, "1,,\"\"\n\"a,\"\"b\nc\",d e,\"x\"y\n", piece);
            assert_eq!(rows[0], vec![Some("1".into()), None, Some("".into())], "{piece}");
            assert_eq!(rows[1], some(&["a,\"b\nc", "d e", "xy"]));
        }
        let mut broken = Splitter::new(options(true));
        broken.push(b"\"abc").unwrap();
        assert_eq!(broken.rows(true).unwrap_err().sqlstate, SqlState::BAD_COPY_FILE_FORMAT);
    }

    #[test]
    fn output_comes_back() {
        let row = [Datum::Text("a\t\\b\n\"q\",x".into()), Datum::Null, Datum::Text("".into())];
        let types = [PgType::Text; 3];
        for csv in [false, true] {
            let mut out = String::new();
            put_row(&mut out, &row, &types, &options(csv), &TimeZone::UTC);
            let back = split(csv, &out, 3);
            assert_eq!(back, vec![vec![Some("a\t\\b\n\"q\",x".into()), None, Some("".into())]]);
        }
    }
}

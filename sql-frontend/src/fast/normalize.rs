//! Statements of the simple protocol that differ in their literals only share one plan.
//!
//! `UPDATE t SET v = v + 5 WHERE id = 7` becomes `UPDATE t SET v = v + $1 WHERE id = $2` with two integers. Only plans that
//! come down to a key, and `INSERT … VALUES`, are kept by such a text: there a literal in a parameter's place means the
//! same. Whatever the reader here does not know for certain it leaves alone, and the statement goes the ordinary way.

use crate::types::PgType;

/// A text with its literals taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// With `$1`…, and the literals' types at its end, where they tell statements apart.
    pub key: String,
    /// The part of `key` that is SQL.
    pub sql_end: usize,
    pub literals: Vec<Literal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// None: a string, whose type the statement decides.
    pub ty: Option<PgType>,
    pub text: String,
}

impl Normalized {
    pub fn sql(&self) -> &str {
        &self.key[..self.sql_end]
    }
}

/// Longer texts are not worth it.
const LONGEST: usize = 2048;

/// `None` when there is nothing to take out, or something that the reader does not know.
pub fn normalize(sql: &str) -> Option<Normalized> {
    if sql.len() > LONGEST || !sql.is_ascii() {
        return None;
    }
    let sql = sql.trim().trim_end_matches(';');
    let first = sql.get(..6)?;
    if !["select", "insert", "update", "delete"].iter().any(|verb| first.eq_ignore_ascii_case(verb)) {
        return None;
    }
    let mut reader =
        Reader { input: sql.as_bytes(), at: 0, out: String::with_capacity(sql.len() + 8), literals: vec![] };
    reader.read(sql)?;
    if reader.literals.is_empty() {
        return None;
    }
    let (mut key, sql_end) = (reader.out.clone(), reader.out.len());
    for literal in &reader.literals {
        key.push(match literal.ty {
            Some(PgType::Int4) => 'i',
            Some(PgType::Int8) => 'l',
            Some(_) => 'n',
            None => 's',
        });
    }
    Some(Normalized { key, sql_end, literals: reader.literals })
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    out: String,
    literals: Vec<Literal>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.input.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn read(&mut self, sql: &str) -> Option<()> {
        // A string after a word may be a typed literal (`date '…'`) or a special string (`E'…'`).
        let mut after_word = false;
        while self.at < self.input.len() {
            let byte = self.peek(0);
            match byte {
                b'\'' if !after_word => {
                    let text = self.string()?;
                    self.put(Literal { ty: None, text });
                }
                b'\'' => return None,
                b'"' => {
                    let end = sql[self.at + 1..].find('"')? + self.at + 2;
                    self.copy(sql, end);
                }
                b'0'..=b'9' => {
                    let literal = self.number(sql)?;
                    self.put(literal);
                }
                b'.' if self.peek(1).is_ascii_digit() => return None,
                b'-' if self.peek(1) == b'-' => return None,
                b'/' if self.peek(1) == b'*' => return None,
                b'$' | b';' | b'\\' | b'[' | b'{' => return None,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    let mut end = self.at;
                    while self
                        .input
                        .get(end)
                        .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
                    {
                        end += 1;
                    }
                    self.copy(sql, end);
                    after_word = true;
                    continue;
                }
                _ => {
                    self.out.push(char::from(byte));
                    self.at += 1;
                }
            }
            if !byte.is_ascii_whitespace() {
                after_word = false;
            }
        }
        Some(())
    }

    fn copy(&mut self, sql: &str, end: usize) {
        self.out.push_str(&sql[self.at..end]);
        self.at = end;
    }

    fn put(&mut self, literal: Literal) {
        self.literals.push(literal);
        self.out.push('$');
        self.out.push_str(&self.literals.len().to_string());
    }

    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        self.at += 1;
        loop {
            match self.peek(0) {
                0 => return None,
                b'\'' if self.peek(1) == b'\'' => {
                    text.push('\'');
                    self.at += 2;
                }
                b'\'' => {
                    self.at += 1;
                    return Some(text);
                }
                byte => {
                    text.push(char::from(byte));
                    self.at += 1;
                }
            }
        }
    }

    fn number(&mut self, sql: &str) -> Option<Literal> {
        let start = self.at;
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
        let integer = self.peek(0) != b'.';
        if !integer {
            self.at += 1;
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
        }
        // Exponents, `1abc`, `1.2.3`.
        if self.peek(0).is_ascii_alphabetic() || matches!(self.peek(0), b'_' | b'.') {
            return None;
        }
        let text = &sql[start..self.at];
        let ty = match text.parse::<i64>() {
            Ok(value) if i32::try_from(value).is_ok() => PgType::Int4,
            Ok(_) => PgType::Int8,
            Err(_) => PgType::Numeric,
        };
        Some(Literal { ty: Some(ty), text: text.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str) -> Option<(String, Vec<String>)> {
        let n = normalize(sql)?;
        Some((n.key.clone(), n.literals.into_iter().map(|l| l.text).collect()))
    }

    #[test]
    fn literals_are_taken_out() {
        let (key, literals) =
            shown("UPDATE t1 SET v = v + -4837, s='it''s' WHERE id = 84837 and n = 1.50;").unwrap();
        assert_eq!(key, "UPDATE t1 SET v = v + -$1, s=$2 WHERE id = $3 and n = $4isin");
        assert_eq!(literals, ["4837", "it's", "84837", "1.50"]);
        assert_eq!(shown("select 3000000000").unwrap().0, "select $1l");
        assert_eq!(
            shown("select a, \"b 1\" from x2 where id=5").unwrap().0,
            "select a, \"b 1\" from x2 where id=$1i"
        );
    }

    #[test]
    fn what_is_not_certain_is_left_alone() {
        for sql in [
            "select date '2020-01-01'",
            "select e'a' from t where id = 1",
            "select 1 -- x",
            "select /* 1 */ 1",
            "select $1 from t where id = 5",
            "select 1e5",
            "select .5",
            "select 1; select 2",
            "select 'open",
            "select a from t",
            "create table t (a int default 1)",
            "select 'ä'",
        ] {
            assert_eq!(normalize(sql), None, "{sql}");
        }
    }
}

//! Where one statement ends and the next begins: at a semicolon outside of quotes, comments and dollar quotes.

pub enum Piece<'a> {
    Sql(&'a str),
    /// A line that starts with a backslash.
    Meta(&'a str),
}

/// The statements and backslash commands of a text, without those that are empty.
pub fn statements(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.trim().is_empty() {
        let trimmed = rest.trim_start();
        if trimmed.starts_with('\\') {
            let end = trimmed.find('\n').unwrap_or(trimmed.len());
            pieces.push(Piece::Meta(trimmed[..end].trim_end()));
            rest = &trimmed[end..];
            continue;
        }
        let end = end_of_statement(trimmed).unwrap_or(trimmed.len());
        let sql = trimmed[..end].trim();
        if !sql.trim_matches(';').trim().is_empty() {
            pieces.push(Piece::Sql(sql));
        }
        rest = &trimmed[end..];
    }
    pieces
}

/// Whether the text ends with a finished statement.
pub fn complete(text: &str) -> bool {
    let mut rest = text.trim_start();
    while let Some(end) = end_of_statement(rest) {
        rest = rest[end..].trim_start();
    }
    rest.is_empty()
}

/// Index after the first semicolon that ends a statement.
fn end_of_statement(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let tail = &text[at..];
        at += match bytes[at] {
            b';' => return Some(at + 1),
            quote @ (b'\'' | b'"') => skip_quoted(tail, quote),
            b'-' if tail.starts_with("--") => tail.find('\n').unwrap_or(tail.len()),
            b'/' if tail.starts_with("/*") => skip_comment(tail),
            b'$' => skip_dollar_quoted(tail),
            _ => tail.chars().next().map_or(1, char::len_utf8),
        };
    }
    None
}

fn skip_quoted(text: &str, quote: u8) -> usize {
    text[1..].bytes().position(|b| b == quote).map_or(text.len(), |end| end + 2)
}

fn skip_comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn skip_dollar_quoted(text: &str) -> usize {
    let Some(end) = text[1..].find('$') else { return 1 };
    let tag = &text[..end + 2];
    if !tag[1..=end].chars().all(|c| c.is_alphanumeric() || c == '_')
        || tag[1..].starts_with(|c: char| c.is_ascii_digit())
    {
        return 1;
    }
    text[tag.len()..].find(tag).map_or(text.len(), |at| at + 2 * tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(text: &str) -> Vec<&str> {
        statements(text)
            .into_iter()
            .map(|p| match p {
                Piece::Sql(s) | Piece::Meta(s) => s,
            })
            .collect()
    }

    #[test]
    fn semicolons_inside_of_quotes_end_nothing() {
        assert_eq!(
            sql("select ';'; select \";\" -- ;\n; \\d t\nselect 1"),
            ["select ';';", "select \";\" -- ;\n;", "\\d t", "select 1"]
        );
        assert_eq!(
            sql("select $a$;$a$; select $1; /* ; /* ; */ */ select 2;;"),
            ["select $a$;$a$;", "select $1;", "/* ; /* ; */ */ select 2;"]
        );
    }

    #[test]
    fn completeness() {
        assert!(complete("select 1;\n") && complete("select 'ä;';"));
        assert!(!complete("select 1") && !complete("select ';") && !complete("select 1; select"));
    }
}

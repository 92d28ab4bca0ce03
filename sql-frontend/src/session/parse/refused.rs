//! Statements of PostgreSQL's that are not carried out. The parser does not know all of them, or not all their forms; what
//! begins like one of them is refused as not supported, and not as wrong.

use sqlparser::{parser::Parser, tokenizer::Token};

/// Objects that can be created, altered and dropped there and not here.
const OBJECTS: &[&str] = &[
    "access method",
    "aggregate",
    "cast",
    "collation",
    "conversion",
    "database",
    "default privileges",
    "domain",
    "event trigger",
    "extension",
    "foreign data wrapper",
    "foreign table",
    "function",
    "group",
    "language",
    "large object",
    "materialized view",
    "operator",
    "owned",
    "policy",
    "procedure",
    "publication",
    "role",
    "routine",
    "rule",
    "server",
    "statistics",
    "subscription",
    "system",
    "tablespace",
    "text search",
    "transform",
    "trigger",
    "type",
    "user",
    "view",
];

/// Between `CREATE` and the object.
const MODIFIERS: &[&str] = &[
    "or",
    "replace",
    "temp",
    "temporary",
    "local",
    "global",
    "recursive",
    "constraint",
    "trusted",
    "procedural",
    "default",
];

const STATEMENTS: &[&str] = &[
    "call",
    "cluster",
    "comment on",
    "commit prepared",
    "create unlogged table",
    "do",
    "explain (",
    "grant",
    "import foreign schema",
    "listen",
    "load",
    "lock",
    "merge into",
    "notify",
    "prepare transaction",
    "reassign owned",
    "refresh materialized view",
    "reindex",
    "revoke",
    "rollback prepared",
    "security label",
    "set constraints",
    "set session authorization",
];

/// Behind `ALTER TABLE name`.
const CHANGES: &[&str] = &[
    "attach", "cluster", "detach", "disable", "enable", "force", "inherit", "no", "not", "of", "owner",
    "replica", "reset", "set", "validate",
];

/// Words that are looked at.
const LOOK: usize = 12;

/// What a statement is called, if it is one of these. The parser stands at its beginning.
pub(super) fn called(parser: &Parser<'_>) -> Option<String> {
    let words = words(parser);
    let begins = |text: &str| {
        let wanted = text.split(' ');
        let count = wanted.clone().count();
        words.len() >= count && wanted.zip(&words).all(|(want, have)| want == have)
    };
    if let Some(found) = STATEMENTS.iter().find(|text| begins(text)) {
        return Some(found.trim_end_matches(" (").to_uppercase());
    }
    let verb = words.first().filter(|verb| matches!(verb.as_str(), "create" | "alter" | "drop"))?;
    if verb == "alter" && words.get(1).is_some_and(|word| word == "table") {
        let change = change(&words)?;
        return CHANGES.contains(&change).then(|| format!("ALTER TABLE … {}", change.to_uppercase()));
    }
    let mut rest = &words[1..];
    while let [modifier, tail @ ..] = rest
        && verb == "create"
        && MODIFIERS.contains(&modifier.as_str())
    {
        rest = tail;
    }
    let object = OBJECTS.iter().find(|object| {
        let wanted: Vec<&str> = object.split(' ').collect();
        rest.len() >= wanted.len() && wanted.iter().zip(rest).all(|(want, have)| want == have)
    })?;
    Some(format!("{verb} {object}").to_uppercase())
}

/// What of PostgreSQL's the parser does not know, in the statement whose tokens begin at `start`.
pub(super) fn part(parser: &Parser<'_>, start: usize) -> Option<&'static str> {
    clause(parser, start).or_else(|| inference(parser, start))
}

fn clause(parser: &Parser<'_>, start: usize) -> Option<&'static str> {
    let mut words =
        (start..).map(|at| &parser.token_at(at).token).filter(|t| !matches!(t, Token::Whitespace(_)));
    let first = lower(words.next()?);
    let mut before = [String::new(), first.clone()];
    let mut found = None;
    for token in words {
        if matches!(token, Token::EOF | Token::SemiColon) {
            break;
        }
        let word = lower(token);
        let clause = match (before[0].as_str(), before[1].as_str(), word.as_str()) {
            ("where", "current", "of") => Some("WHERE CURRENT OF"),
            (_, "exclude", "using" | "(") if matches!(first.as_str(), "create" | "alter") => Some("EXCLUDE"),
            ("table" | "exists" | ".", _, "of") if first == "create" => Some("CREATE TABLE … OF"),
            (_, "including" | "excluding", _) if first == "create" => Some("CREATE TABLE … LIKE"),
            ("exclude", "current", "row")
            | ("exclude", "no", "others")
            | (_, "exclude", "ties" | "group") => Some("EXCLUDE in the frame of a window"),
            ("nulls", "not", "distinct") => Some("NULLS NOT DISTINCT"),
            ("from" | "join" | "lateral" | ",", "rows", "from") => Some("ROWS FROM"),
            (_, "set", "statistics") if first == "alter" => Some("ALTER COLUMN … SET STATISTICS"),
            (_, "set", "storage") if first == "alter" => Some("ALTER COLUMN … SET STORAGE"),
            (_, "set", "compression") if first == "alter" => Some("ALTER COLUMN … SET COMPRESSION"),
            ("(" | ",", "toast", ".") => Some("a parameter of TOAST"),
            ("index" | ")", "tablespace", _) if matches!(first.as_str(), "create" | "alter") => {
                Some("a tablespace")
            }
            ("overriding", "system" | "user", "value") => Some("OVERRIDING"),
            ("set" | ",", _, "[") if first == "update" => Some("assigning an element of an array"),
            _ => None,
        };
        found = found.or(clause);
        before = [std::mem::take(&mut before[1]), word];
    }
    found
}

/// What else than columns the target of an `ON CONFLICT` has.
fn inference(parser: &Parser<'_>, start: usize) -> Option<&'static str> {
    let tokens = (start..).map(|at| &parser.token_at(at).token);
    let mut words = tokens
        .filter(|t| !matches!(t, Token::Whitespace(_)))
        .take_while(|t| !matches!(t, Token::EOF | Token::SemiColon))
        .map(lower)
        .skip_while(|word| word != "conflict")
        .skip(1);
    if words.next()? != "(" {
        return None;
    }
    let mut named = false;
    for word in words.by_ref().take_while(|word| word != ")") {
        match word.as_str() {
            "." => return None,
            "(" => return Some("an expression as the target of ON CONFLICT"),
            "," => named = false,
            _ if named => return Some("a collation or an operator class in the target of ON CONFLICT"),
            _ => named = true,
        }
    }
    (words.next()? == "where").then_some("a condition on the target of ON CONFLICT")
}

/// A word as it is compared; a quoted one is none of ours.
fn lower(token: &Token) -> String {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
        other => other.to_string(),
    }
}

/// The word behind `ALTER TABLE [IF EXISTS] [ONLY] name [*]`.
fn change(words: &[String]) -> Option<&str> {
    let mut rest = words.get(2..)?;
    for skipped in [&["if", "exists"][..], &["only"]] {
        if rest.len() > skipped.len() && rest.iter().zip(skipped).all(|(have, skip)| have == skip) {
            rest = &rest[skipped.len()..];
        }
    }
    rest = &rest[1..];
    while let [dot, _, tail @ ..] = rest
        && dot == "."
    {
        rest = tail;
    }
    rest.iter().map(String::as_str).find(|word| *word != "*")
}

/// The first words in lower case, up to the statement's end.
fn words(parser: &Parser<'_>) -> Vec<String> {
    let mut words = Vec::new();
    for at in 0..LOOK {
        match parser.peek_nth_token(at).token {
            Token::EOF | Token::SemiColon => break,
            token => words.push(lower(&token)),
        }
    }
    words
}

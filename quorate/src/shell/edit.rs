//! The line editor: history in the home directory, completion of SQL's words.

use anyhow::Result;
use rustyline::{
    Context, Editor, Helper, Highlighter, Hinter, Validator,
    completion::{Completer, Pair},
    error::ReadlineError,
    history::DefaultHistory,
};
use std::path::PathBuf;

#[derive(Helper, Highlighter, Hinter, Validator)]
pub struct Words;

const WORDS: &[&str] = &[
    "ALTER TABLE",
    "AND",
    "BEGIN",
    "BETWEEN",
    "BY",
    "COMMIT",
    "COPY",
    "CONFIGURE PLACEMENT",
    "CREATE INDEX",
    "CREATE TABLE",
    "CREATE UNIQUE INDEX",
    "DEFAULT",
    "DELETE FROM",
    "DISTINCT",
    "DROP TABLE",
    "EXISTS",
    "EXPLAIN",
    "EXPLAIN ANALYZE",
    "EXPLAIN PLACEMENT FOR SHARD",
    "FROM",
    "GROUP BY",
    "HAVING",
    "INSERT INTO",
    "JOIN",
    "LEFT JOIN",
    "LIMIT",
    "NOT NULL",
    "ON CONFLICT",
    "ORDER BY",
    "PRIMARY KEY",
    "RESET PLACEMENT",
    "RETURNING",
    "ROLLBACK",
    "SAVEPOINT",
    "SCATTER",
    "UNSPLIT",
    "SELECT",
    "SET",
    "SHOW EVIDENCE FOR TRANSACTION",
    "SHOW PLACEMENT FOR TABLE",
    "SHOW SHARDS FROM TABLE",
    "SHOW guarantee",
    "SPLIT AT VALUES",
    "TRUNCATE",
    "UNION",
    "UPDATE",
    "VALUES",
    "WHERE",
    "WITH",
    "quorate.nodes",
    "quorate.placement_decisions",
    "quorate.placement_rules",
    "quorate.placement_operations",
    "quorate.replicas",
    "quorate.settings",
    "quorate.shards",
];

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let start =
            line[..pos].rfind(|c: char| c.is_whitespace() || "(,;".contains(c)).map_or(0, |at| at + 1);
        let typed = line[start..pos].to_lowercase();
        let fits = |word: &&&str| !typed.is_empty() && word.to_lowercase().starts_with(&typed);
        let pair = |word: &&str| Pair { display: (*word).into(), replacement: format!("{word} ") };
        Ok((start, WORDS.iter().filter(fits).map(pair).collect()))
    }
}

pub type LineEditor = Editor<Words, DefaultHistory>;

pub fn editor() -> Result<LineEditor> {
    let mut editor = Editor::new()?;
    editor.set_helper(Some(Words));
    if let Some(file) = history_file() {
        // The first start has no history.
        let _ = editor.load_history(&file);
    }
    Ok(editor)
}

/// `None` at the end of input; an empty line after Ctrl-C.
pub fn read(editor: &mut LineEditor, fresh: bool) -> Result<Option<String>> {
    match editor.readline(if fresh { "quorate=> " } else { "quorate-> " }) {
        Ok(line) => {
            editor.add_history_entry(&line)?;
            Ok(Some(line))
        }
        Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
        Err(ReadlineError::Eof) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub fn save(editor: &mut LineEditor) {
    if let Some(file) = history_file()
        && let Err(error) = editor.save_history(&file)
    {
        eprintln!("history was not saved: {error}");
    }
}

fn history_file() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".quorate_history"))
}

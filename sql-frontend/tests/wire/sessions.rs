//! Scripts of several sessions at once.
//!
//! A script begins with statements that make its tables (`tables: …`) and their rows (`rows: …`). Then come scenarios, each
//! under its level (`== read committed`) and with these rows: steps (`t1: update …`) and what they answer (`    -> …`). `begin` begins at
//! the scenario's level. A step that ends with `...` waits for a lock; `t2: =` stands where it is through.
//!
//! With `QUORATE_REWRITE` the answers are written down. With `QUORATE_ORACLE` (where to connect) PostgreSQL answers: `    pg> …`
//! follows where it does otherwise.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test, in real time")]

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Where scripts are played.
#[allow(async_fn_in_trait, reason = "a test")]
pub trait Stage {
    /// A connection for the session of this number, from 1.
    async fn connect(&self, session: usize) -> Client;
    /// Returns when so many statements wait for locks.
    async fn until_waiting(&self, statements: usize);
}

/// The scripts of a directory in their order, or those of which `QUORATE_SCRIPT` is a part of the path.
pub fn scripts(dir: &str) -> Vec<PathBuf> {
    let only = std::env::var("QUORATE_SCRIPT").ok();
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| only.as_ref().is_none_or(|only| path.to_string_lossy().contains(only)));
    all.sort();
    all
}

/// Plays a script; what differs from what it says.
pub async fn play(path: &Path, stage: &impl Stage, oracle: bool) -> Option<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let of = |prefix: &str| lines.iter().filter_map(|line| line.strip_prefix(prefix)).collect::<Vec<_>>();
    let (tables, rows) = (of("tables: "), of("rows: "));
    run_all(&stage.connect(1).await, &tables).await;
    let mut out = String::new();
    let mut show: Option<Show> = None;
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        writeln!(out, "{line}").unwrap();
        if let Some(level) = line.strip_prefix("== ") {
            end(show.take()).await;
            show = Some(Show::begin(stage, &rows, level).await);
            continue;
        }
        let Some((session, step)) = line.strip_prefix('t').and_then(|rest| rest.split_once(": ")) else {
            continue;
        };
        let Ok(session) = session.parse::<usize>() else { continue };
        let ours = lines.next_if(|line| line.starts_with("    -> "));
        let theirs = lines.next_if(|line| line.starts_with("    pg> "));
        let show = show.as_mut().unwrap_or_else(|| panic!("{}: no level yet", path.display()));
        let answer = show.step(stage, session, step).await;
        let kept = |line: Option<&str>| line.map(|line| line[7..].trim().to_string());
        let (said, pg) = (kept(ours), kept(theirs));
        let (ours, theirs) = if oracle { (said.clone(), answer) } else { (answer, pg.or(said)) };
        if let Some(ours) = &ours {
            writeln!(out, "    -> {ours}").unwrap();
        }
        if let Some(theirs) = theirs.filter(|theirs| Some(theirs) != ours.as_ref()) {
            writeln!(out, "    pg> {theirs}").unwrap();
        }
    }
    end(show.take()).await;
    if std::env::var_os("QUORATE_REWRITE").is_some() {
        std::fs::write(path, &out).unwrap();
        return None;
    }
    let (said, got): (Vec<&str>, Vec<&str>) = (text.lines().collect(), out.lines().collect());
    let line = |lines: &[&str], at: usize| lines.get(at).map_or("the end".to_string(), ToString::to_string);
    let pairs = (0..said.len().max(got.len())).map(|at| (line(&said, at), line(&got, at)));
    let differs = pairs.enumerate().find(|(_, (said, got))| said != got);
    differs.map(|(at, (said, got))| format!("{}:{}: {said:?}, but got {got:?}", path.display(), at + 1))
}

async fn end(show: Option<Show>) {
    if let Some(show) = show {
        assert!(show.waiting.is_empty(), "nobody has looked how {:?} ended", show.waiting.keys());
    }
}

async fn run_all(client: &Client, statements: &[&str]) {
    for sql in statements {
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

/// A scenario under way.
struct Show {
    level: String,
    sessions: BTreeMap<usize, Client>,
    waiting: BTreeMap<usize, JoinHandle<(Option<String>, Client)>>,
}

impl Show {
    async fn begin(stage: &impl Stage, rows: &[&str], level: &str) -> Show {
        let client = stage.connect(1).await;
        run_all(&client, rows).await;
        Show { level: level.into(), sessions: BTreeMap::from([(1, client)]), waiting: BTreeMap::new() }
    }

    async fn step(&mut self, stage: &impl Stage, session: usize, step: &str) -> Option<String> {
        if step == "=" {
            let waiting = self.waiting.remove(&session).expect("it waits");
            let (answer, client) = tokio::time::timeout(PATIENCE, waiting).await.expect("it ends").unwrap();
            self.sessions.insert(session, client);
            return answer;
        }
        let client = match self.sessions.remove(&session) {
            Some(client) => client,
            None => stage.connect(session).await,
        };
        let (sql, waits) = match step.strip_suffix(" ...") {
            Some(sql) => (sql.to_string(), true),
            None if step == "begin" => (format!("begin isolation level {}", self.level), false),
            None => (step.to_string(), false),
        };
        let running = tokio::spawn(async move { (answer(&client, &sql).await, client) });
        if waits {
            self.waiting.insert(session, running);
            stage.until_waiting(self.waiting.len()).await;
            return None;
        }
        let done = tokio::time::timeout(PATIENCE, running).await;
        let (answer, client) = done.unwrap_or_else(|_| panic!("t{session}: {step} waits")).unwrap();
        self.sessions.insert(session, client);
        answer
    }
}

/// Whatever does not wait is through by then.
const PATIENCE: Duration = Duration::from_secs(15);

async fn answer(client: &Client, sql: &str) -> Option<String> {
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => {
            let code = error.code().map_or("?", |code| code.code());
            return Some(format!("error {code}"));
        }
    };
    let rows: Vec<String> = messages.iter().filter_map(row).collect();
    let count = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    });
    let word = sql.split_whitespace().next().unwrap_or_default().to_lowercase();
    match word.as_str() {
        "select" | "show" if rows.is_empty() => Some("nothing".into()),
        _ if !rows.is_empty() => Some(rows.join(", ")),
        "insert" | "update" | "delete" => count.map(|count| count.to_string()),
        _ => None,
    }
}

fn row(message: &SimpleQueryMessage) -> Option<String> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    let shown = |text: Option<&str>| match text {
        None => "null".to_string(),
        Some("") => "''".into(),
        Some(text) => text.into(),
    };
    let cells: Vec<String> = (0..row.len()).map(|at| shown(row.get(at))).collect();
    Some(cells.join("|"))
}

//! A connection to one gateway at one isolation level, and what its errors say about a transaction.

use super::host;
use crate::{attempt::Outcome, level::Level};
use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// No client waits longer for an answer; after that the connection is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for changes of the schema, which may wait for others, and for what is read in the end.
const LONG: Duration = Duration::from_secs(180);
const CONNECTING: Duration = Duration::from_secs(5);
/// Waiting less makes more transactions.
const LOCK_TIMEOUT: &str = "1s";

pub struct Session {
    client: Client,
    connection: tokio::task::JoinHandle<()>,
    patience: Duration,
}

/// What a statement answered: rows as text.
#[derive(Debug, Default)]
pub struct Answer {
    pub rows: Vec<Vec<Option<String>>>,
    /// Rows that it changed or returned.
    pub count: u64,
}

impl Answer {
    /// All rows, each read by `row`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read<T>(&self, row: impl Fn(&[Option<String>]) -> Option<T>) -> Result<Vec<T>, Broken> {
        self.rows.iter().map(|raw| row(raw).ok_or_else(|| Broken::unreadable(&format!("{raw:?}")))).collect()
    }
}

/// A field of a row as a number.
pub fn number(row: &[Option<String>], at: usize) -> Option<i64> {
    row.get(at)?.as_ref()?.parse().ok()
}

/// A statement that was not answered well.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Broken {
    /// The SQLSTATE; `None` if the connection is gone, or no answer came in time.
    pub state: Option<String>,
    pub message: String,
}

impl Broken {
    /// An answer that the checker cannot read.
    pub fn unreadable(what: &str) -> Broken {
        Broken { state: Some("22000".into()), message: format!("cannot read `{what}`") }
    }

    /// What became of a transaction whose commit was under way. Only these states say that it has not happened; what was lost on
    /// the way, 40003 and all else leave it open.
    pub fn at_commit(&self) -> Outcome {
        let refused = ["40001", "40P01", "57Q01", "53100", "55P03", "25P02", "23505"];
        match &self.state {
            Some(state) if refused.contains(&state.as_str()) => Outcome::Failed,
            _ => Outcome::Unknown,
        }
    }

    /// The checker's own mistake, or something that this server does not know: no use in going on.
    pub fn is_mistake(&self) -> bool {
        self.state
            .as_ref()
            .is_some_and(|state| ["42", "0A", "22"].iter().any(|class| state.starts_with(class)))
    }
}

impl Session {
    /// A client's.
    ///
    /// # Errors
    /// When the gateway does not answer, or not at this level.
    pub async fn open(url: &str, level: Level) -> Result<Session> {
        let session = Session::connect(url, PATIENCE).await?;
        let set = format!(
            "SET lock_timeout = '{LOCK_TIMEOUT}'; SET default_transaction_isolation = '{}'",
            level.sql()
        );
        session.run(&set).await.with_context(|| url.to_owned())?;
        // In a text of its own: a transaction that is under way keeps its level.
        let told = session.one("SHOW transaction_isolation").await.with_context(|| url.to_owned())?;
        let told = told.rows.first().and_then(|row| row.first()?.as_deref());
        if told != Some(level.sql()) {
            bail!("{url} gives {told:?} to who asks for {}", level.sql());
        }
        Ok(session)
    }

    /// One that waits for what takes long, and is serializable.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub async fn patient(url: &str) -> Result<Session> {
        let session = Session::connect(url, LONG).await?;
        let set = format!("SET default_transaction_isolation = '{}'", Level::Serializable.sql());
        session.one(&set).await.with_context(|| url.to_owned())?;
        Ok(session)
    }

    async fn connect(url: &str, patience: Duration) -> Result<Session> {
        let connecting = host::within(CONNECTING, tokio_postgres::connect(url, NoTls)).await;
        let (client, connection) = connecting
            .with_context(|| format!("{url} does not answer"))?
            .with_context(|| format!("cannot connect to {url}"))?;
        let running = async {
            // Its end is seen by the client.
            let _ = connection.await;
        };
        Ok(Session { client, connection: host::spawn(running), patience })
    }

    pub fn is_over(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs the statements of a text and returns their answers.
    ///
    /// # Errors
    /// When one of them fails, without the answers of those before it.
    pub async fn run(&self, sql: &str) -> Result<Vec<Answer>, Broken> {
        let lost = |message: String| Broken { state: None, message };
        let messages = match host::within(self.patience, self.client.simple_query(sql)).await {
            None => {
                self.connection.abort();
                return Err(lost(format!("no answer within {:?}", self.patience)));
            }
            Some(Err(error)) => {
                let message = error.as_db_error().map_or(error.to_string(), ToString::to_string);
                return Err(Broken { state: error.code().map(|state| state.code().to_owned()), message });
            }
            Some(Ok(messages)) => messages,
        };
        let (mut answers, mut rows) = (Vec::new(), Vec::new());
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
                }
                SimpleQueryMessage::CommandComplete(count) => {
                    answers.push(Answer { rows: std::mem::take(&mut rows), count });
                }
                _ => {}
            }
        }
        Ok(answers)
    }

    /// What a query answered, each row read by `row`.
    ///
    /// # Errors
    /// When it fails, or a row cannot be read.
    pub async fn rows<T>(
        &self,
        sql: &str,
        row: impl Fn(&[Option<String>]) -> Option<T>,
    ) -> Result<Vec<T>, Broken> {
        self.one(sql).await?.read(row)
    }

    /// The only statement's answer.
    ///
    /// # Errors
    /// When it fails.
    pub async fn one(&self, sql: &str) -> Result<Answer, Broken> {
        Ok(self.run(sql).await?.pop().unwrap_or_default())
    }

    /// Ends a transaction that has failed. What cannot be rolled back here ends with the connection.
    async fn roll_back(&self) {
        if self.run("ROLLBACK").await.is_err() {
            self.connection.abort();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A transaction's end, with what it did.
pub struct Step<D> {
    pub did: D,
    pub outcome: Outcome,
    pub broken: Option<Broken>,
}

impl<D> Step<D> {
    pub fn committed(did: D) -> Self {
        Step { did, outcome: Outcome::Committed, broken: None }
    }

    /// With the answer to what would have committed it.
    pub async fn broken_at_commit(session: &Session, did: D, broken: Broken) -> Self {
        session.roll_back().await;
        Step { did, outcome: broken.at_commit(), broken: Some(broken) }
    }
}

/// Statement by statement in a transaction. Whatever fails before `COMMIT` is sent never commits; after it the answer counts.
pub async fn transaction<D>(
    session: &Session,
    mut did: D,
    body: impl AsyncFnOnce(&mut D) -> Result<(), Broken>,
) -> Step<D> {
    let before = match session.run("BEGIN").await {
        Ok(_) => body(&mut did).await,
        Err(broken) => Err(broken),
    };
    if let Err(broken) = before {
        session.roll_back().await;
        return Step { did, outcome: Outcome::Failed, broken: Some(broken) };
    }
    match session.run("COMMIT").await {
        Ok(_) => Step::committed(did),
        Err(broken) => Step::broken_at_commit(session, did, broken).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(state: Option<&str>) -> Broken {
        Broken { state: state.map(str::to_owned), message: String::new() }
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        for state in [None, Some("40003"), Some("57014"), Some("08006"), Some("XX000"), Some("57P01")] {
            assert_eq!(broken(state).at_commit(), Outcome::Unknown, "{state:?}");
        }
        for state in ["40001", "40P01", "57Q01"] {
            assert_eq!(broken(Some(state)).at_commit(), Outcome::Failed, "{state}");
        }
    }

    #[test]
    fn mistakes_are_no_refusals() {
        assert!(broken(Some("42P01")).is_mistake() && broken(Some("0A000")).is_mistake());
        assert!(!broken(Some("40001")).is_mistake() && !broken(None).is_mistake());
    }
}

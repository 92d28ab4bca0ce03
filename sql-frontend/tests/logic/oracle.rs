//! PostgreSQL's answers.
#![expect(clippy::disallowed_methods, reason = "a real server, outside of any node")]

use crate::script::Script;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, error::ErrorPosition};

pub async fn rewrite(conninfo: &str, script: &mut Script) {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await.expect("the oracle is there");
    let task = tokio::spawn(async move { connection.await.map_err(|e| e.to_string()) });
    let reset = "DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public; SET TimeZone = 'UTC'; SET enable_hashagg = off";
    client.batch_execute(reset).await.expect("a fresh schema");
    for block in script.blocks.iter_mut().filter(|b| !b.sql.is_empty() && !b.is_ours()) {
        block.expected = block.arrange(answer(&client, &block.sql).await);
    }
    drop(client);
    let _ = task.await;
}

/// What a server answers: its rows, or its refusal.
pub async fn answer(client: &Client, sql: &str) -> Vec<String> {
    match client.simple_query(sql).await {
        Ok(messages) => messages.iter().filter_map(row).collect(),
        Err(error) => vec![refusal(&error)],
    }
}

fn row(message: &SimpleQueryMessage) -> Option<String> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    let cells: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
    Some(cells.join("|"))
}

fn refusal(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else { return format!("ERROR ?: {error}") };
    let position = match db.position() {
        Some(ErrorPosition::Original(at)) => at.to_string(),
        _ => "-".into(),
    };
    format!("ERROR {} {position}: {}", db.code().code(), db.message())
}

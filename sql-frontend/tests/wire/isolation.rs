//! What each isolation level allows, by scripts of several sessions.
#![allow(clippy::disallowed_methods, reason = "PostgreSQL is a real server, outside of any node")]

use crate::{
    sessions::{Stage, play},
    standin::Node,
};
use std::{path::PathBuf, time::Duration};
use tokio_postgres::{Client, NoTls};

impl Stage for Node {
    async fn connect(&self, _: usize) -> Client {
        Node::connect(self).await
    }

    async fn until_waiting(&self, statements: usize) {
        while self.shard.waiting() < statements as u64 {
            self.env.sleep(Duration::from_millis(2)).await;
        }
    }
}

/// PostgreSQL, for what is expected.
struct Oracle(String);

impl Stage for Oracle {
    async fn connect(&self, _: usize) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.0, NoTls).await.unwrap();
        drop(tokio::spawn(connection));
        client
    }

    async fn until_waiting(&self, statements: usize) {
        let client = self.connect(0).await;
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
        while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < statements as i64 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_level_shows_what_it_may() {
    let only = std::env::var("QUORATE_SCRIPT").ok();
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/isolation");
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    let mut wrong = Vec::new();
    for path in all.iter().filter(|p| only.as_ref().is_none_or(|o| p.to_string_lossy().contains(o))) {
        wrong.extend(match std::env::var("QUORATE_ORACLE") {
            Ok(conninfo) => play(path, &Oracle(conninfo), true).await,
            Err(_) => play(path, &Node::start().await, false).await,
        });
    }
    assert!(wrong.is_empty(), "{} scripts differ:\n{}", wrong.len(), wrong.join("\n"));
}

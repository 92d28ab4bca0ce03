//! Scripts in the form of the logic tests', run over a connection: for what only a session has. Rows and refusals are
//! compared; with `QUORATE_ORACLE` the answers are written down from PostgreSQL's.

use crate::{oracle, script::Script, standin::Node};
use std::path::PathBuf;

fn scripts() -> Vec<PathBuf> {
    let only = std::env::var("QUORATE_SCRIPT").ok();
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/wire");
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the scripts are there")
        .map(|e| e.expect("a directory entry").path())
        .filter(|p| only.as_ref().is_none_or(|o| p.to_string_lossy().contains(o)))
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_answer_as_postgresql() {
    let mut wrong = Vec::new();
    for path in scripts() {
        let mut script = Script::read(&path);
        if let Ok(conninfo) = std::env::var("QUORATE_ORACLE") {
            oracle::rewrite(&conninfo, &mut script).await;
            script.write(&path);
        }
        let node = Node::start().await;
        let client = node.connect().await;
        for block in script.blocks.iter().filter(|b| !b.sql.is_empty()) {
            wrong.extend(block.differs(&path, oracle::answer(&client, &block.sql).await));
        }
    }
    assert!(wrong.is_empty(), "{} blocks differ:\n\n{}", wrong.len(), wrong.join("\n"));
}

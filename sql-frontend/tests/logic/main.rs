//! SQL semantics without a cluster: scripts in `testdata/logic`, run over rows in memory.
//!
//! A script is blocks separated by empty lines: a statement, `----`, and what it answers: rows with `|` between columns and
//! `NULL` for nulls, or `ERROR <sqlstate> <position>: <message>`. What PostgreSQL answers is the truth: with
//! `QUORATE_ORACLE='host=… user=…'` the scripts are run there and their answers rewritten. Lines before the statement that begin
//! with `# ` are comments; `# ours` keeps a block's answer from being rewritten (a refusal, a plan), `# sorted` compares and
//! writes rows in sorted order.

mod locking;
mod memory;
mod oracle;
mod script;
mod wide;
mod world;

use std::path::{Path, PathBuf};

fn scripts() -> Vec<PathBuf> {
    let dir = Path::new("testdata/logic");
    let only = std::env::var("QUORATE_SCRIPT").ok();
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the scripts are there")
        .map(|e| e.expect("a directory entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "sql"))
        .filter(|p| only.as_ref().is_none_or(|o| p.to_string_lossy().contains(o)))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn scripts_answer_as_postgresql() {
    if let Ok(conninfo) = std::env::var("QUORATE_ORACLE") {
        for path in scripts() {
            let mut script = script::Script::read(&path);
            oracle::rewrite(&conninfo, &mut script).await;
            script.write(&path);
        }
    }
    let accepting = std::env::var_os("QUORATE_ACCEPT").is_some();
    let mut wrong = Vec::new();
    for path in scripts() {
        let script = script::Script::read(&path);
        let mut world = world::World::new();
        for block in script.blocks.iter().filter(|b| !b.sql.is_empty()) {
            let got = world.run(&block.sql).await;
            if !(accepting && block.is_ours()) {
                wrong.extend(block.differs(&path, got));
            }
        }
    }
    assert!(wrong.is_empty(), "{} blocks differ:\n\n{}", wrong.len(), wrong.join("\n"));
}

//! Wrong bytes on the disk of one node of three, under writes: no wrong answer, and the copy is made anew.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{Demo, below, pause, tools::metric};
use tokio_postgres::Client;

/// Steps of a tenth of a second that a repair may take.
const PATIENCE: u32 = 900;
const ROWS: i64 = 400;

fn letters(state: &mut u64, many: usize) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..many).map(|_| char::from(alphabet[below(state, 64) as usize])).collect()
}

async fn filled(client: &Client) -> BTreeMap<i64, String> {
    client.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY, pad text)").await.unwrap();
    client.batch_execute("CREATE TABLE other (id int8 PRIMARY KEY)").await.unwrap();
    let mut state = 77;
    let mut rows = BTreeMap::new();
    for id in 0..ROWS {
        let pad = letters(&mut state, 2000);
        client.execute("INSERT INTO t VALUES ($1, $2)", &[&id, &pad]).await.unwrap();
        rows.insert(id, pad);
    }
    rows
}

/// Turns one byte of one of the rows in the engine's files.
fn damage(demo: &Demo, node: u16, rows: &BTreeMap<i64, String>) {
    let engine = PathBuf::from(demo.data()).join(format!("n{node}/engine"));
    for file in std::fs::read_dir(engine).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "sst") {
            continue;
        }
        let mut content = std::fs::read(&file).unwrap();
        // What a compression has left in one piece.
        let needles = rows.values().skip(ROWS as usize / 2).map(|pad| &pad.as_bytes()[1000..1016]);
        let stands = |needle: &[u8]| content.windows(needle.len()).position(|part| part == needle);
        if let Some(at) = needles.into_iter().find_map(stands) {
            content[at] ^= 1;
            std::fs::write(&file, content).unwrap();
            return;
        }
    }
    panic!("no row of the table stands in a file");
}

/// A node whose engine has met the damage while it wrote files anew has ended: it is started again.
fn keep_up(demo: &Demo) {
    let file = PathBuf::from(demo.data()).join("n2.pid");
    let runs = file.exists()
        && std::fs::read(format!("/proc/{}/cmdline", demo.pid(2))).is_ok_and(|line| !line.is_empty());
    if !runs {
        demo.up();
    }
}

/// All rows, as soon as they can be read, whoever leads; never others.
async fn read(demo: &Demo, client: &Client, expected: &BTreeMap<i64, String>) {
    for _ in 0..PATIENCE {
        match client.query("SELECT id, pad FROM t", &[]).await {
            Ok(rows) => {
                let found: BTreeMap<i64, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
                assert!(found == *expected, "{} rows, and not those that were written", found.len());
                return;
            }
            Err(error) => eprintln!("not read yet: {error:?}"),
        }
        keep_up(demo);
        pause(Duration::from_millis(100)).await;
    }
    panic!("the table cannot be read");
}

async fn shard(client: &Client) -> i64 {
    client.query("SHOW SHARDS FROM TABLE t", &[]).await.unwrap()[0].get("shard_id")
}

/// The voter of the shard on the node, as soon as there is one for which this holds.
async fn voter(demo: &Demo, client: &Client, node: i64, wanted: impl Fn(i64) -> bool) -> i64 {
    let shard = shard(client).await;
    let query =
        "SELECT replica_id FROM quorate.replicas WHERE shard_id = $1 AND node_id = $2 AND role = 'voter'";
    for _ in 0..PATIENCE {
        let found = client.query(query, &[&shard, &node]).await.unwrap_or_default();
        if let Some(id) = found.first().map(|row| row.get(0)).filter(|id| wanted(*id)) {
            return id;
        }
        keep_up(demo);
        pause(Duration::from_millis(100)).await;
    }
    panic!("node {node} has no new copy");
}

async fn led_by(demo: &Demo, client: &Client, node: u16) {
    let (shard, node) = (shard(client).await.to_string(), node.to_string());
    for _ in 0..PATIENCE {
        let asked = ["shard", "transfer-leader", &shard, "--to", &node];
        let mut asking = std::pin::pin!(demo.ask(1, &asked));
        // The node may end while it is asked.
        let ran = loop {
            tokio::select! {
                ran = &mut asking => break ran,
                () = pause(Duration::from_millis(500)) => keep_up(demo),
            }
        };
        if ran.code == Some(0) {
            return;
        }
        keep_up(demo);
        pause(Duration::from_millis(100)).await;
    }
    panic!("node {node} does not lead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_block_is_never_served_and_its_copy_is_made_anew() {
    let demo = Demo::start();
    let client = demo.client(1).await;
    let rows = filled(&client).await;
    let first = voter(&demo, &client, 2, |_| true).await;
    let pid = demo.pid(2);
    demo.terminate(2);
    while PathBuf::from(format!("/proc/{pid}")).exists() {
        pause(Duration::from_millis(50)).await;
    }
    demo.expect_errors();
    damage(&demo, 2, &rows);
    demo.up();

    let stop = Arc::new(AtomicBool::new(false));
    let (writer, stopping) = (demo.client(3).await, stop.clone());
    let writing = tokio::spawn(async move {
        let mut written: Vec<i64> = Vec::new();
        for id in 0.. {
            match writer.execute("INSERT INTO other VALUES ($1)", &[&id]).await {
                Ok(_) => written.push(id),
                Err(_) => pause(Duration::from_millis(50)).await,
            }
            if stopping.load(Ordering::SeqCst) {
                break;
            }
        }
        written
    });
    led_by(&demo, &client, 2).await;
    read(&demo, &client, &rows).await;
    let second = voter(&demo, &client, 2, |id| id != first).await;
    assert!(second > first);
    assert!(metric(&demo.http(1), "quorate_shard_copies_damaged_total").await.is_none());
    led_by(&demo, &client, 2).await;
    read(&demo, &client, &rows).await;

    // The block itself has gone when its engine was opened anew, at the latest now.
    demo.restart(2);
    assert!(demo.log(2).contains("is written anew without these shards"));
    voter(&demo, &client, 2, |_| true).await;
    led_by(&demo, &client, 2).await;
    read(&demo, &client, &rows).await;
    stop.store(true, Ordering::SeqCst);
    let written = writing.await.unwrap();
    let kept: Vec<i64> = client
        .query("SELECT id FROM other ORDER BY id", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(written.iter().all(|id| kept.binary_search(id).is_ok()));
}

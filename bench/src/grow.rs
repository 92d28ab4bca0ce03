//! A table that grows by `COPY` while single rows of it are read and changed: it splits by itself, and what these statements
//! wait is told apart by what the placement driver did meanwhile. In the end, when that has come to rest, how evenly shards
//! and leaders lie on the nodes.

use crate::{
    GrowArgs, Progress, host,
    latency::Latencies,
    ours::{Ours, connect},
    report,
};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::SinkExt;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tokio_postgres::Client;

/// Bytes of a row's text; half of them are noise, so that compression halves it.
const ROW: usize = 1000;
/// Rows of one `COPY`, which is one transaction.
const BATCH: u64 = 500;
/// Each loader's rows have keys of their own, rising.
const APART: u64 = 1 << 40;
/// From one statement of a client to the next.
const PACE: Duration = Duration::from_millis(10);
/// The aim for a statement that meets a split or a merge.
const AIM_MS: f64 = 50.0;
/// The driver has come to rest when it has done nothing for so long.
const REST: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Serialize)]
struct Report {
    megabytes: u64,
    seconds: f64,
    megabytes_per_second: f64,
    statements: BTreeMap<String, Distribution>,
    /// Operations of the driver, by the scheduler that wanted them.
    operations: BTreeMap<String, usize>,
    shards: i64,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    node: i64,
    copies: i64,
    leaders: i64,
}

#[derive(Serialize)]
struct Distribution {
    count: usize,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    max_ms: Option<f64>,
    above_aim: usize,
}

/// A statement: when it began, in microseconds since 1970, and what it took.
#[derive(Clone, Copy)]
struct Stretch {
    from: i64,
    to: i64,
}

/// What the loaders and the other clients share.
struct Table {
    /// Rows of each loader.
    rows: Vec<AtomicU64>,
    done: AtomicBool,
}

pub async fn run(args: GrowArgs, progress: Progress) -> Result<()> {
    let ours = Ours::at(&args.url).await?;
    let client = connect(&ours.urls[0]).await?;
    let create = "DROP TABLE IF EXISTS bench_grow;
                  CREATE TABLE bench_grow (id int8 PRIMARY KEY, n int8 NOT NULL DEFAULT 0, pad text NOT NULL)";
    client.batch_execute(create).await?;
    let first: i64 = client.query_one(LAST_DECISION, &[]).await?.get(0);
    let rows = (0..args.loaders).map(|_| AtomicU64::new(0)).collect();
    let table = Arc::new(Table { rows, done: AtomicBool::new(false) });

    let waiting = progress(format!("putting {} MB in", args.megabytes));
    let began = host::now();
    let (mut loaders, mut clients) = (Vec::new(), Vec::new());
    let each = args.megabytes * 1_000_000 / ROW as u64 / u64::from(args.loaders);
    for n in 0..args.loaders {
        let session = connect(&ours.urls[n as usize % ours.urls.len()]).await?;
        loaders.push(host::spawn(load(session, table.clone(), n as usize, each)));
    }
    for n in 0..args.clients {
        let session = connect(&ours.urls[n as usize % ours.urls.len()]).await?;
        clients.push(host::spawn(read_and_change(session, table.clone(), u64::from(n))));
    }
    for loader in loaders {
        loader.await??;
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(waiting);
    let waiting = progress("waiting for the placement driver to come to rest".into());
    rest(&client).await?;
    drop(waiting);
    table.done.store(true, Ordering::Relaxed);
    let mut statements = Vec::new();
    for client in clients {
        statements.extend(client.await??);
    }
    let operations = operations(&client, first).await?;
    let report = Report {
        megabytes: args.megabytes,
        seconds,
        megabytes_per_second: args.megabytes as f64 / seconds,
        statements: told_apart(&statements, &operations),
        operations: operations.iter().map(|(name, all)| (name.clone(), all.len())).collect(),
        shards: client.query_one("SELECT count(*) FROM quorate.shards", &[]).await?.get(0),
        nodes: nodes(&client).await?,
    };
    eprint!("{}", report.words());
    match &args.json {
        Some(file) => report::write(&report, file),
        None => Ok(()),
    }
}

async fn load(client: Client, table: Arc<Table>, loader: usize, rows: u64) -> Result<()> {
    let mut random = (loader as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for first in (0..rows).step_by(BATCH as usize) {
        let last = rows.min(first + BATCH);
        let mut text = String::with_capacity(BATCH as usize * (ROW + 20));
        for n in first..last {
            text += &format!("{}\t", loader as u64 * APART + n);
            while !text.len().is_multiple_of(ROW) {
                let noise = host::below(&mut random, u64::MAX);
                text += &format!("{noise:016x}")[..(ROW - text.len() % ROW).min(16)];
            }
            text.push('\n');
        }
        let sink = client.copy_in("COPY bench_grow (id, pad) FROM STDIN").await.context("COPY")?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(text)).await.context("COPY")?;
        sink.finish().await.context("COPY")?;
        table.rows[loader].store(last, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads a row, then changes one, and so on.
async fn read_and_change(client: Client, table: Arc<Table>, seed: u64) -> Result<Vec<Stretch>> {
    let read = client.prepare("SELECT n FROM bench_grow WHERE id = $1").await?;
    let change = client.prepare("UPDATE bench_grow SET n = n + 1 WHERE id = $1").await?;
    let mut random = (seed + 1000).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::new();
    while !table.done.load(Ordering::Relaxed) {
        let loader = host::below(&mut random, table.rows.len() as u64);
        let rows = table.rows[loader as usize].load(Ordering::Relaxed);
        if rows > 0 {
            let id = (loader * APART + host::below(&mut random, rows)) as i64;
            let statement = if all.len() % 2 == 0 { &read } else { &change };
            let from = micros();
            let met = client.execute(statement, &[&id]).await.context("a single row")?;
            all.push(Stretch { from, to: micros() });
            if met != 1 {
                bail!("row {id} is there {met} times");
            }
        }
        host::sleep(PACE).await;
    }
    Ok(all)
}

fn micros() -> i64 {
    host::wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64
}

const LAST_DECISION: &str = "SELECT coalesce(max(decision_id), 0) FROM quorate.placement_decisions";

/// Waits until the driver wants nothing more.
async fn rest(client: &Client) -> Result<()> {
    let under_way = "SELECT count(*) FROM quorate.placement_operations WHERE state = 'running'";
    let began = host::now();
    let (mut last, mut since) = (0, host::now());
    while since.elapsed() < REST {
        if began.elapsed() > PATIENCE {
            bail!("the placement driver does not come to rest");
        }
        let newest: i64 = client.query_one(LAST_DECISION, &[]).await?.get(0);
        let running: i64 = client.query_one(under_way, &[]).await?.get(0);
        if newest != last || running > 0 {
            (last, since) = (newest, host::now());
        }
        host::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// When the operations ran that schedulers have begun since, by scheduler.
async fn operations(client: &Client, after: i64) -> Result<BTreeMap<String, Vec<Stretch>>> {
    let sql = "SELECT scheduler, (extract(epoch FROM started) * 1000000)::int8,
                      (extract(epoch FROM updated) * 1000000)::int8
               FROM quorate.placement_decisions JOIN quorate.placement_operations USING (operation_id)
               WHERE decision_id > $1";
    let mut all = BTreeMap::<String, Vec<Stretch>>::new();
    for row in client.query(sql, &[&after]).await? {
        all.entry(row.get(0)).or_default().push(Stretch { from: row.get(1), to: row.get(2) });
    }
    Ok(all)
}

/// All statements, those that ran while something was split or merged, and those that ran while nothing was done.
fn told_apart(
    statements: &[Stretch],
    operations: &BTreeMap<String, Vec<Stretch>>,
) -> BTreeMap<String, Distribution> {
    let met = |name: &str, statement: &Stretch| {
        let during = |operation: &Stretch| operation.from <= statement.to && statement.from <= operation.to;
        operations.get(name).is_some_and(|all| all.iter().any(during))
    };
    let of = |wanted: &dyn Fn(&Stretch) -> bool| Distribution::of(statements.iter().filter(|s| wanted(s)));
    let mut all = BTreeMap::from([("all".to_owned(), of(&|_| true))]);
    for name in operations.keys() {
        all.insert(format!("during {name}"), of(&|statement| met(name, statement)));
    }
    let alone = |statement: &Stretch| operations.keys().all(|name| !met(name, statement));
    all.insert("otherwise".to_owned(), of(&alone));
    all
}

async fn nodes(client: &Client) -> Result<Vec<Node>> {
    let sql = "SELECT node_id, count(*), count(*) FILTER (WHERE leader) FROM quorate.replicas
               WHERE shard_id > 0 GROUP BY node_id ORDER BY node_id";
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| Node { node: row.get(0), copies: row.get(1), leaders: row.get(2) }).collect())
}

impl Distribution {
    fn of<'a>(statements: impl Iterator<Item = &'a Stretch>) -> Self {
        let mut all = Latencies::default();
        statements.for_each(|statement| all.add((statement.to - statement.from).max(0) as u128));
        Distribution {
            count: all.count(),
            p50_ms: all.percentile_ms(50.0),
            p95_ms: all.percentile_ms(95.0),
            p99_ms: all.percentile_ms(99.0),
            p999_ms: all.percentile_ms(99.9),
            max_ms: all.percentile_ms(100.0),
            above_aim: all.above_ms(AIM_MS),
        }
    }
}

impl Report {
    fn words(&self) -> String {
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let mut out = format!(
            "{} MB in {:.0} s, {:.1} MB/s\n\nms a statement          count      p50      p95      p99    p99.9      max   > {AIM_MS} ms\n",
            self.megabytes, self.seconds, self.megabytes_per_second
        );
        for (name, d) in &self.statements {
            let figures = [d.p50_ms, d.p95_ms, d.p99_ms, d.p999_ms, d.max_ms].map(figure);
            out += &format!("{name:<20} {:>8}", d.count);
            figures.iter().for_each(|figure| out += &format!(" {figure:>8}"));
            out += &format!(" {:>9}\n", d.above_aim);
        }
        let operations: Vec<String> =
            self.operations.iter().map(|(name, count)| format!("{count} of {name}")).collect();
        out += &format!("\noperations: {}\n{} shards\n", operations.join(", "), self.shards);
        for node in &self.nodes {
            let off = |count: i64, of: &dyn Fn(&Node) -> i64| {
                let mean = self.nodes.iter().map(of).sum::<i64>() as f64 / self.nodes.len() as f64;
                (count as f64 / mean - 1.0) * 100.0
            };
            let (copies, leaders) = (off(node.copies, &|n| n.copies), off(node.leaders, &|n| n.leaders));
            out += &format!(
                "node {}: {} copies ({copies:+.0} %), leads {} ({leaders:+.0} %)\n",
                node.node, node.copies, node.leaders
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart_by_what_was_done_meanwhile() {
        let stretch = |from, to| Stretch { from, to };
        let operations = BTreeMap::from([("split".to_owned(), vec![stretch(1_000, 2_000)])]);
        let statements =
            [stretch(0, 999), stretch(900, 1_000), stretch(1_500, 1_600), stretch(2_001, 62_001)];
        let all = told_apart(&statements, &operations);
        let count = |name: &str| (all[name].count, all[name].above_aim);
        assert_eq!((count("all"), count("during split"), count("otherwise")), ((4, 1), (2, 0), (2, 1)));
    }
}

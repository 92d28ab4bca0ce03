//! Many shards: what they cost while nothing happens, and how long they are without a leader when the node that leads them is
//! killed. The cluster is started here, since its processes are measured and killed.

use crate::{
    Progress, ShardsArgs, cpu, host,
    ours::{Ours, connect},
    report,
};
use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Split points of one statement, and rows of one INSERT.
const BATCH: i64 = 250;
/// For what follows a change: leaders found, logs told, nodes quiet.
const SETTLE: Duration = Duration::from_secs(20);
/// So many of the shards that a killed node led are asked for; more would cost the processors that elect leaders.
const PROBES: usize = 256;
const PROBERS: usize = 8;
const PROBE_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
struct Figures {
    shards: u64,
    splits_per_second: f64,
    /// All nodes together, in per cent of one processor.
    idle_cpu_percent: f64,
    /// Resident memory of each node.
    node_mb: Vec<f64>,
    /// What the nodes have more than before the splits, by replica.
    kb_per_replica: f64,
    kills: Vec<Kill>,
    /// From the kill to an acknowledged write in the last of the shards that were asked for.
    last_served_ms: Option<Spread>,
    /// From the start of the process to the first answer over SQL.
    restart_ms: Option<Spread>,
}

#[derive(Debug, Serialize)]
struct Kill {
    node: usize,
    led: usize,
    last_served_ms: u64,
    restart_ms: u64,
}

#[derive(Debug, Serialize, PartialEq)]
struct Spread {
    median: u64,
    worst: u64,
}

impl Spread {
    fn of(mut all: Vec<u64>) -> Option<Spread> {
        all.sort_unstable();
        Some(Spread { median: *all.get(all.len().checked_sub(1)? / 2)?, worst: *all.last()? })
    }
}

pub async fn run(args: ShardsArgs, progress: Progress) -> Result<()> {
    let shards = i64::from(args.shards);
    eprintln!("starting …");
    let ours = Ours::start()?;
    let client = connect(&ours.urls[0]).await?;
    client.batch_execute("CREATE TABLE bench_shards (k int8 PRIMARY KEY, v int8 NOT NULL)").await?;
    host::sleep(SETTLE).await;
    let before = memory(&ours)?;

    let began = host::now();
    for first in (1..shards).step_by(BATCH as usize) {
        let _waiting = progress(format!("{first} of {shards} shards"));
        let at: Vec<String> = (first..shards.min(first + BATCH)).map(|k| format!("({k})")).collect();
        client.batch_execute(&format!("ALTER TABLE bench_shards SPLIT AT VALUES {}", at.join(","))).await?;
    }
    let splitting = began.elapsed().as_secs_f64();
    for first in (0..shards).step_by(BATCH as usize) {
        let _waiting = progress(format!("{first} of {shards} rows"));
        let rows: Vec<String> = (first..shards.min(first + BATCH)).map(|k| format!("({k},0)")).collect();
        client.batch_execute(&format!("INSERT INTO bench_shards VALUES {}", rows.join(","))).await?;
    }
    drop(client);

    let waiting = progress(format!("idle for {} s", args.idle.as_secs()));
    host::sleep(SETTLE).await;
    let pids = ours.nodes().map(|node| ours.pid(node)).collect::<Result<Vec<u32>>>()?;
    let used = cpu::of_trees(&pids);
    host::sleep(args.idle).await;
    let used = (cpu::of_trees(&pids) - used) as f64 / args.idle.as_micros() as f64;
    drop(waiting);
    let after = memory(&ours)?;
    let more: f64 = after.iter().zip(&before).map(|(after, before)| after - before).sum();

    let mut kills = Vec::new();
    for turn in 0..args.kills {
        let _waiting = progress(format!("kill {} of {}", turn + 1, args.kills));
        let killed = kill(&ours).await?;
        eprintln!("{killed:?}");
        kills.push(killed);
        host::sleep(SETTLE).await;
    }
    let figures = Figures {
        shards: args.shards.into(),
        splits_per_second: (shards - 1) as f64 / splitting.max(0.001),
        idle_cpu_percent: used * 100.0,
        kb_per_replica: more * 1024.0 / ((shards - 1) * after.len() as i64).max(1) as f64,
        node_mb: after,
        last_served_ms: Spread::of(kills.iter().map(|kill| kill.last_served_ms).collect()),
        restart_ms: Spread::of(kills.iter().map(|kill| kill.restart_ms).collect()),
        kills,
    };
    figures.print();
    args.json.as_deref().map_or(Ok(()), |file| report::write(&figures, file))
}

impl Figures {
    fn print(&self) {
        let spread = |spread: &Option<Spread>| match spread {
            Some(Spread { median, worst }) => format!("{median} ms, worst {worst} ms"),
            None => "-".to_owned(),
        };
        let nodes: Vec<String> = self.node_mb.iter().map(|mb| format!("{mb:.0}")).collect();
        eprintln!("{} shards, {:.1} splits a second", self.shards, self.splits_per_second);
        eprintln!("idle: {:.2} % of one processor in all", self.idle_cpu_percent);
        eprintln!("memory: {} MB, {:.1} KB a replica", nodes.join(", "), self.kb_per_replica);
        eprintln!("last shard served after a kill: median {}", spread(&self.last_served_ms));
        eprintln!("restart: median {}", spread(&self.restart_ms));
    }
}

/// Megabytes that each node's process holds in memory.
fn memory(ours: &Ours) -> Result<Vec<f64>> {
    ours.nodes().map(|node| Ok(cpu::resident_bytes(ours.pid(node)?)? as f64 / f64::from(1 << 20))).collect()
}

/// Kills the node that leads most, and starts it again.
async fn kill(ours: &Ours) -> Result<Kill> {
    let (victim, keys) = most_led(ours).await?;
    let other = ours.nodes().find(|node| *node != victim).context("there is one node only")?;
    let every = keys.len().div_ceil(PROBES).max(1);
    let asked: Vec<i64> = keys.iter().copied().step_by(every).collect();
    let shares = (0..PROBERS).map(|n| asked.iter().copied().skip(n).step_by(PROBERS).collect());
    let mut probers: Vec<(Client, Vec<i64>)> = Vec::new();
    for share in shares.collect::<Vec<Vec<i64>>>() {
        probers.push((connect(&ours.urls[other - 1]).await?, share));
    }
    ours.kill(victim)?;
    let began = host::now();
    let served = try_join_all(probers.iter().map(|(client, share)| probe(client, share, began))).await?;
    let last_served_ms = served.into_iter().max().unwrap_or_default();
    let began = host::now();
    ours.restart(victim)?;
    let restart_ms = began.elapsed().as_millis() as u64;
    Ok(Kill { node: victim, led: keys.len(), last_served_ms, restart_ms })
}

/// The node, and the keys of the rows in the shards that it leads.
async fn most_led(ours: &Ours) -> Result<(usize, Vec<i64>)> {
    let client = connect(&ours.urls[0]).await?;
    let shown = client.query("SHOW SHARDS FROM TABLE bench_shards", &[]).await?;
    let mut led = vec![Vec::new(); ours.urls.len() + 1];
    for row in shown {
        let (start, leader): (String, Option<i64>) = (row.get("start_key"), row.get("leader_node_id"));
        let key = start.strip_prefix("bench_shards/(").and_then(|rest| rest.strip_suffix(')'));
        if let (Some(Ok(key)), Some(leader)) = (key.map(str::parse), leader) {
            led.get_mut(leader as usize).context("an unknown node leads")?.push(key);
        }
    }
    let (node, keys) = led.into_iter().enumerate().max_by_key(|(_, keys)| keys.len()).unwrap_or_default();
    if keys.is_empty() {
        bail!("no node leads any shard");
    }
    Ok((node, keys))
}

/// Writes to all these rows, one after the other; milliseconds from `began` to the last acknowledgement.
async fn probe(client: &Client, keys: &[i64], began: Instant) -> Result<u64> {
    for key in keys {
        let write = format!("UPDATE bench_shards SET v = v + 1 WHERE k = {key}");
        while let Err(error) = client.batch_execute(&write).await {
            if began.elapsed() > PROBE_PATIENCE || client.is_closed() {
                return Err(error).with_context(|| format!("the shard of row {key} is not served"));
            }
        }
    }
    Ok(began.elapsed().as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_worst() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![5]), Some(Spread { median: 5, worst: 5 }));
        assert_eq!(Spread::of(vec![9, 1, 4, 7]), Some(Spread { median: 4, worst: 9 }));
    }
}

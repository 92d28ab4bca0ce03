//! The transfer workload: `BEGIN`, two updates of accounts half the table apart, `COMMIT`, over prepared statements.
//! Before and after, the sum of all balances must be the same.

use crate::{
    Progress, TransferArgs,
    counters::Counters,
    cpu, host,
    latency::Latencies,
    ours::{Ours, connect},
    postgres::Postgres,
    report::{self, Report, Side},
};
use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio_postgres::{Client, error::SqlState};

const OPENING_BALANCE: i64 = 1000;
/// Rows of one INSERT while loading.
const LOAD_BATCH: i64 = 500;

pub async fn run(args: TransferArgs, progress: Progress) -> Result<()> {
    let ours = Ours::at(&args.url).await?;
    let waiting = progress(format!("quorate: loading {} accounts", args.accounts));
    load(&ours.urls[0], args.accounts).await.context("loading quorate")?;
    drop(waiting);
    let waiting = progress(format!("quorate: spreading {} shards", args.shards));
    shard(&ours.urls[0], args.accounts, args.shards).await.context("splitting the table")?;
    drop(waiting);
    let peer = Postgres::asked_for(&args.peers, progress).await?;
    if let Some(peer) = &peer {
        let _waiting = progress(format!("PostgreSQL: loading {} accounts", args.accounts));
        load(&peer.url, args.accounts).await.context("loading PostgreSQL")?;
    }

    let slice = args.duration / args.turns;
    let (mut mine, mut theirs) = (Total::nothing(), Total::nothing());
    let mut counted = Some(Counters::default());
    for turn in 0..args.turns {
        let now = |who: &str| progress(format!("turn {} of {}: {who}", turn + 1, args.turns));
        let before = ours.counters().await?;
        let waiting = now("quorate");
        mine.add(measure(&ours.urls, ours.pids.as_deref(), &args, slice, turn).await?);
        drop(waiting);
        let turns = ours.counters().await?.zip(before).map(|(after, before)| after.since(&before));
        counted = counted.zip(turns).map(|(all, turn)| all.plus(&turn));
        if let Some(peer) = &peer {
            let _waiting = now("PostgreSQL");
            let url = std::slice::from_ref(&peer.url);
            theirs.add(measure(url, Some(&peer.pids), &args, slice, turn).await?);
        }
        eprintln!("turn {} of {}", turn + 1, args.turns);
    }
    let waiting = progress("adding all balances up".into());
    verify(&ours.urls[0], args.accounts).await.context("quorate")?;
    if let Some(peer) = &peer {
        verify(&peer.url, args.accounts).await.context("PostgreSQL")?;
    }
    drop(waiting);

    let mut report = Report { quorate: mine.side(), postgres: peer.as_ref().map(|_| theirs.side()) };
    report.quorate.counted = Some(counted.unwrap_or_default().per_transaction(mine.latencies.count()));
    eprint!("{}", report.table());
    if let Some(file) = &args.json {
        report::write(&report, file)?;
    }
    Ok(())
}

async fn load(url: &str, accounts: i64) -> Result<()> {
    let client = connect(url).await?;
    client.batch_execute("DROP TABLE IF EXISTS bench_accounts").await?;
    client.batch_execute("CREATE TABLE bench_accounts (id int8 PRIMARY KEY, balance int8 NOT NULL)").await?;
    for first in (0..accounts).step_by(LOAD_BATCH as usize) {
        let rows: Vec<String> =
            (first..accounts.min(first + LOAD_BATCH)).map(|id| format!("({id},{OPENING_BALANCE})")).collect();
        client.batch_execute(&format!("INSERT INTO bench_accounts VALUES {}", rows.join(","))).await?;
    }
    Ok(())
}

async fn shard(url: &str, accounts: i64, shards: u32) -> Result<()> {
    if shards < 2 {
        return Ok(());
    }
    let client = connect(url).await?;
    let at: Vec<String> =
        (1..i64::from(shards)).map(|n| format!("({})", n * accounts / i64::from(shards))).collect();
    client.batch_execute(&format!("ALTER TABLE bench_accounts SPLIT AT VALUES {}", at.join(", "))).await?;
    client.batch_execute("ALTER TABLE bench_accounts SCATTER").await?;
    Ok(())
}

async fn verify(url: &str, accounts: i64) -> Result<()> {
    let client = connect(url).await?;
    let sum: i64 = client.query_one("SELECT sum(balance)::int8 FROM bench_accounts", &[]).await?.get(0);
    if sum != accounts * OPENING_BALANCE {
        bail!("money was made or lost: the sum is {sum} instead of {}", accounts * OPENING_BALANCE);
    }
    Ok(())
}

/// What one side did in one turn, or in all.
struct Total {
    latencies: Latencies,
    retries: u64,
    seconds: f64,
    /// `None` if it is not known.
    cpu_micros: Option<u64>,
}

/// Less at the end than at the beginning: a process has gone, and what it used is not known.
fn spent(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    after?.checked_sub(before?)
}

impl Total {
    fn nothing() -> Self {
        Total { latencies: Latencies::default(), retries: 0, seconds: 0.0, cpu_micros: Some(0) }
    }

    fn add(&mut self, turn: Total) {
        self.latencies.merge(turn.latencies);
        self.retries += turn.retries;
        self.seconds += turn.seconds;
        self.cpu_micros = self.cpu_micros.zip(turn.cpu_micros).map(|(all, turn)| all + turn);
    }

    fn side(&self) -> Side {
        let count = self.latencies.count();
        Side {
            transactions: count as u64,
            retries: self.retries,
            tps: count as f64 / self.seconds.max(0.001),
            p50_ms: self.latencies.percentile_ms(50.0),
            p95_ms: self.latencies.percentile_ms(95.0),
            p99_ms: self.latencies.percentile_ms(99.0),
            server_cpu_us_per_txn: self.cpu_micros.filter(|_| count > 0).map(|all| all as f64 / count as f64),
            counted: None,
        }
    }
}

async fn measure(
    urls: &[String],
    pids: Option<&[u32]>,
    args: &TransferArgs,
    time: Duration,
    turn: u32,
) -> Result<Total> {
    let mut sessions = Vec::new();
    for n in 0..args.clients {
        sessions.push(connect(&urls[n as usize % urls.len()]).await?);
    }
    let (began, cpu) = (host::now(), pids.map(cpu::of_trees));
    let tasks: Vec<_> = sessions
        .into_iter()
        .enumerate()
        .map(|(n, session)| {
            let seed = 1 + n as u64 + u64::from(turn) * 1000;
            host::spawn(client(session, args.accounts, seed, time))
        })
        .collect();
    let mut total = Total::nothing();
    for task in tasks {
        let (latencies, retries) = task.await??;
        total.latencies.merge(latencies);
        total.retries += retries;
    }
    total.seconds = began.elapsed().as_secs_f64();
    total.cpu_micros = spent(cpu, pids.map(cpu::of_trees));
    Ok(total)
}

async fn client(mut session: Client, accounts: i64, seed: u64, time: Duration) -> Result<(Latencies, u64)> {
    let take = session.prepare("UPDATE bench_accounts SET balance = balance - $2 WHERE id = $1").await?;
    let give = session.prepare("UPDATE bench_accounts SET balance = balance + $2 WHERE id = $1").await?;
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let (mut latencies, mut retries) = (Latencies::default(), 0);
    let began = host::now();
    while began.elapsed() < time {
        let half = accounts / 2;
        let from = host::below(&mut random, half as u64) as i64;
        let to = half + host::below(&mut random, (accounts - half) as u64) as i64;
        let amount = 1 + host::below(&mut random, 5) as i64;
        let at = host::now();
        loop {
            let result: Result<(), tokio_postgres::Error> = async {
                let transaction = session.transaction().await?;
                transaction.execute(&take, &[&from, &amount]).await?;
                transaction.execute(&give, &[&to, &amount]).await?;
                transaction.commit().await
            }
            .await;
            match result {
                Ok(()) => break,
                Err(error) if retryable(&error) => retries += 1,
                Err(error) => return Err(error.into()),
            }
        }
        latencies.add(at.elapsed().as_micros());
    }
    Ok((latencies, retries))
}

fn retryable(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(cpu_micros: Option<u64>) -> Total {
        let mut latencies = Latencies::default();
        [1000, 3000].into_iter().for_each(|micros| latencies.add(micros));
        Total { latencies, retries: 1, seconds: 0.5, cpu_micros }
    }

    #[test]
    fn turns_add_up() {
        let mut all = Total::nothing();
        [Some(10), Some(30)].into_iter().for_each(|cpu| all.add(turn(cpu)));
        let side = all.side();
        assert_eq!((side.transactions, side.retries, side.tps), (4, 2, 4.0));
        assert_eq!((side.p50_ms, side.server_cpu_us_per_txn), (Some(1.0), Some(10.0)));
    }

    #[test]
    fn what_one_turn_does_not_know_is_not_known_of_all() {
        let mut all = Total::nothing();
        [Some(10), spent(Some(7), Some(5)), Some(30)].into_iter().for_each(|cpu| all.add(turn(cpu)));
        assert_eq!(all.side().server_cpu_us_per_txn, None);
        assert_eq!(Total::nothing().side().server_cpu_us_per_txn, None, "of no transaction");
    }
}

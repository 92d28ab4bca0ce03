//! One row that everybody changes: how much gets through with one client and with many, how long each waits, and whether all get
//! their turn. Every node of ours is a gateway; the peer has one primary.

use crate::{
    HotArgs, Progress, host,
    latency::Latencies,
    ours::{Ours, connect},
    postgres::Postgres,
    report,
};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::time::Duration;
use tokio_postgres::Client;

#[derive(Serialize)]
struct Run {
    clients: u32,
    tps: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// Of the client that got least, and of the one that got most.
    least: usize,
    most: usize,
}

#[derive(Serialize)]
struct Figures {
    quorate: Vec<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres: Option<Vec<Run>>,
}

pub async fn run(args: HotArgs, progress: Progress) -> Result<()> {
    let ours = Ours::at(&args.url).await?;
    let peer = Postgres::asked_for(&args.peers, progress).await?;
    let quorate = side("quorate", &ours.urls, &args, progress).await?;
    let postgres = match &peer {
        Some(peer) => Some(side("PostgreSQL", std::slice::from_ref(&peer.url), &args, progress).await?),
        None => None,
    };
    eprint!("{}", words("quorate", &quorate));
    if let Some(runs) = &postgres {
        eprint!("{}", words("PostgreSQL", runs));
    }
    match &args.json {
        Some(file) => report::write(&Figures { quorate, postgres }, file),
        None => Ok(()),
    }
}

/// With one client, with some and with many.
async fn side(who: &str, urls: &[String], args: &HotArgs, progress: Progress) -> Result<Vec<Run>> {
    let client = connect(&urls[0]).await?;
    let create = "DROP TABLE IF EXISTS bench_hot;
                  CREATE TABLE bench_hot (id int8 PRIMARY KEY, n int8 NOT NULL);
                  INSERT INTO bench_hot VALUES (1, 0)";
    client.batch_execute(create).await?;
    let mut runs = Vec::new();
    let mut done = 0;
    for clients in [1, args.clients.isqrt(), args.clients] {
        let _waiting = progress(format!("{who}: {clients} clients change one row"));
        let each = all(urls, clients, args.duration).await?;
        done += each.iter().map(Latencies::count).sum::<usize>();
        runs.push(summary(clients, args.duration, each));
    }
    let n: i64 = client.query_one("SELECT n FROM bench_hot", &[]).await?.get(0);
    ensure!(n == done as i64, "{who}: {done} changes were acknowledged, and the row says {n}");
    Ok(runs)
}

/// What each client's changes took.
async fn all(urls: &[String], clients: u32, duration: Duration) -> Result<Vec<Latencies>> {
    let mut sessions = Vec::new();
    for n in 0..clients as usize {
        sessions.push(connect(&urls[n % urls.len()]).await?);
    }
    let tasks: Vec<_> = sessions.into_iter().map(|session| host::spawn(change(session, duration))).collect();
    let mut each = Vec::new();
    for task in tasks {
        each.push(task.await??);
    }
    Ok(each)
}

async fn change(client: Client, duration: Duration) -> Result<Latencies> {
    let update = client.prepare("UPDATE bench_hot SET n = n + 1 WHERE id = 1").await?;
    let (mut latencies, began) = (Latencies::default(), host::now());
    while began.elapsed() < duration {
        let asked = host::now();
        client.execute(&update, &[]).await?;
        latencies.add(asked.elapsed().as_micros());
    }
    Ok(latencies)
}

fn summary(clients: u32, duration: Duration, each: Vec<Latencies>) -> Run {
    let counts = || each.iter().map(Latencies::count);
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let tps = counts().sum::<usize>() as f64 / duration.as_secs_f64();
    let mut total = Latencies::default();
    each.into_iter().for_each(|latencies| total.merge(latencies));
    let at = |percent| total.percentile_ms(percent);
    Run { clients, tps, p50_ms: at(50.0), p99_ms: at(99.0), max_ms: at(100.0), least, most }
}

fn words(who: &str, runs: &[Run]) -> String {
    let mut text = format!("{who}\nclients      tps   p50 ms   p99 ms   max ms   changes of a client\n");
    for run in runs {
        let ms = |value: Option<f64>| value.map_or("-".into(), |ms| format!("{ms:.1}"));
        text += &format!(
            "{:>7} {:>8.0} {:>8} {:>8} {:>8}   {} to {}\n",
            run.clients,
            run.tps,
            ms(run.p50_ms),
            ms(run.p99_ms),
            ms(run.max_ms),
            run.least,
            run.most
        );
    }
    text
}

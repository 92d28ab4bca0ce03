//! Workers take jobs from a queue over three shards and an index, through all three gateways, while nodes are killed: what was
//! acknowledged stays done, no job is given twice, and the index agrees with the table.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{Demo, pause};
use tokio_postgres::Client;

const ROUNDS: i32 = 3;
const JOBS: i32 = 72;
const WORKERS: i32 = 9;
const LEVELS: [&str; 3] = ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"];

/// Each locks a row or more to find what it then changes. Under `SKIP LOCKED` the first key that it asks for is often another's, so
/// that its record lies elsewhere in the end.
fn take(worker: i32) -> String {
    let next = |limit| {
        format!(
            "SELECT id FROM jobs WHERE state = 'new' ORDER BY prio, id LIMIT {limit} FOR UPDATE SKIP LOCKED"
        )
    };
    match worker / 3 % 3 {
        0 => format!("DELETE FROM jobs WHERE id = ({}) RETURNING id", next(1)),
        1 => format!("DELETE FROM jobs WHERE id IN ({}) RETURNING id", next(3)),
        _ => format!(
            "WITH c AS ({}) UPDATE jobs SET state = 'done', worker = {worker} FROM c WHERE c.id = jobs.id
             RETURNING jobs.id",
            next(1)
        ),
    }
}

fn deletes(worker: i32) -> bool {
    worker / 3 % 3 < 2
}

/// Which worker was told that it has which job.
#[derive(Default)]
struct Told {
    taken: Mutex<BTreeMap<i32, i32>>,
    twice: Mutex<Vec<i32>>,
    stop: AtomicBool,
}

impl Told {
    fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    fn takes(&self, worker: i32, id: i32) {
        if self.taken.lock().unwrap().insert(id, worker).is_some() {
            self.twice.lock().unwrap().push(id);
        }
    }
}

async fn session(demo: &Demo, worker: i32) -> Result<Client, tokio_postgres::Error> {
    let client = demo.try_client(1 + (worker % 3) as u16).await?;
    let level = LEVELS[((worker / 3 + worker) % 3) as usize];
    client.batch_execute(&format!("SET default_transaction_isolation = '{level}'")).await?;
    Ok(client)
}

async fn worker(demo: Arc<Demo>, number: i32, told: Arc<Told>) {
    let take = take(number);
    while !told.stop.load(Ordering::SeqCst) {
        if let Ok(client) = session(&demo, number).await {
            while !told.stop.load(Ordering::SeqCst) {
                match client.query(&take, &[]).await {
                    Ok(rows) if rows.is_empty() => pause(Duration::from_millis(50)).await,
                    Ok(rows) => rows.iter().for_each(|row| told.takes(number, row.get(0))),
                    Err(error) if error.code().is_some_and(|code| code.code().starts_with("40")) => {}
                    Err(_) => break,
                }
            }
        }
        pause(Duration::from_millis(100)).await;
    }
}

async fn wait_for_more(told: &Told, more: usize) {
    let goal = told.count() + more;
    for _ in 0..600 {
        if told.count() >= goal {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("no jobs are taken: {} so far", told.count());
}

/// Nothing stays behind, the jobs that a dead gateway's transactions had locked among it.
async fn wait_until_empty(client: &Client) {
    let mut left = 0;
    for _ in 0..600 {
        let row = client.query_one("SELECT count(*) FROM jobs WHERE state = 'new'", &[]).await.unwrap();
        left = row.get::<_, i64>(0);
        if left == 0 {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("{left} jobs are never taken");
}

type Job = (i32, i32, String, Option<i32>);

async fn jobs(client: &Client, what: &str) -> Vec<Job> {
    let rows = client.query(&format!("SELECT id, prio, state, {what}"), &[]).await.unwrap();
    let mut jobs: Vec<Job> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    jobs.sort_unstable();
    jobs
}

/// Through this gateway, in one snapshot.
async fn verify(client: &Client, told: &Told) {
    let twice = told.twice.lock().unwrap().clone();
    assert!(twice.is_empty(), "given twice: {twice:?}");
    let begun: Vec<(i32, i32)> = told.taken.lock().unwrap().iter().map(|(id, by)| (*id, *by)).collect();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let by_index = jobs(client, "NULL::int FROM jobs WHERE state > ''").await;
    let by_table = jobs(client, "worker FROM jobs WHERE state || '' > ''").await;
    client.batch_execute("COMMIT").await.unwrap();
    let keys = |jobs: &[Job]| {
        jobs.iter().map(|(id, prio, state, _)| (*id, *prio, state.clone())).collect::<Vec<_>>()
    };
    assert_eq!(keys(&by_index), keys(&by_table), "the index and the table");
    let rows: BTreeMap<i32, &Job> = by_table.iter().map(|job| (job.0, job)).collect();
    for (id, by) in begun {
        match rows.get(&id) {
            None => assert!(deletes(by), "job {id}, which worker {by} has updated, is gone"),
            Some((.., state, worker)) => {
                let done = !deletes(by) && state == "done" && *worker == Some(by);
                assert!(done, "job {id}, which worker {by} was given, is {state} by {worker:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_jobs_stay_done_when_nodes_are_killed() {
    let demo = Arc::new(Demo::start());
    let client = demo.client(1).await;
    let last = ROUNDS * JOBS;
    client
        .batch_execute(&format!(
            "CREATE TABLE jobs (id int PRIMARY KEY, prio int NOT NULL, state text NOT NULL DEFAULT 'new', worker int);
             CREATE INDEX ON jobs (state, prio);
             ALTER TABLE jobs SPLIT AT VALUES ({}), ({});
             ALTER TABLE jobs SCATTER",
            last / 3,
            2 * last / 3
        ))
        .await
        .unwrap();
    drop(client);
    let told = Arc::new(Told::default());
    let workers: Vec<_> =
        (0..WORKERS).map(|number| tokio::spawn(worker(demo.clone(), number, told.clone()))).collect();
    for round in 0..ROUNDS {
        let victim = 1 + round as u16;
        let client = demo.client(1 + victim % 3).await;
        let ids = format!("generate_series({round}, {}, {ROUNDS}) id", last - 1);
        let insert = format!("INSERT INTO jobs SELECT id, id * 7919 % 50 FROM {ids}");
        client.batch_execute(&insert).await.unwrap();
        wait_for_more(&told, 20).await;
        demo.kill(victim);
        wait_for_more(&told, 20).await;
        demo.restart(victim);
        wait_until_empty(&client).await;
        for node in demo.nodes() {
            verify(&demo.client(node).await, &told).await;
        }
    }
    told.stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    for node in demo.nodes() {
        verify(&demo.client(node).await, &told).await;
    }
}

//! A rolling restart under load: each node is told to stop and is started again, and what its clients and those of the others
//! notice is printed. As many statements as `QUORATE_TEST_STATEMENTS` says run between two restarts.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{Demo, below, pause};
use tokio_postgres::{Client, error::SqlState};

const ROWS: u64 = 400;
const CLIENTS: u16 = 6;

#[derive(Default)]
struct Noticed {
    /// When each statement or transaction was answered, how long that took, and through which node.
    answers: Mutex<Vec<(Instant, Duration, u16)>>,
    count: AtomicU64,
    /// Sessions that were ended between transactions.
    sent_away: AtomicU64,
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Noticed {
    /// Whether the client has merely been sent away: told so, or found the connection closed.
    fn note(&self, gateway: u16, begun: Instant, result: Result<(), tokio_postgres::Error>) -> bool {
        match result {
            Ok(()) => {
                self.answers.lock().unwrap().push((Instant::now(), begun.elapsed(), gateway));
                self.count.fetch_add(1, Ordering::SeqCst);
                true
            }
            Err(error) if error.code() == Some(&SqlState::ADMIN_SHUTDOWN) || error.is_closed() => {
                self.sent_away.fetch_add(1, Ordering::SeqCst);
                false
            }
            Err(error) => {
                self.wrong.lock().unwrap().push(format!("node {gateway}: {error:?}"));
                false
            }
        }
    }
}

/// Every other time a statement, and a transaction of two.
async fn work(client: &mut Client, random: &mut u64) -> Result<(), tokio_postgres::Error> {
    let add = "UPDATE t SET v = v + 1 WHERE id = $1";
    let id = below(random, ROWS) as i64;
    if below(random, 2) == 0 {
        return client.execute(add, &[&id]).await.map(|_| ());
    }
    let transaction = client.transaction().await?;
    let v: i64 = transaction.query_one("SELECT v FROM t WHERE id = $1", &[&id]).await?.get(0);
    transaction.execute("UPDATE t SET v = $2 WHERE id = $1", &[&id, &(v + 1)]).await?;
    transaction.commit().await
}

/// Works through one node, or another while that one is away.
async fn client(demo: Arc<Demo>, home: u16, number: u64, noticed: Arc<Noticed>) {
    let mut random = 0x9e37_79b9 + number;
    let mut turn = 0;
    while !noticed.stop.load(Ordering::SeqCst) {
        let gateway = 1 + (home + turn) % 3;
        turn = (turn + 1) % 3;
        let Ok(mut client) = demo.try_client(gateway).await else { continue };
        loop {
            if noticed.stop.load(Ordering::SeqCst) {
                return;
            }
            let begun = Instant::now();
            let result = match work(&mut client, &mut random).await {
                // As anybody would.
                Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => continue,
                other => other,
            };
            if !noticed.note(gateway, begun, result) {
                break;
            }
        }
    }
}

async fn wait_for_more(noticed: &Noticed, more: u64) {
    let goal = noticed.count.load(Ordering::SeqCst) + more;
    for _ in 0..1200 {
        if noticed.count.load(Ordering::SeqCst) >= goal {
            return;
        }
        pause(Duration::from_millis(50)).await;
    }
    panic!("nothing is answered: {:?}", noticed.wrong.lock().unwrap());
}

/// The longest of all, and some others.
fn distribution(mut took: Vec<Duration>) -> String {
    took.sort();
    if took.is_empty() {
        return "none".into();
    }
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    format!(
        "{} answers, median {:?}, 99 % {:?}, 99.9 % {:?}, longest {:?}",
        took.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_a_rolling_restart() {
    let demo = Arc::new(Demo::start());
    let operator = demo.client(1).await;
    operator
        .batch_execute(&format!(
            "CREATE TABLE t (id int8 PRIMARY KEY, v int8); INSERT INTO t SELECT g, 0 FROM generate_series(0, {}) g;
             ALTER TABLE t SPLIT AT VALUES (50), (100), (150), (200), (250), (300), (350);",
            ROWS - 1
        ))
        .await
        .unwrap();
    operator.batch_execute("ALTER TABLE t SCATTER").await.unwrap();
    drop(operator);
    let between = std::env::var("QUORATE_TEST_STATEMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let noticed = Arc::new(Noticed::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| tokio::spawn(client(demo.clone(), n % 3, u64::from(n), noticed.clone())))
        .collect();
    wait_for_more(&noticed, between).await;
    let quiet: Vec<Duration> = noticed.answers.lock().unwrap().iter().map(|(_, took, _)| *took).collect();
    eprintln!("before: {}", distribution(quiet));
    for node in demo.nodes() {
        let begun = Instant::now();
        demo.manage(&["restart", &node.to_string()]).await.done();
        let over = Instant::now();
        wait_for_more(&noticed, between).await;
        let answers = noticed.answers.lock().unwrap();
        let meanwhile = answers.iter().filter(|(at, _, gateway)| *at > begun && *gateway != node);
        let took = meanwhile.map(|(_, took, _)| *took).collect();
        eprintln!("node {node}, away for {:?}: at the others {}", over - begun, distribution(took));
    }
    noticed.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let wrong = std::mem::take(&mut *noticed.wrong.lock().unwrap());
    let (count, away) = (noticed.count.load(Ordering::SeqCst), noticed.sent_away.load(Ordering::SeqCst));
    eprintln!("{count} answers, {away} sessions ended between transactions, {} errors", wrong.len());
    assert!(wrong.is_empty(), "{wrong:?}");
    // What was told to be done is done, once.
    let sum: i64 = demo.client(2).await.query_one("SELECT sum(v)::int8 FROM t", &[]).await.unwrap().get(0);
    assert!((count..=count + away).contains(&(sum as u64)), "{sum} for {count} and at most {away} more");
    demo.assert_healthy().await;
}

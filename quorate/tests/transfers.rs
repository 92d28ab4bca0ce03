//! Money moves through all three gateways between eight shards while nodes are killed: no sum is ever wrong, no
//! acknowledged transfer is lost, none happens twice.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{Demo, below, frontiers::caught_up, pause, seconds};
use tokio_postgres::Client;

const ACCOUNTS: u64 = 400;
const OPENING: i64 = 1000;
const WRITERS: i64 = 6;

/// The node through which a writer works.
fn gateway(writer: i64) -> u16 {
    1 + (writer % 3) as u16
}

async fn prepare(demo: &Demo) {
    let client = demo.client(1).await;
    client
        .batch_execute(&format!(
            "CREATE TABLE accounts (id int8 PRIMARY KEY, balance int8 NOT NULL);
             CREATE TABLE ledger (id int8 PRIMARY KEY, debit int8 NOT NULL, credit int8 NOT NULL, amount int8 NOT NULL);
             INSERT INTO accounts SELECT g, {OPENING} FROM generate_series(0, {}) g;",
            ACCOUNTS - 1
        ))
        .await
        .unwrap();
    client.batch_execute(&divided()).await.unwrap();
    client.batch_execute("ALTER TABLE accounts SCATTER").await.unwrap();
}

fn divided() -> String {
    let at: Vec<String> = (1..8).map(|n| format!("({})", n * ACCOUNTS / 8)).collect();
    format!("ALTER TABLE accounts SPLIT AT VALUES {}", at.join(","))
}

/// What clients were told.
#[derive(Default)]
struct Told {
    acknowledged: Mutex<BTreeSet<i64>>,
    count: AtomicU64,
    /// When which writer was told of a commit.
    commits: Mutex<Vec<(Instant, i64)>>,
    sums: AtomicU64,
    stop: AtomicBool,
}

async fn transfer(client: &mut Client, id: i64, random: &mut u64) -> Result<(), tokio_postgres::Error> {
    let debit = below(random, ACCOUNTS) as i64;
    let credit = (debit + 1 + below(random, ACCOUNTS - 1) as i64) % ACCOUNTS as i64;
    let amount = 1 + below(random, 10) as i64;
    let transaction = client.transaction().await?;
    transaction
        .execute("UPDATE accounts SET balance = balance - $2 WHERE id = $1", &[&debit, &amount])
        .await?;
    transaction
        .execute("UPDATE accounts SET balance = balance + $2 WHERE id = $1", &[&credit, &amount])
        .await?;
    transaction
        .execute("INSERT INTO ledger VALUES ($1, $2, $3, $4)", &[&id, &debit, &credit, &amount])
        .await?;
    transaction.commit().await
}

/// Transfers until told to stop; an error of any kind ends the session, and the next transfer takes a new id.
async fn writer(demo: Arc<Demo>, node: u16, number: i64, told: Arc<Told>) {
    let mut random = 0x9e37_79b9 + number as u64;
    let mut next = number * 1_000_000;
    while !told.stop.load(Ordering::SeqCst) {
        let Ok(mut client) = demo.try_client(node).await else {
            pause(Duration::from_millis(100)).await;
            continue;
        };
        while !told.stop.load(Ordering::SeqCst) {
            next += 1;
            match transfer(&mut client, next, &mut random).await {
                Ok(()) => {
                    told.acknowledged.lock().unwrap().insert(next);
                    told.commits.lock().unwrap().push((Instant::now(), number));
                    told.count.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) if error.code().is_some_and(|c| c.code().starts_with("40")) => {}
                Err(_) => break,
            }
        }
    }
}

async fn reader(demo: Arc<Demo>, node: u16, told: Arc<Told>) {
    while !told.stop.load(Ordering::SeqCst) {
        if let Ok(client) = demo.try_client(node).await {
            while !told.stop.load(Ordering::SeqCst) {
                let Ok(row) =
                    client.query_one("SELECT sum(balance)::int8, count(*) FROM accounts", &[]).await
                else {
                    break;
                };
                assert_eq!(
                    (row.get::<_, i64>(0), row.get::<_, i64>(1)),
                    (ACCOUNTS as i64 * OPENING, ACCOUNTS as i64)
                );
                told.sums.fetch_add(1, Ordering::SeqCst);
            }
        }
        pause(Duration::from_millis(100)).await;
    }
}

/// The ledger explains every balance, and holds all that was acknowledged.
async fn verify(demo: &Demo, told: &Told) {
    let client = demo.client(2).await;
    let ids: Vec<i64> =
        client.query("SELECT id FROM ledger", &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
    let found: BTreeSet<i64> = ids.iter().copied().collect();
    assert_eq!(found.len(), ids.len(), "a ledger row appears twice");
    let lost: Vec<i64> = told.acknowledged.lock().unwrap().difference(&found).copied().collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let wrong = client
        .query(
            "SELECT a.id FROM accounts a
             LEFT JOIN (SELECT debit, sum(amount) AS s FROM ledger GROUP BY debit) d ON d.debit = a.id
             LEFT JOIN (SELECT credit, sum(amount) AS s FROM ledger GROUP BY credit) c ON c.credit = a.id
             WHERE a.balance <> $1::int8 - coalesce(d.s, 0) + coalesce(c.s, 0)",
            &[&OPENING],
        )
        .await
        .unwrap();
    assert!(wrong.is_empty(), "{} balances differ from what the ledger says", wrong.len());
}

fn begin(demo: &Arc<Demo>, told: &Arc<Told>) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for number in 1..=WRITERS {
        tasks.push(tokio::spawn(writer(demo.clone(), gateway(number), number, told.clone())));
    }
    tasks.extend(demo.nodes().map(|node| tokio::spawn(reader(demo.clone(), node, told.clone()))));
    tasks
}

async fn end(told: &Told, tasks: Vec<tokio::task::JoinHandle<()>>) {
    told.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
}

async fn wait_for_more(told: &Told, more: u64) {
    let goal = told.count.load(Ordering::SeqCst) + more;
    for _ in 0..600 {
        if told.count.load(Ordering::SeqCst) >= goal {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("transfers do not flow: {} acknowledged", told.count.load(Ordering::SeqCst));
}

/// How long a writer at another gateway was told of no commit since `kill`: the longest such time of them all, and the longest
/// that still lasts. Each of them waits for the shards that its next transfer happens to need.
fn stall(told: &Told, kill: Instant, victim: u16) -> (Duration, Duration) {
    let commits = told.commits.lock().unwrap();
    let (mut longest, mut lasting) = (Duration::ZERO, Duration::ZERO);
    for writer in (1..=WRITERS).filter(|number| gateway(*number) != victim) {
        let mut last = kill;
        for (at, _) in commits.iter().filter(|(at, of)| *of == writer && *at > kill) {
            longest = longest.max(*at - last);
            last = *at;
        }
        lasting = lasting.max(last.elapsed());
    }
    (longest.max(lasting), lasting)
}

/// Until all writers at the other gateways commit again.
async fn wait_for_survivors(told: &Told, kill: Instant, victim: u16) -> Duration {
    for _ in 0..600 {
        let (longest, lasting) = stall(told, kill, victim);
        if lasting < Duration::from_secs(1) {
            return longest;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("a gateway does not commit again without node {victim}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_killed_one_after_the_other() {
    let demo = Arc::new(Demo::start());
    prepare(&demo).await;
    let told = Arc::new(Told::default());
    let tasks = begin(&demo, &told);
    let mut random = u64::from(std::process::id()) | 1;
    wait_for_more(&told, 20).await;
    for round in 0..3 {
        pause(seconds(30) / 6).await;
        let victim = 1 + below(&mut random, 3) as u16;
        let kill = Instant::now();
        demo.kill(victim);
        pause(seconds(30) / 6).await;
        let stall = wait_for_survivors(&told, kill, victim).await;
        eprintln!(
            "round {round}: without node {victim}, no writer at another gateway waits longer than {stall:?}"
        );
        demo.restart(victim);
        caught_up(&demo, victim).await;
        wait_for_more(&told, 20).await;
    }
    end(&told, tasks).await;
    let (count, sums) = (told.count.load(Ordering::SeqCst), told.sums.load(Ordering::SeqCst));
    eprintln!("{count} transfers acknowledged, {sums} sums exact");
    assert!(sums > 0);
    verify(&demo, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_are_killed_at_once() {
    let demo = Arc::new(Demo::start());
    prepare(&demo).await;
    let told = Arc::new(Told::default());
    let tasks = begin(&demo, &told);
    wait_for_more(&told, 50).await;
    for node in demo.nodes() {
        demo.kill(node);
    }
    end(&told, tasks).await;
    demo.up();
    verify(&demo, &told).await;
    let fresh = Arc::new(Told::default());
    let number = 100;
    let writer = tokio::spawn(writer(demo.clone(), 3, number, fresh.clone()));
    wait_for_more(&fresh, 5).await;
    end(&fresh, vec![writer]).await;
    verify(&demo, &fresh).await;
}

/// Makes one shard of all, and divides it again, until told to stop; how often it did is counted.
async fn operator(demo: Arc<Demo>, told: Arc<Told>, rounds: Arc<AtomicU64>) {
    while !told.stop.load(Ordering::SeqCst) {
        let Ok(client) = demo.try_client(1).await else { continue };
        for change in ["ALTER TABLE accounts UNSPLIT ALL", &divided(), "ALTER TABLE accounts SCATTER"] {
            // Without a node that holds copies nothing is merged.
            if let Err(error) = client.batch_execute(change).await {
                eprintln!("{change}: {error:?}");
                break;
            }
        }
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

async fn wait_for_round(told: &Told, rounds: &AtomicU64) {
    // The one under way has begun before.
    let goal = rounds.load(Ordering::SeqCst) + 2;
    while rounds.load(Ordering::SeqCst) < goal {
        wait_for_more(told, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_merged_and_split_over_and_over() {
    let demo = Arc::new(Demo::start());
    prepare(&demo).await;
    let (told, rounds) = (Arc::new(Told::default()), Arc::new(AtomicU64::new(0)));
    let mut tasks = begin(&demo, &told);
    tasks.push(tokio::spawn(operator(demo.clone(), told.clone(), rounds.clone())));
    wait_for_round(&told, &rounds).await;
    demo.kill(3);
    wait_for_more(&told, 20).await;
    demo.restart(3);
    wait_for_more(&told, 20).await;
    wait_for_round(&told, &rounds).await;
    end(&told, tasks).await;
    verify(&demo, &told).await;
    let client = demo.client(2).await;
    client.batch_execute("ALTER TABLE accounts UNSPLIT ALL").await.unwrap();
    let shards = client.query("SHOW SHARDS FROM TABLE accounts", &[]).await.unwrap();
    assert_eq!(shards.len(), 1, "{shards:?}");
    verify(&demo, &told).await;
    let (count, rounds) = (told.count.load(Ordering::SeqCst), rounds.load(Ordering::SeqCst));
    eprintln!("{count} transfers acknowledged while {rounds} times all shards were merged and divided again");
}

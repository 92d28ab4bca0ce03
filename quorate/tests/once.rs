//! Clients whose connections break at any moment run their transactions blindly again, at any gateway, under the same key: each
//! happens once, whatever was seen of it, also when a node is killed meanwhile.
//!
//! `QUORATE_TEST_TRANSFERS=100000 cargo test --release -p quorate --test once -- around_commit --nocapture` takes longer.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{Demo, below, pause, raw, seconds, tools};
use tokio_postgres::NoTls;

const ACCOUNTS: u64 = 40;
const WRITERS: u64 = 6;

#[derive(Default)]
struct Told {
    acknowledged: AtomicU64,
    cut: AtomicU64,
    enough: AtomicBool,
}

/// One attempt on a connection that is cut after some time; whether the commit was acknowledged.
async fn attempt(demo: &Demo, node: u16, text: &str, cut_after: Option<Duration>, told: &Told) -> bool {
    let Ok((client, connection)) = tokio_postgres::connect(&demo.url(node), NoTls).await else {
        pause(Duration::from_millis(50)).await;
        return false;
    };
    let connection = tokio::spawn(connection);
    let run = client.batch_execute(text);
    let result = match cut_after {
        None => run.await.map_err(|error| error.to_string()),
        Some(limit) => tokio::time::timeout(limit, run).await.map_or_else(
            |_| {
                told.cut.fetch_add(1, Ordering::SeqCst);
                Err("cut".into())
            },
            |result| result.map_err(|error| error.to_string()),
        ),
    };
    connection.abort();
    result.is_ok()
}

async fn writer(demo: Arc<Demo>, number: u64, told: Arc<Told>) {
    let mut random = 0x9e37_79b9 + number;
    for n in 0.. {
        if told.enough.load(Ordering::SeqCst) {
            return;
        }
        let debit = below(&mut random, ACCOUNTS);
        let credit = (debit + 1 + below(&mut random, ACCOUNTS - 1)) % ACCOUNTS;
        let text = format!(
            "SET quorate.idempotency_key = 'writer {number}, transfer {n}'; BEGIN;
             UPDATE accounts SET balance = balance - 1 WHERE id = {debit};
             UPDATE accounts SET balance = balance + 1 WHERE id = {credit};
             INSERT INTO ledger (writer, transfer) VALUES ({number}, {n}) RETURNING place; COMMIT"
        );
        // Most connections break, around the time that a transfer takes; after many the client is patient.
        for tries in 0.. {
            let micros = 500 + below(&mut random, 60_000);
            let cut = (tries < 20).then(|| Duration::from_micros(micros));
            if attempt(&demo, 1 + below(&mut random, 3) as u16, &text, cut, &told).await {
                break;
            }
            assert!(tries < 2000, "transfer {n} of writer {number} does not get through");
        }
        told.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_run_blindly_again_happens_once() {
    let demo = Arc::new(Demo::start());
    let client = demo.client(1).await;
    client
        .batch_execute(&format!(
            "CREATE TABLE accounts (id int8 PRIMARY KEY, balance int8 NOT NULL);
             CREATE TABLE ledger (place serial PRIMARY KEY, writer int8 NOT NULL, transfer int8 NOT NULL);
             INSERT INTO accounts SELECT g, 0 FROM generate_series(0, {}) g;
             ALTER TABLE accounts SPLIT AT VALUES (13), (26);
             ALTER TABLE accounts SCATTER",
            ACCOUNTS - 1
        ))
        .await
        .unwrap();
    let told = Arc::new(Told::default());
    let until = Instant::now() + seconds(12);
    let writers: Vec<_> =
        (0..WRITERS).map(|number| tokio::spawn(writer(demo.clone(), number, told.clone()))).collect();
    pause(seconds(12) / 3).await;
    demo.kill(2);
    pause(seconds(12) / 6).await;
    demo.restart(2);
    // And until the interesting case has come up.
    let answered_again = async || {
        let mut again = 0.0;
        for node in demo.nodes() {
            again += tools::metric(&demo.http(node), "quorate_sql_answered_again_total").await.unwrap_or(0.0);
        }
        again
    };
    while Instant::now() < until || told.cut.load(Ordering::SeqCst) <= 20 || answered_again().await == 0.0 {
        pause(Duration::from_millis(100)).await;
    }
    told.enough.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let acknowledged = told.acknowledged.load(Ordering::SeqCst) as i64;
    let row = client
        .query_one(
            "SELECT count(*), count(DISTINCT (writer * 1000000 + transfer)), \
             (SELECT sum(balance)::int8 FROM accounts) FROM ledger",
            &[],
        )
        .await
        .unwrap();
    let told_of = (row.get::<_, i64>(0), row.get::<_, i64>(1));
    assert_eq!(told_of, (acknowledged, acknowledged), "transfers in the ledger, and different ones");
    assert_eq!(row.get::<_, i64>(2), 0, "money came or went");
    let (cut, again) = (told.cut.load(Ordering::SeqCst), answered_again().await);
    eprintln!("{acknowledged} transfers, {cut} connections cut, {again} transactions had happened already");
    let asked = "SELECT outcome FROM quorate.transaction_outcome('writer 0, transfer 0')";
    assert_eq!(client.query_one(asked, &[]).await.unwrap().get::<_, String>(0), "committed");
}

/// Where a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    BeforeCommit,
    /// After some bytes of the message.
    WithinCommit,
    /// At once, or while it is carried out.
    AfterCommit,
    /// The client has read it, and forgets it.
    AfterAnswer,
    Nowhere,
}

const CUTS: [Cut; 5] =
    [Cut::BeforeCommit, Cut::WithinCommit, Cut::AfterCommit, Cut::AfterAnswer, Cut::Nowhere];

/// Chosen by its number, so that whoever checks knows it as well.
struct Transfer {
    number: u64,
    amount: i64,
    debit: u64,
    credit: u64,
    random: u64,
}

impl Transfer {
    fn new(number: u64) -> Transfer {
        let mut random = 0x9e37_79b9_7f4a_7c15 ^ (number + 1).wrapping_mul(0xff51_afd7_ed55_8ccd);
        below(&mut random, 2);
        let debit = below(&mut random, ACCOUNTS);
        let credit = (debit + 1 + below(&mut random, ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + below(&mut random, 100) as i64;
        Transfer { number, amount, debit, credit, random }
    }

    /// All but the COMMIT. The same words each time; accounts in order, so that nobody waits in a circle.
    fn text(&self) -> String {
        let Transfer { number, amount, debit, credit, .. } = self;
        let update = |account: &u64, by: i64| {
            format!("UPDATE accounts SET balance = balance + {by} WHERE id = {account}; ")
        };
        let (one, other) = (update(debit, -amount), update(credit, *amount));
        let updates = if debit < credit { one + &other } else { other + &one };
        format!(
            "BEGIN IDEMPOTENCY KEY 'transfer {number}'; {updates}
             INSERT INTO log (transfer) VALUES ({number}) RETURNING place"
        )
    }

    /// The first connection mostly breaks, later ones less and less.
    fn cut(&mut self, tries: u64) -> Cut {
        if tries > 0 && below(&mut self.random, 2 + tries) > 0 {
            return Cut::Nowhere;
        }
        CUTS[below(&mut self.random, CUTS.len() as u64) as usize]
    }

    /// One attempt; a connection that goes on if the client knows that it has committed.
    async fn attempt(
        &mut self,
        mut session: raw::Session,
        cut: Cut,
    ) -> std::io::Result<Option<raw::Session>> {
        session.send_bytes(&raw::query(&self.text())).await?;
        if session.try_outcome().await?.is_some() {
            return Ok(None);
        }
        let commit = raw::query("COMMIT");
        let bytes = match cut {
            Cut::BeforeCommit => 0,
            Cut::WithinCommit => 1 + below(&mut self.random, commit.len() as u64 - 1) as usize,
            _ => commit.len(),
        };
        session.send_bytes(&commit[..bytes]).await?;
        if cut == Cut::AfterCommit {
            pause(Duration::from_micros(below(&mut self.random, 2) * below(&mut self.random, 20_000))).await;
        }
        if matches!(cut, Cut::AfterAnswer | Cut::Nowhere) && session.try_outcome().await?.is_some() {
            return Ok(None);
        }
        if cut == Cut::Nowhere {
            return Ok(Some(session));
        }
        session.cut();
        Ok(None)
    }

    /// Runs it blindly again and again, each time anywhere, until it is told that it has committed.
    async fn carry_out(&mut self, demo: &Demo, idle: &mut Option<raw::Session>, cuts: &[AtomicU64]) {
        for tries in 0.. {
            assert!(tries < 200, "transfer {} does not get through", self.number);
            let session = match idle.take() {
                Some(session) => Ok(session),
                None => raw::Session::try_open(demo.sql_port(1 + below(&mut self.random, 3) as u16)).await,
            };
            let Ok(session) = session else {
                pause(Duration::from_millis(20)).await;
                continue;
            };
            let cut = self.cut(tries);
            cuts[cut as usize].fetch_add(1, Ordering::SeqCst);
            if let Ok(Some(session)) = self.attempt(session, cut).await {
                // Now and then it stays at its gateway.
                *idle = Some(session).filter(|_| below(&mut self.random, 2) == 0);
                return;
            }
        }
    }
}

/// As many as `QUORATE_TEST_TRANSFERS` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_whose_connections_break_around_commit_happen_once() {
    let given = std::env::var("QUORATE_TEST_TRANSFERS").ok().and_then(|number| number.parse().ok());
    let transfers: u64 = given.unwrap_or(100);
    let demo = Arc::new(Demo::start());
    let client = demo.client(1).await;
    client
        .batch_execute(&format!(
            "CREATE TABLE accounts (id int8 PRIMARY KEY, balance int8 NOT NULL);
             CREATE TABLE log (place serial PRIMARY KEY, transfer int8 NOT NULL);
             INSERT INTO accounts SELECT g, 0 FROM generate_series(0, {}) g;
             ALTER TABLE accounts SPLIT AT VALUES (13), (26);
             ALTER TABLE accounts SCATTER",
            ACCOUNTS - 1
        ))
        .await
        .unwrap();
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let cuts: Arc<[AtomicU64; CUTS.len()]> = Arc::default();
    let clients: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (demo, next, cuts) = (demo.clone(), next.clone(), cuts.clone());
            tokio::spawn(async move {
                let mut idle = None;
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= transfers {
                        return;
                    }
                    Transfer::new(number).carry_out(&demo, &mut idle, &*cuts).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let mut expected = vec![0i64; ACCOUNTS as usize];
    for transfer in (0..transfers).map(Transfer::new) {
        expected[transfer.debit as usize] -= transfer.amount;
        expected[transfer.credit as usize] += transfer.amount;
    }
    let counts = "SELECT count(*), count(DISTINCT transfer) FROM log";
    let row = client.query_one(counts, &[]).await.unwrap();
    let counted = (row.get::<_, i64>(0) as u64, row.get::<_, i64>(1) as u64);
    assert_eq!(counted, (transfers, transfers), "transfers in the log, and different ones");
    let rows = client.query("SELECT balance FROM accounts ORDER BY id", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), expected);
    let mut again = 0.0;
    for node in demo.nodes() {
        again += tools::metric(&demo.http(node), "quorate_sql_answered_again_total").await.unwrap_or(0.0);
    }
    let cut = CUTS.map(|cut| (cut, cuts[cut as usize].load(Ordering::SeqCst)));
    let took = began.elapsed();
    eprintln!(
        "{transfers} transfers in {took:.1?}; connections that broke: {cut:?}; {again} had happened already"
    );
    assert!(
        again > 0.0 && cut.iter().all(|(_, times)| *times > 0),
        "not all cases came up: {cut:?}, {again} again"
    );
}

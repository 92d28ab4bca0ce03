//! What transactions cost, in entries and rounds.

use crate::{
    put_all, quiet, rows,
    support::{FakeShards, exclusive, key, run, run_with, value},
};
use quorate_proto::{KvError, Span};
use quorate_txn::{Outcome, ScanOptions, TxnError, TxnOptions};
use std::time::Duration;

#[test]
fn one_shard_costs_one_entry_and_one_round() {
    run(quiet(1), |shards| async move {
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        txn.put(key("a"), value("1"));
        txn.put(key("b"), value("2"));
        let committed = txn.commit().await.unwrap();
        assert_eq!((committed.cost.rounds, committed.cost.entries, committed.cost.calls), (1, 1, 0));
        assert_eq!(shards.seen(), ["local"]);
        let evidence = shards.coordinator(1).evidence(txn.id()).unwrap();
        assert_eq!(evidence.outcome, Outcome::Committed(committed.ts));
        assert!(evidence.decided.is_some());
    });
}

#[test]
fn a_transfer_between_shards_costs_one_round() {
    // Intents are resolved while the commit is waited out.
    transfer(true, 1, &["lock", "lock", "prepare", "prepare", "decide", "resolve"]);
}

#[test]
fn a_transfer_without_staging_costs_two_rounds() {
    transfer(false, 2, &["lock", "lock", "prepare", "prepare", "decide", "resolve", "resolve"]);
}

fn transfer(parallel: bool, rounds: u64, seen: &'static [&'static str]) {
    run_with(quiet(2), parallel, move |shards| async move {
        put_all(&shards, &[("a", "10"), ("i", "10")]).await;
        let txn = shards.coordinator(1).begin(TxnOptions::default());
        for k in ["a", "i"] {
            assert_eq!(txn.get(&key(k), exclusive()).await.unwrap(), Some(value("10")));
        }
        txn.put(key("a"), value("9"));
        txn.put(key("i"), value("11"));
        let committed = txn.commit().await.unwrap();
        let cost = committed.cost;
        assert_eq!((cost.rounds, cost.entries, cost.calls), (rounds, 3, 2), "{cost:?}");
        assert_eq!(shards.seen(), seen);
        shards.world.sleep(Duration::from_millis(50)).await;
        assert_eq!((shards.value("a").unwrap(), shards.value("i").unwrap()), ("9".into(), "11".into()));
        assert!(shards.store.lock().locks.is_empty() && shards.store.lock().intents.is_empty());
    });
}

#[test]
fn reading_elsewhere_does_not_cost_a_second_round() {
    run(quiet(3), |shards| async move {
        put_all(&shards, &[("a", "1"), ("i", "2"), ("q", "3")]).await;
        let txn = shards.coordinator(2).begin(TxnOptions::default());
        txn.get_many(&[key("a"), key("i"), key("q")], None).await.unwrap();
        txn.put(key("i"), value("6"));
        let committed = txn.commit().await.unwrap();
        assert_eq!(committed.cost.rounds, 1);
        // Somebody has read the key later: the timestamp must move, and with it the reads elsewhere must be proven.
        shards.seen();
        let txn = shards.coordinator(2).begin(TxnOptions::default());
        txn.get(&key("a"), None).await.unwrap();
        let other = shards.coordinator(3).begin(TxnOptions::default());
        other.get(&key("i"), None).await.unwrap();
        txn.put(key("i"), value("7"));
        let committed = txn.commit().await.unwrap();
        assert_eq!(committed.cost.rounds, 2);
        let seen = shards.seen();
        let commit: Vec<_> = seen.into_iter().filter(|kind| *kind != "read").collect();
        assert_eq!(commit[..4], ["local", "prepare", "prepare", "decide"]);
    });
}

/// What a transaction reads besides writing `a` and `i`, long after it has begun, so that it commits above its read timestamp.
#[derive(Clone, Copy, Debug)]
enum Reads {
    /// The rows that it writes.
    Written,
    /// All beside them in the same shards.
    Beside,
    /// A row of a shard in which it writes nothing.
    Elsewhere,
}

async fn old_transfer(shards: &FakeShards, reads: Reads, disturbed: Option<&str>) -> Result<u64, TxnError> {
    put_all(shards, &[("a", "1"), ("c", "1"), ("i", "1"), ("k", "1"), ("q", "1")]).await;
    let txn = shards.coordinator(1).begin(TxnOptions::default());
    match reads {
        Reads::Written => drop(txn.get_many(&[key("a"), key("i")], None).await?),
        Reads::Beside => {
            rows(&txn, Span::new("a", "d"), ScanOptions::default()).await?;
            rows(&txn, Span::new("i", "l"), ScanOptions::default()).await?;
        }
        Reads::Elsewhere => drop(txn.get(&key("q"), None).await?),
    }
    shards.world.sleep(Duration::from_millis(200)).await;
    if let Some(disturbed) = disturbed {
        put_all(shards, &[(disturbed, "2")]).await;
    }
    txn.put(key("a"), value("0"));
    txn.put(key("i"), value("2"));
    let read_ts = txn.read_ts();
    let committed = txn.commit().await?;
    assert!(committed.ts > read_ts);
    Ok(committed.cost.rounds)
}

#[test]
fn what_is_read_where_it_is_written_costs_no_second_round() {
    run(quiet(19), |shards| async move {
        for (reads, rounds) in [(Reads::Written, 1), (Reads::Beside, 1), (Reads::Elsewhere, 2)] {
            assert_eq!(old_transfer(&shards, reads, None).await.unwrap(), rounds, "{reads:?}");
        }
        let disturbed =
            [(Reads::Written, "i"), (Reads::Beside, "c"), (Reads::Beside, "k"), (Reads::Elsewhere, "q")];
        for (reads, other) in disturbed {
            let error = old_transfer(&shards, reads, Some(other)).await.unwrap_err();
            assert!(matches!(error.error, KvError::Conflict { .. }), "{reads:?}: {error}");
        }
    });
}

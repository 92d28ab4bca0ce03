//! Which commits across shards are staged, and at which timestamp (PROTOCOL 18).

mod support;

use quorate_env::sim::SimConfig;
use quorate_txn::{TxnConfig, TxnOptions};
use support::{key, run, value};

fn quiet(seed: u64) -> SimConfig {
    SimConfig { shake: 0.0, ..SimConfig::new(seed) }
}

/// Closed timestamps follow the present at a distance of the closing target; who stages below them is pushed up, and stages
/// again.
#[test]
fn an_old_transaction_stages_at_the_present_and_a_young_one_where_it_reads() {
    run(quiet(1), |shards| async move {
        let half = TxnConfig::default().stale_after;
        for (age, reads, at_present) in
            [(half / 2, true, false), (half * 2, true, true), (half / 2, false, true)]
        {
            let txn = shards.coordinator(1).begin(TxnOptions::default());
            if reads {
                txn.get(&key("a"), None).await.unwrap();
            }
            txn.put(key("a"), value("1"));
            txn.put(key("i"), value("1"));
            let read_ts = txn.read_ts();
            shards.world.sleep(age).await;
            let present = shards.now();
            let committed = txn.commit().await.unwrap();
            assert_eq!(committed.ts >= present, at_present, "{age:?} after its begin, reads: {reads}");
            assert_eq!(committed.ts == read_ts, !at_present, "{age:?} after its begin, reads: {reads}");
            assert_eq!(committed.cost.rounds, 1, "staged once");
        }
    });
}

/// What is staged is listed in one record, and recovered key by key.
#[test]
fn a_commit_of_many_keys_is_decided_by_a_record_of_its_own_and_never_staged() {
    run(quiet(2), |shards| async move {
        for (keys, rounds) in [(128, 1), (129, 2)] {
            let txn = shards.coordinator(1).begin(TxnOptions::default());
            for n in 0..keys {
                let shard = ["a", "i"][n % 2];
                txn.put(key(&format!("{shard}{n:03}")), value("1"));
            }
            let committed = txn.commit().await.unwrap();
            assert_eq!(committed.cost.rounds, rounds, "{keys} keys");
        }
    });
}

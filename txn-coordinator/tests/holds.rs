//! How far back the transactions of a gateway look (PROTOCOL 24).

mod support;

use quorate_env::sim::SimConfig;
use quorate_proto::Timestamp;
use quorate_txn::{Isolation, Txn, TxnOptions};
use std::time::Duration;
use support::{FakeShards, exclusive, key, run, value};

fn begin(shards: &FakeShards, isolation: Isolation) -> Txn {
    shards.coordinator(1).begin(TxnOptions { isolation, ..TxnOptions::default() })
}

fn holds(shards: &FakeShards) -> Option<Timestamp> {
    shards.coordinator(1).holds()
}

#[test]
fn a_gateway_holds_what_its_oldest_transaction_needs_and_no_more() {
    run(SimConfig { shake: 0.0, ..SimConfig::new(1) }, |shards| async move {
        let pause = || shards.world.sleep(Duration::from_millis(200));
        assert_eq!(holds(&shards), None);
        let idle = begin(&shards, Isolation::Serializable);
        assert_eq!(holds(&shards), None, "it has read nothing, and reads at its first statement");
        pause().await;

        // A snapshot is needed as long as its transaction lives.
        let reader = begin(&shards, Isolation::RepeatableRead);
        reader.begin_statement();
        reader.get(&key("a"), None).await.expect("read");
        let first = reader.read_ts();
        assert_eq!(holds(&shards), Some(first));
        pause().await;

        // Each statement under READ COMMITTED has a new one.
        let other = begin(&shards, Isolation::ReadCommitted);
        other.begin_statement();
        other.get(&key("a"), None).await.expect("read");
        let second = other.read_ts();
        assert_eq!(holds(&shards), Some(first));
        reader.rollback();
        assert_eq!(holds(&shards), Some(second), "also if somebody still has it in hand");
        pause().await;
        other.begin_statement();
        assert_eq!(holds(&shards), None);
        // What is locked must not have changed since.
        other.get(&key("b"), exclusive()).await.expect("locked");
        let since = holds(&shards).expect("a lock is proven at commit");
        assert!(since <= second);
        pause().await;
        other.begin_statement();
        assert_eq!(holds(&shards), Some(since));
        other.put(key("b"), value("1"));
        other.commit().await.expect("committed");
        drop(other);
        assert_eq!(holds(&shards), None);

        let past = first.minus(Duration::from_millis(100));
        let audit = shards.coordinator(1).begin(TxnOptions::as_of(past));
        assert_eq!(holds(&shards), Some(past));
        assert_eq!(shards.coordinator(1).transactions().len(), 2);
        drop((audit, idle));
        assert!(shards.coordinator(1).transactions().is_empty());

        // After its deadline nothing of it is answered, so nothing is kept for it.
        let deadline = Some(Duration::from_secs(5));
        let forgotten = shards.coordinator(1).begin(TxnOptions { deadline, ..TxnOptions::default() });
        forgotten.get(&key("a"), None).await.expect("read");
        assert!(holds(&shards).is_some());
        shards.world.sleep(Duration::from_secs(6)).await;
        assert_eq!(holds(&shards), None);
    });
}

//! Locks as transactions ask for them, and as they are met.

use super::harness::*;
use quorate_proto::kv::{
    LockMode, LockRequest, ReadOp, ReadRequest, ReleaseLocks, ShardOp, TxnMeta, Undone, WaitPolicy,
};
use quorate_proto::{Key, KvError, NodeId, TxnId};
use std::time::Duration;

/// A cluster of three with a fourth node as gateway.
pub async fn found(cluster: &mut Cluster) {
    cluster.replace_disk(4);
    cluster.up(4).await;
    cluster.found(&[1, 2, 3]).await;
}

/// A transaction whose gateway lives, so that its locks do not fall.
pub fn alive(cluster: &Cluster, txn: u64) -> TxnMeta {
    let env = cluster.sim.env(NodeId(4)).expect("the gateway is up");
    TxnMeta { gateway: NodeId(4), incarnation: env.incarnation(), ..meta(txn, "k", cluster.now()) }
}

pub fn lock_op(txn: TxnMeta, keys: &[String], mode: LockMode, wait: WaitPolicy) -> ShardOp {
    let ops = keys.iter().map(|key| ReadOp::Get(Key::from(key.as_str()))).collect();
    ShardOp::Read(ReadRequest {
        read_ts: txn.started,
        uncertain_to: txn.started,
        txn: Some(txn),
        may_forward: false,
        lock: Some(LockRequest { mode, wait }),
        ops,
        follower: false,
        number: 0,
    })
}

pub async fn lock(cluster: &Cluster, txn: u64, key: &str, mode: LockMode) -> Result<(), KvError> {
    let op = lock_op(alive(cluster, txn), &[key.into()], mode, WaitPolicy::NoWait);
    cluster.servers.send(&Key::from(key), op).await.map(drop)
}

/// By whom a lock is refused, if it is.
pub async fn refused_by(cluster: &Cluster, txn: u64, key: &str, mode: LockMode) -> Option<TxnId> {
    match lock(cluster, txn, key, mode).await {
        Ok(()) => None,
        Err(KvError::LockNotAvailable { holder, .. }) => holder.map(|holder| holder.txn),
        Err(other) => panic!("{other}"),
    }
}

pub fn release_op(txn: u64) -> ShardOp {
    ShardOp::ReleaseLocks(ReleaseLocks { txn: TxnId(u128::from(txn)), undone: None })
}

pub async fn release(cluster: &Cluster, txn: u64, key: &str) {
    cluster.servers.send(&Key::from(key), release_op(txn)).await.expect("released");
}

/// A locking read with its number among those of its transaction.
fn numbered(txn: TxnMeta, keys: &[&str], number: u64) -> ShardOp {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    match lock_op(txn, &keys, LockMode::Exclusive, WaitPolicy::Block(0)) {
        ShardOp::Read(read) => ShardOp::Read(ReadRequest { number, ..read }),
        other => other,
    }
}

#[test]
fn a_return_to_a_savepoint_gives_back_what_was_locked_since() {
    run(31, |mut cluster| async move {
        found(&mut cluster).await;
        cluster.put(1, "k", "v").await.unwrap();
        let at = Key::from("k");
        let [mine, other, third] = [2, 3, 5].map(|txn| alive(&cluster, txn));
        let send = |op| cluster.servers.send(&at, op);
        for (keys, number) in [(&["a", "b"][..], 3), (&["b", "c", "d"], 5)] {
            send(numbered(mine.clone(), keys, number)).await.unwrap();
        }
        // One who waits for such a lock gets it. Who waits in the name of what is undone waits no more.
        let (servers, waiter) = (cluster.servers.clone(), numbered(other, &["c"], 1));
        let waits = cluster.sim.spawn("waits", async move { servers.send(&Key::from("c"), waiter).await });
        send(numbered(third, &["e"], 1)).await.unwrap();
        let (servers, stray) = (cluster.servers.clone(), numbered(mine.clone(), &["f", "e"], 6));
        let stray = cluster.sim.spawn("stray", async move { servers.send(&Key::from("e"), stray).await });
        cluster.sim.sleep(Duration::from_millis(50)).await;
        assert!(!waits.is_finished() && !stray.is_finished());
        let undone = Some(Undone { after: 4, up_to: 6 });
        let given_back = || ShardOp::ReleaseLocks(ReleaseLocks { txn: mine.id, undone });
        send(given_back()).await.unwrap();
        waits.join().await.unwrap().expect("its turn has come");
        assert!(matches!(stray.join().await.unwrap(), Err(KvError::TxnAborted { .. })));
        for (k, holder) in [("a", Some(2)), ("b", Some(2)), ("c", Some(3)), ("d", None), ("f", None)] {
            let holder = holder.map(TxnId);
            assert_eq!(refused_by(&cluster, 4, k, LockMode::Exclusive).await, holder, "{k}");
        }
        release(&cluster, 4, "k").await;
        // Taken anew, it stays, whatever copies of that come late.
        send(numbered(mine.clone(), &["d"], 8)).await.unwrap();
        send(given_back()).await.unwrap();
        assert_eq!(refused_by(&cluster, 4, "d", LockMode::Exclusive).await, Some(mine.id));
    });
}

//! Locks as transactions ask for them, and as they are met.

use super::harness::*;
use quorate_proto::kv::{
    LockMode, LockRequest, ReadOp, ReadRequest, ReleaseLocks, ShardOp, TxnMeta, WaitPolicy,
};
use quorate_proto::{Key, KvError, NodeId, TxnId};

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
    ShardOp::ReleaseLocks(ReleaseLocks { txn: TxnId(u128::from(txn)) })
}

pub async fn release(cluster: &Cluster, txn: u64, key: &str) {
    cluster.servers.send(&Key::from(key), release_op(txn)).await.expect("released");
}

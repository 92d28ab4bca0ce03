//! Locks as transactions ask for them, and as they are met.

use super::harness::*;
use quorate_proto::kv::{
    Heartbeat, LockMode, LockRequest, ReadOp, ReadRequest, ReadResult, ReleaseLocks, Scan, ShardOp,
    ShardReply, TxnMeta, Undone, WaitPolicy,
};
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{Key, KvError, NodeId, ReplicaId, ShardId, Span, Timestamp, TxnId};
use quorate_shard_server::ShardConfig;
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
        asked: txn.started,
        txn: Some(txn),
        may_forward: false,
        lock: Some(LockRequest { mode, wait, firm: true }),
        ops,
        follower: false,
        number: 0,
    })
}

pub async fn lock(cluster: &Cluster, txn: u64, key: &str, mode: LockMode) -> Result<(), KvError> {
    let op = lock_op(alive(cluster, txn), &[key.into()], mode, WaitPolicy::NoWait);
    cluster.servers.send(&Key::from(key), op).await.map(drop)
}

/// As statements lock by themselves.
fn courtesy(op: ShardOp) -> ShardOp {
    let ShardOp::Read(ReadRequest { lock: Some(lock), .. }) = &op else { panic!("no locking read") };
    let lock = Some(LockRequest { firm: false, ..lock.clone() });
    match op {
        ShardOp::Read(read) => ShardOp::Read(ReadRequest { lock, ..read }),
        other => other,
    }
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

#[test]
fn a_long_wait_keeps_its_place() {
    run(35, |mut cluster| async move {
        let slice = Duration::from_secs(2);
        found_as(&mut cluster, |_, config| config.lock_wait = slice).await;
        let ask = |txn: &TxnMeta, asked: Timestamp| {
            let (servers, op) = (cluster.servers.clone(), numbered(txn.clone(), &["k"], 1));
            let ShardOp::Read(read) = op else { panic!("no read") };
            let op = ShardOp::Read(ReadRequest { asked, ..read });
            cluster.sim.spawn("asks", async move { servers.send(&Key::from("k"), op).await })
        };
        let [holder, early, late] = [2, 3, 4].map(|txn| alive(&cluster, txn));
        ask(&holder, cluster.now()).join().await.unwrap().unwrap();
        let began = cluster.now();
        let first = ask(&early, began);
        cluster.sim.sleep(slice / 2).await;
        let behind = ask(&late, cluster.now());
        assert!(matches!(first.join().await.unwrap(), Err(KvError::LockTimeout { .. })));
        let again = ask(&early, began);
        cluster.sim.sleep(Duration::from_millis(50)).await;
        release(&cluster, 2, "k").await;
        again.join().await.unwrap().expect("it has asked before the other");
        assert!(!behind.is_finished());
        release(&cluster, 3, "k").await;
        behind.join().await.unwrap().expect("its turn has come");
    });
}

/// As [`found`], on nodes that are configured like this.
async fn found_as(cluster: &mut Cluster, configure: impl Fn(usize, &mut ShardConfig)) {
    for node in 1..=3u8 {
        cluster.crash(node.into()).await;
        configure(usize::from(node - 1), &mut cluster.config);
        cluster.up(node.into()).await;
    }
    // They measure their clocks anew.
    cluster.sim.sleep(Duration::from_secs(5)).await;
    found(cluster).await;
}

/// As [`found`], on nodes that keep so many locks a shard.
async fn found_keeping(cluster: &mut Cluster, locks: [usize; 3]) {
    found_as(cluster, |node, config| config.max_locks = locks[node]).await;
}

fn is_full<T>(answer: &Result<T, KvError>) -> bool {
    matches!(answer, Err(KvError::TooManyLocks { .. }))
}

#[test]
fn a_lock_that_was_asked_for_is_held_or_refused() {
    run(32, |mut cluster| async move {
        found_keeping(&mut cluster, [4, 4, 4]).await;
        for (txn, k) in (10..).zip(["a", "b", "c", "d", "e", "f"]) {
            cluster.put(txn, k, "v").await.unwrap();
        }
        let at = Key::from("k");
        let send = |op| cluster.servers.send(&at, op);
        let exclusive = LockMode::Exclusive;
        let ask = |txn, keys: &[&str], wait| {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            lock_op(alive(&cluster, txn), &keys, exclusive, wait)
        };
        // What a statement locks by itself leaves a quarter, and is never refused.
        let wait = WaitPolicy::Block(0);
        send(courtesy(ask(2, &["a", "b", "c", "d", "e", "f"], wait))).await.unwrap();
        assert_eq!(refused_by(&cluster, 3, "c", exclusive).await, Some(TxnId(2)));
        lock(&cluster, 3, "d", exclusive).await.unwrap();
        // There is no room for more, however it is asked for; what somebody holds is told as ever.
        for wait in [wait, WaitPolicy::NoWait, WaitPolicy::SkipLocked] {
            assert!(is_full(&send(ask(4, &["e"], wait)).await), "{wait:?}");
        }
        assert!(is_full(&lock(&cluster, 4, "e", LockMode::Shared).await));
        assert_eq!(refused_by(&cluster, 4, "d", LockMode::Shared).await, Some(TxnId(3)));
        let scanned = |txn, from: &str, to: &str| match ask(txn, &[], WaitPolicy::SkipLocked) {
            ShardOp::Read(read) => {
                let span = Span::new(Key::from(from), Key::from(to));
                let scan = Scan { span, reverse: false, max_rows: 0, max_bytes: 0 };
                ShardOp::Read(ReadRequest { ops: vec![ReadOp::Scan(scan)], ..read })
            }
            other => other,
        };
        assert!(is_full(&send(scanned(4, "a", "g")).await));
        let Ok(ShardReply::Read(skipped)) = send(scanned(4, "a", "e")).await else { panic!("not full") };
        assert!(matches!(&skipped.results[..], [ReadResult::Scan(scan)] if scan.rows.is_empty()));
        // Who has a lock may ask for it again, and who waits for one gets it.
        send(ask(2, &["a", "b"], wait)).await.unwrap();
        let (servers, waiter) = (cluster.servers.clone(), ask(5, &["d"], wait));
        let waits = cluster.sim.spawn("waits", async move { servers.send(&Key::from("d"), waiter).await });
        cluster.sim.sleep(Duration::from_millis(50)).await;
        release(&cluster, 3, "d").await;
        waits.join().await.unwrap().expect("its turn has come");
        assert_eq!(refused_by(&cluster, 3, "d", exclusive).await, Some(TxnId(5)));
        // What is given back is room.
        release(&cluster, 5, "d").await;
        lock(&cluster, 4, "e", exclusive).await.unwrap();
        assert_eq!(refused_by(&cluster, 3, "e", exclusive).await, Some(TxnId(4)));
    });
}

/// The bound is for new ones.
#[test]
fn locks_that_come_along_are_kept_beyond_the_bound() {
    run(33, |mut cluster| async move {
        found_keeping(&mut cluster, [9, 3, 3]).await;
        let transfer = |to| ReplicaCommand::TransferLeader { shard: ShardId::FIRST, to: ReplicaId(to) };
        let (leader, _, term) = cluster.leader("k").await;
        if leader != 1 {
            cluster.servers.command(leader, transfer(1)).await.expect("handed over");
            cluster.other_leader("k", leader, term).await;
        }
        let keys = ["a", "b", "c", "d", "e"];
        for k in keys {
            lock(&cluster, 2, k, LockMode::Exclusive).await.unwrap();
        }
        let (_, _, term) = cluster.leader("k").await;
        cluster.servers.command(1, transfer(2)).await.expect("handed over");
        cluster.other_leader("k", 1, term).await;
        for k in keys {
            assert_eq!(refused_by(&cluster, 3, k, LockMode::Exclusive).await, Some(TxnId(2)), "{k}");
        }
        lock(&cluster, 2, "a", LockMode::Exclusive).await.unwrap();
        assert!(is_full(&lock(&cluster, 3, "f", LockMode::Exclusive).await));
    });
}

/// Nobody waits for them: those of a gateway that is gone, and those that a late copy took when its transaction was over. Who keeps a
/// record alive keeps its locks.
#[test]
fn locks_that_nobody_gives_back_go_by_themselves() {
    run(37, |mut cluster| async move {
        found(&mut cluster).await;
        let at = Key::from("k");
        let living = alive(&cluster, 2);
        let lock = lock_op(living.clone(), &["kept".into()], LockMode::Exclusive, WaitPolicy::NoWait);
        cluster.servers.send(&at, lock).await.unwrap();
        self::lock(&cluster, 3, "late", LockMode::Exclusive).await.unwrap();
        let (node, ..) = cluster.leader("k").await;
        let known = |cluster: &Cluster| cluster.servers.get(node).locks().into_values().sum::<usize>();
        assert_eq!(known(&cluster), 2);
        for _ in 0..40 {
            let until = cluster.now().plus(Duration::from_secs(5));
            let beat = ShardOp::Heartbeat(Heartbeat { txn: living.clone(), until });
            cluster.servers.send(&at, beat).await.unwrap();
            cluster.sim.sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(known(&cluster), 1, "that of the living is left");
        cluster.crash(4).await;
        cluster.sim.sleep(Duration::from_secs(80)).await;
        assert_eq!(known(&cluster), 0);
    });
}

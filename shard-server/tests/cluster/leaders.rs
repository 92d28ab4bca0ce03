//! Leaders that lose their place while something waits or is in doubt.

use super::harness::*;
use super::locking::{alive, found, lock_op};
use quorate_env::NodeId;
use quorate_proto::kv::{
    Inquiry, LockMode, QueryTxn, ReleaseLocks, ShardOp, ShardReply, TxnState, WaitPolicy, Write,
};
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{ErrorClass, Key, KvError, ReplicaId, ShardId, TxnId, Value};
use std::time::Duration;

/// PROTOCOL 9: a reader waits for the latch of a write that never commits; meanwhile its leader is deposed and another
/// one commits a newer value. The reader must not be answered from the old leader's state.
#[test]
fn a_reader_behind_a_latch_of_a_deposed_leader_is_sent_away() {
    run(1, |cluster| async move {
        let descriptor = cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "k", "first").await.unwrap();
        let (old, _, term) = cluster.leader("k").await;
        let others: Vec<NodeId> = (1..=3).filter(|node| *node != old).map(NodeId).collect();
        cluster.sim.partition(&[NodeId(old)], &others);

        let (servers, to, now) = (cluster.servers.clone(), descriptor.clone(), cluster.now());
        let write = cluster
            .sim
            .spawn("write", async move { servers.send_to(old, &to, commit_op(2, now, "k", "lost?")).await });
        cluster.sim.sleep(Duration::from_millis(20)).await;
        let (servers, to, now) = (cluster.servers.clone(), descriptor.clone(), cluster.now());
        let read =
            cluster.sim.spawn("read", async move { servers.send_to(old, &to, get_op("k", now)).await });
        cluster.sim.sleep(Duration::from_millis(20)).await;
        assert!(!read.is_finished(), "the read waits for the write's latch");

        let (new, ..) = cluster.other_leader("k", old, term).await;
        let now = cluster.now();
        let done = cluster.servers.send_to(new, &descriptor, commit_op(3, now, "k", "second")).await;
        assert!(matches!(done, Ok(ShardReply::Committed(..))), "{done:?}");
        cluster.sim.heal();
        let answer = read.join().await.unwrap();
        let error = answer.expect_err("nothing may be read from the deposed leader");
        assert_eq!(error.class(), ErrorClass::Reroute, "{error}");
        let write = write.join().await.unwrap().expect_err("the write cannot commit");
        assert!(
            matches!(write.class(), ErrorClass::Reroute | ErrorClass::Ambiguous | ErrorClass::Permanent),
            "{write}"
        );
        assert_eq!(cluster.get("k").await.as_deref(), Some("second"));
    });
}

/// PROTOCOL 5: whoever waits for a lock is sent elsewhere when the leader steps down, and stands in line there.
#[test]
fn stepping_down_sends_lock_waiters_away() {
    run(2, |cluster| async move {
        let descriptor = cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "k", "v").await.unwrap();
        let (old, _, term) = cluster.leader("k").await;
        let now = cluster.now();
        // Its gateway is a node that lives, so that the lock does not fall.
        let mut holder = meta(2, "k", now);
        let env = cluster.sim.env(NodeId(old)).unwrap();
        (holder.gateway, holder.incarnation) = (NodeId(old), env.incarnation());
        let lock = Some(LockMode::Exclusive);
        cluster.servers.send(&Key::from("k"), read_op(Some(holder), "k", now, lock)).await.unwrap();
        let (servers, to) = (cluster.servers.clone(), descriptor.clone());
        let waiter = read_op(Some(meta(3, "k", now)), "k", now, lock);
        let waits = cluster.sim.spawn("wait", async move { servers.send_to(old, &to, waiter).await });
        cluster.sim.sleep(Duration::from_millis(50)).await;
        assert!(!waits.is_finished());
        let next = old % 3 + 1;
        let transfer = ReplicaCommand::TransferLeader { shard: ShardId::FIRST, to: ReplicaId(next) };
        cluster.servers.command(old, transfer).await.unwrap();
        let error = waits.join().await.unwrap().expect_err("sent away");
        assert!(matches!(error, KvError::NotLeader { .. }), "{error}");
        let (new, ..) = cluster.other_leader("k", old, term).await;
        assert_eq!(new, next);
        let now = cluster.now();
        let servers = cluster.servers.clone();
        let waiter = read_op(Some(meta(3, "k", now)), "k", now, lock);
        let waits = cluster.sim.spawn("wait", async move { servers.send(&Key::from("k"), waiter).await });
        cluster.sim.sleep(Duration::from_millis(50)).await;
        assert!(!waits.is_finished(), "the lock went along");
        let release = ShardOp::ReleaseLocks(ReleaseLocks { txn: TxnId(2), undone: None });
        cluster.servers.send(&Key::from("k"), release).await.unwrap();
        waits.join().await.unwrap().expect("its turn has come");
    });
}

/// PROTOCOL 5, 11: a write at the new leader goes above every read that the old one may have answered, also when its clock
/// is behind; a copy of an earlier commit is answered like the first (PROTOCOL 12).
#[test]
fn a_new_leader_writes_above_earlier_reads_and_knows_earlier_commits() {
    run(3, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        let now = cluster.now();
        let first = cluster.servers.send(&Key::from("k"), commit_op(1, now, "k", "v")).await.unwrap();
        let (old, _, term) = cluster.leader("k").await;
        let read_ts = cluster.now();
        cluster.servers.send(&Key::from("z"), get_op("z", read_ts)).await.unwrap();
        let next = old % 3 + 1;
        cluster.sim.jump_clock(NodeId(next), -1500);
        let transfer = ReplicaCommand::TransferLeader { shard: ShardId::FIRST, to: ReplicaId(next) };
        cluster.servers.command(old, transfer).await.unwrap();
        cluster.other_leader("k", old, term).await;
        let wrote = cluster.servers.send(&Key::from("z"), commit_op(2, now, "z", "v")).await.unwrap();
        let ShardReply::Committed(ts, _) = wrote else { panic!("{wrote:?}") };
        assert!(ts > read_ts, "{ts} is not above the read at {read_ts}");
        let again = cluster.servers.send(&Key::from("k"), commit_op(1, now, "k", "v")).await.unwrap();
        assert_eq!(first, again);
    });
}

/// PROTOCOL 4: a leader dies before it has told anybody that a transaction is committed, which its client knows. Its successor
/// is asked again and again to bring that to an end, and does not do so before it has applied what became of it.
#[test]
fn a_new_leader_evaluates_nothing_before_it_has_applied_what_was_acknowledged() {
    run(5, |mut cluster| async move {
        let descriptor = cluster.found(&[1, 2, 3]).await;
        let (old, ..) = cluster.leader("k").await;
        let now = cluster.now();
        let committed = cluster.servers.send(&Key::from("k"), commit_op(1, now, "k", "first")).await;
        let ShardReply::Committed(ts, _) = committed.unwrap() else { panic!("not committed") };
        cluster.crash(old).await;
        let (txn, anchor) = (meta(1, "k", now), Key::from("k"));
        let query = ShardOp::QueryTxn(QueryTxn { txn: txn.id, anchor, why: Inquiry::End, meta: Some(txn) });
        let answers = (1..=3).filter(|node| *node != old).map(|node| {
            let (servers, to, query) = (cluster.servers.clone(), descriptor.clone(), query.clone());
            Box::pin(async move {
                loop {
                    match servers.send_to(node, &to, query.clone()).await {
                        Err(error) if error.class() == ErrorClass::Reroute => {}
                        answer => return answer,
                    }
                    quorate_env::time::sleep(Duration::from_micros(50)).await;
                }
            })
        });
        let (first, ..) = futures::future::select_all(answers).await;
        assert_eq!(first, Ok(ShardReply::Txn(TxnState::Committed(ts))));
    });
}

/// A crashed leader's intents are finished by whoever meets them at its successor.
#[test]
fn intents_outlive_their_leader_and_coordinator() {
    run(4, |mut cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        let now = cluster.now();
        cluster.servers.send(&Key::from("k"), prepare_op(7, "k", now, "k", "half")).await.unwrap();
        let (old, _, term) = cluster.leader("k").await;
        cluster.crash(old).await;
        cluster.other_leader("k", old, term).await;
        let began = cluster.sim.elapsed();
        assert_eq!(cluster.get("k").await, None, "aborted: its coordinator is gone");
        assert!(cluster.sim.elapsed() - began < Duration::from_secs(4));
        cluster.up(old).await;
        assert_eq!(cluster.servers_up(), 3);
        cluster.put(8, "k", "whole").await.unwrap();
        assert_eq!(cluster.get("k").await.as_deref(), Some("whole"));
    });
}

/// Who meets one of thousands of intents that are known resolves all of them, by several entries, between which those of others go.
#[test]
fn what_a_large_transaction_has_left_is_not_resolved_at_once() {
    run(5, |mut cluster| async move {
        found(&mut cluster).await;
        let txn = alive(&cluster, 7);
        let keys: Vec<String> = (0..5000).map(|n| format!("k{n:0>5}")).collect();
        let to = Key::from("k");
        let locks = lock_op(txn.clone(), &keys, LockMode::Exclusive, WaitPolicy::NoWait);
        cluster.servers.send(&to, locks).await.unwrap();
        let ShardOp::Prepare(mut prepare) = prepare_op(7, "k", txn.started, "k", "half") else { panic!() };
        let write = |key: &String| Write { key: Key::from(key.as_str()), value: Some(Value::from("half")) };
        (prepare.txn, prepare.writes) = (txn, keys.iter().map(write).collect());
        cluster.servers.send(&to, ShardOp::Prepare(prepare)).await.unwrap();
        cluster.crash(4).await;
        // Until the reader's time is above theirs.
        cluster.sim.sleep(Duration::from_secs(1)).await;
        let (node, ..) = cluster.leader("k").await;
        let entries = || cluster.servers.get(node).reports()[0].frontiers.applied.index;
        let before = entries();
        assert_eq!(cluster.get("k00000").await, None);
        cluster.sim.sleep(Duration::from_secs(1)).await;
        let made = entries() - before;
        assert_eq!(made, 4, "its end, and 5000 keys by 2048");
    });
}

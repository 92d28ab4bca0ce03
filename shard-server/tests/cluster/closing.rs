//! Closed timestamps and reads by followers (PROTOCOL 22, 23).

use super::harness::*;
use quorate_env::NodeId;
use quorate_proto::kv::{ReadCertificate, ShardOp, ShardReply};
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{Key, KvError, ReplicaId, ShardDescriptor, ShardId, Timestamp};
use std::time::Duration;

fn old_read(key: &str, at: Timestamp) -> ShardOp {
    let ShardOp::Read(read) = get_op(key, at) else { unreachable!() };
    ShardOp::Read(quorate_proto::kv::ReadRequest { follower: true, ..read })
}

/// K of the shard's replica on a node.
fn closed(cluster: &Cluster, node: u64, shard: ShardId) -> Timestamp {
    let all = cluster.servers.get(node).closed();
    all.into_iter().find(|(id, _)| *id == shard).map(|(_, closed)| closed).unwrap_or_default()
}

async fn until_closed(cluster: &Cluster, node: u64, shard: ShardId, at: Timestamp) {
    cluster.until(&format!("{at} is closed on {node}"), || closed(cluster, node, shard) >= at).await;
}

/// What a replica answers by itself.
async fn alone(
    cluster: &Cluster,
    node: u64,
    to: &ShardDescriptor,
    key: &str,
    at: Timestamp,
) -> Option<String> {
    let reply = cluster.servers.send_to(node, to, old_read(key, at)).await;
    let reply = reply.unwrap_or_else(|error| panic!("node {node}: {error}"));
    let ShardReply::Read(read) = &reply else { panic!("{reply:?}") };
    assert!(matches!(read.certificate, ReadCertificate::Closed(_)), "{:?}", read.certificate);
    value_of(reply)
}

fn committed(reply: Result<ShardReply, KvError>) -> Timestamp {
    match reply {
        Ok(ShardReply::Committed(ts, _)) => ts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_replica_answers_what_is_closed_and_sends_what_is_not_to_the_leader() {
    run(21, |cluster| async move {
        let shard = cluster.found(&[1, 2, 3]).await;
        let first = committed(cluster.put(1, "k", "first").await);
        let second = committed(cluster.put(2, "k", "second").await);
        let (leader, ..) = cluster.leader("k").await;
        for node in 1..=3 {
            until_closed(&cluster, node, shard.id, second).await;
            assert_eq!(alone(&cluster, node, &shard, "k", first.prev()).await, None);
            assert_eq!(alone(&cluster, node, &shard, "k", first).await.as_deref(), Some("first"));
            assert_eq!(alone(&cluster, node, &shard, "k", second).await.as_deref(), Some("second"));
        }
        let follower = leader % 3 + 1;
        let refused = cluster.servers.send_to(follower, &shard, old_read("k", cluster.now())).await;
        let Err(KvError::NotLeader { leader: Some(named), .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(named, NodeId(leader));
        // An idle shard closes as well, and follows the clock.
        cluster.sim.sleep(Duration::from_secs(10)).await;
        for node in 1..=3 {
            let lag = cluster.now().since(closed(&cluster, node, shard.id));
            assert!(lag < Duration::from_millis(600), "node {node} is {lag:?} behind");
        }
    });
}

#[test]
fn nothing_is_written_where_it_is_closed() {
    run(22, |cluster| async move {
        let shard = cluster.found(&[1, 2, 3]).await;
        let now = cluster.now();
        cluster.sim.sleep(Duration::from_secs(2)).await;
        let (leader, ..) = cluster.leader("k").await;
        let k = closed(&cluster, leader, shard.id);
        assert!(k > now.plus(Duration::from_secs(1)));
        let ts = committed(cluster.servers.send(&Key::from("k"), commit_op(1, now, "k", "late")).await);
        assert!(ts > k, "{ts} is closed, {k}");
        let prepared = cluster.servers.send(&Key::from("j"), prepare_op(2, "j", now, "j", "late")).await;
        let Ok(ShardReply::Prepared(ts, Some(_))) = prepared else { panic!("{prepared:?}") };
        assert!(ts > k, "{ts} is closed, {k}");
    });
}

/// The interleaving of rule 22: a leader is cut off and deposed, and its successor writes; the old one goes on closing by its
/// clock, or wakes up and closes. Its K would lie above its successor's write.
#[test]
fn a_deposed_leader_closes_nothing_over_its_successors_writes() {
    for (seed, paused) in [(23, false), (24, true)] {
        run(seed, move |cluster| async move {
            let shard = cluster.found(&[1, 2, 3]).await;
            cluster.put(1, "k", "first").await.unwrap();
            let (old, _, term) = cluster.leader("k").await;
            let others: Vec<NodeId> = (1..=3).filter(|node| *node != old).map(NodeId).collect();
            if paused {
                cluster.sim.pause(NodeId(old));
            }
            cluster.sim.partition(&[NodeId(old)], &others);
            let (new, ..) = cluster.other_leader("k", old, term).await;
            let wrote =
                cluster.servers.send_to(new, &shard, commit_op(2, cluster.now(), "k", "second")).await;
            let ts = committed(wrote);
            cluster.sim.sleep(Duration::from_secs(3)).await;
            if paused {
                cluster.sim.resume(NodeId(old));
                cluster.sim.sleep(Duration::from_millis(500)).await;
            }
            let k = closed(&cluster, old, shard.id);
            assert!(k < ts, "{k} was closed over the write at {ts}");
            for node in &others {
                assert!(closed(&cluster, node.0, shard.id) > ts, "the others go on");
            }
            cluster.sim.heal();
            until_closed(&cluster, old, shard.id, ts).await;
            assert_eq!(alone(&cluster, old, &shard, "k", ts).await.as_deref(), Some("second"));
        });
    }
}

/// One that does not hear, or has not applied what K rests on, does not answer; and then it catches up.
#[test]
fn a_follower_that_lags_takes_nothing_before_its_time() {
    run(25, |cluster| async move {
        let shard = cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "k", "first").await.unwrap();
        let (leader, ..) = cluster.leader("k").await;
        let (behind, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        // It hears nothing of the leader's, neither entries nor what is closed.
        cluster.sim.cut(NodeId(leader), NodeId(behind));
        cluster.sim.sleep(Duration::from_millis(50)).await;
        let frozen = closed(&cluster, behind, shard.id);
        let ts = committed(cluster.put(2, "k", "second").await);
        until_closed(&cluster, third, shard.id, ts).await;
        assert_eq!(closed(&cluster, behind, shard.id), frozen);
        let refused = cluster.servers.send_to(behind, &shard, old_read("k", ts)).await;
        assert!(matches!(refused, Err(KvError::NotLeader { .. })), "{refused:?}");
        cluster.sim.heal();
        until_closed(&cluster, behind, shard.id, ts).await;
        assert_eq!(alone(&cluster, behind, &shard, "k", ts).await.as_deref(), Some("second"));
    });
}

/// An intent at or below the read is the leader's affair; above it nobody's.
#[test]
fn an_intent_is_never_skipped() {
    run(26, |cluster| async move {
        let shard = cluster.found(&[1, 2, 3]).await;
        let first = committed(cluster.put(1, "k", "first").await);
        let now = cluster.now();
        // Its gateway lives, so that nobody aborts it.
        let (leader, ..) = cluster.leader("k").await;
        let mut op = prepare_op(2, "k", now, "k", "half");
        if let ShardOp::Prepare(prepare) = &mut op {
            let env = cluster.sim.env(NodeId(leader)).unwrap();
            (prepare.txn.gateway, prepare.txn.incarnation) = (env.node(), env.incarnation());
        }
        let prepared = cluster.servers.send(&Key::from("k"), op).await;
        let Ok(ShardReply::Prepared(ts, Some(_))) = prepared else { panic!("{prepared:?}") };
        let follower = leader % 3 + 1;
        until_closed(&cluster, follower, shard.id, ts.plus(Duration::from_millis(50))).await;
        assert_eq!(alone(&cluster, follower, &shard, "k", first).await.as_deref(), Some("first"));
        assert_eq!(alone(&cluster, follower, &shard, "k", ts.prev()).await.as_deref(), Some("first"));
        let met = cluster.servers.send_to(follower, &shard, old_read("k", ts)).await;
        assert!(matches!(met, Err(KvError::NotLeader { .. })), "{met:?}");
        // What it becomes may lie below K: the intent was there before.
        let txn = meta(2, "k", now);
        let (decision, intents) = (quorate_proto::kv::Decision::Commit(ts), vec![Key::from("k")]);
        let decide = quorate_proto::kv::Decide { txn, decision, intents, prepared: Vec::new(), span: None };
        cluster.servers.send(&Key::from("k"), ShardOp::Decide(decide)).await.unwrap();
        until_closed(&cluster, follower, shard.id, cluster.now()).await;
        assert_eq!(alone(&cluster, follower, &shard, "k", ts).await.as_deref(), Some("half"));
    });
}

/// Both halves keep what the shard had closed, and each goes on; a copy that comes by a snapshot has it from there.
#[test]
fn halves_of_a_split_and_a_snapshot_inherit_what_was_closed() {
    run(27, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        let ts = committed(cluster.put(1, "z", "before").await);
        let (leader, ..) = cluster.leader("z").await;
        until_closed(&cluster, leader, ShardId::FIRST, ts).await;
        let right_replicas = vec![ReplicaId(11), ReplicaId(12), ReplicaId(13)];
        let at = Key::from("m");
        let (shard, right, version) = (ShardId::FIRST, ShardId(2), 1);
        let split = ReplicaCommand::Split { shard, at, right, right_replicas, version };
        cluster.servers.command(leader, split).await.unwrap();
        for node in 1..=3 {
            let servers = cluster.servers.clone();
            cluster.until("both halves are there", || servers.get(node).descriptors().len() == 2).await;
            assert!(closed(&cluster, node, ShardId(2)) >= ts, "at once");
        }
        let (right_leader, right, _) = cluster.leader("z").await;
        let k = closed(&cluster, right_leader, ShardId(2));
        let late = committed(cluster.servers.send(&Key::from("y"), commit_op(2, ts, "y", "late")).await);
        assert!(late > k, "{late} is closed, {k}");
        for (node, shard) in (1..=3).flat_map(|node| [(node, ShardId::FIRST), (node, ShardId(2))]) {
            until_closed(&cluster, node, shard, late).await;
        }
        for node in 1..=3 {
            assert_eq!(alone(&cluster, node, &right, "z", ts).await.as_deref(), Some("before"));
            assert_eq!(alone(&cluster, node, &right, "y", late).await.as_deref(), Some("late"));
        }
    });
}

/// Leadership is handed around while clients write into the past, closings come late, and clocks differ: every replica checks
/// each entry against its K, and stops if one is written below.
#[test]
fn hand_overs_never_write_below_what_was_closed() {
    run(28, |cluster| async move {
        let shard = cluster.found(&[1, 2, 3]).await;
        let mut txn = 10;
        for round in 0..12u64 {
            let (leader, ..) = cluster.leader("k").await;
            cluster.sim.jump_clock(NodeId(leader % 3 + 1), if round % 2 == 0 { -1500 } else { 1500 });
            let transfer = ReplicaCommand::TransferLeader { shard: shard.id, to: ReplicaId(leader % 3 + 1) };
            let (servers, past) = (cluster.servers.clone(), cluster.now().minus(Duration::from_secs(5)));
            let writes = cluster.sim.spawn("writes", async move {
                for n in 0..10 {
                    let op = commit_op(txn + n, past, "k", &format!("{round}-{n}"));
                    let _ = servers.send(&Key::from("k"), op).await;
                    quorate_env::time::sleep(Duration::from_millis(30)).await;
                }
            });
            txn += 10;
            cluster.sim.sleep(Duration::from_millis(100)).await;
            let _ = cluster.servers.command(leader, transfer).await;
            writes.join().await.unwrap();
        }
        let last = committed(cluster.put(1000, "k", "last").await);
        for node in 1..=3 {
            until_closed(&cluster, node, shard.id, last).await;
            assert_eq!(alone(&cluster, node, &shard, "k", last).await.as_deref(), Some("last"));
        }
    });
}

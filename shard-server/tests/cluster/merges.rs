//! Merges of neighbours (PROTOCOL 26), as the placement driver asks for them, step by step.

use super::{harness::*, locking::*};
use quorate_proto::kv::{CommitLocal, LockMode, ReadRequest, ShardOp, ShardReply, ShardRequest};
use quorate_proto::placement::{ReplicaCommand, ReplicaReply};
use quorate_proto::{
    Key, KvError, NodeId, Replica, ReplicaId, ReplicaRole, Seal, ShardDescriptor, ShardId, Timestamp, TxnId,
};
use quorate_storage::Family;
use std::time::Duration;

const RIGHT: ShardId = ShardId(2);

/// Two shards, divided at `m`, each with a leader.
async fn two(cluster: &Cluster) {
    let (leader, ..) = cluster.leader("k").await;
    let right_replicas = vec![ReplicaId(11), ReplicaId(12), ReplicaId(13)];
    let (at, right) = (Key::from("m"), RIGHT);
    let split = ReplicaCommand::Split { shard: ShardId::FIRST, at, right, right_replicas, version: 1 };
    cluster.servers.command(leader, split).await.expect("split");
    let servers = cluster.servers.clone();
    let everywhere = move || (1..=3).all(|node| servers.get(node).descriptors().len() == 2);
    cluster.until("both halves are everywhere", everywhere).await;
    assert_eq!(leads(cluster, "s").await.1.id, RIGHT);
}

async fn leads(cluster: &Cluster, key: &str) -> (u64, ShardDescriptor) {
    let (node, descriptor, _) = cluster.leader(key).await;
    (node, descriptor)
}

/// Has another node lead the right than the left.
async fn lead_apart(cluster: &Cluster) {
    let ((left, _), (right, descriptor)) = (leads(cluster, "k").await, leads(cluster, "s").await);
    if left == right {
        let to = descriptor.replica_on(NodeId(left % 3 + 1)).expect("a member").id;
        let transfer = ReplicaCommand::TransferLeader { shard: RIGHT, to };
        cluster.servers.command(right, transfer).await.expect("handed over");
        let servers = cluster.servers.clone();
        let apart = move || servers.leader(&Key::from("s")).is_some_and(|(node, ..)| node.0 != left);
        cluster.until("they are led apart", apart).await;
    }
}

async fn seal(cluster: &Cluster) -> Seal {
    let (_, left) = leads(cluster, "k").await;
    for _ in 0..100 {
        let (node, right) = leads(cluster, "s").await;
        let command = ReplicaCommand::Seal { shard: right.id, version: right.version, left: left.clone() };
        match cluster.servers.command(node, command).await {
            Ok(ReplicaReply::Sealed(seal)) => return *seal,
            Err(KvError::NotLeader { .. } | KvError::NotReady { .. }) => {
                cluster.sim.sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("it is not sealed")
}

async fn everywhere(cluster: &Cluster, seal: &Seal) {
    for node in 1..=3 {
        cluster.servers.command(node, ReplicaCommand::AwaitSeal(seal.clone())).await.expect("sealed");
    }
}

async fn absorb(cluster: &Cluster, seal: &Seal) -> ShardDescriptor {
    let (left, _) = leads(cluster, "k").await;
    match cluster.servers.command(left, ReplicaCommand::Absorb(seal.clone())).await {
        Ok(ReplicaReply::Changed(now)) => now[0].clone(),
        other => panic!("{other:?}"),
    }
}

async fn merge(cluster: &Cluster) -> ShardDescriptor {
    let seal = seal(cluster).await;
    everywhere(cluster, &seal).await;
    absorb(cluster, &seal).await
}

async fn ask(cluster: &Cluster, node: u64, to: &ShardDescriptor, op: ShardOp) -> Result<ShardReply, KvError> {
    let request = ShardRequest { shard: to.id, version: to.version, config_epoch: to.config_epoch, op };
    cluster.servers.get(node).handle(request).await.result
}

fn one_shard(cluster: &Cluster, node: u64) -> bool {
    let all = cluster.servers.get(node).descriptors();
    all.len() == 1 && all[0].span == quorate_proto::Span::ALL
}

#[test]
fn a_merged_shard_is_whole_and_stays_so_whatever_crashes() {
    for seed in 101..105 {
        run(seed, |mut cluster| async move {
            cluster.found(&[1, 2, 3]).await;
            cluster.put(1, "a", "left").await.unwrap();
            cluster.put(2, "s", "right").await.unwrap();
            two(&cluster).await;
            cluster.put(3, "t", "right").await.unwrap();
            lead_apart(&cluster).await;
            let (old, right) = leads(&cluster, "s").await;
            let merged = merge(&cluster).await;
            assert!(merged.version > right.version && merged.span == quorate_proto::Span::ALL);
            // A request by the old map is told the new owner.
            match ask(&cluster, old, &right, get_op("s", cluster.now())).await {
                Err(KvError::StaleRoute { newer, .. }) => assert!(newer.contains(&merged), "{newer:?}"),
                other => panic!("{other:?}"),
            }
            cluster.put(4, "t", "after").await.unwrap();
            // Nothing of the merge is flushed there: it is applied again, to a right half that is sealed.
            cluster.crash(old).await;
            cluster.put(5, "u", "meanwhile").await.unwrap();
            cluster.up(old).await;
            cluster.until("it is merged again", || one_shard(&cluster, old)).await;
            for node in 1..=3 {
                cluster.crash(node).await;
            }
            for node in 1..=3 {
                cluster.up(node).await;
            }
            for (key, value) in [("a", "left"), ("s", "right"), ("t", "after"), ("u", "meanwhile")] {
                assert_eq!(cluster.get(key).await.as_deref(), Some(value), "{key}");
            }
            cluster.until("all is merged", || (1..=3).all(|node| one_shard(&cluster, node))).await;
            // Flushed, the right's log is not needed any more.
            for node in 1..=3 {
                cluster.servers.get(node).flush().await.unwrap();
                cluster.crash(node).await;
                cluster.up(node).await;
            }
            assert_eq!(cluster.get("t").await.as_deref(), Some("after"));
        });
    }
}

/// The seal is evaluated by one leader, and another one leads the left.
#[test]
fn locks_go_along_with_their_keys() {
    for seed in 111..114 {
        run(seed, |mut cluster| async move {
            found(&mut cluster).await;
            two(&cluster).await;
            lead_apart(&cluster).await;
            lock(&cluster, 2, "k", LockMode::Exclusive).await.unwrap();
            lock(&cluster, 2, "s", LockMode::Exclusive).await.unwrap();
            lock(&cluster, 3, "t", LockMode::Shared).await.unwrap();
            lock(&cluster, 4, "u", LockMode::Exclusive).await.unwrap();
            release(&cluster, 4, "u").await;
            merge(&cluster).await;
            let (two, three) = (Some(TxnId(2)), Some(TxnId(3)));
            assert_eq!(refused_by(&cluster, 5, "k", LockMode::Shared).await, two);
            assert_eq!(refused_by(&cluster, 5, "s", LockMode::Shared).await, two);
            assert_eq!(refused_by(&cluster, 5, "t", LockMode::Exclusive).await, three);
            assert_eq!(refused_by(&cluster, 5, "u", LockMode::Exclusive).await, None);
            release(&cluster, 2, "s").await;
            assert_eq!(refused_by(&cluster, 6, "s", LockMode::Exclusive).await, None);
            assert_eq!(refused_by(&cluster, 6, "k", LockMode::Exclusive).await, None);
        });
    }
}

/// Also if the right's leader dies behind the seal: they stand in it.
#[test]
fn locks_outlive_the_leader_that_has_sealed_them() {
    run(115, |mut cluster| async move {
        found(&mut cluster).await;
        two(&cluster).await;
        lead_apart(&cluster).await;
        lock(&cluster, 2, "s", LockMode::Exclusive).await.unwrap();
        let seal = seal(&cluster).await;
        everywhere(&cluster, &seal).await;
        let (old, _) = leads(&cluster, "s").await;
        cluster.crash(old).await;
        absorb(&cluster, &seal).await;
        assert_eq!(refused_by(&cluster, 5, "s", LockMode::Shared).await, Some(TxnId(2)));
    });
}

/// What is given back to the right, the left, or between them is free.
#[test]
fn what_is_given_back_during_a_merge_is_free() {
    run(116, |mut cluster| async move {
        found(&mut cluster).await;
        two(&cluster).await;
        for round in 0..20u64 {
            let (held, given) = (100 + 2 * round, 101 + 2 * round);
            let keys = [format!("s{round:02}-held"), format!("s{round:02}-given")];
            lock(&cluster, held, &keys[0], LockMode::Exclusive).await.unwrap();
            lock(&cluster, given, &keys[1], LockMode::Exclusive).await.unwrap();
            let (servers, place) = (cluster.servers.clone(), Key::from(keys[1].as_str()));
            let pause = Duration::from_micros(700 * round);
            let releasing = cluster.sim.spawn("release", async move {
                quorate_env::time::sleep(pause).await;
                servers.send(&place, release_op(given)).await
            });
            merge(&cluster).await;
            releasing.join().await.unwrap().expect("released");
            assert_eq!(refused_by(&cluster, 9, &keys[1], LockMode::Exclusive).await, None, "round {round}");
            let holder = refused_by(&cluster, 9, &keys[0], LockMode::Exclusive).await;
            assert_eq!(holder, Some(TxnId(u128::from(held))), "round {round}");
            release(&cluster, 9, &keys[1]).await;
            let (leader, ShardDescriptor { version, .. }, _) = cluster.leader("k").await;
            let right = ShardId(3 + round);
            let right_replicas = (0..3).map(|n| ReplicaId(100 * (round + 1) + n)).collect();
            let (shard, at) = (ShardId::FIRST, Key::from("m"));
            let split = ReplicaCommand::Split { shard, at, right, right_replicas, version };
            cluster.servers.command(leader, split).await.unwrap();
        }
    });
}

fn old_read(key: &str, at: Timestamp) -> ShardOp {
    let ShardOp::Read(read) = get_op(key, at) else { unreachable!() };
    ShardOp::Read(ReadRequest { follower: true, ..read })
}

#[test]
fn behind_a_seal_nothing_is_read_or_written_until_the_left_has_forgotten_it() {
    run(121, |mut cluster| async move {
        found(&mut cluster).await;
        cluster.put(1, "s", "v").await.unwrap();
        two(&cluster).await;
        lead_apart(&cluster).await;
        lock(&cluster, 2, "t", LockMode::Exclusive).await.unwrap();
        cluster.sim.sleep(Duration::from_secs(1)).await;
        let seal = seal(&cluster).await;
        let refused = |reply: &Result<ShardReply, KvError>| matches!(reply, Err(KvError::NotReady { .. }));
        for node in 1..=3 {
            let read = ask(&cluster, node, &seal.right, get_op("s", cluster.now())).await;
            assert!(refused(&read) || matches!(read, Err(KvError::NotLeader { .. })), "{read:?}");
            // What was closed before is readable on.
            let old = ask(&cluster, node, &seal.right, old_read("s", seal.closed)).await;
            assert_eq!(value_of(old.unwrap()).as_deref(), Some("v"));
        }
        let (leader, right) = leads(&cluster, "s").await;
        let write = ask(&cluster, leader, &right, commit_op(3, cluster.now(), "s", "w")).await;
        assert!(refused(&write), "{write:?}");
        assert_eq!(cluster.put(4, "k", "v").await.map(drop), Ok(()), "the left goes on");
        // An end of the seal without the left's word is none.
        let unseal = ReplicaCommand::Unseal { shard: RIGHT, version: right.version };
        let early = cluster.servers.command(leader, unseal.clone()).await;
        assert_eq!(early, Ok(ReplicaReply::Sealed(Box::new(seal.clone()))));
        assert!(refused(&ask(&cluster, leader, &right, get_op("s", cluster.now())).await));
        let (left, _) = leads(&cluster, "k").await;
        let forget = ReplicaCommand::Forget(seal.clone());
        assert_eq!(cluster.servers.command(left, forget).await, Ok(ReplicaReply::Done));
        let late = cluster.servers.command(left, ReplicaCommand::Absorb(seal.clone())).await;
        assert!(matches!(late, Err(KvError::BadRequest { .. })), "{late:?}");
        cluster.servers.command(leader, unseal).await.unwrap();
        assert_eq!(cluster.get("s").await.as_deref(), Some("v"));
        assert_eq!(refused_by(&cluster, 5, "t", LockMode::Shared).await, Some(TxnId(2)));
        cluster.put(6, "s", "after").await.unwrap();
        // A seal for the version from before comes late.
        let stale =
            ReplicaCommand::Seal { shard: RIGHT, version: right.version, left: leads(&cluster, "k").await.1 };
        let (leader, _) = leads(&cluster, "s").await;
        let stale = cluster.servers.command(leader, stale).await;
        assert!(matches!(stale, Err(KvError::StaleRoute { .. })), "{stale:?}");
        merge(&cluster).await;
        assert_eq!(cluster.get("s").await.as_deref(), Some("after"));
    });
}

/// The right was read a moment ahead of the left leader's clock; who writes there then under the left must not get before it.
#[test]
fn the_left_writes_above_what_was_read_in_the_right() {
    for seed in 131..134 {
        run(seed, |cluster| async move {
            cluster.found(&[1, 2, 3]).await;
            cluster.put(1, "s", "v").await.unwrap();
            two(&cluster).await;
            lead_apart(&cluster).await;
            let (_, right) = leads(&cluster, "s").await;
            let before = cluster.now();
            let read_ts = before.plus(Duration::from_millis(3));
            let read = cluster.servers.send(&Key::from("s"), get_op("s", read_ts)).await;
            assert_eq!(value_of(read.unwrap()).as_deref(), Some("v"));
            assert!(right.contains(&Key::from("s")));
            merge(&cluster).await;
            let ShardOp::CommitLocal(commit) = commit_op(2, before, "s", "w") else { unreachable!() };
            let commit = ShardOp::CommitLocal(CommitLocal { commit_ts: before, ..commit });
            match cluster.servers.send(&Key::from("s"), commit).await {
                Ok(ShardReply::Committed(ts, _)) => {
                    assert!(ts > read_ts, "{ts} rewrites what was read at {read_ts}")
                }
                other => panic!("{other:?}"),
            }
        });
    }
}

/// The seal has not come to one node, whose copy of the left hears of the merge.
#[test]
fn a_copy_that_has_not_come_to_the_seal_absorbs_nothing() {
    run(141, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        two(&cluster).await;
        lead_apart(&cluster).await;
        let ((left, _), (right, _)) = (leads(&cluster, "k").await, leads(&cluster, "s").await);
        let third = 6 - left - right;
        cluster.sim.cut(NodeId(right), NodeId(third));
        let (_, shard) = leads(&cluster, "s").await;
        let write = ask(&cluster, right, &shard, commit_op(2, cluster.now(), "s", "v")).await;
        assert!(write.is_ok(), "{write:?}");
        let seal = seal(&cluster).await;
        absorb(&cluster, &seal).await;
        cluster.until("the others have", || one_shard(&cluster, left) && one_shard(&cluster, right)).await;
        for _ in 0..20 {
            cluster.sim.sleep(Duration::from_millis(10)).await;
            assert!(!one_shard(&cluster, third), "it has keys that it lacks entries of");
        }
    });
}

/// Its log has to say what becomes of the other.
#[test]
fn a_shard_that_another_is_sealed_for_is_not_sealed_itself() {
    run(146, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        two(&cluster).await;
        let (node, left) = leads(&cluster, "k").await;
        let (shard, at, right, version) = (left.id, Key::from("f"), ShardId(3), left.version);
        let right_replicas = [21, 22, 23].map(ReplicaId).into();
        let split = ReplicaCommand::Split { shard, at, right, right_replicas, version };
        cluster.servers.command(node, split).await.expect("split");
        let first = leads(&cluster, "a").await.1;
        let seal = seal(&cluster).await;
        everywhere(&cluster, &seal).await;
        let (node, middle) = leads(&cluster, "k").await;
        let again = ReplicaCommand::Seal { shard: middle.id, version: middle.version, left: first };
        let refused = cluster.servers.command(node, again.clone()).await;
        assert!(matches!(refused, Err(KvError::NotReady { .. })), "{refused:?}");
        let merged = absorb(&cluster, &seal).await;
        let ReplicaCommand::Seal { shard, left, .. } = again else { panic!() };
        let again = ReplicaCommand::Seal { shard, version: merged.version, left };
        let reply = cluster.servers.command(node, again).await;
        assert!(matches!(reply, Ok(ReplicaReply::Sealed(_))), "{reply:?}");
    });
}

/// Also when its log has decided, by a split: that it goes on is the proof which unseals the other.
#[test]
fn a_shard_that_another_is_sealed_for_in_vain_is_not_sealed_itself() {
    run(147, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        two(&cluster).await;
        let split = |shard: &ShardDescriptor, at: &str, right: u64| {
            let right_replicas = (0..3).map(|n| ReplicaId(10 * right + n)).collect();
            let (shard, at, version) = (shard.id, Key::from(at), shard.version);
            ReplicaCommand::Split { shard, at, right: ShardId(right), right_replicas, version }
        };
        let (node, left) = leads(&cluster, "k").await;
        cluster.servers.command(node, split(&left, "f", 3)).await.expect("split");
        let first = leads(&cluster, "a").await.1;
        let seal = seal(&cluster).await;
        everywhere(&cluster, &seal).await;
        let (node, middle) = leads(&cluster, "k").await;
        cluster.servers.command(node, split(&middle, "k", 4)).await.expect("split");
        let (node, middle) = leads(&cluster, "g").await;
        let again = ReplicaCommand::Seal { shard: middle.id, version: middle.version, left: first };
        let refused = cluster.servers.command(node, again.clone()).await;
        assert!(matches!(refused, Err(KvError::NotReady { .. })), "{refused:?}");
        let (right, _) = leads(&cluster, "s").await;
        let unseal = ReplicaCommand::Unseal { shard: seal.right.id, version: seal.right.version };
        cluster.servers.command(right, unseal).await.expect("its left has another version");
        let reply = cluster.servers.command(node, again).await;
        assert!(matches!(reply, Ok(ReplicaReply::Sealed(_))), "{reply:?}");
    });
}

/// Its right half's ids are used up: a copy of it that was founded again would be nowhere.
#[test]
fn a_copy_of_a_split_that_comes_after_its_merge_is_refused() {
    run(145, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "s", "v").await.unwrap();
        two(&cluster).await;
        let merged = merge(&cluster).await;
        let (leader, _) = leads(&cluster, "k").await;
        let right_replicas = vec![ReplicaId(11), ReplicaId(12), ReplicaId(13)];
        let (shard, at) = (ShardId::FIRST, Key::from("m"));
        let late = ReplicaCommand::Split { shard, at, right: RIGHT, right_replicas, version: 1 };
        match cluster.servers.command(leader, late).await {
            Err(KvError::StaleRoute { newer, .. }) => assert_eq!(newer, [merged]),
            other => panic!("{other:?}"),
        }
        assert_eq!(cluster.get("s").await.as_deref(), Some("v"));
    });
}

/// Nobody may destroy a sealed copy that the left here waits for, nor change the members or the range of the shard.
#[test]
fn a_sealed_shard_changes_in_no_way() {
    run(151, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        two(&cluster).await;
        let seal = seal(&cluster).await;
        everywhere(&cluster, &seal).await;
        let (leader, right) = leads(&cluster, "s").await;
        let refused = |reply: Result<ReplicaReply, KvError>| {
            assert!(matches!(reply, Err(KvError::NotReady { .. })), "{reply:?}")
        };
        let right_replicas = vec![ReplicaId(21), ReplicaId(22), ReplicaId(23)];
        let (at, version) = (Key::from("t"), right.version);
        let split = ReplicaCommand::Split { shard: RIGHT, at, right: ShardId(3), right_replicas, version };
        refused(cluster.servers.command(leader, split).await);
        let members = right.replicas[..2].to_vec();
        let change =
            ReplicaCommand::ChangeMembers { shard: RIGHT, config_epoch: right.config_epoch, members };
        refused(cluster.servers.command(leader, change).await);
        let replica = right.replica_on(NodeId(1)).unwrap().id;
        refused(cluster.servers.command(1, ReplicaCommand::Destroy { shard: RIGHT, replica }).await);
        absorb(&cluster, &seal).await;
    });
}

/// A node comes to the seal and hears nothing more. The left absorbs and is split again, before the sealed keys or among them, and
/// its copy on that node is replaced. The new one, which comes by a snapshot, never absorbs what is still there.
#[test]
fn a_sealed_copy_goes_after_its_left_was_replaced_and_split_again() {
    for (seed, at) in [(161, "f"), (162, "t")] {
        run(seed, move |cluster| async move {
            cluster.found(&[1, 2, 3]).await;
            for (n, key) in ["a", "g", "s", "y"].into_iter().enumerate() {
                cluster.put(n as u64 + 1, key, "v").await.unwrap();
            }
            two(&cluster).await;
            lead_apart(&cluster).await;
            let ((left, before), (right, sealed)) = (leads(&cluster, "k").await, leads(&cluster, "s").await);
            let third = 6 - left - right;
            let seal = seal(&cluster).await;
            everywhere(&cluster, &seal).await;
            for other in [left, right] {
                cluster.sim.cut(NodeId(other), NodeId(third));
                cluster.sim.cut(NodeId(third), NodeId(other));
            }
            let merged = absorb(&cluster, &seal).await;
            let ids = [21, 22, 23].map(ReplicaId);
            let split = ReplicaCommand::Split {
                shard: merged.id,
                at: Key::from(at),
                right: ShardId(3),
                right_replicas: ids.into(),
                version: merged.version,
            };
            cluster.servers.command(left, split).await.expect("split");
            cluster.put(11, at, "after").await.unwrap();

            let old = merged.replica_on(NodeId(third)).unwrap().clone();
            let mut members: Vec<Replica> =
                merged.replicas.iter().filter(|member| member.id != old.id).cloned().collect();
            cluster.change_members("a", members.clone()).await;
            let command = ReplicaCommand::Destroy { shard: merged.id, replica: old.id };
            cluster.servers.command(third, command).await.expect("the old copy goes");
            let new = Replica { id: ReplicaId(31), role: ReplicaRole::Learner, ..old };
            // By somebody who has not heard of the merge.
            let create = ReplicaCommand::CreateLearner { descriptor: before, replica: new.clone() };
            cluster.servers.command(third, create).await.expect("a new copy");
            let destroy = ReplicaCommand::Destroy {
                shard: RIGHT,
                replica: sealed.replica_on(NodeId(third)).unwrap().id,
            };
            let early = cluster.servers.command(third, destroy.clone()).await;
            assert!(
                matches!(early, Err(KvError::NotReady { .. })),
                "the new copy knows nothing yet: {early:?}"
            );
            cluster.sim.heal();
            members.push(new);
            let now = cluster.change_members("a", members).await;
            cluster
                .until("the snapshot is there", || cluster.servers.get(third).descriptors().contains(&now))
                .await;
            cluster.servers.command(third, destroy).await.expect("the left has decided");

            let (_, other) = leads(&cluster, "y").await;
            assert_eq!(other.id, ShardId(3));
            let missing = other.replica_on(NodeId(third)).unwrap().clone();
            let create = ReplicaCommand::CreateLearner { descriptor: other, replica: missing };
            cluster.servers.command(third, create).await.expect("its keys belong to nobody else");
            let rows = |node| {
                let all = cluster.engine(node).dump();
                all.into_iter().filter(|(family, ..)| *family == Family::Data).collect::<Vec<_>>()
            };
            cluster.until("the copies are alike", || rows(third) == rows(left)).await;
        });
    }
}

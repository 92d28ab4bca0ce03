//! A shard that has lost its quorum for good goes on from one copy.

use super::harness::*;
use quorate_proto::kv::{Decide, Decision, ShardOp, ShardReply, TxnState};
use quorate_proto::placement::{ReplicaCommand, ReplicaReply, Testimony};
use quorate_proto::{Key, KvError, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Timestamp};
use std::time::Duration;

const SHARD: ShardId = ShardId::FIRST;
const NEW: ReplicaId = ReplicaId(21);

async fn testimony(cluster: &Cluster, node: u64, shard: ShardId) -> Testimony {
    match cluster.servers.command(node, ReplicaCommand::Testify { shard }).await {
        Ok(ReplicaReply::Testimony(testimony)) => *testimony,
        other => panic!("{other:?}"),
    }
}

fn revive(testimony: &Testimony) -> ReplicaCommand {
    let (version, config_epoch) = testimony.descriptor.epochs();
    let epochs = (version + 1, config_epoch + 1);
    let (shard, old, last) = (testimony.descriptor.id, testimony.replica.id, testimony.last);
    ReplicaCommand::Revive { shard, old, new: NEW, last, epochs }
}

async fn revived(cluster: &Cluster, node: u64, shard: ShardId) -> ShardDescriptor {
    let command = revive(&testimony(cluster, node, shard).await);
    let reply = cluster.servers.command(node, command.clone()).await.expect("it goes on");
    let ReplicaReply::Changed(descriptors) = reply else { panic!("{reply:?}") };
    let again = cluster.servers.command(node, command).await;
    assert_eq!(again, Ok(ReplicaReply::Changed(descriptors.clone())), "twice is harmless");
    descriptors[0].clone()
}

/// Copies on the first three of five nodes, of which the first one's is left.
async fn bereft(cluster: &mut Cluster) -> ShardDescriptor {
    let descriptor = cluster.found(&[1, 2, 3]).await;
    cluster.put(1, "a", "1").await.expect("committed");
    let now = cluster.now();
    cluster.servers.send(&Key::from("z"), prepare_op(2, "z", now, "z", "half")).await.expect("prepared");
    until_all_have_applied_it(cluster).await;
    // Long enough to close something.
    cluster.sim.sleep(Duration::from_secs(1)).await;
    for node in [2, 3] {
        cluster.crash(node).await;
    }
    cluster.sim.sleep(Duration::from_secs(3)).await;
    descriptor
}

async fn until_all_have_applied_it(cluster: &Cluster) {
    let applied = |node: u64| {
        let reports = cluster.servers.get(node).reports();
        reports.iter().map(|report| (report.shard, report.frontiers.applied)).collect::<Vec<_>>()
    };
    let same = || applied(1) == applied(2) && applied(2) == applied(3);
    cluster.until("all have applied it", same).await;
}

#[test]
fn a_copy_goes_on_alone_with_all_that_it_has() {
    run_on(71, 5, |mut cluster| async move {
        let before = bereft(&mut cluster).await;
        let left = testimony(&cluster, 1, SHARD).await;
        assert_eq!((left.configs.len(), left.configs[0].len()), (1, 3));
        assert!(!left.serves && left.closed > Timestamp::ZERO, "{left:?}");
        let now = revived(&cluster, 1, SHARD).await;
        assert_eq!(now.epochs(), (before.version + 1, before.config_epoch + 1));
        assert_eq!(now.replicas, [quorate_proto::Replica { id: NEW, ..member(1, ReplicaRole::Voter) }]);
        assert_eq!(cluster.get("a").await.as_deref(), Some("1"));
        assert_eq!(cluster.get("z").await, None, "its intent is there, and was recovered");
        cluster.put(3, "b", "2").await.unwrap();

        // Power loss: it is the new one that comes back.
        cluster.crash(1).await;
        cluster.up(1).await;
        // It measures the others' clocks first.
        cluster.sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(cluster.get("b").await.as_deref(), Some("2"));
        let mut members = now.replicas.clone();
        for node in [4, 5] {
            let replica = member(node, ReplicaRole::Voter);
            let create = ReplicaCommand::CreateLearner { descriptor: now.clone(), replica: replica.clone() };
            cluster.servers.command(node, create).await.unwrap();
            members.push(replica);
        }
        let change = ReplicaCommand::ChangeMembers { shard: SHARD, config_epoch: now.config_epoch, members };
        cluster.servers.command(1, change).await.unwrap();
        cluster.crash(1).await;
        assert_eq!(cluster.get("b").await.as_deref(), Some("2"), "it has grown again");
    });
}

/// They were not dead: together they are a quorum of the old members.
#[test]
fn who_knows_the_new_epoch_is_not_answered_by_an_old_copy_nor_the_other_way_round() {
    run_on(72, 5, |mut cluster| async move {
        let before = bereft(&mut cluster).await;
        let now = revived(&cluster, 1, SHARD).await;
        for node in [2, 3] {
            cluster.up(node).await;
        }
        let leads = |node: u64| cluster.servers.get(node).reports()[0].leader;
        cluster.until("the old members have a leader", || leads(2) || leads(3)).await;
        let old = if leads(2) { 2 } else { 3 };
        let get = |at| get_op("a", at);
        let asked = cluster.servers.send_to(old, &now, get(cluster.now())).await;
        assert!(matches!(asked, Err(KvError::NotReady { .. })), "to it that is a range to come: {asked:?}");
        let asked = cluster.servers.send_to(1, &before, get(cluster.now())).await;
        assert!(matches!(asked, Err(KvError::StaleRoute { .. })), "{asked:?}");
        let write = commit_op(9, cluster.now(), "a", "old");
        cluster.servers.send_to(old, &before, write).await.expect("the old members have a quorum");
        cluster.sim.sleep(Duration::from_secs(2)).await;
        let asked = cluster.servers.send_to(1, &now, get(cluster.now())).await.unwrap();
        assert_eq!(value_of(asked).as_deref(), Some("1"), "nothing of theirs comes here");
        let destroy = ReplicaCommand::Destroy { shard: SHARD, replica: ReplicaId(old) };
        cluster.servers.command(old, destroy).await.expect("also if it leads");
    });
}

#[test]
fn a_copy_that_is_given_up_never_votes_again_and_can_be_taken_all_the_same() {
    run_on(73, 5, |mut cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "a", "1").await.unwrap();
        cluster.crash(3).await;
        cluster.sim.sleep(Duration::from_secs(3)).await;
        let fence = ReplicaCommand::Fence { shard: SHARD, replica: ReplicaId(2) };
        cluster.servers.command(2, fence.clone()).await.unwrap();
        cluster.crash(2).await;
        cluster.up(2).await;
        cluster.servers.command(2, fence).await.expect("twice is harmless");
        cluster.sim.sleep(Duration::from_secs(8)).await;
        assert!(!cluster.servers.get(1).reports()[0].leader || !testimony(&cluster, 1, SHARD).await.serves);
        cluster.crash(1).await;
        let now = revived(&cluster, 2, SHARD).await;
        assert_eq!(now.replicas[0].id, NEW);
        assert_eq!(cluster.get("a").await.as_deref(), Some("1"));
    });
}

#[test]
fn a_log_that_has_moved_on_is_not_taken() {
    run_on(74, 5, |mut cluster| async move {
        bereft(&mut cluster).await;
        let mut stale = testimony(&cluster, 1, SHARD).await;
        stale.last.index -= 1;
        let refused = cluster.servers.command(1, revive(&stale)).await;
        assert!(matches!(refused, Err(KvError::BadRequest { .. })), "{refused:?}");
        // It is what it was: with one of the others it is a quorum.
        cluster.up(2).await;
        assert_eq!(cluster.get("a").await.as_deref(), Some("1"));
        let leader = cluster.leader("a").await.0;
        let refused =
            cluster.servers.command(leader, revive(&testimony(&cluster, leader, SHARD).await)).await;
        assert!(matches!(&refused, Err(KvError::BadRequest { why }) if why.contains("leads")), "{refused:?}");
    });
}

/// The copies that are left have its intents, and have missed its record: its client was told that it has committed.
#[test]
fn a_transaction_whose_record_is_lost_is_aborted_in_all_shards() {
    run_on(75, 5, |mut cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        let (at, right) = (Key::from("m"), ShardId(2));
        let right_replicas = vec![ReplicaId(11), ReplicaId(12), ReplicaId(13)];
        let split = ReplicaCommand::Split { shard: SHARD, at, right, right_replicas, version: 1 };
        cluster.servers.command(cluster.leader("a").await.0, split).await.unwrap();
        let now = cluster.now();
        for key in ["a", "z"] {
            let prepared = cluster.servers.send(&Key::from(key), prepare_op(7, "a", now, key, "new")).await;
            assert!(matches!(prepared, Ok(ShardReply::Prepared(..))), "{prepared:?}");
        }
        until_all_have_applied_it(&cluster).await;
        cluster.crash(1).await;
        let decision = Decision::Commit(cluster.now());
        let (txn, intents) = (meta(7, "a", now), vec![Key::from("a"), Key::from("z")]);
        let decide = ShardOp::Decide(Decide { txn, decision, intents, prepared: Vec::new(), span: None });
        let decided = cluster.servers.send(&Key::from("a"), decide.clone()).await;
        assert!(matches!(decided, Ok(ShardReply::Decided(TxnState::Committed(_), _))), "{decided:?}");
        for node in [2, 3] {
            cluster.crash(node).await;
        }
        cluster.up(1).await;
        for shard in [SHARD, right] {
            revived(&cluster, 1, shard).await;
        }
        // In either order, and for whoever asks.
        assert_eq!(cluster.get("z").await, None);
        assert_eq!(cluster.get("a").await, None);
        let again = cluster.servers.send(&Key::from("a"), decide).await;
        assert!(matches!(again, Ok(ShardReply::Decided(TxnState::Aborted, _))), "{again:?}");
    });
}

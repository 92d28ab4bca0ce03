//! A group that has lost its quorum goes on from one replica, and whoever comes back does it no harm.

use crate::{
    SECOND,
    common::{Cluster, SHARD, ms, replica, replicas, run},
};
use quorate_proto::{KvError, LogPosition, Replica, ReplicaId};

/// What the replica that goes on is called then.
fn reborn(node: u64) -> Replica {
    Replica { id: ReplicaId(200 + node), ..replica(node) }
}

/// Three replicas with two values, of which only the first one's is left.
async fn bereft(cluster: &Cluster) {
    cluster.found(SHARD, 1..=3).await;
    cluster.wait_leader(SHARD, SECOND).await;
    cluster.write(SHARD, "a").await;
    cluster.write(SHARD, "b").await;
    cluster.same_everywhere(SHARD, &[1, 2, 3], &["a", "b"]).await;
    for node in [2, 3] {
        cluster.crash(node).await;
    }
}

fn values(cluster: &Cluster, node: u64) -> Vec<String> {
    let values = cluster.machine(node, SHARD).values();
    values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

#[test]
fn a_replica_goes_on_alone_and_grows_again() {
    run(31, |world| async move {
        let cluster = Cluster::new(world, 1..=5);
        bereft(&cluster).await;
        let before = cluster.remains(1, SHARD);
        assert_eq!(before.configs, [replicas(1..=3).iter().map(|r| r.id).collect::<Vec<_>>()]);
        cluster.write_revival(1, SHARD, &reborn(1)).await.unwrap();
        cluster.open_revived(1, SHARD, &reborn(1)).await;
        let (_, term) = cluster.wait_leader(SHARD, SECOND).await;
        assert!(term > before.last.term + 1_000_000, "no elections of the old members come to term {term}");
        cluster.write(SHARD, "c").await;
        assert_eq!(cluster.group(1, SHARD).members().replicas, [reborn(1)]);
        for new in [4, 5] {
            cluster.learner(SHARD, &replica(new)).await;
        }
        let all = vec![reborn(1), replica(4), replica(5)];
        cluster.group(1, SHARD).change_members(all).await.unwrap();
        cluster.same_everywhere(SHARD, &[1, 4, 5], &["a", "b", "revived", "c"]).await;
    });
}

/// Two of three that were taken for lost elect a leader, and write.
#[test]
fn old_members_that_come_back_do_not_reach_it() {
    run(32, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        bereft(&cluster).await;
        cluster.write_revival(1, SHARD, &reborn(1)).await.unwrap();
        cluster.open_revived(1, SHARD, &reborn(1)).await;
        cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "new").await;
        for node in [2, 3] {
            cluster.restart(node).await;
        }
        let leads = |node| cluster.group(node, SHARD).leadership().borrow().is_leader;
        cluster.eventually("the old members have a leader", 10 * SECOND, || leads(2) || leads(3)).await;
        let old = if leads(2) { 2 } else { 3 };
        let group = cluster.group(old, SHARD);
        cluster.eventually("it is ready", SECOND, || group.leadership().borrow().ready).await;
        let term = group.leadership().borrow().term;
        group.propose(term, "old".into()).await.unwrap();
        cluster.world.sleep(3 * SECOND).await;
        assert!(leads(1) && !cluster.group(1, SHARD).is_stopped());
        let term = cluster.group(1, SHARD).leadership().borrow().term;
        cluster.group(1, SHARD).propose(term, "newer".into()).await.unwrap();
        assert_eq!(values(&cluster, 1), ["a", "b", "revived", "new", "newer"]);
        assert_eq!(values(&cluster, old), ["a", "b", "old"]);
    });
}

#[test]
fn what_its_log_holds_beyond_the_applied_state_comes_along() {
    run(33, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        cluster.found(SHARD, 1..=3).await;
        let (leader, term) = cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "a").await;
        for node in (1..=3).filter(|node| *node != leader) {
            cluster.crash(node).await;
        }
        // In the log of the leader alone: nobody knows whether it is committed.
        let group = cluster.group(leader, SHARD);
        let proposed = cluster.env(leader).timeout(ms(500), group.propose(term, "b".into())).await;
        assert!(proposed.is_err(), "{proposed:?}");
        cluster.write_revival(leader, SHARD, &reborn(leader)).await.unwrap();
        cluster.open_revived(leader, SHARD, &reborn(leader)).await;
        cluster.wait_leader(SHARD, SECOND).await;
        cluster.write(SHARD, "c").await;
        assert_eq!(values(&cluster, leader), ["a", "b", "revived", "c"]);
    });
}

#[test]
fn a_crash_before_the_switch_leaves_the_old_replica_and_one_behind_it_the_new() {
    run(34, |world| async move {
        let cluster = Cluster::new(world, 1..=5);
        bereft(&cluster).await;
        cluster.write_revival(1, SHARD, &reborn(1)).await.unwrap();
        cluster.crash(1).await;
        cluster.restart(1).await;
        cluster.consensus(1).forget_others(SHARD, replica(1).id).await.unwrap();
        assert_eq!(cluster.group(1, SHARD).replica(), replica(1).id);
        cluster.world.sleep(3 * SECOND).await;
        assert!(cluster.leader(SHARD).is_none(), "it has no quorum, as before");
        cluster.write_revival(1, SHARD, &reborn(1)).await.unwrap();
        cluster.open_revived(1, SHARD, &reborn(1)).await;
        cluster.crash_losing_all(1).await;
        cluster.restart(1).await;
        cluster.wait_leader(SHARD, 5 * SECOND).await;
        cluster.write(SHARD, "c").await;
        assert_eq!(values(&cluster, 1), ["a", "b", "revived", "c"]);
    });
}

#[test]
fn a_log_with_another_end_than_was_shown_is_left_alone() {
    run(35, |world| async move {
        let cluster = Cluster::new(world, 1..=3);
        bereft(&cluster).await;
        let (old, new) = (replica(1).id, reborn(1));
        let applied = cluster.machine(1, SHARD).now.lock().applied;
        cluster.consensus(1).close(SHARD).await;
        let last = LogPosition { term: 9, index: 99 };
        let revival =
            quorate_consensus::Revival { shard: SHARD, old, new, last, applied, command: "x".into() };
        let refused = cluster.consensus(1).revive(revival).await;
        assert!(matches!(refused, Err(KvError::BadRequest { .. })), "{refused:?}");
    });
}

//! Merges as the driver carries them out, over fake shards that check its order of steps.

use crate::{
    leader,
    support::{Cluster, node, run},
};
use quorate_proto::{
    Key, ReplicaId, ShardId,
    placement::{Operation, OperationState, PlacementReply, PlacementRequest},
};
use std::{collections::BTreeSet, time::Duration};

async fn split(cluster: &Cluster, at: &str) {
    let over = cluster.do_it(Operation::Split { at: Key::from(at) }).await;
    assert_eq!(over.state, OperationState::Done);
}

fn merge(at: &str) -> Operation {
    Operation::Merge { at: Key::from(at) }
}

#[test]
fn neighbours_become_one_and_stay_so() {
    run(31, 3, |cluster| async move {
        for at in ["b", "d", "f"] {
            split(&cluster, at).await;
        }
        assert_eq!(cluster.do_it(merge("d")).await.state, OperationState::Done);
        assert_eq!(cluster.do_it(merge("d")).await.state, OperationState::Done, "done already");
        let map = cluster.map().await;
        let starts: BTreeSet<Key> = map.values().map(|shard| shard.span.start.clone()).collect();
        assert_eq!(starts, ["", "b", "f"].map(Key::from).into(), "{map:?}");
        // Nobody is said to lead what is no more.
        let mut led = 0;
        for _ in 0..100 {
            let PlacementReply::Nodes(nodes) = cluster.ask(PlacementRequest::Nodes).await else { panic!() };
            led = nodes.iter().map(|node| node.leaders).sum();
            if led == 3 {
                break;
            }
            cluster.world.sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(led, 3);
        // The keys that were given back are divided under another id.
        split(&cluster, "d").await;
        let ids: BTreeSet<ShardId> = cluster.map().await.keys().copied().collect();
        assert_eq!(ids, [1, 2, 4, 5].map(ShardId).into());
    });
}

/// Two that share a shard take turns, in whatever order they are asked for.
#[test]
fn a_chain_becomes_one() {
    for (seed, order) in [(32, ["b", "d", "f"]), (33, ["f", "d", "b"]), (34, ["d", "b", "f"])] {
        run(seed, 3, move |cluster| async move {
            for at in ["b", "d", "f"] {
                split(&cluster, at).await;
            }
            let mut started = Vec::new();
            for at in order {
                started.push(cluster.begin(merge(at)).await);
            }
            for id in started {
                assert_eq!(cluster.wait(id).await.state, OperationState::Done);
            }
            let map = cluster.map().await;
            assert_eq!(map.len(), 1, "{map:?}");
        });
    }
}

#[test]
fn copies_are_brought_together_first() {
    run(35, 4, |cluster| async move {
        split(&cluster, "m").await;
        let shard = ShardId(2);
        let moved = cluster.do_it(Operation::MoveReplica { shard, from: node(1), to: node(4) }).await;
        assert_eq!(moved.state, OperationState::Done);
        assert_eq!(cluster.do_it(merge("m")).await.state, OperationState::Done);
        let map = cluster.map().await;
        assert_eq!(map.len(), 1, "{map:?}");
        cluster.world.sleep(Duration::from_secs(3)).await;
        let shards = cluster.shards.lock();
        let left: Vec<_> = shards.copies.keys().filter(|(held, _)| *held == shard).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn merges_outlive_the_drivers_leader_and_lost_answers() {
    for seed in 40..52 {
        run(seed, 4, move |cluster| async move {
            split(&cluster, "m").await;
            cluster.shards.lock().lose_answers = seed as usize % 4;
            let id = cluster.begin(merge("m")).await;
            let first = leader(&cluster).await;
            cluster.world.sleep(Duration::from_millis((seed - 39) * 5)).await;
            cluster.crash(first).await;
            let over = cluster.wait(id).await.state;
            let shards = cluster.shards.lock();
            let sealed: Vec<_> = shards.truth.values().filter(|shard| shard.seal.is_some()).collect();
            assert!(sealed.is_empty(), "one is left sealed after {over:?}");
            match over {
                OperationState::Done => assert_eq!(shards.truth.len(), 1),
                // A node that holds a copy is down: nothing is merged without it.
                OperationState::Failed(_) => assert_eq!(shards.truth.len(), 2),
                OperationState::Running => panic!("not over"),
            }
        });
    }
}

/// The right serves again, and another try succeeds.
#[test]
fn a_merge_that_a_copy_holds_up_is_undone() {
    run(36, 3, |cluster| async move {
        split(&cluster, "m").await;
        let before = cluster.map().await[&ShardId(2)].clone();
        cluster.shards.lock().lagging.insert(node(3));
        let failed = cluster.do_it(merge("m")).await.state;
        let OperationState::Failed(why) = failed else { panic!("{failed:?}") };
        assert!(why.contains("node 3"), "{why}");
        let now = cluster.map().await[&ShardId(2)].clone();
        assert!(cluster.shards.lock().truth[&ShardId(2)].seal.is_none(), "it serves again");
        assert!(now.version > before.version, "a seal that comes late is refused");
        cluster.shards.lock().lagging.clear();
        assert_eq!(cluster.do_it(merge("m")).await.state, OperationState::Done);
    });
}

/// Nobody leads the right, and so nobody tells what became of its seal: one node has missed the split that made it, and another one dies.
#[test]
fn a_member_that_was_never_made_is_made_also_while_its_shard_is_merged() {
    run(53, 4, |cluster| async move {
        let (name, value) = ("placement.repair_after".to_owned(), "2s".to_owned());
        cluster.ask(PlacementRequest::SetSetting { name, value }).await;
        split(&cluster, "m").await;
        cluster.shards.lock().copies.remove(&(ShardId(2), node(2)));
        let id = cluster.begin(merge("m")).await;
        cluster.world.sleep(Duration::from_secs(1)).await;
        cluster.crash(node(1)).await;
        let over = cluster.wait(id).await.state;
        assert!(matches!(over, OperationState::Failed(_)), "{over:?}");
        cluster.world.sleep(Duration::from_secs(30)).await;
        let map = cluster.map().await;
        let nodes: Vec<u64> = map[&ShardId(2)].voters().map(|voter| voter.node.0).collect();
        assert_eq!(nodes, [2, 3, 4], "{map:?}");
    });
}

/// The driver looks, finds no seal, and goes to refuse one that comes late: then it is there.
#[test]
fn a_seal_that_shows_when_the_merge_is_undone_is_forgotten_first() {
    run(39, 3, |cluster| async move {
        split(&cluster, "m").await;
        {
            let mut shards = cluster.shards.lock();
            shards.lagging.insert(node(3));
            shards.seal_unseen = 1;
        }
        let failed = cluster.do_it(merge("m")).await.state;
        assert!(matches!(failed, OperationState::Failed(_)), "{failed:?}");
        let shards = cluster.shards.lock();
        assert_eq!(shards.seal_unseen, 0);
        assert!(shards.truth[&ShardId(2)].seal.is_none(), "it serves again");
        let step = |command: &str| shards.told.iter().filter(|told| told.contains(command)).count();
        assert_eq!((step("Forget"), step("Unseal")), (1, 2), "it is not asked over and over");
    });
}

/// A node that was away holds a copy of a shard that is part of another one by now, and tells of it.
#[test]
fn who_has_not_heard_of_a_merge_brings_nothing_back() {
    for (seed, leads) in [(37, false), (38, true)] {
        run(seed, 4, move |cluster| async move {
            split(&cluster, "m").await;
            let right = cluster.map().await[&ShardId(2)].clone();
            assert_eq!(cluster.do_it(merge("m")).await.state, OperationState::Done);
            let stale = (ShardId(2), node(4));
            {
                let mut shards = cluster.shards.lock();
                shards.left_behind(stale, ReplicaId(99), right);
                shards.deluded.extend(Some(stale).filter(|_| leads));
            }
            cluster.world.sleep(Duration::from_secs(5)).await;
            assert_eq!(cluster.map().await.len(), 1);
            assert!(!cluster.shards.lock().copies.contains_key(&stale), "the copy goes");
        });
    }
}

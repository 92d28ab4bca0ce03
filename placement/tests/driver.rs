//! The driver as a whole: three simulated nodes run its group, fake shards obey it.

mod exchange;
mod leaving;
mod merges;
mod recovery;
mod rules;
mod schedulers;
mod support;

use quorate_env::sim::{SimConfig, SimWorld};
use quorate_proto::{
    Key, NodeId, ReplicaRole, ShardId, Space, Span, Tempo, Timestamp,
    placement::{
        Carries, IdKind, NodeInfo, NodeOrder, NodeState, Operation, OperationState, PlacementReply,
        PlacementRequest,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use support::{Cluster, info, node, run, run_with};

async fn split(cluster: &Cluster, at: &str) -> OperationState {
    cluster.do_it(Operation::Split { at: Key::from(at) }).await.state
}

async fn leader(cluster: &Cluster) -> NodeId {
    for id in cluster.world.up() {
        let env = cluster.world.env(id).expect("up");
        let client = cluster.client(&env);
        let asked = env.spawn("test.ask", async move {
            let _ = client.request(PlacementRequest::Nodes, Duration::from_secs(10)).await;
            client.leader()
        });
        if let Ok(Some(leader)) = asked.join().await {
            return leader;
        }
    }
    panic!("the driver has no leader")
}

#[test]
fn founds_splits_and_scatters() {
    run(1, 3, |cluster| async move {
        for at in ["b", "d", "f", "h", "j"] {
            assert_eq!(split(&cluster, at).await, OperationState::Done);
        }
        assert_eq!(split(&cluster, "d").await, OperationState::Done, "done already");
        let map = cluster.map().await;
        assert_eq!(map.len(), 6);
        let ids: BTreeSet<u64> = map.values().flat_map(|d| d.replicas.iter().map(|r| r.id.0)).collect();
        assert_eq!(ids.len(), 18, "replica ids are never used twice");
        let scatter = cluster.do_it(Operation::Scatter { span: Span::ALL }).await;
        assert_eq!(scatter.state, OperationState::Done);
        let shards = cluster.shards.lock();
        for id in 1..=3 {
            let led = shards.truth.values().filter(|shard| shard.leader == node(id)).count();
            assert_eq!(led, 2, "node {id}");
        }
    });
}

/// Of the two that stay one is out of reach, and the other is to lead nothing.
#[test]
fn a_leaders_copy_is_moved_although_who_stays_drains() {
    run(21, 4, |cluster| async move {
        let shard = ShardId::FIRST;
        let from = cluster.shards.lock().truth[&shard].leader;
        let mut stay = (1..=3).map(node).filter(|node| *node != from);
        let (away, drains) = (stay.next().unwrap(), stay.next().unwrap());
        cluster.ask(PlacementRequest::Order { node: drains, order: NodeOrder::Drain }).await;
        cluster.crash(away).await;
        cluster.world.sleep(Duration::from_secs(5)).await;
        let over = cluster.do_it(Operation::MoveReplica { shard, from, to: node(4) }).await;
        assert_eq!(over.state, OperationState::Done);
    });
}

/// Whoever asked is told within seconds, not once the patience for a transfer is over.
#[test]
fn leadership_is_not_handed_to_a_node_that_does_not_answer() {
    run(23, 3, |cluster| async move {
        let shard = ShardId::FIRST;
        let leads = cluster.shards.lock().truth[&shard].leader;
        let away = (1..=3).map(node).find(|node| *node != leads).unwrap();
        cluster.crash(away).await;
        let began = cluster.world.elapsed();
        let over = cluster.do_it(Operation::TransferLeader { shard, to: away }).await;
        let OperationState::Failed(why) = over.state else { panic!("{over:?}") };
        assert!(why.contains(&format!("node {away} does not answer")), "{why}");
        assert!(cluster.world.elapsed() - began < Duration::from_secs(30));
    });
}

#[test]
fn moves_a_copy_and_lets_the_leader_leave_first() {
    run(2, 4, |cluster| async move {
        let from = cluster.shards.lock().truth[&ShardId::FIRST].leader;
        let shard = ShardId::FIRST;
        let state = cluster.do_it(Operation::MoveReplica { shard, from, to: node(4) }).await.state;
        assert_eq!(state, OperationState::Done);
        // The operation destroys the old copy, or, if its node had not reported it yet, whoever tidies up does.
        cluster.world.sleep(Duration::from_secs(3)).await;
        let shards = cluster.shards.lock();
        let truth = &shards.truth[&shard];
        assert!(
            truth.descriptor.replica_on(node(4)).is_some() && truth.descriptor.replica_on(from).is_none()
        );
        assert_eq!(truth.descriptor.voters().count(), 3);
        assert_ne!(truth.leader, from);
        assert!(!shards.copies.contains_key(&(shard, from)), "the old copy is destroyed");
    });
}

#[test]
fn operations_outlive_the_drivers_leader_and_lost_answers() {
    for seed in 10..16 {
        run(seed, 4, move |cluster| async move {
            // Answers get lost, so that steps are repeated by the next leader.
            cluster.shards.lock().lose_answers = 1;
            let id = cluster.begin(Operation::Split { at: Key::from("m") }).await;
            let first = leader(&cluster).await;
            cluster.world.sleep(Duration::from_millis(seed * 7)).await;
            cluster.crash(first).await;
            assert_eq!(cluster.wait(id).await.state, OperationState::Done);
            let map = cluster.map().await;
            assert_eq!(map.len(), 2, "{map:?}");
            cluster.up(first);
            let shard = ShardId::FIRST;
            let from = node(1);
            let id = cluster.begin(Operation::MoveReplica { shard, from, to: node(4) }).await;
            cluster.world.sleep(Duration::from_millis(seed * 13)).await;
            let second = leader(&cluster).await;
            cluster.crash(second).await;
            assert_eq!(cluster.wait(id).await.state, OperationState::Done);
            let map = cluster.map().await;
            assert!(map[&shard].replica_on(node(4)).is_some(), "{map:?}");
            assert_eq!(map[&shard].voters().count(), 3);
        });
    }
}

#[test]
fn a_dead_nodes_copies_are_replaced_and_the_reason_is_kept() {
    run(3, 4, |cluster| async move {
        split(&cluster, "m").await;
        let setting = |value: &str| PlacementRequest::SetSetting {
            name: "placement.repair_after".into(),
            value: value.into(),
        };
        cluster.ask(setting("20s")).await;
        cluster.crash(node(3)).await;
        cluster.world.sleep(Duration::from_secs(40)).await;
        let map = cluster.map().await;
        for shard in map.values() {
            assert!(shard.replica_on(node(3)).is_none() && shard.replica_on(node(4)).is_some(), "{shard:?}");
        }
        let PlacementReply::Decisions(decisions) =
            cluster.ask(PlacementRequest::Decisions { limit: 10 }).await
        else {
            panic!()
        };
        let repairs: Vec<_> = decisions.iter().filter(|d| d.scheduler == "repair").collect();
        assert_eq!(repairs.len(), 3, "two shards, and the driver's own group");
        assert!(repairs.iter().all(|d| d.outcome == "done" && d.chosen == "a new copy on node 4"));
        // It comes back, and what it still holds goes.
        cluster.up(node(3));
        cluster.world.sleep(Duration::from_secs(5)).await;
        let left = cluster.shards.lock().copies.keys().filter(|(_, holder)| *holder == node(3)).count();
        assert_eq!(left, 0);
        let PlacementReply::Nodes(nodes) = cluster.ask(PlacementRequest::Nodes).await else { panic!() };
        assert!(nodes.iter().all(|n| n.state == NodeState::Live), "{nodes:?}");
    });
}

/// Whose node was away when it was replaced, and which is not gone yet when that node is to have a copy again.
#[test]
fn a_copy_that_was_left_over_does_not_keep_a_new_one_away() {
    run(5, 4, |cluster| async move {
        let setting = ("placement.repair_after".to_owned(), "5s".to_owned());
        cluster.ask(PlacementRequest::SetSetting { name: setting.0, value: setting.1 }).await;
        cluster.crash(node(3)).await;
        cluster.world.sleep(Duration::from_secs(20)).await;
        assert!(cluster.map().await.values().all(|shard| shard.replica_on(node(4)).is_some()));
        cluster.shards.lock().keep_copies = true;
        cluster.up(node(3));
        cluster.world.sleep(Duration::from_secs(2)).await;
        cluster.crash(node(4)).await;
        cluster.world.sleep(Duration::from_secs(10)).await;
        assert!(cluster.map().await.values().all(|shard| shard.replica_on(node(4)).is_some()));
        cluster.shards.lock().keep_copies = false;
        cluster.world.sleep(Duration::from_secs(5)).await;
        let map = cluster.map().await;
        assert!(map.values().all(|shard| shard.replica_on(node(3)).is_some()), "{map:?}");
        assert!(map.values().all(|shard| shard.replica_on(node(4)).is_none()), "{map:?}");
    });
}

/// It led, was cut off, and was removed meanwhile; and it has not heard that others lead.
#[test]
fn a_copy_that_was_removed_goes_also_if_it_takes_itself_for_the_leader() {
    run(14, 4, |cluster| async move {
        let (shard, from, to) = (ShardId::FIRST, node(3), node(4));
        {
            let mut shards = cluster.shards.lock();
            shards.keep_copies = true;
            shards.deluded.insert((shard, from));
        }
        let moved = cluster.do_it(Operation::MoveReplica { shard, from, to }).await;
        assert_eq!(moved.state, OperationState::Done);
        assert!(cluster.shards.lock().copies.contains_key(&(shard, from)));
        cluster.shards.lock().keep_copies = false;
        cluster.world.sleep(Duration::from_secs(5)).await;
        assert!(!cluster.shards.lock().copies.contains_key(&(shard, from)), "it goes");
        let back = Operation::MoveReplica { shard, from: node(2), to: from };
        assert_eq!(cluster.do_it(back).await.state, OperationState::Done);
    });
}

#[test]
fn a_copy_for_a_node_that_dies_meanwhile_is_given_up() {
    run(6, 4, |cluster| async move {
        let setting = ("placement.repair_after".to_owned(), "5s".to_owned());
        cluster.ask(PlacementRequest::SetSetting { name: setting.0, value: setting.1 }).await;
        let (shard, from, to) = (ShardId::FIRST, node(3), node(4));
        let id = cluster.begin(Operation::MoveReplica { shard, from, to }).await;
        while cluster.map().await[&shard].replica_on(to).is_none() {
            cluster.world.sleep(Duration::from_millis(20)).await;
        }
        cluster.shards.lock().truth.get_mut(&shard).unwrap().behind = u32::MAX;
        cluster.crash(to).await;
        let OperationState::Failed(why) = cluster.wait(id).await.state else {
            panic!("it has no place to go")
        };
        assert!(why.contains("node 4 is dead"), "{why}");
        let now = cluster.map().await[&shard].clone();
        assert!(now.replicas.len() == 3 && now.replica_on(from).is_some(), "{now:?}");
        // Nor does another begin.
        let again = cluster.do_it(Operation::MoveReplica { shard, from, to }).await;
        assert!(matches!(again.state, OperationState::Failed(_)), "{again:?}");
    });
}

/// A replica that is brought up by a snapshot from after a split never makes its right half.
/// Two moves take the same copy away: one is too late, and what it has made goes again.
#[test]
fn a_copy_that_comes_to_nothing_is_taken_back() {
    for seed in 180..190 {
        run(seed, 5, |cluster| async move {
            let (shard, from) = (ShardId::FIRST, node(2));
            let mut moves = Vec::new();
            for to in [4, 5] {
                moves.push(cluster.begin(Operation::MoveReplica { shard, from, to: node(to) }).await);
            }
            for id in moves {
                cluster.wait(id).await;
            }
            cluster.world.sleep(Duration::from_secs(10)).await;
            let shard = cluster.map().await[&shard].clone();
            assert!(shard.replicas.iter().all(|replica| replica.role == ReplicaRole::Voter), "{shard:?}");
            assert_eq!(shard.replicas.len(), 3);
            let copies = cluster.shards.lock().copies.len();
            assert_eq!(copies, 3, "what was withdrawn is destroyed");
        });
    }
}

/// Two moves take the same copy away. While one of them finds that it is too late, a third brings another there.
#[test]
fn a_new_copy_is_not_taken_for_the_one_that_was_to_go() {
    for seed in 230..250 {
        run(seed, 5, |cluster| async move {
            let shard = ShardId::FIRST;
            let moved = |from, to| Operation::MoveReplica { shard, from: node(from), to: node(to) };
            let (first, second) = (cluster.begin(moved(2, 4)).await, cluster.begin(moved(2, 5)).await);
            while cluster.map().await[&shard].replica_on(node(2)).is_some() {
                cluster.world.sleep(Duration::from_millis(5)).await;
            }
            let back = cluster.begin(moved(1, 2)).await;
            let mut states = Vec::new();
            for id in [first, second, back] {
                states.push(cluster.wait(id).await.state);
            }
            cluster.world.sleep(Duration::from_secs(10)).await;
            let shard = cluster.map().await[&shard].clone();
            assert_eq!(states[2], OperationState::Done);
            let stays = shard.replica_on(node(2)).is_some_and(|copy| copy.role == ReplicaRole::Voter);
            assert!(stays, "{states:?} {shard:?}");
            assert_eq!(shard.voters().count(), 3, "{shard:?}");
        });
    }
}

/// An operation made it, and came to nothing before it was added.
#[test]
fn a_copy_that_never_became_a_member_goes() {
    run(19, 4, |cluster| async move {
        let shard = cluster.map().await[&ShardId::FIRST].clone();
        let place = (ShardId::FIRST, node(4));
        cluster.shards.lock().left_behind(place, quorate_proto::ReplicaId(99), shard);
        cluster.world.sleep(Duration::from_secs(5)).await;
        assert!(!cluster.shards.lock().copies.contains_key(&place));
    });
}

#[test]
fn a_member_that_was_never_made_is_made() {
    run(9, 3, |cluster| async move {
        split(&cluster, "m").await;
        let right = *cluster.map().await.keys().max().unwrap();
        let made = cluster.shards.lock().copies.remove(&(right, node(2))).unwrap();
        cluster.world.sleep(Duration::from_secs(2)).await;
        assert!(!cluster.shards.lock().copies.contains_key(&(right, node(2))), "it might be about to appear");
        cluster.world.sleep(Duration::from_secs(5)).await;
        assert_eq!(cluster.shards.lock().copies.get(&(right, node(2))), Some(&made));
        let made = cluster.shards.lock().told.iter().filter(|told| told.contains("CreateLearner")).count();
        assert_eq!(made, 1, "{:?}", cluster.shards.lock().told);
    });
}

/// A node has missed the split, and another one dies: the third copy alone elects no leader for the repair.
#[test]
fn a_member_that_was_never_made_is_made_also_while_its_shard_is_repaired() {
    run(11, 4, |cluster| async move {
        let setting = ("placement.repair_after".to_owned(), "2s".to_owned());
        cluster.ask(PlacementRequest::SetSetting { name: setting.0, value: setting.1 }).await;
        split(&cluster, "m").await;
        let right = *cluster.map().await.keys().max().unwrap();
        cluster.shards.lock().copies.remove(&(right, node(2)));
        cluster.crash(node(1)).await;
        cluster.world.sleep(Duration::from_secs(30)).await;
        let nodes: Vec<u64> = cluster.map().await[&right].voters().map(|voter| voter.node.0).collect();
        assert_eq!(nodes, [2, 3, 4]);
    });
}

#[test]
fn a_watch_of_the_map_tells_of_a_change_when_it_happens() {
    run(8, 3, |cluster| async move {
        let ask = |after_version, wait_millis| PlacementRequest::WatchMap { after_version, wait_millis };
        let PlacementReply::Map(now) = cluster.ask(ask(0, 0)).await else { panic!() };
        let before = cluster.world.elapsed();
        let PlacementReply::Map(same) = cluster.ask(ask(now.version, 20_000)).await else { panic!() };
        assert!(same.version == now.version && same.changed.is_empty(), "{same:?}");
        assert!(
            cluster.world.elapsed() - before >= Duration::from_secs(20),
            "it waits as long as it was asked to"
        );

        let (watching, watch) = (cluster.clone(), ask(now.version, 20_000));
        let watch = cluster.world.spawn("test.watch", async move {
            let reply = watching.ask(watch).await;
            (reply, watching.world.elapsed())
        });
        cluster.world.sleep(Duration::from_secs(5)).await;
        let begun = cluster.world.elapsed();
        assert_eq!(split(&cluster, "m").await, OperationState::Done);
        let (reply, told) = watch.join().await.expect("not crashed");
        let PlacementReply::Map(news) = reply else { panic!() };
        assert!(news.version > now.version && !news.changed.is_empty(), "{news:?}");
        assert!(told > begun && told - begun < Duration::from_secs(1), "{:?}", told - begun);
    });
}

/// A change is told as that change, however many shards there are.
#[test]
fn an_update_of_the_map_tells_of_what_has_changed_and_no_more() {
    run(33, 3, |cluster| async move {
        for at in ["b", "d", "f", "h", "k", "m"] {
            split(&cluster, at).await;
        }
        cluster.world.sleep(Duration::from_secs(2)).await;
        let after = async |after_version| match cluster
            .ask(PlacementRequest::WatchMap { after_version, wait_millis: 0 })
            .await
        {
            PlacementReply::Map(update) => update,
            other => panic!("{other:?}"),
        };
        let all = after(0).await;
        assert!(all.full && all.changed.len() == 7 && all.leaders.len() == 7, "{all:?}");
        // By then no leader is news any more.
        cluster.world.sleep(Duration::from_secs(8)).await;
        let before = after(all.version).await;
        assert!(before.changed.is_empty() && before.leaders.is_empty(), "{before:?}");
        split(&cluster, "t").await;
        let change = after(before.version).await;
        assert!(!change.full && change.changed.len() == 2 && change.leaders.len() <= 2, "{change:?}");
    });
}

/// The id of a replica that is lost must not come back empty, so another takes its place.
#[test]
fn a_copy_that_is_lost_on_a_node_that_lives_is_replaced_under_a_new_id() {
    for seed in 30..34 {
        run(seed, 3, move |cluster| async move {
            split(&cluster, "m").await;
            let right = *cluster.map().await.keys().max().unwrap();
            let holder = node(seed % 3 + 1);
            let lost = cluster.lose(right, holder);
            // A later leader of the driver goes on in the middle.
            cluster.world.sleep(Duration::from_millis(3200 + seed * 37 % 1000)).await;
            let first = leader(&cluster).await;
            cluster.crash(first).await;
            cluster.up(first);
            cluster.world.sleep(Duration::from_secs(20)).await;
            let map = cluster.map().await;
            let made = map[&right].replica_on(holder).cloned().expect("a copy in its place");
            assert!(made.id > lost && made.role == ReplicaRole::Voter, "{made:?} for {lost}");
            assert_eq!(map[&right].voters().count(), 3);
            assert_eq!(cluster.shards.lock().copies[&(right, holder)].0, made.id);
            let PlacementReply::Decisions(all) = cluster.ask(PlacementRequest::Decisions { limit: 0 }).await
            else {
                panic!()
            };
            let repairs: Vec<_> = all.iter().filter(|d| d.scheduler == "repair").collect();
            assert_eq!(repairs.len(), 1, "{repairs:?}");
            assert!(repairs[0].seen.contains("may have promised"), "{repairs:?}");
            assert_eq!((repairs[0].shard, repairs[0].outcome.as_str()), (Some(right), "done"));
        });
    }
}

/// Two of three hold a change, and one of the two loses its disk. With the third, which lags, it must not elect a leader that
/// has never heard of the change.
#[test]
fn a_founder_that_has_lost_its_disk_does_not_vote_again() {
    run(7, 3, |cluster| async move {
        let first = leader(&cluster).await;
        let [lagging, wiped] = [1, 2].map(|n| node((first.0 + n - 1) % 3 + 1));
        cluster.crash(lagging).await;
        let (name, value) = ("placement.repair_after".to_owned(), "77min".to_owned());
        cluster.ask(PlacementRequest::SetSetting { name: name.clone(), value: value.clone() }).await;
        cluster.crash(first).await;
        cluster.wipe(wiped).await;
        cluster.up(wiped);
        cluster.up(lagging);
        for _ in 0..30 {
            cluster.world.sleep(Duration::from_secs(1)).await;
            assert!(cluster.leaders().is_empty(), "one that lacks the committed change");
        }
        let refused = cluster.refused.lock().get(&wiped).cloned().expect("it says so");
        assert!(refused.contains("--node-id"), "{refused}");
        // With a copy that is there, the driver goes on where it was.
        cluster.up(first);
        let PlacementReply::Settings(all) = cluster.ask(PlacementRequest::Settings).await else { panic!() };
        assert!(all.contains(&(name, value)), "{all:?}");
    });
}

/// Power fails while the founders write their first state; they go on with what is there.
#[test]
fn a_founding_that_was_interrupted_is_finished() {
    for seed in 20..26 {
        let world = SimWorld::run(SimConfig::new(seed), move |world| async move {
            let cluster = Cluster::start(world, 3, vec![]).await;
            for id in (1..=3).map(node) {
                cluster.world.crash_after_polls(id, seed - 19, Duration::from_millis(1)).await;
                cluster.crash(id).await;
            }
            (1..=3).for_each(|id| cluster.up(node(id)));
            cluster.founded().await;
            assert_eq!(*cluster.refused.lock(), BTreeMap::new());
        });
        world.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn ids_settings_and_the_catalog_version_survive_power_loss() {
    run(4, 3, |cluster| async move {
        let allocate = || PlacementRequest::AllocateIds { kind: IdKind::Object, count: 10 };
        let PlacementReply::Ids(first) = cluster.ask(allocate()).await else { panic!() };
        for to in 1..=3 {
            let reply = cluster.ask(PlacementRequest::AdvanceSchema { to }).await;
            assert_eq!(reply, PlacementReply::SchemaVersion(to));
        }
        for id in 1..=3 {
            cluster.crash(node(id)).await;
        }
        for id in 1..=3 {
            cluster.up(node(id));
        }
        let PlacementReply::Ids(second) = cluster.ask(allocate()).await else { panic!() };
        assert!(second >= first + 10);
        assert_eq!(
            cluster.ask(PlacementRequest::AdvanceSchema { to: 3 }).await,
            PlacementReply::SchemaVersion(3),
            "asked again, answered again"
        );
        assert_eq!(cluster.map().await.len(), 1);
    });
}

#[test]
fn a_node_without_sql_does_not_hold_the_catalog_up() {
    run_with(6, 4, vec![node(3), node(4)], |cluster| async move {
        for to in 1..=4 {
            let reply = cluster.ask(PlacementRequest::AdvanceSchema { to }).await;
            assert_eq!(reply, PlacementReply::SchemaVersion(to));
        }
    });
}

#[test]
fn a_silent_node_holds_the_catalog_up_for_its_lease_and_no_longer() {
    run(5, 3, |cluster| async move {
        cluster.ask(PlacementRequest::AdvanceSchema { to: 1 }).await;
        cluster.world.sleep(Duration::from_secs(2)).await;
        let asking = leader(&cluster).await;
        let victim = (1..=3).map(node).find(|id| *id != asking).expect("three nodes");
        cluster.crash(victim).await;
        cluster.ask(PlacementRequest::AdvanceSchema { to: 2 }).await;
        let before = cluster.world.elapsed();
        cluster.ask(PlacementRequest::AdvanceSchema { to: 3 }).await;
        let waited = cluster.world.elapsed() - before;
        assert!(waited > Duration::from_secs(2) && waited < Duration::from_secs(8), "{waited:?}");
    });
}

/// It does not know what its predecessor has granted to a node that it never hears of.
#[test]
fn a_new_leader_waits_for_the_leases_of_its_predecessor() {
    run(12, 4, |cluster| async move {
        cluster.ask(PlacementRequest::AdvanceSchema { to: 1 }).await;
        cluster.world.sleep(Duration::from_secs(2)).await;
        cluster.crash(node(4)).await;
        let silent = cluster.world.elapsed();
        let first = leader(&cluster).await;
        cluster.crash(first).await;
        cluster.up(first);
        for to in 2..=3 {
            cluster.ask(PlacementRequest::AdvanceSchema { to }).await;
        }
        let waited = cluster.world.elapsed() - silent;
        assert!(waited > Duration::from_secs(6) && waited < Duration::from_secs(15), "{waited:?}");
    });
}

/// What it would use, nobody waits for any more.
#[test]
fn a_node_that_is_two_versions_behind_gets_no_lease() {
    run(13, 3, |cluster| async move {
        for to in 1..=3 {
            cluster.ask(PlacementRequest::AdvanceSchema { to }).await;
        }
        let env = cluster.world.env(node(1)).expect("up");
        let beat = |schema_version| PlacementRequest::Heartbeat {
            node: NodeInfo { id: node(9), ..info(&env) },
            clock_offset_micros: 0,
            space: Space::default(),
            changed: vec![],
            full: true,
            map_version: 0,
            schema_version,
            holds: None,
            sessions: 0,
            carries: Carries::Unsaid,
            tempo: Tempo::default(),
        };
        let lease = async |schema_version| match cluster.ask(beat(schema_version)).await {
            PlacementReply::Heartbeat { schema_lease_until, .. } => schema_lease_until,
            other => panic!("{other:?}"),
        };
        assert_eq!(lease(1).await, Timestamp::ZERO);
        assert!(lease(2).await > env.clock().physical());
    });
}

#[test]
fn the_horizon_stays_below_what_any_node_holds() {
    run(7, 3, |cluster| async move {
        let set =
            |name: &str, value: &str| PlacementRequest::SetSetting { name: name.into(), value: value.into() };
        cluster.ask(set("gc_ttl", "10s")).await;
        cluster.ask(set("placement.repair_after", "60s")).await;
        let now = || cluster.world.env(node(2)).expect("up").clock().physical();
        let told = |id: u64| cluster.horizons.lock().get(&node(id)).copied().flatten();
        cluster.world.sleep(Duration::from_secs(3)).await;
        for id in 1..=3 {
            let age = now().since(told(id).expect("everybody was heard of"));
            assert!(age > Duration::from_secs(9) && age < Duration::from_secs(12), "node {id}: {age:?}");
        }
        let held = now().minus(Duration::from_secs(8));
        cluster.holds.lock().insert(node(3), held);
        let after = |seconds: u64| cluster.world.sleep(Duration::from_secs(seconds));
        after(5).await;
        assert_eq!((told(1), told(2)), (Some(held), Some(held)));

        // The next leader of the driver says nothing before it has heard everybody.
        cluster.crash(leader(&cluster).await).await;
        (1..=3).map(node).filter(|id| !cluster.world.up().contains(id)).for_each(|id| cluster.up(id));
        for _ in 0..100 {
            cluster.world.sleep(Duration::from_millis(100)).await;
            assert!((1..=3).all(|id| told(id).is_none_or(|horizon| horizon <= held)));
        }
        assert_eq!(told(2), Some(held));

        // One that is silent holds it until it is given up.
        cluster.crash(node(3)).await;
        after(50).await;
        assert!((1..=2).all(|id| told(id).is_none_or(|horizon| horizon <= held)), "{:?}", told(1));
        after(20).await;
        let age = now().since(told(2).expect("the others are heard of"));
        assert!(age < Duration::from_secs(12), "{age:?}");
    });
}

#[test]
fn idle_costs_no_proposals() {
    run(6, 3, |cluster| async move {
        cluster.world.sleep(Duration::from_secs(5)).await;
        let before = cluster.ask(PlacementRequest::Operations).await;
        let told = cluster.shards.lock().told.len();
        let position = |cluster: &Cluster| cluster.committed();
        let at = position(&cluster);
        cluster.world.sleep(Duration::from_secs(60)).await;
        assert_eq!(position(&cluster), at, "something was proposed");
        assert_eq!(cluster.ask(PlacementRequest::Operations).await, before);
        assert_eq!(cluster.shards.lock().told.len(), told);
    });
}

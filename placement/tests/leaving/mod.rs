//! Nodes that drain and leave, as the driver carries it out over fake shards.

use crate::{
    leader,
    support::{Cluster, node, run},
};
use quorate_proto::{
    Key, NodeId, ShardId,
    placement::{Leaving, NodeOrder, NodeState, Operation, OperationState, PlacementReply, PlacementRequest},
};
use std::time::Duration;

fn order(id: u64, order: NodeOrder) -> PlacementRequest {
    PlacementRequest::Order { node: node(id), order }
}

async fn shown(cluster: &Cluster, id: u64) -> NodeState {
    let PlacementReply::Nodes(nodes) = cluster.ask(PlacementRequest::Nodes).await else { panic!() };
    nodes.iter().find(|status| status.info.id == node(id)).expect("a node").state
}

async fn split(cluster: &Cluster, at: &[&str]) {
    for at in at {
        let over = cluster.do_it(Operation::Split { at: Key::from(*at) }).await;
        assert_eq!(over.state, OperationState::Done);
    }
}

async fn holds(cluster: &Cluster, id: u64) -> usize {
    cluster.map().await.values().filter(|shard| shard.replica_on(node(id)).is_some()).count()
}

#[test]
fn a_node_drains_whoever_leads_the_driver_and_however_often_it_restarts() {
    for seed in 40..43 {
        run(seed, 4, |cluster| async move {
            cluster.ask(order(4, NodeOrder::Drain)).await;
            assert_eq!(shown(&cluster, 4).await, NodeState::Draining);
            let first = leader(&cluster).await;
            cluster.crash(first).await;
            cluster.crash(node(4)).await;
            cluster.up(node(4));
            cluster.world.sleep(Duration::from_secs(5)).await;
            assert_eq!(shown(&cluster, 4).await, NodeState::Draining);
            assert_eq!(cluster.leaving.lock()[&node(4)].0, Leaving::Draining, "it is told so");
            cluster.up(first);
            let to_it = Operation::MoveReplica { shard: ShardId::FIRST, from: node(3), to: node(4) };
            let why = cluster.refused(PlacementRequest::Start(to_it.clone())).await;
            assert!(why.contains("draining"), "{why}");
            cluster.ask(order(4, NodeOrder::Undrain)).await;
            assert_eq!(shown(&cluster, 4).await, NodeState::Live);
            assert_eq!(cluster.do_it(to_it).await.state, OperationState::Done);
        });
    }
}

#[test]
fn a_node_leaves_with_everything_moved_off_it_and_each_step_explained() {
    run(44, 5, |cluster| async move {
        split(&cluster, &["d", "h", "m"]).await;
        for shard in cluster.map().await.into_keys() {
            let there = Operation::MoveReplica { shard, from: node(3), to: node(5) };
            assert_eq!(cluster.do_it(there).await.state, OperationState::Done);
        }
        cluster.sessions.lock().insert(node(5), 2);
        let id = cluster.begin(Operation::Decommission { node: node(5) }).await;
        assert_eq!(cluster.begin(Operation::Decommission { node: node(5) }).await, id, "joined");
        while holds(&cluster, 5).await > 0 {
            assert_eq!(shown(&cluster, 5).await, NodeState::Decommissioning);
            assert!(cluster.map().await.values().all(|shard| shard.voters().count() >= 3));
            cluster.world.sleep(Duration::from_millis(100)).await;
        }
        cluster.world.sleep(Duration::from_secs(5)).await;
        assert_eq!(shown(&cluster, 5).await, NodeState::Decommissioning, "its clients have a while to go");
        cluster.sessions.lock().insert(node(5), 0);
        assert_eq!(cluster.wait(id).await.state, OperationState::Done);
        assert_eq!(shown(&cluster, 5).await, NodeState::Decommissioned);
        assert!(
            cluster.shards.lock().copies.keys().all(|(_, holder)| *holder != node(5)),
            "its data is gone"
        );

        let PlacementReply::Decisions(all) = cluster.ask(PlacementRequest::Decisions { limit: 0 }).await
        else {
            panic!()
        };
        let steps: Vec<_> = all.iter().filter(|decision| decision.scheduler == "decommission").collect();
        assert_eq!(steps.len(), 4);
        assert!(steps.iter().all(|step| step.outcome == "done" && step.seen.contains("node 5 is to leave")));
        // Everybody is told, though not at once.
        assert!(cluster.leaving.lock()[&node(1)].1.is_empty());
        cluster.world.sleep(Duration::from_secs(12)).await;
        for id in 1..=5 {
            assert_eq!(cluster.leaving.lock()[&node(id)].1, [node(5)], "node {id}");
        }
        // Away for good: it is not repaired, receives nothing, and does not come back.
        cluster.crash(node(5)).await;
        let setting = ("placement.repair_after".to_owned(), "2s".to_owned());
        cluster.ask(PlacementRequest::SetSetting { name: setting.0, value: setting.1 }).await;
        cluster.world.sleep(Duration::from_secs(20)).await;
        assert_eq!(shown(&cluster, 5).await, NodeState::Decommissioned);
        let why = cluster.refused(order(5, NodeOrder::Undrain)).await;
        assert!(why.contains("new --node-id"), "{why}");
    });
}

/// It was made for a move that came to nothing, and no heartbeat has told of it yet.
#[test]
fn a_node_does_not_leave_with_a_copy_that_was_made_just_now() {
    run(48, 4, |cluster| async move {
        let shard = ShardId::FIRST;
        {
            let mut shards = cluster.shards.lock();
            shards.reticent.insert(node(4));
            shards.restless.insert(shard);
        }
        let moved = cluster.begin(Operation::MoveReplica { shard, from: node(3), to: node(4) }).await;
        while !cluster.shards.lock().copies.contains_key(&(shard, node(4))) {
            cluster.world.sleep(Duration::from_millis(5)).await;
        }
        let id = cluster.begin(Operation::Decommission { node: node(4) }).await;
        let OperationState::Failed(why) = cluster.wait(moved).await.state else { panic!("it got a copy") };
        assert!(why.contains("is to leave"), "{why}");
        cluster.world.sleep(Duration::from_secs(2)).await;
        assert_eq!(shown(&cluster, 4).await, NodeState::Decommissioning);
        cluster.shards.lock().reticent.clear();
        assert_eq!(cluster.wait(id).await.state, OperationState::Done);
        assert!(!cluster.shards.lock().copies.contains_key(&(shard, node(4))));
    });
}

#[test]
fn a_decommission_outlives_the_drivers_leader_and_lost_answers() {
    for seed in 50..54 {
        run(seed, 5, move |cluster| async move {
            split(&cluster, &["d", "h", "m", "t"]).await;
            for shard in cluster.map().await.into_keys() {
                let there = Operation::MoveReplica { shard, from: node(2), to: node(4) };
                assert_eq!(cluster.do_it(there).await.state, OperationState::Done);
            }
            cluster.shards.lock().lose_answers = 1;
            let id = cluster.begin(Operation::Decommission { node: node(4) }).await;
            for round in 1..=2 {
                cluster.world.sleep(Duration::from_millis(seed * 31 % 900 * round)).await;
                let first = leader(&cluster).await;
                cluster.crash(first).await;
                cluster.world.sleep(Duration::from_secs(3)).await;
                cluster.up(first);
            }
            assert_eq!(cluster.wait(id).await.state, OperationState::Done);
            assert_eq!(holds(&cluster, 4).await, 0);
            assert!(cluster.map().await.values().all(|shard| shard.voters().count() == 3));
            assert_eq!(shown(&cluster, 4).await, NodeState::Decommissioned);
        });
    }
}

#[test]
fn a_decommission_that_is_called_off_leaves_the_node_as_it_is() {
    run(60, 5, |cluster| async move {
        split(&cluster, &["d"]).await;
        for shard in cluster.map().await.into_keys() {
            let there = Operation::MoveReplica { shard, from: node(2), to: node(4) };
            assert_eq!(cluster.do_it(there).await.state, OperationState::Done);
        }
        let id = cluster.begin(Operation::Decommission { node: node(4) }).await;
        while cluster.map().await[&ShardId::FIRST].replicas.len() < 4 {
            cluster.world.sleep(Duration::from_millis(20)).await;
        }
        // The first of its copies gets nowhere for a while.
        cluster.shards.lock().truth.get_mut(&ShardId::FIRST).unwrap().behind = u32::MAX;
        cluster.world.sleep(Duration::from_secs(5)).await;
        for order in [order(4, NodeOrder::Drain), order(4, NodeOrder::Undrain)] {
            let why = cluster.refused(order).await;
            assert!(why.contains("being decommissioned"), "{why}");
        }
        cluster.ask(order(4, NodeOrder::Recommission)).await;
        cluster.shards.lock().truth.get_mut(&ShardId::FIRST).unwrap().behind = 0;
        let OperationState::Failed(why) = cluster.wait(id).await.state else { panic!("it has left") };
        assert!(why.contains("called off"), "{why}");
        assert_eq!(shown(&cluster, 4).await, NodeState::Live);
        assert_eq!(holds(&cluster, 4).await, 1, "what was under way is brought to its end, and no more");
        let why = cluster.refused(order(4, NodeOrder::Recommission)).await;
        assert!(why.contains("not being decommissioned"), "{why}");
    });
}

#[test]
fn what_cannot_end_is_not_begun() {
    run(61, 4, |cluster| async move {
        let go = |id: u64| PlacementRequest::Start(Operation::Decommission { node: NodeId(id) });
        let why = cluster.refused(go(9)).await;
        assert!(why.contains("no node 9"), "{why}");
        cluster.ask(order(4, NodeOrder::Drain)).await;
        let why = cluster.refused(go(3)).await;
        assert!(why.contains("no node can take its copy") && why.contains("node 4 is leaving"), "{why}");
        assert!(why.contains("the placement driver: no node can take its copy"), "{why}");
        assert_eq!(shown(&cluster, 3).await, NodeState::Live);
        // It holds nothing, so there is nothing to wait for.
        assert_eq!(
            cluster.do_it(Operation::Decommission { node: node(4) }).await.state,
            OperationState::Done
        );
    });
}

/// Who is dead can be told from who is silent, and buried.
#[test]
fn a_dead_node_is_decommissioned_without_being_asked() {
    run(62, 5, |cluster| async move {
        let setting = ("placement.repair_after".to_owned(), "4s".to_owned());
        cluster.ask(PlacementRequest::SetSetting { name: setting.0, value: setting.1 }).await;
        let there = Operation::MoveReplica { shard: ShardId::FIRST, from: node(3), to: node(4) };
        assert_eq!(cluster.do_it(there).await.state, OperationState::Done);
        cluster.crash(node(4)).await;
        cluster.world.sleep(Duration::from_secs(30)).await;
        assert_eq!(shown(&cluster, 4).await, NodeState::Dead);
        let over = cluster.do_it(Operation::Decommission { node: node(4) }).await;
        assert_eq!(over.state, OperationState::Done);
        assert_eq!(shown(&cluster, 4).await, NodeState::Decommissioned);
        // It comes back all the same, and hears that it has gone.
        cluster.up(node(4));
        cluster.world.sleep(Duration::from_secs(5)).await;
        assert_eq!(cluster.leaving.lock()[&node(4)].0, Leaving::Gone);
        assert_eq!(shown(&cluster, 4).await, NodeState::Decommissioned);
    });
}

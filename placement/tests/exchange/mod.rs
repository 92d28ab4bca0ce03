//! The driver's own members are exchanged: by order, because their node leaves, or because it is dead.

use crate::{
    leader,
    support::{Cluster, node, run},
};
use quorate_env::rpc;
use quorate_proto::{
    KvError, NodeId, Replica, ReplicaId, ReplicaRole, ShardId,
    placement::{
        DriverCommand, NodeOrder, NodeState, Operation, OperationState, PlacementReply, PlacementRequest,
    },
};
use std::{collections::BTreeSet, time::Duration};

const SECOND: Duration = Duration::from_secs(1);
/// What is left on the disk of a node that was a member: that it was one.
const MARK: usize = 1;

fn exchange(from: u64, to: u64) -> Operation {
    Operation::MoveReplica { shard: ShardId::PLACEMENT, from: node(from), to: node(to) }
}

async fn set(cluster: &Cluster, name: &str, value: &str) {
    cluster.ask(PlacementRequest::SetSetting { name: name.into(), value: value.into() }).await;
}

async fn repair_after(cluster: &Cluster, time: &str) {
    set(cluster, "placement.repair_after", time).await;
}

/// The driver's members, as its leader tells of them.
async fn members(cluster: &Cluster) -> Vec<u64> {
    let PlacementReply::Nodes(nodes) = cluster.ask(PlacementRequest::Nodes).await else { panic!() };
    nodes.iter().filter(|status| status.carries_driver).map(|status| status.info.id.0).collect()
}

/// These and nobody else have a replica, all of them vote, and all hold what is committed.
async fn is_whole(cluster: &Cluster, wanted: &[u64]) {
    let mut lacks = String::new();
    for _ in 0..30 {
        cluster.world.sleep(SECOND).await;
        lacks = missing(cluster, wanted).await;
        if lacks.is_empty() {
            return;
        }
    }
    panic!("{lacks}");
}

async fn missing(cluster: &Cluster, wanted: &[u64]) -> String {
    let (members, carriers) = (members(cluster).await, cluster.carriers());
    let on: Vec<u64> = carriers.keys().map(|node| node.0).collect();
    if members != wanted || on != wanted {
        return format!("members {members:?}, replicas on {on:?}, and not {wanted:?}");
    }
    let wanted: BTreeSet<NodeId> = wanted.iter().map(|id| node(*id)).collect();
    for (id, placement) in &carriers {
        let (newest, committed) = placement.group().members_now();
        let votes = |replica: &Replica| replica.role == ReplicaRole::Voter;
        let voters: BTreeSet<NodeId> = newest.replicas.iter().filter(|r| votes(r)).map(|r| r.node).collect();
        if newest.position != committed.position || newest.replicas.len() != voters.len() || voters != wanted
        {
            return format!("node {id} knows {newest:?} and {committed:?}");
        }
        let applied = placement.group().frontiers().applied;
        if applied != cluster.committed() {
            return format!("node {id} has applied {applied}");
        }
    }
    String::new()
}

#[test]
fn every_member_is_exchanged_and_the_state_goes_along() {
    run(70, 7, |cluster| async move {
        set(&cluster, "gc_ttl", "77min").await;
        // Node 7 hears nothing of all this.
        cluster.crash(node(7)).await;
        for turn in 0..3 {
            let first = leader(&cluster).await;
            let over = cluster.do_it(exchange(first.0, 4 + turn)).await;
            assert_eq!(over.state, OperationState::Done, "the leader itself goes");
        }
        is_whole(&cluster, &[4, 5, 6]).await;
        for id in 1..=3 {
            assert_eq!(cluster.driver_data(node(id)), MARK, "node {id}");
            cluster.crash(node(id)).await;
        }
        // The founders are all that it remembers.
        cluster.up(node(7));
        cluster.world.sleep(5 * SECOND).await;
        let PlacementReply::Nodes(nodes) = cluster.ask(PlacementRequest::Nodes).await else { panic!() };
        let seventh = nodes.iter().find(|status| status.info.id == node(7)).expect("a node");
        assert_eq!(seventh.state, NodeState::Live);
        let PlacementReply::Settings(all) = cluster.ask(PlacementRequest::Settings).await else { panic!() };
        assert!(all.contains(&("gc_ttl".into(), "77min".into())), "{all:?}");
        // And one of three may die, as ever.
        cluster.crash(leader(&cluster).await).await;
        set(&cluster, "gc_ttl", "78min").await;
    });
}

#[test]
fn an_exchange_outlives_whoever_leads_at_any_step() {
    for seed in 0..36 {
        run(100 + seed, 4, move |cluster| async move {
            cluster.world.sleep(SECOND).await;
            let first = leader(&cluster).await;
            // The leader itself goes in every other run.
            let from = if seed % 2 == 0 { first } else { node(first.0 % 3 + 1) };
            let id = cluster.begin(exchange(from.0, 4)).await;
            for round in 1..=2 {
                let Some(leads) = cluster.leaders().first().copied() else { break };
                let polls = 1 + seed * seed * 3 / round;
                cluster.world.crash_after_polls(leads, polls, SECOND).await;
                cluster.crash(leads).await;
                cluster.world.sleep(Duration::from_millis(300 * seed)).await;
                cluster.up(leads);
                cluster.world.sleep(Duration::from_millis(700)).await;
            }
            assert_eq!(cluster.wait(id).await.state, OperationState::Done);
            let stay: Vec<u64> = (1..=4).filter(|id| *id != from.0).collect();
            is_whole(&cluster, &stay).await;
            assert_eq!(cluster.driver_data(from), MARK);
            assert_eq!(*cluster.refused.lock(), Default::default());
        });
    }
}

#[test]
fn an_exchange_goes_on_when_two_nodes_have_failed_in_its_midst() {
    for seed in 0..24 {
        run(200 + seed, 5, move |cluster| async move {
            set(&cluster, "gc_ttl", "77min").await;
            let id = cluster.begin(exchange(1, 4)).await;
            cluster.world.sleep(Duration::from_millis(seed * 9)).await;
            let two = [[2, 4], [1, 3], [3, 4], [1, 2], [2, 3], [1, 4]][seed as usize % 6];
            for id in two {
                cluster.crash(node(id)).await;
            }
            cluster.world.sleep(5 * SECOND).await;
            two.into_iter().for_each(|id| cluster.up(node(id)));
            assert_eq!(cluster.wait(id).await.state, OperationState::Done);
            is_whole(&cluster, &[2, 3, 4]).await;
            let PlacementReply::Settings(all) = cluster.ask(PlacementRequest::Settings).await else {
                panic!()
            };
            assert!(all.contains(&("gc_ttl".into(), "77min".into())), "{all:?}");
        });
    }
}

#[test]
fn a_member_that_is_dead_is_replaced_and_brings_nothing_back() {
    run(80, 5, |cluster| async move {
        cluster.ask(PlacementRequest::Order { node: node(4), order: NodeOrder::Drain }).await;
        repair_after(&cluster, "4s").await;
        let first = leader(&cluster).await;
        cluster.crash(first).await;
        let wanted: Vec<u64> = [1, 2, 3, 5].into_iter().filter(|id| *id != first.0).collect();
        is_whole(&cluster, &wanted).await;
        let PlacementReply::Decisions(all) = cluster.ask(PlacementRequest::Decisions { limit: 0 }).await
        else {
            panic!()
        };
        let told = |seen: &str| all.iter().any(|decision| decision.seen.contains(seen));
        assert!(told("with a copy of the placement driver is dead"), "{all:?}");
        // It comes back with what it had, and hears that it is no member.
        assert!(cluster.driver_data(first) > MARK);
        cluster.up(first);
        is_whole(&cluster, &wanted).await;
        assert_eq!(cluster.driver_data(first), MARK);
        // It can become one again, under another id.
        assert_eq!(cluster.do_it(exchange(5, first.0)).await.state, OperationState::Done);
        is_whole(&cluster, &[1, 2, 3]).await;
    });
}

/// PROTOCOL 7: what it has promised is lost, so that its replica's word must not count again.
#[test]
fn a_member_that_has_lost_its_disk_is_replaced_under_a_new_id() {
    run(81, 4, |cluster| async move {
        assert_eq!(cluster.do_it(exchange(1, 4)).await.state, OperationState::Done);
        is_whole(&cluster, &[2, 3, 4]).await;
        let before = cluster.carriers()[&node(4)].replica();
        cluster.wipe(node(4)).await;
        cluster.up(node(4));
        cluster.world.sleep(10 * SECOND).await;
        is_whole(&cluster, &[2, 3, 4]).await;
        assert!(cluster.carriers()[&node(4)].replica() > before);
    });
}

#[test]
fn a_founder_leaves_with_its_place_in_the_driver_taken() {
    for first in 1..=3 {
        run(85 + first, 4, move |cluster| async move {
            let go = Operation::Decommission { node: node(first) };
            assert_eq!(cluster.do_it(go).await.state, OperationState::Done);
            let stay: Vec<u64> = (1..=4).filter(|id| *id != first).collect();
            is_whole(&cluster, &stay).await;
            assert_eq!(cluster.driver_data(node(first)), MARK);
            let PlacementReply::Decisions(all) = cluster.ask(PlacementRequest::Decisions { limit: 0 }).await
            else {
                panic!()
            };
            let step = |chosen: &str| all.iter().any(|decision| decision.chosen.contains(chosen));
            assert!(
                step(&format!("the copy of the placement driver from node {first} to node 4")),
                "{all:?}"
            );
            // The next cannot: three are needed.
            let why =
                cluster.refused(PlacementRequest::Start(Operation::Decommission { node: node(4) })).await;
            assert!(why.contains("the placement driver: no node can take its copy"), "{why}");
        });
    }
}

#[test]
fn a_replica_that_was_removed_is_never_made_again() {
    run(90, 4, |cluster| async move {
        let told = async |command: DriverCommand| {
            let env = cluster.world.env(node(1)).expect("up");
            let asked = env.clone().spawn("test.ask", async move {
                rpc::call(&env, node(4), &command, SECOND).await.expect("an answer").result
            });
            asked.join().await.expect("not crashed")
        };
        let late = ReplicaId(77);
        assert_eq!(told(DriverCommand::Create(late)).await, Ok(()));
        assert_eq!(told(DriverCommand::Create(late)).await, Ok(()), "repeated");
        assert!(matches!(told(DriverCommand::Create(ReplicaId(78))).await, Err(KvError::BadRequest { .. })));
        assert_eq!(told(DriverCommand::Remove(ReplicaId(76))).await, Ok(()), "an earlier one");
        assert!(cluster.carriers().contains_key(&node(4)));
        assert_eq!(told(DriverCommand::Remove(late)).await, Ok(()));
        assert_eq!(told(DriverCommand::Remove(late)).await, Ok(()), "repeated");
        assert!(matches!(told(DriverCommand::Create(late)).await, Err(KvError::BadRequest { .. })));
        cluster.crash(node(4)).await;
        cluster.up(node(4));
        cluster.world.sleep(SECOND).await;
        assert!(matches!(told(DriverCommand::Create(late)).await, Err(KvError::BadRequest { .. })));
        assert_eq!(cluster.driver_data(node(4)), MARK);
    });
}

#[test]
fn a_node_without_the_role_is_no_member() {
    run(91, 4, |cluster| async move {
        cluster.roles.lock().insert(node(4), 6);
        cluster.world.sleep(2 * SECOND).await;
        let why = cluster.refused(PlacementRequest::Start(exchange(1, 4))).await;
        assert!(why.contains("has not the role placement"), "{why}");
        let why = cluster.refused(PlacementRequest::Start(Operation::Decommission { node: node(1) })).await;
        assert!(why.contains("node 4 has not the role placement"), "{why}");
        // Nor do the dead have a place to go to.
        repair_after(&cluster, "4s").await;
        cluster.crash(node(3)).await;
        cluster.world.sleep(20 * SECOND).await;
        assert_eq!(members(&cluster).await, [1, 2, 3]);
    });
}

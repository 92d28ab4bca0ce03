//! Stories of nodes that leave: each step as it is decided, and what keeps others from leaving.

use super::*;
use crate::planner::NodeView;
use quorate_proto::{Replica, ReplicaId, ReplicaRole, Span};

fn node(id: u64) -> NodeId {
    NodeId(id)
}

/// `nodes` nodes, and shards with copies on those named.
fn view(nodes: u64, shards: &[&[u64]]) -> View {
    let mut view = View::default();
    for id in (1..=nodes).map(NodeId) {
        let seen = NodeView {
            id,
            usable: true,
            near: true,
            leaving: Leaving::No,
            dead: false,
            may_carry_driver: true,
            holds_shards: true,
            roomy: true,
            slow: None,
            locality: Vec::new(),
        };
        view.nodes.insert(id, seen);
    }
    for (n, copies) in (1..).zip(shards) {
        let replica =
            |on: &u64| Replica { id: ReplicaId(n * 10 + on), node: node(*on), role: ReplicaRole::Voter };
        let shard = ShardDescriptor {
            id: ShardId(n),
            span: Span::ALL,
            version: 1,
            config_epoch: 1,
            replicas: copies.iter().map(replica).collect(),
        };
        view.shards.insert(shard.id, shard);
    }
    view
}

fn change(view: &mut View, id: u64, with: impl FnOnce(&mut NodeView)) {
    with(view.nodes.get_mut(&node(id)).unwrap());
}

fn leaves(view: &mut View, id: u64) {
    change(view, id, |node| {
        node.leaving = Leaving::Decommissioning;
        node.usable = false;
    });
}

fn away(view: &mut View, id: u64) {
    change(view, id, |node| {
        node.near = false;
        node.usable = false;
    });
}

/// Every step to the end, each carried out at once.
fn story(mut view: View, leaving: u64) -> String {
    let mut told = String::new();
    for _ in 0..100 {
        match next(&view, node(leaving), Timestamp::ZERO) {
            Next::Move(planned) => {
                let Operation::MoveReplica { shard, from, to } = planned.operation else { panic!() };
                let scores: Vec<String> =
                    planned.decision.candidates.iter().map(|(id, _, why)| format!("{id} {why}")).collect();
                told += &format!("{} [{}]\n", planned.decision.chosen, scores.join("; "));
                let driver = view.driver.as_mut().filter(|driver| driver.id == shard);
                let replicas = &mut driver.unwrap_or_else(|| view.shards.get_mut(&shard).unwrap()).replicas;
                replicas.iter_mut().find(|replica| replica.node == from).unwrap().node = to;
            }
            Next::Wait(why) => return told + "waits: " + &why + "\n",
            Next::Nothing => return told + "holds nothing\n",
        }
    }
    panic!("it never ends:\n{told}");
}

/// The driver's own group, as one more shard.
fn with_driver(mut view: View, members: &[u64]) -> View {
    let replica = |on: &u64| Replica { id: ReplicaId(*on), node: node(*on), role: ReplicaRole::Voter };
    view.driver = Some(ShardDescriptor {
        id: ShardId::PLACEMENT,
        span: Span::ALL,
        version: 0,
        config_epoch: 0,
        replicas: members.iter().map(replica).collect(),
    });
    view
}

#[test]
fn a_member_of_the_driver_gives_its_place_to_a_node_with_the_role() {
    let mut view = with_driver(view(5, &[&[2, 3, 4]]), &[1, 2, 3]);
    change(&mut view, 5, |node| node.may_carry_driver = false);
    leaves(&mut view, 1);
    assert_eq!(obstacles(&view, node(1), &Room::default()), Vec::<String>::new());
    let told = story(view.clone(), 1);
    assert!(told.starts_with("move the copy of the placement driver from node 1 to node 4"), "{told}");
    assert!(told.contains("5 has not the role placement"), "{told}");
    away(&mut view, 4);
    let why = obstacles(&view, node(1), &Room::default()).join("; ");
    assert!(why.starts_with("the placement driver: no node can take its copy (node 2 holds a copy"), "{why}");
    assert!(story(view.clone(), 1).contains("waits: the placement driver: no node"), "{why}");
    away(&mut view, 2);
    let why = obstacles(&view, node(1), &Room::default()).join("; ");
    assert!(!why.contains("the placement driver: no quorum"), "{why}");
    away(&mut view, 3);
    let why = obstacles(&view, node(1), &Room::default()).join("; ");
    assert!(why.contains("the placement driver: no quorum, for nodes 2, 3 are not in reach"), "{why}");
}

#[test]
fn copies_go_one_by_one_to_whoever_holds_the_fewest() {
    let mut view = view(5, &[&[1, 2, 3], &[1, 2, 4], &[2, 3, 4], &[1, 3, 4]]);
    leaves(&mut view, 1);
    let told = story(view, 1);
    assert_eq!(
        told,
        "move the copy of shard 1 from node 1 to node 5 \
         [1 holds a copy already; 2 holds a copy already; 3 holds a copy already; 4 holds 3 copies; 5 holds 0 copies]\n\
         move the copy of shard 2 from node 1 to node 5 \
         [1 holds a copy already; 2 holds a copy already; 3 holds 3 copies; 4 holds a copy already; 5 holds 1 copies]\n\
         move the copy of shard 4 from node 1 to node 5 \
         [1 holds a copy already; 2 holds 3 copies; 3 holds a copy already; 4 holds a copy already; 5 holds 2 copies]\n\
         holds nothing\n"
    );
}

#[test]
fn what_cannot_be_moved_now_is_waited_for_and_the_rest_goes_first() {
    let mut view = view(4, &[&[1, 2, 3], &[1, 2, 3]]);
    leaves(&mut view, 1);
    view.busy.insert(ShardId(1));
    let told = story(view.clone(), 1);
    assert!(told.ends_with("waits: shard 1: an operation works on it\n"), "{told}");
    assert!(told.starts_with("move the copy of shard 2"), "{told}");
    view.busy.clear();
    // Two of three copies are away: nobody could agree to a change.
    away(&mut view, 2);
    away(&mut view, 3);
    let told = story(view, 1);
    assert_eq!(told, "waits: shard 1: no quorum, for nodes 2, 3 are not in reach\n");
}

#[test]
fn nodes_that_leave_or_are_full_or_away_get_nothing() {
    let mut view = view(6, &[&[1, 2, 3]]);
    leaves(&mut view, 1);
    change(&mut view, 4, |node| node.roomy = false);
    away(&mut view, 5);
    change(&mut view, 6, |node| {
        node.leaving = Leaving::Draining;
        node.usable = false;
    });
    let told = story(view, 1);
    assert_eq!(
        told,
        "waits: shard 1: no node can take its copy (node 2 holds a copy already, node 3 holds a copy already, \
         node 4 has hardly any space left, node 5 is not in reach, node 6 is leaving)\n"
    );
}

#[test]
fn what_can_never_end_is_refused_with_its_reason() {
    let room = Room::default();
    let three: [&[u64]; 5] = [&[1, 2, 3]; 5];
    assert_eq!(
        obstacles(&view(3, &three), node(2), &room),
        [
            "shards 1, 2, 3 and 2 more: no node can take its copy (node 1 holds a copy already, node 3 holds a copy already)"
        ]
    );
    assert_eq!(obstacles(&view(4, &three), node(2), &room), Vec::<String>::new());
    assert_eq!(obstacles(&view(4, &three), node(9), &room), ["there is no node 9"]);

    let mut lost = view(5, &three[..1]);
    away(&mut lost, 1);
    away(&mut lost, 3);
    assert_eq!(obstacles(&lost, node(2), &room), ["shard 1: no quorum, for nodes 1, 3 are not in reach"]);

    let mut silent = view(4, &three);
    away(&mut silent, 2);
    let told = obstacles(&silent, node(2), &room);
    assert!(told.len() == 1 && told[0].contains("not in reach and not dead"), "{told:?}");
    change(&mut silent, 2, |node| node.dead = true);
    assert_eq!(obstacles(&silent, node(2), &room), Vec::<String>::new(), "the dead can be buried");
}

#[test]
fn copies_that_fit_nowhere_stay() {
    let mut room = Room::default();
    for shard in 1..=2 {
        room.shards.insert(ShardId(shard), 300 << 20);
    }
    room.free.insert(node(4), 500 << 20);
    let view = view(4, &[&[1, 2, 3], &[1, 2, 3]]);
    assert_eq!(
        obstacles(&view, node(1), &room),
        ["too little room: the copies on node 1 take 600 MiB, and the others have 500 MiB left"]
    );
    room.free.insert(node(4), 600 << 20);
    assert_eq!(obstacles(&view, node(1), &room), Vec::<String>::new());
}

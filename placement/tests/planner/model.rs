//! What becomes of a picture when its planners' operations are carried out at once. Keys are numbers of four digits, and what is
//! stored and asked for lies evenly over the keys of a shard.

use quorate_placement::planner::{
    NodeView, Planned, View,
    seen::{Limits, Picture, Seen},
    why::Inputs,
};
use quorate_proto::{
    Key, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span, Timestamp,
    placement::{Cut, Leaving, Operation, ShardLoad},
};
use std::time::Duration;

pub const END: u32 = 10_000;

pub struct Model {
    pub picture: Picture,
    next: u64,
}

pub fn key(number: u32) -> Key {
    if number == 0 { Key::MIN } else { Key::from(format!("{number:04}").into_bytes()) }
}

fn number(key: &Key) -> u32 {
    if key.is_empty() { 0 } else { String::from_utf8_lossy(key).parse().expect("a number") }
}

pub fn keys(span: &Span) -> (u32, u32) {
    (number(&span.start), span.end.as_ref().map_or(END, number))
}

impl Model {
    pub fn new(limits: Limits) -> Self {
        Model { picture: Picture { view: View::default(), limits, ..Picture::default() }, next: 1 }
    }

    pub fn node(&mut self, id: u64, roomy: bool) {
        let id = NodeId(id);
        let node = NodeView {
            id,
            usable: true,
            near: true,
            leaving: Leaving::No,
            dead: false,
            holds_shards: true,
            roomy,
        };
        self.picture.view.nodes.insert(id, node);
    }

    /// The first of the nodes leads.
    pub fn shard(&mut self, from: u32, to: u32, nodes: &[u64], bytes: u64, requests: u64) -> ShardId {
        let id = ShardId(self.next);
        self.next += 1;
        let replica = |node: &u64| {
            let id = ReplicaId(id.0 * 10 + node);
            Replica { id, node: NodeId(*node), role: ReplicaRole::Voter }
        };
        let end = (to < END).then(|| key(to));
        let descriptor = ShardDescriptor {
            id,
            span: Span { start: key(from), end },
            version: 1,
            config_epoch: 1,
            replicas: nodes.iter().map(replica).collect(),
        };
        self.picture.view.shards.insert(id, descriptor);
        self.picture.view.leaders.insert(id, NodeId(nodes[0]));
        self.see(id, bytes, requests);
        id
    }

    fn see(&mut self, id: ShardId, bytes: u64, requests: u64) {
        let (from, to) = keys(&self.picture.view.shards[&id].span);
        let cut = (to - from > 1).then(|| Cut {
            at: key(from + (to - from) / 2),
            left_bytes: bytes / 2,
            right_bytes: bytes - bytes / 2,
            left_load: 500,
            right_load: 500,
        });
        let load = ShardLoad { reads: requests, writes: 0, load_cut: cut.clone(), size_cut: cut };
        let cold_for = Duration::from_secs(3600);
        self.picture.seen.insert(id, Seen { bytes, load, cold_for, settled: true, rested: true });
    }

    /// The next decision, which comes out the same from what is kept with it.
    pub fn next(&self) -> Option<Planned> {
        let at = Timestamp::from_micros(1);
        let planned = self.picture.next_step(at)?;
        assert_eq!(Inputs::replay(&planned.decision).as_ref(), Some(&planned), "another one at replay");
        Some(planned)
    }

    pub fn carry_out(&mut self, operation: &Operation) {
        match operation {
            Operation::Split { at } => self.split(at),
            Operation::Merge { at } => self.merge(at),
            Operation::MoveReplica { shard, from, to } => {
                let shard = self.picture.view.shards.get_mut(shard).expect("a shard");
                assert!(shard.replica_on(*to).is_none(), "two copies on one node");
                let replica = shard.replicas.iter_mut().find(|replica| replica.node == *from);
                replica.expect("a copy").node = *to;
                if self.picture.view.leaders[&shard.id] == *from {
                    let heir = shard.replicas[0].node;
                    self.picture.view.leaders.insert(shard.id, heir);
                }
            }
            Operation::TransferLeader { shard, to } => {
                let descriptor = &self.picture.view.shards[shard];
                assert!(descriptor.replica_on(*to).is_some(), "no copy leads");
                self.picture.view.leaders.insert(*shard, *to);
            }
            other => panic!("{other:?}"),
        }
    }

    fn split(&mut self, at: &Key) {
        let view = &mut self.picture.view;
        let left = view.shards.values_mut().find(|shard| shard.contains(at)).expect("an owner");
        let (nodes, leader) = (left.replicas.clone(), view.leaders[&left.id]);
        let (at, (_, to)) = (number(at), keys(&left.span));
        left.span.end = Some(key(at));
        let left = left.id;
        let seen = &self.picture.seen[&left];
        let (bytes, requests) = (seen.bytes, seen.load.requests());
        let floor = self.picture.limits.split.floor;
        assert!(bytes / 2 >= floor, "a half below the floor");
        let nodes: Vec<u64> = nodes.iter().map(|replica| replica.node.0).collect();
        let right = self.shard(at, to, &nodes, bytes - bytes / 2, requests - requests / 2);
        self.picture.view.leaders.insert(right, leader);
        self.see(left, bytes / 2, requests / 2);
    }

    fn merge(&mut self, at: &Key) {
        assert!(!self.picture.boundaries.contains(at), "a user's boundary");
        let view = &mut self.picture.view;
        let right = view.shards.values().find(|shard| shard.span.start == *at).expect("a right").id;
        let left = view.shards.values().find(|shard| shard.span.end.as_ref() == Some(at)).expect("a left").id;
        let gone = view.shards.remove(&right).expect("a right");
        view.leaders.remove(&right);
        view.shards.get_mut(&left).expect("a left").span.end = gone.span.end;
        let (one, two) = (&self.picture.seen[&left], &self.picture.seen[&right]);
        let (bytes, requests) = (one.bytes + two.bytes, one.load.requests() + two.load.requests());
        self.picture.seen.remove(&right);
        self.see(left, bytes, requests);
    }

    /// Copies and leaderships of each node.
    pub fn numbers(&self) -> Vec<(NodeId, usize, usize)> {
        let view = &self.picture.view;
        let count = |node: NodeId| {
            let copies = view.shards.values().filter(|shard| shard.replica_on(node).is_some()).count();
            let led = view.leaders.values().filter(|leader| **leader == node).count();
            (node, copies, led)
        };
        view.nodes.keys().map(|node| count(*node)).collect()
    }
}

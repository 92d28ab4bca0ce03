//! What becomes of a picture when its planners' operations are carried out at once. Keys are numbers of four digits, and what is
//! stored and asked for lies evenly over the keys of a shard.

use quorate_placement::planner::{
    NodeView, Planned, View,
    seen::{Limits, Picture, Seen},
    why::Inputs,
};
use quorate_proto::{
    Key, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span, Timestamp,
    placement::{Cut, Leaving, Operation, PlacementChange, PlacementRule, ShardLoad, read_tiers},
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
            may_carry_driver: true,
            holds_shards: true,
            roomy,
            slow: None,
            locality: Vec::new(),
        };
        self.picture.view.nodes.insert(id, node);
    }

    pub fn slow_down(&mut self, id: u64) {
        let node = self.picture.view.nodes.get_mut(&NodeId(id)).expect("a node");
        node.slow = Some("its log is durable after 200 ms, those of others after 3 ms".into());
    }

    pub fn locate(&mut self, id: u64, tiers: &str) {
        let node = self.picture.view.nodes.get_mut(&NodeId(id)).expect("a node");
        node.locality = read_tiers(tiers).expect("tiers");
    }

    pub fn rule(&mut self, from: u32, to: u32, change: PlacementChange) {
        let end = (to < END).then(|| key(to));
        let rule = PlacementRule::usual(Span { start: key(from), end }).with(change);
        assert_eq!(rule.check(), Ok(()));
        self.picture.view.rules.insert(key(from), rule);
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

    /// The same while operations are under way.
    pub fn next_beside(&self, under_way: &[Operation]) -> Option<Planned> {
        let mut picture = self.picture.clone();
        picture.under_way = under_way.len();
        for operation in under_way {
            picture.view.busy.extend(self.shards_of(operation));
            picture.expect(operation);
        }
        picture.next_step(Timestamp::from_micros(1))
    }

    fn shards_of(&self, operation: &Operation) -> Vec<ShardId> {
        let shards = self.picture.view.shards.values();
        match operation {
            Operation::MoveReplica { shard, .. } | Operation::TransferLeader { shard, .. } => vec![*shard],
            Operation::Split { at } => {
                shards.filter(|shard| shard.contains(at)).map(|shard| shard.id).collect()
            }
            Operation::Merge { at } => {
                let is_part =
                    |shard: &&ShardDescriptor| shard.span.start == *at || shard.span.end.as_ref() == Some(at);
                shards.filter(is_part).map(|shard| shard.id).collect()
            }
            other => panic!("{other:?}"),
        }
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
            Operation::Resize { shard, add, remove } => {
                let shard = self.picture.view.shards.get_mut(shard).expect("a shard");
                shard.replicas.retain(|replica| !remove.contains(&replica.node));
                for node in add {
                    assert!(shard.replica_on(*node).is_none(), "two copies on one node");
                    let id = ReplicaId(shard.id.0 * 10 + node.0);
                    shard.replicas.push(Replica { id, node: *node, role: ReplicaRole::Voter });
                }
                assert!(shard.replicas.len() % 2 == 1, "an even number of copies");
                if remove.contains(&self.picture.view.leaders[&shard.id]) {
                    let heir = shard.replicas[0].node;
                    self.picture.view.leaders.insert(shard.id, heir);
                }
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
        let asked_for = self.is_cut_by_rule(at);
        assert!(asked_for || bytes / 2 >= floor, "a half below the floor");
        let nodes: Vec<u64> = nodes.iter().map(|replica| replica.node.0).collect();
        let right = self.shard(at, to, &nodes, bytes - bytes / 2, requests - requests / 2);
        self.picture.view.leaders.insert(right, leader);
        self.see(left, bytes / 2, requests / 2);
    }

    fn merge(&mut self, at: &Key) {
        assert!(!self.picture.boundaries.contains(at), "a user's boundary");
        assert!(!self.is_cut_by_rule(number(at)), "shards for which different things are asked");
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

    fn is_cut_by_rule(&self, at: u32) -> bool {
        let edge = |rule: &PlacementRule| {
            let (from, to) = keys(&rule.span);
            from == at || to == at
        };
        self.picture.view.rules.values().any(edge)
    }

    /// Every shard has as many copies as can be, where they stand best of all places that are open to them.
    pub fn assert_well_placed(&self, seed: u64) {
        let (view, places) = (&self.picture.view, self.picture.view.places());
        let takes = |node: &NodeView| node.roomy && node.slow.is_none();
        for shard in view.shards.values() {
            let rule = view.rule_of(shard);
            let copies: Vec<NodeId> = shard.replicas.iter().map(|replica| replica.node).collect();
            let open = view.nodes.values().filter(|node| {
                copies.contains(&node.id) || takes(node) && places.violated(rule, node.id).is_none()
            });
            let open: Vec<NodeId> = open.map(|node| node.id).collect();
            let wanted = rule.map_or(3, |rule| rule.replicas as usize);
            let most = (1..=wanted.min(open.len())).rev().find(|n| n % 2 == 1).unwrap_or(1);
            assert_eq!(copies.len(), most, "seed {seed}: {shard:?}");
            let best = subsets(&open, copies.len()).into_iter().map(|set| places.standing(rule, &set)).min();
            let now = places.standing(rule, &copies);
            assert_eq!(Some(now), best, "seed {seed}: {shard:?} {rule:?}");
            let rank = |node: &NodeId| places.rank(rule, *node);
            let leads = |node: &&NodeId| takes(&view.nodes[node]);
            let preferred = copies.iter().filter(leads).map(rank).min().unwrap_or(usize::MAX);
            assert!(rank(&view.leaders[&shard.id]) <= preferred, "seed {seed}: {shard:?} {rule:?}");
        }
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

fn subsets(of: &[NodeId], size: usize) -> Vec<Vec<NodeId>> {
    let Some((first, rest)) = of.split_first().filter(|_| size > 0) else {
        return if size == 0 { vec![Vec::new()] } else { Vec::new() };
    };
    let with = subsets(rest, size - 1).into_iter().map(|set| [&[*first], &set[..]].concat());
    with.chain(subsets(rest, size)).collect()
}

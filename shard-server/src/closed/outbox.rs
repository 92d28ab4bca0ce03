//! The sending side: what each peer was told. Pure.

use super::{
    frontier::{Fact, Place},
    wire::Closed,
};
use quorate_proto::{NodeId, ShardId, Timestamp};
use std::collections::BTreeMap;

/// One shard that this node leads, with what was closed for it now.
pub struct Led {
    pub shard: ShardId,
    pub fact: Fact,
    /// Where the other replicas are.
    pub peers: Vec<NodeId>,
}

#[derive(Debug)]
pub struct Outbox {
    incarnation: u64,
    peers: BTreeMap<NodeId, Told>,
}

#[derive(Debug, Default)]
struct Told {
    next: u64,
    group: Group,
    held: BTreeMap<ShardId, Timestamp>,
}

/// Shards in their order: thousands of them are gone through with each message, most of which have not changed.
type Group = Vec<(ShardId, Place)>;

/// What a peer is to hold now.
#[derive(Default)]
struct Wanted {
    group: Group,
    held: Vec<(ShardId, Place, Timestamp)>,
}

impl Outbox {
    pub fn new(incarnation: u64) -> Self {
        Outbox { incarnation, peers: BTreeMap::new() }
    }

    /// The peer has lost a message of this process.
    pub fn begin_anew(&mut self, peer: NodeId, incarnation: u64) {
        if incarnation == self.incarnation {
            self.peers.remove(&peer);
        }
    }

    /// One message for each peer that has a replica of a shard led here, or has had one until now. `led` is in the order of
    /// the shards.
    pub fn messages(&mut self, at: Timestamp, led: &[Led]) -> Vec<(NodeId, Closed)> {
        let mut wanted: BTreeMap<NodeId, Wanted> = BTreeMap::new();
        for peer in self.peers.iter().filter(|(_, told)| !told.group.is_empty()).map(|(peer, _)| *peer) {
            wanted.entry(peer).or_default();
        }
        for Led { shard, fact, peers } in led {
            for peer in peers {
                let wanted = wanted.entry(*peer).or_default();
                if fact.closed == at {
                    wanted.group.push((*shard, fact.place));
                } else {
                    wanted.held.push((*shard, fact.place, fact.closed));
                }
            }
        }
        let incarnation = self.incarnation;
        let message = |(peer, wanted): (NodeId, Wanted)| {
            let closed = self.peers.entry(peer).or_default().message(incarnation, at, wanted);
            closed.map(|closed| (peer, closed))
        };
        wanted.into_iter().filter_map(message).collect()
    }
}

impl Told {
    fn message(&mut self, incarnation: u64, at: Timestamp, wanted: Wanted) -> Option<Closed> {
        let Wanted { group, held } = wanted;
        let (joined, left) = changes(&self.group, &group);
        let news = |(shard, _, closed): &(ShardId, Place, Timestamp)| self.held.get(shard) != Some(closed);
        let fresh: Vec<_> = held.iter().filter(|held| news(held)).copied().collect();
        self.held = held.into_iter().map(|(shard, _, closed)| (shard, closed)).collect();
        if group.is_empty() && left.is_empty() && fresh.is_empty() {
            return None;
        }
        self.group = group;
        let seq = self.next;
        self.next += 1;
        Some(Closed { incarnation, seq, at, joined, left, held: fresh })
    }
}

/// Who is new in a group or has moved on, and who is not in it any more.
fn changes(before: &Group, now: &Group) -> (Vec<(ShardId, Place)>, Vec<ShardId>) {
    debug_assert!(now.is_sorted_by_key(|(shard, _)| *shard));
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    let mut before = before.iter().peekable();
    for member in now {
        while let Some((gone, _)) = before.next_if(|(shard, _)| *shard < member.0) {
            left.push(*gone);
        }
        if before.next_if(|(shard, _)| *shard == member.0) != Some(member) {
            joined.push(*member);
        }
    }
    left.extend(before.map(|(shard, _)| *shard));
    (joined, left)
}

//! The shard map as this node knows it. Pure.

use quorate_proto::{Key, NodeId, ShardDescriptor, ShardId, Span, placement::MapUpdate};
use std::collections::{BTreeMap, BTreeSet};

/// Descriptors by the start of their span, and who led them last.
///
/// Invariant: spans do not overlap. Where two descriptors claim the same keys, the greater version holds them and the other
/// keeps what is left of its span, as a hint: a request by it is refused with the news.
#[derive(Clone, Debug, Default)]
pub struct ShardMap {
    by_start: BTreeMap<Key, ShardDescriptor>,
    starts: BTreeMap<ShardId, Key>,
    leaders: BTreeMap<ShardId, NodeId>,
    version: u64,
}

impl ShardMap {
    /// Version of the placement driver's map that this one includes.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    pub fn shards(&self) -> impl Iterator<Item = &ShardDescriptor> {
        self.by_start.values()
    }

    pub fn get(&self, shard: ShardId) -> Option<&ShardDescriptor> {
        self.by_start.get(self.starts.get(&shard)?)
    }

    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.leaders.get(&shard).copied()
    }

    pub fn set_leader(&mut self, shard: ShardId, leader: Option<NodeId>) {
        match leader {
            Some(node) => self.leaders.insert(shard, node),
            None => self.leaders.remove(&shard),
        };
    }

    /// The shard that owns a key; `None` where the map has a hole.
    pub fn lookup(&self, key: &[u8]) -> Option<&ShardDescriptor> {
        let (_, shard) = self
            .by_start
            .range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key)))
            .next_back()?;
        shard.span.contains(key).then_some(shard)
    }

    /// The shard that owns the last keys before `end` (`None`: of the key space).
    pub fn lookup_before(&self, end: Option<&Key>) -> Option<&ShardDescriptor> {
        let (_, shard) = match end {
            Some(end) => self.by_start.range::<Key, _>(..end).next_back()?,
            None => self.by_start.last_key_value()?,
        };
        match (&shard.span.end, end) {
            (None, _) => Some(shard),
            (Some(theirs), Some(end)) if theirs >= end => Some(shard),
            _ => None,
        }
    }

    /// The parts of a span by shard, in key order; `None` if the map has a hole in it.
    pub fn split(&self, span: &Span) -> Option<Vec<(ShardDescriptor, Span)>> {
        let mut out = Vec::new();
        let mut rest = span.clone();
        while !rest.is_empty() {
            let shard = self.lookup(&rest.start)?;
            out.push((shard.clone(), rest.intersection(&shard.span)?));
            match &shard.span.end {
                Some(end) => rest.start = end.clone(),
                None => break,
            }
        }
        Some(out)
    }

    /// Takes the driver's news. Descriptors that shards have told meanwhile stay if they are newer.
    pub fn update(&mut self, update: &MapUpdate) {
        if update.full && update.version >= self.version {
            let keep: BTreeSet<ShardId> = update.changed.iter().map(|d| d.id).collect();
            let gone: Vec<ShardId> = self.starts.keys().copied().filter(|id| !keep.contains(id)).collect();
            gone.into_iter().for_each(|id| self.remove(id));
        }
        update.removed.iter().for_each(|id| self.remove(*id));
        for descriptor in &update.changed {
            self.learn(descriptor);
        }
        for (shard, leader) in &update.leaders {
            self.leaders.entry(*shard).or_insert(*leader);
        }
        self.version = self.version.max(update.version);
    }

    /// Takes a descriptor if it is news; says whether it was.
    pub fn learn(&mut self, descriptor: &ShardDescriptor) -> bool {
        if self.get(descriptor.id).is_some_and(|mine| mine.epochs() >= descriptor.epochs()) {
            return false;
        }
        let rivals: Vec<ShardDescriptor> =
            self.split_loose(&descriptor.span).filter(|other| other.id != descriptor.id).cloned().collect();
        if rivals.iter().any(|other| other.version > descriptor.version) {
            return false;
        }
        self.take_out(descriptor.id);
        for rival in rivals {
            self.take_out(rival.id);
            for span in minus(&rival.span, &descriptor.span) {
                // At most one side keeps the id; a shard never has two spans.
                if self.starts.contains_key(&rival.id) {
                    continue;
                }
                self.put(ShardDescriptor { span, ..rival.clone() });
            }
            if !self.starts.contains_key(&rival.id) {
                // It was merged: all of its keys are another's.
                self.leaders.remove(&rival.id);
            }
        }
        self.put(descriptor.clone());
        true
    }

    fn remove(&mut self, shard: ShardId) {
        self.take_out(shard);
        self.leaders.remove(&shard);
    }

    fn take_out(&mut self, shard: ShardId) {
        if let Some(start) = self.starts.remove(&shard) {
            self.by_start.remove(&start);
        }
    }

    fn put(&mut self, descriptor: ShardDescriptor) {
        self.starts.insert(descriptor.id, descriptor.span.start.clone());
        self.by_start.insert(descriptor.span.start.clone(), descriptor);
    }

    /// All descriptors that overlap the span.
    fn split_loose<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = &'a ShardDescriptor> {
        use std::ops::Bound::{Included, Unbounded};
        let first = self.by_start.range::<Key, _>(..=&span.start).next_back().map(|(start, _)| start);
        let from = first.unwrap_or(&span.start);
        self.by_start
            .range::<Key, _>((Included(from), Unbounded))
            .map(|(_, other)| other)
            .take_while(|other| span.end.as_ref().is_none_or(|end| other.span.start < *end))
            .filter(move |other| other.span.overlaps(span))
    }
}

/// What of `a` lies outside `b`: nothing, one span or two.
fn minus(a: &Span, b: &Span) -> Vec<Span> {
    let mut out = Vec::new();
    if a.start < b.start {
        out.push(Span { start: a.start.clone(), end: Some(b.start.clone()) });
    }
    if let Some(end) = &b.end
        && a.end.as_ref().is_none_or(|theirs| theirs > end)
    {
        out.push(Span { start: end.clone(), end: a.end.clone() });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::{Replica, ReplicaId, ReplicaRole};

    fn shard(id: u64, start: &str, end: &str, version: u64) -> ShardDescriptor {
        ShardDescriptor {
            id: ShardId(id),
            span: Span { start: Key::from(start), end: (!end.is_empty()).then(|| Key::from(end)) },
            version,
            config_epoch: 1,
            replicas: vec![Replica { id: ReplicaId(id), node: NodeId(1), role: ReplicaRole::Voter }],
        }
    }

    fn show(map: &ShardMap) -> String {
        map.shards().map(|d| format!("{}v{}{:?}", d.id, d.version, d.span)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn learns_a_split_from_either_half() {
        let mut map = ShardMap::default();
        map.learn(&shard(1, "", "", 1));
        assert!(map.learn(&shard(2, "m", "", 2)));
        assert_eq!(show(&map), r#"1v1["", "m") 2v2["m", …)"#);
        assert!(map.learn(&shard(1, "", "m", 2)));
        assert!(!map.learn(&shard(1, "", "", 1)), "older news is none");
        assert_eq!(show(&map), r#"1v2["", "m") 2v2["m", …)"#);
        assert_eq!(map.lookup(b"m").map(|d| d.id), Some(ShardId(2)));
        assert_eq!(map.lookup_before(Some(&Key::from("m"))).map(|d| d.id), Some(ShardId(1)));
        assert_eq!(map.lookup_before(None).map(|d| d.id), Some(ShardId(2)));
    }

    #[test]
    fn a_merge_leaves_one() {
        let mut map = ShardMap::default();
        [shard(1, "", "m", 2), shard(2, "m", "", 3)].iter().for_each(|shard| assert!(map.learn(shard)));
        map.set_leader(ShardId(2), Some(NodeId(3)));
        assert!(map.learn(&shard(1, "", "", 4)));
        assert!(!map.learn(&shard(2, "m", "", 3)), "who has not heard of it brings nothing back");
        assert_eq!(show(&map), r#"1v4["", …)"#);
        assert_eq!((map.get(ShardId(2)), map.leader(ShardId(2))), (None, None));
    }

    #[test]
    fn a_hole_is_seen() {
        let mut map = ShardMap::default();
        map.learn(&shard(1, "", "", 1));
        map.learn(&shard(1, "", "m", 2));
        assert_eq!(map.lookup(b"z"), None);
        assert_eq!(map.lookup_before(None), None);
        assert!(map.split(&Span::ALL).is_none());
        map.learn(&shard(2, "m", "", 2));
        let parts = map.split(&Span::new("c", "q")).unwrap();
        assert_eq!(
            parts.iter().map(|(d, s)| (d.id.0, s.clone())).collect::<Vec<_>>(),
            [(1, Span::new("c", "m")), (2, Span::new("m", "q")),]
        );
    }

    #[test]
    fn a_full_update_removes_what_is_gone() {
        let mut map = ShardMap::default();
        map.learn(&shard(1, "", "m", 2));
        map.learn(&shard(2, "m", "", 2));
        let update =
            MapUpdate { version: 7, changed: vec![shard(1, "", "", 3)], full: true, ..Default::default() };
        map.update(&update);
        assert_eq!(show(&map), r#"1v3["", …)"#);
        assert_eq!(map.version(), 7);
    }
}

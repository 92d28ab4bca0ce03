//! What replicas must agree on, noted over all simulated nodes of a process: who leads a group in a term, what each entry of its log
//! is (Raft's election safety and state machine safety: Ongaro and Ousterhout, 2014, figure 3), and whose keys are whose at which
//! version. A contradiction is logged as an error. Off unless it is asked for, and then nothing is put together.

use parking_lot::Mutex;
use quorate_proto::{LogPosition, ReplicaId, ShardDescriptor, ShardId, Span};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    hash::{DefaultHasher, Hasher},
    sync::OnceLock,
};

static WITNESS: OnceLock<Mutex<Witness>> = OnceLock::new();

/// Notes from now on what the nodes of this process say.
pub fn watch() {
    WITNESS.get_or_init(Mutex::default);
}

/// A replica leads its group.
pub fn leads(shard: ShardId, term: u64, replica: ReplicaId) {
    note(|witness| witness.leads(shard, term, replica));
}

/// A replica is about to apply an entry, which is committed; `content` gives what stands there.
pub fn applies(shard: ShardId, at: LogPosition, content: impl FnOnce(&mut DefaultHasher)) {
    note(|witness| {
        let mut hasher = DefaultHasher::new();
        content(&mut hasher);
        witness.applies(shard, at, hasher.finish())
    });
}

/// A replica has applied what gives its shard these keys.
pub fn owns(shard: &ShardDescriptor) {
    note(|witness| witness.owns(shard));
}

fn note(what: impl FnOnce(&mut Witness) -> Option<String>) {
    if let Some(witness) = WITNESS.get()
        && let Some(contradiction) = what(&mut witness.lock())
    {
        tracing::error!("{contradiction}");
    }
}

#[derive(Default)]
struct Witness {
    leaders: BTreeMap<(ShardId, u64), ReplicaId>,
    /// By index: the term, and a digest of what stands there.
    entries: BTreeMap<(ShardId, u64), (u64, u64)>,
    /// By version.
    owned: BTreeMap<u64, BTreeMap<ShardId, Span>>,
}

impl Witness {
    fn leads(&mut self, shard: ShardId, term: u64, replica: ReplicaId) -> Option<String> {
        let first = *self.leaders.entry((shard, term)).or_insert(replica);
        (first != replica)
            .then(|| format!("shard {shard} is led in term {term} by replicas {first} and {replica}"))
    }

    fn applies(&mut self, shard: ShardId, at: LogPosition, digest: u64) -> Option<String> {
        match self.entries.entry((shard, at.index)) {
            Entry::Vacant(place) => {
                place.insert((at.term, digest));
                None
            }
            Entry::Occupied(known) if *known.get() == (at.term, digest) => None,
            Entry::Occupied(known) => Some(format!(
                "shard {shard} has two entries {}: of term {} and {}",
                at.index,
                known.get().0,
                at.term
            )),
        }
    }

    /// Keys go from one shard to another at a version that is higher than any they had before.
    fn owns(&mut self, shard: &ShardDescriptor) -> Option<String> {
        let (id, version) = (shard.id, shard.version);
        let known = self.owned.entry(version).or_default();
        match known.get(&id) {
            Some(span) if *span == shard.span => return None,
            Some(span) => {
                return Some(format!("shard {id} has {span:?} and {:?} at version {version}", shard.span));
            }
            None => {}
        }
        let other = known.iter().find(|(_, span)| span.overlaps(&shard.span)).map(|(other, _)| *other);
        known.insert(id, shard.span.clone());
        other.map(|other| format!("shards {other} and {id} have the same keys at version {version}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::Key;

    #[test]
    fn a_term_has_one_leader_and_a_place_one_entry() {
        let mut witness = Witness::default();
        let (shard, at) = (ShardId(1), |term, index| LogPosition { term, index });
        assert_eq!(witness.leads(shard, 1, ReplicaId(1)), None);
        assert_eq!(witness.leads(shard, 2, ReplicaId(2)), None);
        assert_eq!(witness.leads(shard, 1, ReplicaId(1)), None, "again");
        assert!(witness.leads(shard, 1, ReplicaId(2)).is_some());
        assert_eq!(witness.applies(shard, at(1, 7), 99), None);
        assert_eq!(witness.applies(shard, at(1, 7), 99), None, "at another replica, or after a crash");
        assert_eq!(witness.applies(ShardId(2), at(2, 7), 98), None);
        assert!(witness.applies(shard, at(2, 7), 99).is_some());
        assert!(witness.applies(shard, at(1, 7), 98).is_some());
    }

    #[test]
    fn keys_have_one_owner_at_each_version() {
        let mut witness = Witness::default();
        let owner = |id, version, start: &str, end: &str| ShardDescriptor {
            id: ShardId(id),
            span: Span { start: Key::from(start), end: Some(Key::from(end)) },
            version,
            config_epoch: 1,
            replicas: Vec::new(),
        };
        for present in
            [owner(1, 1, "a", "z"), owner(1, 2, "a", "m"), owner(2, 2, "m", "z"), owner(1, 3, "a", "z")]
        {
            assert_eq!(witness.owns(&present), None);
        }
        assert_eq!(witness.owns(&owner(2, 2, "m", "z")), None, "another replica");
        assert!(witness.owns(&owner(3, 2, "y", "zz")).is_some());
        assert!(witness.owns(&owner(1, 3, "a", "m")).is_some());
    }
}

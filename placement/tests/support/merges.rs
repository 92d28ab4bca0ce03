//! What fake shards do when they are merged.

use super::{Shards, gone};
use quorate_proto::{
    KvError, LogPosition, NodeId, ReplicaId, Seal, ShardDescriptor, ShardId, Span, Timestamp,
    placement::{ReplicaCommand, ReplicaReply},
};

impl Shards {
    /// A copy that nobody has missed.
    pub fn left_behind(&mut self, place: (ShardId, NodeId), replica: ReplicaId, descriptor: ShardDescriptor) {
        self.copies.insert(place, (replica, descriptor));
    }

    pub(super) fn merge(&mut self, node: NodeId, command: ReplicaCommand) -> Result<ReplicaReply, KvError> {
        match command {
            ReplicaCommand::PrepareMerge { left, right } => {
                let held = [left, right].iter().all(|shard| self.copies.contains_key(&(*shard, node)));
                held.then_some(ReplicaReply::Done).ok_or_else(|| gone(right))
            }
            ReplicaCommand::Seal { shard, version, left } => self.seal(node, shard, version, &left),
            ReplicaCommand::AwaitSeal(seal) if self.lagging.contains(&node) => {
                let why = "it lags".into();
                Err(KvError::NotReady { shard: seal.right.id, why })
            }
            ReplicaCommand::AwaitSeal(seal) => {
                self.sealed.insert((seal.right.id, seal.position, node));
                Ok(ReplicaReply::Done)
            }
            ReplicaCommand::Absorb(seal) => self.absorb(node, &seal),
            ReplicaCommand::Forget(seal) => {
                self.leads(seal.left, node)?;
                let left = &mut self.truth.get_mut(&seal.left).expect("checked").descriptor;
                if left.contains(&seal.right.span.start) {
                    return Ok(ReplicaReply::Changed(vec![left.clone()]));
                }
                left.version += u64::from(left.version == seal.left_version);
                self.publish(seal.left);
                Ok(ReplicaReply::Done)
            }
            ReplicaCommand::Unseal { shard, version } => self.unseal(node, shard, version),
            other => panic!("no part of a merge: {other:?}"),
        }
    }

    fn seal(
        &mut self,
        node: NodeId,
        id: ShardId,
        version: u64,
        left: &ShardDescriptor,
    ) -> Result<ReplicaReply, KvError> {
        self.leads(id, node)?;
        let right = self.truth.get_mut(&id).expect("checked");
        if right.descriptor.version != version {
            return Err(KvError::StaleRoute { shard: id, newer: vec![right.descriptor.clone()] });
        }
        let nodes = |d: &ShardDescriptor| {
            let mut nodes: Vec<_> =
                d.replicas.iter().map(|replica| (replica.node, replica.role as u8)).collect();
            nodes.sort_unstable();
            nodes
        };
        assert_eq!(nodes(&right.descriptor), nodes(left), "their copies are apart");
        let seal = right.seal.get_or_insert_with(|| Seal {
            right: right.descriptor.clone(),
            left: left.id,
            left_version: left.version,
            position: LogPosition { term: right.term, index: 100 + version },
            low_water: Timestamp(9),
            closed: Timestamp(8),
            gc_threshold: Timestamp(7),
            record_threshold: Timestamp(6),
        });
        Ok(ReplicaReply::Sealed(Box::new(seal.clone())))
    }

    fn absorb(&mut self, node: NodeId, seal: &Seal) -> Result<ReplicaReply, KvError> {
        self.leads(seal.left, node)?;
        let right = seal.right.id;
        let left = self.truth[&seal.left].descriptor.clone();
        if left.contains(&seal.right.span.start) {
            return Ok(ReplicaReply::Changed(vec![left]));
        }
        if left.version != seal.left_version {
            return Err(KvError::BadRequest { why: "it has changed".into() });
        }
        assert_eq!(self.truth[&right].seal.as_ref(), Some(seal), "it is not sealed");
        let told = |node| self.sealed.contains(&(right, seal.position, node));
        assert!(left.replicas.iter().all(|replica| told(replica.node)), "a copy has not come to the seal");
        let version = left.version.max(seal.right.version) + 1;
        let span = Span { start: left.span.start.clone(), end: seal.right.span.end.clone() };
        let merged = ShardDescriptor { span, version, ..left };
        self.truth.get_mut(&seal.left).expect("checked").descriptor = merged.clone();
        self.truth.remove(&right);
        self.copies.retain(|(shard, _), _| *shard != right);
        self.publish(seal.left);
        Ok(ReplicaReply::Changed(vec![merged]))
    }

    fn unseal(&mut self, node: NodeId, id: ShardId, version: u64) -> Result<ReplicaReply, KvError> {
        self.leads(id, node)?;
        if let Some(seal) = &self.truth[&id].seal {
            let forgotten = self.truth[&seal.left].descriptor.version > seal.left_version;
            if !forgotten {
                return Ok(ReplicaReply::Sealed(Box::new(seal.clone())));
            }
        }
        let right = self.truth.get_mut(&id).expect("checked");
        if right.descriptor.version == version {
            right.descriptor.version += 1;
            right.seal = None;
        }
        let now = right.descriptor.clone();
        self.publish(id);
        Ok(ReplicaReply::Changed(vec![now]))
    }
}

//! What fake shards do when they are brought back from one copy.

use super::{Shards, gone};
use quorate_proto::{
    KvError, LogPosition, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Timestamp,
    placement::{ReplicaReply, Testimony},
};

/// The end of every copy's log.
pub const LAST: LogPosition = LogPosition { term: 2, index: 50 };

impl Shards {
    pub(super) fn testify(&self, node: NodeId, shard: ShardId) -> Result<ReplicaReply, KvError> {
        let (id, descriptor) = self.copies.get(&(shard, node)).ok_or_else(|| gone(shard))?;
        let voters: Vec<ReplicaId> = descriptor.voters().map(|voter| voter.id).collect();
        Ok(ReplicaReply::Testimony(Box::new(Testimony {
            replica: Replica { id: *id, node, role: ReplicaRole::Voter },
            descriptor: descriptor.clone(),
            last: LAST,
            committed: LAST,
            applied: LAST,
            closed: Timestamp::from_micros(1),
            members: descriptor.replicas.clone(),
            configs: vec![voters],
            serves: false,
        })))
    }

    pub(super) fn revive(
        &mut self,
        node: NodeId,
        shard: ShardId,
        (old, new): (ReplicaId, ReplicaId),
        last: LogPosition,
        epochs: (u64, u64),
    ) -> Result<ReplicaReply, KvError> {
        let (held, descriptor) = self.copies.get(&(shard, node)).ok_or_else(|| gone(shard))?;
        if *held != new {
            assert_eq!((*held, last), (old, LAST));
            let replicas = vec![Replica { id: new, node, role: ReplicaRole::Voter }];
            let descriptor =
                ShardDescriptor { version: epochs.0, config_epoch: epochs.1, replicas, ..descriptor.clone() };
            self.copies.insert((shard, node), (new, descriptor.clone()));
            let truth = self.truth.get_mut(&shard).expect("a shard");
            truth.descriptor = descriptor;
            truth.leader = node;
            truth.term += 1000;
        }
        Ok(ReplicaReply::Changed(vec![self.truth[&shard].descriptor.clone()]))
    }
}

//! What a client is told by a gateway whose clock is fenced (PROTOCOL 21).

use quorate_env::{Env, Fence};
use quorate_proto::{KvError, NodeId, ReplicaRole, ShardDescriptor, ShardId};

/// A clock that cannot be measured because the other nodes are out of reach strays from nothing: what is missing is a quorum,
/// and a shard that lacks it is named with the replicas that are not reached.
pub(crate) fn refusal(env: &Env, shards: &[ShardDescriptor]) -> KvError {
    let reached = |node| node == env.node() || env.transport().peer(node).is_some_and(|peer| peer.connected);
    if let Some(Fence::Unmeasured { since }) = env.clock().fence()
        && !quorate_env::planted!("txn.missing_quorum_unsaid")
        && let Some((shard, missing)) = without_quorum(shards, reached)
    {
        return KvError::QuorumUnavailable { shard, missing, for_micros: since.as_micros() as u64 };
    }
    env.clock_fenced()
}

/// The first shard that has lost its quorum, and where its missing voters are.
fn without_quorum(
    shards: &[ShardDescriptor],
    reached: impl Fn(NodeId) -> bool,
) -> Option<(ShardId, Vec<NodeId>)> {
    shards.iter().find_map(|shard| {
        let voters = shard.replicas.iter().filter(|replica| replica.role != ReplicaRole::Learner);
        let missing: Vec<NodeId> =
            voters.clone().map(|replica| replica.node).filter(|node| !reached(*node)).collect();
        (missing.len() * 2 >= voters.count() && !missing.is_empty()).then_some((shard.id, missing))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::{Replica, ReplicaId, Span};

    fn shard(id: u64, nodes: &[u64]) -> ShardDescriptor {
        let replica =
            |node: &u64| Replica { id: ReplicaId(*node), node: NodeId(*node), role: ReplicaRole::Voter };
        let mut replicas: Vec<Replica> = nodes.iter().map(replica).collect();
        replicas.push(Replica { id: ReplicaId(99), node: NodeId(9), role: ReplicaRole::Learner });
        ShardDescriptor { id: ShardId(id), span: Span::ALL, version: 1, config_epoch: 1, replicas }
    }

    #[test]
    fn a_shard_without_its_quorum_is_named() {
        let shards = [shard(1, &[1, 2, 3]), shard(2, &[3, 4, 5])];
        let only = |up: &'static [u64]| move |node: NodeId| up.contains(&node.0);
        assert_eq!(without_quorum(&shards, only(&[1, 2, 3, 4])), None);
        assert_eq!(
            without_quorum(&shards, only(&[1, 2, 3, 9])),
            Some((ShardId(2), vec![NodeId(4), NodeId(5)]))
        );
        assert_eq!(without_quorum(&shards, only(&[3])), Some((ShardId(1), vec![NodeId(1), NodeId(2)])));
        assert_eq!(without_quorum(&[shard(3, &[1, 2])], only(&[1])), Some((ShardId(3), vec![NodeId(2)])));
    }
}

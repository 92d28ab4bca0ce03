//! A group of one replica in memory, for the unit tests of whoever implements a [`StateMachine`].

use crate::{Consensus, ConsensusConfig, Group, Start, StateMachine};
#[cfg(test)]
pub(crate) use noting::Noting;
use quorate_env::Env;
use quorate_proto::{Replica, ReplicaId, ReplicaRole, ShardId};
use quorate_storage::log::mem::MemLog;
use std::sync::Arc;

/// The replica id that [`single`] gives out.
pub const REPLICA: ReplicaId = ReplicaId(1);

/// Founds `shard` with this node's replica as its only member over a log in memory, and returns once it leads and is ready.
/// The state machine must report [`crate::FOUNDING_POSITION`] as applied.
///
/// # Panics
/// If the state machine does not fit, or leadership never comes.
pub async fn single(
    env: Env,
    shard: ShardId,
    machine: Arc<dyn StateMachine>,
) -> (Arc<Consensus>, Arc<Group>) {
    let consensus = Consensus::start(env.clone(), Arc::new(MemLog::new()), ConsensusConfig::default());
    let group = join(&consensus, env, shard, machine).await;
    (consensus, group)
}

/// Founds another group like [`single`]'s on the same node.
///
/// # Panics
/// As [`single`].
pub async fn join(
    consensus: &Arc<Consensus>,
    env: Env,
    shard: ShardId,
    machine: Arc<dyn StateMachine>,
) -> Arc<Group> {
    let members = vec![Replica { id: REPLICA, node: env.node(), role: ReplicaRole::Voter }];
    let group = consensus
        .open(shard, REPLICA, Start::Founding { members }, machine)
        .await
        .expect("the state machine fits a founding");
    group.leadership().wait_for(|l| l.ready).await.expect("the group runs");
    group
}

#[cfg(test)]
mod noting {
    use crate::{
        Applied, Entry, FOUNDING_POSITION, Fatal, Leadership, SnapshotSink, SnapshotSource, StateMachine,
    };
    use bytes::Bytes;
    use parking_lot::Mutex;
    use quorate_proto::LogPosition;

    /// Notes which entries came, and whether with a command.
    #[derive(Default)]
    pub(crate) struct Noting(pub Mutex<Vec<(LogPosition, bool)>>);

    impl StateMachine for Noting {
        fn applied(&self) -> Applied {
            Applied { position: FOUNDING_POSITION, membership: None }
        }

        fn apply(&self, entries: &[Entry]) -> Result<Vec<Bytes>, Fatal> {
            self.0.lock().extend(entries.iter().map(|e| (e.position, e.command.is_some())));
            Ok(vec![Bytes::new(); entries.len()])
        }

        fn flushed(&self) -> LogPosition {
            FOUNDING_POSITION
        }

        fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Fatal> {
            Err(Fatal("none".into()))
        }

        fn restore(&self) -> Result<Box<dyn SnapshotSink>, Fatal> {
            Err(Fatal("none".into()))
        }

        fn leadership(&self, _: &Leadership) {}
    }
}

//! Speaking to nodes about their replicas.

use super::is_current;
use crate::{Placement, command::Command, leader::Session};
use quorate_env::rpc;
use quorate_proto::{
    KvError, NodeId, ShardDescriptor, ShardId,
    placement::{ReplicaCommand, ReplicaReply},
};
use std::time::Duration;

/// Why a step did not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Look at the picture again and go on.
    Retry(String),
    /// It will never work.
    Failed(String),
    /// This node leads no longer; the next leader goes on.
    Lost,
}

/// One command, all its work included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whom to ask is tried for so long.
const SEARCH: Duration = Duration::from_secs(15);

/// Tells one node.
pub async fn tell(
    placement: &Placement,
    node: NodeId,
    command: &ReplicaCommand,
) -> Result<ReplicaReply, KvError> {
    match rpc::call(&placement.env, node, command, PATIENCE).await {
        Ok(answer) => answer.result,
        Err(error) => Err(KvError::Unreachable { node, why: error.to_string() }),
    }
}

/// Tells the shard's leader, wherever it is. Descriptors that come back are learned.
pub async fn tell_leader(
    placement: &Placement,
    session: &Session,
    shard: &ShardDescriptor,
    command: &ReplicaCommand,
) -> Result<ReplicaReply, Stop> {
    let env = &placement.env;
    let began = env.boottime();
    let voters: Vec<NodeId> = shard.voters().map(|replica| replica.node).collect();
    let mut hint = session.leader_of(shard.id);
    let mut last = String::from("it has no voters");
    for turn in 0usize.. {
        if !is_current(placement, session) {
            return Err(Stop::Lost);
        }
        if env.boottime() - began > SEARCH || voters.is_empty() {
            break;
        }
        let node = hint.take().unwrap_or_else(|| voters[turn % voters.len()]);
        match tell(placement, node, command).await {
            Ok(reply) => {
                session.note_leader(shard.id, node, env.boottime());
                if let ReplicaReply::Changed(descriptors) = &reply {
                    learn(placement, descriptors.clone()).await?;
                }
                return Ok(reply);
            }
            Err(KvError::NotLeader { leader: Some(leader), .. }) if leader != node => hint = Some(leader),
            Err(KvError::StaleRoute { newer, .. }) if !newer.is_empty() => {
                learn(placement, newer).await?;
                return Err(Stop::Retry("the shard has changed meanwhile".into()));
            }
            Err(KvError::BadRequest { why }) => return Err(Stop::Failed(why)),
            Err(error) => {
                last = error.to_string();
                env.sleep(env.jittered(Duration::from_millis(100))).await;
            }
        }
    }
    Err(Stop::Retry(format!("shard {}: {last}", shard.id)))
}

/// Takes what shards say of themselves into the map.
pub async fn learn(placement: &Placement, descriptors: Vec<ShardDescriptor>) -> Result<(), Stop> {
    let news: Vec<ShardDescriptor> = {
        let state = placement.machine.state();
        let known = |id: ShardId| state.shards.get(&id).map(|record| record.descriptor.epochs());
        descriptors.into_iter().filter(|d| known(d.id).is_none_or(|mine| mine < d.epochs())).collect()
    };
    if news.is_empty() {
        return Ok(());
    }
    propose(placement, Command::Learn(news)).await.map(|_| ())
}

pub async fn propose(placement: &Placement, command: Command) -> Result<crate::command::Reply, Stop> {
    use quorate_proto::placement::PlacementError::*;
    placement.propose(command).await.map_err(|error| match error {
        NotLeader(..) => Stop::Lost,
        Refused(why) => Stop::Failed(why),
        other => Stop::Retry(other.to_string()),
    })
}

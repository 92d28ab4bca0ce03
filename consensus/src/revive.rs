//! A group that has lost its quorum for good goes on from one replica that is left, under a new replica id (`docs/recovery.md`).
//!
//! The new id is what fences the old members: messages go from replica to replica, so none of theirs, however late and in
//! whatever term, reaches the one that goes on. *Write* the new replica's log: where the state stands, what the old log holds
//! behind that, an entry that makes it the only voter, one for the state machine, and a vote for itself, all in a term far above
//! any that was heard of. Nobody opens that log yet. *Switch*: the state machine notes the new id, in one durable batch of its own.
//! *Forget* the old log. A crash before the switch leaves the old replica as it was, and half a log that is forgotten at the next
//! start; one behind it leaves the new replica, which elects itself.

use crate::raft::log::{append, install_with_vote, remove};
use crate::raft::payload::{
    decode_membership, decode_vote, encode_vote, membership_entry, membership_of, normal_entry,
};
use crate::raft::types::{replicas, uniform, vote, vote_parts};
use crate::{Applied, Consensus};
use bytes::Bytes;
use quorate_env::planted;
use quorate_proto::{KvError, LogPosition, Replica, ReplicaId, ShardId};
use quorate_storage::{GroupKey, LogEntry, LogStore};

/// Terms that the old members, should they live, will not come to by elections.
const FENCE: u64 = 1 << 20;
/// Payload that is copied at a time.
const PIECE: u64 = 1 << 20;

/// What is left of a group at one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The log's end.
    pub last: LogPosition,
    pub committed: LogPosition,
    /// All that the newest membership names.
    pub members: Vec<Replica>,
    /// The voters of every configuration that may be active as far as this log shows: those of the newest membership that is
    /// applied, and of all behind it.
    pub configs: Vec<Vec<ReplicaId>>,
}

/// How a replica begins its second life.
pub struct Revival {
    pub shard: ShardId,
    /// It is closed.
    pub old: ReplicaId,
    pub new: Replica,
    /// The end of the old log that whoever decided this knew of.
    pub last: LogPosition,
    /// Up to here the state is durable without the log.
    pub applied: LogPosition,
    /// For the state machine, behind the entry that sets the member.
    pub command: Bytes,
}

impl Consensus {
    /// What is left at a replica whose state machine has applied so much; it may be open or not.
    ///
    /// # Errors
    /// `Internal` if the log cannot be read.
    pub fn remains(&self, shard: ShardId, replica: ReplicaId, applied: &Applied) -> Result<Remains, KvError> {
        let (log, key) = (self.log(), GroupKey { shard, replica });
        let state = log.state(key);
        let last = state.last.unwrap_or_default().max(applied.position);
        let mut memberships = Vec::new();
        if let Some((_, raw)) = &applied.membership {
            memberships.push(decode_membership(raw).map_err(internal)?);
        }
        let mut next = applied.position.index + 1;
        while next <= last.index {
            let piece = read(log, key, next, last.index)?;
            next += piece.len() as u64;
            for entry in &piece {
                memberships.extend(membership_of(entry).map_err(internal)?);
            }
        }
        let active = memberships.iter().flat_map(|membership| membership.get_joint_config());
        let mut configs: Vec<Vec<ReplicaId>> =
            active.map(|config| config.iter().copied().map(ReplicaId).collect()).collect();
        configs.sort();
        configs.dedup();
        Ok(Remains {
            last,
            committed: state.committed.unwrap_or_default().max(applied.position),
            members: memberships.last().map(replicas).unwrap_or_default(),
            configs,
        })
    }

    /// Writes the log of the new replica, durably. May be repeated as long as the new replica was never opened.
    ///
    /// # Errors
    /// `BadRequest` if the old replica is open, or its log has another end; `Internal` if a log cannot be read or written.
    pub async fn revive(&self, revival: Revival) -> Result<(), KvError> {
        let Revival { shard, old, new, last, applied, command } = revival;
        if self.group(shard).is_some() {
            return Err(KvError::BadRequest { why: format!("replica {old} of shard {shard} is open") });
        }
        let (from, to) = (GroupKey { shard, replica: old }, GroupKey { shard, replica: new.id });
        let (log, state) = (self.log(), self.log().state(from));
        let end = state.last.unwrap_or_default().max(applied);
        if end != last && !planted!("consensus.revived_from_another_log") {
            let why = format!("the log of replica {old} of shard {shard} ends at {end}, not at {last}");
            return Err(KvError::BadRequest { why });
        }
        let promised = match &state.vote {
            Some(raw) => vote_parts(&decode_vote(raw).map_err(internal)?).0,
            None => 0,
        };
        let term = promised.max(end.term) + FENCE;
        remove(log, to).await.map_err(internal)?;
        let own = encode_vote(&vote(term, new.id, false));
        install_with_vote(log, to, applied, own).await.map_err(internal)?;
        let mut next = applied.index + 1;
        while next <= end.index {
            let piece = read(log, from, next, end.index)?;
            next += piece.len() as u64;
            append(log, to, piece).await.map_err(internal)?;
        }
        let at = |index| LogPosition { term, index };
        let alone = uniform(std::slice::from_ref(&new));
        let entries = vec![membership_entry(at(next), alone), normal_entry(at(next + 1), command)];
        append(log, to, entries).await.map_err(internal)?;
        quorate_env::probe!("consensus.revived");
        Ok(())
    }

    /// Forgets the logs of the shard's other replicas here: one that went on under another id, or one that was about to.
    ///
    /// # Errors
    /// `Internal` if the log cannot be written.
    pub async fn forget_others(&self, shard: ShardId, replica: ReplicaId) -> Result<(), KvError> {
        let log = self.log();
        let others = log.groups().into_iter().filter(|key| key.shard == shard && key.replica != replica);
        for key in others {
            remove(log, key).await.map_err(internal)?;
        }
        Ok(())
    }
}

/// At least one of the entries from `next` to `last`.
fn read(log: &dyn LogStore, key: GroupKey, next: u64, last: u64) -> Result<Vec<LogEntry>, KvError> {
    let piece = log.read(key, next..last + 1, PIECE).map_err(internal)?;
    match piece.first() {
        Some(first) if first.position.index == next => Ok(piece),
        _ => Err(internal(format!("entry {next} of shard {} is missing", key.shard))),
    }
}

fn internal(error: impl std::fmt::Display) -> KvError {
    KvError::Internal { why: error.to_string() }
}

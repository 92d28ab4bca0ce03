//! A proposal's way: term check, openraft's queue, log, quorum, apply, reply.

use crate::group::Group;
use crate::raft::types::{Command, Reply, Types, position};
use crate::shared::RaftHandle;
use crate::{ProposeError, raft};
use bytes::Bytes;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::impls::OneshotResponder;
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::type_config::alias::CommittedLeaderIdOf;
use quorate_proto::{LogPosition, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

impl Group {
    /// Replicates a command evaluated in `evaluated_term`; returns its position and the state machine's reply after it
    /// was applied here.
    ///
    /// Without a recent word of a quorum (the group was quiet, or is cut off) one heartbeat round precedes the append
    /// (PROTOCOL 3), so that a write without a quorum is refused instead of left hanging.
    ///
    /// # Errors
    /// See [`ProposeError`]; all but `Ambiguous` are definite.
    pub async fn propose(
        &self,
        evaluated_term: u64,
        command: Bytes,
    ) -> Result<(LogPosition, Bytes), ProposeError> {
        let shared = &self.shared;
        let raft = shared.raft().ok_or(ProposeError::Stopped)?;
        let started = shared.env.boottime();
        shared.note_activity(started);
        let patience = shared.node.config.propose_timeout;
        loop {
            let command = Command { evaluated_term, bytes: command.clone() };
            let (responder, answer) = OneshotResponder::<Types, _>::new_pair();
            let leader = CommittedLeaderIdOf::<Types>::new(evaluated_term);
            if raft.write(command).responder(responder).with_leader(leader).await.is_err() {
                return Err(ProposeError::Stopped);
            }
            let spent = shared.env.boottime() - started;
            let answer = match shared.env.timeout(patience.saturating_sub(spent), answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => return Err(ProposeError::Ambiguous("the replica stopped".into())),
                Err(_) => return Err(ProposeError::Ambiguous(format!("no answer within {patience:?}"))),
            };
            match answer {
                Ok(response) => {
                    quorate_env::count!("quorate_consensus_entries_total");
                    let at = position(&response.log_id);
                    return match response.data {
                        Reply::Applied(reply) => Ok((at, reply)),
                        Reply::TermChanged => Err(ProposeError::TermChanged),
                    };
                }
                Err(ClientWriteError::ForwardToLeader(forward))
                    if forward.reason == ForwardReason::LeaseExpired =>
                {
                    self.heartbeat_round(raft, evaluated_term, started).await?;
                }
                Err(ClientWriteError::ForwardToLeader(forward)) => {
                    return Err(self.refused(evaluated_term, &forward));
                }
                Err(other) => return Err(ProposeError::Ambiguous(other.to_string())),
            }
        }
    }

    /// Refused before anything was appended.
    fn refused(&self, evaluated_term: u64, forward: &ForwardToLeader<Types>) -> ProposeError {
        let me = self.replica().0;
        let leads = self.shared.leadership.borrow().is_leader;
        if forward.reason == ForwardReason::NotLeader && (forward.leader_id == Some(me) || leads) {
            tracing::debug!(evaluated_term, "the term is over");
            return ProposeError::TermChanged;
        }
        let named = forward.leader_node.map(|member: raft::types::Member| NodeId(member.node));
        let leader = forward.leader_id.filter(|id| *id != me).and(named);
        ProposeError::NotLeader { leader }
    }

    /// Renews the quorum's word, as openraft wants it before it takes a write.
    pub(crate) async fn heartbeat_round(
        &self,
        raft: &RaftHandle,
        term: u64,
        started: Duration,
    ) -> Result<(), ProposeError> {
        let shared = &self.shared;
        let patience = shared.node.config.quorum_patience;
        let left = (started + patience).saturating_sub(shared.env.boottime());
        if left.is_zero() {
            return Err(self.lost_quorum(&BTreeSet::new(), started));
        }
        quorate_env::probe!("consensus.heartbeat_round_before_write");
        quorate_env::count!("quorate_consensus_heartbeat_rounds_total");
        shared.stir(|pace| pace.wake(shared.env.boottime()));
        let option = LinearizerOption::new(None, true).with_wait_timeout(left);
        match raft.get_read_linearizer(option).await {
            Ok(_confirmed) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(self.refused(term, &forward))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(quorum))) => {
                Err(self.lost_quorum(&quorum.got, started))
            }
            Err(RaftError::Fatal(_)) => Err(ProposeError::Stopped),
        }
    }

    fn lost_quorum(&self, got: &BTreeSet<u64>, started: Duration) -> ProposeError {
        quorate_env::count!("quorate_consensus_no_quorum_total");
        ProposeError::NoQuorum { missing: self.missing(got), since: self.shared.env.boottime() - started }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noting;
    use quorate_env::sim::{SimConfig, SimWorld};
    use quorate_proto::ShardId;
    use std::sync::Arc;

    /// PROTOCOL 4. openraft is told no term here, so the entry gets into the log.
    #[test]
    fn an_entry_of_another_term_is_applied_as_nothing() {
        let run = SimWorld::run(SimConfig::new(1), |world| async move {
            let env = world.start(NodeId(1), "");
            let noting = Arc::new(Noting::default());
            let (_consensus, group) = crate::testing::single(env, ShardId(3), noting.clone()).await;
            let term = group.leadership().borrow().term;
            for (evaluated_term, applied) in [(term - 1, false), (term, true), (term + 1, false)] {
                let command = Command { evaluated_term, bytes: Bytes::from_static(b"x") };
                let written = group.shared.raft().unwrap().client_write(command).await.unwrap();
                assert_eq!(written.data == Reply::TermChanged, !applied);
                let last = *noting.0.lock().last().unwrap();
                assert_eq!(last, (position(&written.log_id), applied));
            }
            let (at, _) = group.propose(term, Bytes::from_static(b"y")).await.unwrap();
            assert_eq!(group.frontiers().applied, at);
            assert_eq!(group.propose(term + 1, Bytes::new()).await, Err(ProposeError::TermChanged));
        });
        run.unwrap();
    }
}

//! Changing who is a member, and who leads.

use crate::group::{Group, stopped};
use crate::raft::types::{Types, is_joint, member, position, position_or_zero};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use quorate_env::{planted, probe};
use quorate_proto::{KvError, LogPosition, NodeId, Replica, ReplicaId, ReplicaRole};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For a learner to get a snapshot and the log. A caller that wants longer asks again: the learner stays.
const CATCH_UP: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(25);
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// For the new leader of a hand-over to appear.
const HAND_OVER: Duration = Duration::from_secs(3);

type Outcome = Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>;

impl Group {
    /// Makes `members` the group's members: adds learners, waits until they have caught up, then changes the voters by
    /// joint consensus. Returns the position of the entry that completed it; at once if they are the members already. May
    /// be repeated, also by another leader. Only on the leader; one that is to lose its vote brings the new members up, hands
    /// over to a voter that stays, and answers `NotLeader` naming it: repeat the change there.
    ///
    /// # Errors
    /// `NotLeader`, `QuorumUnavailable`, `Timeout` (repeat it), `BadRequest` (no voters).
    pub async fn change_members(&self, members: Vec<Replica>) -> Result<LogPosition, KvError> {
        let _one = self.changing.lock().await;
        let voters: BTreeSet<u64> =
            members.iter().filter(|r| r.role != ReplicaRole::Learner).map(|r| r.id.0).collect();
        if voters.is_empty() {
            return Err(KvError::BadRequest { why: "a group needs a voter".into() });
        }
        if let Some(done) = self.is_done(&members)? {
            return Ok(done);
        }
        self.add_missing(&members).await?;
        self.wait_caught_up(&voters).await?;
        if !voters.contains(&self.replica().0) {
            return Err(self.leave(voters).await?);
        }
        if self.voters()? != vec![voters.clone()] {
            probe!("consensus.joint_change");
            self.step(ChangeMembers::ReplaceAllVoters(voters), true).await?;
        }
        let wanted: BTreeSet<u64> = members.iter().map(|r| r.id.0).collect();
        let present: BTreeSet<u64> = self.shared.members().nodes.keys().copied().collect();
        let gone: BTreeSet<u64> = present.difference(&wanted).copied().collect();
        if !gone.is_empty() {
            self.step(ChangeMembers::RemoveNodes(gone), false).await?;
        }
        match self.is_done(&members)? {
            Some(done) => Ok(done),
            None => Err(KvError::Timeout { why: "the members changed meanwhile".into() }),
        }
    }

    /// Hands over to a voter that stays. (openraft lets a leader without a vote go on, but not change members.)
    async fn leave(&self, voters: BTreeSet<u64>) -> Result<KvError, KvError> {
        let present: BTreeSet<u64> = self.voters()?.into_iter().flatten().collect();
        if present.is_disjoint(&voters) {
            let both = present.union(&voters).copied().collect();
            self.step(ChangeMembers::ReplaceAllVoters(both), true).await?;
        }
        let present: BTreeSet<u64> = self.voters()?.into_iter().flatten().collect();
        let progress = self.progress();
        let matched = |id: u64| progress.iter().find(|p| p.replica.id.0 == id).map_or(0, |p| p.matched);
        let heir = present.intersection(&voters).copied().max_by_key(|id| matched(*id));
        let Some(heir) = heir else {
            return Err(KvError::BadRequest { why: "no voter stays".into() });
        };
        probe!("consensus.leader_left");
        self.transfer(ReplicaId(heir)).await?;
        let leader = self.shared.leadership.borrow().leader.map(|(_, node)| node);
        Ok(KvError::NotLeader { shard: self.shard(), leader })
    }

    /// openraft's present view, which may be ahead of what was published.
    fn voters(&self) -> Result<Vec<BTreeSet<u64>>, KvError> {
        let raft = self.shared.raft().ok_or_else(|| stopped(self.shard()))?;
        let server = raft.server_metrics();
        let configs = server.borrow_watched().membership_config.membership().get_joint_config().clone();
        Ok(configs)
    }

    fn is_done(&self, wanted: &[Replica]) -> Result<Option<LogPosition>, KvError> {
        let raft = self.shared.raft().ok_or_else(|| stopped(self.shard()))?;
        let server = raft.server_metrics();
        let (effective, committed) = {
            let server = server.borrow_watched();
            (server.membership_config.clone(), server.committed_membership_config.clone())
        };
        let mut present = crate::raft::types::replicas(effective.membership());
        let mut wanted = wanted.to_vec();
        present.sort_by_key(|r| r.id);
        wanted.sort_by_key(|r| r.id);
        let same = present == wanted && !is_joint(effective.membership());
        let settled = effective.log_id() == committed.log_id();
        Ok((same && settled).then(|| position_or_zero(effective.log_id().as_ref())))
    }

    async fn add_missing(&self, members: &[Replica]) -> Result<(), KvError> {
        let present = self.shared.members();
        let missing: BTreeMap<u64, _> = members
            .iter()
            .filter(|r| !present.nodes.contains_key(&r.id.0))
            .map(|r| (r.id.0, member(r)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.step(ChangeMembers::AddNodes(missing), true).await?;
        Ok(())
    }

    /// The change to joint consensus begins only when every new voter holds (nearly) everything: the group never runs on
    /// fewer useful copies than before.
    async fn wait_caught_up(&self, voters: &BTreeSet<u64>) -> Result<(), KvError> {
        let env = &self.shared.env;
        let until = env.boottime() + CATCH_UP;
        loop {
            let leadership = self.shared.leadership.borrow().clone();
            if !leadership.is_leader {
                let leader = leadership.leader.map(|(_, node)| node);
                return Err(KvError::NotLeader { shard: self.shard(), leader });
            }
            let progress = self.progress();
            let behind = |id: &u64| !progress.iter().any(|p| p.replica.id.0 == *id && p.caught_up);
            let present: BTreeSet<u64> = self.voters()?.into_iter().flatten().collect();
            // A present voter may be away without standing in the way of its own group.
            let waiting: Vec<_> = voters.iter().filter(|id| !present.contains(id) && behind(id)).collect();
            if waiting.is_empty() {
                return Ok(());
            }
            if env.boottime() >= until {
                return Err(KvError::Timeout { why: format!("replicas {waiting:?} have not caught up") });
            }
            // Members that are being brought up must hear of commits.
            self.shared.note_activity(env.boottime());
            env.sleep(LOOK_AGAIN).await;
        }
    }

    /// One change, which openraft completes (through the joint configuration, if voters change).
    async fn step(
        &self,
        change: ChangeMembers<u64, crate::raft::types::Member>,
        retain: bool,
    ) -> Result<LogPosition, KvError> {
        let shard = self.shard();
        let env = &self.shared.env;
        let until = env.boottime() + STEP_TIMEOUT;
        let raft = self.shared.raft().ok_or_else(|| stopped(shard))?.clone();
        let term = self.shared.leadership.borrow().term;
        loop {
            self.shared.note_activity(env.boottime());
            self.shared.stir(|pace| pace.wake(env.boottime()));
            let left = until.saturating_sub(env.boottime());
            let asked = raft.change_membership(change.clone(), retain);
            let outcome: Outcome = match env.timeout(left, asked).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    return Err(KvError::Timeout { why: "the change of members takes too long".into() });
                }
            };
            let error = match outcome {
                Ok(response) => return Ok(position(&response.log_id)),
                Err(RaftError::Fatal(_)) => return Err(stopped(shard)),
                Err(RaftError::APIError(error)) => error,
            };
            match error {
                ClientWriteError::ForwardToLeader(forward)
                    if forward.reason == openraft::errors::ForwardReason::LeaseExpired =>
                {
                    // Its own word, and not this replica's lease, which may well stand: a quiet group keeps that.
                    let round = self.heartbeat_round(&raft, term, env.boottime()).await;
                    round.map_err(|error| error.into_kv(shard))?;
                    if env.boottime() >= until {
                        return Err(KvError::Timeout { why: "no word of a quorum lasts".into() });
                    }
                }
                ClientWriteError::ForwardToLeader(forward) | ClientWriteError::LogEntryDiscarded(forward) => {
                    let leader = forward.leader_node.map(|m| NodeId(m.node));
                    return Err(KvError::NotLeader { shard, leader });
                }
                ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                    if env.boottime() >= until {
                        return Err(KvError::Timeout {
                            why: "another change of members is under way".into(),
                        });
                    }
                    env.sleep(LOOK_AGAIN).await;
                }
                other => return Err(KvError::BadRequest { why: other.to_string() }),
            }
        }
    }

    /// Hands leadership to a voter. Returns when another leads; the lease is given up before anything is sent, and never
    /// used again in this term.
    ///
    /// # Errors
    /// `NotLeader`, `BadRequest` (not a voter), `Timeout` (it has not caught up, or did not take over).
    pub async fn transfer(&self, to: ReplicaId) -> Result<(), KvError> {
        let shard = self.shard();
        let env = &self.shared.env;
        let leadership = self.shared.leadership.borrow().clone();
        if leadership.leader.is_some_and(|(leader, _)| leader == to) {
            return Ok(());
        }
        if !leadership.is_leader {
            let leader = leadership.leader.map(|(_, node)| node);
            return Err(KvError::NotLeader { shard, leader });
        }
        if !self.shared.members().is_voter(to) {
            return Err(KvError::BadRequest { why: format!("replica {to} is no voter of shard {shard}") });
        }
        let raft = self.shared.raft().ok_or_else(|| stopped(shard))?.clone();
        let until = env.boottime() + HAND_OVER;
        while !self.progress().iter().any(|p| p.replica.id == to && p.caught_up) {
            if env.boottime() >= until {
                return Err(KvError::Timeout { why: format!("replica {to} has not caught up") });
            }
            env.sleep(LOOK_AGAIN).await;
        }
        // What goes along goes through the log.
        let _still = match env.space().is_stuck() {
            true => None,
            false => Some(self.shared.machine.before_hand_over().await),
        };
        self.shared.bar_lease(leadership.term);
        if !planted!("consensus.giver_does_not_wait") {
            self.shared.stir(|pace| pace.handed_over(env.boottime()));
        }
        raft.trigger().transfer_leader(to.0).await.map_err(|_| stopped(shard))?;
        let mut watch = self.leadership();
        let taken = watch.wait_for(|l| l.term > leadership.term && l.leader.is_some());
        match env.timeout(HAND_OVER, taken).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(stopped(shard)),
            Err(_) => Err(KvError::Timeout { why: format!("replica {to} did not take over") }),
        }
    }
}

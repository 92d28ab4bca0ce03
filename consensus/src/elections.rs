//! The gate before openraft's votes (PROTOCOL 2, 3), on both sides: who is asked to vote, and who asks.
//!
//! The argument for why no two leaders' leases overlap is told in `docs/consensus.md`; each check here names its step.

use crate::raft::types::{Vote, vote_parts};
use crate::shared::{Elections, Known, Shared};
use quorate_env::{planted, probe};
use quorate_proto::{NodeId, ReplicaId, Timestamp};
use std::time::Duration;

/// Why no vote is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The process is too young: an earlier life of it may have promised its support.
    Young,
    /// The present leader's node is supported.
    Supported(Known),
    /// This replica leads and has a lease.
    Leading,
}

impl Shared {
    /// The leadership that this node's support binds the replica to, if any.
    fn bound_to(&self, elections: &Elections, now: Duration) -> Option<Known> {
        let known = elections.known.filter(|known| !known.released && known.replica != self.replica())?;
        self.node.granted.lock().supports(known.node, known.incarnation, now).then_some(known)
    }

    pub fn supported_leader(&self) -> Option<Known> {
        let now = self.env.boottime();
        self.bound_to(&self.elections.lock(), now)
    }

    /// Step "promises outlive restarts". A group founded in this life has no earlier promises; a sole voter that itself led
    /// last promised nobody anything.
    fn is_young(&self, elections: &Elections, now: Duration) -> bool {
        let young = now < self.node.young_until && !planted!("consensus.young_votes");
        young && !elections.founded && !self.led_alone()
    }

    fn led_alone(&self) -> bool {
        let leadership = self.leadership.borrow();
        let members = self.members();
        let voters = members.voters();
        voters.len() == 1
            && voters.contains(&self.replica().0)
            && leadership.leader.is_none_or(|(leader, _)| leader == self.replica())
    }

    /// Asked for a (pre-)vote: may openraft be asked? A `true` vote keeps the lease from being used until
    /// [`Self::vote_decided`].
    pub fn begin_vote(&self, pre: bool, transfer: bool, term: u64, from: NodeId) -> Result<(), Withheld> {
        let now = self.env.boottime();
        let leadership = self.leadership.borrow().clone();
        let mut elections = self.elections.lock();
        if let Some(known) = &mut elections.known {
            // Only a leader that has given its lease up authorizes a transfer; and who asks for a vote leads no longer.
            let ended = transfer || known.node == from;
            if ended && known.term < term {
                known.released = true;
                self.stir(|_| ());
            }
        }
        if !transfer {
            if self.is_young(&elections, now) {
                probe!("consensus.vote_withheld_young");
                return Err(Withheld::Young);
            }
            if let Some(known) = self.bound_to(&elections, now)
                && !planted!("consensus.vote_against_supported")
            {
                probe!("consensus.vote_withheld_supported");
                return Err(Withheld::Supported(known));
            }
            let leads = leadership.is_leader && !planted!("consensus.leader_votes_within_lease");
            if leads && self.lease_of(&elections, leadership.term).is_some() {
                return Err(Withheld::Leading);
            }
        }
        if !pre {
            elections.pending_votes += 1;
        }
        Ok(())
    }

    /// After openraft decided a vote: whether the answer may be given. A vote granted ends this replica's own leases of
    /// earlier terms; a promise made in between keeps the answer back.
    pub fn vote_decided(&self, granted: bool, transfer: bool, now_voted: &Vote) -> bool {
        let now = self.env.boottime();
        let (term, replica, _) = vote_parts(now_voted);
        let mut elections = self.elections.lock();
        elections.pending_votes -= 1;
        if replica != self.replica() && !planted!("consensus.lease_after_vote") {
            elections.barred = elections.barred.max(term.saturating_sub(1));
        }
        let bound = self.bound_to(&elections, now).is_some_and(|known| known.term < term);
        !granted || transfer || !bound || planted!("consensus.late_vote_counts")
    }

    /// May this replica ask for votes, or count one that it was given?
    pub fn may_campaign(&self) -> Result<(), Withheld> {
        let now = self.env.boottime();
        let elections = self.elections.lock();
        if self.is_young(&elections, now) {
            return Err(Withheld::Young);
        }
        match self.bound_to(&elections, now) {
            Some(known) if !planted!("consensus.candidate_while_bound") => Err(Withheld::Supported(known)),
            _ => Ok(()),
        }
    }

    /// An append of a leader has arrived; called before openraft sees it, so that whoever acknowledges it is bound already.
    pub fn note_leader(&self, term: u64, replica: ReplicaId, node: NodeId, incarnation: u64) {
        let mut elections = self.elections.lock();
        let newer = match &elections.known {
            Some(known) => term > known.term || (term == known.term && known.incarnation != incarnation),
            None => true,
        };
        if newer {
            elections.known = Some(Known { term, replica, node, incarnation, released: false });
        }
    }

    /// The leader's own word that its leadership of `term` is over.
    pub fn note_released(&self, term: u64, replica: ReplicaId) {
        let mut elections = self.elections.lock();
        if let Some(known) = &mut elections.known
            && known.term == term
            && known.replica == replica
            && !known.released
        {
            known.released = true;
            probe!("consensus.released");
            drop(elections);
            self.stir(|pace| pace.leader_lost());
        }
    }

    /// Never again a lease in this term or an earlier one.
    pub fn bar_lease(&self, term: u64) {
        let mut elections = self.elections.lock();
        if term > elections.barred && !planted!("consensus.lease_after_hand_over") {
            elections.barred = term;
            elections.barred_at = self.env.boottime();
            drop(elections);
            self.stir(|_| ());
        }
    }

    /// It does not read by the lease of its present term any more.
    pub fn has_given_up(&self) -> bool {
        let term = self.leadership.borrow().term;
        self.elections.lock().barred >= term
    }

    /// The term of a hand-over that came to nothing: this replica still leads, `patience` after it gave its lease up. openraft
    /// takes no writes in it any more.
    pub fn stuck_hand_over(&self, patience: Duration) -> Option<u64> {
        let leadership = self.leadership.borrow().clone();
        let elections = self.elections.lock();
        let given_up = leadership.is_leader && elections.barred >= leadership.term && !self.is_stopped();
        (given_up && self.env.boottime() >= elections.barred_at + patience).then_some(leadership.term)
    }

    /// For a doubter: true if this replica does not lead in `term` and will not read by its lease any more.
    pub fn release(&self, term: u64) -> bool {
        let leadership = self.leadership.borrow().clone();
        let given_up = self.elections.lock().barred >= term;
        let leads = leadership.is_leader && leadership.term == term && !self.is_stopped() && !given_up;
        if !leads && leadership.term >= term {
            self.bar_lease(term);
            return true;
        }
        false
    }

    /// PROTOCOL 21: what is heard of the clocks of the leaders so far.
    pub fn leaders_clock(&self) -> Timestamp {
        let elections = self.elections.lock();
        let known = elections.known;
        let own =
            if self.leadership.borrow().is_leader { self.env.clock().physical() } else { Timestamp::ZERO };
        known.map_or(own, |known| own.max(self.node.granted.lock().clock(known.node)))
    }

    /// A voter's report of [`Self::leaders_clock`] with its vote in `term`.
    pub fn note_clock(&self, term: u64, clock: Timestamp) {
        let mut elections = self.elections.lock();
        if term > elections.clocks.0 {
            elections.clocks = (term, clock);
        } else if term == elections.clocks.0 {
            elections.clocks.1 = elections.clocks.1.max(clock);
        }
    }
}

/// The steps of the argument in `docs/consensus.md` that no scenario reaches at will. A replica that leads alone is asked by
/// node 3, and told by node 2 that this one leads in a later term.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::vote;
    use crate::support::Ping;
    use crate::testing::{Noting, single};
    use quorate_env::sim::{SimConfig, SimWorld};
    use quorate_proto::ShardId;
    use std::sync::Arc;

    const ASKING: NodeId = NodeId(3);
    const LEADING: NodeId = NodeId(2);

    fn run(scenario: impl FnOnce(&Shared, u64) + Send + 'static) {
        let run = SimWorld::run(SimConfig::new(1), |world| async move {
            let env = world.start(NodeId(1), "");
            let (_consensus, group) = single(env, ShardId(3), Arc::new(Noting::default())).await;
            let term = group.leadership().borrow().term;
            scenario(&group.shared, term);
        });
        run.unwrap();
    }

    /// An append of the other leader arrives.
    fn hear_of_leader(shared: &Shared, term: u64) {
        let ping = Ping {
            incarnation: 7,
            sent: 0,
            physical: Timestamp::ZERO,
            clock: Timestamp::ZERO,
            space: Default::default(),
            drains: false,
        };
        shared.node.granted.lock().heard(LEADING, &ping, shared.env.boottime());
        shared.note_leader(term, ReplicaId(2), LEADING, 7);
    }

    #[test]
    fn a_vote_is_withheld_while_the_leader_is_supported() {
        run(|shared, term| {
            shared.bar_lease(term);
            hear_of_leader(shared, term + 1);
            for pre in [true, false] {
                let withheld = shared.begin_vote(pre, false, term + 2, ASKING);
                assert!(matches!(withheld, Err(Withheld::Supported(known)) if known.node == LEADING));
            }
            assert!(matches!(shared.may_campaign(), Err(Withheld::Supported(_))));
            shared.note_released(term + 1, ReplicaId(2));
            assert_eq!(shared.begin_vote(true, false, term + 2, ASKING), Ok(()));
            assert_eq!(shared.may_campaign(), Ok(()));
        });
    }

    /// Nothing else would tell it that it may have to campaign itself, if nothing comes of the vote.
    #[test]
    fn a_replica_that_learns_of_its_leaders_end_by_a_vote_is_looked_at() {
        run(|shared, term| {
            shared.bar_lease(term);
            hear_of_leader(shared, term + 1);
            let now = shared.env.boottime();
            let due = || shared.node.agenda.lock().due_by(now);
            shared.look_again(now + Duration::from_secs(5), shared.stirs());
            assert_eq!((shared.begin_vote(true, false, term + 2, ASKING).is_ok(), due()), (false, 0));
            assert_eq!((shared.begin_vote(true, true, term + 2, ASKING), due()), (Ok(()), 1));
        });
    }

    #[test]
    fn a_vote_that_was_decided_too_late_is_kept_back() {
        run(|shared, term| {
            shared.bar_lease(term);
            let given = vote(term + 2, ReplicaId(3), false);
            let decide = |leader_back: bool| {
                shared.begin_vote(false, false, term + 2, ASKING).expect("nobody is supported");
                if leader_back {
                    hear_of_leader(shared, term + 1);
                }
                shared.vote_decided(true, false, &given)
            };
            assert!(decide(false));
            assert!(!decide(true), "it may have acknowledged the leader's append meanwhile");
        });
    }

    #[test]
    fn a_leader_that_is_asked_itself_keeps_its_lease_or_votes() {
        run(|shared, term| {
            assert!(shared.lease().is_some());
            assert_eq!(shared.begin_vote(false, false, term + 1, ASKING), Err(Withheld::Leading));
            // A hand-over may ask; as long as the answer is not known, nothing is read by the lease.
            shared.begin_vote(false, true, term + 1, ASKING).expect("a hand-over");
            assert_eq!(shared.lease(), None);
            let own = vote(term, shared.replica(), true);
            assert!(shared.vote_decided(false, true, &own));
            assert!(shared.lease().is_some());
            shared.begin_vote(false, true, term + 1, ASKING).expect("a hand-over");
            assert!(shared.vote_decided(true, true, &vote(term + 1, ReplicaId(3), false)));
            assert_eq!(shared.lease(), None, "never again in this term");
        });
    }
}

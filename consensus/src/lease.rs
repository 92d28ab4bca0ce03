//! Until when a leader may answer alone: pure arithmetic over promises (PROTOCOL 2, 3).

use crate::support::{Epoch, Promise};
use quorate_env::planted;
use quorate_proto::{LogPosition, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The last acknowledgement of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub term: u64,
    /// Under which epoch the member's node supported this one when the acknowledged message arrived there.
    pub epoch: Option<Epoch>,
    /// The commit position that the acknowledged message carried.
    pub commit: LogPosition,
    /// Up to where the message says that the member's log agrees: what it carried, or else what it followed on.
    pub matched: LogPosition,
}

impl Ack {
    /// What is known of the member now; `None` if this one tells nothing new. What it was told adds up only under one
    /// epoch: an earlier life of it may have known of a commit that the present one has not heard of, and a message that
    /// was long under way tells it less than it knew.
    pub fn after(self, known: Option<&Ack>) -> Option<Ack> {
        let Some(known) = known else { return Some(self) };
        let older_epoch =
            matches!((known.epoch, self.epoch), (Some(known), Some(new)) if new.is_older_than(&known));
        if known.term > self.term || (known.term == self.term && older_epoch) {
            return None;
        }
        let same_life = known.epoch == self.epoch || planted!("consensus.told_before_restart");
        if known.term != self.term || !same_life {
            return Some(self);
        }
        let (commit, matched) = (known.commit.max(self.commit), known.matched.max(self.matched));
        Some(Ack { commit, matched, ..self })
    }
}

pub(crate) struct Standing<'a> {
    pub me: u64,
    pub term: u64,
    /// The voters of each active configuration.
    pub configs: &'a [BTreeSet<u64>],
    pub acks: &'a BTreeMap<u64, Ack>,
    /// The promise of the node that carries the member.
    pub promise: &'a dyn Fn(u64) -> Option<Promise>,
}

impl Standing<'_> {
    /// The promise that a voter's acknowledgement in this term lets the leader lean on.
    fn counts(&self, voter: u64) -> Option<Promise> {
        if planted!("consensus.support_without_append") {
            return (self.promise)(voter);
        }
        let ack = self.acks.get(&voter).filter(|ack| ack.term == self.term)?;
        (self.promise)(voter).filter(|promise| ack.epoch == Some(promise.epoch))
    }

    /// Whether the voter would count as soon as its node answers.
    pub fn is_fortified(&self, voter: u64) -> bool {
        voter == self.me || self.counts(voter).is_some()
    }

    /// Whether the voter's node has answered lately.
    pub fn reaches(&self, member: u64, now: Duration) -> bool {
        (self.promise)(member).is_some_and(|promise| now < promise.until)
    }

    /// The end of the lease: until then, a majority of every active configuration refuses to elect another leader. `None`
    /// if there is no such majority now. `alone` is the end for a voter that needs nobody but itself.
    pub fn lease(&self, now: Duration, physical: Timestamp, alone: Duration) -> Option<Duration> {
        let mut end = alone;
        for config in self.configs {
            let mut until: Vec<Duration> = config
                .iter()
                .filter_map(|voter| {
                    if *voter == self.me {
                        return Some(alone);
                    }
                    self.counts(*voter).filter(|p| p.holds(now, physical)).map(|p| p.until)
                })
                .collect();
            let majority = config.len() / 2 + 1;
            if config.is_empty() || until.len() < majority {
                return None;
            }
            until.sort_unstable_by(|a, b| b.cmp(a));
            end = end.min(until[majority - 1]);
        }
        (!self.configs.is_empty() && now < end).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch { incarnation: 1, number }
    }

    fn ack(term: u64, number: u64) -> Ack {
        Ack {
            term,
            epoch: Some(epoch(number)),
            commit: LogPosition::default(),
            matched: LogPosition::default(),
        }
    }

    fn promise(number: u64, until: u64) -> Promise {
        Promise {
            epoch: epoch(number),
            until: Duration::from_millis(until),
            until_physical: Timestamp::from_micros(until * 1000),
        }
    }

    fn lease(configs: &[&[u64]], acks: &[(u64, Ack)], promises: &[(u64, Promise)], now: u64) -> Option<u64> {
        let configs: Vec<BTreeSet<u64>> = configs.iter().map(|c| c.iter().copied().collect()).collect();
        let acks = acks.iter().copied().collect();
        let promises: BTreeMap<u64, Promise> = promises.iter().copied().collect();
        let standing = Standing {
            me: 1,
            term: 5,
            configs: &configs,
            acks: &acks,
            promise: &|voter| promises.get(&voter).copied(),
        };
        standing
            .lease(
                Duration::from_millis(now),
                Timestamp::from_micros(now * 1000),
                Duration::from_millis(now + 800),
            )
            .map(|end| end.as_millis() as u64)
    }

    #[test]
    fn a_majority_carries_it_and_the_latest_count() {
        let promises = [(2, promise(1, 500)), (3, promise(1, 700))];
        let acks = [(2, ack(5, 1)), (3, ack(5, 1))];
        assert_eq!(lease(&[&[1, 2, 3]], &acks, &promises, 100), Some(700));
        assert_eq!(lease(&[&[1, 2, 3]], &acks[..1], &promises, 100), Some(500));
        assert_eq!(lease(&[&[1, 2, 3]], &acks, &promises, 600), Some(700));
        assert_eq!(lease(&[&[1, 2, 3]], &acks, &promises, 700), None);
        assert_eq!(lease(&[&[1, 2, 3, 4, 5]], &acks, &promises, 100), Some(500));
        assert_eq!(lease(&[&[1]], &[], &[], 100), Some(900));
    }

    #[test]
    fn only_acknowledgements_of_this_term_under_this_epoch_count() {
        let promises = [(2, promise(2, 500)), (3, promise(1, 500))];
        assert_eq!(lease(&[&[1, 2, 3]], &[(2, ack(5, 1)), (3, ack(4, 1))], &promises, 100), None);
        assert_eq!(lease(&[&[1, 2, 3]], &[(2, ack(5, 2))], &promises, 100), Some(500));
    }

    #[test]
    fn what_a_member_was_told_before_it_restarted_counts_for_nothing() {
        let at = |index| LogPosition { term: 5, index };
        let told = |incarnation, index| Ack {
            term: 5,
            epoch: Some(Epoch { incarnation, number: 1 }),
            commit: at(index),
            matched: at(index),
        };
        let known = told(1, 10);
        assert_eq!(told(1, 8).after(Some(&known)), Some(known), "answers out of order");
        // Sent before the restart, taken after it.
        assert_eq!(told(2, 8).after(Some(&known)).map(|ack| ack.commit), Some(at(8)));
        assert_eq!(ack(4, 1).after(Some(&known)), None);
        assert_eq!(ack(6, 1).after(Some(&known)), Some(ack(6, 1)));
    }

    #[test]
    fn both_configurations_of_a_change_are_needed() {
        let promises = [(2, promise(1, 500)), (4, promise(1, 400))];
        let acks = [(2, ack(5, 1)), (4, ack(5, 1))];
        assert_eq!(lease(&[&[1, 2, 3], &[1, 4, 6]], &acks, &promises, 100), Some(400));
        assert_eq!(
            lease(&[&[1, 2, 3], &[3, 4, 6]], &acks, &promises, 100),
            None,
            "the leader has no vote there"
        );
    }
}

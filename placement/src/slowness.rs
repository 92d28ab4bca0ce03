//! Which nodes are slow, by what all of them tell of their disks and networks.
//!
//! A node that answers, and takes long for it, fails nobody's test of liveness, and holds up whatever it leads. So nodes are compared
//! with each other, as TiKV compares the slow scores of its stores: one is slow if it takes several times longer than the others do,
//! and longer than a limit, for a while; and no longer so when that has been over for a longer while. They are always fewer than half:
//! where most are slow, they are so for a common reason, and nothing is gained by turning from one to another.

use quorate_env::tempo::lower_middle;
use quorate_proto::{NodeId, Tempo};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// A slow node takes so many times as long as the others,
const TIMES: u64 = 5;
/// and for so long.
const CONFIRMED: Duration = Duration::from_secs(10);
/// It is slow until it has taken less than half of what made it so, for so long.
const RECOVERED: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Judge {
    verdicts: BTreeMap<NodeId, Verdict>,
}

#[derive(Default)]
struct Verdict {
    /// Why it is slow.
    slow: Option<String>,
    /// Since when what it tells speaks for the other verdict.
    otherwise: Option<Duration>,
}

/// Something of a node that takes time.
struct Measure {
    of: fn(&Tempo) -> u64,
    told: fn(u64, u64) -> String,
}

const MEASURES: [Measure; 2] = [
    Measure {
        of: |tempo| tempo.sync_micros,
        told: |own, others| {
            format!("its log is durable after {}, those of others after {}", ms(own), ms(others))
        },
    },
    Measure {
        of: |tempo| tempo.delay_micros,
        told: |own, others| {
            format!("messages to it are late by {}, those to others by {}", ms(own), ms(others))
        },
    },
];

fn ms(micros: u64) -> String {
    format!("{} ms", micros as f64 / 1000.0)
}

impl Judge {
    /// Who is slow now, and why, by what nodes that are heard of have told; nobody is who takes less than `limit`.
    pub fn judge(
        &mut self,
        told: &BTreeMap<NodeId, Tempo>,
        limit: Duration,
        now: Duration,
    ) -> BTreeMap<NodeId, String> {
        self.verdicts.retain(|node, _| told.contains_key(node));
        // The slowest first: there is not place for all.
        let mut nodes: Vec<(&NodeId, &Tempo)> = told.iter().collect();
        nodes.sort_by_key(|(_, tempo)| Reverse(MEASURES.iter().map(|measure| (measure.of)(tempo)).max()));
        for (node, _) in nodes {
            let fewer_than_half = (self.slow().count() + 1) * 2 < told.len();
            let verdict = self.verdicts.entry(*node).or_default();
            let is_slow = verdict.slow.is_some();
            let seen = reason(told, *node, limit, if is_slow { 2 } else { 1 });
            if seen.is_some() == is_slow {
                verdict.otherwise = None;
                continue;
            }
            let since = *verdict.otherwise.get_or_insert(now);
            let needed = if is_slow { RECOVERED } else { CONFIRMED };
            if now.saturating_sub(since) >= needed && (is_slow || fewer_than_half) {
                *verdict = Verdict { slow: seen, otherwise: None };
            }
        }
        self.slow().map(|(node, why)| (node, why.to_owned())).collect()
    }

    fn slow(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.verdicts.iter().filter_map(|(node, verdict)| Some((*node, verdict.slow.as_deref()?)))
    }
}

/// Why a node is slow, if its time is at least this part of what makes one so.
fn reason(told: &BTreeMap<NodeId, Tempo>, node: NodeId, limit: Duration, part: u64) -> Option<String> {
    let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    MEASURES.iter().find_map(|Measure { of, told: words }| {
        let own = of(told.get(&node)?);
        let others = told.iter().filter(|(id, _)| **id != node).map(|(_, tempo)| of(tempo)).collect();
        let middle = lower_middle(others)?;
        let bound = limit.max(middle.saturating_mul(TIMES)) / part;
        (own >= bound).then(|| words(own, middle))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    /// Each second from `from` to `to`, nodes 1, 2, … tell how many milliseconds their disks take; who is slow at the end.
    fn slow(judge: &mut Judge, times: std::ops::Range<u64>, millis: &[u64]) -> Vec<u64> {
        let tempo = |millis: &u64| Tempo { sync_micros: millis * 1000, delay_micros: 0 };
        let told = millis.iter().enumerate().map(|(at, took)| (NodeId(at as u64 + 1), tempo(took))).collect();
        let mut slow = Vec::new();
        for second in times {
            slow = judge.judge(&told, LIMIT, Duration::from_secs(second)).keys().map(|node| node.0).collect();
        }
        slow
    }

    #[test]
    fn who_takes_long_for_a_while_is_slow_until_it_has_been_fast_for_longer() {
        let mut judge = Judge::default();
        assert!(slow(&mut judge, 0..9, &[3, 200, 5]).is_empty());
        assert!(slow(&mut judge, 9..10, &[3, 20, 5]).is_empty(), "it was over");
        assert!(slow(&mut judge, 10..20, &[3, 200, 5]).is_empty());
        assert_eq!(slow(&mut judge, 20..21, &[3, 200, 5]), [2]);
        assert_eq!(slow(&mut judge, 21..100, &[3, 60, 5]), [2], "that is no recovery");
        assert_eq!(slow(&mut judge, 100..130, &[3, 20, 5]), [2]);
        assert!(slow(&mut judge, 130..131, &[3, 20, 5]).is_empty());
    }

    #[test]
    fn what_all_suffer_from_or_few_suffer_from_a_little_makes_nobody_slow() {
        for all in [[200, 200, 200], [150, 400, 150], [10, 90, 10], [0, 0, 0]] {
            assert!(slow(&mut Judge::default(), 0..60, &all).is_empty(), "{all:?}");
        }
        assert!(slow(&mut Judge::default(), 0..60, &[3, 900]).is_empty(), "of two none is outvoted");
        assert_eq!(slow(&mut Judge::default(), 0..60, &[900, 3, 900]), [1], "never half of them");
        assert_eq!(slow(&mut Judge::default(), 0..60, &[0, 900, 0]), [2], "the others write hardly anything");
    }

    #[test]
    fn messages_that_are_late_count_too() {
        let told = |late| (NodeId(late), Tempo { sync_micros: 3000, delay_micros: late * 100_000 });
        let told = [told(0), told(1), told(7)].into();
        let mut judge = Judge::default();
        judge.judge(&told, LIMIT, Duration::ZERO);
        let slow = judge.judge(&told, LIMIT, CONFIRMED);
        assert_eq!(
            slow,
            [(NodeId(7), "messages to it are late by 700 ms, those to others by 0 ms".into())].into()
        );
    }
}

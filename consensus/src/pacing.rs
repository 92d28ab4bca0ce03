//! When a replica heartbeats, goes quiet, campaigns or asks whether its leader still stands. Pure: one decision a step.
//!
//! openraft's own ticks are off. A group costs nothing while it is quiet: its leader's lease rests on the promises between
//! nodes, and its followers notice the loss of the leader's node by those promises as well.

use quorate_env::planted;
use std::time::Duration;

/// Before a first campaign, so that the other voters' promises have run out, too.
const SETTLE: Duration = Duration::from_millis(30);
/// Between the first campaigns of the voters of one group.
const STAGGER: Duration = Duration::from_millis(120);
/// Before a campaign that did not win is repeated; doubles with each, because a campaign that is repeated before its votes
/// are in (a slow disk, a busy machine) only undoes itself.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_DOUBLES: u32 = 4;
/// For a leader chosen by hand-over to appear, before others try.
const HAND_OVER: Duration = Duration::from_millis(1000);
const DOUBT_EVERY: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    Heartbeat,
    Campaign,
    /// Ask the node that is supported as leader whether it still leads.
    Doubt,
}

/// What a step looks at.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub now: Duration,
    pub leading: bool,
    /// Leading, and allowed to evaluate.
    pub ready: bool,
    pub last_activity: Duration,
    /// Leading, and every member whose node answers has acknowledged under the present promises and knows the commit.
    pub settled: bool,
    /// openraft follows a leader.
    pub following: bool,
    /// A leader is supported, so this replica's vote is not free.
    pub bound: bool,
    pub voter: bool,
    /// Its node is about to stop, and leads nothing new.
    pub leaving: bool,
    /// No votes before this time.
    pub young_until: Duration,
    pub fenced: bool,
    /// Place among the voters in the order in which they campaign.
    pub rank: u32,
    /// Drawn from the node's randomness, below [`STAGGER`] / 2.
    pub jitter: Duration,
    pub heartbeat: Duration,
    pub quiet_after: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    quiet: bool,
    woken: Duration,
    last_heartbeat: Option<Duration>,
    campaign_at: Option<Duration>,
    campaigns: u32,
    last_doubt: Duration,
    /// Nobody else may campaign before, after a hand-over.
    hold_until: Duration,
}

impl Pace {
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Something happened that a quiet leader must tell its members.
    pub fn wake(&mut self, now: Duration) {
        self.woken = now;
        self.quiet = false;
        self.last_heartbeat = None;
    }

    pub fn leader_lost(&mut self) {
        self.campaign_at = None;
        self.campaigns = 0;
    }

    /// The leader gives way to another voter: leave that one some time.
    pub fn handed_over(&mut self, now: Duration) {
        self.leader_lost();
        self.hold_until = now + HAND_OVER;
    }

    /// When it is to campaign, if it is.
    pub fn campaign_at(&self) -> Option<Duration> {
        self.campaign_at
    }

    /// There are enough campaigns under way on this node: it waits for its turn, by the time at which it wanted to.
    pub fn put_off(&mut self, wanted: Duration) {
        self.campaigns = self.campaigns.saturating_sub(1);
        self.campaign_at = Some(wanted);
    }

    /// Campaign at the next step, whatever the rank.
    pub fn campaign_now(&mut self, now: Duration) {
        self.campaign_at = Some(now);
    }

    /// Whether it is time to ask the leader again; takes down that it is asked.
    pub fn may_doubt(&mut self, now: Duration) -> bool {
        let may = now >= self.last_doubt + DOUBT_EVERY;
        if may {
            self.last_doubt = now;
        }
        may
    }

    pub fn step(&mut self, view: &View) -> Act {
        if view.leading { self.lead(view) } else { self.follow(view) }
    }

    fn lead(&mut self, view: &View) -> Act {
        self.campaign_at = None;
        self.campaigns = 0;
        let calm = view.ready
            && view.settled
            && view.quiet_after.is_some_and(|after| view.now >= view.last_activity.max(self.woken) + after);
        if calm {
            self.quiet = true;
            return Act::Nothing;
        }
        if self.quiet {
            self.quiet = false;
            self.last_heartbeat = None;
        }
        if self.last_heartbeat.is_some_and(|last| view.now < last + view.heartbeat) {
            return Act::Nothing;
        }
        self.last_heartbeat = Some(view.now);
        Act::Heartbeat
    }

    fn follow(&mut self, view: &View) -> Act {
        self.quiet = view.following && view.bound;
        self.last_heartbeat = None;
        if view.bound {
            self.leader_lost();
            let doubts = !view.following && self.may_doubt(view.now);
            return if doubts { Act::Doubt } else { Act::Nothing };
        }
        let leaving = view.leaving && !planted!("consensus.leaving_campaigns");
        if !view.voter || leaving || (view.fenced && !planted!("consensus.fenced_campaigns")) {
            return Act::Nothing;
        }
        let at = *self.campaign_at.get_or_insert_with(|| {
            view.now.max(view.young_until).max(self.hold_until) + SETTLE + STAGGER * view.rank + view.jitter
        });
        if view.now < at.max(view.young_until) {
            return Act::Nothing;
        }
        let doubled = RETRY * 2u32.pow(self.campaigns.min(RETRY_DOUBLES));
        self.campaigns += 1;
        let wait = doubled + view.jitter * 4 * self.campaigns.min(RETRY_DOUBLES) + STAGGER * view.rank;
        self.campaign_at = Some(view.now + wait);
        Act::Campaign
    }
}

/// The order in which the voters of a group campaign: spread over the nodes by the shard's id.
pub(crate) fn rank(shard: u64, me: u64, voters: impl Iterator<Item = u64>) -> u32 {
    let weight = |replica: u64| {
        let mut x = shard.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ replica.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        x = (x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (x ^ (x >> 32), replica)
    };
    let mine = weight(me);
    voters.filter(|voter| weight(*voter) < mine).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn view(now: u64) -> View {
        View {
            now: ms(now),
            leading: false,
            ready: false,
            last_activity: ms(0),
            settled: true,
            following: false,
            bound: false,
            voter: true,
            leaving: false,
            young_until: ms(0),
            fenced: false,
            rank: 0,
            jitter: ms(0),
            heartbeat: ms(400),
            quiet_after: Some(ms(2000)),
        }
    }

    #[test]
    fn a_leader_goes_quiet_and_wakes() {
        let mut pace = Pace::default();
        let lead = |now| View { leading: true, ready: true, last_activity: ms(100), ..view(now) };
        assert_eq!(pace.step(&lead(200)), Act::Heartbeat);
        assert_eq!(pace.step(&lead(300)), Act::Nothing);
        assert_eq!(pace.step(&lead(600)), Act::Heartbeat);
        assert_eq!(pace.step(&View { settled: false, ..lead(2500) }), Act::Heartbeat);
        assert_eq!(pace.step(&lead(2600)), Act::Nothing);
        assert!(pace.is_quiet());
        assert_eq!(pace.step(&View { settled: false, ..lead(2700) }), Act::Heartbeat, "woken at once");
        assert_eq!(pace.step(&lead(2800)), Act::Nothing);
        pace.wake(ms(2850));
        assert_eq!(pace.step(&lead(2900)), Act::Heartbeat);
        assert!(!pace.is_quiet());
    }

    #[test]
    fn a_voter_whose_leader_is_gone_campaigns_in_its_turn() {
        let mut pace = Pace::default();
        let bound = View { following: true, bound: true, ..view(100) };
        assert_eq!(pace.step(&bound), Act::Nothing);
        assert!(pace.is_quiet());
        let lost = |now| View { following: true, rank: 1, ..view(now) };
        assert_eq!(pace.step(&lost(1000)), Act::Nothing);
        assert_eq!(pace.step(&lost(1149)), Act::Nothing);
        assert_eq!(pace.step(&lost(1150)), Act::Campaign);
        assert_eq!(pace.step(&lost(1500)), Act::Nothing);
        assert_eq!(pace.step(&lost(1520)), Act::Campaign, "250 ms later, and its turn");
        assert_eq!(pace.step(&lost(2100)), Act::Nothing);
        assert_eq!(pace.step(&lost(2140)), Act::Campaign, "500 ms later, and its turn");
    }

    #[test]
    fn young_fenced_leaving_and_bound_replicas_do_not_campaign() {
        let mut pace = Pace::default();
        let young = |now| View { young_until: ms(1200), ..view(now) };
        assert_eq!(pace.step(&young(100)), Act::Nothing);
        pace.campaign_now(ms(100));
        assert_eq!(pace.step(&young(1199)), Act::Nothing);
        assert_eq!(pace.step(&View { fenced: true, ..young(1300) }), Act::Nothing);
        assert_eq!(pace.step(&View { leaving: true, ..young(1300) }), Act::Nothing);
        assert_eq!(pace.step(&View { bound: true, ..young(1300) }), Act::Doubt);
        assert_eq!(pace.step(&View { bound: true, ..young(1400) }), Act::Nothing);
    }

    #[test]
    fn others_leave_a_hand_over_time() {
        let mut pace = Pace::default();
        pace.handed_over(ms(500));
        assert_eq!(pace.step(&View { following: true, ..view(600) }), Act::Nothing);
        assert_eq!(pace.step(&view(1529)), Act::Nothing);
        assert_eq!(pace.step(&view(1530)), Act::Campaign);
    }

    #[test]
    fn ranks_are_a_permutation_that_varies() {
        let voters = [11, 12, 13];
        let mut first = [0; 3];
        for shard in 0..300 {
            let mut ranks: Vec<u32> = voters.iter().map(|v| rank(shard, *v, voters.into_iter())).collect();
            first[ranks.iter().position(|r| *r == 0).unwrap()] += 1;
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2]);
        }
        assert!(first.iter().all(|n| *n > 60), "{first:?}");
    }
}

//! The node's one periodic task: pings peers, and steps the [`crate::pacing`] of the groups whose turn it is
//! ([`crate::agenda`]). And the task of each group that publishes its leadership.

use crate::elections::Withheld;
use crate::node_state::NodeState;
use crate::pacing::{Act, View, rank};
use crate::raft::types::Types;
use crate::shared::{Members, RaftHandle, Shared};
use crate::support::{Ping, Pong};
use crate::wire::{OneWay, Route};
use crate::{ConsensusConfig, Leadership};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::metrics::RaftServerMetrics;
use openraft::{Config, ServerState, SnapshotPolicy, StepDownPolicy};
use quorate_env::{Handler, Refusal, planted, probe};
use quorate_proto::rpc::{Service, encode};
use quorate_proto::{LogPosition, NodeId, ReplicaId, ShardId, Timestamp};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const STEP: Duration = Duration::from_millis(50);
/// A step this late means that the node itself was held up (a pause, a starved machine): what it has not heard meanwhile
/// may be waiting in its own queues, so it hears first and campaigns later. Rarely enough to campaign at all.
const HELD_UP: Duration = Duration::from_millis(400);
const HEAR_FIRST: Duration = Duration::from_millis(300);
const HEAR_FIRST_EVERY: Duration = Duration::from_secs(3);
/// A hand-over that nobody has taken up for so long is given up to all voters.
const STUCK_HAND_OVER: Duration = Duration::from_millis(1200);
/// How often a group is looked at in which nothing happens. Whatever gives it something to do stirs it: this is for what was
/// overlooked.
const AT_REST: Duration = Duration::from_secs(3);
/// The same of a leader that has given its lease up.
const GIVEN_UP: Duration = Duration::from_millis(250);
/// The gauges look at all groups.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// openraft's view of time. Its own ticks are off; what remains are its lease, which refuses writes without a recent quorum
/// (PROTOCOL 3) and votes shortly after an append, and timeouts of messages.
pub(crate) fn raft_config(config: &ConsensusConfig, name: String) -> Config {
    let lease = (config.support / 4 * 3).as_millis() as u64;
    // The lower end bounds the wait for a vote, which includes an fsync or two.
    let timeout = lease - 1;
    Config {
        cluster_name: name,
        election_timeout_min: timeout,
        election_timeout_max: lease,
        heartbeat_interval: timeout / 6 * 5,
        max_payload_entries: 1024,
        // Room for statistics that nobody asks for.
        log_stage_capacity: Some(1),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.keep_entries,
        enable_tick: false,
        enable_elect: false,
        removed_leader_step_down: StepDownPolicy::After(150),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(planted!("consensus.leader_restored")),
        backoff: "50ms 100ms 200ms ..800ms".into(),
        ..Config::default()
    }
}

#[derive(minicbor::Encode, minicbor::Decode)]
enum Beat {
    #[n(0)]
    Ping(#[n(0)] Ping),
    #[n(1)]
    Pong(#[n(0)] Pong),
}

pub(crate) struct LivenessService(pub Arc<NodeState>);

#[async_trait]
impl Handler for LivenessService {
    async fn call(&self, _from: NodeId, _body: Bytes) -> Result<Bytes, Refusal> {
        Err(Refusal("liveness is one way".into()))
    }

    fn one_way(&self, from: NodeId, body: Bytes) {
        let node = &self.0;
        match quorate_proto::rpc::decode::<Beat>(&body) {
            Ok(Beat::Ping(ping)) => {
                let now = node.env.boottime();
                let (pong, fresh) = {
                    let mut granted = node.granted.lock();
                    let fresh = granted.epoch(from, ping.incarnation, now).is_none();
                    (granted.heard(from, &ping, now), fresh)
                };
                if fresh {
                    // A node that is new, back, or restarted: its former leaderships bind nobody any more.
                    node.stir_all();
                }
                node.env.transport().send(from, Service::Liveness, encode(&Beat::Pong(pong)));
            }
            Ok(Beat::Pong(pong)) => {
                let now = node.env.boottime();
                let fresh = {
                    let mut received = node.received.lock();
                    let away = !received.reaches(from, now);
                    received.answered(from, &pong) || (away && received.reaches(from, now))
                };
                if fresh {
                    // Its replicas have to acknowledge their leaders here anew, or to be told what they have missed.
                    node.stir_all();
                }
            }
            Err(error) => tracing::warn!(%from, %error, "undecodable liveness message"),
        }
    }
}

/// Lets a request to openraft's queue go if the queue is full, rather than wait with everybody else's step.
pub(crate) fn fire(request: impl Future) {
    let _ = tokio::task::coop::unconstrained(request).now_or_never();
}

/// Runs as long as the node.
pub(crate) async fn drive(node: Arc<NodeState>) {
    let (mut next_ping, mut next_fence, mut next_count) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut last, mut heard_first) = (node.env.boottime(), Duration::ZERO);
    let mut no_campaigns_before = Duration::ZERO;
    loop {
        let now = node.env.boottime();
        if now > last + HELD_UP && now > heard_first + HEAR_FIRST_EVERY {
            quorate_env::count!("quorate_consensus_held_up_total");
            tracing::info!(late = ?(now - last), "this node was held up");
            heard_first = now;
            no_campaigns_before = now + HEAR_FIRST;
        }
        let hears_first = now < no_campaigns_before;
        if now >= next_ping {
            ping(&node, now);
            next_ping = now + node.config.liveness_interval;
        }
        if now >= next_count {
            count(&node.groups());
            next_count = now + COUNT_EVERY;
        }
        if now >= next_fence {
            next_fence = now + node.config.housekeeping;
            if node.env.clock().is_fenced() {
                node.groups().iter().for_each(give_up);
            }
        }
        let ran_out = node.granted.lock().has_run_out(last, now);
        if ran_out {
            // Votes that were bound are free.
            node.stir_all();
        }
        last = now;
        let due = node.agenda.lock().take_due(now);
        for shared in due.into_iter().filter_map(|shard| node.group(shard)) {
            step(&shared, now, hears_first);
        }
        campaign_in_turn(&node, hears_first);
        next_step(&node, hears_first).await;
    }
}

/// Campaigns that wait need not wait for the step when others are decided.
async fn next_step(node: &NodeState, hears_first: bool) {
    let mut pause = std::pin::pin!(node.env.sleep(STEP));
    loop {
        tokio::select! {
            biased;
            () = &mut pause => return,
            () = node.room.notified() => campaign_in_turn(node, hears_first),
        }
    }
}

fn campaign_in_turn(node: &NodeState, hears_first: bool) {
    if hears_first {
        return;
    }
    let now = node.env.boottime();
    loop {
        let next = node.campaigns.lock().next(now);
        let Some(shard) = next else { return };
        if let Some(shared) = node.group(shard) {
            step(&shared, now, false);
        }
    }
}

/// What has time. Says whether there is more to do.
fn tidy(shared: &Arc<Shared>, now: Duration) -> bool {
    if (now.as_micros() as u64) < shared.tidy_after.load(Ordering::Relaxed) {
        return false;
    }
    let after = now + shared.node.config.housekeeping;
    shared.tidy_after.store(after.as_micros() as u64, Ordering::Relaxed);
    let trims = crate::trim::trim(shared);
    if let Some(term) = shared.stuck_hand_over(STUCK_HAND_OVER)
        && !planted!("consensus.stuck_hand_over_kept")
    {
        // Its messages were lost, and the members are bound to this node as long as it answers pings.
        probe!("consensus.stuck_hand_over_released");
        step_down(shared, term);
    }
    trims
}

fn count(groups: &[Arc<Shared>]) {
    let led = groups.iter().filter(|shared| shared.leadership.borrow().is_leader).count();
    let quiet = groups.iter().filter(|shared| shared.pace.lock().is_quiet()).count();
    metrics::gauge!("quorate_consensus_groups").set(groups.len() as f64);
    metrics::gauge!("quorate_consensus_groups_led").set(led as f64);
    metrics::gauge!("quorate_consensus_groups_quiet").set(quiet as f64);
}

fn ping(node: &NodeState, now: Duration) {
    let clock = node.env.clock();
    let ping = Ping {
        incarnation: node.env.incarnation(),
        sent: now.as_micros() as u64,
        physical: clock.physical(),
        clock: clock.now(),
        space: node.env.space().get(),
        drains: *node.drains.borrow(),
    };
    let body = encode(&Beat::Ping(ping));
    for peer in node.peers().iter() {
        node.env.transport().send(*peer, Service::Liveness, body.clone());
    }
}

fn view(shared: &Shared, now: Duration) -> View {
    let leadership = shared.leadership.borrow().clone();
    let members = shared.members();
    let bound = !leadership.is_leader && shared.supported_leader().is_some();
    let campaign = !leadership.is_leader && !bound;
    let env = &shared.env;
    View {
        now,
        leading: leadership.is_leader,
        ready: leadership.ready,
        last_activity: shared.last_activity(),
        settled: leadership.is_leader && is_settled(shared, &leadership, &members, now),
        following: leadership.leader.is_some(),
        bound,
        voter: members.is_voter(shared.replica()),
        leaving: shared.node.leaving.load(Ordering::Relaxed),
        young_until: if campaign && shared.may_campaign() == Err(Withheld::Young) {
            shared.node.young_until
        } else {
            Duration::ZERO
        },
        // Without space it could not even vote for itself.
        fenced: env.clock().is_fenced() || env.space().is_stuck(),
        rank: if campaign {
            let lost = leadership.leader.map(|(replica, _)| replica.0);
            let voters = members.voters().into_iter().filter(|v| Some(*v) != lost);
            // Who is fit to lead comes first.
            let last = if shared.node.is_fit_to_lead() { 0 } else { members.voters().len() as u32 };
            last + rank(shared.shard().0, shared.replica().0, voters)
        } else {
            0
        },
        jitter: if campaign { Duration::from_millis(env.random_range(0..40)) } else { Duration::ZERO },
        heartbeat: shared.node.config.heartbeat,
        quiet_after: (!shared.node.config.never_quiet).then_some(shared.node.config.quiet_after),
    }
}

/// Every member whose node answers has acknowledged in this term under its node's present promise, holds the whole log, and
/// knows that everything is committed. (That it knows the commit is not enough: a heartbeat follows on what a member has,
/// and is acknowledged by one that lacks the rest.)
fn is_settled(shared: &Shared, leadership: &Leadership, members: &Members, now: Duration) -> bool {
    let (appended, committed) = {
        let frontiers = shared.frontiers.lock();
        (frontiers.appended(), frontiers.committed())
    };
    if committed != appended {
        return false;
    }
    let elections = shared.elections.lock();
    let others = members.nodes.keys().filter(|id| **id != shared.replica().0);
    shared.standing(&elections, leadership.term, |standing| {
        let mut others = others;
        others.all(|id| {
            let up_to_date = elections.acks.get(id).is_some_and(|ack| {
                let matched = ack.matched == committed || planted!("consensus.quiet_too_early");
                ack.term == leadership.term && ack.commit == committed && matched
            });
            (up_to_date && standing.is_fortified(*id)) || !standing.reaches(*id, now)
        })
    })
}

/// Looks at a group, and says when to look again.
fn step(shared: &Arc<Shared>, now: Duration, hears_first: bool) {
    let stirs = shared.stirs();
    let view = view(shared, now);
    let (wanted, act, quiet, later) = {
        let mut pace = shared.pace.lock();
        let wanted = pace.campaign_at().unwrap_or(now);
        let act = pace.step(&view);
        (wanted, act, pace.is_quiet(), pace.campaign_at())
    };
    let again = match act {
        Act::Nothing if quiet && view.leading && shared.has_given_up() => now + GIVEN_UP,
        Act::Nothing if quiet => now + AT_REST,
        // Until its turn comes, only what stirs it can make it act.
        Act::Nothing if !view.leading => later.map_or(Duration::ZERO, |at| at.min(now + AT_REST)),
        Act::Nothing => Duration::ZERO,
        Act::Heartbeat => {
            with(shared, |raft| fire(raft.trigger().heartbeat()));
            Duration::ZERO
        }
        Act::Campaign => campaign(shared, now, wanted, hears_first),
        Act::Doubt => {
            doubt(shared);
            Duration::ZERO
        }
    };
    let tidies = tidy(shared, now);
    let soon = if tidies { now + shared.node.config.housekeeping } else { Duration::MAX };
    shared.look_again(again.min(soon), stirs);
}

fn with(shared: &Shared, act: impl FnOnce(&RaftHandle)) {
    if let Some(raft) = shared.raft() {
        act(raft);
    }
}

/// Campaigns, or waits for its turn. Returns when to look again.
fn campaign(shared: &Shared, now: Duration, wanted: Duration, hears_first: bool) -> Duration {
    let begins = {
        let mut campaigns = shared.node.campaigns.lock();
        // The others' leaders are told to it, and it is asked for them.
        let first = shared.shard() == ShardId::PLACEMENT;
        let begins = !hears_first && (first || campaigns.has_room(now));
        match begins {
            true => campaigns.begin(shared.shard(), now),
            false => campaigns.wait(shared.shard(), wanted),
        }
        begins
    };
    if !begins {
        probe!("consensus.campaign_waits_for_room");
        shared.pace.lock().put_off(wanted);
        return now + AT_REST;
    }
    tracing::debug!(shard = %shared.shard(), replica = %shared.replica(), "campaign");
    quorate_env::count!("quorate_consensus_campaigns_total");
    with(shared, |raft| fire(raft.trigger().elect(true)));
    Duration::ZERO
}

/// Asks the leader that is supported whether it still stands.
pub(crate) fn doubt(shared: &Shared) {
    if let Some(known) = shared.supported_leader() {
        let route = Route { shard: shared.shard(), from: shared.replica(), to: known.replica };
        shared.node.send(known.node, &OneWay::Doubt { route, term: known.term });
    }
}

/// PROTOCOL 21: a node whose clock strays leads nothing.
fn give_up(shared: &Arc<Shared>) {
    let leadership = shared.leadership.borrow().clone();
    if !leadership.is_leader || planted!("consensus.fenced_leader_stays") {
        return;
    }
    let Some(raft) = shared.raft() else { return };
    if let Some(heir) = shared.reachable_heir() {
        probe!("consensus.fenced_leader_gave_up");
        shared.bar_lease(leadership.term);
        fire(raft.trigger().transfer_leader(heir.0));
    }
}

/// Publishes the leadership of a group whenever openraft's state or the applied blank entry changes it.
pub(crate) async fn publish(shared: Arc<Shared>) {
    let Some(raft) = shared.raft_even_if_stopped().cloned() else { return };
    let mut server = raft.server_metrics();
    loop {
        let metrics = server.borrow_and_update().clone();
        update(&shared, &metrics);
        let gone = tokio::select! {
            biased;
            changed = server.changed() => changed.is_err(),
            () = shared.changed.notified() => shared.is_stopped(),
        };
        if gone {
            break;
        }
    }
    if !shared.is_stopped() {
        tracing::error!(shard = %shared.shard(), replica = %shared.replica(), "the replica has stopped");
        quorate_env::count!("quorate_consensus_replicas_failed_total");
        shared.mark_stopped();
    }
    let before = shared.leadership.borrow().clone();
    if before.is_leader && !planted!("consensus.stops_without_a_word") {
        // Its node lives on perhaps, and the members are bound to that.
        step_down(&shared, before.term);
    }
    set(&shared, Leadership { term: before.term, ..Leadership::default() });
}

pub(crate) fn update(shared: &Arc<Shared>, metrics: &RaftServerMetrics<Types>) {
    let members = Arc::new(Members::new(&metrics.membership_config));
    let (term, voted_for, committed) = crate::raft::types::vote_parts(&metrics.vote);
    let leader = metrics.current_leader.map(ReplicaId).filter(|leader| committed && *leader == voted_for);
    let is_leader = metrics.state == ServerState::Leader && leader == Some(shared.replica());
    let node_of = |replica: ReplicaId| {
        let known = shared.elections.lock().known.filter(|k| k.replica == replica).map(|k| k.node);
        members.nodes.get(&replica.0).copied().or(known)
    };
    let leader = leader.and_then(|replica| Some((replica, node_of(replica)?)));
    let others = std::mem::replace(&mut *shared.members.lock(), members);
    if others.nodes != shared.members().nodes {
        shared.node.members_changed();
        shared.stir(|_| ());
    }
    let before = shared.leadership.borrow().clone();
    let blank = shared.elections.lock().blank;
    let ready = is_leader && (blank.term == term || planted!("consensus.ready_before_blank_entry"));
    let continues = before.is_leader && before.term == term;
    let lease_start = match (is_leader, continues) {
        (false, _) => Duration::ZERO,
        (true, true) => before.lease_start,
        // Those who voted had no promise out any more, or the giver had given its lease up.
        (true, false) => shared.env.boottime(),
    };
    let predecessors_until = match (is_leader, continues) {
        (false, _) => Timestamp::ZERO,
        (true, true) => before.predecessors_until,
        (true, false) => predecessors_until(shared, term),
    };
    let ready_at = if ready { blank } else { LogPosition::default() };
    let next = Leadership { term, leader, is_leader, ready, ready_at, lease_start, predecessors_until };
    if before.is_leader && !(is_leader && before.term == term) {
        step_down(shared, before.term);
    }
    if next != before {
        set(shared, next);
    }
}

fn predecessors_until(shared: &Shared, term: u64) -> Timestamp {
    if planted!("consensus.predecessors_clocks_forgotten") {
        return Timestamp::ZERO;
    }
    let own = shared.leaders_clock();
    let told = {
        let clocks = shared.elections.lock().clocks;
        if clocks.0 == term { clocks.1 } else { Timestamp::ZERO }
    };
    match own.max(told) {
        Timestamp::ZERO => Timestamp::ZERO,
        heard => heard.plus(shared.node.config.support),
    }
}

/// Tells the members, so that they need not wait for this node's support to run out.
fn step_down(shared: &Shared, term: u64) {
    shared.bar_lease(term);
    let members = shared.members();
    for (id, node) in &members.nodes {
        if *id != shared.replica().0 {
            let route = Route { shard: shared.shard(), from: shared.replica(), to: ReplicaId(*id) };
            shared.node.send(*node, &OneWay::Released { route, term });
        }
    }
}

fn set(shared: &Arc<Shared>, next: Leadership) {
    if next.leader.is_some() {
        shared.node.campaign_ended(shared.shard());
    }
    if next.is_leader && !shared.leadership.borrow().is_leader {
        quorate_env::count!("quorate_consensus_elections_won_total");
    }
    tracing::debug!(shard = %shared.shard(), replica = %shared.replica(), ?next, "leadership");
    shared.machine.leadership(&next);
    shared.leadership.send_replace(next);
    shared.stir(|_| ());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Noting, single};
    use quorate_env::sim::{SimConfig, SimWorld};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_group_in_which_nothing_happens_is_hardly_looked_at_until_something_does() {
        let run = SimWorld::run(SimConfig::new(1), |world| async move {
            let env = world.start(NodeId(1), "");
            let (_consensus, group) = single(env.clone(), ShardId(3), Arc::new(Noting::default())).await;
            let term = group.leadership().borrow().term;
            let node = &group.shared.node;
            let due = |within| node.agenda.lock().due_by(env.boottime() + within);
            let mut looks = 0;
            env.sleep(10 * SECOND).await;
            for _ in 0..600 {
                env.sleep(STEP).await;
                looks += due(STEP);
            }
            assert!(group.is_quiet() && (1..=30).contains(&looks), "{looks} looks in half a minute");
            let write = group.propose(term, Bytes::from_static(b"x"));
            write.await.expect("it leads alone");
            assert_eq!(due(Duration::ZERO), 1, "at the next step");
        });
        run.expect("the scenario ends");
    }
}

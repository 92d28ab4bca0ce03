//! What only the leader keeps, in memory and for its term: who was heard of when, what nodes have reported, until when they
//! may use which catalog version. A new leader starts with nothing and grants everybody the benefit of the doubt.

use crate::{Placement, command::Command, planner::seen::Seen, run, settings};
use parking_lot::Mutex;
use quorate_env::{planted, watch, witness};
use quorate_proto::{
    NodeId, Replica, ReplicaId, ShardDescriptor, ShardId, Space, Tempo, Timestamp,
    placement::{
        Carries, Leaving, MapUpdate, NodeInfo, NodeState, NodeStatus, PlacementError, PlacementReply,
        ReplicaReport,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// For how long a node may use a catalog version after its heartbeat (PROTOCOL 20). A version change waits this long for a
/// node that has gone silent.
pub const SCHEMA_LEASE: Duration = Duration::from_secs(6);
/// So long after it has left, a node is counted among those whose clocks are compared: by then it has heard that it has gone,
/// and tells nobody its time any more (PROTOCOL 21).
const FAREWELL: Duration = Duration::from_secs(10);
/// The bit of `NodeInfo::roles` for nodes that serve SQL.
const SQL_ROLE: u8 = 4;
/// Changes of leaders are told for so long; who misses them learns from refusals.
const NEWS: Duration = Duration::from_secs(5);

/// One leadership.
pub struct Session {
    pub term: u64,
    /// When it began: `Env::boottime`, and the physical clock.
    pub began: Duration,
    began_at: Timestamp,
    memory: Mutex<Memory>,
    /// What the schedulers saw when they looked last.
    pub(crate) seen: Mutex<BTreeMap<ShardId, Seen>>,
    /// Nodes that are slow, and why.
    pub(crate) slow: Mutex<BTreeMap<NodeId, String>>,
    /// Wakes whoever waits for nodes to catch up with the catalog version.
    beats: watch::Sender<u64>,
}

#[derive(Default)]
struct Memory {
    nodes: BTreeMap<NodeId, Heard>,
    reports: BTreeMap<(ShardId, NodeId), ReplicaReport>,
    leaders: BTreeMap<ShardId, Led>,
    /// Members that were missing at the last look, and since when.
    absent: BTreeMap<(ShardId, NodeId), Duration>,
    /// The catalog version that is being raised to: leases are granted as if it were present already.
    raising: u64,
}

struct Heard {
    /// `Env::boottime` of the last heartbeat.
    at: Duration,
    stamp: Timestamp,
    clock_offset_micros: i64,
    space: Space,
    schema: u64,
    /// No longer than this does it use a version older than it reported, or the one after next.
    lease: Timestamp,
    /// All of its replicas were reported in this term.
    complete: bool,
    /// Replicas per node count from reports.
    incarnation: u64,
    /// Its transactions read the past as of this time.
    holds: Option<Timestamp>,
    /// Clients connected to it.
    sessions: u64,
    /// The driver's own replica there.
    carries: Carries,
    tempo: Tempo,
}

#[derive(Clone, Copy)]
struct Led {
    term: u64,
    node: NodeId,
    since: Duration,
}

/// The moving part of a heartbeat.
pub(crate) struct Beat {
    pub clock_offset_micros: i64,
    pub changed: Vec<ReplicaReport>,
    pub full: bool,
    pub schema_version: u64,
    pub holds: Option<Timestamp>,
    pub space: Space,
    pub sessions: u64,
    pub carries: Carries,
    pub tempo: Tempo,
}

/// Follows the group's leadership: while this replica leads, operations are carried out and requests answered.
pub(crate) async fn lead(placement: Arc<Placement>) {
    let env = placement.env.clone();
    let mut leadership = placement.group.leadership();
    let mut changes = placement.machine.changes();
    loop {
        let (term, ready) = {
            let now = leadership.borrow_and_update();
            (now.term, now.ready)
        };
        let present = placement.leading.lock().clone();
        if present.as_ref().map(|session| session.term) != ready.then_some(term) {
            *placement.leading.lock() = None;
            if ready {
                let session = Arc::new(Session {
                    term,
                    began: env.boottime(),
                    began_at: env.clock().physical(),
                    memory: Mutex::default(),
                    seen: Mutex::default(),
                    slow: Mutex::default(),
                    beats: watch::Sender::new(0),
                });
                tracing::info!(term, "leading the placement driver");
                witness::leads(placement.group.shard(), term, placement.group.replica());
                *placement.leading.lock() = Some(session.clone());
                env.spawn("placement.run", run::run(placement.clone(), session)).detach();
            }
        }
        let goes_on = tokio::select! {
            biased;
            _ = changes.wait_for(|seen| seen.closed) => false,
            changed = leadership.changed() => changed.is_ok(),
        };
        if !goes_on {
            *placement.leading.lock() = None;
            return;
        }
    }
}

impl Memory {
    /// The driver's replica on a node: `None` if it has not said, and replica 0 if it has none.
    fn carries(&self, node: NodeId) -> Option<ReplicaId> {
        match self.nodes.get(&node)?.carries {
            Carries::Unsaid => None,
            Carries::Nothing => Some(ReplicaId(0)),
            Carries::Replica(replica) => Some(replica),
        }
    }
}

impl Session {
    /// Takes a heartbeat in and answers it. Nothing is proposed unless it brings news.
    pub(crate) async fn heartbeat(
        &self,
        placement: &Placement,
        node: NodeInfo,
        beat: Beat,
        map_version: u64,
    ) -> Result<PlacementReply, PlacementError> {
        let env = &placement.env;
        let (id, now) = (node.id, env.boottime());
        let physical = env.clock().physical();
        let (known, dead) = {
            let state = placement.machine.state();
            let record = state.nodes.get(&id);
            let known = record.is_some_and(|record| record.info == node);
            (known, record.is_some_and(|record| record.state == NodeState::Dead))
        };
        if !known || dead {
            placement.propose(Command::UpsertNode(node.clone(), physical)).await?;
        }
        let news = self.take_reports(placement, &node, &beat, now, physical);
        if !news.is_empty() {
            placement.propose(Command::Learn(news)).await?;
        }
        let state = placement.machine.state();
        let present = state.counters.schema;
        let mut memory = self.memory.lock();
        // Too far behind: it must load the present version first.
        let current = beat.schema_version + 1 >= present.max(memory.raising);
        let mut want_full = true;
        let mut lease = Timestamp::ZERO;
        // Who has gone begins nothing any more: nobody would wait for it.
        let leaving = state.leaving(id);
        let current = current && leaving != Leaving::Gone;
        if let Some(heard) = memory.nodes.get_mut(&id) {
            want_full = !heard.complete;
            if (current || planted!("placement.schema_lease_for_all")) && uses_catalog(&node) {
                lease = physical.plus(SCHEMA_LEASE);
                heard.lease = heard.lease.max(lease);
            }
        }
        drop(memory);
        let mut map = state.map_after(map_version);
        map.leaders = self.leaders_for(&map);
        let there = state.nodes.values().filter(|record| record.leaving != Leaving::Gone);
        let nodes = there.map(|record| record.info.clone()).collect();
        let gone = state.gone_before(physical.minus(FAREWELL));
        let settings_version = state.counters.settings;
        let horizon = self.horizon(&state, now, physical);
        drop(state);
        self.beats.send_modify(|beats| *beats += 1);
        Ok(PlacementReply::Heartbeat {
            map,
            schema_version: present,
            schema_lease_until: lease,
            nodes,
            want_full,
            settings_version,
            horizon,
            leaving,
            gone,
            driver: placement.members(),
        })
    }

    /// Notes what a node has reported; returns the descriptors that are news to the map.
    fn take_reports(
        &self,
        placement: &Placement,
        node: &NodeInfo,
        beat: &Beat,
        now: Duration,
        stamp: Timestamp,
    ) -> Vec<ShardDescriptor> {
        let state = placement.machine.state();
        let mut memory = self.memory.lock();
        let memory = &mut *memory;
        let heard = memory.nodes.entry(node.id).or_insert(Heard {
            at: now,
            stamp,
            clock_offset_micros: 0,
            space: Space::default(),
            schema: 0,
            // What the leader before has granted.
            lease: self.began_at.plus(SCHEMA_LEASE),
            complete: false,
            incarnation: node.incarnation,
            holds: None,
            sessions: 0,
            carries: Carries::Unsaid,
            tempo: Tempo::default(),
        });
        if heard.incarnation != node.incarnation {
            // A new process knows nothing of an old lease, nor does it use what the old one used.
            heard.incarnation = node.incarnation;
            heard.schema = 0;
            heard.complete = false;
        }
        heard.at = now;
        heard.stamp = stamp;
        heard.clock_offset_micros = beat.clock_offset_micros;
        heard.space = beat.space;
        heard.holds = beat.holds;
        heard.sessions = beat.sessions;
        heard.carries = beat.carries;
        heard.tempo = beat.tempo;
        heard.schema = heard.schema.max(beat.schema_version);
        heard.complete |= beat.full;
        if beat.full {
            memory.reports.retain(|(_, holder), _| *holder != node.id);
        }
        let mut news = Vec::new();
        for report in &beat.changed {
            let descriptor = &report.descriptor;
            if report.leader && !state.is_ended(report.shard, report.replica) {
                let led = memory.leaders.get(&report.shard);
                if led.is_none_or(|led| led.term <= report.term && led.node != node.id) {
                    let led = Led { term: report.term, node: node.id, since: now };
                    memory.leaders.insert(report.shard, led);
                }
                let known = state.shards.get(&report.shard).map(|record| record.descriptor.epochs());
                if known.is_none_or(|epochs| epochs < descriptor.epochs()) {
                    news.push(descriptor.clone());
                }
            }
            memory.reports.insert((report.shard, node.id), report.clone());
        }
        if beat.full {
            // Shards that have become part of others, and whose copies are gone.
            let Memory { leaders, reports, .. } = memory;
            let leads =
                |shard, led: &Led| reports.get(&(shard, led.node)).is_some_and(|report| report.leader);
            leaders.retain(|shard, led| state.shards.contains_key(shard) || leads(*shard, led));
        }
        news
    }

    /// Who leads what.
    pub(crate) fn leaders(&self) -> BTreeMap<ShardId, NodeId> {
        self.memory.lock().leaders.iter().map(|(id, led)| (*id, led.node)).collect()
    }

    /// Who leads the shards that an update tells of, and those whose leader has changed lately.
    pub(crate) fn leaders_for(&self, update: &MapUpdate) -> Vec<(ShardId, NodeId)> {
        let told: BTreeSet<ShardId> = update.changed.iter().map(|shard| shard.id).collect();
        let memory = self.memory.lock();
        let latest = memory.nodes.values().map(|heard| heard.at).max().unwrap_or_default();
        let recent = |led: &Led| latest.saturating_sub(led.since) < NEWS;
        let news = |(id, led): &(&ShardId, &Led)| recent(led) || told.contains(id);
        memory.leaders.iter().filter(news).map(|(id, led)| (*id, led.node)).collect()
    }

    /// Who leads each shard, and for how long that has been known.
    pub(crate) fn led_for(&self, now: Duration) -> BTreeMap<ShardId, (NodeId, Duration)> {
        let memory = self.memory.lock();
        let led = |(id, led): (&ShardId, &Led)| (*id, (led.node, now.saturating_sub(led.since)));
        memory.leaders.iter().map(led).collect()
    }

    pub(crate) fn leader_of(&self, shard: ShardId) -> Option<NodeId> {
        self.memory.lock().leaders.get(&shard).map(|led| led.node)
    }

    /// A shard has said who leads it, outside of heartbeats.
    pub(crate) fn note_leader(&self, shard: ShardId, node: NodeId, now: Duration) {
        let mut memory = self.memory.lock();
        let term = memory.leaders.get(&shard).map_or(0, |led| led.term);
        if memory.leaders.get(&shard).is_none_or(|led| led.node != node) {
            memory.leaders.insert(shard, Led { term, node, since: now });
        }
    }

    /// All that nodes have told of, also damaged ones.
    pub(crate) fn replicas(&self) -> Vec<(NodeId, ReplicaReport)> {
        self.memory.lock().reports.iter().map(|((_, node), report)| (*node, report.clone())).collect()
    }

    /// Whether the node says that this copy is out of service.
    pub(crate) fn is_damaged(&self, shard: ShardId, copy: &Replica) -> bool {
        let memory = self.memory.lock();
        let report = memory.reports.get(&(shard, copy.node));
        report.is_some_and(|report| report.replica == copy.id && !report.is_sound())
    }

    /// Whether the node says that it serves this copy, as far as it has told of all it holds.
    pub(crate) fn serves(&self, shard: ShardId, copy: &Replica) -> bool {
        let memory = self.memory.lock();
        let complete = memory.nodes.get(&copy.node).is_some_and(|heard| heard.complete);
        let report = memory.reports.get(&(shard, copy.node));
        !complete || report.is_some_and(|report| report.replica == copy.id && report.is_sound())
    }

    /// A member that its node does not serve.
    pub(crate) fn unserved<'a>(&self, shard: &'a ShardDescriptor) -> Option<&'a Replica> {
        shard.replicas.iter().find(|copy| !self.serves(shard.id, copy))
    }

    /// Which of these members have not been reported, or as damaged, for so long by nodes that have told of all they hold.
    pub(crate) fn absent_for(
        &self,
        grace: Duration,
        now: Duration,
        members: Vec<(ShardDescriptor, Replica)>,
    ) -> Vec<(ShardDescriptor, Replica)> {
        let mut memory = self.memory.lock();
        let memory = &mut *memory;
        let before = std::mem::take(&mut memory.absent);
        let mut found = Vec::new();
        for (shard, member) in members {
            let key = (shard.id, member.node);
            let complete = memory.nodes.get(&member.node).is_some_and(|heard| heard.complete);
            let there = match shard.id {
                ShardId::PLACEMENT => memory.carries(member.node).is_none_or(|held| held == member.id),
                _ => memory.reports.get(&key).is_some_and(ReplicaReport::is_sound),
            };
            if !complete || there {
                continue;
            }
            let since = before.get(&key).copied().unwrap_or(now);
            memory.absent.insert(key, since);
            if now >= since + grace {
                found.push((shard, member));
            }
        }
        found
    }

    /// For how long a node has been silent. Who was never heard of in this term is silent since its start.
    pub(crate) fn silence(&self, node: NodeId, now: Duration) -> Duration {
        let memory = self.memory.lock();
        let last = memory.nodes.get(&node).map_or(self.began, |heard| heard.at);
        now.saturating_sub(last)
    }

    /// When a node was heard of last; one that was never heard of in this term, before it.
    pub(crate) fn last_word(&self, node: NodeId) -> Timestamp {
        self.memory.lock().nodes.get(&node).map_or(self.began_at, |heard| heard.stamp)
    }

    /// What is left of a node's disk, as far as that was said in this term.
    pub(crate) fn space(&self, node: NodeId) -> Space {
        self.memory.lock().nodes.get(&node).map_or(Space::default(), |heard| heard.space)
    }

    /// What nodes that were heard of within this time have told of their disks and networks.
    pub(crate) fn tempos(&self, within: Duration, now: Duration) -> BTreeMap<NodeId, Tempo> {
        let memory = self.memory.lock();
        let near = memory.nodes.iter().filter(|(_, heard)| now.saturating_sub(heard.at) <= within);
        near.map(|(node, heard)| (*node, heard.tempo)).collect()
    }

    /// Whether a node has told of all its copies in this term.
    pub(crate) fn has_told_all(&self, node: NodeId) -> bool {
        self.memory.lock().nodes.get(&node).is_some_and(|heard| heard.complete)
    }

    /// Clients connected to a node, as far as that was said in this term.
    pub(crate) fn sessions(&self, node: NodeId) -> u64 {
        self.memory.lock().nodes.get(&node).map_or(0, |heard| heard.sessions)
    }

    /// The driver's replicas that nodes have told of in this term.
    pub(crate) fn carried(&self) -> Vec<(NodeId, ReplicaId)> {
        let memory = self.memory.lock();
        let carried = |(node, heard): (&NodeId, &Heard)| match heard.carries {
            Carries::Replica(replica) => Some((*node, replica)),
            Carries::Unsaid | Carries::Nothing => None,
        };
        memory.nodes.iter().filter_map(carried).collect()
    }

    /// What a node's transactions hold, if it was heard of in this term.
    pub(crate) fn held_by(&self, node: NodeId) -> Option<Option<Timestamp>> {
        self.memory.lock().nodes.get(&node).map(|heard| heard.holds)
    }

    pub(crate) fn nodes(&self, placement: &Placement) -> Vec<NodeStatus> {
        let state = placement.machine.state();
        let now = placement.env.boottime();
        let suspect = settings::duration(state.setting(&settings::SUSPECT_AFTER)).unwrap_or(SCHEMA_LEASE);
        let records: Vec<_> = state.nodes.values().cloned().collect();
        drop(state);
        let silent: BTreeSet<NodeId> =
            records.iter().map(|r| r.info.id).filter(|id| self.silence(*id, now) > suspect).collect();
        let (own, slow) = (placement.own(), self.slow.lock().clone());
        let memory = self.memory.lock();
        let status = |record: crate::state::NodeRecord| {
            let id = record.info.id;
            let heard = memory.nodes.get(&id);
            let state = match record.state {
                NodeState::Live if silent.contains(&id) => NodeState::Suspect,
                _ => record.shown(),
            };
            NodeStatus {
                state,
                last_heartbeat: heard.map_or(Timestamp::ZERO, |heard| heard.stamp),
                clock_offset_micros: heard.map_or(0, |heard| heard.clock_offset_micros),
                space: heard.map_or(Space::default(), |heard| heard.space),
                sessions: heard.map_or(0, |heard| heard.sessions),
                replicas: memory.reports.keys().filter(|(_, node)| *node == id).count() as u64,
                schema_version: heard.map_or(0, |heard| heard.schema),
                carries_driver: own.voters().any(|member| member.node == id),
                tempo: heard.map_or(Tempo::default(), |heard| heard.tempo),
                slow: slow.get(&id).cloned().unwrap_or_default(),
                leaders: memory.leaders.values().filter(|led| led.node == id).count() as u64,
                info: record.info,
            }
        };
        records.into_iter().map(status).collect()
    }

    /// Raises the catalog version once nobody uses the one before the present (PROTOCOL 20): at any moment at most two are
    /// in use. Asking again for the present version is answered like the first time.
    pub(crate) async fn advance_schema(
        &self,
        placement: &Placement,
        to: u64,
    ) -> Result<PlacementReply, PlacementError> {
        let mut beats = self.beats.subscribe();
        let present = placement.machine.state().counters.schema;
        if to == present && to > 0 {
            return Ok(PlacementReply::SchemaVersion(to));
        }
        if to != present + 1 {
            return Err(PlacementError::Refused(format!(
                "the catalog is at version {present}, not {}",
                to.saturating_sub(1)
            )));
        }
        while let Some(until) = self.raise_unless_used(placement, present) {
            placement.lead()?;
            // A lease is over when every clock says so.
            let clock = placement.env.clock();
            let left = until.plus(clock.bound()).since(clock.physical()) + Duration::from_millis(1);
            let _ = placement.env.timeout(left, beats.changed()).await;
        }
        if placement.lead()?.term != self.term {
            return Err(PlacementError::not_leader(None));
        }
        placement.number(Command::RaiseSchema(to)).await.map(PlacementReply::SchemaVersion)
    }

    /// Until when some node may still use a version before `version`. If none does, `None`, and none will be allowed to.
    fn raise_unless_used(&self, placement: &Placement, version: u64) -> Option<Timestamp> {
        let state = placement.machine.state();
        let clock = placement.env.clock();
        let now = clock.physical();
        let mut memory = self.memory.lock();
        let forgotten = planted!("placement.predecessors_leases_forgotten");
        let unheard = if forgotten { Timestamp::ZERO } else { self.began_at.plus(SCHEMA_LEASE) };
        let lagging = state
            .nodes
            .iter()
            // Also those that have gone, until the lease that they had before is over.
            .filter(|(_, record)| uses_catalog(&record.info))
            .filter_map(|(id, _)| match memory.nodes.get(id) {
                Some(heard) if heard.schema >= version => None,
                Some(heard) => Some(heard.lease),
                None => Some(unheard),
            })
            .filter(|until| until.plus(clock.bound()) >= now);
        let latest = lagging.max().filter(|_| !planted!("placement.schema_raised_while_used"));
        if latest.is_none() {
            memory.raising = memory.raising.max(version + 1);
        }
        latest
    }
}

/// Whether a node reads the SQL catalog, and so needs a lease on its version; others hold no change of it up.
fn uses_catalog(node: &NodeInfo) -> bool {
    node.roles & SQL_ROLE != 0
}

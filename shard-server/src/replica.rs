//! One copy of a shard on this node, and what requests need of it.

use crate::{
    Context,
    closed::{evaluations::Evaluations, frontier::Frontier},
    command::Sealed,
    cut,
    gc::Litter,
    hand_over::Inherited,
    leader::Leader,
    load::{KnownCut, Load},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use quorate_consensus::{Applied, Group, Leadership};
use quorate_env::timeline::Happening;
use quorate_proto::placement::{Frontiers, ReplicaReport, ShardMode};
use quorate_proto::{KvError, LogPosition, ReplicaId, ShardDescriptor, ShardId, Timestamp};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// What the applied entries make of the shard. Replaced as a whole, *before* the batch that changes it is written: one who
/// takes a snapshot of the engine and then finds the state unchanged has not seen anything newer (PROTOCOL 9).
#[derive(Clone, Debug)]
pub struct RangeState {
    pub descriptor: ShardDescriptor,
    /// Nothing below may be read (PROTOCOL 24).
    pub gc_threshold: Timestamp,
    /// Records of transactions with deadlines at or below may be gone, and none is made anew (PROTOCOL 12).
    pub record_threshold: Timestamp,
    /// Inherited from the shard this one was split from: nothing is written at or below (PROTOCOL 25).
    pub low_water: Timestamp,
    /// Came with a split or a snapshot: all versions at or below are here (PROTOCOL 22).
    pub closed: Timestamp,
    /// Nothing is written here any more, and nothing read above K ([`crate::merge`]).
    pub sealed: Option<Arc<Sealed>>,
}

impl RangeState {
    /// Whether all that a read as of `ts` needs is here still, also a proof that nothing has changed since. To be asked after
    /// the engine's snapshot was taken (PROTOCOL 9, 24): what was removed before that was removed below this threshold.
    pub fn still_holds(&self, ts: Timestamp) -> Result<(), KvError> {
        if ts < self.gc_threshold && !quorate_env::planted!("shard.threshold_unchecked") {
            quorate_env::probe!("shard.refused_below_threshold");
            return Err(KvError::BelowGcThreshold { read_ts: ts, threshold: self.gc_threshold });
        }
        Ok(())
    }
}

pub struct Replica {
    pub shard: ShardId,
    pub id: ReplicaId,
    pub(crate) context: Arc<Context>,
    pub(crate) state: ArcSwap<RangeState>,
    /// Set once the group is open, cleared when the replica is destroyed.
    pub(crate) group: ArcSwapOption<Group>,
    leader: ArcSwapOption<Leader>,
    pub(crate) applied: Mutex<Applied>,
    pub(crate) flushed: Mutex<LogPosition>,
    pub(crate) frontier: Mutex<Frontier>,
    pub(crate) litter: Litter,
    /// The same for records of transactions.
    pub(crate) ledger: Litter,
    /// Locks that came with the keys in a split, or from a leader that handed over.
    pub(crate) inherited: Mutex<Option<Inherited>>,
    /// Its left neighbour has taken its keys over.
    retired: AtomicBool,
    /// Wakes whoever waits for what becomes of a sealed shard.
    pub(crate) decided: Notify,
    size: Mutex<SizeEstimate>,
    pub(crate) size_cut: Mutex<Option<KnownCut>>,
    pub(crate) requests: Load,
    /// Why it cannot be relied on any more; see [`crate::damage`].
    damage: OnceLock<String>,
    /// The next heartbeat looks at it ([`crate::news`]).
    pub(crate) stirred: AtomicBool,
    /// One change of range or members at a time.
    pub(crate) admin: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct SizeEstimate {
    bytes: u64,
    /// What was applied, and how far of that flushed: the engine's estimate leaves out what is not.
    at: (LogPosition, LogPosition),
    when: Option<Duration>,
}

impl Replica {
    pub(crate) fn new(
        context: Arc<Context>,
        shard: ShardId,
        id: ReplicaId,
        state: RangeState,
        applied: Applied,
    ) -> Arc<Replica> {
        let flushed = applied.position;
        context.news.add(shard);
        Arc::new(Replica {
            shard,
            id,
            context,
            frontier: Mutex::new(Frontier::inherited(state.closed)),
            state: ArcSwap::from_pointee(state),
            litter: Litter::default(),
            ledger: Litter::default(),
            group: ArcSwapOption::empty(),
            leader: ArcSwapOption::empty(),
            applied: Mutex::new(applied),
            flushed: Mutex::new(flushed),
            inherited: Mutex::new(None),
            retired: AtomicBool::new(false),
            decided: Notify::new(),
            size: Mutex::default(),
            size_cut: Mutex::default(),
            requests: Load::default(),
            damage: OnceLock::new(),
            stirred: AtomicBool::new(true),
            admin: tokio::sync::Mutex::new(()),
        })
    }

    pub fn descriptor(&self) -> ShardDescriptor {
        self.state.load().descriptor.clone()
    }

    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// `false` if it is known to be damaged already.
    pub(crate) fn note_damage(&self, why: String) -> bool {
        let fresh = self.damage.set(why).is_ok();
        self.stir();
        fresh
    }

    /// Created, and waiting for its first snapshot: it holds no keys.
    pub fn is_empty(&self) -> bool {
        self.applied.lock().position == LogPosition::default()
    }

    pub(crate) fn group(&self) -> Result<Arc<Group>, KvError> {
        self.group.load_full().ok_or_else(|| self.not_ready("the replica is starting or stopped"))
    }

    pub(crate) fn not_ready(&self, why: &str) -> KvError {
        KvError::NotReady { shard: self.shard, why: why.to_owned() }
    }

    /// The term's memory, if this replica leads and may evaluate (PROTOCOL 4).
    pub(crate) fn leader(&self) -> Result<Arc<Leader>, KvError> {
        if let Some(leader) = self.leader.load_full() {
            // A proposal may have learned first that the term is over.
            let is_over = leader.is_over() && !quorate_env::planted!("shard.waits_past_term");
            return if is_over { Err(leader.not_leader()) } else { Ok(leader) };
        }
        let group = self.group()?;
        let leadership = group.leadership().borrow().clone();
        if leadership.is_leader {
            return Err(self.not_ready("the new leader has not applied its first entry yet"));
        }
        group.doubt_leader();
        let leader = leadership.leader.map(|(_, node)| node).filter(|node| *node != self.context.env.node());
        Err(KvError::NotLeader { shard: self.shard, leader })
    }

    /// To be asked after the engine snapshot was taken (PROTOCOL 9): does this term still run, and does the shard still
    /// have the range under which the request was routed?
    pub(crate) fn still(&self, leader: &Leader, version: u64) -> Result<Arc<RangeState>, KvError> {
        let state = self.same_range(version)?;
        if leader.is_over() {
            return Err(leader.not_leader());
        }
        Ok(state)
    }

    /// The same without a leader's part: is this the range that was asked for, of a replica that has not been destroyed, and
    /// is it not sealed?
    pub(crate) fn same_range(&self, version: u64) -> Result<Arc<RangeState>, KvError> {
        let state = self.held_range(version)?;
        self.not_sealed(&state)?;
        Ok(state)
    }

    /// The same of what was closed before, which stays readable behind a seal.
    pub(crate) fn held_range(&self, version: u64) -> Result<Arc<RangeState>, KvError> {
        let state = self.state.load_full();
        if state.descriptor.version != version || self.is_retired() {
            return Err(KvError::StaleRoute { shard: self.shard, newer: Vec::new() });
        }
        if self.group.load().is_none() {
            return Err(self.not_ready("the replica is starting or stopped"));
        }
        if self.context.env.clock().is_fenced() && !quorate_env::planted!("shard.fenced_answers") {
            return Err(self.fenced());
        }
        Ok(state)
    }

    pub(crate) fn fenced(&self) -> KvError {
        self.context.env.clock_fenced()
    }

    /// [`quorate_consensus::StateMachine::leadership`].
    pub(crate) fn leadership_changed(&self, now: &Leadership) {
        self.stir();
        let present = self.leader.load_full();
        let leads = now.is_leader && (now.ready || quorate_env::planted!("shard.eager_leader"));
        if present.as_ref().is_some_and(|leader| leads && leader.term == now.term) {
            return;
        }
        let fresh = leads.then(|| Arc::new(self.start_term(now)));
        if let Some(leader) = &fresh {
            tracing::info!(shard = self.shard.0, term = leader.term, "leads");
            quorate_env::witness::leads(self.shard, leader.term, self.id);
            quorate_env::timeline::tell(|| Happening {
                node: Some(self.context.env.node()),
                shard: Some(self.shard),
                what: format!("leads in term {}", leader.term),
                ..Happening::default()
            });
        }
        self.leader.store(fresh);
        if let Some(old) = present {
            quorate_env::probe!("shard.stepped_down");
            old.end(now.leader.map(|(_, node)| node).filter(|node| *node != self.context.env.node()));
        }
    }

    /// A new leader knows no reads of its predecessors. All of them were at most at their clocks + ε, which is at most its
    /// own clock + 2ε at the start of its lease, and `ready` comes after that (PROTOCOL 5, 11). What the voters heard of
    /// the predecessors' clocks bounds them too, even if a clock has broken its promise (PROTOCOL 21).
    fn start_term(&self, now: &Leadership) -> Leader {
        let clock = self.context.env.clock();
        let state = self.state.load();
        // What was closed when the threshold was raised, here or elsewhere, lies above it.
        let closed = self.closed().max(state.gc_threshold);
        let predecessors = clock.physical().plus(2 * clock.bound()).max(now.predecessors_until);
        let predecessors =
            if quorate_env::planted!("shard.low_water_not_raised") { Timestamp::ZERO } else { predecessors };
        let low_water = predecessors.max(state.low_water).max(closed);
        let locks = self.take_inherited(now.ready_at.index);
        let (config, env) = (&self.context.config, &self.context.env);
        let leader = Leader::new(self.shard, now.term, low_water, locks, config, env);
        leader.core().evaluations = Evaluations::above(closed);
        leader
    }

    /// The term's memory without asking who leads, for the state machine.
    pub(crate) fn leader_now(&self) -> Option<Arc<Leader>> {
        self.leader.load_full()
    }

    pub(crate) fn stop_leading(&self) {
        if let Some(leader) = self.leader.swap(None) {
            leader.end(None);
        }
    }

    /// Another replica is about to have its keys: it answers nothing from here on.
    pub(crate) fn mark_retired(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Another replica has its keys now.
    pub(crate) fn retire(&self) -> Option<Arc<Group>> {
        self.mark_retired();
        self.stop_leading();
        let group = self.group.swap(None);
        self.decided.notify_waiters();
        group
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// What the placement driver is told.
    pub fn report(&self) -> ReplicaReport {
        let group = self.group.load_full();
        let leadership = group.as_ref().map(|group| group.leadership().borrow().clone()).unwrap_or_default();
        let damaged = self.damage().is_some();
        let (leader, size_bytes) = (leadership.is_leader && leadership.ready && !damaged, self.size());
        let mode = match &group {
            _ if damaged => ShardMode::Damaged,
            Some(group) => group.mode(),
            None => ShardMode::Recovery,
        };
        ReplicaReport {
            shard: self.shard,
            replica: self.id,
            leader,
            term: leadership.term,
            descriptor: self.descriptor(),
            size_bytes,
            frontiers: group.as_ref().map_or_else(Frontiers::default, |group| group.frontiers()),
            mode,
            load: self.load(leader, size_bytes),
        }
    }

    /// Approximate bytes of all that the shard stores, estimated anew at most once per interval and only after changes.
    pub fn size(&self) -> u64 {
        let now = self.context.env.boottime();
        let at = (self.applied.lock().position, *self.flushed.lock());
        let mut size = self.size.lock();
        let fresh = size.when.is_some_and(|when| now < when + self.context.config.size_interval);
        if size.when.is_some() && (fresh || size.at == at) {
            return size.bytes;
        }
        let span = self.state.load().descriptor.span.clone();
        let bytes = cut::bytes(&*self.context.engine, &span);
        *size = SizeEstimate { bytes, at, when: Some(now) };
        bytes
    }
}

//! A cluster of simulated nodes whose groups replicate a list of byte strings.

#![allow(dead_code)]
#![expect(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_consensus::{
    Applied, Consensus, ConsensusConfig, Entry, FOUNDING_POSITION, Fatal, Group, Leadership, Membership,
    OpenError, ProposeError, Remains, Revival, SnapshotSink, SnapshotSource, Start, StateMachine,
    founding_membership,
};
use quorate_env::sim::{SimConfig, SimOutcome, SimWorld};
use quorate_env::{Env, NodeId};
use quorate_proto::{KvError, LogPosition, Replica, ReplicaId, ReplicaRole, ShardId};
use quorate_storage::log::mem::{Later, MemLog};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const SHARD: ShardId = ShardId(7);

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Replica ids are node ids plus this.
pub const REPLICAS: u64 = 100;

pub fn replica(node: u64) -> Replica {
    Replica { id: ReplicaId(node + REPLICAS), node: NodeId(node), role: ReplicaRole::Voter }
}

pub fn replicas(nodes: impl IntoIterator<Item = u64>) -> Vec<Replica> {
    nodes.into_iter().map(replica).collect()
}

pub fn run<T, F>(seed: u64, scenario: impl FnOnce(SimWorld) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    run_with(SimConfig::new(seed), scenario)
}

pub fn run_with<T, F>(config: SimConfig, scenario: impl FnOnce(SimWorld) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    outcome_of(config, scenario).value
}

pub fn outcome_of<T, F>(config: SimConfig, scenario: impl FnOnce(SimWorld) -> F) -> SimOutcome<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    match SimWorld::run(config, scenario) {
        Ok(outcome) => outcome,
        Err(error) => panic!("{error}"),
    }
}

/// The list, and how far it is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub applied: LogPosition,
    pub membership: Option<(LogPosition, Bytes)>,
    pub values: Vec<(LogPosition, Bytes)>,
}

/// Keeps the list in memory; [`ListMachine::flush`] makes it survive a crash.
#[derive(Default)]
pub struct ListMachine {
    pub now: Mutex<State>,
    durable: Mutex<State>,
    pub leadership: Mutex<Vec<Leadership>>,
    pub restored: Mutex<u64>,
    /// Snapshots that began to come in.
    pub begun: Mutex<u64>,
    /// Those that come in now.
    pub coming: Arc<Mutex<u64>>,
}

impl ListMachine {
    pub fn founded(members: &[Replica]) -> Arc<Self> {
        let founding = founding_membership(members);
        let machine = ListMachine::default();
        let state = State {
            applied: FOUNDING_POSITION,
            membership: Some((founding.position, founding.encoded)),
            values: Vec::new(),
        };
        *machine.now.lock() = state.clone();
        *machine.durable.lock() = state;
        Arc::new(machine)
    }

    pub fn flush(&self) {
        let now = self.now.lock().clone();
        *self.durable.lock() = now;
    }

    /// What a crash leaves.
    pub fn survivor(&self) -> Arc<Self> {
        let durable = self.durable.lock().clone();
        Arc::new(ListMachine {
            now: Mutex::new(durable.clone()),
            durable: Mutex::new(durable),
            ..ListMachine::default()
        })
    }

    pub fn values(&self) -> Vec<Bytes> {
        self.now.lock().values.iter().map(|(_, value)| value.clone()).collect()
    }
}

pub struct Machine(pub Arc<ListMachine>);

impl StateMachine for Machine {
    fn applied(&self) -> Applied {
        let now = self.0.now.lock();
        Applied { position: now.applied, membership: now.membership.clone() }
    }

    fn apply(&self, entries: &[Entry]) -> Result<Vec<Bytes>, Fatal> {
        let mut now = self.0.now.lock();
        let mut replies = Vec::new();
        for entry in entries {
            assert!(entry.position > now.applied, "{} after {}", entry.position, now.applied);
            assert_eq!(entry.position.index, now.applied.index + 1);
            now.applied = entry.position;
            if let Some(membership) = &entry.membership {
                now.membership = Some((membership.position, membership.encoded.clone()));
            }
            if let Some(command) = &entry.command {
                assert_eq!(entry.evaluated_term, entry.position.term);
                now.values.push((entry.position, command.clone()));
            }
            replies.push(Bytes::from(now.values.len().to_string()));
        }
        Ok(replies)
    }

    fn flushed(&self) -> LogPosition {
        self.0.durable.lock().applied
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        let state = self.0.now.lock().clone();
        Ok(Box::new(Source { state, next: 0 }))
    }

    fn restore(&self) -> Result<Box<dyn SnapshotSink>, Fatal> {
        *self.0.begun.lock() += 1;
        Ok(Box::new(Sink {
            machine: self.0.clone(),
            values: Vec::new(),
            _coming: Coming::new(&self.0.coming),
        }))
    }

    fn leadership(&self, leadership: &Leadership) {
        self.0.leadership.lock().push(leadership.clone());
    }
}

struct Source {
    state: State,
    next: usize,
}

impl SnapshotSource for Source {
    fn position(&self) -> LogPosition {
        self.state.applied
    }

    fn membership(&self) -> (LogPosition, Bytes) {
        self.state.membership.clone().unwrap()
    }

    fn next_chunk(&mut self) -> Result<Option<Bytes>, Fatal> {
        let Some((at, value)) = self.state.values.get(self.next) else { return Ok(None) };
        self.next += 1;
        let mut chunk = Vec::new();
        chunk.extend(at.term.to_be_bytes());
        chunk.extend(at.index.to_be_bytes());
        chunk.extend(value);
        Ok(Some(chunk.into()))
    }
}

struct Sink {
    machine: Arc<ListMachine>,
    values: Vec<(LogPosition, Bytes)>,
    _coming: Coming,
}

/// Counts itself while it lives.
struct Coming(Arc<Mutex<u64>>);

impl Coming {
    fn new(count: &Arc<Mutex<u64>>) -> Self {
        *count.lock() += 1;
        Coming(count.clone())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
    }
}

impl SnapshotSink for Sink {
    fn chunk(&mut self, chunk: Bytes) -> Result<(), Fatal> {
        let number = |at: usize| u64::from_be_bytes(chunk[at..at + 8].try_into().unwrap());
        self.values.push((LogPosition { term: number(0), index: number(8) }, chunk.slice(16..)));
        Ok(())
    }

    fn finish(self: Box<Self>, position: LogPosition, membership: Membership) -> Result<(), Fatal> {
        let state = State {
            applied: position,
            membership: Some((membership.position, membership.encoded)),
            values: self.values,
        };
        *self.machine.now.lock() = state.clone();
        *self.machine.durable.lock() = state;
        *self.machine.restored.lock() += 1;
        Ok(())
    }
}

/// What of a node outlives a crash.
struct Disk {
    log: MemLog,
    machines: BTreeMap<ShardId, (ReplicaId, Arc<ListMachine>)>,
}

struct Life {
    env: Env,
    consensus: Arc<Consensus>,
}

struct Inner {
    disks: BTreeMap<NodeId, Disk>,
    lives: BTreeMap<NodeId, Life>,
}

#[derive(Clone)]
pub struct Cluster {
    pub world: SimWorld,
    pub config: ConsensusConfig,
    inner: Arc<Mutex<Inner>>,
}

/// A disk that takes half a millisecond for a sync.
fn slow(env: &Env) -> Later {
    let env = env.clone();
    Arc::new(move |sync| {
        let timer = env.clone();
        env.spawn("disk.sync", async move {
            timer.sleep(Duration::from_micros(500)).await;
            sync();
        })
        .detach();
    })
}

impl Cluster {
    /// Starts nodes without any group.
    pub fn new(world: SimWorld, nodes: impl IntoIterator<Item = u64>) -> Cluster {
        Self::with_config(world, nodes, ConsensusConfig::default())
    }

    pub fn with_config(
        world: SimWorld,
        nodes: impl IntoIterator<Item = u64>,
        config: ConsensusConfig,
    ) -> Cluster {
        let inner = Arc::new(Mutex::new(Inner { disks: BTreeMap::new(), lives: BTreeMap::new() }));
        let cluster = Cluster { world, config, inner };
        for node in nodes {
            cluster.boot(node);
        }
        cluster
    }

    /// Starts a node's process; its groups are opened by [`Self::found`], [`Self::learner`] or [`Self::restart`].
    fn boot(&self, node: u64) {
        let id = NodeId(node);
        let env = self.world.start(id, "test");
        let mut inner = self.inner.lock();
        let disk =
            inner.disks.entry(id).or_insert_with(|| Disk { log: MemLog::new(), machines: BTreeMap::new() });
        let log = Arc::new(disk.log.reopen(Some(slow(&env))));
        let consensus = Consensus::start(env.clone(), log, self.config.clone());
        inner.lives.insert(id, Life { env, consensus });
    }

    pub async fn found(&self, shard: ShardId, nodes: impl IntoIterator<Item = u64>) {
        let members = replicas(nodes);
        for member in &members {
            let machine = ListMachine::founded(&members);
            self.keep(member.node, shard, member.id, machine.clone());
            let start = Start::Founding { members: members.clone() };
            self.consensus(member.node.0)
                .open(shard, member.id, start, Arc::new(Machine(machine)))
                .await
                .unwrap();
        }
    }

    pub async fn learner(&self, shard: ShardId, member: &Replica) {
        let machine = Arc::new(ListMachine::default());
        self.keep(member.node, shard, member.id, machine.clone());
        let consensus = self.consensus(member.node.0);
        consensus.open(shard, member.id, Start::Learner, Arc::new(Machine(machine))).await.unwrap();
    }

    pub fn remains(&self, node: u64, shard: ShardId) -> Remains {
        let (replica, machine) = self.inner.lock().disks[&NodeId(node)].machines[&shard].clone();
        self.consensus(node).remains(shard, replica, &Machine(machine).applied()).unwrap()
    }

    /// Writes the log of a replica that goes on alone from the node's one, up to the switch.
    pub async fn write_revival(&self, node: u64, shard: ShardId, new: &Replica) -> Result<(), KvError> {
        let (consensus, last) = (self.consensus(node), self.remains(node, shard).last);
        consensus.close(shard).await;
        let (old, machine) = self.inner.lock().disks[&NodeId(node)].machines[&shard].clone();
        machine.flush();
        let applied = machine.now.lock().applied;
        let command = Bytes::from_static(b"revived");
        consensus.revive(Revival { shard, old, new: new.clone(), last, applied, command }).await
    }

    /// The switch, and what follows it.
    pub async fn open_revived(&self, node: u64, shard: ShardId, new: &Replica) {
        let machine = self.machine(node, shard);
        self.keep(NodeId(node), shard, new.id, machine.clone());
        let consensus = self.consensus(node);
        consensus.forget_others(shard, new.id).await.unwrap();
        consensus.open(shard, new.id, Start::Existing, Arc::new(Machine(machine))).await.unwrap();
    }

    fn keep(&self, node: NodeId, shard: ShardId, replica: ReplicaId, machine: Arc<ListMachine>) {
        let mut inner = self.inner.lock();
        inner.disks.get_mut(&node).unwrap().machines.insert(shard, (replica, machine));
    }

    pub async fn crash(&self, node: u64) {
        self.world.crash(NodeId(node)).await;
        let torn = self.world.random().range(0..3) as usize;
        self.lose_power(node, torn);
    }

    /// A crash that leaves nothing of what no sync had reached.
    pub async fn crash_losing_all(&self, node: u64) {
        self.world.crash(NodeId(node)).await;
        self.lose_power(node, 0);
    }

    /// Of the writes that waited for a sync, the disk has the first `torn`.
    fn lose_power(&self, node: u64, torn: usize) {
        let id = NodeId(node);
        let mut inner = self.inner.lock();
        inner.lives.remove(&id);
        let disk = inner.disks.get_mut(&id).unwrap();
        disk.log.crash(torn);
        for (_, machine) in disk.machines.values_mut() {
            *machine = machine.survivor();
        }
    }

    /// While it is stalled, nothing of what the node writes to its log reaches the disk.
    pub fn stall_log(&self, node: u64, on: bool) {
        let log = self.inner.lock().disks[&NodeId(node)].log.clone();
        log.stall(on);
    }

    /// The log of a node that is down is gone.
    pub fn lose_log(&self, node: u64) {
        self.inner.lock().disks.get_mut(&NodeId(node)).unwrap().log = MemLog::new();
    }

    pub async fn restart(&self, node: u64) {
        self.try_restart(node).await.unwrap();
    }

    pub async fn try_restart(&self, node: u64) -> Result<(), OpenError> {
        self.boot(node);
        let id = NodeId(node);
        let machines = self.inner.lock().disks[&id].machines.clone();
        for (shard, (replica, machine)) in machines {
            let machine = Arc::new(Machine(machine));
            self.consensus(node).open(shard, replica, Start::Existing, machine).await?;
        }
        Ok(())
    }

    pub fn up(&self) -> Vec<u64> {
        self.inner.lock().lives.keys().map(|id| id.0).collect()
    }

    pub fn env(&self, node: u64) -> Env {
        self.inner.lock().lives[&NodeId(node)].env.clone()
    }

    pub fn consensus(&self, node: u64) -> Arc<Consensus> {
        self.inner.lock().lives[&NodeId(node)].consensus.clone()
    }

    pub fn group(&self, node: u64, shard: ShardId) -> Arc<Group> {
        self.try_group(node, shard).unwrap()
    }

    pub fn try_group(&self, node: u64, shard: ShardId) -> Option<Arc<Group>> {
        self.inner.lock().lives.get(&NodeId(node))?.consensus.group(shard)
    }

    pub fn machine(&self, node: u64, shard: ShardId) -> Arc<ListMachine> {
        self.inner.lock().disks[&NodeId(node)].machines[&shard].1.clone()
    }

    pub fn flush(&self, node: u64, shard: ShardId) {
        self.machine(node, shard).flush();
    }

    /// The node whose replica leads and may evaluate, in the newest term that any claims.
    pub fn leader(&self, shard: ShardId) -> Option<(u64, u64)> {
        let claims = self.up().into_iter().filter_map(|node| {
            let l = self.try_group(node, shard)?.leadership().borrow().clone();
            l.ready.then_some((l.term, node))
        });
        claims.max().map(|(term, node)| (node, term))
    }

    pub async fn wait_leader(&self, shard: ShardId, within: Duration) -> (u64, u64) {
        self.wait_leader_if(shard, within, |_, _| true).await
    }

    pub async fn wait_leader_if(
        &self,
        shard: ShardId,
        within: Duration,
        wanted: impl Fn(u64, u64) -> bool,
    ) -> (u64, u64) {
        let until = self.world.elapsed() + within;
        loop {
            if let Some((node, term)) = self.leader(shard)
                && wanted(node, term)
            {
                return (node, term);
            }
            assert!(self.world.elapsed() < until, "no leader within {within:?}");
            self.world.sleep(ms(5)).await;
        }
    }

    /// Waits until a condition holds.
    pub async fn eventually(&self, what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
        let until = self.world.elapsed() + within;
        while !holds() {
            assert!(self.world.elapsed() < until, "not within {within:?}: {what}");
            self.world.sleep(ms(5)).await;
        }
    }

    /// Appends a value through whoever leads; retries what is definite.
    pub async fn write(&self, shard: ShardId, value: &str) -> LogPosition {
        let until = self.world.elapsed() + Duration::from_secs(20);
        loop {
            assert!(self.world.elapsed() < until, "cannot write {value}: {}", self.describe(shard));
            if let Some((node, term)) = self.leader(shard) {
                match self.group(node, shard).propose(term, Bytes::copy_from_slice(value.as_bytes())).await {
                    Ok((position, _)) => return position,
                    Err(ProposeError::Ambiguous(why)) => panic!("ambiguous: {why}"),
                    Err(_) => {}
                }
            }
            self.world.sleep(ms(20)).await;
        }
    }

    /// What each replica thinks of the group.
    pub fn describe(&self, shard: ShardId) -> String {
        let mut text = String::new();
        for node in self.up() {
            let Some(group) = self.try_group(node, shard) else { continue };
            let leadership = group.leadership().borrow().clone();
            text += &format!(
                "\nnode {node}: {:?}, stopped {}, fenced {}, lease {:?}, {leadership:?}, {:?}, {:?}",
                group.mode(),
                group.is_stopped(),
                self.env(node).clock().is_fenced(),
                group.lease(),
                group.frontiers(),
                group.progress().iter().map(|p| (p.replica.id.0, p.matched)).collect::<Vec<_>>(),
            );
        }
        text
    }

    pub async fn same_everywhere(&self, shard: ShardId, nodes: &[u64], values: &[&str]) {
        let wanted: Vec<Bytes> = values.iter().map(|v| Bytes::copy_from_slice(v.as_bytes())).collect();
        let mut seen = Vec::new();
        let until = self.world.elapsed() + Duration::from_secs(10);
        loop {
            seen.clear();
            seen.extend(nodes.iter().map(|node| self.machine(*node, shard).values()));
            if seen.iter().all(|values| *values == wanted) {
                return;
            }
            assert!(self.world.elapsed() < until, "wanted {wanted:?} on {nodes:?}, found {seen:?}");
            self.world.sleep(ms(5)).await;
        }
    }

    /// Watches the leases of a group from now on: never two at once, and none begins before an earlier one has run out.
    pub fn watch_leases(&self, shard: ShardId) -> LeaseWatch {
        let watch = LeaseWatch::default();
        let (cluster, seen) = (self.clone(), watch.clone());
        self.world
            .spawn("lease.watch", async move {
                loop {
                    seen.look(&cluster, shard);
                    cluster.world.sleep(ms(3)).await;
                }
            })
            .detach();
        watch
    }
}

#[derive(Clone, Default)]
pub struct LeaseWatch(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    /// Looks at which someone held a lease, and at which nobody did.
    held: u64,
    free: u64,
}

impl LeaseWatch {
    fn look(&self, cluster: &Cluster, shard: ShardId) {
        let mut holders = Vec::new();
        for node in cluster.up() {
            let Some(group) = cluster.try_group(node, shard) else { continue };
            if let Some(lease) = group.lease() {
                holders.push((node, lease));
            }
        }
        assert!(holders.len() <= 1, "two leases at once: {holders:?}");
        // Nobody else may be ready to lead in a later term while this lease could still be used.
        if let Some((holder, lease)) = holders.first()
            && let Some((leader, term)) = cluster.leader(shard)
        {
            assert!(
                *holder == leader || term < lease.term,
                "{leader} leads in term {term} while {holder} holds {lease:?}"
            );
        }
        let mut watched = self.0.lock();
        if holders.is_empty() { watched.free += 1 } else { watched.held += 1 }
    }

    /// Share of the looks at which a lease was held.
    pub fn share(&self) -> f64 {
        let watched = self.0.lock();
        watched.held as f64 / (watched.held + watched.free).max(1) as f64
    }
}

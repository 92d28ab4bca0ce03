//! The replicated state, and what each command does to it. Pure and deterministic.

mod recoveries;
mod rules;
#[cfg(test)]
pub mod sample;
mod whom;

pub use whom::{OPERATOR, SCHEDULER};

use crate::{
    command::{Command, Gear, Reply},
    settings,
};
use minicbor::{Decode, Encode};
use quorate_proto::{
    Key, NodeId, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span, Timestamp,
    placement::{
        IdKind, Leaving, MapUpdate, NodeInfo, NodeState, Operation, OperationState, OperationStatus,
        PlacementDecision, PlacementRule, Recovery,
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Bits of `NodeInfo::roles`: who may carry the driver,
pub const PLACEMENT_ROLE: u8 = 1;
/// and who holds shards.
pub const SHARD_ROLE: u8 = 2;

/// Operations and decisions that are over are kept up to this many.
const KEPT: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeRecord {
    #[n(0)]
    pub info: NodeInfo,
    #[n(1)]
    pub state: NodeState,
    /// When the state began.
    #[n(2)]
    pub since: Timestamp,
    /// Whether it is to go. One that has gone is in the state `Decommissioned`.
    #[n(3)]
    #[cbor(default)]
    pub leaving: Leaving,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ShardRecord {
    #[n(0)]
    pub descriptor: ShardDescriptor,
    /// The map's version at the last change.
    #[n(1)]
    pub changed: u64,
    /// Founders that have not created their copy yet.
    #[n(2)]
    pub founding: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OperationRecord {
    #[n(0)]
    pub status: OperationStatus,
    #[n(1)]
    pub gear: Option<Gear>,
    /// The left and the right of every seal that a merge may have asked for. Whatever became of them is decided when it is over.
    #[n(2)]
    #[cbor(default)]
    pub seals: BTreeSet<(ShardId, ShardId)>,
}

/// Numbers that only rise.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Counters {
    #[n(0)]
    pub map_version: u64,
    #[n(1)]
    pub next_shard: u64,
    #[n(2)]
    pub next_replica: u64,
    #[n(3)]
    pub next_object: u64,
    #[n(4)]
    pub schema: u64,
    #[n(5)]
    pub settings: u64,
    #[n(6)]
    pub next_operation: u64,
    #[n(7)]
    pub next_decision: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            map_version: 0,
            next_shard: ShardId::FIRST.0,
            next_replica: 1,
            next_object: 1,
            schema: 0,
            settings: 0,
            next_operation: 1,
            next_decision: 1,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub counters: Counters,
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    pub shards: BTreeMap<ShardId, ShardRecord>,
    pub settings: BTreeMap<String, String>,
    pub operations: BTreeMap<u64, OperationRecord>,
    pub decisions: BTreeMap<u64, PlacementDecision>,
    /// Where users have asked for shards to begin, and not taken it back.
    pub boundaries: BTreeSet<Key>,
    /// What users have asked for of the places of copies, by the first key of which it holds.
    pub rules: BTreeMap<Key, PlacementRule>,
    /// Shards that were brought back without their quorum, by operation. They are kept for good.
    pub recoveries: BTreeMap<u64, Recovery>,
}

/// What a command has touched; this and no more is written to disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    pub nodes: BTreeSet<NodeId>,
    pub shards: BTreeSet<ShardId>,
    pub settings: BTreeSet<String>,
    pub operations: BTreeSet<u64>,
    pub decisions: BTreeSet<u64>,
    pub boundaries: BTreeSet<Key>,
    pub rules: BTreeSet<Key>,
    pub recoveries: BTreeSet<u64>,
}

impl State {
    pub fn apply(&mut self, command: Command, touched: &mut Touched) -> Reply {
        match command {
            Command::UpsertNode(info, at) => {
                touched.nodes.insert(info.id);
                let state = match self.nodes.get(&info.id) {
                    Some(known) if known.state != NodeState::Dead => (known.state, known.since),
                    _ => (NodeState::Live, at),
                };
                let (state, since) = state;
                let leaving = self.nodes.get(&info.id).map_or(Leaving::No, |known| known.leaving);
                self.nodes.insert(info.id, NodeRecord { info, state, since, leaving });
                Reply::Done
            }
            Command::SetNodeState(node, state, at) => match self.nodes.get_mut(&node) {
                // Who has gone is not dead.
                Some(record) if record.leaving == Leaving::Gone => Reply::Done,
                Some(record) => {
                    touched.nodes.insert(node);
                    record.state = state;
                    record.since = at;
                    Reply::Done
                }
                None => Reply::Refused(format!("there is no node {node}")),
            },
            Command::Learn(descriptors) => {
                for descriptor in descriptors {
                    self.learn(descriptor, touched);
                }
                Reply::Done
            }
            Command::AllocateIds(kind, count) => Reply::Number(self.allocate(kind, count)),
            Command::SetSetting(name, value) => match settings::check(&name, &value) {
                Ok(()) => {
                    self.counters.settings += 1;
                    touched.settings.insert(name.clone());
                    self.settings.insert(name, value);
                    Reply::Done
                }
                Err(why) => Reply::Refused(why),
            },
            Command::RaiseSchema(to) if to == self.counters.schema + 1 => {
                self.counters.schema = to;
                Reply::Number(to)
            }
            Command::RaiseSchema(to) => {
                Reply::Refused(format!("the catalog is at version {}, not {}", self.counters.schema, to - 1))
            }
            Command::StartOperation { operation, origin, at, decision } => {
                self.start(operation, origin, at, decision, touched)
            }
            Command::NoteOperation { id, state, step, at } => self.note(id, state, step, at, touched),
            Command::Equip { id, gear } => {
                let Some(record) = self.operations.get(&id) else {
                    return Reply::Refused(format!("there is no operation {id}"));
                };
                if let Some(held) = &record.gear
                    && held.of == gear.of
                    && held.replicas == gear.replicas
                    && (gear.node.is_none() || held.node == gear.node)
                {
                    return Reply::Gear(held.clone());
                }
                if let Some(node) = gear.node
                    && gear.of == ShardId::PLACEMENT
                    && self.leaving(node) != Leaving::No
                {
                    return Reply::Refused(format!("node {node} is to leave, and receives nothing"));
                }
                self.counters.next_replica = self.counters.next_replica.max(gear.above + 1);
                let given = Gear {
                    shard: if gear.shard { ShardId(self.allocate(IdKind::Shard, 1)) } else { ShardId(0) },
                    replica: self.allocate(IdKind::Replica, gear.replicas),
                    replicas: gear.replicas,
                    of: gear.of,
                    node: gear.node,
                };
                touched.operations.insert(id);
                if let Some(record) = self.operations.get_mut(&id) {
                    record.gear = Some(given.clone());
                }
                Reply::Gear(given)
            }
            Command::BeginSeal { id, left, right } => self.begin_seal(id, left, right, touched),
            Command::Found(nodes, at) => self.found(nodes, at, touched),
            Command::Founded(shard, node) => {
                if let Some(record) = self.shards.get_mut(&shard) {
                    touched.shards.insert(shard);
                    record.founding.retain(|other| *other != node);
                }
                Reply::Done
            }
            Command::SetLeaving(node, leaving, at) => match self.set_leaving(node, leaving, at) {
                Ok(()) => {
                    touched.nodes.insert(node);
                    Reply::Done
                }
                Err(why) => Reply::Refused(why),
            },
            Command::Configure(span, change) => self.configure(span, change, touched),
            Command::Forget(span) => self.forget(&span, touched),
            Command::BeginRecovery(id) => self.begin_recovery(id, touched),
        }
    }

    fn allocate(&mut self, kind: IdKind, count: u64) -> u64 {
        let next = match kind {
            IdKind::Shard => &mut self.counters.next_shard,
            IdKind::Replica => &mut self.counters.next_replica,
            IdKind::Object => &mut self.counters.next_object,
        };
        let first = *next;
        *next = next.saturating_add(count);
        first
    }

    /// Takes what a shard says of itself, if it is newer. Nothing else ever changes a descriptor. Where two of them claim the same
    /// keys the greater version has them: a shard whose keys all are another's by now was merged into it, and who has not heard
    /// of that brings it back in vain.
    fn learn(&mut self, descriptor: ShardDescriptor, touched: &mut Touched) {
        let id = descriptor.id;
        if self.is_of_the_ended(&descriptor) && !quorate_env::planted!("placement.ended_copy_learned") {
            return;
        }
        let known = self.shards.get(&id);
        if known.is_some_and(|known| known.descriptor.epochs() >= descriptor.epochs()) {
            return;
        }
        let newer = |other: &ShardDescriptor| {
            other.id != id && other.version > descriptor.version && other.span.overlaps(&descriptor.span)
        };
        if self.shards.values().any(|record| newer(&record.descriptor)) {
            return;
        }
        let founding = known.map(|known| known.founding.clone()).unwrap_or_default();
        // Ids that came from here once are never given out again, whatever this state has forgotten.
        self.counters.next_shard = self.counters.next_shard.max(id.0 + 1);
        let greatest = descriptor.replicas.iter().map(|replica| replica.id.0).max().unwrap_or(0);
        self.counters.next_replica = self.counters.next_replica.max(greatest + 1);
        self.counters.map_version += 1;
        touched.shards.insert(id);
        let absorbed = |other: &ShardDescriptor| other.id != id && descriptor.span.contains_span(&other.span);
        let gone: Vec<ShardId> = self
            .shards
            .values()
            .map(|record| &record.descriptor)
            .filter(|d| absorbed(d))
            .map(|d| d.id)
            .collect();
        for shard in gone {
            touched.shards.insert(shard);
            self.shards.remove(&shard);
            self.forget_gear(shard, touched);
        }
        self.shards.insert(id, ShardRecord { descriptor, changed: self.counters.map_version, founding });
    }

    /// A split that has made the shard, and does not know yet, would make it again, under ids that are used up.
    fn forget_gear(&mut self, shard: ShardId, touched: &mut Touched) {
        if quorate_env::planted!("placement.gear_used_twice") {
            return;
        }
        for (id, record) in &mut self.operations {
            if record.gear.as_ref().is_some_and(|gear| gear.shard == shard) {
                record.gear = None;
                touched.operations.insert(*id);
            }
        }
    }

    fn found(&mut self, nodes: Vec<NodeId>, at: Timestamp, touched: &mut Touched) -> Reply {
        if !self.shards.is_empty() || nodes.is_empty() {
            return Reply::Done;
        }
        let first = self.allocate(IdKind::Replica, nodes.len() as u64);
        let replicas = nodes.iter().zip(first..).map(|(node, id)| Replica {
            id: ReplicaId(id),
            node: *node,
            role: ReplicaRole::Voter,
        });
        let descriptor = ShardDescriptor {
            id: ShardId::FIRST,
            span: Span::ALL,
            version: 1,
            config_epoch: 1,
            replicas: replicas.collect(),
        };
        self.learn(descriptor, touched);
        if let Some(record) = self.shards.get_mut(&ShardId::FIRST) {
            record.founding.clone_from(&nodes);
        }
        let candidates = self.nodes.keys().map(|node| {
            let chosen = nodes.contains(node);
            (*node, i64::from(chosen), if chosen { "chosen" } else { "not needed" }.to_owned())
        });
        let decision = PlacementDecision {
            id: 0,
            at,
            scheduler: "found".into(),
            shard: Some(ShardId::FIRST),
            seen: format!("{} nodes and no shard", self.nodes.len()),
            candidates: candidates.collect(),
            chosen: format!("nodes {}", nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            outcome: "done".into(),
            ..PlacementDecision::default()
        };
        self.decide(decision, touched);
        Reply::Done
    }

    fn start(
        &mut self,
        operation: Operation,
        origin: String,
        at: Timestamp,
        decision: Option<PlacementDecision>,
        touched: &mut Touched,
    ) -> Reply {
        if let Some(refused) = self.refuse_if_busy(&operation, &origin) {
            return refused;
        }
        // With the operation, or a leader that dies in between would leave a node that goes nowhere.
        if let Operation::Decommission { node } = &operation
            && self.leaving(*node) != Leaving::Gone
        {
            if let Err(why) = self.set_leaving(*node, Leaving::Decommissioning, at) {
                return Reply::Refused(why);
            }
            touched.nodes.insert(*node);
        }
        let id = self.counters.next_operation;
        self.counters.next_operation += 1;
        if let Operation::Recover { plan, by } = &operation {
            let decision = self.note_recovery(id, plan, by, at, touched);
            self.decide(decision, touched);
        }
        if let Some(decision) = decision {
            self.decide(PlacementDecision { operation: Some(id), ..decision }, touched);
        }
        let status = OperationStatus {
            id,
            operation,
            state: OperationState::Running,
            step: "started".into(),
            started: at,
            updated: at,
            origin,
        };
        touched.operations.insert(id);
        self.operations.insert(id, OperationRecord { status, gear: None, seals: BTreeSet::new() });
        let over = |record: &OperationRecord| record.status.state != OperationState::Running;
        while self.operations.len() > KEPT {
            let Some(oldest) = self.operations.iter().find(|(_, record)| over(record)).map(|(id, _)| *id)
            else {
                break;
            };
            self.operations.remove(&oldest);
            touched.operations.insert(oldest);
        }
        Reply::Number(id)
    }

    fn note(
        &mut self,
        id: u64,
        state: OperationState,
        step: String,
        at: Timestamp,
        touched: &mut Touched,
    ) -> Reply {
        let Some(record) = self.operations.get_mut(&id) else {
            return Reply::Refused(format!("there is no operation {id}"));
        };
        // What is over stays so: a late step of an earlier leader changes nothing.
        if record.status.state != OperationState::Running {
            return Reply::Done;
        }
        record.status.state = state.clone();
        record.status.step = step;
        record.status.updated = at;
        touched.operations.insert(id);
        self.note_boundary(id, touched);
        let outcome = match state {
            OperationState::Running => return Reply::Done,
            OperationState::Done => "done".to_owned(),
            OperationState::Failed(why) => format!("failed: {why}"),
        };
        self.end_recovery(id, &outcome, touched);
        for (number, decision) in &mut self.decisions {
            if decision.operation == Some(id) {
                decision.outcome.clone_from(&outcome);
                touched.decisions.insert(*number);
            }
        }
        Reply::Done
    }

    fn decide(&mut self, decision: PlacementDecision, touched: &mut Touched) {
        let id = self.counters.next_decision;
        self.counters.next_decision += 1;
        self.decisions.insert(id, PlacementDecision { id, ..decision });
        touched.decisions.insert(id);
        while self.decisions.len() > KEPT
            && let Some((oldest, _)) = self.decisions.pop_first()
        {
            touched.decisions.insert(oldest);
        }
    }

    /// The map's changes after a version.
    pub fn map_after(&self, version: u64) -> MapUpdate {
        let full = version == 0 || version > self.counters.map_version;
        let changed = self
            .shards
            .values()
            .filter(|record| full || record.changed > version)
            .map(|record| record.descriptor.clone())
            .collect();
        MapUpdate {
            version: self.counters.map_version,
            changed,
            removed: Vec::new(),
            full,
            leaders: Vec::new(),
        }
    }

    /// The shard that owns a key.
    pub fn owner(&self, key: &[u8]) -> Option<&ShardDescriptor> {
        // Where a split is known by one half only, the greater version holds the key.
        self.shards
            .values()
            .map(|record| &record.descriptor)
            .filter(|descriptor| descriptor.span.contains(key))
            .max_by_key(|descriptor| descriptor.epochs())
    }

    /// The shard that owns the last keys before one.
    pub fn owner_before(&self, key: &[u8]) -> Option<&ShardDescriptor> {
        let ends_here = |descriptor: &&ShardDescriptor| {
            descriptor.span.start[..] < *key && descriptor.span.end.as_ref().is_none_or(|end| end[..] >= *key)
        };
        let all = self.shards.values().map(|record| &record.descriptor);
        all.filter(ends_here).max_by_key(|descriptor| descriptor.epochs())
    }

    pub fn setting(&self, setting: &settings::Setting) -> &str {
        self.settings.get(setting.name).map_or(setting.default, String::as_str)
    }

    pub fn running(&self) -> impl Iterator<Item = &OperationRecord> {
        self.operations.values().filter(|record| record.status.state == OperationState::Running)
    }
}

//! How the state lies in the engine: one key per node, shard, setting, operation, decision, user's boundary, rule and recovery, in family `Meta` under the
//! driver's own shard id.

use crate::state::{Counters, NodeRecord, OperationRecord, ShardRecord, State, Touched};
use minicbor::{Decode, Encode};
use quorate_proto::{
    Key, NodeId, ReplicaId, ShardId,
    placement::{PlacementDecision, PlacementRule, Recovery},
};
use quorate_storage::{
    Engine, Family, Result, Snapshot, StorageError, WriteBatch,
    meta::{self, Kind},
};

const COUNTERS: Kind<Counters> = Kind::new(64);
const NODE: Kind<NodeRecord> = Kind::new(65);
const SHARD: Kind<ShardRecord> = Kind::new(66);
const SETTING: Kind<String> = Kind::new(67);
const OPERATION: Kind<OperationRecord> = Kind::new(68);
const DECISION: Kind<PlacementDecision> = Kind::new(69);
/// The replica of the driver that this node holds.
const REPLICA: Kind<ReplicaId> = Kind::new(70);
const BOUNDARY: Kind<bool> = Kind::new(71);
const RULE: Kind<PlacementRule> = Kind::new(72);
/// The last replica of the driver that was removed here: neither it nor an earlier one is ever made again.
const GONE: Kind<ReplicaId> = Kind::new(73);
const RECOVERY: Kind<Recovery> = Kind::new(74);

const SELF: ShardId = ShardId::PLACEMENT;

/// Kinds that a snapshot carries; the rest is the replica's own.
pub fn is_state(kind: u8) -> bool {
    (COUNTERS.code()..=DECISION.code()).contains(&kind)
        || [BOUNDARY.code(), RULE.code(), RECOVERY.code()].contains(&kind)
}

pub fn load(snapshot: &dyn Snapshot) -> Result<State> {
    let mut state =
        State { counters: meta::get(snapshot, SELF, &COUNTERS)?.unwrap_or_default(), ..State::default() };
    for row in meta::scan(snapshot, SELF, &NODE) {
        let (key, record) = row?;
        state.nodes.insert(NodeId(number(&key)?), record);
    }
    for row in meta::scan(snapshot, SELF, &SHARD) {
        let (key, record) = row?;
        state.shards.insert(ShardId(number(&key)?), record);
    }
    for row in meta::scan(snapshot, SELF, &SETTING) {
        let (key, value) = row?;
        state.settings.insert(String::from_utf8_lossy(&key).into_owned(), value);
    }
    for row in meta::scan(snapshot, SELF, &OPERATION) {
        let (key, record) = row?;
        state.operations.insert(number(&key)?, record);
    }
    for row in meta::scan(snapshot, SELF, &DECISION) {
        let (key, decision) = row?;
        state.decisions.insert(number(&key)?, decision);
    }
    for row in meta::scan(snapshot, SELF, &BOUNDARY) {
        let (key, _) = row?;
        state.boundaries.insert(Key::copy_from(&key));
    }
    for row in meta::scan(snapshot, SELF, &RULE) {
        let (key, rule) = row?;
        state.rules.insert(Key::copy_from(&key), rule);
    }
    for row in meta::scan(snapshot, SELF, &RECOVERY) {
        let (key, recovery) = row?;
        state.recoveries.insert(number(&key)?, recovery);
    }
    Ok(state)
}

/// Which replicas of the driver the node knows of itself.
pub struct Held {
    pub replica: Option<ReplicaId>,
    pub gone: Option<ReplicaId>,
}

pub fn held(engine: &dyn Engine) -> Result<Held> {
    Ok(Held { replica: meta::get(engine, SELF, &REPLICA)?, gone: meta::get(engine, SELF, &GONE)? })
}

pub fn put_gone(batch: &mut WriteBatch, replica: ReplicaId) {
    meta::put(batch, SELF, &GONE, &replica);
}

pub fn put_replica(batch: &mut WriteBatch, replica: ReplicaId) {
    meta::put(batch, SELF, &REPLICA, &replica);
}

/// Writes what was touched, as it is in the state now.
pub fn save(batch: &mut WriteBatch, state: &State, touched: &Touched) {
    meta::put(batch, SELF, &COUNTERS, &state.counters);
    for id in &touched.nodes {
        one(batch, &NODE, &id.0.to_be_bytes(), state.nodes.get(id));
    }
    for id in &touched.shards {
        one(batch, &SHARD, &id.0.to_be_bytes(), state.shards.get(id));
    }
    for name in &touched.settings {
        one(batch, &SETTING, name.as_bytes(), state.settings.get(name));
    }
    for id in &touched.operations {
        one(batch, &OPERATION, &id.to_be_bytes(), state.operations.get(id));
    }
    for id in &touched.decisions {
        one(batch, &DECISION, &id.to_be_bytes(), state.decisions.get(id));
    }
    for at in &touched.boundaries {
        one(batch, &BOUNDARY, at, state.boundaries.contains(at).then_some(&true));
    }
    for at in &touched.rules {
        one(batch, &RULE, at, state.rules.get(at));
    }
    for id in &touched.recoveries {
        one(batch, &RECOVERY, &id.to_be_bytes(), state.recoveries.get(id));
    }
}

fn one<T: Encode<()> + for<'b> Decode<'b, ()>>(
    batch: &mut WriteBatch,
    kind: &Kind<T>,
    suffix: &[u8],
    value: Option<&T>,
) {
    match value {
        Some(value) => meta::put_with(batch, SELF, kind, suffix, value),
        None => batch.delete(Family::Meta, meta::meta_key_with(SELF, kind, suffix)),
    }
}

fn number(key: &[u8]) -> Result<u64> {
    let raw = key
        .try_into()
        .map_err(|_| StorageError::corrupt("a key of the placement state has another length"))?;
    Ok(u64::from_be_bytes(raw))
}

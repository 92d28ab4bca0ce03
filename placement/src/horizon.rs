//! Up to when nobody wants to read the past any more (PROTOCOL 24): `gc_ttl` ago, or what some node's transactions hold.
//!
//! Each heartbeat tells what the node's transactions hold, and its answer the horizon. A transaction that begins reads the
//! present, or a time at its own risk, so that a hold comes `gc_ttl` before it matters. The leader keeps the holds in memory; a
//! new one knows of no horizon before every node has been heard of.
//!
//! A node that is silent holds what it held, for a while: its transactions may go on without the driver. After [`GIVEN_UP`] (or
//! `placement.repair_after`, if that is less) it holds nothing any more. What its transactions read then is refused if it has
//! been removed, never wrong: the shards' own thresholds see to that. A transaction has a deadline (a day) besides, after which
//! its gateway does not speak of it.

use crate::{leader::Session, settings, state::State};
use quorate_env::planted;
use quorate_proto::{Timestamp, placement::NodeState};
use std::time::Duration;

const GIVEN_UP: Duration = Duration::from_secs(300);

impl Session {
    /// None as long as some node has not said what it holds.
    pub(crate) fn horizon(&self, state: &State, now: Duration, physical: Timestamp) -> Option<Timestamp> {
        let setting = |setting| settings::duration(state.setting(setting));
        let patience = setting(&settings::REPAIR_AFTER).unwrap_or(GIVEN_UP).min(GIVEN_UP);
        let mut horizon = physical.minus(setting(&settings::GC_TTL)?);
        for record in state.nodes.values().filter(|record| record.state != NodeState::Decommissioned) {
            let id = record.info.id;
            if self.silence(id, now) <= patience {
                let told = self.held_by(id);
                let told = if planted!("placement.horizon_of_a_new_leader") { told.flatten() } else { told? };
                let held = told.filter(|_| !planted!("placement.horizon_above_holds"));
                horizon = horizon.min(held.unwrap_or(Timestamp::MAX));
            }
        }
        Some(horizon)
    }
}

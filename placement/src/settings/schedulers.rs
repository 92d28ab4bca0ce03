//! The settings of what splits, merges and balances by itself.

use super::{Setting, Valid, bytes, duration, switch};
use crate::{
    planner::seen::{Limits, MergeLimits, SplitLimits},
    state::State,
};
use std::time::Duration;

const SIZES: Valid = Valid::Bytes(1 << 10..=1 << 50);
const LOADS: Valid = Valid::Number(1..=1 << 40);

const fn on(name: &'static str, about: &'static str) -> Setting {
    Setting { name, default: "on", about, valid: Valid::Switch, range: "on or off" }
}

pub const SPLIT_BY_SIZE: Setting =
    on("placement.split_by_size", "split shards that are larger than split_size");

pub const SPLIT_BY_LOAD: Setting =
    on("placement.split_by_load", "split shards that are asked for more often than split_load");

pub const MERGE: Setting = on("placement.merge", "merge neighbours that are small and cold");

pub const BALANCE_REPLICAS: Setting = on("placement.balance_replicas", "even out what nodes hold");

pub const BALANCE_LEADERS: Setting = on("placement.balance_leaders", "even out what nodes are asked for");

pub const CONSTRAINTS: Setting =
    on("placement.constraints", "bring copies and leaders to where they are asked for");

pub const SPREAD: Setting = on("placement.spread", "take copies as far apart as localities allow");

pub const SPLIT_SIZE: Setting = Setting {
    name: "placement.split_size",
    default: "256MiB",
    about: "size from which on a shard is split",
    valid: SIZES,
    range: "1KiB to 1024TiB",
};

pub const SPLIT_LOAD: Setting = Setting {
    name: "placement.split_load",
    default: "2500",
    about: "requests a second from which on a shard is split where that halves them",
    valid: LOADS,
    range: "1 to 2^40",
};

pub const SPLIT_FLOOR: Setting = Setting {
    name: "placement.split_floor",
    default: "256KiB",
    about: "no split leaves less than this on either side",
    valid: SIZES,
    range: "1KiB to 1024TiB",
};

pub const MERGE_SIZE: Setting = Setting {
    name: "placement.merge_size",
    default: "64MiB",
    about: "size up to which two shards are made one; never more than half of split_size",
    valid: SIZES,
    range: "1KiB to 1024TiB",
};

pub const MERGE_LOAD: Setting = Setting {
    name: "placement.merge_load",
    default: "100",
    about: "requests a second up to which two shards are made one; never more than half of split_load",
    valid: LOADS,
    range: "1 to 2^40",
};

pub const MERGE_AFTER: Setting = Setting {
    name: "placement.merge_after",
    default: "10min",
    about: "for so long two shards have been small and cold before they are made one",
    valid: Valid::Time(Duration::from_secs(1)..=Duration::from_secs(720 * 3600)),
    range: "1s to 720h",
};

pub const LOOK_EVERY: Setting = Setting {
    name: "placement.look_every",
    default: "5s",
    about: "how often the schedulers look around",
    valid: Valid::Time(Duration::from_millis(100)..=Duration::from_secs(3600)),
    range: "100ms to 1h",
};

pub const MOVES: Setting = Setting {
    name: "placement.moves",
    default: "2",
    about: "operations that the schedulers have under way at a time; 0 lets them rest",
    valid: Valid::Number(0..=1000),
    range: "0 to 1000",
};

/// What the schedulers keep to.
pub fn limits(state: &State) -> Limits {
    let is_on = |setting| switch(state.setting(setting)).unwrap_or(false);
    let size = |setting| bytes(state.setting(setting)).unwrap_or(u64::MAX);
    let number = |setting| state.setting(setting).trim().parse::<u64>().unwrap_or_default();
    let after = duration(state.setting(&MERGE_AFTER)).unwrap_or(Duration::MAX).as_millis();
    Limits {
        split: SplitLimits {
            size: is_on(&SPLIT_BY_SIZE).then(|| size(&SPLIT_SIZE)),
            load: is_on(&SPLIT_BY_LOAD).then(|| number(&SPLIT_LOAD)),
            floor: size(&SPLIT_FLOOR),
        },
        merge: is_on(&MERGE).then(|| MergeLimits {
            size: size(&MERGE_SIZE),
            load: number(&MERGE_LOAD),
            after: u64::try_from(after).unwrap_or(u64::MAX),
        }),
        balance_copies: is_on(&BALANCE_REPLICAS),
        balance_leaders: is_on(&BALANCE_LEADERS),
        rules: is_on(&CONSTRAINTS),
        spread: is_on(&SPREAD),
        moves: usize::try_from(number(&MOVES)).unwrap_or_default(),
    }
}

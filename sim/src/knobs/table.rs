//! The knobs by name, so that each can be set back to its usual value.

use super::Settings;

struct Knob {
    name: &'static str,
    show: fn(&Settings) -> String,
    reset: fn(&mut Settings, &Settings),
}

macro_rules! table {
    ($($name:literal => $($field:ident).+,)*) => {
        const TABLE: &[Knob] = &[$(Knob {
            name: $name,
            show: |of| format!("{:?}", of.$($field).+),
            reset: |of, usual| of.$($field).+.clone_from(&usual.$($field).+),
        }),*];
    };
}

table! {
    "shake" => world.shake,
    "clock_bound" => world.clock_bound,
    "skew_part" => skew_part,
    "contention" => world.contention,
    "nodes" => knobs.nodes,
    "quiet_after" => knobs.consensus.quiet_after,
    "housekeeping" => knobs.consensus.housekeeping,
    "keep_entries" => knobs.consensus.keep_entries,
    "propose_timeout" => knobs.consensus.propose_timeout,
    "intent_patience" => knobs.shard.intent_patience,
    "lock_patience" => knobs.shard.lock_patience,
    "coordinator_silence" => knobs.shard.coordinator_silence,
    "flush_interval" => knobs.shard.flush_interval,
    "closing_target" => knobs.shard.closing_target,
    "max_locks" => knobs.shard.max_locks,
    "max_scan_rows" => knobs.shard.max_scan_rows,
    "ts_cache_bytes" => knobs.shard.ts_cache_bytes,
    "gc_page_versions" => knobs.shard.gc_page_versions,
    "retention" => knobs.shard.retention,
    "cut_from" => knobs.shard.cut_from,
    "size_interval" => knobs.shard.size_interval,
    "page_rows" => knobs.txn.page_rows,
    "max_unresolved" => knobs.txn.max_unresolved,
    "max_read_spans" => knobs.txn.max_read_spans,
    "stale_after" => knobs.txn.stale_after,
    "memory_bytes" => knobs.txn.memory_bytes,
    "parallel_commit" => knobs.txn.parallel_commit,
    "commit_window" => knobs.txn.commit_window,
    "gc_ttl" => knobs.gc_ttl,
    "repair_after" => knobs.repair_after,
    "schedulers" => knobs.schedulers,
    "zones" => knobs.zones,
    "placing" => knobs.placing,
    "workloads" => knobs.workloads,
}

pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|knob| knob.name)
}

/// The knobs that do not stand at their usual values: their names, where they stand, and the usual.
pub fn unusual(settings: &Settings) -> Vec<(&'static str, String, String)> {
    let usual = Settings::usual(settings.world.seed);
    let shown = TABLE.iter().map(|knob| (knob.name, (knob.show)(settings), (knob.show)(&usual)));
    shown.filter(|(_, here, usual)| here != usual).collect()
}

/// Sets a knob back to its usual value; false: there is none of that name.
pub fn set_usual(settings: &mut Settings, name: &str) -> bool {
    let usual = Settings::usual(settings.world.seed);
    let Some(knob) = TABLE.iter().find(|knob| knob.name == name) else { return false };
    (knob.reset)(settings, &usual);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knobs::draw;

    #[test]
    fn every_knob_that_is_drawn_has_a_name() {
        for seed in 0..200 {
            let mut settings = draw(seed);
            assert!(names().all(|name| set_usual(&mut settings, name)));
            // Each run has a number of clients, usual or not.
            let mut usual = Settings::usual(seed);
            usual.knobs.clients = settings.knobs.clients;
            assert_eq!(format!("{settings:?}"), format!("{usual:?}"));
        }
    }

    #[test]
    fn a_knob_set_back_changes_no_other() {
        let before = unusual(&draw(1));
        for (name, ..) in &before {
            let mut settings = draw(1);
            assert!(set_usual(&mut settings, name));
            let mut others = before.clone();
            others.retain(|(other, ..)| other != name);
            assert_eq!(unusual(&settings), others);
        }
        assert!(!set_usual(&mut draw(1), "no such knob"));
    }
}

//! Trimming the log behind what is durable without it (`T ≤ F+1`), whoever may still lack it: a member that has been away
//! for long gets a snapshot.

use crate::driver::fire;
use crate::shared::Shared;
use std::sync::{Arc, atomic::Ordering};

/// Lets openraft know F, which trims all but the last entries. If those are too large, half of them go at a time. Says whether
/// something goes: then more may have to.
pub(crate) fn trim(shared: &Arc<Shared>) -> bool {
    let Some(raft) = shared.raft() else { return false };
    let flushed = shared.flushed();
    let trimmed = shared.frontiers.lock().view(flushed).trimmed;
    let config = &shared.node.config;
    let behind = flushed.index.saturating_sub(trimmed.index);
    let many = behind.saturating_sub(config.keep_entries) > config.keep_entries / 4;
    let eagerly = || shared.env.fault("consensus.trims_eagerly");
    let large = behind > 0 && (shared.log_bytes() > config.keep_bytes || eagerly());
    // What was asked for goes once no replication reads it. Until then it is asked for again, and openraft does not hear of a new F, by
    // which it would ask for less by itself.
    let asked = shared.trim_asked.load(Ordering::Relaxed);
    if asked > trimmed.index && flushed.index.saturating_sub(config.keep_entries) < asked {
        fire(raft.trigger().purge_log(asked));
        return true;
    }
    if many || large {
        fire(raft.trigger().snapshot());
    }
    if large {
        quorate_env::probe!("consensus.log_trimmed_by_bytes");
        quorate_env::count!("quorate_consensus_logs_trimmed_by_bytes_total");
        let half = trimmed.index + behind.div_ceil(2);
        shared.trim_asked.store(half, Ordering::Relaxed);
        fire(raft.trigger().purge_log(half));
    }
    many || large
}

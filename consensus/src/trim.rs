//! Trimming the log behind what is durable without it (`T ≤ F+1`), whoever may still lack it: a member that has been away
//! for long gets a snapshot.

use crate::driver::fire;
use crate::shared::Shared;
use openraft::async_runtime::watch::WatchReceiver as _;
use std::sync::{Arc, atomic::Ordering};

/// Lets openraft know F, which trims all but the last entries. If those are too large, half of them go at a time. Says whether
/// something goes: then more may have to.
pub(crate) fn trim(shared: &Arc<Shared>) -> bool {
    let Some(raft) = shared.raft() else { return false };
    let flushed = shared.flushed();
    let trimmed = shared.frontiers.lock().view(flushed).trimmed;
    let config = &shared.node.config;
    let behind = flushed.index.saturating_sub(trimmed.index);
    let spare = behind.saturating_sub(config.keep_entries);
    let many = spare > config.keep_entries / 4;
    let eagerly = || shared.env.fault("consensus.trims_eagerly");
    let large = behind > 0 && (shared.log_bytes() > config.keep_bytes || eagerly());
    // What was asked for goes once no replication reads it. Until then it is asked for again, and openraft does not hear of a new F, by
    // which it would ask for less by itself.
    let asked = shared.trim_asked.load(Ordering::Relaxed);
    if asked > trimmed.index && flushed.index.saturating_sub(config.keep_entries) < asked {
        fire(raft.trigger().purge_log(asked));
        return true;
    }
    let half = behind.div_ceil(2);
    // More than openraft would let go by itself is asked for when no F is on its way to it.
    let more = large && half > spare;
    let heard =
        more && raft.data_metrics().borrow_watched().snapshot.is_some_and(|at| at.index >= flushed.index);
    if (many || large) && !heard {
        fire(raft.trigger().snapshot());
    }
    if large && (!more || heard) {
        quorate_env::probe!("consensus.log_trimmed_by_bytes");
        quorate_env::count!("quorate_consensus_logs_trimmed_by_bytes_total");
        let upto = trimmed.index + half;
        shared.trim_asked.store(upto, Ordering::Relaxed);
        fire(raft.trigger().purge_log(upto));
    }
    many || large
}

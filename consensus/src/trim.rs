//! Trimming the log behind what is durable without it (`T ≤ F+1`), whoever may still lack it: a member that has been away
//! for long gets a snapshot.

use crate::driver::fire;
use crate::shared::Shared;
use std::sync::Arc;

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
    if many || large {
        fire(raft.trigger().snapshot());
    }
    if large {
        quorate_env::probe!("consensus.log_trimmed_by_bytes");
        quorate_env::count!("quorate_consensus_logs_trimmed_by_bytes_total");
        fire(raft.trigger().purge_log(trimmed.index + behind.div_ceil(2)));
    }
    many || large
}

//! Trimming the log behind what is durable without it (`T ≤ F+1`).

use crate::driver::fire;
use crate::shared::Shared;
use std::sync::Arc;

/// Lets openraft know F, which trims what it need not keep for followers that are briefly away.
pub(crate) fn trim(shared: &Arc<Shared>) {
    let Some(raft) = shared.raft() else { return };
    let flushed = shared.flushed();
    let view = shared.frontiers.lock().view(flushed);
    let keep = shared.node.config.keep_entries;
    let excess = flushed.index.saturating_sub(view.trimmed.index).saturating_sub(keep);
    if excess > keep / 4 {
        fire(raft.trigger().snapshot());
    }
}

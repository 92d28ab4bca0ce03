//! What a fault does, and how that is undone.

use super::{disk, inside, network, processes};
use crate::demo::Cluster;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A fault, as the healer is told of it and as it is written down.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Fault {
    /// No two have the same.
    pub id: String,
    pub action: Action,
    /// `None`: until somebody heals it.
    pub lasts: Option<Duration>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Action {
    Kill { node: u64 },
    Pause { node: u64 },
    Restart { node: u64 },
    Partition { cut: Vec<u64>, from: Vec<u64>, one_way: bool },
    Loss { node: u64, others: Vec<u64>, percent: f64 },
    Latency { node: u64, delay_ms: u64, jitter_ms: u64 },
    SlowDisk { node: u64, fsync_ms: u64 },
    Clock { node: u64, offset_us: i64, rate: f64 },
    FillDisk { node: u64 },
}

impl Fault {
    pub fn new(action: Action, lasts: Option<Duration>) -> Self {
        Fault { id: format!("{:016x}", super::target::unique()), action, lasts }
    }
}

impl Action {
    /// All that it touches.
    pub fn nodes(&self) -> Vec<u64> {
        match self {
            Action::Kill { node } | Action::Pause { node } | Action::Restart { node } => vec![*node],
            Action::Partition { cut, .. } => cut.clone(),
            Action::Loss { node, .. }
            | Action::Latency { node, .. }
            | Action::SlowDisk { node, .. }
            | Action::Clock { node, .. }
            | Action::FillDisk { node } => vec![*node],
        }
    }

    /// What no two faults may have in their hands at the same time: the end of the one would end the other.
    pub fn holds(&self) -> Vec<String> {
        match self {
            Action::Kill { node } | Action::Pause { node } | Action::Restart { node } => {
                vec![format!("the process of node {node}")]
            }
            Action::Latency { node, .. } => vec![format!("the messages of node {node}")],
            Action::SlowDisk { node, .. } => vec![format!("the disk of node {node}")],
            Action::Clock { node, .. } => vec![format!("the clock of node {node}")],
            // The node may end of it.
            Action::FillDisk { node } => {
                vec![format!("the process of node {node}"), format!("the space of node {node}")]
            }
            // Its rules are told from others' by its id.
            Action::Partition { .. } | Action::Loss { .. } => vec![],
        }
    }

    /// Whether there is something that would go on, or be in the way, when all nodes are stopped.
    pub fn outlives_nodes(&self) -> bool {
        !matches!(self, Action::Kill { .. } | Action::Restart { .. })
    }

    pub async fn apply(&self, cluster: &Cluster, id: &str) -> Result<()> {
        match self {
            Action::Kill { node } => processes::kill(cluster, cluster.node(*node)?).await,
            Action::Pause { node } => processes::pause(cluster, cluster.node(*node)?),
            Action::Restart { node } => processes::stop(cluster, cluster.node(*node)?).await,
            Action::Partition { cut, from, one_way } => {
                network::apply(cluster, id, &network::partition(cut, from, *one_way))
            }
            Action::Loss { node, others, percent } => {
                network::apply(cluster, id, &network::loss(*node, others, *percent))
            }
            Action::FillDisk { node } => disk::fill(cluster, cluster.node(*node)?),
            Action::Latency { node, delay_ms, jitter_ms } => {
                inside::tell(cluster, cluster.node(*node)?, |told| {
                    (told.delay_ms, told.jitter_ms) = (*delay_ms, *jitter_ms);
                })
            }
            Action::SlowDisk { node, fsync_ms } => {
                inside::tell(cluster, cluster.node(*node)?, |told| told.fsync_ms = *fsync_ms)
            }
            Action::Clock { node, offset_us, rate } => inside::tell(cluster, cluster.node(*node)?, |told| {
                (told.clock_offset_us, told.clock_rate) = (*offset_us, *rate);
            }),
        }
    }

    /// Harmless if it was done before, or if there is nothing to undo.
    pub async fn undo(&self, cluster: &Cluster, id: &str) -> Result<()> {
        match self {
            Action::Kill { node } | Action::Restart { node } => {
                processes::start(cluster, cluster.node(*node)?).await
            }
            Action::Pause { node } => processes::resume(cluster, cluster.node(*node)?),
            Action::Partition { .. } | Action::Loss { .. } => network::undo(cluster, id),
            Action::FillDisk { node } => disk::empty(cluster, cluster.node(*node)?).await,
            Action::Latency { node, .. } => inside::tell(cluster, cluster.node(*node)?, |told| {
                (told.delay_ms, told.jitter_ms) = (0, 0);
            }),
            Action::SlowDisk { node, .. } => {
                inside::tell(cluster, cluster.node(*node)?, |told| told.fsync_ms = 0)
            }
            Action::Clock { node, .. } => inside::tell(cluster, cluster.node(*node)?, |told| {
                (told.clock_offset_us, told.clock_rate) = (0, 1.0);
            }),
        }
    }
}

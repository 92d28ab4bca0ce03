//! What a fault does, and how that is undone.

use super::{network, processes};
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
            Action::Loss { node, .. } => vec![*node],
        }
    }

    /// What no two faults may have in their hands at the same time: the end of the one would end the other.
    pub fn holds(&self) -> Vec<String> {
        match self {
            Action::Kill { node } | Action::Pause { node } | Action::Restart { node } => {
                vec![format!("the process of node {node}")]
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
        }
    }
}

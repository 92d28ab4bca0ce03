//! A node is decommissioned in the midst of a run: it leaves with nothing on it, whatever else goes wrong meanwhile.

use crate::{
    cluster::{Cluster, about},
    node::Node,
};
use parking_lot::Mutex;
use quorate_proto::{
    NodeId, Span,
    placement::{NodeState, Operation, PlacementReply, PlacementRequest},
};
use std::time::Duration;

/// Between two tries to have it begun, or looks whether it is over.
const AGAIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// With so long a patience no node is ever given up: then the one that leaves is empty. (The dead leave without being asked for what
/// they hold.)
pub const NEVER_DEAD: Duration = Duration::from_secs(30);

/// At most one in a run: where there are four nodes, three have to stay.
#[derive(Default)]
pub struct Departure {
    leaving: Mutex<Option<NodeId>>,
    problems: Mutex<Vec<String>>,
}

impl Cluster {
    /// Has the driver asked, by one node or the other, until it has begun: it refuses while no other node could take a copy. Nothing
    /// comes of it where there are no more nodes than a shard is to have copies.
    pub fn decommission(&self, id: NodeId) {
        let asked_for = self.knobs.placing.as_ref().and_then(|placing| placing.replicas);
        if self.nodes().len() as u64 <= asked_for.unwrap_or(3) {
            return;
        }
        *self.departure.leaving.lock() = Some(id);
        let cluster = self.clone();
        let asking = async move {
            while cluster.departure.leaving.lock().is_some() {
                if let Some(asker) = cluster.running.any(&cluster.world) {
                    let start = PlacementRequest::Start(Operation::Decommission { node: id });
                    if let Some(PlacementReply::Started(_)) = ask(&asker, start).await {
                        return;
                    }
                }
                cluster.world.sleep(AGAIN).await;
            }
        };
        self.world.spawn("sim.decommission", asking).detach();
    }

    /// Whether the node belongs to the cluster no more, and never will again.
    pub fn has_left(&self, id: NodeId) -> bool {
        !self.nodes().contains(&id)
    }

    /// Looks whether the node that is to leave has heard that it has, and if so what is left on it, and stops it.
    pub async fn see_off(&self) {
        let Some(id) = *self.departure.leaving.lock() else { return };
        let Some(node) = self.running.get(id).filter(|node| node.env.clock().is_retired()) else { return };
        let (held, driver) = (node.shards.reports().len(), node.host.placement().is_some());
        let rows = self.data(id, &Span::ALL).len();
        let was_asked = self.knobs.repair_after >= NEVER_DEAD;
        if was_asked && (held > 0 || driver || rows > 0) {
            let problem = format!("node {id} has left with {held} copies and {rows} rows, driver: {driver}");
            self.departure.problems.lock().push(problem);
        }
        *self.departure.leaving.lock() = None;
        self.dismiss(id).await;
        about(id, "has left");
    }

    /// Waits until it has left.
    ///
    /// # Errors
    /// When it does not come to that, or the node was not empty.
    pub async fn departed(&self, patience: Duration) -> Result<(), String> {
        let deadline = self.world.elapsed() + patience;
        loop {
            self.see_off().await;
            let Some(id) = *self.departure.leaving.lock() else { break };
            // One that has burned down hears nothing.
            if self.has_left(id) && self.shown(id).await == Some(NodeState::Decommissioned) {
                *self.departure.leaving.lock() = None;
                break;
            }
            if self.world.elapsed() > deadline {
                return Err(format!("node {id} does not leave; under way: {:?}", self.under_way().await));
            }
            self.world.sleep(AGAIN).await;
        }
        match self.departure.problems.lock().first() {
            Some(problem) => Err(problem.clone()),
            None => Ok(()),
        }
    }

    async fn shown(&self, id: NodeId) -> Option<NodeState> {
        match ask(&self.running.any(&self.world)?, PlacementRequest::Nodes).await {
            Some(PlacementReply::Nodes(all)) => {
                all.iter().find(|node| node.info.id == id).map(|node| node.state)
            }
            _ => None,
        }
    }
}

async fn ask(asker: &Node, request: PlacementRequest) -> Option<PlacementReply> {
    let driver = asker.driver.clone();
    let asked = asker.env.spawn("sim.ask", async move { driver.request(request, PATIENCE).await });
    asked.join().await.ok()?.ok()
}

//! What operators say of nodes: drain, undrain, decommission, stay after all.

use crate::{
    Placement,
    command::Command,
    leader::Session,
    planner::leave::{self, Room},
    run,
};
use quorate_proto::{
    NodeId,
    placement::{Leaving, NodeOrder, PlacementError},
};

impl Placement {
    pub(crate) async fn order(&self, node: NodeId, order: NodeOrder) -> Result<(), PlacementError> {
        let now = self.machine.state().leaving(node);
        let refused = |why: &str| Err(PlacementError::Refused(format!("node {node} {why}")));
        let then = match (order, now) {
            (NodeOrder::Drain, Leaving::Decommissioning) => {
                return refused("is being decommissioned, and has been drained for that");
            }
            (NodeOrder::Undrain, Leaving::Decommissioning) => {
                return refused(
                    "is being decommissioned; `quorate node decommission --cancel` calls that off",
                );
            }
            (NodeOrder::Recommission, Leaving::No | Leaving::Draining) => {
                return refused("is not being decommissioned");
            }
            (NodeOrder::Drain, _) => Leaving::Draining,
            (NodeOrder::Undrain | NodeOrder::Recommission, _) => Leaving::No,
        };
        tracing::info!(%node, ?then, "an operator's order");
        let at = self.env.clock().physical();
        self.propose(Command::SetLeaving(node, then, at)).await.map(|_| ())
    }

    /// Whether a decommission can come to its end, as things stand.
    pub(crate) fn can_go(&self, session: &Session, node: NodeId) -> Result<(), String> {
        let obstacles = leave::obstacles(&run::view(self, session), node, &room(self, session));
        if obstacles.is_empty() { Ok(()) } else { Err(obstacles.join("; ")) }
    }
}

/// What copies take up, and what is left of disks, as was last said.
fn room(placement: &Placement, session: &Session) -> Room {
    let mut room = Room::default();
    for (_, report) in session.replicas() {
        let known = room.shards.entry(report.shard).or_default();
        *known = report.size_bytes.max(*known);
    }
    let said = |id: &NodeId| Some((*id, session.space(*id))).filter(|(_, space)| space.free > 0);
    let told = placement.machine.state().nodes.keys().filter_map(said).collect::<Vec<_>>();
    room.free.extend(told.into_iter().map(|(id, space)| (id, space.free.saturating_sub(space.reserve))));
    room
}

//! Nodes on their way out, as the replicated state has them: who stays, drains, is being decommissioned, or has gone.
//!
//! Who has gone never comes back under its id: other nodes do not count its clock any more (PROTOCOL 21), and nobody waits for
//! the catalog version that it used or the past that it read.

use crate::{
    planner::named,
    state::{NodeRecord, State},
};
use quorate_env::planted;
use quorate_proto::{
    NodeId, Timestamp,
    placement::{Leaving, NodeState},
};

impl NodeRecord {
    /// What operators are shown, as long as the node is heard of.
    pub fn shown(&self) -> NodeState {
        match (self.state, self.leaving) {
            (NodeState::Live, Leaving::Draining) => NodeState::Draining,
            (NodeState::Live, Leaving::Decommissioning) => NodeState::Decommissioning,
            (state, _) => state,
        }
    }
}

impl State {
    pub(crate) fn set_leaving(
        &mut self,
        node: NodeId,
        leaving: Leaving,
        at: Timestamp,
    ) -> Result<(), String> {
        let (holds, joins) = (self.copies_on(node), self.joins(node));
        let record = self.nodes.get_mut(&node).ok_or_else(|| format!("there is no node {node}"))?;
        match (record.leaving, leaving) {
            (now, then) if now == then => return Ok(()),
            (Leaving::Gone, _) => {
                return Err(format!(
                    "node {node} was decommissioned; start one with an empty directory under a new --node-id"
                ));
            }
            (Leaving::Decommissioning, Leaving::Gone) if holds > 0 => {
                return Err(format!("node {node} still holds copies of {holds} shards"));
            }
            (Leaving::Decommissioning, Leaving::Gone)
                if !joins.is_empty() && !planted!("placement.leaves_while_it_joins") =>
            {
                return Err(format!("node {node} is becoming a member of {}", joins.join(" and ")));
            }
            (Leaving::Decommissioning, Leaving::Gone) => record.state = NodeState::Decommissioned,
            (_, Leaving::Gone) => return Err(format!("node {node} is not being decommissioned")),
            _ => {}
        }
        record.leaving = leaving;
        record.since = at;
        Ok(())
    }

    /// Of how many shards the node holds a copy, as far as the map knows.
    pub(crate) fn copies_on(&self, node: NodeId) -> usize {
        self.shards.values().filter(|record| record.descriptor.replica_on(node).is_some()).count()
    }

    /// Of what an operation makes it a member. (None that starts later does so, once the node is to leave.)
    pub(crate) fn joins(&self, node: NodeId) -> Vec<String> {
        let gear = self.running().filter_map(|record| record.gear.as_ref());
        gear.filter(|gear| gear.node == Some(node)).map(|gear| named(gear.of)).collect()
    }

    pub(crate) fn leaving(&self, node: NodeId) -> Leaving {
        self.nodes.get(&node).map_or(Leaving::No, |record| record.leaving)
    }

    /// Who has left for good before that time.
    pub(crate) fn gone_before(&self, at: Timestamp) -> Vec<NodeId> {
        let gone = |record: &&NodeRecord| record.leaving == Leaving::Gone && record.since <= at;
        self.nodes.values().filter(gone).map(|record| record.info.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{Command, GearRequest, Reply},
        state::Touched,
    };
    use quorate_proto::{
        ShardId,
        placement::{NodeInfo, Operation},
    };

    const NODE: NodeId = NodeId(3);

    fn info() -> NodeInfo {
        NodeInfo {
            id: NODE,
            incarnation: 1,
            rpc_address: String::new(),
            sql_address: String::new(),
            http_address: String::new(),
            locality: Vec::new(),
            roles: 7,
        }
    }

    fn known() -> State {
        let mut state = State::default();
        state.apply(Command::UpsertNode(info(), Timestamp::ZERO), &mut Touched::default());
        state
    }

    #[test]
    fn a_node_drains_through_death_and_restart_until_it_is_told_otherwise() {
        let (mut state, mut touched) = (known(), Touched::default());
        state.set_leaving(NODE, Leaving::Draining, Timestamp::ZERO).unwrap();
        assert_eq!(state.nodes[&NODE].shown(), NodeState::Draining);
        state.apply(Command::SetNodeState(NODE, NodeState::Dead, Timestamp::ZERO), &mut touched);
        assert_eq!(state.nodes[&NODE].shown(), NodeState::Dead);
        let restarted = NodeInfo { incarnation: 2, ..info() };
        state.apply(Command::UpsertNode(restarted, Timestamp::ZERO), &mut touched);
        assert_eq!(state.nodes[&NODE].shown(), NodeState::Draining);
        state.set_leaving(NODE, Leaving::No, Timestamp::ZERO).unwrap();
        assert_eq!(state.nodes[&NODE].shown(), NodeState::Live);
    }

    #[test]
    fn a_node_that_becomes_a_member_of_the_driver_does_not_go_nor_the_other_way_round() {
        let (mut state, mut touched) = (known(), Touched::default());
        let mut start = |operation: Operation, state: &mut State| {
            let (origin, at) = ("operator".into(), Timestamp::ZERO);
            match state.apply(Command::StartOperation { operation, origin, at, decision: None }, &mut touched)
            {
                Reply::Number(id) => id,
                other => panic!("{other:?}"),
            }
        };
        let shard = ShardId::PLACEMENT;
        let joins = start(Operation::MoveReplica { shard, from: NodeId(1), to: NODE }, &mut state);
        let gear = GearRequest { shard: false, replicas: 1, of: shard, node: Some(NODE), above: 9 };
        let equip = |id: u64| Command::Equip { id, gear };
        let Reply::Gear(given) = state.apply(equip(joins), &mut Touched::default()) else { panic!() };
        assert_eq!(given.replica, 10, "greater than any founder's");
        start(Operation::Decommission { node: NODE }, &mut state);
        let refused = state.set_leaving(NODE, Leaving::Gone, Timestamp::ZERO);
        assert!(refused.unwrap_err().contains("becoming a member of the placement driver"));
        // What was given is given again, and to nobody else.
        assert_eq!(state.apply(equip(joins), &mut Touched::default()), Reply::Gear(given));
        let late = start(Operation::MoveReplica { shard, from: NodeId(2), to: NODE }, &mut state);
        assert!(matches!(state.apply(equip(late), &mut Touched::default()), Reply::Refused(_)));
    }

    #[test]
    fn only_a_node_without_copies_goes_and_it_never_comes_back() {
        let (mut state, mut touched) = (known(), Touched::default());
        assert!(state.set_leaving(NodeId(9), Leaving::Draining, Timestamp::ZERO).is_err());
        assert!(state.set_leaving(NODE, Leaving::Gone, Timestamp::ZERO).is_err(), "nobody has asked for it");
        state.apply(Command::Found(vec![NODE], Timestamp::ZERO), &mut touched);
        let start = Command::StartOperation {
            operation: Operation::Decommission { node: NODE },
            origin: "operator".into(),
            at: Timestamp::ZERO,
            decision: None,
        };
        state.apply(start, &mut touched);
        assert_eq!(state.nodes[&NODE].shown(), NodeState::Decommissioning);
        let refused = state.set_leaving(NODE, Leaving::Gone, Timestamp::ZERO);
        assert!(refused.unwrap_err().contains("1 shards"));
        state.shards.clear();
        state.set_leaving(NODE, Leaving::Gone, Timestamp::ZERO).unwrap();
        assert_eq!(state.gone_before(Timestamp::ZERO), [NODE]);
        for back in [Leaving::No, Leaving::Draining, Leaving::Decommissioning] {
            assert!(state.set_leaving(NODE, back, Timestamp::ZERO).is_err());
        }
        state.apply(Command::SetNodeState(NODE, NodeState::Dead, Timestamp::ZERO), &mut touched);
        state.apply(Command::UpsertNode(info(), Timestamp::ZERO), &mut touched);
        assert_eq!(state.nodes[&NODE].shown(), NodeState::Decommissioned);
    }
}

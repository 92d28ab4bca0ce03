//! The steps in words: what was seen, what speaks for and against each node, and why one gets no copy.

use super::{Case, Input, Node, Step};
use crate::planner::{homes, standing::moved, why::Words};
use quorate_proto::{NodeId, placement::Operation};
use std::cmp::Ordering;

impl Case<'_> {
    /// What stands for and against a node, for the step that is taken.
    fn candidate(&self, step: &Step, node: &Node) -> (NodeId, i64, String) {
        if let Step::Lead(_) = step {
            let out = match self.shard.replica_on(node.id) {
                None => Some("holds no copy"),
                Some(_) if !node.leads => Some("may not lead now"),
                Some(_) => None,
            };
            let rank = self.rank(node.id);
            let score = out.map_or(-i64::try_from(rank).unwrap_or(i64::MAX), |_| i64::MIN);
            return (node.id, score, out.map_or_else(|| format!("preference {}", rank + 1), str::to_owned));
        }
        let copies = homes(self.shard);
        let (then, out) = match step {
            Step::Shrink(removed) => {
                let left = copies.iter().copied().filter(|copy| *copy != node.id).collect();
                let out = self.shard.replica_on(node.id).is_none().then(|| "holds no copy".to_owned());
                let goes = removed.contains(&node.id).then_some("; goes");
                let told = format!("holds {} copies{}", node.held, goes.unwrap_or_default());
                (left, out.ok_or(told))
            }
            Step::Mend(from, _) | Step::Spread(from, _) => (
                moved(&copies, *from, node.id),
                self.out(node).ok_or_else(|| format!("holds {} copies", node.held)),
            ),
            Step::Grow(_) | Step::Lead(_) => (
                [&copies[..], &[node.id]].concat(),
                self.out(node).ok_or_else(|| format!("holds {} copies", node.held)),
            ),
        };
        match out {
            Ok(why) => (node.id, i64::MIN, why),
            Err(told) => {
                let standing = self.standing(&then);
                let words = self.places.told(&standing);
                let told = if words.is_empty() { told } else { format!("{told}; {words}") };
                (node.id, standing.score(node.held), told)
            }
        }
    }

    fn out(&self, node: &Node) -> Option<String> {
        let against = self.against(node);
        (!against.is_empty()).then(|| against.join(", "))
    }

    pub(super) fn words(&self, step: &Step) -> (Operation, Words) {
        let (id, copies) = (self.shard.id, homes(self.shard));
        let (have, wanted) = (copies.len(), self.wanted());
        let list = |nodes: &[NodeId]| {
            let named: Vec<String> = nodes.iter().map(|node| format!("node {node}")).collect();
            named.join(" and ")
        };
        let resize = |add: &[NodeId], remove: &[NodeId]| Operation::Resize {
            shard: id,
            add: add.to_vec(),
            remove: remove.to_vec(),
        };
        let unfulfilled = || match self.rule {
            Some(rule) => self.places.unfulfilled(rule, &copies).join(", "),
            None => String::new(),
        };
        let (scheduler, operation, seen, chosen) = match step {
            Step::Grow(add) => (
                "constraints",
                resize(add, &[]),
                format!("shard {id} has {have} copies, of {wanted}"),
                format!("further copies on {}", list(add)),
            ),
            Step::Shrink(remove) => (
                "constraints",
                resize(&[], remove),
                format!("shard {id} has {have} copies, of {wanted}"),
                format!("no copies on {} any more", list(remove)),
            ),
            Step::Mend(from, to) => (
                "constraints",
                Operation::MoveReplica { shard: id, from: *from, to: *to },
                format!("shard {id}: {}", unfulfilled()),
                format!("move a copy from node {from} to node {to}"),
            ),
            Step::Spread(from, to) => (
                "spread",
                Operation::MoveReplica { shard: id, from: *from, to: *to },
                format!("the copies of shard {id}: {}", self.places.told(&self.standing(&copies))),
                format!("move a copy from node {from} to node {to}"),
            ),
            Step::Lead(to) => (
                "leader preference",
                Operation::TransferLeader { shard: id, to: *to },
                format!(
                    "shard {id} is led by node {}, preference {}",
                    self.leader,
                    self.rank(self.leader) + 1
                ),
                format!("let node {to} lead"),
            ),
        };
        let candidates = self.nodes.iter().map(|node| self.candidate(step, node)).collect();
        (operation, Words { scheduler, shard: id, seen, candidates, options: Vec::new(), chosen })
    }
}

impl Input {
    /// Why the node gets no copy by what is asked for and for the spread. Nothing: it does.
    pub(in crate::planner) fn why_not(&self, id: NodeId) -> Vec<String> {
        let case = self.case();
        let Some(node) = self.nodes.iter().find(|node| node.id == id) else {
            return vec![format!("there is no node {id}")];
        };
        let against = case.against(node);
        if !against.is_empty() {
            return against;
        }
        let copies = homes(&self.shard);
        let now = case.standing(&copies);
        let compare = |from: &NodeId| {
            let then = case.standing(&moved(&copies, *from, id));
            let told = match self.places.told(&then) {
                told if told.is_empty() => String::new(),
                told => format!(": {told}, instead of {}", self.places.told(&now)),
            };
            match then.cmp(&now) {
                Ordering::Less => None,
                Ordering::Equal => Some(format!("in the place of node {from} it would bring nothing{told}")),
                Ordering::Greater if then.unmet > now.unmet => {
                    Some(format!("in the place of node {from} it would break what is asked for{told}"))
                }
                Ordering::Greater => {
                    Some(format!("in the place of node {from} it would lower the spread{told}"))
                }
            }
        };
        let all: Vec<Option<String>> = copies.iter().map(compare).collect();
        match all.iter().any(Option::is_none) {
            true => self.outdone(id),
            false => all.into_iter().flatten().collect(),
        }
    }

    /// It would do, and another one is taken.
    fn outdone(&self, id: NodeId) -> Vec<String> {
        match self.decide() {
            Some((Operation::MoveReplica { to, .. }, _)) if to == id => Vec::new(),
            Some((Operation::Resize { add, .. }, _)) if add.contains(&id) => Vec::new(),
            Some((_, words)) => vec![format!("the next step is another one: {}", words.chosen)],
            None => vec!["placement.spread or placement.constraints is off".to_owned()],
        }
    }
}

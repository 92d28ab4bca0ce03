//! What lies on cycles: the strongly connected components of the graph, walked as a shape allows (Tarjan, 1972, without
//! recursion). Linear in the edges, so that a long history without any cycle is judged at once.

use super::{Graph, Node, STATES, Shape};
use std::collections::BTreeSet;

const UNSEEN: usize = usize::MAX;

struct Search<'a> {
    graph: &'a Graph,
    shape: Shape,
    /// By place: when it was first seen, and the first seen place of the stack that it leads to.
    seen: Vec<usize>,
    low: Vec<usize>,
    stacked: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    found: Vec<BTreeSet<Node>>,
}

pub(super) fn find(graph: &Graph, shape: Shape) -> Vec<BTreeSet<Node>> {
    let places = graph.out.len() * STATES;
    let mut search = Search {
        graph,
        shape,
        seen: vec![UNSEEN; places],
        low: vec![UNSEEN; places],
        stacked: vec![false; places],
        stack: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for root in 0..places {
        if search.seen[root] == UNSEEN {
            search.walk(root);
        }
    }
    search.found
}

impl Search<'_> {
    fn enter(&mut self, place: usize) {
        (self.seen[place], self.low[place]) = (self.next, self.next);
        self.next += 1;
        self.stacked[place] = true;
        self.stack.push(place);
    }

    fn walk(&mut self, root: usize) {
        self.enter(root);
        // Each place with the number of its edges that were followed.
        let mut path = vec![(root, 0)];
        while let Some((place, followed)) = path.last_mut() {
            let place = *place;
            let Some(edge) = self.graph.out[place / STATES].get(*followed) else {
                path.pop();
                self.leave(place);
                if let Some((parent, _)) = path.last() {
                    self.low[*parent] = self.low[*parent].min(self.low[place]);
                }
                continue;
            };
            *followed += 1;
            let Some(state) = self.shape.step(place % STATES, edge.why.kind()) else { continue };
            let next = edge.to * STATES + state;
            if self.seen[next] == UNSEEN {
                self.enter(next);
                path.push((next, 0));
            } else if self.stacked[next] {
                self.low[place] = self.low[place].min(self.seen[next]);
            }
        }
    }

    /// All that a place leads to is seen: if it leads to nothing before it, it is the first of a component.
    fn leave(&mut self, place: usize) {
        if self.low[place] != self.seen[place] {
            return;
        }
        let mut nodes = BTreeSet::new();
        while let Some(member) = self.stack.pop() {
            self.stacked[member] = false;
            nodes.insert(member / STATES);
            if member == place {
                break;
            }
        }
        if nodes.len() > 1 {
            self.found.push(nodes);
        }
    }
}

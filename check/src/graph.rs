//! Dependencies between transactions, and the cycles among them (Adya, "Weak Consistency", 1999). Pure.

mod knots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub type Key = i64;
pub type Element = u64;
/// A transaction's place in the history.
pub type Node = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ww,
    Wr,
    Rw,
    RealTime,
}

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It appended `earlier`, and the other `later` right behind it.
    Ww { key: Key, earlier: Element, later: Element },
    /// The other read the list that ends with what it appended.
    Wr { key: Key, last: Element },
    /// It read the list as it was before the other appended `next`.
    Rw { key: Key, next: Element },
    /// It was answered before the other began.
    RealTime,
}

impl Why {
    pub fn kind(self) -> Kind {
        match self {
            Why::Ww { .. } => Kind::Ww,
            Why::Wr { .. } => Kind::Wr,
            Why::Rw { .. } => Kind::Rw,
            Why::RealTime => Kind::RealTime,
        }
    }

    pub fn key(self) -> Option<Key> {
        match self {
            Why::Ww { key, .. } | Why::Wr { key, .. } | Why::Rw { key, .. } => Some(key),
            Why::RealTime => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub from: Node,
    pub to: Node,
    pub why: Why,
}

/// Sorts of cycles, from the worst to what only SERIALIZABLE forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Write dependencies only.
    G0,
    /// Write and read dependencies.
    G1c,
    /// One anti-dependency besides.
    Single,
    /// Several anti-dependencies, no two in a row: what snapshot isolation still excludes (Cerone and Gotsman, 2018).
    Nonadjacent,
    /// Any anti-dependencies.
    G2,
}

/// Which walks along the edges count, as an automaton of two states over the kinds of edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub class: Class,
    /// Whether edges of real time may be among them.
    pub real_time: bool,
}

const STATES: usize = 2;

impl Shape {
    /// This shape and those that are worse, the worst first: all without real time, then with it.
    pub fn and_worse(self) -> impl Iterator<Item = Shape> {
        let classes = [Class::G0, Class::G1c, Class::Single, Class::Nonadjacent, Class::G2];
        let with = [false, true].into_iter().filter(move |real_time| self.real_time || !real_time);
        with.flat_map(move |real_time| classes.map(|class| Shape { class, real_time }))
            .filter(move |shape| shape.class <= self.class)
    }

    /// The kind of an edge that every such cycle has.
    fn first(self) -> Kind {
        match self.class {
            Class::G0 => Kind::Ww,
            Class::G1c => Kind::Wr,
            _ => Kind::Rw,
        }
    }

    /// The state behind an edge, or that it may not follow.
    fn step(self, state: usize, kind: Kind) -> Option<usize> {
        let allowed = match kind {
            Kind::Ww => true,
            Kind::Wr => self.class != Class::G0,
            Kind::Rw => self.class == Class::G2 || (self.class > Class::G1c && state == 0),
            Kind::RealTime => self.real_time,
        };
        let next = match self.class {
            // Whether the one anti-dependency is among what was walked.
            Class::Single => state.max(usize::from(kind == Kind::Rw)),
            // Whether the last edge was one.
            Class::Nonadjacent => usize::from(kind == Kind::Rw),
            _ => 0,
        };
        allowed.then_some(next)
    }

    /// Whether a walk that began with [`Shape::first`] may end where it began.
    fn closes(self, state: usize) -> bool {
        self.class != Class::Nonadjacent || state == 0
    }
}

/// Where a walk is: the transaction, and the state of the shape.
type Place = (Node, usize);

pub struct Graph {
    out: Vec<Vec<Edge>>,
}

/// Edges looked at for the shortest cycle of one shape before a longer one will do, or none.
const PATIENCE: usize = 3_000_000;

impl Graph {
    /// Of several edges of one kind between two transactions one is kept.
    pub fn new(nodes: usize, edges: impl IntoIterator<Item = Edge>) -> Graph {
        let mut out: Vec<Vec<Edge>> = vec![Vec::new(); nodes];
        for edge in edges {
            if edge.from != edge.to {
                out[edge.from].push(edge);
            }
        }
        for edges in &mut out {
            edges.sort_by_key(|edge| (edge.to, edge.why.kind()));
            edges.dedup_by_key(|edge| (edge.to, edge.why.kind()));
        }
        Graph { out }
    }

    pub fn count(&self, kind: Kind) -> u64 {
        self.out.iter().flatten().filter(|edge| edge.why.kind() == kind).count() as u64
    }

    /// The transactions that lie on cycles of this shape, by what hangs together.
    pub fn knots(&self, shape: Shape) -> Vec<BTreeSet<Node>> {
        knots::find(self, shape)
    }

    /// A shortest cycle of this shape within a knot, if it has one.
    ///
    /// `sure`: it has. Otherwise the search may end without one in a knot that is too large for it.
    pub fn shortest(&self, knot: &BTreeSet<Node>, shape: Shape, sure: bool) -> Option<Vec<Edge>> {
        let mut best: Option<Vec<Edge>> = None;
        let mut looked = 0;
        let edges = knot.iter().flat_map(|node| &self.out[*node]);
        for first in edges.filter(|edge| edge.why.kind() == shape.first() && knot.contains(&edge.to)) {
            let below = best.as_ref().map_or(usize::MAX, Vec::len);
            if below == 2 || (looked > PATIENCE && (best.is_some() || !sure)) {
                break;
            }
            best = self.back(knot, shape, first, below, &mut looked).or(best);
        }
        best
    }

    /// A shortest way from an edge's end back to its beginning, with the edge; `None` if it is not below so many edges.
    fn back(
        &self,
        knot: &BTreeSet<Node>,
        shape: Shape,
        first: &Edge,
        below: usize,
        looked: &mut usize,
    ) -> Option<Vec<Edge>> {
        let start: Place = (first.to, shape.step(0, first.why.kind())?);
        let mut came: BTreeMap<Place, (Place, &Edge)> = BTreeMap::new();
        let mut due = VecDeque::from([(start, 1)]);
        while let Some((place, length)) = due.pop_front() {
            if length + 1 >= below {
                return None;
            }
            for edge in self.out[place.0].iter().filter(|edge| knot.contains(&edge.to)) {
                *looked += 1;
                let Some(state) = shape.step(place.1, edge.why.kind()) else { continue };
                let next = (edge.to, state);
                if next == start || came.contains_key(&next) {
                    continue;
                }
                came.insert(next, (place, edge));
                if edge.to == first.from && shape.closes(state) {
                    return Some(cycle(first, &came, next, start));
                }
                due.push_back((next, length + 1));
            }
        }
        None
    }
}

fn cycle(first: &Edge, came: &BTreeMap<Place, (Place, &Edge)>, end: Place, start: Place) -> Vec<Edge> {
    let (mut back, mut place) = (Vec::new(), end);
    while place != start
        && let Some((before, edge)) = came.get(&place)
    {
        back.push(**edge);
        place = *before;
    }
    back.push(*first);
    back.reverse();
    back
}

//! Transactions that append to lists and read them, in the manner of Elle (Kingsbury and Alvaro, VLDB 2020). Pure.
//!
//! Every element is appended once, so a list tells who has written it in which order, and a read which of its versions was
//! seen. From these come the dependencies between the transactions; a cycle among them is what no serial order explains.

mod cycles;
mod direct;
mod edges;
mod orders;
mod words;

pub use crate::graph::{Element, Key};
use crate::{
    attempt::Attempt,
    finding::Finding,
    graph::{Graph, Kind},
    level::Level,
};
use orders::Orders;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Append { key: Key, element: Element },
    Read { key: Key, list: Vec<Element> },
}

pub type Transaction = Attempt<Vec<Op>>;

#[derive(Clone, Debug, Default)]
pub struct History {
    pub transactions: Vec<Transaction>,
    /// All lists as they are in the end, if they were read: of the keys that are absent, there is none.
    pub last: Option<BTreeMap<Key, Vec<Element>>>,
}

#[derive(Debug)]
pub struct Verdict {
    pub findings: Vec<Finding>,
    pub keys: u64,
    pub ww: u64,
    pub wr: u64,
    pub rw: u64,
    pub real_time: u64,
    /// Groups of transactions that no serial order explains, and that this level allows.
    pub allowed: u64,
}

/// Judges a history at one level. `strict`: real time binds a serializable one, too.
pub fn judge(history: &History, level: Level, strict: bool) -> Verdict {
    let orders = Orders::new(history);
    let forbidden = level.forbids(strict);
    let graph = Graph::new(history.transactions.len(), edges::all(&orders, forbidden.real_time));
    let mut findings = direct::findings(&orders);
    findings.extend(cycles::findings(history, &graph, forbidden));
    let knots = graph.knots(Level::Serializable.forbids(false)).len() as u64;
    let allowed = if level == Level::Serializable { 0 } else { knots };
    Verdict {
        findings,
        keys: orders.lists.len() as u64,
        ww: graph.count(Kind::Ww),
        wr: graph.count(Kind::Wr),
        rw: graph.count(Kind::Rw),
        real_time: graph.count(Kind::RealTime),
        allowed,
    }
}

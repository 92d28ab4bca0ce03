//! The dependencies between transactions that took effect.

use super::{
    Element, Key, Transaction,
    orders::{Orders, views},
};
use crate::{
    attempt::Outcome,
    graph::{Edge, Node, Why},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(super) fn all(orders: &Orders, with_real_time: bool) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (key, list) in &orders.lists {
        edges.extend(writes(orders, *key, list));
    }
    for (node, transaction) in orders.effective() {
        edges.extend(reads(orders, node, transaction));
    }
    if with_real_time {
        edges.extend(real_time(orders));
    }
    edges
}

fn writes(orders: &Orders, key: Key, list: &[Element]) -> Vec<Edge> {
    // What stands there twice is told as such.
    let mut met = BTreeSet::new();
    let once = list.iter().filter(|element| met.insert(**element));
    let written: Vec<(Node, Element)> =
        once.filter_map(|element| Some((orders.writer(key, *element)?, *element))).collect();
    let edge = |pair: &[(Node, Element)]| {
        let why = Why::Ww { key, earlier: pair[0].1, later: pair[1].1 };
        Edge { from: pair[0].0, to: pair[1].0, why }
    };
    written.windows(2).map(edge).collect()
}

/// Whose version was read, and who wrote the next one. A list that does not fit the key's order tells only the first.
fn reads(orders: &Orders, node: Node, transaction: &Transaction) -> Vec<Edge> {
    let mut edges = Vec::new();
    for view in views(transaction) {
        let (key, list) = (view.key, view.of_others());
        if let Some(&last) = list.last()
            && let Some(writer) = orders.writer(key, last)
        {
            edges.push(Edge { from: writer, to: node, why: Why::Wr { key, last } });
        }
        if !view.own.is_empty() || !orders.is_prefix(key, list) {
            continue;
        }
        let order = orders.lists.get(&key).copied().unwrap_or_default();
        let next = order[list.len()..].iter().find_map(|next| Some((orders.writer(key, *next)?, *next)));
        if let Some((writer, next)) = next {
            edges.push(Edge { from: node, to: writer, why: Why::Rw { key, next } });
        }
    }
    edges
}

/// Who was answered before whom began, without what follows from others: at any time the latest answered ones stand for all
/// before them. Who never got an answer precedes nobody.
fn real_time(orders: &Orders) -> Vec<Edge> {
    let mut moments: Vec<(Duration, bool, Node)> = Vec::new();
    for (node, transaction) in orders.effective() {
        moments.push((transaction.begun, false, node));
        if transaction.outcome == Outcome::Committed {
            moments.push((transaction.ended, true, node));
        }
    }
    // In the same moment beginnings come first: those overlap.
    moments.sort_unstable();
    let mut edges = Vec::new();
    let mut latest: BTreeSet<Node> = BTreeSet::new();
    let mut before: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
    for (_, answered, node) in moments {
        if answered {
            for earlier in before.remove(&node).unwrap_or_default() {
                latest.remove(&earlier);
            }
            latest.insert(node);
        } else {
            edges.extend(latest.iter().map(|from| Edge { from: *from, to: node, why: Why::RealTime }));
            before.insert(node, latest.iter().copied().collect());
        }
    }
    edges
}

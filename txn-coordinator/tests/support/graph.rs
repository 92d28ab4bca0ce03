//! Is a history serializable? By the cycles of its dependency graph (Adya 1999): who wrote after whom, who read whose
//! write, whose read missed whose later write.

use super::store::Store;
use quorate_proto::{Key, Timestamp, TxnId};
use std::collections::{BTreeMap, BTreeSet};

/// What one committed transaction has seen: keys, each with the writer of the version, or nobody.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub reads: Vec<(Key, Option<TxnId>)>,
}

/// Panics with the cycle if there is one.
pub fn assert_serializable(store: &Store, observed: &BTreeMap<TxnId, Observed>) {
    let mut order: BTreeMap<&Key, Vec<(Timestamp, TxnId)>> = BTreeMap::new();
    for (key, versions) in &store.versions {
        order.insert(key, versions.iter().map(|(ts, version)| (*ts, version.writer)).collect());
    }
    let mut edges: BTreeMap<TxnId, BTreeSet<(TxnId, String)>> = BTreeMap::new();
    let mut edge = |from: TxnId, to: TxnId, why: String| {
        if from != to {
            edges.entry(from).or_default().insert((to, why));
        }
    };
    for (key, versions) in &order {
        for pair in versions.windows(2) {
            edge(pair[0].1, pair[1].1, format!("ww {key:?}"));
        }
    }
    for (reader, seen) in observed {
        for (key, writer) in &seen.reads {
            let versions = order.get(key).map(Vec::as_slice).unwrap_or_default();
            let next = match writer {
                None => versions.first(),
                Some(writer) => {
                    edge(*writer, *reader, format!("wr {key:?}"));
                    let at = versions.iter().position(|(_, w)| w == writer);
                    let at = at.unwrap_or_else(|| panic!("{reader} read what {writer} never committed"));
                    versions.get(at + 1)
                }
            };
            if let Some((_, next)) = next {
                edge(*reader, *next, format!("rw {key:?}"));
            }
        }
    }
    let mut done: BTreeSet<TxnId> = BTreeSet::new();
    for start in edges.keys() {
        let mut path: Vec<(TxnId, String)> = Vec::new();
        walk(*start, &edges, &mut done, &mut path);
    }
}

fn walk(
    at: TxnId,
    edges: &BTreeMap<TxnId, BTreeSet<(TxnId, String)>>,
    done: &mut BTreeSet<TxnId>,
    path: &mut Vec<(TxnId, String)>,
) {
    if done.contains(&at) {
        return;
    }
    for (next, why) in edges.get(&at).into_iter().flatten() {
        path.push((at, why.clone()));
        if let Some(from) = path.iter().position(|(node, _)| node == next) {
            panic!("not serializable: {:?}", &path[from..]);
        }
        walk(*next, edges, done, path);
        path.pop();
    }
    done.insert(at);
}

//! Random histories are serializable.

mod support;

use quorate_proto::{Key, TxnId};
use quorate_txn::Isolation;
use std::time::Duration;
use support::{
    graph::assert_serializable,
    history::{self, Chaos, Known, seeds},
    store::Store,
};

fn history(seed: u64, chaos: Chaos) {
    history::history(seed, Isolation::Serializable, chaos, serializable);
}

fn serializable(store: &Store, known: &Known) {
    let observed = known.committed.iter().map(|(id, done)| (*id, done.observed.clone())).collect();
    assert_serializable(store, &observed);
    recent(store, known);
}

/// Of each key, whoever begins after a write was acknowledged reads that or a later one.
fn recent(store: &Store, known: &Known) {
    let place = |key: &Key, writer: TxnId| {
        let mut versions = store.versions.get(key).into_iter().flat_map(|versions| versions.values());
        versions.position(|version| version.writer == writer)
    };
    for (reader, done) in &known.committed {
        for (key, seen) in &done.observed.reads {
            let seen = seen.and_then(|writer| place(key, writer));
            let before = known.committed.iter().filter(|(_, other)| other.ended < done.began);
            for (writer, _) in before.filter(|(_, other)| other.written.contains(key)) {
                assert!(
                    seen >= place(key, *writer),
                    "{reader} misses what {writer} wrote to {key:?} before it began"
                );
            }
        }
    }
}

#[test]
fn in_peace() {
    seeds().for_each(|seed| history(seed, Chaos::default()));
}

#[test]
fn with_new_leaders_and_splits() {
    seeds().for_each(|seed| history(seed, Chaos::with_new_leaders_and_splits()));
}

#[test]
fn with_lost_answers_and_crashes() {
    seeds().for_each(|seed| history(seed, Chaos::with_lost_answers_and_crashes()));
}

/// The bound is too large for commits to be waited out: who reads cannot place what is newer than its snapshot by less than that, and
/// moves past it.
#[test]
fn with_clocks_far_apart() {
    let clocks = Some((Duration::from_millis(60), Duration::from_millis(25)));
    for seed in seeds() {
        for chaos in [Chaos::default(), Chaos::with_new_leaders_and_splits()] {
            history(seed, Chaos { clocks, ..chaos });
        }
    }
}

//! Random histories are serializable.

mod support;

use quorate_txn::Isolation;
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

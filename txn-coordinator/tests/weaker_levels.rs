//! Random histories at the weaker levels show what these allow and nothing else.
//!
//! REPEATABLE READ: all that a transaction reads is one snapshot, and nothing that it writes has been written since by
//! another. READ COMMITTED: the same for each statement without locks, and what a statement locks and then writes comes right
//! after what it has found. (That nobody reads what is not committed is looked at for every level.)

mod support;

use quorate_proto::{Key, Timestamp, TxnId};
use quorate_txn::Isolation;
use support::{
    graph::Observed,
    history::{Chaos, Known, history, seeds},
    store::Store,
};

/// The versions of a key in order, each with its writer.
fn versions(store: &Store, key: &Key) -> Vec<(Timestamp, TxnId)> {
    let versions = store.versions.get(key).into_iter().flatten();
    versions.map(|(ts, version)| (*ts, version.writer)).collect()
}

/// From when and until when (exclusively) the reads are what was there.
fn window(store: &Store, observed: &Observed) -> (Timestamp, Timestamp) {
    let (mut from, mut to) = (Timestamp::ZERO, Timestamp::MAX);
    for (key, writer) in &observed.reads {
        let versions = versions(store, key);
        let next = match writer {
            None => versions.first(),
            Some(writer) => {
                let at = versions.iter().position(|(_, w)| w == writer).expect("it is committed");
                from = from.max(versions[at].0);
                versions.get(at + 1)
            }
        };
        to = to.min(next.map_or(Timestamp::MAX, |(ts, _)| *ts));
    }
    (from, to)
}

fn repeatable_read(store: &Store, known: &Known) {
    for (id, done) in &known.committed {
        let (mut from, to) = window(store, &done.observed);
        for key in &done.written {
            let versions = versions(store, key);
            // Perhaps it is an intent still.
            let Some(own) = versions.iter().position(|(_, writer)| writer == id) else { continue };
            if let Some(before) = own.checked_sub(1) {
                from = from.max(versions[before].0);
            }
        }
        assert!(from < to, "{id} has no snapshot: from {from} to {to}, {:?}", done.observed);
    }
}

fn read_committed(store: &Store, known: &Known) {
    for (id, done) in &known.committed {
        for statement in &done.snapshots {
            let (from, to) = window(store, statement);
            assert!(from < to, "a statement of {id} has no snapshot: from {from} to {to}, {statement:?}");
        }
        for (key, found) in &done.replaced {
            let versions = versions(store, key);
            let Some(own) = versions.iter().position(|(_, writer)| writer == id) else { continue };
            let before = own.checked_sub(1).map(|before| versions[before].1);
            assert_eq!(before, *found, "{id} has found another {key:?} than it has replaced");
        }
    }
}

fn both(chaos: &Chaos) {
    for seed in seeds() {
        history(seed, Isolation::RepeatableRead, chaos.clone(), repeatable_read);
        history(seed, Isolation::ReadCommitted, chaos.clone(), read_committed);
    }
}

#[test]
fn in_peace() {
    both(&Chaos::default());
}

#[test]
fn with_new_leaders_and_splits() {
    both(&Chaos::with_new_leaders_and_splits());
}

#[test]
fn with_lost_answers_and_crashes() {
    both(&Chaos::with_lost_answers_and_crashes());
}

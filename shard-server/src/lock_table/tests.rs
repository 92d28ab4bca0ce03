use super::*;
use LockMode::{Exclusive, Shared};
use quorate_proto::{NodeId, Timestamp};

const NOW: Asked = by(0);

/// By the request of this number.
const fn by(number: u64) -> Asked {
    Asked { at: Duration::from_secs(7), first: Timestamp::ZERO, number }
}

fn txn(n: u64) -> Arc<TxnMeta> {
    Arc::new(TxnMeta {
        id: TxnId(u128::from(n)),
        anchor: Key::from("a"),
        attempt: 0,
        started: Timestamp(n),
        deadline: Timestamp::MAX,
        gateway: NodeId(1),
        incarnation: 1,
        session: None,
    })
}

fn key(text: &str) -> Key {
    Key::from(text)
}

#[test]
fn first_come_first_served() {
    let mut table = LockTable::default();
    let (t1, t2, t3, t4) = (txn(1), txn(2), txn(3), txn(4));
    let k = key("k");
    assert!(table.try_lock(&k, &t1, Exclusive, NOW).is_ok());
    assert!(table.try_lock(&k, &t1, Shared, NOW).is_ok(), "a holder may ask again");
    assert_eq!(table.try_lock(&k, &t2, Shared, NOW).unwrap_err().id, t1.id);
    let w2 = table.queue(&k, &t2, Shared, NOW);
    let w3 = table.queue(&k, &t3, Exclusive, NOW);
    let w4 = table.queue(&k, &t4, Shared, NOW);
    assert_eq!(table.release_all(t1.id), vec![(w2, Turn::Granted)], "the exclusive one in line keeps w4 out");
    assert!(table.try_lock(&k, &txn(5), Shared, NOW).is_err(), "nobody overtakes");
    assert_eq!(table.release(&k, t2.id), vec![(w3, Turn::Granted)]);
    assert_eq!(table.release(&k, t3.id), vec![(w4, Turn::Granted)]);
    assert!(table.release(&k, t4.id).is_empty() && table.is_empty() && table.locks() == 0);
}

#[test]
fn who_comes_back_has_its_place() {
    let mut table = LockTable::default();
    let (t1, t2, t3, t4) = (txn(1), txn(2), txn(3), txn(4));
    let k = key("k");
    let since = |n| Asked { first: Timestamp(n), ..NOW };
    table.try_lock(&k, &t1, Shared, NOW).unwrap();
    let w3 = table.queue(&k, &t3, Exclusive, since(5));
    let w4 = table.queue(&k, &t4, Exclusive, since(6));
    let w2 = table.queue(&k, &t2, Exclusive, since(3));
    assert!([w3, w4, w2].iter().all(|id| table.entered(*id).is_empty()));
    // Nobody before it stands in its way.
    let w5 = table.queue(&k, &txn(5), Shared, since(2));
    assert_eq!(table.entered(w5), vec![(w5, Turn::Granted)]);
    // Who holds the lock goes before all.
    let w1 = table.queue(&k, &t1, Exclusive, since(6));
    assert_eq!(table.release(&k, TxnId(5)), vec![(w1, Turn::Granted)]);
    for (gone, next) in [(&t1, w2), (&t2, w3), (&t3, w4)] {
        assert_eq!(table.release(&k, gone.id), vec![(next, Turn::Granted)]);
    }
}

#[test]
fn upgrade_goes_first() {
    let mut table = LockTable::default();
    let (t1, t2, t3) = (txn(1), txn(2), txn(3));
    let k = key("k");
    table.try_lock(&k, &t1, Shared, NOW).unwrap();
    table.try_lock(&k, &t2, Shared, NOW).unwrap();
    let w3 = table.queue(&k, &t3, Exclusive, NOW);
    assert_eq!(table.try_lock(&k, &t1, Exclusive, NOW).unwrap_err().id, t2.id);
    let w1 = table.queue(&k, &t1, Exclusive, NOW);
    assert!(table.entered(w1).is_empty());
    assert_eq!(table.release(&k, t2.id), vec![(w1, Turn::Granted)]);
    assert_eq!(table.release(&k, t1.id), vec![(w3, Turn::Granted)]);
}

#[test]
fn intents_are_met_late_and_free_readers_and_writers() {
    let mut table = LockTable::default();
    let (t1, t2, t3) = (txn(1), txn(2), txn(3));
    let k = key("k");
    // A new leader's table is empty: t2 takes the lock, then meets t1's intent.
    table.try_lock(&k, &t2, Exclusive, NOW).unwrap();
    table.found_intent(&k, &t1);
    let w2 = table.queue(&k, &t2, Exclusive, NOW);
    let reader = table.await_intent(&k, Some(&t3));
    assert_eq!(table.blocker(w2).map(|blocker| (blocker.txn.id, blocker.intent)), Some((t1.id, true)));
    assert!(table.release_all(t1.id).is_empty(), "an intent is not freed by the end of the transaction");
    assert_eq!(table.release(&k, t1.id), vec![(reader, Turn::Cleared), (w2, Turn::Granted)]);
    // A lock becomes an intent; keys without a lock are not entered.
    table.laid_intents(&t2, [key("k"), key("z")].iter());
    assert!(table.admits_write(&key("z"), t3.id).is_ok());
    assert_eq!(table.admits_write(&k, t3.id).unwrap_err().id, t2.id);
}

/// A transaction's record may lie elsewhere than beside the first key that it has locked.
#[test]
fn an_intent_is_asked_after_where_it_says() {
    let (locks, writes) = (txn(1), Arc::new(TxnMeta { anchor: key("w"), ..(*txn(1)).clone() }));
    let anchor = |table: &mut LockTable, k: &Key| {
        let waiter = table.queue(k, &txn(2), Exclusive, NOW);
        table.blocker(waiter).map(|blocker| blocker.txn.anchor.clone())
    };
    let mut table = LockTable::default();
    for k in ["laid", "found", "locked"].map(key) {
        table.try_lock(&k, &locks, Exclusive, NOW).unwrap();
    }
    table.laid_intents(&writes, [key("laid")].iter());
    table.found_intent(&key("found"), &writes);
    // A late copy of the lock's request says nothing about an intent.
    table.try_lock(&key("laid"), &locks, Exclusive, NOW).unwrap();
    assert_eq!(anchor(&mut table, &key("laid")), Some(key("w")));
    assert_eq!(anchor(&mut table, &key("found")), Some(key("w")));
    assert_eq!(anchor(&mut table, &key("locked")), Some(key("a")));
}

#[test]
fn the_youngest_breaks_the_circle() {
    let mut table = LockTable::default();
    let (t1, t2, t3) = (txn(1), txn(2), txn(3));
    for (k, t) in [("a", &t1), ("b", &t2), ("c", &t3)] {
        table.try_lock(&key(k), t, Exclusive, NOW).unwrap();
    }
    let w3 = table.queue(&key("a"), &t3, Exclusive, NOW);
    assert!(table.entered(w3).is_empty());
    let w1 = table.queue(&key("b"), &t1, Exclusive, NOW);
    assert!(table.entered(w1).is_empty());
    let w2 = table.queue(&key("c"), &t2, Shared, NOW);
    let wakes = table.entered(w2);
    let circle = [(&t2, "c"), (&t3, "a"), (&t1, "b")];
    let circle = circle.map(|(txn, k)| Stuck { who: txn.party(), key: key(k) });
    assert_eq!(wakes, vec![(w3, Turn::Deadlock(circle.into()))]);
    assert_eq!(table.release_all(t3.id), vec![(w2, Turn::Granted)]);
}

#[test]
fn waiting_behind_a_waiter_counts() {
    let mut table = LockTable::default();
    let (t1, t2, t3) = (txn(1), txn(2), txn(3));
    table.try_lock(&key("a"), &t1, Shared, NOW).unwrap();
    table.try_lock(&key("b"), &t3, Exclusive, NOW).unwrap();
    table.queue(&key("a"), &t2, Exclusive, NOW);
    let behind = table.queue(&key("a"), &t3, Shared, NOW);
    assert!(table.entered(behind).is_empty());
    let closing = table.queue(&key("b"), &t2, Exclusive, NOW);
    let wakes = table.entered(closing);
    assert_eq!(wakes.first().map(|(id, _)| *id), Some(behind), "t3 is the youngest");
}

#[test]
fn split_takes_locks_along_and_turns_waiters_away() {
    let mut table = LockTable::default();
    let (t1, t2) = (txn(1), txn(2));
    for k in ["a", "m", "z"] {
        table.try_lock(&key(k), &t1, Exclusive, NOW).unwrap();
    }
    let stays = table.queue(&key("a"), &t2, Exclusive, NOW);
    let goes = table.queue(&key("m"), &t2, Exclusive, NOW);
    let mut right = LockTable::default();
    right.restore(table.held(|_, k| *k >= key("m")), NOW.at);
    assert_eq!((table.split_off(&key("m")), table.locks(), right.locks()), (vec![goes], 1, 2));
    assert_eq!(table.release_all(t1.id), vec![(stays, Turn::Granted)]);
    assert!(right.try_lock(&key("z"), &t2, Shared, NOW).is_err());
    assert!(right.release_all(t1.id).is_empty() && right.is_empty());
}

#[test]
fn ending_a_transaction_turns_its_waiters_away() {
    let mut table = LockTable::default();
    let (t1, t2, t3) = (txn(1), txn(2), txn(3));
    table.try_lock(&key("a"), &t1, Shared, NOW).unwrap();
    let w2 = table.queue(&key("a"), &t2, Exclusive, NOW);
    let w3 = table.queue(&key("a"), &t3, Shared, NOW);
    assert_eq!(table.release_all(t2.id), vec![(w3, Turn::Granted), (w2, Turn::Ended)]);
    assert_eq!(table.waiters(), 0);
}

#[test]
fn a_return_to_a_savepoint_frees_what_was_asked_for_since_and_nothing_else() {
    let mut table = LockTable::default();
    let (t1, t2) = (txn(1), txn(2));
    let keys = ["before", "before and since", "since", "since and anew", "anew"].map(key);
    for (k, numbers) in keys.iter().zip([&[3][..], &[3, 5], &[5, 6], &[6, 7], &[7]]) {
        numbers.iter().for_each(|number| table.try_lock(k, &t1, Exclusive, by(*number)).unwrap());
    }
    table.try_lock(&key("intent"), &t1, Exclusive, by(5)).unwrap();
    table.laid_intents(&t1, [key("intent")].iter());
    table.try_lock(&key("other's"), &t2, Exclusive, by(5)).unwrap();
    let [early, late] = [3, 5].map(|number| table.queue(&key("other's"), &t1, Exclusive, by(number)));
    let waiters = keys.clone().map(|k| table.queue(&k, &t2, Exclusive, by(5)));
    let undone = Undone { after: 3, up_to: 6 };
    assert_eq!(table.release_undone(t1.id, undone), [(late, Turn::Ended), (waiters[2], Turn::Granted)]);
    assert_eq!(table.release_undone(t1.id, undone), [], "a copy of it does nothing");
    assert!(table.is_first(early) && table.locks() == 7);
}

#[test]
fn a_lock_that_comes_late_goes_with_its_transaction() {
    let mut table = LockTable::default();
    let (t1, t2) = (txn(1), txn(2));
    let undone = Undone { after: 3, up_to: 6 };
    assert!(table.release_undone(t1.id, undone).is_empty());
    table.try_lock(&key("k"), &t1, Exclusive, by(5)).unwrap();
    let w2 = table.queue(&key("k"), &t2, Exclusive, by(1));
    // The transaction goes on, and takes it anew: nothing that was undone before takes it away.
    table.try_lock(&key("k"), &t1, Exclusive, by(8)).unwrap();
    assert!(table.release_undone(t1.id, undone).is_empty());
    assert_eq!(table.release_all(t1.id), [(w2, Turn::Granted)]);
}

#[test]
fn what_a_savepoint_gives_back_is_known_to_the_next_leader() {
    let mut table = LockTable::default();
    let t1 = txn(1);
    for (k, number) in [("a", 3), ("b", 5), ("c", 5), ("c", 8)] {
        table.try_lock(&key(k), &t1, Exclusive, by(number)).unwrap();
    }
    let mut next = LockTable::default();
    next.restore(table.held(|_, _| true), NOW.at);
    next.release_undone(t1.id, Undone { after: 3, up_to: 6 });
    assert!(next.admits_write(&key("b"), TxnId(2)).is_ok());
    assert!(["a", "c"].iter().all(|k| next.admits_write(&key(k), TxnId(2)).is_err()));
    // A former version does not tell the numbers.
    let untold = table.held(|_, _| true).into_iter().map(|held| HeldBy { numbers: Vec::new(), ..held });
    let mut next = LockTable::default();
    next.restore(untold.collect(), NOW.at);
    assert!(next.release_undone(t1.id, Undone { after: 0, up_to: 1000 }).is_empty() && next.locks() == 3);
}

proptest::proptest! {
    /// No two conflicting holders, nobody waits without a reason, and everything drains.
    #[test]
    fn exclusion_and_progress(steps in proptest::collection::vec((0u64..5, 0u8..4, 0u8..9), 1..150)) {
        let mut table = LockTable::default();
        for (number, (t, k, what)) in (1u64..).zip(steps) {
            let (t, k) = (txn(t), Key::from(vec![b'a' + k]));
            let mode = if what % 2 == 0 { Shared } else { Exclusive };
            match what {
                0..=4 => {
                    if table.try_lock(&k, &t, mode, by(number)).is_err() {
                        let first = Timestamp(7 * number % 11);
                        let id = table.queue(&k, &t, mode, Asked { first, ..by(number) });
                        table.entered(id);
                    }
                }
                5 => drop(table.release(&k, t.id)),
                6 => drop(table.release_all(t.id)),
                7 => drop(table.release_undone(t.id, Undone { after: number.saturating_sub(20), up_to: number })),
                _ => if let Some(id) = table.waiters.keys().next().copied() { table.cancel(id); },
            }
            for entry in table.keys.values() {
                for (i, a) in entry.holders.iter().enumerate() {
                    assert!(entry.holders[..i].iter().all(|b| a.txn.id != b.txn.id && !clash(a.mode, b.mode)));
                }
                if let Some(first) = entry.queue.front() {
                    assert!(!table.blockers(*first).is_empty(), "the first in line waits for a holder");
                }
                assert!(!entry.holders.is_empty() || !entry.queue.is_empty());
            }
            assert_eq!(table.locks(), table.keys.values().map(|e| e.holders.len()).sum::<usize>());
        }
        for t in 0..5 {
            table.release_all(TxnId(t));
        }
        assert!(table.is_empty() && table.waiters() == 0 && table.locks() == 0 && table.waiting.is_empty());
    }
}

//! The transactions under way at this gateway, and how far back into the past they still look.

use crate::{
    Coordinator, Guarantee, Isolation,
    txn::state::{Inner, Phase, State},
};
use parking_lot::Mutex;
use quorate_proto::{Timestamp, TxnId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

/// All transactions that somebody has in hand, by a number of their own: the attempts of one may share its id.
#[derive(Default)]
pub(crate) struct Open(Mutex<Entered>);

#[derive(Default)]
struct Entered {
    next: u64,
    txns: BTreeMap<u64, Weak<Inner>>,
}

impl Open {
    pub(crate) fn place(&self) -> u64 {
        let mut entered = self.0.lock();
        entered.next += 1;
        entered.next
    }

    pub(crate) fn enter(&self, inner: Inner) -> Arc<Inner> {
        let inner = Arc::new(inner);
        self.0.lock().txns.insert(inner.place, Arc::downgrade(&inner));
        inner
    }

    pub(crate) fn leave(&self, place: u64) {
        self.0.lock().txns.remove(&place);
    }

    /// Handed out without the lock: whoever drops the last hold of one enters [`Open::leave`].
    fn all(&self) -> Vec<Arc<Inner>> {
        self.0.lock().txns.values().filter_map(Weak::upgrade).collect()
    }
}

/// One transaction under way, for those who look after the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnInfo {
    pub id: TxnId,
    /// [`crate::TxnOptions::owner`].
    pub owner: Option<u32>,
    pub started: Timestamp,
    pub read_ts: Timestamp,
    pub isolation: Isolation,
    pub read_only: bool,
    pub committing: bool,
    pub guarantee: Guarantee,
    /// It needs the past as of this time, and keeps its versions from being removed (PROTOCOL 24).
    pub holds: Option<Timestamp>,
}

impl Coordinator {
    /// What is under way at this gateway and has not ended.
    pub fn transactions(&self) -> Vec<TxnInfo> {
        let now = self.env.clock().physical();
        self.open.all().iter().filter_map(|inner| inner.info(now)).collect()
    }

    /// The oldest time that a transaction of this gateway needs.
    pub fn holds(&self) -> Option<Timestamp> {
        let now = self.env.clock().physical();
        self.open.all().iter().filter_map(|inner| inner.info(now)?.holds).min()
    }
}

impl Inner {
    fn info(&self, now: Timestamp) -> Option<TxnInfo> {
        let state = self.state.lock();
        if matches!(state.phase, Phase::Ended { .. }) {
            return None;
        }
        // Past its deadline nothing of it is answered any more.
        let holds = if now <= self.deadline { self.looks_back_to(&state) } else { None };
        Some(TxnInfo {
            id: self.id,
            owner: self.options.owner,
            started: self.started,
            read_ts: state.read_ts,
            isolation: self.options.isolation,
            read_only: self.options.read_only || self.historical(),
            committing: state.phase == Phase::Committing,
            guarantee: state.guarantee,
            holds,
        })
    }

    /// What was locked or written must not have changed since, some statement ago; what was read is read at one time. A
    /// transaction that has done nothing yet, or is between two statements under READ COMMITTED, takes a new time.
    fn looks_back_to(&self, state: &State) -> Option<Timestamp> {
        if !state.changes.is_empty() && !self.historical() {
            return Some(self.began);
        }
        (state.fixed && !quorate_env::planted!("txn.reads_hold_nothing")).then_some(state.read_ts)
    }
}

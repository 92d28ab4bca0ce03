//! The lock table of one shard on its leader: unreplicated locks, first come first served. A pure core: calls go in, the
//! waiters whose turn has come come out; [`crate::leader`] wakes them.
//!
//! A lock here is a courtesy, not a proof: it spares work that would fail, and orders those who wait. It goes along with
//! its key in a split and with leadership that is handed over, and may be lost otherwise (the leader or the holder's node
//! dies) or not be kept where there are too many ([`crate::leader`]); what holds is the check at commit (PROTOCOL 13). Intents are durable locks; they enter the
//! table when they are laid over a lock or when someone meets them, so that all who wait for a key stand in one line. Plain
//! reads never wait for a lock, only for an intent.
//!
//! A transaction that returns to a savepoint gives back what it has locked since. It says so without waiting, perhaps while
//! copies of its requests are still on their way, and while it goes on to lock the same keys anew. So locking reads are
//! numbered, a lock keeps the numbers of the first and of the last by which its transaction has it, and what is undone is told as
//! an interval of numbers: a lock goes if both lie within. What comes late is left with the transaction to its end; what is
//! missing (the lock was lost, and taken again after the savepoint) lets a lock go too early at worst, as if it were lost.

mod deadlock;

use crate::command::HeldBy;
use quorate_env::planted;
use quorate_proto::kv::{LockMode, Stuck, TxnMeta, Undone};
use quorate_proto::{Key, Timestamp, TxnId};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(pub u64);

/// Why a waiter is woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It holds the lock now.
    Granted,
    /// The intent it waited for is gone.
    Cleared,
    /// It closed a circle, or was the youngest in one.
    Deadlock(Vec<Stuck>),
    /// Its transaction gave its locks back meanwhile.
    Ended,
}

/// What one call sets free, in order.
pub type Wakes = Vec<(WaiterId, Turn)>;

/// A request for a lock.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub at: Duration,
    /// When its transaction first asked for the lock, perhaps elsewhere: that is its place in line.
    pub first: Timestamp,
    /// Its number among those of its transaction, or [`NEVER_UNDONE`].
    pub number: u64,
}

/// Keys of one transaction that are looked at to find out whether it holds locks.
const LOOKED_AT: usize = 64;

/// The number of what no savepoint gives back.
pub const NEVER_UNDONE: u64 = u64::MAX;

#[derive(Clone, Debug)]
struct Holder {
    txn: Arc<TxnMeta>,
    mode: LockMode,
    /// The lock is an intent: only its resolution frees it.
    intent: bool,
    /// When the transaction asked for the lock: it lived then.
    since: Duration,
}

/// The requests by which a transaction has a lock.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    first: u64,
    last: u64,
}

/// Who keeps a waiter waiting.
#[derive(Clone, Debug)]
pub struct Blocker {
    pub txn: Arc<TxnMeta>,
    pub intent: bool,
    /// When it asked for the lock (on the clock of those who call); of no meaning for an intent.
    pub since: Duration,
}

#[derive(Debug, Default)]
struct KeyLocks {
    holders: Vec<Holder>,
    queue: VecDeque<WaiterId>,
    /// Wait for intents to go, in no particular order.
    readers: Vec<WaiterId>,
}

#[derive(Clone, Debug)]
struct Waiter {
    key: Key,
    /// Absent for a read outside a transaction.
    txn: Option<Arc<TxnMeta>>,
    /// Absent for one who only waits for an intent to go.
    mode: Option<LockMode>,
    asked: Asked,
}

fn clash(a: LockMode, b: LockMode) -> bool {
    a == LockMode::Exclusive || b == LockMode::Exclusive
}

/// Invariants: holders of a key are compatible or the same transaction; the first in a queue conflicts with a holder; no
/// entry is empty.
#[derive(Debug, Default)]
pub struct LockTable {
    next: u64,
    keys: BTreeMap<Key, KeyLocks>,
    held: BTreeMap<TxnId, BTreeMap<Key, Numbers>>,
    waiters: BTreeMap<WaiterId, Waiter>,
    waiting: BTreeMap<TxnId, BTreeSet<WaiterId>>,
    /// Pairs in `held`.
    locks: usize,
}

impl LockTable {
    /// Locks and intents known here.
    pub fn locks(&self) -> usize {
        self.locks
    }

    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a write of `txn` to `key` may go ahead: nobody else holds or waits for it.
    pub fn admits_write(&self, key: &Key, txn: TxnId) -> Result<(), Arc<TxnMeta>> {
        self.admits(key, txn, LockMode::Exclusive)
    }

    /// Whether nobody else stands in the way of such a lock.
    pub fn admits(&self, key: &Key, txn: TxnId, mode: LockMode) -> Result<(), Arc<TxnMeta>> {
        match self.keys.get(key) {
            None => Ok(()),
            Some(entry) => entry.admits(&self.waiters, txn, mode),
        }
    }

    pub fn holds(&self, key: &Key, txn: TxnId) -> bool {
        self.held.get(&txn).is_some_and(|held| held.contains_key(key))
    }

    /// Takes the lock if nobody stands in the way, else says who.
    pub fn try_lock(
        &mut self,
        key: &Key,
        txn: &Arc<TxnMeta>,
        mode: LockMode,
        asked: Asked,
    ) -> Result<(), Arc<TxnMeta>> {
        if let Some(entry) = self.keys.get(key) {
            entry.admits(&self.waiters, txn.id, mode)?;
        }
        self.hold(key, Holder { txn: txn.clone(), mode, intent: false, since: asked.at }, asked.number);
        Ok(())
    }

    fn hold(&mut self, key: &Key, new: Holder, number: u64) {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.clone(), KeyLocks::default());
        }
        let entry = self.keys.get_mut(key).expect("just inserted");
        let held = self.held.entry(new.txn.id).or_default();
        if let Some(numbers) = held.get_mut(key) {
            *numbers = Numbers { first: numbers.first.min(number), last: numbers.last.max(number) };
        } else {
            held.insert(key.clone(), Numbers { first: number, last: number });
            self.locks += 1;
        }
        match entry.holders.iter_mut().find(|h| h.txn.id == new.txn.id) {
            Some(holder) => {
                if new.mode == LockMode::Exclusive {
                    holder.mode = new.mode;
                }
                holder.intent |= new.intent;
                holder.since = holder.since.max(new.since);
                // The record is where the intent says, which may be elsewhere than was thought when the key was locked.
                if (new.intent || !holder.intent) && !planted!("shard.intents_asked_at_former_anchor") {
                    holder.txn = new.txn;
                }
            }
            None => entry.holders.push(new),
        }
    }

    /// Stands in line for the lock, behind those who have asked for it earlier. One who holds it already (and wants more) stands in
    /// front. To be followed by [`LockTable::entered`].
    pub fn queue(&mut self, key: &Key, txn: &Arc<TxnMeta>, mode: LockMode, asked: Asked) -> WaiterId {
        if self.holds(key, txn.id) {
            return self.queue_first(key, txn, mode, asked);
        }
        let id = self.enter(key, Some(txn.clone()), Some(mode), asked);
        let entry = self.keys.entry(key.clone()).or_default();
        let earlier = |other| {
            let waiter = self.waiters.get(other);
            waiter.is_some_and(|waiter| waiter.asked.first <= asked.first)
                || planted!("shard.place_in_line_lost")
        };
        let at = entry.queue.iter().rposition(earlier).map_or(0, |at| at + 1);
        entry.queue.insert(at, id);
        id
    }

    /// Stands in front of the line: for one who had the lock and lost it to an intent that was met late.
    pub fn queue_first(&mut self, key: &Key, txn: &Arc<TxnMeta>, mode: LockMode, asked: Asked) -> WaiterId {
        let asked = Asked { first: Timestamp::ZERO, ..asked };
        let id = self.enter(key, Some(txn.clone()), Some(mode), asked);
        self.keys.entry(key.clone()).or_default().queue.push_front(id);
        id
    }

    /// A waiter has come to its place: it is let in if nobody before it stands in the way, and the deadlock that it closes is broken.
    pub fn entered(&mut self, id: WaiterId) -> Wakes {
        let mut wakes = Wakes::new();
        if let Some(key) = self.waiters.get(&id).map(|waiter| waiter.key.clone()) {
            self.advance(&key, &mut wakes);
            wakes.extend(self.break_deadlock(id));
        }
        wakes
    }

    /// Waits until no intent of another transaction is known on the key.
    pub fn await_intent(&mut self, key: &Key, txn: Option<&Arc<TxnMeta>>) -> WaiterId {
        let asked = Asked { at: Duration::ZERO, first: Timestamp::ZERO, number: NEVER_UNDONE };
        let id = self.enter(key, txn.cloned(), None, asked);
        self.keys.entry(key.clone()).or_default().readers.push(id);
        id
    }

    fn enter(
        &mut self,
        key: &Key,
        txn: Option<Arc<TxnMeta>>,
        mode: Option<LockMode>,
        asked: Asked,
    ) -> WaiterId {
        self.next += 1;
        let id = WaiterId(self.next);
        if let Some(txn) = &txn {
            self.waiting.entry(txn.id).or_default().insert(id);
        }
        self.waiters.insert(id, Waiter { key: key.clone(), txn, mode, asked });
        id
    }

    /// An intent was met on the key: its transaction holds it. Whoever took the free-looking lock meanwhile loses it; the
    /// exclusion check at commit stands in for it.
    pub fn found_intent(&mut self, key: &Key, txn: &Arc<TxnMeta>) {
        if let Some(entry) = self.keys.get_mut(key) {
            for lost in entry.holders.extract_if(.., |h| h.txn.id != txn.id && !h.intent) {
                self.locks -= forget(&mut self.held, lost.txn.id, key);
            }
        }
        self.hold(key, Holder::intent(txn), NEVER_UNDONE);
    }

    /// The transaction's intents now lie on these keys. Only keys with a lock are noted: the intent itself keeps the
    /// others, and whoever meets it enters it.
    pub fn laid_intents<'a>(&mut self, txn: &Arc<TxnMeta>, keys: impl Iterator<Item = &'a Key>) {
        for key in keys {
            if self.keys.contains_key(key) {
                self.hold(key, Holder::intent(txn), NEVER_UNDONE);
            }
        }
    }

    /// The key's lock or intent of the transaction is gone.
    pub fn release(&mut self, key: &Key, txn: TxnId) -> Wakes {
        let mut wakes = Wakes::new();
        self.drop_holder(key, txn, &mut wakes);
        wakes
    }

    /// The key's lock of the transaction goes, if it is no intent.
    pub fn release_lock(&mut self, key: &Key, txn: TxnId) -> Wakes {
        if self.has_intent(key, txn) { Wakes::new() } else { self.release(key, txn) }
    }

    fn has_intent(&self, key: &Key, txn: TxnId) -> bool {
        self.keys.get(key).is_some_and(|entry| entry.holders.iter().any(|h| h.txn.id == txn && h.intent))
    }

    /// The transaction is over here: all its locks but the intents go, and so does whoever still waits for it.
    pub fn release_all(&mut self, txn: TxnId) -> Wakes {
        let mut wakes = Wakes::new();
        for waiter in self.waiting.get(&txn).cloned().unwrap_or_default() {
            self.leave(waiter, &mut wakes);
            wakes.push((waiter, Turn::Ended));
        }
        let held: Vec<Key> = self.held.get(&txn).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        self.drop_locks(&held, txn, &mut wakes);
        wakes
    }

    /// The transaction has returned to a savepoint: what it asked for since, and at no other time, goes.
    pub fn release_undone(&mut self, txn: TxnId, undone: Undone) -> Wakes {
        let mut wakes = Wakes::new();
        let in_line = self.waiting.get(&txn).into_iter().flatten();
        let goes = |id: &&WaiterId| self.waiters.get(id).is_some_and(|waiter| waiter.asked.is_within(undone));
        for waiter in in_line.filter(goes).copied().collect::<Vec<_>>() {
            self.leave(waiter, &mut wakes);
            wakes.push((waiter, Turn::Ended));
        }
        let held = self.held.get(&txn).into_iter().flatten();
        let goes = held.filter(|(_, numbers)| numbers.are_within(undone));
        let goes: Vec<Key> = goes.map(|(key, _)| key.clone()).collect();
        self.drop_locks(&goes, txn, &mut wakes);
        wakes
    }

    /// Those that are no intents.
    fn drop_locks(&mut self, keys: &[Key], txn: TxnId, wakes: &mut Wakes) {
        for key in keys {
            if !self.has_intent(key, txn) {
                self.drop_holder(key, txn, wakes);
            }
        }
    }

    fn drop_holder(&mut self, key: &Key, txn: TxnId, wakes: &mut Wakes) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        let before = entry.holders.len();
        entry.holders.retain(|h| h.txn.id != txn);
        if entry.holders.len() < before {
            self.locks -= forget(&mut self.held, txn, key);
        }
        self.advance(key, wakes);
    }

    /// One who gave up waiting leaves the line.
    pub fn cancel(&mut self, waiter: WaiterId) -> Wakes {
        let mut wakes = Wakes::new();
        self.leave(waiter, &mut wakes);
        wakes
    }

    fn leave(&mut self, id: WaiterId, wakes: &mut Wakes) {
        let Some(waiter) = self.forget_waiter(id) else { return };
        if let Some(entry) = self.keys.get_mut(&waiter.key) {
            entry.queue.retain(|other| *other != id);
            entry.readers.retain(|other| *other != id);
        }
        self.advance(&waiter.key, wakes);
    }

    fn forget_waiter(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        if let Some(txn) = &waiter.txn
            && let Some(all) = self.waiting.get_mut(&txn.id)
        {
            all.remove(&id);
            if all.is_empty() {
                self.waiting.remove(&txn.id);
            }
        }
        Some(waiter)
    }

    /// Lets in whoever can be let in now.
    fn advance(&mut self, key: &Key, wakes: &mut Wakes) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        if !entry.readers.is_empty() && !entry.holders.iter().any(|h| h.intent) {
            for id in std::mem::take(&mut entry.readers) {
                self.forget_waiter(id);
                wakes.push((id, Turn::Cleared));
            }
        }
        while let Some(entry) = self.keys.get_mut(key)
            && let Some(id) = entry.queue.front().copied()
            && let Some(Waiter { txn: Some(txn), mode: Some(mode), asked, .. }) = self.waiters.get(&id)
            && !entry.holders.iter().any(|h| h.txn.id != txn.id && clash(h.mode, *mode))
        {
            let holder = Holder { txn: txn.clone(), mode: *mode, intent: false, since: asked.at };
            let number = asked.number;
            entry.queue.pop_front();
            self.forget_waiter(id);
            self.hold(key, holder, number);
            wakes.push((id, Turn::Granted));
        }
        let empty = |e: &KeyLocks| e.holders.is_empty() && e.queue.is_empty() && e.readers.is_empty();
        if self.keys.get(key).is_some_and(empty) {
            self.keys.remove(key);
        }
    }

    /// Whether the waiter stands at the head of its line.
    pub fn is_first(&self, id: WaiterId) -> bool {
        let entry = self.waiters.get(&id).and_then(|waiter| self.keys.get(&waiter.key));
        entry.is_some_and(|entry| entry.queue.front() == Some(&id))
    }

    /// Who keeps the waiter waiting first of all: whom to push.
    pub fn blocker(&self, id: WaiterId) -> Option<Blocker> {
        let waiter = self.waiters.get(&id)?;
        let entry = self.keys.get(&waiter.key)?;
        let own = waiter.txn.as_ref().map(|txn| txn.id);
        let holder = entry
            .holders
            .iter()
            .find(|h| Some(h.txn.id) != own && waiter.mode.map_or(h.intent, |mode| clash(h.mode, mode)))?;
        Some(Blocker { txn: holder.txn.clone(), intent: holder.intent, since: holder.since })
    }

    /// The transaction as one who holds the key.
    pub fn holder(&self, key: &Key, txn: TxnId) -> Option<Blocker> {
        let holder = self.keys.get(key)?.holders.iter().find(|holder| holder.txn.id == txn)?;
        Some(Blocker { txn: holder.txn.clone(), intent: holder.intent, since: holder.since })
    }

    /// The shard was split: the keys at and above `at` are another one's, and their locks with them. Returns those who wait
    /// there: they must ask again at the new shard.
    pub fn split_off(&mut self, at: &Key) -> Vec<WaiterId> {
        let mut moved = Vec::new();
        for (key, entry) in self.keys.split_off(at) {
            moved.extend(entry.queue);
            moved.extend(entry.readers);
            for holder in &entry.holders {
                self.locks -= forget(&mut self.held, holder.txn.id, &key);
            }
        }
        for id in &moved {
            self.forget_waiter(*id);
        }
        moved.sort_unstable();
        moved
    }

    /// Transactions with locks that are no intents, and when each asked for one of them.
    pub fn holders(&self) -> Vec<(Arc<TxnMeta>, Duration)> {
        let mut holders = Vec::new();
        for (txn, keys) in &self.held {
            let of = |key: &Key| self.keys.get(key)?.holders.iter().find(|holder| holder.txn.id == *txn);
            // One whose first keys all are intents is about to commit.
            let lock = keys.keys().take(LOOKED_AT).filter_map(of).find(|holder| !holder.intent);
            holders.extend(lock.map(|holder| (holder.txn.clone(), holder.since)));
        }
        holders
    }

    /// All locks but intents, of those that `which` names.
    pub fn held(&self, which: impl Fn(TxnId, &Key) -> bool) -> Vec<HeldBy> {
        let mut all = Vec::new();
        for (txn, keys) in &self.held {
            let holder = |key: &Key| self.keys.get(key)?.holders.iter().find(|holder| holder.txn.id == *txn);
            let found = keys.iter().filter(|(key, _)| which(*txn, key));
            let found = found.filter_map(|(key, numbers)| Some((key, holder(key)?, numbers)));
            let asked: Vec<_> = found.filter(|(_, holder, _)| !holder.intent).collect();
            if let Some((_, holder, _)) = asked.first() {
                let locks = asked.iter().map(|(key, holder, _)| ((*key).clone(), holder.mode)).collect();
                let numbers = asked.iter().map(|(_, _, numbers)| (numbers.first, numbers.last)).collect();
                all.push(HeldBy { txn: (*holder.txn).clone(), locks, numbers });
            }
        }
        all
    }

    /// Takes what another table has told ([`LockTable::held`]): no two that clash come from one.
    pub fn restore(&mut self, all: Vec<HeldBy>, now: Duration) {
        for HeldBy { txn, locks, numbers } in all {
            let txn = Arc::new(txn);
            let numbers = numbers.into_iter().chain(std::iter::repeat((0, NEVER_UNDONE)));
            for ((key, mode), (first, last)) in locks.into_iter().zip(numbers) {
                for number in [first, last] {
                    let _ =
                        self.try_lock(&key, &txn, mode, Asked { at: now, first: Timestamp::ZERO, number });
                }
            }
        }
    }

    /// The keys on which intents of the transaction are known.
    pub fn intents_of(&self, txn: TxnId) -> Vec<Key> {
        let intent = |key: &&Key| self.has_intent(key, txn);
        self.held.get(&txn).into_iter().flat_map(BTreeMap::keys).filter(intent).cloned().collect()
    }
}

impl Holder {
    fn intent(txn: &Arc<TxnMeta>) -> Self {
        Holder { txn: txn.clone(), mode: LockMode::Exclusive, intent: true, since: Duration::ZERO }
    }
}

impl Asked {
    fn is_within(self, undone: Undone) -> bool {
        Numbers { first: self.number, last: self.number }.are_within(undone)
    }
}

impl Numbers {
    fn are_within(self, undone: Undone) -> bool {
        let since = self.first > undone.after || planted!("shard.earlier_locks_given_back");
        since && (self.last <= undone.up_to || planted!("shard.later_locks_given_back"))
    }
}

impl KeyLocks {
    /// A holder who wants more overtakes the line: those in it wait for him anyway.
    fn admits(
        &self,
        waiters: &BTreeMap<WaiterId, Waiter>,
        txn: TxnId,
        mode: LockMode,
    ) -> Result<(), Arc<TxnMeta>> {
        let mut holds = false;
        for holder in &self.holders {
            if holder.txn.id == txn {
                holds = true;
            } else if clash(holder.mode, mode) {
                return Err(holder.txn.clone());
            }
        }
        if holds {
            return Ok(());
        }
        let first =
            self.queue.iter().filter_map(|id| waiters.get(id)?.txn.clone()).find(|other| other.id != txn);
        first.map_or(Ok(()), Err)
    }
}

/// How many pairs went: one or none.
fn forget(held: &mut BTreeMap<TxnId, BTreeMap<Key, Numbers>>, txn: TxnId, key: &Key) -> usize {
    let Some(keys) = held.get_mut(&txn) else { return 0 };
    let gone = usize::from(keys.remove(key).is_some());
    if keys.is_empty() {
        held.remove(&txn);
    }
    gone
}

#[cfg(test)]
mod tests;

//! How many intents the commits of a gateway may have laid that are not resolved yet: beyond that, commits wait.
//!
//! A commit has a place from before its first intent until its last is resolved. One that is being prepared may wait for the
//! lock of another transaction; would that one wait for the place of the first, neither came to an end. So who holds locks
//! waits only for places of commits that are decided: these come free by themselves. Who holds none is waited for by nobody,
//! and waits for all. The bound is exceeded by no more than what those with locks lay at the same moment, and by commits that
//! find their shard split in their last step.

use parking_lot::{Mutex, MutexGuard};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::oneshot;

pub(crate) struct Room {
    most: usize,
    state: Mutex<State>,
}

/// Places are counted by their weight, see [`Room::weight`].
#[derive(Default)]
struct State {
    preparing: usize,
    resolving: usize,
    /// All intents of all places.
    intents: usize,
    /// Who holds locks, and who does not; both are served as they come.
    lines: [VecDeque<Waiter>; 2],
}

struct Waiter {
    intents: usize,
    turn: oneshot::Sender<Place>,
}

/// Who gives up in a line lets those behind it come.
struct Leaves<'a>(&'a Arc<Room>);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.advance();
    }
}

/// Of one commit.
pub(crate) struct Place {
    room: Arc<Room>,
    intents: usize,
    decided: bool,
}

impl Room {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Room { most, state: Mutex::default() })
    }

    pub fn intents(&self) -> usize {
        self.state.lock().intents
    }

    /// A large commit counts as half of all: it always fits, and does not keep all others waiting while it is resolved.
    fn weight(&self, intents: usize) -> usize {
        intents.min((self.most / 2).max(1))
    }

    fn fits(&self, state: &State, intents: usize, holds_locks: bool) -> bool {
        let preparing = if holds_locks { 0 } else { state.preparing };
        preparing + state.resolving + self.weight(intents) <= self.most.max(1)
            || quorate_env::planted!("txn.intents_unbounded")
    }

    /// Waits for a place. Nobody is kept by one who does not wait any more.
    pub async fn enter(self: &Arc<Self>, intents: usize, holds_locks: bool) -> Place {
        let holds_locks = holds_locks && !quorate_env::planted!("txn.lock_holders_wait");
        let turn = {
            let mut state = self.state.lock();
            let line = usize::from(!holds_locks);
            if state.lines[line].is_empty() && self.fits(&state, intents, holds_locks) {
                return self.place(state, intents);
            }
            quorate_env::probe!("txn.waited_for_room");
            quorate_env::count!("quorate_txn_backpressure_total");
            let (turn, told) = oneshot::channel();
            state.lines[line].push_back(Waiter { intents, turn });
            told
        };
        let _line = Leaves(self);
        turn.await.expect("a waiter is in the line until it has its turn")
    }

    /// A place for intents that are there already.
    pub fn enter_decided(self: &Arc<Self>, intents: usize) -> Place {
        let mut place = self.place(self.state.lock(), intents);
        place.decided(intents);
        place
    }

    fn place(self: &Arc<Self>, mut state: MutexGuard<'_, State>, intents: usize) -> Place {
        state.preparing += self.weight(intents);
        self.count(&mut state, 0, intents);
        Place { room: self.clone(), intents, decided: false }
    }

    fn count(&self, state: &mut State, before: usize, now: usize) {
        state.intents = state.intents - before + now;
        metrics::gauge!("quorate_txn_unresolved_intents").set(state.intents as f64);
    }

    /// Lets in whoever fits now.
    fn advance(self: &Arc<Self>) {
        while let Some((turn, place)) = self.next() {
            // One who has just given up gives its place back with this.
            drop(turn.send(place));
        }
    }

    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Place>, Place)> {
        let mut state = self.state.lock();
        for line in 0..state.lines.len() {
            state.lines[line].retain(|waiter| !waiter.turn.is_closed());
            let Some(first) = state.lines[line].front().map(|waiter| waiter.intents) else { continue };
            if self.fits(&state, first, line == 0) {
                let Waiter { intents, turn } = state.lines[line].pop_front()?;
                return Some((turn, self.place(state, intents)));
            }
        }
        None
    }
}

impl Place {
    /// The commit is decided, and has laid so many intents, which are to be resolved.
    pub fn decided(&mut self, intents: usize) {
        self.change(intents, true);
    }

    /// So many are resolved.
    pub fn resolved(&mut self, intents: usize) {
        self.change(self.intents.saturating_sub(intents), self.decided);
    }

    fn change(&mut self, intents: usize, decided: bool) {
        let room = self.room.clone();
        {
            let mut state = room.state.lock();
            *state.part(self.decided) -= room.weight(self.intents);
            *state.part(decided) += room.weight(intents);
            room.count(&mut state, self.intents, intents);
        }
        (self.intents, self.decided) = (intents, decided);
        room.advance();
    }
}

impl State {
    fn part(&mut self, decided: bool) -> &mut usize {
        if decided { &mut self.resolving } else { &mut self.preparing }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.change(0, self.decided);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn now(room: &Arc<Room>, intents: usize, holds_locks: bool) -> Option<Place> {
        room.enter(intents, holds_locks).now_or_never()
    }

    #[test]
    fn intents_count_until_they_are_resolved() {
        let room = Room::new(10);
        let mut first = now(&room, 4, false).expect("there is room");
        let second = now(&room, 4, false).expect("there is room");
        assert!(now(&room, 3, false).is_none());
        let mut third = Box::pin(room.enter(3, false));
        let mut fourth = Box::pin(room.enter(1, false));
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none(), "nobody overtakes");
        first.decided(4);
        assert!((&mut third).now_or_never().is_none(), "they are not resolved");
        first.resolved(1);
        let third = third.now_or_never().expect("its turn has come");
        assert_eq!((room.intents(), (&mut fourth).now_or_never().is_none()), (10, true));
        drop((second, third));
        let fourth = fourth.now_or_never().expect("its turn has come");
        drop((first, fourth));
        assert_eq!(room.intents(), 0);
    }

    #[test]
    fn who_holds_locks_waits_for_what_is_decided_only() {
        let room = Room::new(4);
        let mut preparing = [now(&room, 2, false).unwrap(), now(&room, 2, false).unwrap()];
        assert!(now(&room, 1, false).is_none());
        let holder = now(&room, 1, true).expect("the others may wait for it");
        preparing.iter_mut().for_each(|place| place.decided(2));
        let mut later = Box::pin(room.enter(1, true));
        assert!((&mut later).now_or_never().is_none());
        drop(preparing);
        assert!(later.now_or_never().is_some());
        drop(holder);
        assert_eq!(room.intents(), 0);
    }

    #[test]
    fn the_largest_fits_and_leaves_room() {
        let room = Room::new(10);
        let large = now(&room, 1_000_000, false).expect("one alone fits");
        assert_eq!(room.intents(), 1_000_000);
        let small = now(&room, 5, false).expect("it keeps half");
        assert!(now(&room, 1, false).is_none());
        // Who gave up waiting stands in nobody's way.
        let mut gone = Box::pin(room.enter(5, false));
        assert!((&mut gone).now_or_never().is_none());
        let mut next = Box::pin(room.enter(1, false));
        assert!((&mut next).now_or_never().is_none());
        assert!((&mut gone).now_or_never().is_none());
        drop(small);
        assert!((&mut next).now_or_never().is_none(), "it comes behind another");
        drop(gone);
        assert!(next.now_or_never().is_some());
        drop(large);
        let least = Room::new(1);
        assert!(now(&least, 7, false).is_some());
    }
}

//! Virtual time: a clock that stands still while anything can run, and jumps to the next timer when nothing can.
//!
//! The jump happens in the runtime's `on_thread_park` hook, which tokio calls when its queue is empty. One timer fires
//! per jump; what it wakes runs until all is quiet again. Timers of one instant fire in an order drawn from the seed.

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

thread_local! {
    static CURRENT: RefCell<Option<Arc<VirtualTime>>> = const { RefCell::new(None) };
}

/// The virtual time of this thread, if it is simulated.
pub(crate) fn current() -> Option<Arc<VirtualTime>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Makes this thread's timers virtual until the guard falls.
pub(crate) fn enter(time: Arc<VirtualTime>) -> Entered {
    Entered(CURRENT.with(|current| current.replace(Some(time))))
}

pub(crate) struct Entered(Option<Arc<VirtualTime>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(self.0.take()));
    }
}

/// When, then a drawn number, then a serial number that makes it unique.
type TimerKey = (Duration, u32, u64);

pub(crate) struct VirtualTime(Mutex<State>);

struct State {
    now: Duration,
    serial: u64,
    rng: StdRng,
    timers: BTreeMap<TimerKey, Waker>,
}

impl VirtualTime {
    /// Starts at `start` since boot.
    pub(crate) fn new(seed: u64, start: Duration) -> Arc<Self> {
        Arc::new(VirtualTime(Mutex::new(State {
            now: start,
            serial: 0,
            rng: StdRng::seed_from_u64(seed ^ 0x7469_6d65),
            timers: BTreeMap::new(),
        })))
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.lock().now
    }

    pub(crate) fn sleep_until(self: &Arc<Self>, at: Duration) -> VirtualSleep {
        VirtualSleep { time: self.clone(), at, key: None }
    }

    /// Jumps to the earliest timer and fires it. False if there is none: then nothing will ever run again.
    pub(crate) fn advance(&self) -> bool {
        let waker = {
            let mut state = self.0.lock();
            let Some((key, waker)) = state.timers.pop_first() else { return false };
            state.now = state.now.max(key.0);
            waker
        };
        waker.wake();
        true
    }
}

/// A timer of [`VirtualTime`]; dropping it takes it back.
pub(crate) struct VirtualSleep {
    time: Arc<VirtualTime>,
    at: Duration,
    key: Option<TimerKey>,
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let time = self.time.clone();
        let mut state = time.0.lock();
        if state.now >= self.at {
            if let Some(key) = self.key.take() {
                state.timers.remove(&key);
            }
            return Poll::Ready(());
        }
        let at = self.at;
        let key = *self.key.get_or_insert_with(|| {
            state.serial += 1;
            (at, state.rng.random(), state.serial)
        });
        state.timers.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let removed = self.time.0.lock().timers.remove(&key);
            drop(removed);
        }
    }
}

//! Timers finer than tokio's millisecond, for commit waits: those are about a millisecond long themselves.
//!
//! One thread for the whole process sleeps until the earliest deadline. Deadlines are rounded up to a grid, so that
//! many waits that end at about the same time cost one wake-up.

use crate::time;
use parking_lot::{Condvar, Mutex};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

const GRID_MICROS: u128 = 100;
/// The longest wait worth the thread's attention; what is longer is left to tokio first.
pub(crate) const LONGEST: Duration = Duration::from_millis(5);

struct Timers {
    heap: Mutex<BinaryHeap<Reverse<Entry>>>,
    earlier: Condvar,
}

struct Entry {
    at: Duration,
    sleeper: Weak<Mutex<Sleeper>>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[derive(Default)]
struct Sleeper {
    fired: bool,
    waker: Option<Waker>,
}

/// `None` if the thread cannot be started; then tokio's timers must do.
#[expect(clippy::disallowed_methods, reason = "one thread of the process, which virtual time never asks for")]
fn timers() -> Option<&'static Timers> {
    static TIMERS: OnceLock<Option<&'static Timers>> = OnceLock::new();
    *TIMERS.get_or_init(|| {
        let timers: &'static Timers =
            Box::leak(Box::new(Timers { heap: Mutex::default(), earlier: Condvar::new() }));
        let spawned = std::thread::Builder::new().name("quorate-timers".into()).spawn(move || timers.run());
        spawned.is_ok().then_some(timers)
    })
}

impl Timers {
    fn run(&self) {
        // SAFETY: sets a property of this thread only. Without it the kernel may be 50 µs late.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 5_000u64, 0, 0, 0) };
        let mut due = Vec::new();
        let mut heap = self.heap.lock();
        loop {
            let now = time::now();
            while heap.peek().is_some_and(|Reverse(entry)| entry.at <= now) {
                due.extend(heap.pop().and_then(|Reverse(entry)| entry.sleeper.upgrade()));
            }
            if !due.is_empty() {
                drop(heap);
                for sleeper in due.drain(..) {
                    let waker = {
                        let mut sleeper = sleeper.lock();
                        sleeper.fired = true;
                        sleeper.waker.take()
                    };
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                heap = self.heap.lock();
                continue;
            }
            match heap.peek().map(|Reverse(entry)| entry.at - now) {
                Some(left) => {
                    self.earlier.wait_for(&mut heap, left);
                }
                None => self.earlier.wait(&mut heap),
            }
        }
    }
}

/// Fires a tenth of a millisecond late at most, on a machine that is not overloaded.
pub(crate) struct PreciseSleep(Arc<Mutex<Sleeper>>);

impl PreciseSleep {
    pub(crate) fn new(duration: Duration) -> Option<Self> {
        let timers = timers()?;
        let micros = (time::now() + duration).as_micros().div_ceil(GRID_MICROS) * GRID_MICROS;
        let at = Duration::from_micros(micros as u64);
        let sleeper = Arc::new(Mutex::new(Sleeper::default()));
        let mut heap = timers.heap.lock();
        let first = heap.peek().is_none_or(|Reverse(entry)| at < entry.at);
        heap.push(Reverse(Entry { at, sleeper: Arc::downgrade(&sleeper) }));
        drop(heap);
        if first {
            timers.earlier.notify_one();
        }
        Some(PreciseSleep(sleeper))
    }
}

impl Future for PreciseSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleeper = self.0.lock();
        if sleeper.fired {
            return Poll::Ready(());
        }
        sleeper.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

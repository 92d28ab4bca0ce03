//! The numbers of writes.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(super) struct Order {
    running: Mutex<Running>,
    finished: AtomicU64,
}

#[derive(Default)]
struct Running {
    last: u64,
    under_way: BTreeSet<u64>,
}

/// A write that is under way. One that is dropped unfinished failed, and nobody knows what it left: no number from its own on
/// counts as finished any more, and nothing that is kept since then is used.
pub(super) struct Ticket<'a> {
    pub number: u64,
    order: &'a Order,
}

impl Order {
    pub fn begin(&self) -> Ticket<'_> {
        let mut running = self.running.lock();
        running.last += 1;
        let number = running.last;
        running.under_way.insert(number);
        Ticket { number, order: self }
    }

    /// All writes up to here have finished.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Acquire)
    }
}

impl Ticket<'_> {
    pub fn finish(self) {
        let mut running = self.order.running.lock();
        running.under_way.remove(&self.number);
        let finished = running.under_way.first().map_or(running.last, |first| first - 1);
        self.order.finished.store(finished, Ordering::Release);
    }

    /// Whether this write comes after that number's for certain; its own number is no obstacle.
    pub fn follows(&self, number: u64) -> bool {
        number == self.number || number <= self.order.finished()
    }
}

//! Which versions of the catalog are in use on this node (PROTOCOL 20). Pure bookkeeping.
//!
//! Every transaction has a pin. While a statement of it runs, the pin stays with the snapshot that the statement was bound
//! against; between statements it moves on to newer snapshots as long as the tables that the transaction has used are the
//! same there. The least version of all pins, and of what new statements get, is what the node reports.

use super::snapshot::Snapshot;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub type PinId = u64;

#[derive(Debug)]
struct Pin {
    snapshot: Arc<Snapshot>,
    running: bool,
    used: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
pub struct Pins {
    current: Arc<Snapshot>,
    live: BTreeMap<PinId, Pin>,
    next: PinId,
    reported: u64,
}

impl Pins {
    pub fn new(current: Arc<Snapshot>) -> Self {
        Pins { current, live: BTreeMap::new(), next: 0, reported: 0 }
    }

    pub fn current(&self) -> &Arc<Snapshot> {
        &self.current
    }

    pub fn pin(&mut self) -> PinId {
        self.next += 1;
        let pin = Pin { snapshot: self.current.clone(), running: false, used: BTreeSet::new() };
        self.live.insert(self.next, pin);
        self.next
    }

    pub fn unpin(&mut self, id: PinId) {
        self.live.remove(&id);
    }

    /// The snapshot for the next statement.
    pub fn begin_statement(&mut self, id: PinId) -> Arc<Snapshot> {
        let current = self.current.clone();
        match self.live.get_mut(&id) {
            Some(pin) => {
                advance(pin, &current);
                pin.running = true;
                pin.snapshot.clone()
            }
            None => current,
        }
    }

    /// The statement used these tables (id and version).
    pub fn used(&mut self, id: PinId, tables: &[(u64, u64)]) {
        if let Some(pin) = self.live.get_mut(&id) {
            pin.used.extend(tables.iter().copied());
        }
    }

    pub fn end_statement(&mut self, id: PinId) {
        if let Some(pin) = self.live.get_mut(&id) {
            pin.running = false;
            advance(pin, &self.current);
        }
    }

    /// A newer snapshot was read.
    pub fn install(&mut self, snapshot: Arc<Snapshot>) {
        if (snapshot.version, snapshot.generation) < (self.current.version, self.current.generation) {
            return;
        }
        self.current = snapshot;
        for pin in self.live.values_mut().filter(|pin| !pin.running) {
            advance(pin, &self.current);
        }
    }

    /// What the node may now report, if that is more than it has.
    pub fn report(&mut self) -> Option<u64> {
        let pinned = self.live.values().map(|pin| pin.snapshot.version).min();
        let least = pinned.map_or(self.current.version, |p| p.min(self.current.version));
        (least > self.reported).then(|| {
            self.reported = least;
            least
        })
    }
}

fn advance(pin: &mut Pin, current: &Arc<Snapshot>) {
    let used: Vec<(u64, u64)> = pin.used.iter().copied().collect();
    if current.still_has(&used) {
        pin.snapshot = current.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(version: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot { version, ..Default::default() })
    }

    #[test]
    fn a_running_statement_holds_its_version() {
        let mut pins = Pins::new(snapshot(1));
        assert_eq!(pins.report(), Some(1));
        let pin = pins.pin();
        pins.begin_statement(pin);
        pins.install(snapshot(2));
        assert_eq!(pins.report(), None);
        pins.end_statement(pin);
        assert_eq!(pins.report(), Some(2));
        // A table used at a version that is no longer there holds the pin back until the transaction ends.
        pins.begin_statement(pin);
        pins.used(pin, &[(7, 1)]);
        pins.end_statement(pin);
        pins.install(snapshot(3));
        assert_eq!(pins.report(), None);
        assert_eq!(pins.begin_statement(pin).version, 2);
        pins.unpin(pin);
        assert_eq!(pins.report(), Some(3));
    }
}

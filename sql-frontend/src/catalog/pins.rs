//! Which versions of the catalog are in use on this node (PROTOCOL 20). Pure bookkeeping.
//!
//! Every transaction has a pin. While a statement of it is bound, the pin stays with the snapshot that it is bound against, and a
//! statement about the catalog itself keeps it there to its end; otherwise it moves on to newer snapshots as long as the tables
//! that the transaction has used are the same there. The least version of all pins, and of what new statements get, is what the node reports.
//!
//! A transaction that has used a table which is closed now ([`TableDescriptor::closed`]) commits no writes, and its pin holds
//! nothing back, unless its commit has begun already.
//!
//! [`TableDescriptor::closed`]: super::TableDescriptor::closed

use super::snapshot::Snapshot;
use quorate_env::planted;
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
    committing: bool,
    /// The name of a table it has used that is closed.
    barred: Option<String>,
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
        let snapshot = self.current.clone();
        let pin = Pin { snapshot, running: false, used: BTreeSet::new(), committing: false, barred: None };
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
            bar(pin, &self.current);
        }
    }

    /// The statement is bound to these tables, and needs nothing else of its snapshot.
    pub fn bound(&mut self, id: PinId, tables: &[(u64, u64)]) {
        self.used(id, tables);
        self.end_statement(id);
    }

    /// The transaction's writes are about to be committed, and hold the version until it is over; or they must not be, because
    /// of the table that is named.
    pub fn begin_commit(&mut self, id: PinId) -> Result<(), String> {
        let Some(pin) = self.live.get_mut(&id) else { return Ok(()) };
        pin.committing = pin.barred.is_none();
        pin.barred.clone().filter(|_| !planted!("sql.closed_table_is_written")).map_or(Ok(()), Err)
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
        for pin in self.live.values_mut() {
            bar(pin, &self.current);
            if !pin.running || planted!("sql.statement_holds_nothing") {
                advance(pin, &self.current);
            }
        }
    }

    /// Whether some transaction keeps the node from reporting the version that it has read.
    pub fn is_held_back(&self) -> bool {
        self.reported < self.current.version
    }

    /// What the node may now report, if that is more than it has.
    pub fn report(&mut self) -> Option<u64> {
        let commits = |pin: &Pin| pin.committing && !planted!("sql.commit_under_way_holds_nothing");
        let holding = self.live.values().filter(|pin| commits(pin) || pin.barred.is_none());
        let pinned = holding.map(|pin| pin.snapshot.version).min();
        let least = pinned.map_or(self.current.version, |p| p.min(self.current.version));
        (least > self.reported).then(|| {
            self.reported = least;
            least
        })
    }
}

fn advance(pin: &mut Pin, current: &Arc<Snapshot>) {
    let used: Vec<(u64, u64)> = pin.used.iter().copied().collect();
    if current.still_has(&used) || planted!("sql.used_table_holds_nothing") {
        pin.snapshot = current.clone();
    }
}

fn bar(pin: &mut Pin, current: &Snapshot) {
    let closed = |id: &u64| match current.tables.get(id) {
        Some(table) => table.closed.then_some(table),
        // Gone altogether; what this transaction has made itself is in neither.
        None => pin.snapshot.tables.get(id),
    };
    if pin.barred.is_none() {
        pin.barred = pin.used.iter().find_map(|(id, _)| closed(id)).map(|table| table.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{IndexDescriptor, IndexState, TableDescriptor, TableState};

    fn snapshot(version: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot { version, ..Default::default() })
    }

    fn with_table(version: u64, closed: bool) -> Arc<Snapshot> {
        let primary = IndexDescriptor {
            id: 1,
            name: "t_pkey".into(),
            columns: vec![],
            unique: true,
            state: IndexState::Public,
            plain: false,
        };
        let table = TableDescriptor {
            id: 7,
            schema: "public".into(),
            name: "t".into(),
            columns: vec![],
            primary,
            indexes: vec![],
            version,
            next_column_id: 1,
            next_index_id: 2,
            state: if closed { TableState::Dropped } else { TableState::Public },
            checks: vec![],
            closed,
        };
        snapshot(version).with(|snapshot| drop(snapshot.tables.insert(7, Arc::new(table))))
    }

    #[test]
    fn who_has_used_a_closed_table_commits_before_it_closes_or_never() {
        let mut pins = Pins::new(with_table(1, false));
        let [before, late, other] = [pins.pin(), pins.pin(), pins.pin()];
        for pin in [before, late, other] {
            pins.begin_statement(pin);
        }
        for pin in [before, late] {
            pins.used(pin, &[(7, 1)]);
            pins.end_statement(pin);
        }
        assert_eq!(pins.report(), Some(1));
        assert_eq!(pins.begin_commit(before), Ok(()));
        pins.install(with_table(2, true));
        pins.end_statement(other);
        assert_eq!(pins.report(), None, "a commit is under way");
        assert_eq!(pins.begin_commit(late), Err("t".into()));
        assert_eq!(pins.begin_commit(other), Ok(()));
        pins.unpin(before);
        assert_eq!(pins.report(), Some(2), "who cannot commit holds nothing up");
        // Bound before, used after.
        let mut pins = Pins::new(with_table(1, false));
        let pin = pins.pin();
        pins.begin_statement(pin);
        pins.install(with_table(2, true));
        assert_eq!(pins.report(), Some(1));
        pins.used(pin, &[(7, 1)]);
        assert_eq!(pins.begin_commit(pin), Err("t".into()));
        // The catalog may have forgotten the table by the time it is read.
        let mut pins = Pins::new(with_table(1, false));
        let pin = pins.pin();
        pins.used(pin, &[(7, 1), (8, 1)]);
        pins.install(snapshot(3));
        assert_eq!(pins.begin_commit(pin), Err("t".into()));
    }

    #[test]
    fn a_bound_statement_holds_its_tables_only() {
        let mut pins = Pins::new(with_table(1, false));
        let pin = pins.pin();
        assert_eq!(pins.report(), Some(1));
        pins.begin_statement(pin);
        let newer = snapshot(2).with(|newer| {
            newer.tables.extend(with_table(1, false).tables.iter().map(|(id, t)| (*id, t.clone())))
        });
        pins.install(newer);
        assert_eq!(pins.report(), None, "it may be bound against the old snapshot yet");
        pins.bound(pin, &[(7, 1)]);
        assert_eq!(pins.report(), Some(2), "its table is the same");
        pins.install(with_table(3, false));
        assert_eq!(pins.report(), None, "its table has changed");
        pins.unpin(pin);
        assert_eq!(pins.report(), Some(3));
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

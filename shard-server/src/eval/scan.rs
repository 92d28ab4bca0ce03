//! Scans: a page of rows as of a timestamp, with the reader's own intents laid over it.

use super::read::View;
use crate::{ShardConfig, registry::internal};
use quorate_proto::kv::{Row, Scan, ScanResult};
use quorate_proto::{Key, KvError, Span, Timestamp};
use quorate_storage::{intent, intent::Intent, mvcc};
use std::collections::BTreeMap;

impl View<'_> {
    pub(super) fn scan(&mut self, scan: &Scan, config: &ShardConfig) -> Result<ScanResult, KvError> {
        let page = self.page(scan, self.read_ts, config)?;
        let covered = covered(&scan.span, page.resume.as_ref(), scan.reverse);
        let mut own = BTreeMap::new();
        for found in intent::scan(self.snapshot, &covered) {
            let (key, found) = found.map_err(internal)?;
            if self.owns(&found) {
                own.insert(key, found);
            } else if self.in_the_way(&found) {
                self.block(&key, found);
            }
        }
        if self.uncertain_to > self.read_ts {
            let changed = mvcc::changed_between(self.snapshot, &covered, self.read_ts, self.uncertain_to);
            if let Some((key, value_ts)) = changed.map_err(internal)? {
                return Err(KvError::Uncertain { key, value_ts });
            }
        }
        self.met = self.met.max(page.newest_met);
        let rows = overlay(page.rows, own, scan.reverse);
        Ok(ScanResult { rows, resume: page.resume })
    }

    /// One bounded page as of `ts`.
    pub(super) fn page(
        &self,
        scan: &Scan,
        ts: Timestamp,
        config: &ShardConfig,
    ) -> Result<mvcc::Page, KvError> {
        let bound = |asked: u64, cap: u64| if asked == 0 { cap } else { asked.min(cap) };
        let rows = bound(scan.max_rows, config.max_scan_rows);
        let bytes = bound(scan.max_bytes, config.max_scan_bytes);
        mvcc::scan_page(self.snapshot, &scan.span, ts, scan.reverse, rows, bytes).map_err(internal)
    }
}

/// The keys that a page answers for.
pub(super) fn covered(span: &Span, resume: Option<&Span>, reverse: bool) -> Span {
    match resume {
        None => span.clone(),
        Some(rest) if reverse => Span { start: rest.end.clone().unwrap_or_default(), end: span.end.clone() },
        Some(rest) => Span { start: span.start.clone(), end: Some(rest.start.clone()) },
    }
}

pub(super) fn overlay(rows: Vec<Row>, own: BTreeMap<Key, Intent>, reverse: bool) -> Vec<Row> {
    if own.is_empty() {
        return rows;
    }
    let mut all: BTreeMap<Key, Row> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
    for (key, intent) in own {
        match intent.value {
            Some(value) => drop(all.insert(key.clone(), Row { key, value, ts: intent.ts })),
            None => drop(all.remove(&key)),
        }
    }
    if reverse { all.into_values().rev().collect() } else { all.into_values().collect() }
}

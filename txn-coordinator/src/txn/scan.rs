//! Streams of rows.

use super::{
    read::{Locking, Noted, Proof, Purpose, Reading, covered},
    state::{Inner, no_room},
};
use crate::{
    ScanOptions, TxnError,
    buffer::{Seq, overlay},
};
use futures::stream::{self, BoxStream, StreamExt};
use quorate_proto::{
    Key, KvError, Span, Value,
    kv::{LockRequest, ReadOp, ReadResult, Scan},
};
use std::sync::Arc;

/// A scan under way: what is left of its span, and the moment of the buffer that it sees.
struct Cursor {
    txn: Arc<Inner>,
    rest: Option<Span>,
    options: ScanOptions,
    /// Rows still wanted.
    left: u64,
    as_of: Seq,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.txn.state.lock().change(|changes| {
            changes.unmark(self.as_of);
            Ok(())
        });
    }
}

pub(super) fn scan(
    txn: Arc<Inner>,
    span: Span,
    options: ScanOptions,
) -> BoxStream<'static, Result<Vec<(Key, Value)>, TxnError>> {
    let as_of = txn.state.lock().change(|changes| Ok(changes.buffer.mark())).unwrap_or_default();
    let left = options.limit.unwrap_or(u64::MAX);
    let rest = (!span.is_empty() && left > 0).then_some(span);
    let cursor = Cursor { txn, rest, options, left, as_of };
    let pages = stream::unfold(cursor, |mut cursor| async move {
        loop {
            match cursor.page().await {
                Ok(None) => return None,
                Ok(Some(page)) if page.is_empty() => {}
                Ok(Some(page)) => return Some((Ok(page), cursor)),
                Err(error) => {
                    cursor.rest = None;
                    return Some((Err(error), cursor));
                }
            }
        }
    });
    pages.boxed()
}

impl Cursor {
    /// The next page, perhaps empty; `None` at the end.
    async fn page(&mut self) -> Result<Option<Vec<(Key, Value)>>, TxnError> {
        let Some(rest) = self.rest.clone() else { return Ok(None) };
        let txn = self.txn.clone();
        let reverse = self.options.reverse;
        let deadline = txn.send_options().deadline;
        let router = &txn.coordinator.router;
        let shard = if reverse {
            router.locate_before(rest.end.as_ref(), deadline).await
        } else {
            router.locate(&rest.start, deadline).await
        };
        let shard = shard.map_err(|error| txn.failed(error))?;
        let Some(part) = rest.intersection(&shard.span) else { return Ok(Some(Vec::new())) };
        let op = ReadOp::Scan(Scan {
            span: part.clone(),
            reverse,
            max_rows: self.rows_wanted(&part),
            max_bytes: txn.coordinator.config.page_bytes,
        });
        let proof = if self.options.loose { Proof::Spared } else { Proof::Wanted };
        let noted = Noted::Scan(&part, reverse, proof);
        // Where a snapshot stays, it says which rows there are; these are then locked.
        let (now, late) = match self.options.lock.clone() {
            Some(lock) if txn.keeps_snapshot() => (None, Some(lock)),
            lock => (lock, None),
        };
        let read = txn.read(vec![op], &part.start, now.as_ref(), noted).await?;
        // The shard was split meanwhile: the next turn finds the right one.
        let Some(reply) = read else { return Ok(Some(Vec::new())) };
        let Some(ReadResult::Scan(found)) = reply.results.into_iter().next() else {
            return Err(txn.error(KvError::Internal { why: "a get answered a scan".into() }));
        };
        let Some(covered) = covered(&part, found.resume.as_ref(), reverse) else {
            return Err(txn.error(KvError::Internal { why: "a scan made no progress".into() }));
        };
        let mut rows: Vec<(Key, Value)> = found.rows.into_iter().map(|row| (row.key, row.value)).collect();
        if let Some(lock) = late {
            rows = self.lock_rows(rows, lock).await?;
        }
        // A page is not longer because there are many own writes; what the shard has sent beyond its end is read again.
        let most = txn.coordinator.config.page_rows.min(self.left).max(1) as usize;
        let overlaid = overlay(rows, &txn.state.lock().changes.buffer, &covered, self.as_of, reverse, most);
        let (page, cut) = overlaid.map_err(|error| txn.error(no_room(&error)))?;
        let covered = match cut {
            Some(last) if reverse => Span { start: last, end: covered.end },
            Some(last) => Span { start: covered.start, end: Some(last.successor()) },
            None => covered,
        };
        self.left -= page.len() as u64;
        self.rest = if self.left == 0 { None } else { after(rest, &covered, reverse) };
        Ok(Some(page))
    }

    /// The rows as they are under the lock. Own writes are locked already, and come from the buffer.
    async fn lock_rows(
        &self,
        rows: Vec<(Key, Value)>,
        lock: LockRequest,
    ) -> Result<Vec<(Key, Value)>, TxnError> {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        {
            let state = self.txn.state.lock();
            for row in rows {
                let has =
                    state.changes.buffer.has(&row.0).map_err(|error| self.txn.error(no_room(&error)))?;
                if has { own.push(row) } else { others.push(row) }
            }
        }
        let keys: Vec<Key> = others.into_iter().map(|(key, _)| key).collect();
        let locking = Locking { request: lock, purpose: Purpose::Row };
        let found = self.txn.read_keys(&keys, Reading::Locked(locking)).await?;
        let locked = keys.into_iter().zip(found).filter_map(|(key, value)| Some((key, value?)));
        let mut rows: Vec<(Key, Value)> = own.into_iter().chain(locked).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        if self.options.reverse {
            rows.reverse();
        }
        Ok(rows)
    }

    /// Own deletions hide rows, so that as many more are asked for.
    fn rows_wanted(&self, part: &Span) -> u64 {
        let config = &self.txn.coordinator.config;
        if self.left >= config.page_rows {
            return config.page_rows;
        }
        let state = self.txn.state.lock();
        let own = state.changes.buffer.range(part, self.as_of, false).take(config.page_rows as usize);
        let hidden = own.filter(|write| matches!(write, Ok((_, None)))).count();
        (self.left + hidden as u64).min(config.page_rows)
    }
}

/// What is left of a span once `covered`, its first part in scan order, is done.
fn after(rest: Span, covered: &Span, reverse: bool) -> Option<Span> {
    let rest = if reverse {
        Span { start: rest.start, end: Some(covered.start.clone()) }
    } else {
        Span { start: covered.end.clone()?, end: rest.end }
    };
    (!rest.is_empty()).then_some(rest)
}

//! What a commit proves and writes, grouped by shard.

use super::events::{Kept, Part};
use crate::{
    changes::Changes,
    route::{Router, SendError},
    scratch::ScratchError,
};
use quorate_proto::{
    Key, ShardDescriptor, Span, Timestamp,
    kv::{Check, Write},
};
use std::{sync::Arc, time::Duration};

/// Keys and values up to this many bytes are not cut: what lies in one shard is committed by one entry.
const LARGE: usize = 1 << 20;
/// More is cut into requests, and with them log entries, of about this many bytes: entries of other transactions wait
/// behind each.
const PIECE: usize = 256 << 10;

/// Keys of a parallel commit; of more the decision is written down after they are all prepared (PROTOCOL 18).
const MAX_STAGED: usize = 128;

/// All of a commit, or the share of one participant; each list in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    pub refresh: Vec<Span>,
    pub checks: Vec<Check>,
    pub writes: Vec<Write>,
}

impl Pieces {
    pub fn of(part: &Part) -> Self {
        Pieces { refresh: part.refresh.clone(), checks: part.checks.clone(), writes: part.writes.clone() }
    }

    pub fn of_all<'a>(parts: impl Iterator<Item = &'a Part>) -> Self {
        let mut all = Pieces::default();
        for part in parts {
            all.refresh.extend(part.refresh.iter().cloned());
            all.checks.extend(part.checks.iter().cloned());
            all.writes.extend(part.writes.iter().cloned());
        }
        all.refresh.sort();
        all.checks.sort_by(|a, b| a.key.cmp(&b.key));
        all.writes.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Few enough to be listed in a record and asked for one by one, and the anchor among them.
    pub fn stageable(&self, anchor: &Key) -> bool {
        (self.writes.len() <= MAX_STAGED || quorate_env::planted!("txn.many_staged"))
            && self.writes.iter().map(size).sum::<usize>() <= LARGE
            && self.writes.binary_search_by(|write| write.key.cmp(anchor)).is_ok()
    }

    /// By shard as the map has it now, large shares cut into several.
    pub async fn group(&self, router: &Router, deadline: Duration) -> Result<Vec<Part>, SendError> {
        let all: usize = self.writes.iter().map(size).sum();
        let mut cutter = Cutter::new(router, deadline, if all <= LARGE { LARGE } else { PIECE }, false);
        // Writes and checks walk through the shards together, so that a key's check stays beside its write.
        let (mut checks, mut writes) = (self.checks.iter().peekable(), self.writes.iter().peekable());
        loop {
            let key = match (checks.peek(), writes.peek()) {
                (Some(check), Some(write)) => (&check.key).min(&write.key),
                (Some(check), None) => &check.key,
                (None, Some(write)) => &write.key,
                (None, None) => break,
            };
            let own_checks = std::iter::from_fn(|| checks.next_if(|check| check.key == *key).cloned());
            let own_checks = own_checks.collect();
            let write = writes.next_if(|write| write.key == *key).cloned();
            cutter.add(key, own_checks, write).await?;
        }
        cutter.finish(&self.refresh).await
    }
}

/// All that a commit does, and where it stands until its turn comes.
pub(crate) struct Work {
    pub changes: Arc<Changes>,
    pub refresh: Vec<Span>,
    /// [`crate::changes::Item::checks`].
    pub unlocked: Option<Timestamp>,
}

impl Work {
    /// Brought into memory.
    pub fn pieces(&self) -> Result<Pieces, ScratchError> {
        let (checks, writes) = self.within(&Span::ALL)?;
        Ok(Pieces { refresh: self.refresh.clone(), checks, writes })
    }

    /// The part with what it keeps brought into memory.
    pub fn load(&self, part: &Part) -> Result<Part, ScratchError> {
        let Some(kept) = &part.kept else { return Ok(part.clone()) };
        let (checks, writes) = self.within(&kept.span)?;
        Ok(Part { shard: part.shard, refresh: part.refresh.clone(), checks, writes, kept: None })
    }

    fn within(&self, span: &Span) -> Result<(Vec<Check>, Vec<Write>), ScratchError> {
        let (mut checks, mut writes) = (Vec::new(), Vec::new());
        for item in self.changes.items(span) {
            let item = item?;
            checks.extend(item.checks(self.unlocked));
            writes.extend(item.into_write());
        }
        Ok((checks, writes))
    }

    /// [`Pieces::group`] for what does not belong into memory.
    pub async fn group(&self, router: &Router, deadline: Duration) -> Result<Vec<Part>, GroupError> {
        let mut cutter = Cutter::new(router, deadline, PIECE, true);
        for item in self.changes.items(&Span::ALL) {
            let item = item.map_err(GroupError::Scratch)?;
            let (key, checks) = (item.key.clone(), item.checks(self.unlocked).collect());
            cutter.add(&key, checks, item.into_write()).await.map_err(GroupError::Send)?;
        }
        cutter.finish(&self.refresh).await.map_err(GroupError::Send)
    }
}

/// Why a commit could not be laid out.
pub(crate) enum GroupError {
    Send(SendError),
    Scratch(ScratchError),
}

/// Cuts what comes in key order into parts.
struct Cutter<'a> {
    grouping: Grouping<'a>,
    /// Bytes after which a part is closed.
    most: usize,
    /// Closed parts keep no more than the name of what they hold.
    keep: bool,
    closed: Vec<Part>,
    open: Option<(Part, usize)>,
}

impl<'a> Cutter<'a> {
    fn new(router: &'a Router, deadline: Duration, most: usize, keep: bool) -> Self {
        let grouping = Grouping { router, deadline, current: None };
        Cutter { grouping, most, keep, closed: Vec::new(), open: None }
    }

    async fn add(&mut self, key: &Key, checks: Vec<Check>, write: Option<Write>) -> Result<(), SendError> {
        let shard = self.grouping.shard_of(key).await?.id;
        if self.open.as_ref().is_some_and(|(part, bytes)| part.shard != shard || *bytes >= self.most) {
            self.close();
        }
        let (part, bytes) = self.open.get_or_insert_with(|| (Part { shard, ..Part::default() }, 0));
        *bytes += checks.len() * (key.len() + 16) + write.as_ref().map_or(0, size);
        part.checks.extend(checks);
        part.writes.extend(write);
        Ok(())
    }

    fn close(&mut self) {
        let Some((mut part, bytes)) = self.open.take() else { return };
        if self.keep
            && part.unprotected().next().is_none()
            && let (Some(first), Some(last)) = (part.writes.first(), part.writes.last())
        {
            let span = Span { start: first.key.clone(), end: Some(last.key.successor()) };
            let kept = Kept { span, bytes, writes: part.writes.len() };
            part = Part { shard: part.shard, kept: Some(kept), ..Part::default() };
        }
        self.closed.push(part);
    }

    /// Adds what was read where it was read.
    async fn finish(mut self, refresh: &[Span]) -> Result<Vec<Part>, SendError> {
        self.close();
        let mut parts = self.closed;
        for span in refresh {
            for (shard, span) in self.grouping.router.split(span, self.grouping.deadline).await? {
                match parts.iter_mut().find(|part| part.shard == shard.id) {
                    Some(part) => part.refresh.push(span),
                    None => parts.push(Part { shard: shard.id, refresh: vec![span], ..Part::default() }),
                }
            }
        }
        Ok(parts)
    }
}

/// Bytes that a write takes in a request, about.
pub(super) fn size(write: &Write) -> usize {
    write.key.len() + write.value.as_ref().map_or(0, |value| value.len()) + 16
}

/// Remembers the last shard found: keys come in order.
struct Grouping<'a> {
    router: &'a Router,
    deadline: Duration,
    current: Option<ShardDescriptor>,
}

impl Grouping<'_> {
    async fn shard_of(&mut self, key: &Key) -> Result<&ShardDescriptor, SendError> {
        if !self.current.as_ref().is_some_and(|shard| shard.contains(key)) {
            self.current = Some(self.router.locate(key, self.deadline).await?);
        }
        Ok(self.current.as_ref().expect("just set"))
    }
}

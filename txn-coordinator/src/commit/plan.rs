//! What a commit proves and writes, grouped by shard.

use super::events::Part;
use crate::route::{Router, SendError};
use quorate_proto::{
    Key, ShardDescriptor, Span,
    kv::{Check, Write},
};
use std::time::Duration;

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

    /// Nothing to write and nothing to prove.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.checks.is_empty()
    }

    /// Few enough to be listed in a record and asked for one by one, and the anchor among them.
    pub fn stageable(&self, anchor: &Key) -> bool {
        (self.writes.len() <= MAX_STAGED || quorate_env::planted!("txn.many_staged"))
            && self.writes.iter().map(size).sum::<usize>() <= LARGE
            && self.writes.binary_search_by(|write| write.key.cmp(anchor)).is_ok()
    }

    pub fn first_key(&self) -> Key {
        let first = self.writes.first().map(|write| &write.key);
        first.or(self.checks.first().map(|check| &check.key)).cloned().unwrap_or_default()
    }

    /// By shard as the map has it now, large shares cut into several.
    pub async fn group(&self, router: &Router, deadline: Duration) -> Result<Vec<Part>, SendError> {
        let mut grouping = Grouping { router, deadline, current: None };
        let all: usize = self.writes.iter().map(size).sum();
        let most = if all <= LARGE { LARGE } else { PIECE };
        let mut parts: Vec<(Part, usize)> = Vec::new();
        // Writes and checks walk through the shards together, so that a key's check stays beside its write.
        let (mut checks, mut writes) = (self.checks.iter().peekable(), self.writes.iter().peekable());
        loop {
            let key = match (checks.peek(), writes.peek()) {
                (Some(check), Some(write)) => (&check.key).min(&write.key).clone(),
                (Some(check), None) => check.key.clone(),
                (None, Some(write)) => write.key.clone(),
                (None, None) => break,
            };
            let shard = grouping.shard_of(&key).await?.id;
            let part = match parts.last_mut() {
                Some((part, bytes)) if part.shard == shard && *bytes < most => (part, bytes),
                _ => {
                    parts.push((Part { shard, ..Part::default() }, 0));
                    let Some((part, bytes)) = parts.last_mut() else { break };
                    (part, bytes)
                }
            };
            while let Some(check) = checks.next_if(|check| check.key == key) {
                *part.1 += key.len() + 16;
                part.0.checks.push(check.clone());
            }
            if let Some(write) = writes.next_if(|write| write.key == key) {
                *part.1 += size(write);
                part.0.writes.push(write.clone());
            }
        }
        let mut parts: Vec<Part> = parts.into_iter().map(|(part, _)| part).collect();
        for span in &self.refresh {
            for (shard, span) in router.split(span, deadline).await? {
                match parts.iter_mut().find(|part| part.shard == shard.id) {
                    Some(part) => part.refresh.push(span),
                    None => {
                        parts.push(Part { shard: shard.id, refresh: vec![span], ..Part::default() });
                    }
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

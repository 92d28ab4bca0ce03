//! What happened to whom, in order: for whoever looks into a simulated run. Off unless somebody listens, and then nothing is put
//! together; listening changes nothing of what happens.

use crate::time;
use quorate_proto::{Key, NodeId, ShardId, Span, TxnId};
use std::{fmt::Write, sync::OnceLock, time::Duration};

/// One thing that happened, and what it is about.
#[derive(Clone, Debug, Default)]
pub struct Happening {
    pub node: Option<NodeId>,
    pub shard: Option<ShardId>,
    pub txns: Vec<TxnId>,
    pub keys: Vec<Key>,
    pub spans: Vec<Span>,
    pub what: String,
}

/// What is listened to; everything, if it names nothing.
#[derive(Clone, Debug, Default)]
pub struct Narrowed {
    pub keys: Vec<Key>,
    /// How their ids begin, in hexadecimal.
    pub txns: Vec<String>,
    pub shards: Vec<ShardId>,
    pub nodes: Vec<NodeId>,
}

struct Listener {
    narrowed: Narrowed,
    /// From when times are counted.
    origin: Duration,
    write: Box<dyn Fn(&str) + Send + Sync>,
}

static LISTENER: OnceLock<Listener> = OnceLock::new();

/// Has each line given to `write` from now on, times counted from `origin` (since boot). The first in a process is the only one.
pub fn listen(narrowed: Narrowed, origin: Duration, write: impl Fn(&str) + Send + Sync + 'static) {
    let _ = LISTENER.set(Listener { narrowed, origin, write: Box::new(write) });
}

/// Whether anybody listens: else there is no need to note what will be told.
pub fn is_on() -> bool {
    LISTENER.get().is_some()
}

/// Tells something, if anybody listens.
pub fn tell(happening: impl FnOnce() -> Happening) {
    if let Some(listener) = LISTENER.get() {
        let happening = happening();
        if listener.narrowed.shows(&happening) {
            (listener.write)(&happening.line(time::now().saturating_sub(listener.origin)));
        }
    }
}

fn fits<T>(asked: &[T], about: bool, matches: impl FnMut(&T) -> bool) -> bool {
    asked.is_empty() || !about || asked.iter().any(matches)
}

impl Narrowed {
    /// What is not about any key, or any transaction, may be about all of them: a crash, a new leader.
    pub fn shows(&self, of: &Happening) -> bool {
        let of_data = !(of.keys.is_empty() && of.spans.is_empty() && of.txns.is_empty());
        let touches = |key: &Key| of.keys.contains(key) || of.spans.iter().any(|span| span.contains(key));
        let begins = |id: &String| of.txns.iter().any(|txn| txn.to_string().starts_with(id.as_str()));
        fits(&self.keys, of_data, touches)
            && fits(&self.txns, of_data, begins)
            && fits(&self.shards, of.shard.is_some(), |shard| of.shard == Some(*shard))
            && fits(&self.nodes, of.node.is_some(), |node| of.node == Some(*node))
    }
}

/// Bytes in hexadecimal, and of long ones the beginning.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(24) {
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > 24 {
        text.push('…');
    }
    text
}

impl Happening {
    /// `seconds node shard what [keys] [spans] [transactions]`.
    fn line(&self, at: Duration) -> String {
        let mut line = format!("{:>12.6}", at.as_secs_f64());
        let _ = match self.node {
            Some(node) => write!(line, "  n{:<2}", node.0),
            None => write!(line, "     "),
        };
        let _ = match self.shard {
            Some(shard) => write!(line, " s{:<3}", shard.0),
            None => write!(line, "     "),
        };
        let _ = write!(line, " {}", self.what);
        if !self.keys.is_empty() {
            let keys: Vec<String> = self.keys.iter().map(|key| hex(key)).collect();
            let _ = write!(line, " · keys {}", keys.join(" "));
        }
        for span in &self.spans {
            let end = span.end.as_ref().map_or_else(|| "end".into(), |end| hex(end));
            let _ = write!(line, " · span {}..{end}", hex(&span.start));
        }
        for txn in &self.txns {
            let _ = write!(line, " · txn {txn}");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(key: &[u8], txn: u128, shard: u64) -> Happening {
        Happening {
            node: Some(NodeId(1)),
            shard: Some(ShardId(shard)),
            txns: vec![TxnId(txn)],
            keys: vec![key.to_vec().into()],
            what: "prepare".into(),
            ..Happening::default()
        }
    }

    #[test]
    fn narrowed_to_what_is_asked_for() {
        let all = Narrowed::default();
        let key = Narrowed { keys: vec![vec![1].into()], ..Narrowed::default() };
        let txn = Narrowed { txns: vec![format!("{:032x}", 7)], ..Narrowed::default() };
        let shard = Narrowed { shards: vec![ShardId(3)], ..Narrowed::default() };
        let (one, other) = (about(&[1], 7, 3), about(&[2], 8, 4));
        for narrowed in [&all, &key, &txn, &shard] {
            assert!(narrowed.shows(&one));
        }
        assert!(all.shows(&other));
        for narrowed in [&key, &txn, &shard] {
            assert!(!narrowed.shows(&other));
        }
        let scan = Happening { keys: Vec::new(), spans: vec![Span::prefix(&vec![].into())], ..other };
        assert!(key.shows(&scan));
        let crash = Happening { node: Some(NodeId(2)), what: "crash".into(), ..Happening::default() };
        assert!(key.shows(&crash) && txn.shows(&crash) && shard.shows(&crash));
        assert!(!Narrowed { nodes: vec![NodeId(1)], ..key }.shows(&crash));
    }

    #[test]
    fn a_line_says_when_where_what_and_about_what() {
        let line = about(&[0x40, 3], 0xab, 5).line(Duration::from_micros(1_500_000));
        assert_eq!(line, format!("    1.500000  n1  s5   prepare · keys 4003 · txn {:032x}", 0xab));
    }
}

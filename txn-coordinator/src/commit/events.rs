//! What the commit machine works on ([`Plan`]), is told ([`Event`]) and orders ([`Effect`]).

use quorate_proto::{
    Key, KvError, LogPosition, ShardId, Span, Timestamp, TxnId,
    kv::{Check, TxnState, Write},
};

/// One participant's share; a shard may get several when its share is large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub shard: ShardId,
    pub refresh: Vec<Span>,
    pub checks: Vec<Check>,
    pub writes: Vec<Write>,
    /// Instead of checks and writes.
    pub kept: Option<Kept>,
}

/// What a large transaction has of a span, which is not brought into memory before its turn: writes, and checks of the keys
/// written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub span: Span,
    /// Of its keys and values, about.
    pub bytes: usize,
    /// So many.
    pub writes: usize,
}

impl Part {
    pub fn writes_something(&self) -> bool {
        !self.writes.is_empty() || self.kept.is_some()
    }

    /// How many intents it lays.
    pub fn intents(&self) -> usize {
        self.writes.len() + self.kept.as_ref().map_or(0, |kept| kept.writes)
    }

    /// Whether it writes this key, which the transaction does write.
    pub fn holds(&self, key: &Key) -> bool {
        let listed = self.writes.binary_search_by(|write| write.key.cmp(key)).is_ok();
        listed || self.kept.as_ref().is_some_and(|kept| kept.span.contains(key))
    }

    /// Whether something was read or checked that no own intent protects, so that a later commit timestamp needs proof.
    pub(super) fn needs_proof(&self) -> bool {
        !self.refresh.is_empty() || self.unprotected().next().is_some()
    }

    /// Checks of keys that this part does not write. (Absence must hold at the commit timestamp; an own intent keeps it.)
    pub fn unprotected(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| self.writes.binary_search_by(|write| write.key.cmp(&check.key)).is_err())
    }
}

/// How the commit is to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub txn: TxnId,
    pub read_ts: Timestamp,
    pub commit_ts: Timestamp,
    /// The greatest timestamp allowed.
    pub commit_max: Timestamp,
    pub parts: Vec<Part>,
    /// A record may exist: an abort must be written.
    pub record: bool,
    pub anchor: Key,
    /// The shard of the anchor, as far as known when grouping.
    pub anchor_shard: ShardId,
    /// Parallel commit may be tried: the anchor is among the keys written, and they are few.
    pub stage: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `CommitLocal` was answered.
    Local(Result<(Timestamp, LogPosition), Failure>),
    Prepared {
        part: usize,
        ts: Timestamp,
        position: Option<LogPosition>,
        /// An earlier copy was lost sight of, and others may have dealt with what it did before this one came.
        repeated: bool,
    },
    PrepareFailed {
        part: usize,
        failure: Failure,
    },
    /// The part's keys lie in several shards by now; these replace it.
    Regrouped {
        part: usize,
        parts: Vec<Part>,
        /// A copy of the request may have been carried out all the same.
        maybe: bool,
    },
    Refreshed {
        part: usize,
    },
    RefreshFailed {
        part: usize,
        failure: Failure,
    },
    /// The record's state after `Decide`, and the deciding entry as far as it is known.
    Decided {
        state: TxnState,
        entry: Option<(ShardId, LogPosition)>,
    },
    DecideFailed {
        failure: Failure,
    },
    /// The record's state.
    Asked(TxnState),
    AskFailed,
    /// The commit wait is over.
    Waited,
    /// It cannot be told when that would be: the node's clock is not to be trusted (PROTOCOL 21).
    Unwaitable,
    /// Time for a heartbeat.
    Tick,
}

/// Why a request brought no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub error: KvError,
    /// A copy of the request may have been carried out, or may still be.
    pub maybe: bool,
    /// For `CommitLocal`: how the keys are grouped now, if that is why it was refused.
    pub parts: Option<Vec<Part>>,
}

impl Failure {
    pub fn definite(error: KvError) -> Self {
        Failure { error, maybe: false, parts: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    CommitLocal {
        part: usize,
        commit_ts: Timestamp,
        commit_max: Timestamp,
    },
    Prepare {
        part: usize,
        commit_ts: Timestamp,
    },
    Refresh {
        part: usize,
        from: Timestamp,
        to: Timestamp,
    },
    /// Only ever `Commit`; aborts are part of [`Effect::Abort`].
    Decide {
        ts: Timestamp,
    },
    /// Ask the record what became of the transaction; with `abort` write ABORTED if it is undecided.
    Ask {
        abort: bool,
    },
    /// Begin the commit wait for this timestamp.
    Wait {
        ts: Timestamp,
    },
    Heartbeat,
    /// The client may be told. After success or failure only clean-up follows.
    Answer(Result<Timestamp, KvError>),
    /// Turn the intents of these parts into versions; with `record` write COMMITTED first.
    Resolve {
        ts: Timestamp,
        parts: Vec<usize>,
        record: bool,
    },
    /// Remove the intents of these parts; with `record` write ABORTED first.
    Abort {
        record: bool,
        parts: Vec<usize>,
    },
}

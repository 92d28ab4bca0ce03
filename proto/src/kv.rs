//! Requests that a coordinator sends to the leader of a shard, and their replies.
//!
//! Every request names the shard and the epochs under which the sender routed it. A leader that has other epochs refuses
//! with the newer descriptors ([`crate::KvError::StaleRoute`]), so that one retry is enough. All keys of one request lie
//! in the shard's span.

use crate::{Key, KvError, LogPosition, NodeId, ShardDescriptor, ShardId, Span, Timestamp, TxnId, Value};
use minicbor::{Decode, Encode};

/// What shards must know of the transaction that speaks to them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TxnMeta {
    #[n(0)]
    pub id: TxnId,
    /// Its record lives in the shard that owns this key; the first key it wrote.
    #[n(1)]
    pub anchor: Key,
    /// Rises with each restart of the transaction by its coordinator; writes of older attempts are refused.
    #[n(2)]
    pub attempt: u32,
    /// When it began; the younger of two gives way in a deadlock.
    #[n(3)]
    pub started: Timestamp,
    /// After this, shards refuse its writes and its decision (PROTOCOL 12).
    #[n(4)]
    pub deadline: Timestamp,
    /// Where its coordinator runs, and in which life of that process.
    #[n(5)]
    pub gateway: NodeId,
    #[n(6)]
    pub incarnation: u64,
    /// The session for which it runs, by the number that clients know: for those who meet it and are told who it is.
    #[n(7)]
    pub session: Option<u32>,
}

impl TxnMeta {
    pub fn party(&self) -> Party {
        Party { txn: self.id, session: self.session }
    }
}

/// A transaction as errors speak of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Party {
    #[n(0)]
    pub txn: TxnId,
    /// [`TxnMeta::session`].
    #[n(1)]
    pub session: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ShardRequest {
    #[n(0)]
    pub shard: ShardId,
    #[n(1)]
    pub version: u64,
    #[n(2)]
    pub config_epoch: u64,
    #[n(3)]
    pub op: ShardOp,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ShardOp {
    #[n(0)]
    Read(#[n(0)] ReadRequest),
    #[n(1)]
    CommitLocal(#[n(0)] CommitLocal),
    #[n(2)]
    Prepare(#[n(0)] Prepare),
    #[n(3)]
    Decide(#[n(0)] Decide),
    #[n(4)]
    Resolve(#[n(0)] Resolve),
    #[n(5)]
    Refresh(#[n(0)] Refresh),
    #[n(6)]
    QueryTxn(#[n(0)] QueryTxn),
    #[n(7)]
    Heartbeat(#[n(0)] Heartbeat),
    #[n(8)]
    ReleaseLocks(#[n(0)] ReleaseLocks),
    #[n(9)]
    Waits(#[n(0)] Waits),
    #[n(10)]
    Prevent(#[n(0)] Prevent),
    #[n(11)]
    Settle(#[n(0)] Settle),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LockMode {
    /// `FOR SHARE`, `FOR KEY SHARE`.
    #[n(0)]
    Shared,
    /// `UPDATE`, `DELETE`, `INSERT`, `FOR UPDATE`, `FOR NO KEY UPDATE`.
    #[n(1)]
    Exclusive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WaitPolicy {
    /// Wait in the queue, at most this many milliseconds (0: as long as the shard's own cap).
    #[n(0)]
    Block(#[n(0)] u64),
    /// Refuse with [`KvError::LockNotAvailable`].
    #[n(1)]
    NoWait,
    /// Leave the locked rows out.
    #[n(2)]
    SkipLocked,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LockRequest {
    #[n(0)]
    pub mode: LockMode,
    #[n(1)]
    pub wait: WaitPolicy,
    /// A user asked for it: it is held, or refused with [`KvError::TooManyLocks`] where the shard keeps no more. What statements
    /// lock by themselves goes on without; the proof at commit excludes.
    #[n(2)]
    #[cbor(default)]
    pub firm: bool,
}

/// Reads at `read_ts`, each recorded in the timestamp cache, what is locked as well: nothing else holds the gaps between the
/// rows of a scan, nor a key whose lock is given back before the commit.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReadRequest {
    /// Absent for reads outside a transaction.
    #[n(0)]
    pub txn: Option<TxnMeta>,
    #[n(1)]
    pub read_ts: Timestamp,
    /// Values in `(read_ts, uncertain_to]` may have been committed before the read began (PROTOCOL 16); equal to
    /// `read_ts` when clocks are waited out.
    #[n(2)]
    pub uncertain_to: Timestamp,
    /// Nothing was read before: the shard may read at a later timestamp by itself, and says which.
    #[n(3)]
    pub may_forward: bool,
    /// Lock every key that is found, and for `Get` also one that is not. A locking read returns the newest version.
    #[n(4)]
    pub lock: Option<LockRequest>,
    #[n(5)]
    pub ops: Vec<ReadOp>,
    /// Any replica whose closed timestamp covers `read_ts` may answer.
    #[n(6)]
    pub follower: bool,
    /// Rises with the locking reads of the transaction, through all of its attempts; see [`Undone`].
    #[n(7)]
    #[cbor(default)]
    pub number: u64,
    /// When the transaction first asked for these locks, by its gateway's clock: a long wait is several requests, and none of them
    /// gives up its place in line to who came later.
    #[n(8)]
    #[cbor(default)]
    pub asked: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReadOp {
    #[n(0)]
    Get(#[n(0)] Key),
    #[n(1)]
    Scan(#[n(0)] Scan),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Scan {
    #[n(0)]
    pub span: Span,
    #[n(1)]
    pub reverse: bool,
    /// 0: no limit.
    #[n(2)]
    pub max_rows: u64,
    /// Stop after the row that reaches this many bytes of keys and values; 0: the shard's own cap.
    #[n(3)]
    pub max_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Row {
    #[n(0)]
    pub key: Key,
    #[n(1)]
    pub value: Value,
    /// Commit timestamp of this version.
    #[n(2)]
    pub ts: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReadResult {
    #[n(0)]
    Get(#[n(0)] Option<Row>),
    #[n(1)]
    Scan(#[n(0)] ScanResult),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ScanResult {
    /// In scan order.
    #[n(0)]
    pub rows: Vec<Row>,
    /// What is left, when a limit ended the scan early.
    #[n(1)]
    pub resume: Option<Span>,
}

/// Why an answer misses nothing that was committed before it was asked for (DESIGN §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReadCertificate {
    /// The leader of `term`, inside its lease.
    #[n(0)]
    Lease(#[n(0)] u64),
    /// The leader of `term`, after a quorum confirmed it at this index.
    #[n(1)]
    ReadIndex(#[n(0)] LogPosition),
    /// A replica whose closed timestamp covers the read.
    #[n(2)]
    Closed(#[n(0)] Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReadReply {
    /// One for each operation, in order.
    #[n(0)]
    pub results: Vec<ReadResult>,
    /// At which it was read; above the request's only with `may_forward`, or when it locked: then not below the newest
    /// version or tombstone that it met, so that `UnchangedSince(read_ts)` holds at that moment.
    #[n(1)]
    pub read_ts: Timestamp,
    #[n(2)]
    pub certificate: ReadCertificate,
}

/// A key whose exclusion the commit must prove (PROTOCOL 13): no version newer than `since`, no foreign intent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Check {
    #[n(0)]
    pub key: Key,
    #[n(1)]
    pub kind: CheckKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum CheckKind {
    #[n(0)]
    UnchangedSince(#[n(0)] Timestamp),
    /// No live version at the commit timestamp.
    #[n(1)]
    Absent,
}

/// `None` deletes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Write {
    #[n(0)]
    pub key: Key,
    #[n(1)]
    pub value: Option<Value>,
}

/// All of a transaction in one entry: reads proven, writes and done-record applied. The shard may move the commit
/// timestamp up by itself, because all that was read is in `refresh` and `checks`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CommitLocal {
    #[n(0)]
    pub txn: TxnMeta,
    #[n(1)]
    pub read_ts: Timestamp,
    /// Not below this.
    #[n(2)]
    pub commit_ts: Timestamp,
    /// Not above this (equal is allowed): a schema lease or another promise ends here (PROTOCOL 20). Equal to `commit_ts`
    /// when the timestamp must not be moved; [`KvError::BoundPassed`] then says what would have been needed.
    #[n(3)]
    pub commit_before: Timestamp,
    /// Spans read at `read_ts`; nothing may have been written in them up to the commit timestamp.
    #[n(4)]
    pub refresh: Vec<Span>,
    #[n(5)]
    pub checks: Vec<Check>,
    #[n(6)]
    pub writes: Vec<Write>,
}

/// One participant's part of a cross-shard commit. Writes become intents at a timestamp not below `commit_ts`; reads and
/// checks are proven up to it. Repeating it is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Prepare {
    #[n(0)]
    pub txn: TxnMeta,
    #[n(1)]
    pub read_ts: Timestamp,
    #[n(2)]
    pub commit_ts: Timestamp,
    #[n(3)]
    pub commit_before: Timestamp,
    #[n(4)]
    pub refresh: Vec<Span>,
    #[n(5)]
    pub checks: Vec<Check>,
    #[n(6)]
    pub writes: Vec<Write>,
    /// At the anchor, all keys that get an intent: with the intents goes down a STAGING record, and the transaction is
    /// committed at `commit_ts` once all of them hold their intents at that timestamp. Given up if the shard must move the
    /// timestamp.
    #[n(7)]
    pub staging: Option<Vec<Key>>,
}

/// Asks whether the intent of a staged transaction stands on a key, and if it does not, keeps it from ever standing there at
/// or below `ts`: the shard notes a read of the key, the transaction's own not excepted (PROTOCOL 14).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Prevent {
    #[n(0)]
    pub txn: TxnId,
    #[n(1)]
    pub attempt: u32,
    #[n(2)]
    pub ts: Timestamp,
    #[n(3)]
    pub key: Key,
}

/// The final word. At most one ever succeeds for a transaction; a second, equal one is answered like the first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Decide {
    #[n(0)]
    pub txn: TxnMeta,
    #[n(1)]
    pub decision: Decision,
    /// Keys of all intents by participant, so that anyone can finish (kept in the record until resolved).
    #[n(2)]
    pub intents: Vec<Key>,
    /// Where each participant prepared; for `SHOW EVIDENCE`.
    #[n(3)]
    pub prepared: Vec<(ShardId, LogPosition)>,
    /// Where all intents lie, if they are too many to be listed.
    #[n(4)]
    pub span: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Decision {
    #[n(0)]
    Commit(#[n(0)] Timestamp),
    #[n(1)]
    Abort,
}

/// Turns intents of a decided transaction into versions, or removes them. Missing ones are skipped.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Resolve {
    #[n(0)]
    pub txn: TxnId,
    #[n(1)]
    pub decision: Decision,
    #[n(2)]
    pub keys: Vec<Key>,
}

/// Proves that nothing was written in `(from, to]` and keeps it so.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refresh {
    #[n(0)]
    pub txn: TxnMeta,
    #[n(1)]
    pub from: Timestamp,
    #[n(2)]
    pub to: Timestamp,
    #[n(3)]
    pub spans: Vec<Span>,
    #[n(4)]
    pub checks: Vec<Check>,
}

/// Asks the anchor's shard what became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct QueryTxn {
    #[n(0)]
    pub txn: TxnId,
    #[n(1)]
    pub anchor: Key,
    #[n(2)]
    pub why: Inquiry,
    /// From the intent that was met; `deadline` and coordinator decide what silence means, and whether the record may have
    /// been removed: without it, an absent one says nothing.
    #[n(3)]
    pub meta: Option<TxnMeta>,
}

/// Why somebody asks after a transaction. An undecided one whose deadline has passed is aborted whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Inquiry {
    /// To know its outcome.
    #[n(0)]
    Outcome,
    /// To bring about an outcome: write ABORTED if it is undecided, whoever lives.
    #[n(1)]
    End,
    /// An intent of it was met: write ABORTED if it is undecided and its coordinator has been silent beyond the liveness
    /// timeout (or its node's incarnation is known to be over). Without a record, silence counts from when somebody first
    /// asked, not from `started`: a long transaction creates its record late. Where the record may have been removed, it
    /// was not one of a commit: those stay as long as intents do.
    #[n(2)]
    Intent,
    /// An intent of it was met by somebody who does not wait for it if it is undecided, but whom it must not stop if its commit
    /// has been acknowledged. While it is staged, it may have been: the answer then waits for its decision, a moment at most.
    #[n(3)]
    Settled,
}

/// Ends all transactions with intents in the shard that owns `at` whose deadlines do not lie above `until`, and asks whether
/// none of their intents is left: then records that were final before need not be kept for this shard's sake.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Settle {
    #[n(0)]
    pub at: Key,
    #[n(1)]
    pub until: Timestamp,
}

/// Where a transaction stands, read from its record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum TxnState {
    /// No decision; last heartbeat of its coordinator, if any came.
    #[n(0)]
    Pending(#[n(0)] Option<Timestamp>),
    #[n(1)]
    Committed(#[n(0)] Timestamp),
    #[n(2)]
    Aborted,
    /// So old that its record may have been removed: nobody may claim either.
    #[n(3)]
    Unknown,
}

/// Keeps an undecided transaction from being taken for dead; creates a PENDING record at the first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Heartbeat {
    #[n(0)]
    pub txn: TxnMeta,
    /// A copy that comes later is refused. Not above the deadline of any commit that the transaction may try from now on: so it
    /// makes no record anew when that of the commit has been removed.
    #[n(1)]
    pub until: Timestamp,
}

/// Tells the deadlock detector for whom a transaction has been waiting in one shard; for nobody: no longer (PROTOCOL 19).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Waits {
    /// The shard that owns this key keeps the edges of all.
    #[n(0)]
    pub keeper: Key,
    #[n(1)]
    pub txn: TxnId,
    #[n(2)]
    pub attempt: u32,
    #[n(3)]
    pub started: Timestamp,
    /// Where it waits.
    #[n(4)]
    pub shard: ShardId,
    #[n(5)]
    pub blocked: Vec<Blocked>,
    /// [`TxnMeta::session`].
    #[n(6)]
    pub session: Option<u32>,
}

/// What keeps one from going on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Blocked {
    /// Whose lock it waits for. Empty: a session, which goes on with its transaction.
    #[n(0)]
    pub key: Key,
    #[n(1)]
    pub by: Vec<TxnId>,
}

/// One in a circle of waiters: it waits for the next one, and the last one for the first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Stuck {
    #[n(0)]
    pub who: Party,
    /// [`Blocked::key`].
    #[n(1)]
    pub key: Key,
}

/// Drops unreplicated locks of a transaction: all that it has in this shard, where it ended without writing, or some.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReleaseLocks {
    #[n(0)]
    pub txn: TxnId,
    /// Only the locks that it has by these of its requests. Absent: all.
    #[n(1)]
    pub undone: Option<Undone>,
}

/// What a return to a savepoint has undone, by the numbers of locking reads. A lock goes if it was asked for within and at no
/// other time: one from before the savepoint stays, and so does one that was taken anew before this came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Undone {
    /// The last one before the savepoint.
    #[n(0)]
    pub after: u64,
    /// The last one before the return.
    #[n(1)]
    pub up_to: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ShardReply {
    #[n(0)]
    Read(#[n(0)] ReadReply),
    /// Committed at the timestamp by the entry at the position.
    #[n(1)]
    Committed(#[n(0)] Timestamp, #[n(1)] LogPosition),
    /// Prepared at the timestamp (not below the one asked for); no position when there was nothing to write.
    #[n(2)]
    Prepared(#[n(0)] Timestamp, #[n(1)] Option<LogPosition>),
    /// The record now says this; the position is that of the deciding entry when this request wrote it.
    #[n(3)]
    Decided(#[n(0)] TxnState, #[n(1)] Option<LogPosition>),
    #[n(4)]
    Resolved,
    #[n(5)]
    Refreshed,
    #[n(6)]
    Txn(#[n(0)] TxnState),
    #[n(7)]
    HeartbeatSeen(#[n(0)] TxnState),
    #[n(8)]
    Released,
    /// The circle of waiters that the reporter is to break by giving up; empty if there is none, or another's to break.
    #[n(9)]
    Circle(#[n(0)] Vec<Stuck>),
    /// Whether the intent stands. If not, it never will at or below the timestamp asked for.
    #[n(11)]
    Intent(#[n(0)] bool),
    /// The shard's span, and whether no such intent is left in it.
    #[n(12)]
    Settled(#[n(0)] Span, #[n(1)] bool),
}

/// What travels back: the reply, or the error, and news of the shard map if the caller's epochs were old.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ShardAnswer {
    #[n(0)]
    pub result: Result<ShardReply, KvError>,
    #[n(1)]
    pub newer: Vec<ShardDescriptor>,
}

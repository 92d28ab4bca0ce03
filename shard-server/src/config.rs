//! Bounds and waits of the shard server.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// No wait for a lock or an intent lasts longer, whatever the request asks for; coordinators ask again.
    pub lock_wait: Duration,
    /// Longest wait of a plain read for those whose intents are in its way. Its coordinator comes again, and is to hear of that before
    /// it takes the leader for lost.
    pub reader_wait: Duration,
    /// How long one who meets an intent waits for it to be resolved before asking the anchor's shard.
    pub intent_patience: Duration,
    /// How long one waits for an unreplicated lock before asking whether its coordinator still lives.
    pub lock_patience: Duration,
    /// How long one waits for a lock or an intent before the deadlock detector is told (PROTOCOL 19).
    pub deadlock_patience: Duration,
    /// The pause between two such questions doubles up to this.
    pub push_pause_max: Duration,
    /// An undecided transaction whose coordinator has not been heard of for this long may be aborted by whoever needs it.
    pub coordinator_silence: Duration,
    /// A gateway to which no connection has stood for this long counts as dead.
    pub gateway_silence: Duration,
    /// A request to a shard that is being merged waits so long for its new place before it is refused.
    pub seal_wait: Duration,
    /// Records are kept for this long after the deadline of their transaction (PROTOCOL 12).
    pub retention: Duration,
    /// Between two looks for locks that nobody will give back.
    pub lock_review: Duration,
    /// A write stands in line for so long where the engine does not keep up, before its sender is told to come again.
    pub write_wait: Duration,
    /// Writes that are let in at a time even then.
    pub least_writes: usize,
    /// How far beyond the clock's bound a request's timestamp may lie and still be waited for.
    pub clock_patience: Duration,
    /// Keys and values of one request.
    pub max_request_bytes: usize,
    /// Rows of one scan's answer.
    pub max_scan_rows: u64,
    /// Bytes of one scan's answer.
    pub max_scan_bytes: u64,
    /// Requests of one shard that wait for a lock or an intent at once; more are refused.
    pub max_waiters: usize,
    /// Unreplicated locks of one shard; beyond it those that users asked for are refused. Those that statements take by themselves
    /// leave a quarter of it to them, and beyond that are not kept: only the check at commit excludes. What comes along with
    /// keys or leadership is kept in any case.
    pub max_locks: usize,
    /// The distance at which closed timestamps follow the clock; at least four times the clock's bound counts (PROTOCOL 22).
    pub closing_target: Duration,
    /// So many versions are looked at, and removed, at a time.
    pub gc_page_versions: u64,
    /// Memory of one shard's timestamp cache.
    pub ts_cache_bytes: usize,
    /// The engine is flushed when this much was applied since the last time,
    pub flush_bytes: u64,
    /// and at the latest this long after a change.
    pub flush_interval: Duration,
    /// How long the size of a shard is reported before it is estimated anew.
    pub size_interval: Duration,
    /// A shard of so many bytes tells its placement driver where a split would halve them.
    pub cut_from: u64,
}

impl Default for ShardConfig {
    fn default() -> Self {
        ShardConfig {
            lock_wait: Duration::from_secs(10),
            reader_wait: Duration::from_millis(2500),
            intent_patience: Duration::from_millis(20),
            lock_patience: Duration::from_millis(500),
            deadlock_patience: Duration::from_millis(350),
            push_pause_max: Duration::from_millis(500),
            coordinator_silence: Duration::from_secs(5),
            gateway_silence: Duration::from_millis(1500),
            seal_wait: Duration::from_secs(2),
            retention: Duration::from_secs(3600),
            lock_review: Duration::from_secs(30),
            write_wait: Duration::from_secs(2),
            least_writes: 8,
            clock_patience: Duration::from_secs(5),
            max_request_bytes: 32 << 20,
            max_scan_rows: 10_000,
            max_scan_bytes: 1 << 20,
            max_waiters: 10_000,
            max_locks: 200_000,
            closing_target: Duration::from_millis(200),
            gc_page_versions: 1000,
            ts_cache_bytes: 1 << 20,
            flush_bytes: 32 << 20,
            flush_interval: Duration::from_secs(5),
            size_interval: Duration::from_secs(5),
            cut_from: 64 << 10,
        }
    }
}

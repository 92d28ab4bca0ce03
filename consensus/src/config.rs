//! Times and bounds. The defaults suit a local network; everything that is a ratio is fixed in the code.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct ConsensusConfig {
    /// How often each node tells every other that it lives (PROTOCOL 3).
    pub liveness_interval: Duration,
    /// For how long one such message makes the receiver support the sender: no vote against its leaderships. The
    /// sender's own lease ends at 0.8 of this after it *sent* the message.
    pub support: Duration,
    /// Raft heartbeats of groups that are not quiet.
    pub heartbeat: Duration,
    /// A group without proposals for this long goes quiet.
    pub quiet_after: Duration,
    /// How long a proposal may wait for its entry before its outcome is called ambiguous.
    pub propose_timeout: Duration,
    /// How long a write or a read without a lease waits for a quorum's word before it is refused.
    pub quorum_patience: Duration,
    /// Entries that stay in the log behind F, so that a follower briefly away needs no snapshot.
    pub keep_entries: u64,
    /// Bytes that these may take, for each group. A member that was away for longer needs a snapshot.
    pub keep_bytes: u64,
    /// How often a group looks whether its log can be trimmed and whether it may go quiet.
    pub housekeeping: Duration,
    /// Bytes of snapshots a second that the node sends at most, over all groups, and that it takes in at most.
    pub snapshot_bytes_per_second: u64,
    /// How many snapshots the node takes in at a time.
    pub snapshots_at_a_time: usize,
    /// For tests: no group ever goes quiet.
    pub never_quiet: bool,
}

impl Default for ConsensusConfig {
    fn default() -> Self {
        ConsensusConfig {
            liveness_interval: Duration::from_millis(250),
            support: Duration::from_millis(1200),
            heartbeat: Duration::from_millis(400),
            quiet_after: Duration::from_secs(3),
            propose_timeout: Duration::from_secs(5),
            quorum_patience: Duration::from_millis(1500),
            keep_entries: 2_000,
            keep_bytes: 16 << 20,
            housekeeping: Duration::from_secs(1),
            snapshot_bytes_per_second: 64 << 20,
            snapshots_at_a_time: 4,
            never_quiet: false,
        }
    }
}

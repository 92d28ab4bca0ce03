//! How large and how busy a shard is, as its leader tells the placement driver.

use crate::Key;
use minicbor::{Decode, Encode};

/// Nothing of it changes while nobody asks for the shard, so that it is told no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ShardLoad {
    /// Requests a second that read, over the last seconds, in coarse steps.
    #[n(0)]
    pub reads: u64,
    /// The same of those that write.
    #[n(1)]
    pub writes: u64,
    /// Where a split would halve these requests; none where no key does.
    #[n(2)]
    pub load_cut: Option<Cut>,
    /// Where a split would halve what is stored; none in small shards.
    #[n(3)]
    pub size_cut: Option<Cut>,
}

impl ShardLoad {
    pub fn requests(&self) -> u64 {
        self.reads.saturating_add(self.writes)
    }
}

/// A key of the shard's own at which it might be split: there is a row at it, and another one before it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Cut {
    #[n(0)]
    pub at: Key,
    /// Approximate bytes before the key,
    #[n(1)]
    pub left_bytes: u64,
    /// and from it on.
    #[n(2)]
    pub right_bytes: u64,
    /// Of a thousand requests, how many only ask for what lies before it,
    #[n(3)]
    pub left_load: u64,
    /// and how many only for what lies from it on.
    #[n(4)]
    pub right_load: u64,
}

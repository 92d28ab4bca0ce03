//! How fast a node's disk and network are, as the node itself has measured of late.

use minicbor::{Decode, Encode};

/// Microseconds, each the middle of the latest measurements; 0 where there were hardly any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Tempo {
    /// Until what the log takes is durable.
    #[n(0)]
    pub sync_micros: u64,
    /// What a message to another node and its answer take longer than the fastest ever did between the two: not how far apart they
    /// are. Of the other nodes the middle one, the lower of two.
    #[n(1)]
    pub delay_micros: u64,
}

//! How much space a node has left on the disk that its data lies on.

use minicbor::{Decode, Encode};
use std::fmt;

/// What may still be written on a node. In this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Room {
    /// Everything.
    #[n(0)]
    #[default]
    Plenty,
    /// The reserve is touched: no new rows, but what takes some away.
    #[n(1)]
    Short,
    /// Hardly anything is left: only what ends transactions and keeps the cluster going.
    #[n(2)]
    Full,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Room::Plenty => "ok",
            Room::Short => "short",
            Room::Full => "full",
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Space {
    /// Bytes.
    #[n(0)]
    pub free: u64,
    /// Bytes that are kept for what must go on.
    #[n(1)]
    pub reserve: u64,
    #[n(2)]
    pub room: Room,
}

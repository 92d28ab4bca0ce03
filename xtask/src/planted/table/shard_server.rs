//! Faults of the shards.

use super::Planted;

pub const FAULTS: &[Planted] = &[];

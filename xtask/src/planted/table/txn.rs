//! Faults of the transaction coordinator.

use super::Planted;

pub const FAULTS: &[Planted] = &[];

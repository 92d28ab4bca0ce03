//! Faults of the SQL frontend.

use super::Planted;

pub const FAULTS: &[Planted] = &[];

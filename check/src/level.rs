//! Isolation levels, and which cycles of dependencies each forbids.

use crate::graph::{Class, Shape};
use serde::Serialize;

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Serializable,
    RepeatableRead,
    ReadCommitted,
}

impl Level {
    pub const ALL: [Level; 3] = [Level::Serializable, Level::RepeatableRead, Level::ReadCommitted];

    pub fn name(self) -> &'static str {
        match self {
            Level::Serializable => "serializable",
            Level::RepeatableRead => "repeatable-read",
            Level::ReadCommitted => "read-committed",
        }
    }

    /// As SQL names it.
    pub fn sql(self) -> &'static str {
        match self {
            Level::Serializable => "serializable",
            Level::RepeatableRead => "repeatable read",
            Level::ReadCommitted => "read committed",
        }
    }

    /// The widest shape of cycle that must not be. READ COMMITTED is Adya's PL-2: no cycle without anti-dependencies.
    /// REPEATABLE READ is snapshot isolation: a cycle has two anti-dependencies in a row, or it must not be. SERIALIZABLE
    /// allows none, and if it is strict none through real time either.
    pub fn forbids(self, strict: bool) -> Shape {
        match self {
            Level::Serializable => Shape { class: Class::G2, real_time: strict },
            Level::RepeatableRead => Shape { class: Class::Nonadjacent, real_time: false },
            Level::ReadCommitted => Shape { class: Class::G1c, real_time: false },
        }
    }
}

//! All faults that can be planted, and who must find each; a file for each crate or matter.

mod consensus;
mod copies;
mod env;
mod merges;
mod placement;
mod recovery;
mod schema;
mod shard_server;
mod sql;
mod storage;
mod txn;

pub use super::finder::Finder;

/// A rule that can be switched off, and who notices.
pub struct Planted {
    /// As the code calls it; several (`a,b`) are planted together where one covers another up.
    pub names: &'static str,
    /// The rule of `docs/rules.md`, and what goes wrong.
    pub what: &'static str,
    pub found_by: &'static [Finder],
}

const TABLES: &[&[Planted]] = &[
    env::FAULTS,
    storage::FAULTS,
    consensus::FAULTS,
    placement::FAULTS,
    shard_server::FAULTS,
    copies::FAULTS,
    merges::FAULTS,
    recovery::FAULTS,
    txn::FAULTS,
    sql::FAULTS,
    schema::FAULTS,
];

pub fn all() -> impl Iterator<Item = &'static Planted> {
    TABLES.iter().copied().flatten()
}

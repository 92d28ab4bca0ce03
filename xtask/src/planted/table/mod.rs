//! All faults that can be planted, and who must find each; a file for each crate.

mod shard_server;
mod sql;
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

const TABLES: &[&[Planted]] = &[shard_server::FAULTS, txn::FAULTS, sql::FAULTS];

pub fn all() -> impl Iterator<Item = &'static Planted> {
    TABLES.iter().copied().flatten()
}

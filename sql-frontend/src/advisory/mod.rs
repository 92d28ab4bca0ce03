//! Advisory locks: `pg_advisory_lock` and its like (`docs/advisory-locks.md`).
//!
//! Who holds a lock and who waits for it stands in a row of the key space ([`line`], [`keys`]), so that no leader that dies
//! takes it along. Transactions of their own change that row ([`keeper`]). A place in it counts as long as the lease of its
//! node runs ([`lease`]); nothing that a session with such a lock commits lies beyond that. [`session`] counts what a session
//! has taken.

pub mod keeper;
pub mod keys;
mod lease;
pub mod line;
pub mod session;

pub use keeper::Keeper;
pub use session::SessionLocks;

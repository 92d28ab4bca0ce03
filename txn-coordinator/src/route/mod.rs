//! Which shard owns a key, which node leads it, and how a request gets there although both may change.

pub mod map;
mod router;
mod source;
mod tracker;

pub use router::{Router, SendError, SendOptions, Sent};
pub use source::MapSource;

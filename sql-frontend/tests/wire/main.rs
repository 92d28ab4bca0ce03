//! SQL from the client's side: real connections to a node whose shard is a stand-in.

mod catalog;
mod hostile;
mod session;
mod standin;

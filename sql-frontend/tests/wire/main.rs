//! SQL from the client's side: real connections to a node whose shard is a stand-in.

mod catalog;
mod columns;
mod hostile;
mod session;
mod standin;

//! SQL from the client's side: real connections to a node whose shard is a stand-in.

#![allow(clippy::unwrap_used, reason = "a test")]

mod advisory;
mod catalog;
mod columns;
mod copying;
mod crowd;
mod cursors;
mod details;
mod dropping;
mod ending;
mod explain;
mod hostile;
mod isolation;
mod leaving;
mod memory;
mod modes;
mod once;
#[path = "../logic/oracle.rs"]
mod oracle;
mod past;
mod placement;
mod plans;
mod queue;
mod refused;
#[path = "../logic/script.rs"]
mod script;
mod scripts;
mod session;
mod sessions;
mod standin;
mod waiting;
mod widths;

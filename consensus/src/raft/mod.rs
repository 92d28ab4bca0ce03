//! What openraft needs to run a group: its types, runtime, log, state machine and network.

pub(crate) mod apply;
pub(crate) mod log;
pub(crate) mod mpsc;
pub(crate) mod network;
pub(crate) mod payload;
pub(crate) mod runtime;
pub(crate) mod stream;
pub(crate) mod types;
pub(crate) mod watch;

//! The edge of the world: clock, timers, randomness, tasks, network between nodes, fault points and probes.
//!
//! No other crate reads a clock, draws entropy, spawns a task or opens a connection to a node by itself. A node gets an
//! [`Env`] and runs on it, either for real ([`Env::real`]) or, several in one process on one thread and under one seed,
//! in a [`sim::SimWorld`].

pub mod clock;
pub mod contention;
pub mod count;
mod env;
pub mod fault;
pub mod gate;
mod measure;
pub mod net;
pub mod offsets;
mod placement_client;
pub mod planted;
mod precise;
pub mod probe;
pub mod random;
pub mod rpc;
pub mod scope;
mod shutdown;
pub mod sim;
pub mod space;
mod task;
pub mod tempo;
pub mod time;
pub mod timeline;
mod transport;
pub mod troubles;
pub mod watch;
pub mod witness;

pub use clock::{Clock, ClockAhead};
pub use env::{Env, EnvConfig};
pub use offsets::Fence;
pub use placement_client::PlacementClient;
pub use quorate_proto::{NodeId, Timestamp, rpc::Service};
pub use rpc::{call, serve};
pub use scope::Scope;
pub use shutdown::Shutdown;
pub use space::SpaceWatch;
pub use task::{Task, TaskError};
pub use tempo::TempoWatch;
pub use time::Elapsed;
pub use transport::{Handler, PeerStatus, Refusal, Transport, TransportError};

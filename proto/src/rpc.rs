//! Which service answers which request. A call is one frame there and one back; bodies are CBOR.

use minicbor::{Decode, Encode};

/// Number of a service in [`crate::link::Frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Service {
    /// Raft messages of all groups (`consensus`).
    Raft = 1,
    /// Snapshot chunks (`consensus`).
    Snapshot = 2,
    /// Node liveness and support for leases (`consensus`).
    Liveness = 3,
    /// [`crate::kv::ShardRequest`] → [`crate::kv::ShardAnswer`].
    Kv = 4,
    /// [`crate::placement::ReplicaCommand`] → [`crate::placement::ReplicaAnswer`]: what placement asks of nodes.
    Replica = 5,
    /// [`crate::placement::PlacementRequest`] → [`crate::placement::PlacementAnswer`].
    Placement = 6,
    /// [`crate::placement::NodeCommand`] → [`crate::placement::NodeAnswer`]: what operators and `init` ask of nodes.
    Node = 7,
    /// Clock readings (`env`).
    Time = 8,
    /// Closed timestamps of all shards that a node leads (`shard-server`).
    Closing = 9,
    /// [`crate::placement::DriverCommand`] → [`crate::placement::DriverAnswer`]: what the placement driver's leader asks of
    /// nodes about the driver's own replicas.
    Driver = 10,
}

impl Service {
    pub fn from_u32(raw: u32) -> Option<Self> {
        use Service::*;
        let all = [Raft, Snapshot, Liveness, Kv, Replica, Placement, Node, Time, Closing, Driver];
        all.into_iter().find(|s| *s as u32 == raw)
    }
}

/// A request type, the service that answers it, and the type of its answer.
pub trait Rpc: Encode<()> + for<'b> Decode<'b, ()> + Send + 'static {
    const SERVICE: Service;
    type Answer: Encode<()> + for<'b> Decode<'b, ()> + Send + 'static;
}

macro_rules! rpc {
    ($request:path => $answer:path, $service:ident) => {
        impl Rpc for $request {
            const SERVICE: Service = Service::$service;
            type Answer = $answer;
        }
    };
}

rpc!(crate::kv::ShardRequest => crate::kv::ShardAnswer, Kv);
rpc!(crate::placement::ReplicaCommand => crate::placement::ReplicaAnswer, Replica);
rpc!(crate::placement::PlacementRequest => crate::placement::PlacementAnswer, Placement);
rpc!(crate::placement::NodeCommand => crate::placement::NodeAnswer, Node);
rpc!(crate::placement::DriverCommand => crate::placement::DriverAnswer, Driver);

/// Encodes a message; writing to memory cannot fail.
pub fn encode<T: Encode<()>>(message: &T) -> bytes::Bytes {
    let mut out = Vec::with_capacity(128);
    match minicbor::encode(message, &mut out) {
        Ok(()) => out.into(),
        Err(error) => unreachable!("encoding into memory failed: {error}"),
    }
}

pub fn decode<T: for<'b> Decode<'b, ()>>(raw: &[u8]) -> Result<T, minicbor::decode::Error> {
    minicbor::decode(raw)
}

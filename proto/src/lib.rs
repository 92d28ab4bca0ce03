//! The wire contract of Quorate: ids, key spans, timestamps, messages and error codes.
//!
//! Two layers. Between nodes runs one gRPC service, [`link`], whose frames carry opaque bodies. The bodies are the
//! types of this crate in CBOR with numbered fields (`minicbor`): fields and variants may be appended, never
//! renumbered, so that neighbouring releases understand one another. There is no behaviour here beyond encoding,
//! ordering and classification.

pub mod error;
pub mod hlc;
pub mod ids;
pub mod key;
pub mod kv;
pub mod ordered;
pub mod placement;
pub mod rpc;
pub mod shard;
pub mod space;
pub mod tempo;

pub use error::{ErrorClass, KvError};
pub use hlc::Timestamp;
pub use ids::{LogPosition, NodeId, ReplicaId, ShardId, TxnId};
pub use key::{Key, Span, Value};
pub use shard::{Replica, ReplicaRole, Seal, ShardDescriptor};
pub use space::{Room, Space};
pub use tempo::Tempo;

/// Generated from `proto/link.proto`.
pub mod link {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("quorate.link.v1");
}

/// Version of the wire types of this crate; raised when a peer of an older one could misread them.
pub const WIRE_VERSION: u32 = 1;

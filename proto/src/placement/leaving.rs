//! Nodes on their way out, and back.

use minicbor::{Decode, Encode};

/// What an operator has decided about a node. It outlives the node's restarts and the driver's leaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Leaving {
    /// It stays.
    #[n(0)]
    #[default]
    No,
    /// It keeps its copies, leads nothing, receives nothing and takes no new clients.
    #[n(1)]
    Draining,
    /// As above; its copies move to others, and its clients are sent away between transactions.
    #[n(2)]
    Decommissioning,
    /// It holds nothing and belongs to the cluster no more, for good.
    #[n(3)]
    Gone,
}

/// What operators say of a node. To decommission it takes an [`Operation`](super::Operation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NodeOrder {
    #[n(0)]
    Drain,
    #[n(1)]
    Undrain,
    /// A decommission that is under way is called off: the node stays, with the copies that it has by then.
    #[n(2)]
    Recommission,
}

//! What exists: descriptors, where they are kept, and how a node knows them.

pub mod cache;
pub mod descriptor;
pub mod keys;
mod pins;
pub mod rowid;
pub mod sequence;
pub mod snapshot;
pub mod store;
mod type_codec;
pub mod virtuals;

pub use cache::{Catalog, Pinned};
pub use descriptor::{
    CheckConstraint, ColumnDescriptor, IndexColumn, IndexDescriptor, IndexState, SequenceDescriptor,
    TableDescriptor, TableState,
};
pub use sequence::Sequences;
pub use snapshot::{Object, Snapshot};

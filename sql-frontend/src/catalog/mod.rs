//! What exists: descriptors, where they are kept, and how a node knows them.

pub mod descriptor;
mod type_codec;

pub use descriptor::{
    CheckConstraint, ColumnDescriptor, IndexColumn, IndexDescriptor, IndexState, SequenceDescriptor,
    TableDescriptor, TableState,
};

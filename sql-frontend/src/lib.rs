//! SQL: from the PostgreSQL wire to the transaction coordinator. The only crate that names DataFusion.
//!
//! PostgreSQL 15 is the reference for syntax, types, SQLSTATEs and texts; whatever is not supported is refused
//! with an error that says so, never answered differently.

pub mod advisory;
pub mod bind;
pub mod catalog;
pub mod ddl;
pub mod dml;
pub mod error;
pub mod exec;
pub mod fast;
pub mod func;
pub mod row;
pub mod server;
pub mod session;
pub mod types;
pub mod wire;

pub use error::{Result, SqlError, SqlState};
pub use server::{ClusterInfo, SchemaLease, SqlConfig, SqlServer};

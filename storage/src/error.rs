//! What can go wrong below the state machine. All of it concerns this node only, never the client's request: whoever
//! meets one stops the replica (or, for a dead log, the node) instead of answering.

/// Cloneable, because one failed fsync is told to every append that waited for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The operating system or the engine refused; the text says which call on what.
    #[error("storage i/o: {0}")]
    Io(String),
    /// The disk is full. Nothing has happened, and the same may succeed once there is space again.
    #[error("no space left: {0}")]
    NoSpace(String),
    /// Bytes that were once acknowledged do not read back (checksum, missing record, undecodable value). Never served.
    #[error("storage corruption: {0}")]
    Corruption(String),
    /// A write or fsync of the log failed earlier: nothing after it can be trusted, the node must stop (PROTOCOL 7).
    #[error("the log is dead: {0}")]
    Dead(String),
    /// The caller broke the contract (a gap in an append, rows out of order, a group that does not exist).
    #[error("storage misuse: {0}")]
    Misuse(String),
    /// A test asked for this failure.
    #[error("injected fault: {0}")]
    Injected(&'static str),
}

pub type Result<T, E = StorageError> = std::result::Result<T, E>;

impl StorageError {
    pub fn io(what: &str, error: impl std::fmt::Display) -> Self {
        StorageError::Io(format!("{what}: {error}"))
    }

    /// The same for a call after whose failure all is as before: a full disk is told from a broken one.
    pub fn harmless(what: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => StorageError::NoSpace(format!("{what}: {error}")),
            _ => StorageError::io(what, error),
        }
    }

    pub fn corrupt(what: impl Into<String>) -> Self {
        StorageError::Corruption(what.into())
    }
}

impl From<quorate_proto::ordered::Malformed> for StorageError {
    fn from(error: quorate_proto::ordered::Malformed) -> Self {
        StorageError::Corruption(error.to_string())
    }
}

impl From<minicbor::decode::Error> for StorageError {
    fn from(error: minicbor::decode::Error) -> Self {
        StorageError::Corruption(format!("a stored value does not decode: {error}"))
    }
}

//! PostgreSQL's protocol, version 3.0: bytes to messages, messages to the session, results to bytes.

pub mod backend;
pub mod connection;
pub mod encode;
pub mod frontend;
pub mod io;

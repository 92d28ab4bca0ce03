//! Conformance: each suite runs against every implementation of its trait.

#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "real threads against real files")]

mod codecs;
mod crash;
#[cfg(feature = "rocks")]
mod damaged;
mod engine;
mod log;
mod mem_faults;
#[cfg(feature = "rocks")]
mod mirror;
mod mvcc_model;

#[cfg(feature = "rocks")]
use quorate_storage::CachedEngine;
use quorate_storage::{Engine, MemEngine};
use std::sync::Arc;

/// An engine under test, with what it must not outlive.
pub struct Subject {
    pub name: &'static str,
    pub engine: Arc<dyn Engine>,
    _dir: Option<tempfile::TempDir>,
}

pub fn mem() -> Subject {
    Subject { name: "mem", engine: MemEngine::shared(), _dir: None }
}

#[cfg(feature = "rocks")]
pub fn rocks() -> Subject {
    use quorate_storage::{RocksOptions, open_rocks};
    let dir = tempfile::tempdir().unwrap();
    let engine = open_rocks(dir.path(), &RocksOptions::default()).unwrap();
    Subject { name: "rocks", engine, _dir: Some(dir) }
}

/// What a node uses: newest versions and intents in memory, before RocksDB.
#[cfg(feature = "rocks")]
pub fn cached() -> Subject {
    let Subject { engine, _dir, .. } = rocks();
    Subject { name: "cached", engine: CachedEngine::over(engine), _dir }
}

/// One `#[test]` per engine for each function of a suite.
#[macro_export]
macro_rules! on_every_engine {
    ($($test:ident),+ $(,)?) => {
        mod mem { $(#[test] fn $test() { super::$test($crate::mem()) })+ }
        #[cfg(feature = "rocks")]
        mod rocks { $(#[test] fn $test() { super::$test($crate::rocks()) })+ }
        #[cfg(feature = "rocks")]
        mod cached { $(#[test] fn $test() { super::$test($crate::cached()) })+ }
    };
}

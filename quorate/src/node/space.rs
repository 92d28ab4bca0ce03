//! Looks how much is left of the disk that the node's data lies on, and says so to those who go by it.

use super::parts::Storage;
use anyhow::{Context, Result};
use quorate_env::Env;
use quorate_proto::Room;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two looks whether an engine that was out of space has some again.
const TRY_ENGINE: Duration = Duration::from_secs(1);
/// The reserve unless something else is said: so much, or an eighth of a small disk. It holds what is under way when it is
/// touched (the engine's write buffers, two files of the log), and what must go on.
const RESERVE: u64 = 256 << 20;
const RESERVE_PART: u64 = 8;

pub struct Disk {
    path: PathBuf,
    reserve: u64,
}

impl Disk {
    pub fn at(path: &Path, reserve: Option<u64>) -> Result<Self> {
        let found = rustix::fs::statvfs(path)
            .with_context(|| format!("cannot see how much space {} has", path.display()))?;
        let size = found.f_blocks.saturating_mul(found.f_frsize);
        let reserve = reserve.unwrap_or_else(|| RESERVE.min(size / RESERVE_PART));
        Ok(Disk { path: path.to_owned(), reserve })
    }

    /// Bytes that are left for this process.
    fn free(&self) -> std::io::Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Why the data directory may not have been opened.
    pub fn cannot_open(&self) -> String {
        let dir = self.path.display();
        match self.free() {
            Ok(free) if free < self.reserve => format!(
                "cannot open the data directory {dir}: only {} MiB of its disk are left; the node needs some 64 MiB to start, \
                 and takes new rows with more than {} MiB",
                free >> 20,
                self.reserve >> 20
            ),
            _ => format!("cannot open the data directory {dir}"),
        }
    }
}

/// One look.
pub fn look(env: &Env, storage: &Storage, disk: &Disk) {
    let free = match disk.free() {
        Ok(free) => free,
        Err(error) => {
            tracing::debug!(%error, "the free space cannot be seen");
            return;
        }
    };
    let changed = env.space().tell(free, disk.reserve, storage.log.is_stuck());
    let space = env.space().get();
    metrics::gauge!("quorate_node_disk_free_bytes").set(free as f64);
    metrics::gauge!("quorate_node_disk_reserve_bytes").set(disk.reserve as f64);
    metrics::gauge!("quorate_node_disk_room").set(f64::from(2 - space.room as u8));
    if !changed {
        return;
    }
    let (free, reserve) = (free >> 20, disk.reserve >> 20);
    match space.room {
        Room::Plenty => tracing::info!(free_mib = free, "there is space on the disk again"),
        Room::Short => {
            tracing::warn!(
                free_mib = free,
                reserve_mib = reserve,
                "the disk fills: no new rows are led here"
            );
        }
        Room::Full => {
            tracing::warn!(
                free_mib = free,
                reserve_mib = reserve,
                "the disk is full: no writes are led here"
            );
        }
    }
}

/// Looks to the node's end.
pub async fn follow(env: Env, storage: Storage, disk: Arc<Disk>) {
    let mut next_try = env.boottime();
    loop {
        env.sleep(LOOK_EVERY).await;
        // Where the file system does not answer, nobody else shall wait for it.
        let (here, parts, place) = (env.clone(), storage.clone(), disk.clone());
        env.blocking("space.look", move || look(&here, &parts, &place)).await;
        if storage.engine.is_full() && env.boottime() >= next_try {
            next_try = env.boottime() + TRY_ENGINE;
            let engine = storage.engine.clone();
            // Its outcome is the engine's to note.
            let _ = env.blocking("space.try_engine", move || engine.flush()).await;
        }
    }
}

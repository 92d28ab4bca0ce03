//! A disk of limited size for each node's data: a file system in memory, mounted on its directory.

use super::{network::tool, process};
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

/// How often, and how long in between, it is tried to unmount a disk.
const TRIES: u32 = 100;
const STEP: Duration = Duration::from_millis(50);

pub fn mount(dir: &Path, bytes: u64) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    if !is_mount(dir)? {
        let options = format!("size={bytes},mode=700");
        tool("mount", &["-t", "tmpfs", "-o", &options, "quorate-demo", path(dir)?])?;
    }
    Ok(())
}

pub async fn unmount(dir: &Path) -> Result<()> {
    if !dir.exists() || !is_mount(dir)? {
        return Ok(());
    }
    for _ in 0..TRIES {
        if tool("umount", &[path(dir)?]).is_ok() {
            return Ok(());
        }
        // A process that has just ended may still be closing its files.
        process::pause(STEP).await;
    }
    tool("umount", &[path(dir)?]).map(drop)
}

/// Whether what is in the directory lies on another device than the directory's parent.
pub fn is_mount(dir: &Path) -> Result<bool> {
    let device = |path: &Path| {
        fs::metadata(path)
            .map(|found| found.dev())
            .with_context(|| format!("cannot look at {}", path.display()))
    };
    Ok(device(dir)? != device(&dir.join(".."))?)
}

fn path(dir: &Path) -> Result<&str> {
    dir.to_str().with_context(|| format!("the path {} is not UTF-8", dir.display()))
}

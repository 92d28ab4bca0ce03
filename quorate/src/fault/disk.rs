//! A disk without any space left.

use super::processes;
use crate::demo::{self, Cluster, Node, disk::is_mount, process};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::PathBuf,
    time::Duration,
};

const BALLAST: &str = "ballast-of-a-fault";
/// For the node to answer or to end, once there is space again.
const ROUNDS: u32 = 100;
const STEP: Duration = Duration::from_millis(100);

fn ballast(cluster: &Cluster, node: &Node) -> PathBuf {
    cluster.dir.join(&node.data_dir).join(BALLAST)
}

/// Writes until nothing is left. A disk that others use as well stays as it is.
pub fn fill(cluster: &Cluster, node: &Node) -> Result<()> {
    let dir = cluster.dir.join(&node.data_dir);
    if !is_mount(&dir)? {
        bail!("{} is no mount of its own; this needs a demo made with `demo --disk-size`", dir.display());
    }
    let path = ballast(cluster, node);
    let mut file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    for size in [1 << 20, 4 << 10] {
        let piece = vec![0; size];
        loop {
            match file.write(&piece) {
                Ok(written) if written > 0 => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() != ErrorKind::StorageFull => {
                    return Err(error).with_context(|| format!("cannot write {}", path.display()));
                }
                _ => break,
            }
        }
    }
    Ok(())
}

/// Gives the space back. A node that has ended all the same is started again.
pub async fn empty(cluster: &Cluster, node: &Node) -> Result<()> {
    match fs::remove_file(ballast(cluster, node)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context("cannot remove the ballast")?
        }
        _ => {}
    }
    for _ in 0..ROUNDS {
        if process::running(cluster, node).is_none() {
            return processes::start(cluster, node).await;
        }
        if demo::answers(node).await.is_ok() {
            break;
        }
        demo::pause(STEP).await;
    }
    Ok(())
}

//! Faults that a node makes itself, because its file says so (`quorate/src/node/troubles.rs`).

use crate::{
    demo::{Cluster, Node},
    node::troubles::Told,
};
use anyhow::{Context, Result};
use std::fs;

/// Changes what the node is told. The journal's lock keeps others from doing it at the same time.
pub fn tell(cluster: &Cluster, node: &Node, change: impl FnOnce(&mut Told)) -> Result<()> {
    let file = node.fault_file().with_context(|| {
        format!("{} looks at no fault file; this needs a demo made with `demo --faults`", node.name)
    })?;
    let file = cluster.dir.join(&node.cwd).join(file);
    let mut told = Told::read(&file)?;
    change(&mut told);
    let new = file.with_extension("tmp");
    fs::write(&new, serde_json::to_string(&told)?)?;
    fs::rename(new, file)?;
    Ok(())
}

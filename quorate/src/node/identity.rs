//! `DATA/node.json`: who the node is, kept across restarts; and the lock that keeps a second process out of `DATA`.

use anyhow::{Context, Result, bail};
use quorate_proto::{NodeId, Replica, ReplicaId, ReplicaRole, placement::NodeInfo};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What the node knows of its cluster; empty before `quorate init`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Identity {
    pub node_id: u64,
    pub cluster_id: String,
    /// Founding members of the placement driver's group.
    pub placement: Vec<Member>,
    /// RPC addresses of the nodes that were last known.
    pub peers: Vec<Peer>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Member {
    pub replica: u64,
    pub node: u64,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Peer {
    pub node: u64,
    pub address: String,
}

impl Identity {
    pub fn placement(&self) -> Vec<Replica> {
        let replica =
            |m: &Member| Replica { id: ReplicaId(m.replica), node: NodeId(m.node), role: ReplicaRole::Voter };
        self.placement.iter().map(replica).collect()
    }

    pub fn set_placement(&mut self, members: &[Replica]) {
        self.placement = members.iter().map(|r| Member { replica: r.id.0, node: r.node.0 }).collect();
    }

    /// Remembers where nodes listen; tells whether anything is new.
    pub fn set_peers(&mut self, nodes: &[NodeInfo]) -> bool {
        let before = self.peers.clone();
        for node in nodes.iter().filter(|n| n.id.0 != self.node_id) {
            self.peers.retain(|p| p.node != node.id.0);
            self.peers.push(Peer { node: node.id.0, address: node.rpc_address.clone() });
        }
        self.peers.sort_by_key(|p| p.node);
        before != self.peers
    }
}

/// The data directory, held by this process alone.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// # Errors
    /// If the directory cannot be made, or another process holds it and goes on holding it for some seconds: one that was
    /// killed a moment ago may still be ending.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let lock = File::create(path.join("LOCK"))?;
        wait_for(&lock).with_context(|| format!("another process uses {}", path.display()))?;
        Ok(DataDir { path: path.to_path_buf(), _lock: lock })
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// # Errors
    /// If the file is damaged, or belongs to another node.
    pub fn identity(&self, node: NodeId) -> Result<Identity> {
        let file = self.join("node.json");
        if !file.exists() {
            return Ok(Identity { node_id: node.0, ..Identity::default() });
        }
        let identity: Identity = serde_json::from_slice(&fs::read(&file)?)
            .with_context(|| format!("{} is damaged", file.display()))?;
        if identity.node_id != node.0 {
            bail!("{} holds the data of node {}, not {node}", self.path.display(), identity.node_id);
        }
        Ok(identity)
    }

    /// Durable when it returns: an adopted node must not forget its cluster.
    pub fn save(&self, identity: &Identity) -> Result<()> {
        let new = self.join("node.json.tmp");
        let mut file = File::create(&new)?;
        std::io::Write::write_all(&mut file, &serde_json::to_vec_pretty(identity)?)?;
        file.sync_all()?;
        fs::rename(&new, self.join("node.json"))?;
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }
}

/// Takes the lock, or gives up after some seconds. The kernel releases it with the process that held it.
#[expect(clippy::disallowed_methods, reason = "the node's clock does not run yet")]
fn wait_for(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            result => return result,
        }
    }
    lock.try_lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_and_belongs_to_one_node() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let mut identity = data.identity(NodeId(3)).unwrap();
        identity.cluster_id = "c".into();
        identity.placement.push(Member { replica: 1, node: 3 });
        data.save(&identity).unwrap();
        assert_eq!(data.identity(NodeId(3)).unwrap(), identity);
        assert!(data.identity(NodeId(4)).is_err());
        assert!(DataDir::open(dir.path()).is_err(), "two processes in one directory");
    }
}

//! `DATA/node.json`: who the node is, kept across restarts; and the lock that keeps a second process out of `DATA`.

use anyhow::{Context, Result, bail};
use quorate_env::planted;
use quorate_proto::{
    LogPosition, NodeId, Replica, ReplicaId, ReplicaRole,
    placement::{DriverMembers, Founder, NodeInfo},
};
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
    /// Drawn when the directory was made; see [`Founder`].
    #[serde(default)]
    pub data_id: String,
    pub cluster_id: String,
    /// Founding members of the placement driver's group.
    pub placement: Vec<Member>,
    /// This node has made its copy of the placement driver: if it is not there any more, it is lost.
    #[serde(default)]
    pub placement_made: bool,
    /// Who carries the placement driver since others have taken its founders' places, as last heard.
    #[serde(default)]
    pub driver: Option<Driver>,
    /// RPC addresses of the nodes that were last known.
    pub peers: Vec<Peer>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Member {
    pub replica: u64,
    pub node: u64,
    /// Of founders only.
    #[serde(default)]
    pub data_id: String,
}

/// The members of the placement driver's group as one entry of its log has them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Driver {
    /// Where that entry stands.
    pub term: u64,
    pub index: u64,
    pub members: Vec<Member>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Peer {
    pub node: u64,
    pub address: String,
}

impl Identity {
    pub fn founders(&self) -> Vec<Founder> {
        let founder = |m: &Member| Founder {
            replica: Replica { id: ReplicaId(m.replica), node: NodeId(m.node), role: ReplicaRole::Voter },
            data_id: m.data_id.clone(),
        };
        self.placement.iter().map(founder).collect()
    }

    pub fn set_founders(&mut self, founders: &[Founder]) {
        let member = |f: &Founder| Member {
            replica: f.replica.id.0,
            node: f.replica.node.0,
            data_id: f.data_id.clone(),
        };
        self.placement = founders.iter().map(member).collect();
    }

    /// Who carries the driver: the founders, as long as nothing else was heard.
    pub fn driver(&self) -> DriverMembers {
        let voter =
            |m: &Member| Replica { id: ReplicaId(m.replica), node: NodeId(m.node), role: ReplicaRole::Voter };
        let (at, members) = match &self.driver {
            Some(driver) => (LogPosition { term: driver.term, index: driver.index }, &driver.members),
            None => (LogPosition::default(), &self.placement),
        };
        DriverMembers { at, replicas: members.iter().map(voter).collect(), addresses: Vec::new() }
    }

    /// Remembers who carries the driver; tells whether that is news.
    pub fn set_driver(&mut self, told: &DriverMembers) -> bool {
        if told.at <= self.driver().at || told.replicas.is_empty() {
            return false;
        }
        let voters = told.replicas.iter().filter(|replica| replica.role != ReplicaRole::Learner);
        let member = |r: &Replica| Member { replica: r.id.0, node: r.node.0, data_id: String::new() };
        self.driver =
            Some(Driver { term: told.at.term, index: told.at.index, members: voters.map(member).collect() });
        true
    }

    /// The replica of the driver that this node has founded, or is to found, unless another has taken its place.
    pub fn founded(&self) -> Option<ReplicaId> {
        let own = self.placement.iter().find(|m| m.node == self.node_id)?;
        let id = ReplicaId(own.replica);
        (!self.driver().is_without(id)).then_some(id)
    }

    /// Whether a directory that knows of no cluster yet may become part of one that was founded so. A founder makes its copy
    /// of the placement driver in the directory that was there at the founding and in no other: under its replica id it may
    /// have voted and acknowledged entries, and with the directory that is lost. (When that replica is no member any more its word
    /// does not count.)
    ///
    /// # Errors
    /// Says what the operator can do.
    pub fn may_join(&self, founders: &[Founder], driver: &DriverMembers) -> Result<(), String> {
        let votes = |f: &&Founder| !driver.is_without(f.replica.id);
        let own = founders.iter().filter(votes).find(|f| f.replica.node.0 == self.node_id);
        match own {
            Some(founder)
                if founder.data_id != self.data_id && !planted!("node.founder_in_another_directory") =>
            {
                Err(format!(
                    "node {} is a founder of this cluster, and its data directory is not the one that it was founded in: it may \
                 have voted for changes of the placement driver that are not here, so it must not vote again; start it with \
                 the directory that it had, or join with an empty one under a new --node-id",
                    self.node_id
                ))
            }
            _ => Ok(()),
        }
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

impl Identity {
    /// Forgets where nodes listened that have left for good; tells whether any was known.
    pub fn forget(&mut self, gone: &[NodeId]) -> bool {
        let before = self.peers.len();
        self.peers.retain(|peer| !gone.contains(&NodeId(peer.node)));
        before != self.peers.len()
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
        identity.placement.push(Member { replica: 1, node: 3, data_id: "d".into() });
        data.save(&identity).unwrap();
        assert_eq!(data.identity(NodeId(3)).unwrap(), identity);
        assert!(data.identity(NodeId(4)).is_err());
        assert!(DataDir::open(dir.path()).is_err(), "two processes in one directory");
    }

    #[test]
    fn a_founder_joins_with_the_directory_of_its_founding_only() {
        let replica = Replica { id: ReplicaId(1), node: NodeId(3), role: ReplicaRole::Voter };
        let founders = [Founder { replica, data_id: "first".into() }];
        let blank =
            |node_id, data_id: &str| Identity { node_id, data_id: data_id.into(), ..Identity::default() };
        // Told again after a crash, or by another node than the one that `init` was sent to.
        let driver = DriverMembers::default();
        assert_eq!(blank(3, "first").may_join(&founders, &driver), Ok(()));
        assert!(blank(3, "second").may_join(&founders, &driver).unwrap_err().contains("--node-id"));
        assert_eq!(blank(4, "second").may_join(&founders, &driver), Ok(()));
        // Founded by a release that named no directories.
        let unnamed = [Founder { data_id: String::new(), ..founders[0].clone() }];
        assert!(blank(3, "second").may_join(&unnamed, &driver).is_err());
        // Another replica has taken its place: what it has promised does not count any more, and it founds nothing.
        let mut back = blank(3, "second");
        assert_eq!(back.may_join(&founders, &carried_by(8, &[(7, 5)])), Ok(()));
        back.set_founders(&founders);
        assert_eq!(back.founded(), Some(ReplicaId(1)));
        assert!(back.set_driver(&carried_by(8, &[(7, 5)])));
        assert_eq!(back.founded(), None);
    }

    fn carried_by(index: u64, members: &[(u64, u64)]) -> DriverMembers {
        let replica = |(id, node): &(u64, u64)| Replica {
            id: ReplicaId(*id),
            node: NodeId(*node),
            role: ReplicaRole::Voter,
        };
        let at = LogPosition { term: 2, index };
        DriverMembers { at, replicas: members.iter().map(replica).collect(), addresses: Vec::new() }
    }

    #[test]
    fn the_latest_that_was_heard_of_the_drivers_members_counts() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let mut identity = data.identity(NodeId(3)).unwrap();
        identity.placement.push(Member { replica: 1, node: 3, data_id: "d".into() });
        assert_eq!(identity.driver().nodes(), [NodeId(3)]);
        assert!(identity.set_driver(&carried_by(20, &[(1, 3), (4, 5)])));
        assert!(!identity.set_driver(&carried_by(12, &[(1, 3)])), "old news");
        assert!(!identity.set_driver(&DriverMembers::default()), "nothing is known");
        assert_eq!(identity.founded(), Some(ReplicaId(1)));
        data.save(&identity).unwrap();
        drop(data);
        let back = DataDir::open(dir.path()).unwrap().identity(NodeId(3)).unwrap();
        assert_eq!(back.driver(), carried_by(20, &[(1, 3), (4, 5)]));
    }
}

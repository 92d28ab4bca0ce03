//! `DIR/cluster.json`: what a demo consists of, so that anyone can start and stop its nodes.

use super::network::Network;
use crate::cli::Locality;
use anyhow::{Context, Result};
use quorate_proto::placement::show_tiers;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    /// Where each node has an address of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Where each node's data has a disk of this size, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u64>,
    /// Nodes that have left: their ids are never used again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<u64>,
    /// Where the file lies; all paths in it are relative to this.
    #[serde(skip)]
    pub dir: PathBuf,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Node {
    pub name: String,
    pub id: u64,
    pub pid_file: String,
    /// To be run by a shell in `cwd`.
    pub start: String,
    pub cwd: String,
    pub env: BTreeMap<String, String>,
    pub stop_signal: String,
    pub ip: String,
    pub ports: Ports,
    pub data_dir: String,
    pub log: String,
}

const ROLES: &str = "placement,shard,sql";

/// What a new demo shall be like.
pub struct Wanted<'a> {
    pub nodes: u64,
    pub offset: u16,
    pub clock_bound: &'a str,
    /// Each node in a network namespace of its own.
    pub isolated: bool,
    /// Each node looks at a file for troubles to make.
    pub faults: bool,
    /// Of the disk of each node's data.
    pub disk_size: Option<u64>,
    /// Of the nodes, one after the other, and again from the first.
    pub localities: &'a [Locality],
}

/// What a node is told at its start, besides its addresses.
struct Options<'a> {
    roles: &'a str,
    clock_bound: &'a str,
    faults: bool,
    locality: Option<&'a Locality>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub struct Ports {
    pub sql: u16,
    pub rpc: u16,
    pub http: u16,
}

impl Ports {
    /// Node n listens on 5450+n, 7450+n and 8450+n, each plus the offset.
    pub fn of(id: u64, offset: u16) -> Result<Self> {
        let port = |base: u16| {
            u16::try_from(id)
                .ok()
                .and_then(|id| base.checked_add(id)?.checked_add(offset))
                .context("the port offset is too large")
        };
        Ok(Ports { sql: port(5450)?, rpc: port(7450)?, http: port(8450)? })
    }
}

impl Node {
    pub fn rpc(&self) -> String {
        format!("{}:{}", self.ip, self.ports.rpc)
    }

    /// Where it looks for troubles to make, relative to `cwd`.
    pub fn fault_file(&self) -> Option<&str> {
        flag(&self.start, "--fault-file")
    }

    pub fn url(&self) -> String {
        format!("postgresql://root@{}:{}/quorate", self.ip, self.ports.sql)
    }
}

impl Cluster {
    /// `None` when the directory holds no demo.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let file = dir.join("cluster.json");
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut cluster: Cluster =
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
        cluster.dir = dir.to_path_buf();
        Ok(Some(cluster))
    }

    pub fn node(&self, id: u64) -> Result<&Node> {
        self.nodes.iter().find(|node| node.id == id).with_context(|| format!("the demo has no node {id}"))
    }

    pub fn create(dir: &Path, wanted: &Wanted) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let network = if wanted.isolated { Some(Network::draw(dir)?) } else { None };
        let mut cluster = Cluster {
            nodes: Vec::new(),
            network,
            disk_size: wanted.disk_size,
            gone: Vec::new(),
            dir: dir.to_path_buf(),
        };
        let founders = 1..=wanted.nodes;
        let join: Vec<String> = founders
            .clone()
            .map(|id| Ok(format!("{}:{}", cluster.ip(id), Ports::of(id, wanted.offset)?.rpc)))
            .collect::<Result<_>>()?;
        let mut localities = wanted.localities.iter().cycle();
        for id in founders {
            let ports = Ports::of(id, wanted.offset)?;
            let options = Options {
                roles: ROLES,
                clock_bound: wanted.clock_bound,
                faults: wanted.faults,
                locality: localities.next(),
            };
            let node = cluster.describe(id, ports, &join, &options)?;
            cluster.nodes.push(node);
        }
        cluster.save()?;
        Ok(cluster)
    }

    /// One node more than the founders: it joins by the others.
    pub fn add(&mut self, locality: Option<&Locality>) -> Result<Node> {
        let first = self.nodes.first().context("a demo without nodes")?;
        let id = self.nodes.iter().map(|n| n.id).chain(self.gone.iter().copied()).max().unwrap_or(0) + 1;
        let offset = first.ports.sql - 5450 - u16::try_from(first.id)?;
        let join: Vec<String> = self.nodes.iter().map(Node::rpc).collect();
        let options = Options {
            roles: ROLES,
            clock_bound: flag(&first.start, "--clock-bound").unwrap_or("1ms"),
            faults: first.fault_file().is_some(),
            locality,
        };
        let node = self.describe(id, Ports::of(id, offset)?, &join, &options)?;
        self.nodes.push(node.clone());
        self.save()?;
        Ok(node)
    }

    /// A node that has left the cluster.
    pub fn forget(&mut self, id: u64) -> Result<()> {
        self.nodes.retain(|node| node.id != id);
        self.gone.push(id);
        self.save()
    }

    fn ip(&self, node: u64) -> String {
        self.network.as_ref().map_or_else(|| "127.0.0.1".into(), |network| network.address(node))
    }

    fn describe(&self, id: u64, ports: Ports, join: &[String], options: &Options) -> Result<Node> {
        let Options { roles, clock_bound, faults, locality } = options;
        let program = std::env::current_exe().context("cannot tell where this program lies")?;
        let program = program.to_str().context("the path of this program is not UTF-8")?;
        let (name, ip) = (format!("n{id}"), self.ip(id));
        let Ports { sql, rpc, http } = ports;
        let (within, openly) = match &self.network {
            Some(network) => (format!("ip netns exec {} ", network.namespace(id)), " --insecure"),
            None => Default::default(),
        };
        let told = if *faults { format!(" --fault-file {name}.faults.json") } else { String::new() };
        let stands = match locality {
            Some(Locality(tiers)) => format!(" --locality {}", show_tiers(tiers)),
            None => String::new(),
        };
        let start = format!(
            "{within}'{program}' start --node-id {id} --data {name} --rpc {ip}:{rpc} --sql {ip}:{sql} \
             --http {ip}:{http} --join {} --roles {roles} --clock-bound {clock_bound} \
             --pid-file {name}.pid --log-file {name}.log{openly}{told}{stands}",
            join.join(",")
        );
        Ok(Node {
            pid_file: format!("{name}.pid"),
            log: format!("{name}.log"),
            data_dir: name.clone(),
            name,
            id,
            start,
            cwd: ".".into(),
            env: BTreeMap::new(),
            stop_signal: "TERM".into(),
            ip,
            ports,
        })
    }

    /// Replaces the file in one step, so that a reader never sees half of it.
    fn save(&self) -> Result<()> {
        let new = self.dir.join("cluster.json.tmp");
        fs::write(&new, serde_json::to_string_pretty(self)? + "\n")?;
        fs::rename(new, self.dir.join("cluster.json"))?;
        Ok(())
    }
}

fn flag<'a>(command: &'a str, name: &str) -> Option<&'a str> {
    let mut words = command.split_whitespace();
    words.find(|w| *w == name)?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_is_read_back_and_grows() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Cluster::load(dir.path()).unwrap().is_none());
        let wanted = Wanted {
            nodes: 3,
            offset: 1000,
            clock_bound: "2ms",
            isolated: false,
            faults: true,
            disk_size: None,
            localities: &[],
        };
        Cluster::create(dir.path(), &wanted).unwrap();
        let mut back = Cluster::load(dir.path()).unwrap().unwrap();
        assert_eq!(back.nodes[2].ports.sql, 6453);
        let locality = Locality(vec![("zone".into(), "d".into())]);
        let fourth = back.add(Some(&locality)).unwrap();
        assert!(fourth.start.ends_with(" --locality zone=d"), "{}", fourth.start);
        assert_eq!((fourth.id, fourth.ports.rpc), (4, 8454));
        assert!(fourth.start.contains("--clock-bound 2ms"));
        back.forget(4).unwrap();
        assert_eq!(
            Cluster::load(dir.path()).unwrap().unwrap().add(None).unwrap().id,
            5,
            "an id is used once"
        );
        assert_eq!(fourth.fault_file(), Some("n4.faults.json"));
        assert!(Ports::of(1, u16::MAX).is_err());
    }

    #[test]
    fn isolated_nodes_have_addresses_of_their_own() {
        let network = Network { bridge: "q12345678".into(), prefix: "10.1.2".into() };
        let cluster = Cluster {
            nodes: Vec::new(),
            network: Some(network),
            disk_size: None,
            gone: Vec::new(),
            dir: PathBuf::new(),
        };
        let options = Options { roles: "sql", clock_bound: "1ms", faults: false, locality: None };
        let node =
            cluster.describe(2, Ports::of(2, 0).unwrap(), &["10.1.2.1:7451".into()], &options).unwrap();
        assert!(node.start.starts_with("ip netns exec q12345678n2 '"), "{}", node.start);
        assert!(node.start.contains("--sql 10.1.2.2:5452 ") && node.start.ends_with(" --insecure"));
        assert_eq!(node.url(), "postgresql://root@10.1.2.2:5452/quorate");
    }
}

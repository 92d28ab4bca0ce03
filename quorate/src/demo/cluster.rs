//! `DIR/cluster.json`: what a demo consists of, so that anyone can start and stop its nodes.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Cluster {
    pub nodes: Vec<Node>,
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

    pub fn create(dir: &Path, nodes: u64, offset: u16, clock_bound: &str) -> Result<Self> {
        let founders: Vec<u64> = (1..=nodes).collect();
        let mut cluster = Cluster { nodes: Vec::new(), dir: dir.to_path_buf() };
        for &id in &founders {
            let join: Vec<String> = founders
                .iter()
                .map(|&n| Ok(format!("127.0.0.1:{}", Ports::of(n, offset)?.rpc)))
                .collect::<Result<_>>()?;
            cluster.nodes.push(node(id, Ports::of(id, offset)?, &join, "placement,shard,sql", clock_bound)?);
        }
        cluster.save()?;
        Ok(cluster)
    }

    /// One node more than the founders: it carries shards and SQL, and joins by the others.
    pub fn add(&mut self) -> Result<Node> {
        let first = self.nodes.first().context("a demo without nodes")?;
        let id = self.nodes.iter().map(|n| n.id).max().unwrap_or(0) + 1;
        let offset = first.ports.sql - 5450 - u16::try_from(first.id)?;
        let join: Vec<String> = self.nodes.iter().map(Node::rpc).collect();
        let bound = flag(&first.start, "--clock-bound").unwrap_or("1ms").to_owned();
        let node = node(id, Ports::of(id, offset)?, &join, "shard,sql", &bound)?;
        self.nodes.push(node.clone());
        self.save()?;
        Ok(node)
    }

    /// Replaces the file in one step, so that a reader never sees half of it.
    fn save(&self) -> Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
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

fn node(id: u64, ports: Ports, join: &[String], roles: &str, clock_bound: &str) -> Result<Node> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let program = program.to_str().context("the path of this program is not UTF-8")?;
    let name = format!("n{id}");
    let Ports { sql, rpc, http } = ports;
    let start = format!(
        "'{program}' start --node-id {id} --data {name} --rpc 127.0.0.1:{rpc} --sql 127.0.0.1:{sql} \
         --http 127.0.0.1:{http} --join {} --roles {roles} --clock-bound {clock_bound} \
         --pid-file {name}.pid --log-file {name}.log",
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
        ip: "127.0.0.1".into(),
        ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_is_read_back_and_grows() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Cluster::load(dir.path()).unwrap().is_none());
        Cluster::create(dir.path(), 3, 1000, "2ms").unwrap();
        let mut back = Cluster::load(dir.path()).unwrap().unwrap();
        assert_eq!(back.nodes[2].ports.sql, 6453);
        let fourth = back.add().unwrap();
        assert_eq!((fourth.id, fourth.ports.rpc), (4, 8454));
        assert!(fourth.start.contains("--clock-bound 2ms"));
        assert!(Ports::of(1, u16::MAX).is_err());
    }
}

//! A cluster of ours: the one that was named, or a demo in a temporary directory that goes when the run ends.

use crate::{counters::Counters, host};
use anyhow::{Context, Result, bail};
use std::{path::PathBuf, process::Command};
use tokio_postgres::{Client, NoTls};

pub struct Ours {
    pub urls: Vec<String>,
    /// `host:port` of the nodes' HTTP; empty where it is not known.
    http: Vec<String>,
    /// Known of a cluster that was started here: another one may run on any machine.
    pub pids: Option<Vec<u32>>,
    demo: Option<(tempfile::TempDir, PathBuf)>,
}

impl Ours {
    /// The one of these URLs, or without any one that is started here.
    ///
    /// # Errors
    /// If none can be started.
    pub async fn at(urls: &[String]) -> Result<Self> {
        eprintln!("starting …");
        if urls.is_empty() { Ours::start() } else { Ok(Ours::named(urls).await) }
    }

    /// A cluster that runs already. What its nodes count is read where they say that their HTTP listens.
    pub async fn named(urls: &[String]) -> Self {
        let http = match http_addresses(&urls[0]).await {
            Ok(http) => http,
            Err(why) => {
                eprintln!("what the nodes count stays unknown: quorate.nodes: {why:#}");
                Vec::new()
            }
        };
        Ours { urls: urls.to_vec(), http, pids: None, demo: None }
    }

    pub fn start() -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program lies")?;
        let dir = tempfile::Builder::new().prefix("quorate-bench").tempdir()?;
        let data = dir.path().join("demo");
        let mut ours = Ours { urls: vec![], http: vec![], pids: None, demo: Some((dir, program)) };
        ours.demo_command(&["--background", "--base-port-offset", "700"])?;
        let text = std::fs::read_to_string(data.join("cluster.json"))?;
        let cluster: serde_json::Value = serde_json::from_str(&text)?;
        let mut pids = Vec::new();
        for node in cluster["nodes"].as_array().context("no nodes in cluster.json")? {
            let (ip, ports) = (node["ip"].as_str().unwrap_or("127.0.0.1"), &node["ports"]);
            ours.urls.push(format!("postgresql://root@{ip}:{}/quorate", ports["sql"]));
            ours.http.push(format!("{ip}:{}", ports["http"]));
            let file = data.join(node["pid_file"].as_str().context("no pid file")?);
            pids.push(std::fs::read_to_string(file)?.trim().parse()?);
        }
        ours.pids = Some(pids);
        Ok(ours)
    }

    /// The numbers of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = usize> + use<> {
        1..=self.urls.len()
    }

    /// The process of a node of the cluster that was started here.
    pub fn pid(&self, node: usize) -> Result<u32> {
        let (dir, _) = self.demo.as_ref().context("the cluster was not started here")?;
        let file = dir.path().join("demo").join(format!("n{node}.pid"));
        Ok(std::fs::read_to_string(file)?.trim().parse()?)
    }

    /// Ends a node as a crash does.
    pub fn kill(&self, node: usize) -> Result<()> {
        let pid = libc::pid_t::try_from(self.pid(node)?)?;
        // SAFETY: kill(2) takes two integers and touches no memory of ours.
        match unsafe { libc::kill(pid, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()).context("kill"),
        }
    }

    /// Starts a node again, and returns when it answers over SQL.
    pub fn restart(&self, node: usize) -> Result<()> {
        self.demo_command(&["restart", &node.to_string()])
    }

    fn demo_command(&self, arguments: &[&str]) -> Result<()> {
        let Some((dir, program)) = &self.demo else { return Ok(()) };
        let data = dir.path().join("demo");
        let status = Command::new(program).arg("demo").args(arguments).arg("--data").arg(data).status()?;
        if !status.success() {
            bail!("quorate demo {} failed", arguments.join(" "));
        }
        Ok(())
    }

    /// What all nodes have counted so far.
    ///
    /// # Errors
    /// When a node of the cluster that was started here does not tell. Of another cluster it stays unknown.
    pub async fn counters(&self) -> Result<Option<Counters>> {
        if self.http.is_empty() {
            return Ok(None);
        }
        match Counters::read(&self.http).await {
            Ok(counters) => Ok(Some(counters)),
            Err(why) if self.demo.is_none() => {
                eprintln!("what the nodes count stays unknown: {why:#}");
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }
}

pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.with_context(|| format!("cannot connect to {url}"))?;
    host::spawn(connection);
    Ok(client)
}

async fn http_addresses(url: &str) -> Result<Vec<String>> {
    let client = connect(url).await?;
    let serving = "SELECT http_address FROM quorate.nodes WHERE state NOT IN ('dead', 'decommissioned') AND http_address <> ''";
    Ok(client.query(serving, &[]).await?.iter().map(|row| row.get(0)).collect())
}

impl Drop for Ours {
    fn drop(&mut self) {
        if let Err(error) = self.demo_command(&["stop"]) {
            eprintln!("{error:#}");
        }
    }
}

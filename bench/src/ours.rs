//! A cluster of ours: the one that was named, or a demo in a temporary directory that goes when the run ends.

use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, path::PathBuf, process::Command};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Ours {
    pub urls: Vec<String>,
    /// `host:port` of the nodes' HTTP, where known.
    http: Vec<String>,
    pub pids: Vec<u32>,
    demo: Option<(tempfile::TempDir, PathBuf)>,
}

/// Counters of all nodes, summed by name.
pub type Counters = BTreeMap<String, f64>;

impl Ours {
    pub fn named(urls: &[String]) -> Self {
        Ours { urls: urls.to_vec(), http: Vec::new(), pids: Vec::new(), demo: None }
    }

    pub fn start() -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program lies")?;
        let dir = tempfile::Builder::new().prefix("quorate-bench").tempdir()?;
        let data = dir.path().join("demo");
        let mut ours = Ours { urls: vec![], http: vec![], pids: vec![], demo: Some((dir, program)) };
        ours.demo_command(&["--background", "--base-port-offset", "700"])?;
        let text = std::fs::read_to_string(data.join("cluster.json"))?;
        let cluster: serde_json::Value = serde_json::from_str(&text)?;
        for node in cluster["nodes"].as_array().context("no nodes in cluster.json")? {
            let (ip, ports) = (node["ip"].as_str().unwrap_or("127.0.0.1"), &node["ports"]);
            ours.urls.push(format!("postgresql://root@{ip}:{}/quorate", ports["sql"]));
            ours.http.push(format!("{ip}:{}", ports["http"]));
            let file = data.join(node["pid_file"].as_str().context("no pid file")?);
            ours.pids.push(std::fs::read_to_string(file)?.trim().parse()?);
        }
        Ok(ours)
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

    /// Empty for a cluster that was named by URL: its HTTP addresses are not known.
    pub async fn counters(&self) -> Result<Counters> {
        let mut sums = Counters::new();
        for address in &self.http {
            for line in metrics(address).await?.lines().filter(|l| !l.starts_with('#')) {
                let Some((name, value)) = line.rsplit_once(' ') else { continue };
                let name = name.split('{').next().unwrap_or(name);
                *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap_or(0.0);
            }
        }
        Ok(sums)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if let Err(error) = self.demo_command(&["stop"]) {
            eprintln!("{error:#}");
        }
    }
}

async fn metrics(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("no metrics at {address}"))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

//! The peer: PostgreSQL with one primary and two synchronous standbys of which one must confirm (`ANY 1`).

use crate::{Progress, host};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

pub struct Postgres {
    pub url: String,
    pub pids: Vec<u32>,
    nodes: Vec<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Postgres {
    /// The peer, if it is among those that were asked for, and installed.
    ///
    /// # Errors
    /// Of a peer that there is not, and if it cannot be started.
    pub async fn asked_for(peers: &[String], progress: Progress) -> Result<Option<Self>> {
        if let Some(unknown) = peers.iter().find(|peer| *peer != "postgres") {
            bail!("unknown peer `{unknown}`; there is postgres");
        }
        if peers.is_empty() {
            return Ok(None);
        }
        if !Path::new(PROGRAMS).join("initdb").exists() {
            eprintln!("PostgreSQL is not installed; left out");
            return Ok(None);
        }
        let _waiting = progress("PostgreSQL: starting".into());
        Postgres::start().await.context("starting PostgreSQL").map(Some)
    }

    async fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("quorate-peer").tempdir()?;
        let names = ["primary", "s1", "s2"];
        let nodes: Vec<PathBuf> = names.iter().map(|n| dir.path().join(n)).collect();
        give_away(dir.path())?;
        let ports = host::free_ports(3)?;
        let mut peer = Postgres {
            url: format!("postgresql://postgres@127.0.0.1:{}/postgres", ports[0]),
            pids: vec![],
            nodes: vec![],
            _dir: dir,
        };
        program("initdb", &["-A", "trust", "-U", "postgres", "-D", text(&nodes[0])?])?;
        std::fs::OpenOptions::new()
            .append(true)
            .open(nodes[0].join("postgresql.conf"))
            .and_then(|mut f| std::io::Write::write_all(&mut f, SETTINGS.as_bytes()))?;
        peer.serve(&nodes[0], ports[0])?;
        for (at, name) in names.iter().enumerate().skip(1) {
            let from = format!("postgresql://postgres@127.0.0.1:{}/?application_name={name}", ports[0]);
            program("pg_basebackup", &["-R", "-D", text(&nodes[at])?, "-d", &from, "-c", "fast"])?;
            peer.serve(&nodes[at], ports[at])?;
        }
        peer.synchronous().await?;
        Ok(peer)
    }

    fn serve(&mut self, node: &Path, port: u16) -> Result<()> {
        let options = format!("-p {port} -k {}", text(node)?);
        program(
            "pg_ctl",
            &["-w", "-D", text(node)?, "-o", &options, "-l", text(&node.join("log"))?, "start"],
        )?;
        self.nodes.push(node.to_path_buf());
        let pid = std::fs::read_to_string(node.join("postmaster.pid"))?;
        self.pids.push(pid.lines().next().unwrap_or_default().trim().parse()?);
        Ok(())
    }

    /// Waits until both standbys count, then asks for one of them at every commit.
    async fn synchronous(&self) -> Result<()> {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await?;
        host::spawn(connection);
        client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (s1, s2)'").await?;
        client.batch_execute("SELECT pg_reload_conf()").await?;
        for _ in 0..100 {
            let quorum = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'";
            if client.query_one(quorum, &[]).await?.get::<_, i64>(0) == 2 {
                return Ok(());
            }
            host::sleep(Duration::from_millis(100)).await;
        }
        bail!("the standbys of PostgreSQL did not become synchronous")
    }
}

const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 600
shared_buffers = 256MB
synchronous_commit = on
fsync = on
max_wal_size = 4GB
";

impl Drop for Postgres {
    fn drop(&mut self) {
        for node in self.nodes.iter().rev() {
            let stopped =
                text(node).and_then(|dir| program("pg_ctl", &["-m", "immediate", "-D", dir, "stop"]));
            if let Err(error) = stopped {
                eprintln!("{error:#}");
            }
        }
    }
}

/// PostgreSQL refuses to run as root, so it runs as the user of its package.
fn program(name: &str, arguments: &[&str]) -> Result<()> {
    let path = format!("{PROGRAMS}/{name}");
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", &path]);
        command
    } else {
        Command::new(path)
    };
    let status =
        command.args(arguments).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !status.with_context(|| format!("cannot run {name}"))?.success() {
        bail!("{name} failed");
    }
    Ok(())
}

fn give_away(dir: &Path) -> Result<()> {
    if is_root() && !Command::new("chown").arg("postgres").arg(dir).status()?.success() {
        bail!("cannot hand {} to the user postgres", dir.display());
    }
    Ok(())
}

fn is_root() -> bool {
    // SAFETY: geteuid(2) takes nothing and touches no memory of ours.
    unsafe { libc::geteuid() == 0 }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

//! A demo's own network: each node in a namespace with an address of its own, all on one bridge, to which this machine belongs too.
//!
//! Names are derived from the demo's directory, so that demos do not meet and what is left over is found again.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, os::unix::ffi::OsStrExt, path::Path, process::Command};

#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Network {
    pub bridge: String,
    /// The first three numbers of all addresses.
    pub prefix: String,
}

/// This machine's last number; the nodes have theirs from 1.
const MACHINE: u64 = 254;

impl Network {
    /// For a new demo in the directory, with addresses that are free on this machine.
    pub fn draw(dir: &Path) -> Result<Self> {
        refuse_without_means("--isolated", &[("ip", "iproute2"), ("iptables", "iptables")])?;
        let dir = dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))?;
        let hash = hash(dir.as_os_str().as_bytes());
        let bridge = format!("q{:08x}", hash >> 32);
        Network { bridge: bridge.clone(), prefix: String::new() }.down();
        let taken = nets(&tool("ip", &["-4", "route", "show", "table", "all"])?);
        let number = (0..1 << 16).map(|nth| (hash as u32).wrapping_add(nth) & 0xffff).find(|number| {
            let candidate = (Ipv4Addr::from(0x0a00_0000 | number << 8), 24);
            !taken.iter().any(|net| overlap(*net, candidate))
        });
        let number = number.context("no private network is free")?;
        Ok(Network { bridge, prefix: format!("10.{}.{}", number >> 8, number & 0xff) })
    }

    pub fn namespace(&self, node: u64) -> String {
        format!("{}n{node}", self.bridge)
    }

    pub fn address(&self, node: u64) -> String {
        format!("{}.{node}", self.prefix)
    }

    /// Makes what is not there yet.
    pub fn up(&self, nodes: impl Iterator<Item = u64>) -> Result<()> {
        let made = self.bridge_up().and_then(|()| nodes.into_iter().try_for_each(|node| self.node_up(node)));
        made.context("cannot set up the demo's network")
    }

    fn bridge_up(&self) -> Result<()> {
        let bridge = &self.bridge;
        if is_link(bridge) {
            return Ok(());
        }
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {}/24 dev {bridge}", self.address(MACHINE)))?;
        ip(&format!("link set {bridge} up"))
    }

    fn node_up(&self, node: u64) -> Result<()> {
        let (bridge, namespace, outside) = (&self.bridge, self.namespace(node), self.outside(node));
        if exists(&namespace) {
            return Ok(());
        }
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("link add {outside} type veth peer name eth0 netns {namespace}"))?;
        ip(&format!("link set {outside} master {bridge} up"))?;
        ip(&format!("-n {namespace} addr add {}/24 dev eth0", self.address(node)))?;
        ip(&format!("-n {namespace} link set eth0 up"))?;
        ip(&format!("-n {namespace} link set lo up"))
    }

    /// Removes all of it that is there. The nodes have ended before.
    pub fn down(&self) {
        let listed = tool("ip", &["netns", "list"]).unwrap_or_default();
        let names = listed.lines().filter_map(|line| line.split_whitespace().next());
        let number = |name: &str| name.strip_prefix(&self.bridge)?.strip_prefix('n')?.parse::<u64>().ok();
        for (namespace, node) in names.filter_map(|name| Some((name, number(name)?))) {
            // By itself it would go with the namespace, but at some later time.
            told(remove_link(&self.outside(node)));
            told(ip(&format!("netns del {namespace}")));
        }
        told(remove_link(&self.bridge));
    }

    /// The end of the node's line that is on the bridge.
    fn outside(&self, node: u64) -> String {
        format!("{}v{node}", self.bridge)
    }
}

fn remove_link(name: &str) -> Result<()> {
    if is_link(name) { ip(&format!("link del {name}")) } else { Ok(()) }
}

fn is_link(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

fn told(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("{error:#}");
    }
}

pub fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

/// FNV-1a, 64 bits: the same in every build.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

type Net = (Ipv4Addr, u32);

/// All networks and addresses that a list of routes names, but for the default.
fn nets(routes: &str) -> Vec<Net> {
    let net = |word: &str| {
        let (address, length) = word.split_once('/').unwrap_or((word, "32"));
        Some((address.parse().ok()?, length.parse().ok()?))
    };
    routes.split_whitespace().filter_map(net).filter(|(_, length)| (1..=32).contains(length)).collect()
}

fn overlap(one: Net, other: Net) -> bool {
    let mask = u32::MAX << (32 - one.1.min(other.1));
    u32::from(one.0) & mask == u32::from(other.0) & mask
}

fn ip(arguments: &str) -> Result<()> {
    tool("ip", &arguments.split_whitespace().collect::<Vec<_>>()).map(drop)
}

/// Runs a program of the system and returns what it printed.
pub fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed: {}", arguments.join(" "), why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An error that tells all that is missing: to be root, and programs, each with Debian's package.
pub fn refuse_without_means(what: &str, programs: &[(&str, &str)]) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let mut missing: Vec<String> = programs
        .iter()
        .filter(|(program, _)| !there(program))
        .map(|(program, package)| format!("the program `{program}` (Debian: {package})"))
        .collect();
    // SAFETY: geteuid(2) only returns a number.
    if unsafe { libc::geteuid() } != 0 {
        missing.insert(0, "to be root".into());
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("{what} needs what is missing here: {}", missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_is_what_no_route_touches() {
        let routes =
            "default via 192.0.2.1 dev eth0\n10.1.0.0/16 dev a src 10.1.2.3\nlocal 10.9.9.9 dev lo\n";
        let taken = nets(routes);
        let free = |net: &str| !taken.iter().any(|taken| overlap(*taken, (net.parse().unwrap(), 24)));
        assert!(free("10.2.0.0") && free("10.9.8.0"));
        assert!(!free("10.1.7.0") && !free("10.9.9.0") && !free("192.0.2.0"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = refuse_without_means("--isolated", &[("no-such-program", "some-package")]).unwrap_err();
        assert!(refused.to_string().contains("`no-such-program` (Debian: some-package)"), "{refused}");
    }
}

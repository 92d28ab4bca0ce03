//! System packages: installed when that is allowed, otherwise the one line to run is printed.

use crate::run;
use anyhow::{Result, bail};
use std::{path::Path, process::Command, time::Duration};

/// A file that shows that a package is there, and the package.
struct Need {
    any_of: &'static [&'static str],
    package: &'static str,
}

/// The machine's own updates may be at work, and hold the lock meanwhile.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_secs(15);

/// What RocksDB and its bindings are built with.
const BUILD: &[Need] = &[
    Need { any_of: &["/usr/bin/g++", "/usr/bin/c++"], package: "g++" },
    Need { any_of: &["/usr/bin/make"], package: "make" },
    Need { any_of: &["/usr/bin/ccache"], package: "ccache" },
    Need {
        any_of: &["/usr/lib/llvm-14/lib/libclang.so.1", "/usr/lib/x86_64-linux-gnu/libclang-14.so.1"],
        package: "libclang1-14",
    },
    Need {
        any_of: &["/usr/lib/llvm-14/lib/clang/14.0.6/include/stddef.h"],
        package: "libclang-common-14-dev",
    },
];

/// Real clients for the tests, and the peer of the benchmarks: psql, pgbench and a PostgreSQL server. What sends nodes their
/// signals.
const CLIENTS: &[Need] = &[
    Need { any_of: &["/usr/bin/psql"], package: "postgresql-client-15" },
    Need { any_of: &["/usr/lib/postgresql/15/bin/pgbench"], package: "postgresql-15" },
    Need { any_of: &["/usr/bin/kill", "/bin/kill"], package: "procps" },
];

/// What gives the nodes of a demo networks of their own, and cuts them.
const NETWORKS: &[Need] = &[
    Need { any_of: &["/usr/sbin/ip", "/usr/bin/ip", "/sbin/ip"], package: "iproute2" },
    Need { any_of: &["/usr/sbin/iptables", "/sbin/iptables"], package: "iptables" },
];

pub fn for_build() -> Result<()> {
    install(BUILD)
}

pub fn for_tests() -> Result<()> {
    install(BUILD)?;
    install(CLIENTS)?;
    install(NETWORKS)
}

fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .filter(|need| !need.any_of.iter().any(|file| Path::new(file).exists()))
        .map(|need| need.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get update && apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "missing system packages; run this once, then again what you ran:\n\n    sudo sh -c '{line}'\n"
        );
    }
    println!("installing {}", missing.join(" "));
    for _ in 1..TRIES {
        match install_by(&line) {
            Ok(()) => return Ok(()),
            Err(why) => println!("{why:#}\nagain in {AGAIN:?}"),
        }
        std::thread::sleep(AGAIN);
    }
    install_by(&line)
}

fn install_by(line: &str) -> Result<()> {
    run::check(Command::new("sh").args(["-c", line]).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
    })
}

//! `cargo xtask planted`: our own rules are switched off, one at a time (`env/src/planted.rs`), and somebody must find it.

use crate::{run, steps};
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// A rule that can be switched off, and who notices.
struct Planted {
    /// As the code calls it; several are planted together where one covers another up.
    names: &'static str,
    /// The rule of `docs/rules.md`, and what goes wrong.
    what: &'static str,
    found_by: &'static [Finder],
}

enum Finder {
    /// This test of this target (empty: a library's own) fails.
    Test(&'static str, &'static str),
    /// One of the first so many seeds of the simulation fails.
    Seeds(u64),
}

const ALL: &[Planted] = &[];

/// Plants each fault, or those whose names contain the text given.
///
/// # Errors
/// If a fault is not found by whoever must find it, or cannot be tried.
pub fn planted(args: &[String]) -> Result<()> {
    let only = match args {
        [] => "",
        [flag, name] if flag == "--only" => name,
        _ => bail!("usage: cargo xtask planted [--only NAME]"),
    };
    let chosen: Vec<&Planted> = ALL.iter().filter(|fault| fault.names.contains(only)).collect();
    if chosen.is_empty() {
        bail!("no planted fault is called {only}");
    }
    run::check(&mut run::cargo(&["build", "--workspace", "--all-targets", "--locked"]))?;
    let mut missed = Vec::new();
    for fault in chosen {
        println!("\n{}: {}", fault.names, fault.what);
        for finder in fault.found_by {
            let found = finder.try_on(fault.names)?;
            println!("    {} {found}", finder.name());
            if !matches!(found, Found::Yes(_)) {
                missed.push(format!("{} by {}", fault.names, finder.name()));
            }
        }
    }
    if !missed.is_empty() {
        bail!("not found: {}", missed.join("; "));
    }
    Ok(())
}

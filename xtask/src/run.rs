//! Running commands and saying which one failed.

use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
};

/// The root of the workspace, as cargo says at run time: a target directory that several checkouts share may hold a binary
/// that was built for another one.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `cargo` with these arguments in the workspace. Compilers are looked up through ccache where it is installed, so that
/// RocksDB's C++, most of a first build, is compiled once for both profiles.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    let wrappers = Path::new("/usr/lib/ccache");
    if wrappers.is_dir()
        && let Some(path) = std::env::var_os("PATH")
    {
        let all = std::iter::once(wrappers.to_path_buf()).chain(std::env::split_paths(&path));
        if let Ok(joined) = std::env::join_paths(all) {
            command.env("PATH", joined);
        }
    }
    command
}

/// The same, with less claim to the processor than others have.
pub fn gently(command: &Command) -> Command {
    let mut gentle = Command::new("nice");
    gentle.args(["-n", "10"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => gentle.env(name, value),
            None => gentle.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        gentle.current_dir(directory);
    }
    gentle
}

/// Runs to the end; an error names the command and its exit status.
pub fn check(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("cannot start: {shown}"))?;
    if !status.success() {
        bail!("failed ({status}): {shown}");
    }
    Ok(())
}

/// How many processes that only compute this machine runs at a time.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does the same to all items, `at_once` of them beside each other; the results come in no order.
///
/// # Errors
/// One that came up. Whoever met it begins no further items; the others do, to the end.
pub fn beside<T, R: Send>(
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    at_once: usize,
    each: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let some = || std::iter::from_fn(next).map(&each).collect::<Result<Vec<R>>>();
    thread::scope(|scope| {
        let all: Vec<_> = (0..at_once).map(|_| scope.spawn(some)).collect();
        let results = all.into_iter().map(|one| one.join().expect("it does not panic"));
        Ok(results.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

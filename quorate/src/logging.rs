//! Structured logs: one JSON object a line in a file, plain lines on a terminal.

use anyhow::{Context, Result};
use std::{fs::OpenOptions, io::IsTerminal, path::Path, sync::Mutex};
use tracing_subscriber::EnvFilter;

/// `filter` as in `RUST_LOG`, e.g. `info,quorate_consensus=debug`; openraft is silent unless it is named there.
pub fn start(filter: &str, file: Option<&Path>) -> Result<()> {
    let filter = EnvFilter::try_new(format!("openraft=off,{filter}"))
        .with_context(|| format!("`{filter}` is not a log filter"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(true);
    let started = match file {
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot open the log file {}", path.display()))?;
            builder.json().flatten_event(true).with_writer(Mutex::new(file)).try_init()
        }
        None if std::io::stderr().is_terminal() => builder.with_writer(std::io::stderr).try_init(),
        None => builder.json().flatten_event(true).with_writer(std::io::stderr).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

//! Troubles that a file tells the node to make, for `quorate fault`; only in a node that was started with `--fault-file`.

use anyhow::{Context, Result};
use quorate_env::{
    Env, time,
    troubles::{self, Troubles},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the file says. Without a file, nothing.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Told {
    pub delay_ms: u64,
    pub jitter_ms: u64,
    pub fsync_ms: u64,
    pub clock_offset_us: i64,
    pub clock_rate: f64,
}

impl Default for Told {
    fn default() -> Self {
        Told { delay_ms: 0, jitter_ms: 0, fsync_ms: 0, clock_offset_us: 0, clock_rate: 1.0 }
    }
}

impl Told {
    pub fn read(file: &Path) -> Result<Self> {
        match fs::read(file) {
            Ok(raw) => serde_json::from_slice(&raw).with_context(|| format!("{} is damaged", file.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Told::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn obey(self) {
        let ms = Duration::from_millis;
        troubles::set(Troubles {
            delay: ms(self.delay_ms),
            jitter: ms(self.jitter_ms),
            fsync: ms(self.fsync_ms),
            clock_offset_micros: self.clock_offset_us,
            clock_drift_ppb: ((self.clock_rate - 1.0) * 1e9) as i64,
        });
    }
}

/// Obeys the file from now on.
pub fn follow(env: &Env, file: PathBuf) -> Result<()> {
    let mut seen = mark(&file);
    let mut told = Told::read(&file)?;
    told.obey();
    env.spawn("troubles.follow", async move {
        loop {
            time::sleep(LOOK_EVERY).await;
            let now = mark(&file);
            if now == seen {
                continue;
            }
            seen = now;
            match Told::read(&file) {
                Ok(new) if new == told => {}
                Ok(new) => {
                    tracing::info!(?new, "told to make trouble");
                    told = new;
                    told.obey();
                }
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
    })
    .detach();
    Ok(())
}

/// The file is replaced, never written over: another one is another inode or younger.
fn mark(file: &Path) -> Option<(u64, i64, i64)> {
    let found = fs::metadata(file).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_does_not_say_is_as_ever() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n1.faults.json");
        assert_eq!(Told::read(&file).unwrap(), Told::default());
        fs::write(&file, r#"{"delay_ms":20,"jitter_ms":10,"fsync_ms":30}"#).unwrap();
        let told = Told::read(&file).unwrap();
        assert_eq!((told.delay_ms, told.jitter_ms, told.fsync_ms, told.clock_rate), (20, 10, 30, 1.0));
        fs::write(&file, r#"{"delay":20}"#).unwrap();
        assert!(Told::read(&file).is_err());
    }
}

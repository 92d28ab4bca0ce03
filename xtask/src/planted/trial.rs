//! One process with faults planted in it: it ends within a bound, and what it printed stays in a file.

use crate::run;
use anyhow::{Context, Result};
use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Finders take seconds, those of a live cluster a minute or two; a fault that makes one hang is not found cleanly.
const BOUND: Duration = Duration::from_secs(300);

pub struct Trial {
    child: Child,
    began: Instant,
    output: PathBuf,
}

/// How it ended.
pub struct Ended {
    /// Absent: it was killed when its time was up.
    pub status: Option<ExitStatus>,
    pub text: String,
}

impl Trial {
    /// Starts it, in a process group of its own, so that what it starts ends with it.
    pub fn start(command: &mut Command, planted: &str, output: PathBuf) -> Result<Trial> {
        let file = File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
        command.env("QUORATE_PLANTED", planted).env_remove("QUORATE_REWRITE");
        // Random cases are the same at every trial, and those that fail are none to be kept.
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        let mut command = run::gently(command);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Trial { child, began: Instant::now(), output })
    }

    pub fn end(mut self) -> Result<Ended> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            if self.began.elapsed() > BOUND {
                self.kill();
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let text = String::from_utf8_lossy(&std::fs::read(&self.output)?).into_owned();
        Ok(Ended { status, text })
    }

    pub fn kill(&mut self) {
        // Standard Rust has no call for a whole group. Whoever is gone already needs none.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

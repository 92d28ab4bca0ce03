//! What has begun and what has ended.
//!
//! `DIR/faults.json` has the faults that are not undone yet, so that somebody else can do it. It is written before a fault begins,
//! and an entry goes once the fault is undone. `DIR/faults.log` has a line for every beginning and every end.

use super::action::Fault;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

/// The journal, for whoever holds this alone; the system takes the lock back from one who dies.
pub struct Journal {
    dir: PathBuf,
    _lock: File,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Begins,
    Ends,
}

/// A line of the log.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Line {
    /// RFC 3339, UTC.
    pub time: String,
    pub id: String,
    pub fault: String,
    /// All that it touches.
    pub nodes: Vec<u64>,
    pub phase: Phase,
    pub arguments: Value,
    /// `ok`, or what went wrong.
    pub outcome: String,
}

const GOOD: &str = "ok";

impl Line {
    pub fn new(fault: &Fault, phase: Phase, result: &Result<()>) -> Result<Self> {
        let mut arguments = serde_json::to_value(&fault.action)?;
        let name = arguments["fault"].as_str().unwrap_or_default().to_owned();
        if let Some(fields) = arguments.as_object_mut() {
            fields.remove("fault");
            fields.insert("for_ms".into(), fault.lasts.map(|time| time.as_millis() as u64).into());
        }
        Ok(Line {
            time: now()?,
            id: fault.id.clone(),
            fault: name,
            nodes: fault.action.nodes(),
            phase,
            arguments,
            outcome: result.as_ref().map_or_else(|error| format!("{error:#}"), |()| GOOD.to_owned()),
        })
    }

    /// The fault and its nodes.
    pub fn what(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("n{node}")).collect();
        format!("{} {}", self.fault, nodes.join(","))
    }

    pub fn is_good(&self) -> bool {
        self.outcome == GOOD
    }
}

fn now() -> Result<String> {
    let mut text = String::new();
    SystemTime.format_time(&mut Writer::new(&mut text))?;
    Ok(text)
}

impl Journal {
    /// Waits until nobody else has it.
    pub fn lock(dir: &Path) -> Result<Self> {
        let path = dir.join("faults.lock");
        let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: flock(2) takes a descriptor, which is open here, and an integer.
        while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(Journal { dir: dir.to_path_buf(), _lock: file })
    }

    /// Begun and not ended, oldest first.
    pub fn open(&self) -> Result<Vec<Fault>> {
        Journal::read(&self.dir)
    }

    /// The same for one who only looks.
    pub fn read(dir: &Path) -> Result<Vec<Fault>> {
        let path = dir.join("faults.json");
        match fs::read(&path) {
            Ok(raw) => serde_json::from_slice(&raw).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Enters a fault, unless it meddles with one that is there.
    pub fn enter(&self, fault: &Fault) -> Result<()> {
        let mut open = self.open()?;
        let wanted = fault.action.holds();
        for other in &open {
            if let Some(held) = other.action.holds().into_iter().find(|held| wanted.contains(held)) {
                bail!("another fault has {held} in its hands; `quorate fault heal` ends all faults");
            }
        }
        open.push(fault.clone());
        self.replace(&open)
    }

    pub fn strike_out(&self, id: &str) -> Result<()> {
        let mut open = self.open()?;
        open.retain(|fault| fault.id != id);
        self.replace(&open)
    }

    /// In one step, so that whoever dies here leaves the old or the new.
    fn replace(&self, open: &[Fault]) -> Result<()> {
        let new = self.dir.join("faults.json.tmp");
        fs::write(&new, serde_json::to_string_pretty(open)? + "\n")?;
        fs::rename(new, self.dir.join("faults.json"))?;
        Ok(())
    }

    pub fn log(&self, line: &Line) -> Result<()> {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("faults.log"))?;
        file.write_all((serde_json::to_string(line)? + "\n").as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::action::Action;

    #[test]
    fn what_has_begun_is_there_until_it_is_struck_out() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (
            Fault::new(Action::Kill { node: 1 }, None),
            Fault::new(Action::Pause { node: 2 }, Some(std::time::Duration::from_secs(5))),
        );
        let journal = Journal::lock(dir.path()).unwrap();
        journal.enter(&first).unwrap();
        journal.enter(&second).unwrap();
        let refused = journal.enter(&Fault::new(Action::Pause { node: 1 }, None)).unwrap_err();
        assert!(refused.to_string().contains("the process of node 1"), "{refused}");
        drop(journal);
        let journal = Journal::lock(dir.path()).unwrap();
        assert_eq!(journal.open().unwrap(), [first.clone(), second.clone()]);
        journal.strike_out(&first.id).unwrap();
        journal.strike_out(&first.id).unwrap();
        assert_eq!(journal.open().unwrap(), [second]);
    }

    #[test]
    fn a_line_tells_all() {
        let fault = Fault::new(Action::Pause { node: 2 }, Some(std::time::Duration::from_secs(5)));
        let line = Line::new(&fault, Phase::Ends, &Ok(())).unwrap();
        assert!(line.is_good() && line.time.ends_with('Z'), "{line:?}");
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["fault"], "pause");
        assert_eq!(json["phase"], "ends");
        assert_eq!(json["nodes"], serde_json::json!([2]));
        assert_eq!(json["arguments"], serde_json::json!({ "node": 2, "for_ms": 5000 }));
    }
}

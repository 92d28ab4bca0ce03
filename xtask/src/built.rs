//! Everything is built once; then the test executables are started without cargo in between.

use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// An executable with tests, and the directory of its crate, where it runs.
struct Tests {
    executable: PathBuf,
    home: PathBuf,
}

impl Tests {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.home).env("CARGO_MANIFEST_DIR", &self.home);
        command
    }
}

/// What the step `build` of `cargo xtask test` builds.
pub struct Built(BTreeMap<String, Tests>);

impl Built {
    /// # Errors
    /// If it does not compile.
    pub fn new() -> Result<Self> {
        let what = ["build", "--workspace", "--all-targets", "--locked"];
        let mut cargo = run::cargo(&what);
        let cargo = cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
        let output = cargo.output().context("cannot start cargo")?;
        if !output.status.success() {
            bail!("failed ({}): cargo {}", output.status, what.join(" "));
        }
        let messages = std::str::from_utf8(&output.stdout)?.lines().map(serde_json::from_str::<Value>);
        Ok(Built(messages.filter_map(|message| tests(&message.ok()?)).collect()))
    }

    /// Runs one test of a target: `crate/target`, or `crate` for a library's own, by the crate's directory.
    ///
    /// # Errors
    /// If there is no such target.
    pub fn test(&self, target: &str, name: &str) -> Result<Command> {
        let tests = self.0.get(target).with_context(|| format!("there are no tests called {target}"))?;
        let mut command = tests.command();
        command.args(["--exact", name]);
        Ok(command)
    }

    /// All tests of each target, under its name.
    pub fn all(&self) -> impl Iterator<Item = (&str, Command)> {
        self.0.iter().map(|(name, tests)| (name.as_str(), tests.command()))
    }

    pub fn simulator(&self) -> Command {
        Command::new(run::target_dir().join("debug/quorate-sim"))
    }
}

/// What cargo says of an executable with tests, under its name.
fn tests(message: &Value) -> Option<(String, Tests)> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    let home = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    let crate_name = home.file_name()?.to_str()?;
    let of_library = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "lib");
    let target = message["target"]["name"].as_str()?;
    let name = if of_library { crate_name.to_owned() } else { format!("{crate_name}/{target}") };
    Some((name, Tests { executable, home }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn executables_with_tests_are_called_by_crate_and_target() {
        let message = |kind: &str, test: bool| {
            json!({
                "reason": "compiler-artifact", "manifest_path": "/w/shard-server/Cargo.toml",
                "target": {"kind": [kind], "name": "cluster"}, "profile": {"test": test}, "executable": "/t/x-1",
            })
        };
        let name = |kind, test| super::tests(&message(kind, test)).map(|(name, _)| name);
        assert_eq!(name("test", true).as_deref(), Some("shard-server/cluster"));
        assert_eq!(name("lib", true).as_deref(), Some("shard-server"));
        assert_eq!(name("bin", false), None);
    }
}

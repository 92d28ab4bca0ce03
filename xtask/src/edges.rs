//! Which crate may use which: read off `cargo metadata`, every other edge is an error.

use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Crate → crates of ours that it may name. What stands for each layer is told in ARCHITECTURE.md.
const ALLOWED: &[(&str, &[&str])] = &[
    ("workspace-hack", &[]),
    ("quorate-proto", &["workspace-hack"]),
    ("quorate-env", &["quorate-proto"]),
    ("quorate-storage", &["quorate-proto", "quorate-env"]),
    ("quorate-consensus", &["quorate-proto", "quorate-env", "quorate-storage"]),
    ("quorate-placement", &["quorate-proto", "quorate-env", "quorate-storage", "quorate-consensus"]),
    ("quorate-shard-server", &["quorate-proto", "quorate-env", "quorate-storage", "quorate-consensus"]),
    ("quorate-txn", &["quorate-proto", "quorate-env"]),
    ("quorate-sql", &["quorate-proto", "quorate-env", "quorate-txn"]),
    ("quorate-bench", &["quorate-proto", "quorate-env"]),
    ("quorate-check", &["workspace-hack"]),
    (
        "quorate-sim",
        &[
            "quorate-proto",
            "quorate-env",
            "quorate-storage",
            "quorate-consensus",
            "quorate-placement",
            "quorate-shard-server",
            "quorate-txn",
            "quorate-check",
        ],
    ),
    (
        "quorate",
        &[
            "quorate-proto",
            "quorate-env",
            "quorate-storage",
            "quorate-consensus",
            "quorate-placement",
            "quorate-shard-server",
            "quorate-txn",
            "quorate-sql",
            "quorate-bench",
            "quorate-check",
        ],
    ),
    ("xtask", &[]),
];

/// Libraries that belong to one crate alone.
const OWNED: &[(&str, &str)] = &[
    ("openraft", "quorate-consensus"),
    ("rocksdb", "quorate-storage"),
    ("datafusion", "quorate-sql"),
    ("sqlparser", "quorate-sql"),
];

pub fn check() -> Result<()> {
    let output = run::cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let wrong = violations(&serde_json::from_slice(&output.stdout)?)?;
    if !wrong.is_empty() {
        bail!("edges that ARCHITECTURE.md does not have:\n  {}", wrong.join("\n  "));
    }
    println!("{} crates, every edge allowed", ALLOWED.len());
    Ok(())
}

fn violations(metadata: &Value) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = package["name"].as_str().context("a package without a name")?;
        let Some((_, allowed)) = ALLOWED.iter().find(|(of, _)| *of == name) else {
            wrong.push(format!("{name}: not in the table of xtask/src/edges.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("no dependencies")? {
            let used = dependency["name"].as_str().unwrap_or_default();
            let ours = ALLOWED.iter().any(|(of, _)| *of == used);
            let foreign = OWNED.iter().any(|(library, owner)| *library == used && *owner != name);
            if (ours && !allowed.contains(&used)) || foreign {
                wrong.push(format!("{name} → {used}"));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_workspace_keeps_its_edges() {
        check().unwrap();
    }

    #[test]
    fn a_wrong_edge_is_found() {
        let bad = json!({"packages": [
            {"name": "quorate-txn", "dependencies": [{"name": "quorate-shard-server"}, {"name": "bytes"}]},
            {"name": "quorate-env", "dependencies": [{"name": "openraft"}]},
        ]});
        assert_eq!(
            violations(&bad).unwrap(),
            ["quorate-txn → quorate-shard-server", "quorate-env → openraft"]
        );
    }
}

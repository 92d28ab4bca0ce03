//! Protocol behaviour as readable scripts: `testdata/*.txt`, each with its whole trace beside the commands.
//!
//! A script is blocks of commands, `---`, and what they print, up to an empty line. `QUORATE_REWRITE=1 cargo test` writes
//! what was printed back into the files. The commands are told in `world.rs`.

mod show;
mod world;

use quorate_env::sim::{SimConfig, SimWorld};
use std::{fmt::Write, fs, path::PathBuf, time::Duration};
use world::World;

struct Block {
    /// Comments and commands, as they stand.
    input: Vec<String>,
    expected: String,
}

fn parse(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut input = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line != "---" {
            input.push(line.to_owned());
            continue;
        }
        let mut expected = String::new();
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            let _ = writeln!(expected, "{line}");
        }
        blocks.push(Block { input: std::mem::take(&mut input), expected });
    }
    assert!(input.iter().all(|line| line.is_empty()), "commands without `---` at the end");
    blocks
}

fn run(path: &PathBuf) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let blocks = parse(&text);
    let inputs: Vec<Vec<String>> = blocks.iter().map(|block| block.input.clone()).collect();
    let config = SimConfig {
        clock_bound: Duration::from_millis(1),
        clock_skew: Duration::ZERO,
        clock_drift_ppm: 0,
        shake: 0.0,
        ..SimConfig::new(7)
    };
    let outcome = SimWorld::run(config, |sim| async move {
        let mut world = World::start(sim).await;
        let mut outputs = Vec::new();
        for input in inputs {
            outputs.push(world.block(&input).await);
        }
        outputs
    });
    let outputs = outcome.map_err(|error| format!("{}: {error}", path.display()))?.value;
    let mut rewritten = String::new();
    for (block, output) in blocks.iter().zip(&outputs) {
        for line in &block.input {
            let _ = writeln!(rewritten, "{line}");
        }
        let _ = writeln!(rewritten, "---\n{output}");
    }
    if std::env::var_os("QUORATE_REWRITE").is_some() {
        return fs::write(path, rewritten.trim_end().to_owned() + "\n").map_err(|e| e.to_string());
    }
    for (block, output) in blocks.iter().zip(&outputs) {
        if block.expected != *output {
            return Err(format!(
                "{}:\n{}\nexpected:\n{}\ngot:\n{output}",
                path.display(),
                block.input.join("\n"),
                block.expected
            ));
        }
    }
    Ok(())
}

#[test]
fn scripts() {
    let dir = PathBuf::from("testdata");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let only = std::env::var("QUORATE_SCRIPT").unwrap_or_default();
    let failures: Vec<_> = paths
        .iter()
        .filter(|path| {
            path.extension().is_some_and(|e| e == "txt") && path.display().to_string().contains(&only)
        })
        .filter_map(|path| run(path).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

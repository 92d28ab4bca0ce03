//! `quorate sql`: what it says to a person in front of a terminal, and what not to a script.

mod support;

use std::process::{Command, Output};
use support::{Demo, binary};

const SAID: &str = "waiting for the statement's end … 1 s";

/// Standard output goes to a file; standard error is a terminal, and comes back as the output of `script`.
fn on_a_terminal(demo: &Demo, sql: &str) -> (String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("out");
    let shell = format!("'{}' sql --url '{}' -c '{sql}'", binary().display(), demo.url(1));
    let output = Command::new("script")
        .args(["-qec", &format!("{shell} >'{}'", file.display()), "/dev/null"])
        .output()
        .expect("`script` is installed");
    assert!(output.status.success(), "{output:?}");
    (std::fs::read_to_string(file).expect("standard output"), String::from_utf8(output.stdout).expect("text"))
}

fn in_a_script(demo: &Demo, sql: &str) -> Output {
    Command::new(binary()).args(["sql", "--url", &demo.url(1), "-c", sql]).output().expect("the shell runs")
}

#[test]
fn a_statement_that_takes_long_is_told_on_a_terminal_only() {
    let demo = Demo::start();
    let (rows, said) = on_a_terminal(&demo, "select pg_sleep(2), 42 as answer");
    assert_eq!(said.trim_end(), SAID);
    assert!(rows.contains("42") && !rows.contains("waiting"), "{rows}");
    let (_, said) = on_a_terminal(&demo, "select 1");
    assert_eq!(said, "");

    let output = in_a_script(&demo, "select pg_sleep(2), 42 as answer");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), rows);
}

//! Faults whose issuers stay, and what demos must have for some of them.

use super::{Demo, binary, tools::command};
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

/// A fault that has begun and whose issuer stays.
pub async fn begin(demo: &Demo, arguments: &[&str]) -> Child {
    let all = [&["fault"][..], arguments, &["--data", demo.data()]].concat();
    let mut issuer = command(&all).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(issuer.stdout.as_mut().unwrap()).lines();
    let line = said.next_line().await.unwrap().unwrap();
    assert!(line.ends_with(" begins"), "{line}");
    issuer
}

/// Whether what these options of `quorate demo` need is here; if not, the test is left out.
pub fn refused(options: &[&str]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let all = [&["demo", "--background", "--base-port-offset", "60000", "--data", path], options].concat();
    let output = std::process::Command::new(binary()).args(all).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let missing = said.contains("needs what is missing here");
    if missing {
        eprintln!("SKIPPED: {said}");
    }
    missing
}

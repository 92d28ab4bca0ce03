//! One seed, two processes: nothing may go wrong, and nothing may differ.

use std::process::{Command, Stdio};

#[test]
fn a_seed_passes_and_gives_the_same_trace_in_every_process() {
    let start = |verbose: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
        command.args(["--seed", "1"]).stdout(Stdio::piped()).stderr(Stdio::null());
        // Watching must not change the run either.
        if verbose {
            command.arg("--verbose").env("RUST_LOG", "info");
        }
        command.spawn().unwrap()
    };
    let outputs = [start(false), start(true)].map(|child| {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text
    });
    assert_eq!(outputs[0], outputs[1]);
    assert!(outputs[0].contains("trace hash: "), "{}", outputs[0]);
}

/// With parallel commit and without.
#[test]
fn a_gateway_may_die_at_every_step_of_a_commit() {
    let runs = ["1", "2"].map(|seed| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
        command.args(["--deaths", "--seed", seed]).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    });
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

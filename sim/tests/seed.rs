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

/// The steps of the plan: numbers, and what strikes.
fn steps(text: &str) -> Vec<(&str, &str)> {
    let steps = text.lines().filter_map(|line| line.split_once(". after "));
    steps.filter_map(|(number, rest)| Some((number.trim(), rest.split_once(": ")?.1))).collect()
}

#[test]
fn a_part_of_a_plan_is_the_same_twice_and_leaves_the_other_steps_as_they_were() {
    let whole = ["--seed", "1", "--plan"];
    let less = ["--seed", "1", "--without", "2-3,5", "--without-points", "--usual", "all", "--clients", "2"];
    let told = [&less[..], &["--timeline", "--key", "4003"]].concat();
    let start = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let [whole, one, other] = [start(&whole), start(&less), start(&told)].map(|child| {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text
    });
    // Telling what happens changes nothing.
    let (timeline, other): (Vec<&str>, Vec<&str>) = other.lines().partition(|line| line.starts_with('|'));
    assert_eq!(one.lines().collect::<Vec<_>>(), other);
    // The requests and entries that it tells of are about that key.
    let commits = timeline.iter().filter(|line| line.contains("record committed"));
    assert!(timeline.iter().any(|line| line.contains("keys 4003")), "{timeline:?}");
    assert!(commits.clone().all(|line| line.contains("4003")), "{commits:?}");
    assert!(one.contains("trace hash: "), "{one}");
    let mut expected = steps(&whole);
    assert!(expected.len() > 5, "{whole}");
    expected.retain(|(number, _)| !["2", "3", "5"].contains(number));
    assert_eq!(steps(&one), expected);
    assert!(one.contains("\nclients: 2\n"), "{one}");
    assert!(one.contains("\nfault points: \n"), "{one}");
}

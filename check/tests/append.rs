//! Histories made by hand: every anomaly is found, at the levels that forbid it, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test")]

use quorate_check::{
    append::{self, History, Op, Transaction},
    attempt::Outcome,
    finding::Anomaly::{self, *},
    level::Level::{self, *},
};
use std::{collections::BTreeMap, time::Duration};

fn key(name: &str) -> i64 {
    name.bytes().map(i64::from).sum()
}

fn list(text: &str) -> Vec<u64> {
    text.split(',').filter(|element| !element.is_empty()).map(|element| element.parse().unwrap()).collect()
}

/// A line for each transaction: `ok`, `failed` or `unknown`, perhaps `@begun-ended`, and what it did: `x+1` appends 1 to x,
/// `x=1,2` reads it. A line `last` has the lists in the end.
fn history(text: &str) -> History {
    let mut history = History::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let outcome = match words.remove(0) {
            "ok" => Outcome::Committed,
            "failed" => Outcome::Failed,
            "unknown" => Outcome::Unknown,
            "last" => {
                let lists = words.iter().map(|word| word.split_once('=').unwrap());
                history.last =
                    Some(lists.map(|(name, all)| (key(name), list(all))).collect::<BTreeMap<_, _>>());
                continue;
            }
            other => panic!("{other}"),
        };
        let times =
            words.first().and_then(|word| word.strip_prefix('@')).and_then(|times| times.split_once('-'));
        let (begun, ended) =
            times.map_or((0, 100), |(begun, ended)| (begun.parse().unwrap(), ended.parse().unwrap()));
        let did = words.iter().filter(|word| !word.starts_with('@')).map(|word| match word.split_once('+') {
            Some((name, element)) => Op::Append { key: key(name), element: element.parse().unwrap() },
            None => {
                let (name, read) = word.split_once('=').unwrap();
                Op::Read { key: key(name), list: list(read) }
            }
        });
        history.transactions.push(Transaction {
            client: 0,
            begun: Duration::from_secs(begun),
            ended: Duration::from_secs(ended),
            outcome,
            did: did.collect(),
        });
    }
    history
}

fn found(text: &str, level: Level, strict: bool) -> Vec<Anomaly> {
    let verdict = append::judge(&history(text), level, strict);
    let mut found: Vec<Anomaly> = verdict.findings.iter().map(|finding| finding.anomaly).collect();
    found.sort();
    found.dedup();
    found
}

/// What is found at each level, from the strongest to the weakest; real time does not matter.
fn at_levels(text: &str, expected: [&[Anomaly]; 3]) {
    for (level, expected) in Level::ALL.into_iter().zip(expected) {
        assert_eq!(found(text, level, false), expected, "{} of {text}", level.name());
        assert_eq!(found(text, level, true), expected, "strict {} of {text}", level.name());
    }
}

/// What is forbidden whatever the level.
fn always(text: &str, expected: &[Anomaly]) {
    at_levels(text, [expected; 3]);
}

#[test]
fn clean_histories_are_clean() {
    always("", &[]);
    always(
        "ok @0-9 x+1 y+2
         ok @0-9 x=1 y=2 x+3
         ok @0-9 x= y=
         unknown @0-9 y+4
         unknown @0-9 y+5
         failed @0-9 x+6 y=2,4
         ok @10-11 x=1,3 y=2,4 x+7 x=1,3,7
         last x=1,3,7 y=2,4",
        &[],
    );
}

#[test]
fn interleaved_writes() {
    always(
        "ok x+1 y+2
         ok x+3 y+4
         last x=1,3 y=4,2",
        &[DirtyWrite],
    );
    always(
        "ok x+1 x+2
         ok x+3
         last x=1,3,2",
        &[DirtyWrite],
    );
}

#[test]
fn what_failed_is_seen() {
    always(
        "failed x+1
         ok x=1",
        &[AbortedRead],
    );
    always(
        "failed x+1
         last x=1",
        &[AbortedRead],
    );
    always(
        "failed x+1
         failed x=1",
        &[],
    );
}

#[test]
fn half_of_a_transaction_is_seen() {
    let read_between = "ok x+1 x+2
         ok x=1
         last x=1,2";
    at_levels(
        read_between,
        [&[IntermediateRead, ReadSkew], &[IntermediateRead, ReadSkew], &[IntermediateRead]],
    );
    always(
        "ok x+1 x+2
         ok x=1,2
         last x=1,2",
        &[],
    );
}

#[test]
fn each_has_read_what_the_other_wrote() {
    always(
        "ok x+1 y=2
         ok y+2 x=1",
        &[CircularInformationFlow],
    );
}

#[test]
fn a_read_between_the_halves_of_another() {
    at_levels(
        "ok x+1 y+2
         ok x= y=2
         last x=1 y=2",
        [&[ReadSkew], &[ReadSkew], &[]],
    );
}

#[test]
fn an_update_upon_an_old_read() {
    at_levels(
        "ok x= x+1
         ok x= x+2
         last x=1,2",
        [&[LostUpdate], &[LostUpdate], &[]],
    );
    at_levels(
        "ok x= x+1
         ok x=1 x+3
         ok x= x+2
         last x=1,3,2",
        [&[LostUpdate], &[LostUpdate], &[]],
    );
}

#[test]
fn write_skew() {
    at_levels(
        "ok x= y+1
         ok y= x+2
         last x=2 y=1",
        [&[WriteSkew], &[], &[]],
    );
}

/// Two readers see two writes in different orders: each has a snapshot, and they do not fit each other.
#[test]
fn a_long_fork() {
    at_levels(
        "ok x+1
         ok y+2
         ok x=1 y=
         ok x= y=2
         last x=1 y=2",
        [&[NonadjacentCycle], &[NonadjacentCycle], &[]],
    );
}

#[test]
fn the_read_only_transaction_anomaly_is_allowed_by_snapshots() {
    at_levels(
        "ok x= y= x+1
         ok y= y+2
         ok y=2 x=
         last x=1 y=2",
        [&[WriteSkew], &[], &[]],
    );
}

#[test]
fn an_acknowledged_write_is_gone() {
    always(
        "ok x+1
         ok x+2
         last x=2",
        &[LostWrite],
    );
    always(
        "ok x+1
         last",
        &[LostWrite],
    );
}

#[test]
fn half_of_an_unknown_transaction_is_there() {
    always(
        "unknown x+1 y+2
         last x=1",
        &[LostWrite],
    );
    always(
        "unknown x+1 y+2
         last x=1 y=2",
        &[],
    );
    always(
        "unknown x+1 y+2
         last",
        &[],
    );
}

/// Who was seen has taken effect, and with it what it has itself seen.
#[test]
fn what_is_seen_of_the_unknown_counts() {
    at_levels(
        "unknown x= y+1
         ok y= x+2
         last x=2 y=1",
        [&[WriteSkew], &[], &[]],
    );
    always(
        "unknown x= y+1
         ok y= x+2
         last x=2",
        &[],
    );
    always(
        "unknown x+1
         unknown x=1 y+2
         ok y=2
         last y=2",
        &[LostWrite, IncompatibleOrders],
    );
}

#[test]
fn twice() {
    always(
        "ok x+1
         ok x+2
         last x=1,2,1",
        &[DuplicateWrite],
    );
}

#[test]
fn from_nowhere() {
    always("ok x=7", &[ValueFromNowhere]);
    always("last x=7", &[ValueFromNowhere]);
}

#[test]
fn orders_that_do_not_fit() {
    always(
        "ok x+1
         ok x+2
         ok x=1,2
         ok x=2
         last x=1,2",
        &[IncompatibleOrders],
    );
    always(
        "ok x+1
         ok x+2
         ok x=2,1
         last x=1",
        &[LostWrite, IncompatibleOrders],
    );
}

#[test]
fn own_writes() {
    always(
        "ok x+1 x=
         last x=1",
        &[OwnWriteMissing],
    );
    always(
        "ok x+1 x+2 x=1
         last x=1,2",
        &[OwnWriteMissing],
    );
    always(
        "ok x+1
         ok x+2 x=1,2 x+3 x=1,2,3
         last x=1,2,3",
        &[],
    );
}

#[test]
fn real_time_binds_strict_serializable_only() {
    let stale = "ok @0-1 x+1
         ok @2-3 x=
         last x=1";
    assert_eq!(found(stale, Serializable, true), [StaleRead]);
    assert_eq!(found(stale, Serializable, false), []);
    assert_eq!(found(stale, RepeatableRead, true), []);
    assert_eq!(found(stale, ReadCommitted, true), []);
    let overlapping = stale.replace("@2-3", "@1-3");
    assert_eq!(found(&overlapping, Serializable, true), []);
    let unknown = stale.replace("ok @0-1", "unknown @0-1");
    assert_eq!(found(&unknown, Serializable, true), [], "nobody was answered");
    // The order of unrelated writes was seen by a third.
    let skipped = "ok @0-1 x+1
         ok @2-3 y+2
         ok @0-9 x= y=2
         last x=1 y=2";
    assert_eq!(found(skipped, Serializable, true), [ReadSkew]);
    assert_eq!(found(skipped, Serializable, false), []);
}

/// Who overlap one another both precede what begins behind them.
#[test]
fn all_that_were_answered_precede() {
    for ended in ["5", "7"] {
        let stale = format!(
            "ok @0-{ended} x+1
             ok @1-6 y+2
             ok @8-9 x=
             last x=1 y=2"
        );
        assert_eq!(found(&stale, Serializable, true), [StaleRead]);
    }
}

/// Precedence goes through those in between.
#[test]
fn real_time_is_transitive() {
    let late = "ok @0-1 x+1
         ok @2-3 y+1
         ok @2-9 z+1
         ok @4-5 y=1
         ok @10-11 x=
         last x=1 y=1 z=1";
    assert_eq!(found(late, Serializable, true).len(), 1);
    assert_eq!(found(late, Serializable, false), []);
}

#[test]
fn the_story_names_the_smallest_cycle_edge_by_edge() {
    let skew = "ok x= y+1 z+3
         ok y= x+2
         ok z=3 w+4
         ok w=4 y=1
         last x=2 y=1 z=3 w=4";
    let verdict = append::judge(&history(skew), Serializable, false);
    assert_eq!(verdict.findings.len(), 1);
    let finding = &verdict.findings[0];
    assert_eq!(finding.headline(), "G2-item, write skew");
    assert_eq!(finding.transactions, [0, 1]);
    assert_eq!(
        finding.story,
        [
            "T0 → T1 (rw): T0 has read key 120 without 2, which T1 appended next",
            "T1 → T0 (rw): T1 has read key 121 without 1, which T0 appended next",
            "T0 (client 0, 0.000000 s to 100.000000 s, committed): read 120: []; append 1 to 121; append 3 to 122",
            "T1 (client 0, 0.000000 s to 100.000000 s, committed): read 121: []; append 2 to 120",
        ]
    );
}

#[test]
fn what_a_level_allows_is_counted() {
    let skew = "ok x= y+1
         ok y= x+2
         last x=2 y=1";
    let allowed = |level| append::judge(&history(skew), level, false).allowed;
    assert_eq!(Level::ALL.map(allowed), [0, 1, 1]);
}

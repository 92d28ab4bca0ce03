//! What a check says: in words for people, as JSON for programs.

use crate::{
    append,
    attempt::{Attempt, Outcome},
    finding::{Anomaly, Finding},
    level::Level,
    register,
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// More findings than these of one sort in a run are counted, and not told.
const TOLD: usize = 3;

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Lists that are appended to and read: cycles of dependencies, in the manner of Elle
    ListAppend,
    /// Transfers between accounts: sums, and a ledger
    Bank,
    /// Single rows: linearizability
    Register,
}

impl Workload {
    pub const ALL: [Workload; 3] = [Workload::ListAppend, Workload::Bank, Workload::Register];

    pub fn name(self) -> &'static str {
        match self {
            Workload::ListAppend => "list-append",
            Workload::Bank => "bank",
            Workload::Register => "register",
        }
    }
}

/// One workload at one level.
#[derive(Debug, Serialize)]
pub struct Section {
    pub workload: Workload,
    pub level: Level,
    pub committed: u64,
    pub failed: u64,
    pub unknown: u64,
    /// By SQLSTATE; the empty one is a lost connection.
    pub refusals: BTreeMap<String, u64>,
    /// What the judgement rests on.
    pub counts: BTreeMap<&'static str, u64>,
    pub findings: Vec<Finding>,
    /// Since the check began, in milliseconds.
    pub began_ms: u64,
    /// What ended in each second since then.
    pub pace: Vec<Second>,
}

/// Transactions that ended within one second.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Second {
    pub committed: u64,
    pub failed: u64,
    pub unknown: u64,
}

/// Something that was done to the cluster meanwhile; times in milliseconds since the check began.
#[derive(Debug, Clone, Serialize)]
pub struct Mark {
    pub what: String,
    pub from_ms: u64,
    pub to_ms: u64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub strict: bool,
    pub sections: Vec<Section>,
    pub left_out: Vec<String>,
    pub marks: Vec<Mark>,
}

impl Section {
    pub fn new<D>(
        workload: Workload,
        level: Level,
        began: Duration,
        attempts: &[Attempt<D>],
        refusals: BTreeMap<String, u64>,
    ) -> Self {
        let count = |outcome| attempts.iter().filter(|attempt| attempt.outcome == outcome).count() as u64;
        Section {
            workload,
            level,
            committed: count(Outcome::Committed),
            failed: count(Outcome::Failed),
            unknown: count(Outcome::Unknown),
            refusals,
            counts: BTreeMap::new(),
            findings: Vec::new(),
            began_ms: began.as_millis() as u64,
            pace: pace(attempts),
        }
    }

    pub fn lists(&mut self, verdict: append::Verdict) {
        self.counts = BTreeMap::from([
            ("keys", verdict.keys),
            ("ww", verdict.ww),
            ("wr", verdict.wr),
            ("rw", verdict.rw),
            ("real_time", verdict.real_time),
            ("knots_allowed", verdict.allowed),
        ]);
        self.findings = verdict.findings;
    }

    pub fn registers(&mut self, verdict: register::Verdict) {
        self.counts = BTreeMap::from([("keys", verdict.keys), ("undecided", verdict.undecided)]);
        self.findings = verdict.findings;
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// The run and what was found, in words.
    pub fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} at {}: {} transactions committed, {} failed, {} of unknown outcome",
            self.workload.name(),
            self.level.name(),
            self.committed,
            self.failed,
            self.unknown
        )];
        if !self.refusals.is_empty() {
            let name =
                |state: &str| if state.is_empty() { "connection lost".into() } else { state.to_owned() };
            let each: Vec<String> =
                self.refusals.iter().map(|(s, n)| format!("{} {n} times", name(s))).collect();
            lines.push(format!("  errors: {}", each.join(", ")));
        }
        lines.extend(self.rests_on().map(|what| format!("  {what}")));
        let mut met: BTreeMap<Anomaly, usize> = BTreeMap::new();
        for finding in &self.findings {
            let met = met.entry(finding.anomaly).or_default();
            *met += 1;
            if *met <= TOLD {
                lines.push(format!("  ANOMALY {}", finding.headline()));
                lines.extend(finding.story.iter().map(|line| format!("    {line}")));
            }
        }
        for (anomaly, count) in met.into_iter().filter(|(_, count)| *count > TOLD) {
            lines.push(format!("  in all {count} times: {}", anomaly.name()));
        }
        if self.findings.is_empty() {
            lines.push("  no anomaly".into());
        }
        lines.join("\n")
    }

    fn rests_on(&self) -> Option<String> {
        match self.workload {
            Workload::ListAppend => {
                let mut text = format!(
                    "{} keys; dependencies between transactions: {} ww, {} wr, {} rw, {} by real time",
                    self.count("keys"),
                    self.count("ww"),
                    self.count("wr"),
                    self.count("rw"),
                    self.count("real_time"),
                );
                if self.count("knots_allowed") > 0 {
                    let knots = self.count("knots_allowed");
                    text +=
                        &format!("; {knots} groups that no serial order explains, which this level allows");
                }
                Some(text)
            }
            Workload::Bank => None,
            Workload::Register => {
                let mut text = format!("{} keys", self.count("keys"));
                if self.count("undecided") > 0 {
                    text +=
                        &format!(", {} of them undecided: the search took too long", self.count("undecided"));
                }
                Some(text)
            }
        }
    }
}

impl Report {
    pub fn new(seed: u64, strict: bool) -> Self {
        Report { seed, strict, sections: Vec::new(), left_out: Vec::new(), marks: Vec::new() }
    }

    pub fn anomalies(&self) -> usize {
        self.sections.iter().map(|section| section.findings.len()).sum()
    }

    /// The runs that have shown nothing, since nothing was committed.
    pub fn empty(&self) -> Vec<String> {
        let empty = self.sections.iter().filter(|section| section.committed == 0);
        empty.map(|section| format!("{} at {}", section.workload.name(), section.level.name())).collect()
    }

    /// What is known after it.
    pub fn summary(&self) -> String {
        let mut lines: Vec<String> = self.left_out.iter().map(|why| format!("left out: {why}")).collect();
        lines.push(format!("seed {}", self.seed));
        if self.anomalies() > 0 {
            lines.push(
                "what these clients were told cannot be explained at the levels that were promised".into(),
            );
            return lines.join("\n");
        }
        for level in Level::ALL {
            if self.sections.iter().any(|section| section.level == level && section.committed > 0) {
                lines.push(format!("{}: {}", level.name(), meaning(level, self.strict)));
            }
        }
        lines.push(
            "This is evidence from the transactions above, and no proof for others: docs/checking.md".into(),
        );
        lines.join("\n")
    }
}

fn pace<D>(attempts: &[Attempt<D>]) -> Vec<Second> {
    let mut pace: Vec<Second> = Vec::new();
    for attempt in attempts {
        let at = attempt.ended.as_secs() as usize;
        if pace.len() <= at {
            pace.resize(at + 1, Second::default());
        }
        match attempt.outcome {
            Outcome::Committed => pace[at].committed += 1,
            Outcome::Failed => pace[at].failed += 1,
            Outcome::Unknown => pace[at].unknown += 1,
        }
    }
    pace
}

/// What no anomaly means.
fn meaning(level: Level, strict: bool) -> &'static str {
    match (level, strict) {
        (Level::Serializable, true) => {
            "all that was seen fits one serial order, in which every transaction follows those that were answered before it began"
        }
        (Level::Serializable, false) => "all that was seen fits one serial order",
        (Level::RepeatableRead, _) => {
            "all that was seen fits snapshot isolation: one snapshot each, and nobody overwrote what it had not seen"
        }
        (Level::ReadCommitted, _) => {
            "nobody saw what was not committed or not finished, and no acknowledged write is lost"
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn section(findings: usize) -> Section {
        let attempt =
            |outcome| Attempt { client: 0, begun: Duration::ZERO, ended: Duration::ZERO, outcome, did: () };
        let attempts =
            [Outcome::Committed, Outcome::Committed, Outcome::Failed, Outcome::Unknown].map(attempt);
        let refusals = BTreeMap::from([(String::new(), 1), ("40001".to_owned(), 1)]);
        let mut section =
            Section::new(Workload::Bank, Level::ReadCommitted, Duration::from_secs(3), &attempts, refusals);
        section.findings = vec![Finding::new(Anomaly::WrongSum, vec![0], vec!["T0 saw 5".into()]); findings];
        section
    }

    #[test]
    fn each_second_has_its_ends() {
        let ended = |millis, outcome| Attempt {
            client: 0,
            begun: Duration::ZERO,
            ended: Duration::from_millis(millis),
            outcome,
            did: (),
        };
        let attempts = [
            ended(10, Outcome::Committed),
            ended(2999, Outcome::Unknown),
            ended(999, Outcome::Committed),
            ended(2000, Outcome::Failed),
        ];
        let seconds: Vec<_> =
            pace(&attempts).iter().map(|second| (second.committed, second.failed, second.unknown)).collect();
        assert_eq!(seconds, [(2, 0, 0), (0, 0, 0), (0, 1, 1)]);
    }

    #[test]
    fn a_clean_run_in_words() {
        let expected = "bank at read-committed: 2 transactions committed, 1 failed, 1 of unknown outcome\n  \
            errors: connection lost 1 times, 40001 1 times\n  no anomaly";
        assert_eq!(section(0).text(), expected);
    }

    #[test]
    fn a_few_findings_are_told_and_all_are_counted() {
        let text = section(7).text();
        assert_eq!(text.matches("ANOMALY a sum that no snapshot has\n    T0 saw 5").count(), 3);
        assert!(text.ends_with("  in all 7 times: a sum that no snapshot has"), "{text}");
        let mut report = Report::new(1, true);
        report.sections.push(section(7));
        assert_eq!((report.anomalies(), report.empty().len()), (7, 0));
        assert!(!report.summary().contains("evidence"), "{}", report.summary());
    }

    #[test]
    fn where_nothing_was_committed_nothing_is_shown() {
        let mut report = Report::new(1, true);
        report.sections.push(Section { committed: 0, ..section(0) });
        assert_eq!(report.empty(), ["bank at read-committed"]);
        assert!(!report.summary().contains("read-committed:"));
    }
}

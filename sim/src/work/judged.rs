//! Between what a simulated client was told and the checkers that ship to users.

use super::ground::Told;
use quorate_check::{attempt::Outcome, finding::Finding};

pub fn outcome(told: Told) -> Outcome {
    match told {
        Told::Committed(_) => Outcome::Committed,
        Told::Failed => Outcome::Failed,
        Told::Unknown => Outcome::Unknown,
    }
}

pub fn problems(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{}: {:?}", finding.headline(), finding.story)).collect()
}

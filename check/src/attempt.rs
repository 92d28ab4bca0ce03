//! What a client has tried, and what it was told.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// It has not happened, and never will.
    Failed,
    /// It has happened, or will, or never will: the answer was lost, or said that nobody knows.
    Unknown,
}

/// One transaction of one client. Times are those of the checker's own clock, from the start of the run.
#[derive(Clone, Debug)]
pub struct Attempt<D> {
    pub client: usize,
    pub begun: Duration,
    pub ended: Duration,
    pub outcome: Outcome,
    pub did: D,
}

impl<D> Attempt<D> {
    /// Who, when and how it ended, in words.
    pub fn told(&self) -> String {
        let (begun, ended) = (self.begun.as_secs_f64(), self.ended.as_secs_f64());
        let outcome = match self.outcome {
            Outcome::Committed => "committed",
            Outcome::Failed => "failed",
            Outcome::Unknown => "outcome unknown",
        };
        format!("client {}, {begun:.6} s to {ended:.6} s, {outcome}", self.client)
    }
}

//! What was found wrong, in words.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anomaly {
    DirtyWrite,
    AbortedRead,
    IntermediateRead,
    CircularInformationFlow,
    LostUpdate,
    ReadSkew,
    StaleRead,
    NonadjacentCycle,
    WriteSkew,
    OwnWriteMissing,
    ValueFromNowhere,
    DuplicateWrite,
    LostWrite,
    IncompatibleOrders,
    WrongSum,
    WrongBalance,
    NotLinearizable,
}

impl Anomaly {
    /// With the name that the literature has for it.
    pub fn name(self) -> &'static str {
        match self {
            Anomaly::DirtyWrite => "G0, dirty write",
            Anomaly::AbortedRead => "G1a, what failed is there",
            Anomaly::IntermediateRead => "G1b, intermediate read",
            Anomaly::CircularInformationFlow => "G1c, circular information flow",
            Anomaly::LostUpdate => "lost update",
            Anomaly::ReadSkew => "G-single, read skew",
            Anomaly::StaleRead => "stale read",
            Anomaly::NonadjacentCycle => "G-nonadjacent, no snapshot explains it",
            Anomaly::WriteSkew => "G2-item, write skew",
            Anomaly::OwnWriteMissing => "own write missing",
            Anomaly::ValueFromNowhere => "a value that nobody wrote",
            Anomaly::DuplicateWrite => "a write that happened twice",
            Anomaly::LostWrite => "an acknowledged write is lost",
            Anomaly::IncompatibleOrders => "incompatible orders",
            Anomaly::WrongSum => "a sum that no snapshot has",
            Anomaly::WrongBalance => "a balance that the ledger does not explain",
            Anomaly::NotLinearizable => "not linearizable",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub anomaly: Anomaly,
    /// It is one only because some transactions were answered before others began.
    pub real_time: bool,
    /// Places of the transactions in the history.
    pub transactions: Vec<usize>,
    pub story: Vec<String>,
}

impl Finding {
    pub fn new(anomaly: Anomaly, transactions: Vec<usize>, story: Vec<String>) -> Self {
        Finding { anomaly, real_time: false, transactions, story }
    }

    pub fn headline(&self) -> String {
        format!("{}{}", self.anomaly.name(), if self.real_time { " (by real time)" } else { "" })
    }
}

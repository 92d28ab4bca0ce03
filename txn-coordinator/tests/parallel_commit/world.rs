//! What there is: two keys in two shards, the record beside the first, one transaction's coordinator, and at most one
//! recovery at a time.

pub type Ts = u8;

pub const KEYS: usize = 2;
/// The key beside which the record stands.
pub const ANCHOR: usize = 0;

/// How much may happen, so that there is an end to it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub attempts: u8,
    /// Of one request, that the coordinator sends.
    pub copies: u8,
    /// Others read up to this time, and write one above it at most.
    pub others: Ts,
    /// Whether the record is removed some time.
    pub removal: bool,
}

/// The timestamp that an attempt asks for.
pub const fn asked(attempt: u8) -> Ts {
    attempt + 1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Committed(Ts),
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    Absent,
    Staging {
        attempt: u8,
    },
    Final(Outcome),
    /// Removed, or there never was one; and none will be.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Intent {
    pub attempt: u8,
    pub ts: Ts,
}

/// One key, on the leader of its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    pub intent: Option<Intent>,
    /// The transaction's own version.
    pub version: Option<Ts>,
    /// The newest version of anybody else.
    pub foreign: Ts,
    /// The timestamp cache: writes go above it.
    pub noted: Ts,
    /// The latest read by somebody else that found nothing of this transaction.
    pub missed: Ts,
    /// An intent was removed because the transaction is aborted.
    pub aborted: bool,
}

/// What a shard says to a prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    Prepared(Ts),
    /// Nothing was done, for a reason that is not this transaction's own doing.
    Refused,
    /// Perhaps an earlier copy has done all there was to do.
    Unclear,
}

/// The coordinator's view of one part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Part {
    pub copies: u8,
    pub answer: Option<Answer>,
}

/// A request or an answer under way. What is never delivered is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    /// `nth`: of so many copies.
    Prepare {
        key: usize,
        attempt: u8,
        nth: u8,
    },
    Answered {
        key: usize,
        attempt: u8,
        answer: Answer,
    },
    Decide {
        attempt: u8,
        outcome: Outcome,
    },
    Decided(Outcome),
}

/// Whoever meets an intent has the anchor's leader find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recovery {
    pub attempt: u8,
    /// Whether a key held its intent.
    pub found: [Option<bool>; KEYS],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub places: [Place; KEYS],
    pub record: Record,
    pub attempt: u8,
    pub parts: [Part; KEYS],
    pub deciding: bool,
    /// What the client was told.
    pub told: Option<Outcome>,
    pub recovery: Option<Recovery>,
    /// A recovery has decided.
    pub recovered: Option<Outcome>,
    /// It was committed at some moment, whoever knew it.
    pub was_committed: Option<Ts>,
    pub messages: std::collections::BTreeSet<Message>,
}

impl World {
    pub fn new() -> Self {
        World {
            places: Default::default(),
            record: Record::Absent,
            attempt: 0,
            parts: Default::default(),
            deciding: false,
            told: None,
            recovery: None,
            recovered: None,
            was_committed: None,
            messages: Default::default(),
        }
    }

    /// Every key holds its intent of the attempt, at or below what it asked for.
    pub fn all_stand(&self, attempt: u8) -> bool {
        self.places.iter().all(|place| place.stands(attempt))
    }

    /// The transaction is committed, whoever knows it.
    pub fn is_committed(&self) -> Option<Ts> {
        match self.record {
            Record::Final(Outcome::Committed(ts)) => Some(ts),
            Record::Staging { attempt } if self.all_stand(attempt) => Some(asked(attempt)),
            Record::Gone => self.was_committed,
            _ => None,
        }
    }
}

impl Place {
    pub fn stands(&self, attempt: u8) -> bool {
        self.intent.is_some_and(|intent| intent.attempt == attempt && intent.ts <= asked(attempt))
    }
}

//! What a text says, sorted by who carries it out.

use crate::error::SqlError;
use quorate_proto::placement::ExplainPlacement;
use quorate_txn::Isolation;
use sqlparser::ast::{self, Expr, ObjectName};
use std::ops::Range;

/// One statement of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub command: Command,
    /// Where it stands in the text, in bytes.
    pub range: Range<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    pub isolation: Option<Level>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
    pub as_of: Option<AsOf>,
    pub idempotency_key: Option<String>,
}

/// What stands behind `AS OF SYSTEM TIME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// A timestamp, a negative interval or a number, as text.
    Text(String),
    /// From 1.
    Parameter(usize),
}

/// Isolation levels as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Level {
    const ALL: [Level; 4] =
        [Level::ReadUncommitted, Level::ReadCommitted, Level::RepeatableRead, Level::Serializable];

    /// As settings have it.
    pub fn name(self) -> &'static str {
        match self {
            Level::ReadUncommitted => "read uncommitted",
            Level::ReadCommitted => "read committed",
            Level::RepeatableRead => "repeatable read",
            Level::Serializable => "serializable",
        }
    }

    pub fn of_name(name: &str) -> Option<Level> {
        Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }

    /// As the transaction runs: nothing uncommitted is ever shown.
    pub fn isolation(self) -> Isolation {
        match self {
            Level::ReadUncommitted | Level::ReadCommitted => Isolation::ReadCommitted,
            Level::RepeatableRead => Isolation::RepeatableRead,
            Level::Serializable => Isolation::Serializable,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    All,
    Plans,
    Sequences,
    Temp,
}

/// A statement, sorted by who carries it out.
#[derive(Clone, Debug)]
pub enum Command {
    Statement(Box<ast::Statement>),
    /// A query, or `EXPLAIN` of one, `AS OF SYSTEM TIME`.
    Past(Box<ast::Statement>, AsOf),
    /// With the tag that answers it.
    Begin(Modes, &'static str),
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    SetTransaction(Modes),
    SetCharacteristics(Modes),
    /// No value: `DEFAULT`.
    Set {
        local: bool,
        name: String,
        value: Option<Vec<String>>,
    },
    Reset(String),
    ResetAll,
    Show(String),
    ShowAll,
    ShowShards(ObjectName),
    ShowEvidence(String),
    SplitAt {
        table: ObjectName,
        rows: Vec<Vec<Expr>>,
    },
    /// None: wherever it is split.
    Unsplit {
        table: ObjectName,
        rows: Option<Vec<Vec<Expr>>>,
    },
    Scatter(ObjectName),
    /// None: what was asked for is taken back.
    ConfigurePlacement {
        table: ObjectName,
        options: Option<Vec<PlacementOption>>,
    },
    ShowPlacement(ObjectName),
    ExplainPlacement(ExplainPlacement),
    Discard(Discard),
    /// None: all of them.
    Deallocate(Option<String>),
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        statement: Box<ast::Statement>,
        body: Range<usize>,
    },
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// `VACUUM` or `ANALYZE`, with the tables named.
    Maintenance {
        vacuum: bool,
        tables: Vec<ObjectName>,
    },
    Checkpoint,
    Copy(Box<Copy>),
    Declare(Declare),
    Fetch(Fetch),
    /// None: all of them.
    Close(Option<String>),
    AlterSequence(AlterSequence),
    /// Nothing can be listened to, so there is nothing to end.
    Unlisten,
    /// A statement of PostgreSQL's, by its name, that is not carried out.
    Refused(String),
    /// Its grammar is right, what it says is not.
    Wrong(Box<SqlError>),
}

impl Command {
    /// It is about data or the schema, and not only about the session.
    pub fn reaches_beyond_session(&self) -> bool {
        matches!(
            self,
            Command::Statement(_)
                | Command::AlterSequence(_)
                | Command::SplitAt { .. }
                | Command::Unsplit { .. }
                | Command::Scatter(_)
                | Command::ConfigurePlacement { .. }
                | Command::ShowPlacement(_)
                | Command::ExplainPlacement(_)
                | Command::ShowShards(_)
                | Command::Maintenance { .. }
        )
    }
}

/// One of `CONFIGURE PLACEMENT (…)`. No value: `DEFAULT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementOption {
    pub name: String,
    pub value: Option<String>,
}

/// `DECLARE name CURSOR FOR query`.
#[derive(Clone, Debug)]
pub struct Declare {
    pub name: String,
    pub binary: bool,
    pub scroll: bool,
    pub hold: bool,
    pub statement: Box<ast::Statement>,
    /// Where the query stands in the text, in bytes.
    pub body: Range<usize>,
}

/// `FETCH` or `MOVE`.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub moves: bool,
    pub direction: Direction,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward(u64),
    All,
    /// Anything that may go back, or start anew.
    Back,
}

/// `ALTER SEQUENCE name RESTART`; no value: where it started.
#[derive(Clone, Debug)]
pub struct AlterSequence {
    pub name: ObjectName,
    pub if_exists: bool,
    pub restart: Option<i64>,
}

/// `COPY`.
#[derive(Clone, Debug)]
pub struct Copy {
    pub source: CopySource,
    /// FROM STDIN, or else TO STDOUT.
    pub from: bool,
    pub options: CopyOptions,
}

#[derive(Clone, Debug)]
pub enum CopySource {
    /// No columns named: all.
    Table(ObjectName, Vec<String>),
    Query(Box<ast::Query>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    pub csv: bool,
    pub delimiter: u8,
    pub null: String,
    pub header: bool,
    pub quote: u8,
    pub escape: u8,
    pub freeze: bool,
}

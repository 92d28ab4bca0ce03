//! The running states of our aggregates, and their dress as DataFusion accumulators.
//!
//! A state is saved for merging as one blob. Sums of integers are kept in 128 bits and checked at the end; sums of numerics are
//! exact; floats add as PostgreSQL's transition functions do, in the order of the rows.
mod adapter;
mod collect;
mod logic;
mod spread;
mod sums;

pub use adapter::Place;
pub(crate) use adapter::{Adapter, Distinct, Replay};

use crate::types::{Datum, Interval, Numeric, PgType};
use crate::{Result, SqlError};
use std::fmt::Debug;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Sum,
    Avg,
    VarSamp,
    VarPop,
    StddevSamp,
    StddevPop,
    Min,
    Max,
    Every,
    Any,
    BitAnd,
    BitOr,
    BitXor,
    StringAgg,
    BytesAgg,
    ArrayAgg,
}

/// A running aggregate over rows of values.
pub(crate) trait State: Send + Sync + Debug {
    fn add(&mut self, row: &[Datum]) -> Result<()>;
    /// Takes a row out again; only where [`State::can_retract`].
    fn retract(&mut self, _row: &[Datum]) -> Result<()> {
        Err(SqlError::internal("this aggregate cannot take rows out"))
    }
    fn can_retract(&self) -> bool {
        false
    }
    /// What [`State::merge`] of another instance takes.
    fn save(&self) -> Result<Vec<Datum>>;
    fn merge(&mut self, saved: &[Datum]) -> Result<()>;
    fn finish(&self) -> Result<Datum>;
    /// Bytes it holds that grow with the rows.
    fn held(&self) -> usize {
        0
    }
}

pub(crate) fn new_state(kind: Kind, params: &[PgType]) -> Box<dyn State> {
    let ty = params[0];
    let integer = ty.is_integer();
    match kind {
        Kind::Sum | Kind::Avg if integer => {
            Box::new(sums::IntSum { ty, avg: kind == Kind::Avg, sum: 0, count: 0 })
        }
        Kind::Sum | Kind::Avg if ty == PgType::Numeric => {
            Box::new(sums::NumericSum { avg: kind == Kind::Avg, sum: Numeric::zero(), count: 0 })
        }
        Kind::Sum | Kind::Avg if ty == PgType::Interval => {
            Box::new(sums::IntervalSum { avg: kind == Kind::Avg, sum: Interval::default(), count: 0 })
        }
        Kind::Sum | Kind::Avg => Box::new(sums::FloatSum { ty, avg: kind == Kind::Avg, sum: 0.0, count: 0 }),
        Kind::VarSamp | Kind::VarPop | Kind::StddevSamp | Kind::StddevPop => {
            if integer || ty == PgType::Numeric {
                Box::new(spread::ExactSpread {
                    kind,
                    count: 0,
                    sum: Numeric::zero(),
                    squares: Numeric::zero(),
                })
            } else {
                Box::new(spread::FloatSpread { kind, count: 0.0, sum: 0.0, spread: 0.0 })
            }
        }
        Kind::Min | Kind::Max => {
            Box::new(collect::Extreme { ty, greatest: kind == Kind::Max, best: Datum::Null })
        }
        Kind::Every | Kind::Any => {
            Box::new(logic::Truths { every: kind == Kind::Every, trues: 0, falses: 0 })
        }
        Kind::BitAnd => Box::new(logic::Bits { join: |a, b| a & b, bits: Datum::Null }),
        Kind::BitOr => Box::new(logic::Bits { join: |a, b| a | b, bits: Datum::Null }),
        Kind::BitXor => Box::new(logic::Bits { join: |a, b| a ^ b, bits: Datum::Null }),
        Kind::StringAgg => Box::new(collect::Joined { text: None }),
        Kind::BytesAgg => Box::new(collect::JoinedBytes { bytes: None }),
        Kind::ArrayAgg => Box::new(collect::Items { items: Vec::new(), bytes: 0 }),
    }
}

fn int(value: &Datum) -> Option<i128> {
    match value {
        Datum::Int2(v) => Some((*v).into()),
        Datum::Int4(v) => Some((*v).into()),
        Datum::Int8(v) => Some((*v).into()),
        _ => None,
    }
}

fn float(value: &Datum) -> Option<f64> {
    match value {
        Datum::Float4(v) => Some((*v).into()),
        Datum::Float8(v) => Some(*v),
        _ => None,
    }
}

fn exact(value: &Datum) -> Option<Numeric> {
    match value {
        Datum::Numeric(n) => Some(n.clone()),
        other => int(other).map(Numeric::from),
    }
}

fn bad_state() -> SqlError {
    SqlError::internal("malformed aggregate state")
}

//! Window functions: DataFusion's where they agree with PostgreSQL, and every aggregate.

use super::aggregate;
use super::cast::coercible;
use super::positioned::Positioned;
use super::resolve::no_function;
use crate::types::PgType;
use crate::{Result, SqlError, SqlState};
use datafusion::common::ScalarValue;
use datafusion::functions_window::{cume_dist, lead_lag, nth_value, rank, row_number};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{AggregateUDF, Expr, WindowUDF};
use std::sync::Arc;

/// A window function that was chosen: build `Expr::WindowFunction` from `body` and give it to `finish`.
#[derive(Clone, Debug)]
pub struct ResolvedWindow {
    pub arg_types: Vec<PgType>,
    pub result: PgType,
    pub body: WindowBody,
    /// Ours, where DataFusion's takes literals only.
    positioned: Option<Positioned>,
}

#[derive(Clone, Debug)]
pub enum WindowBody {
    Window(Arc<WindowUDF>),
    Aggregate(Arc<AggregateUDF>),
}

impl ResolvedWindow {
    /// What computes the window for these arguments, which have `arg_types`.
    pub fn body(&self, args: &[Expr]) -> WindowBody {
        match self.positioned {
            Some(kind) if !literal_position(kind, args) => WindowBody::Window(kind.udwf()),
            _ => self.body.clone(),
        }
    }

    /// Brings the window expression to `result`'s Arrow type (DataFusion counts in UInt64).
    pub fn finish(&self, window: Expr) -> Expr {
        match (&self.body, self.result) {
            (WindowBody::Window(_), PgType::Int8 | PgType::Int4) => {
                Expr::Cast(Cast::new(Box::new(window), self.result.arrow()))
            }
            _ => window,
        }
    }
}

const NAMES: [&str; 11] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether the name is only usable with `OVER`: 42809 `window function … requires an OVER clause` without.
pub fn requires_over(name: &str) -> bool {
    exists(name)
}

/// A function called with `OVER`: window functions proper and all aggregates. 42809 for a plain function
/// (`OVER specified, but … is not a window function nor an aggregate function`).
pub fn resolve_window(name: &str, args: &[PgType]) -> Result<ResolvedWindow> {
    if let Some(found) = aggregate::resolve_aggregate(name, args)? {
        return Ok(ResolvedWindow {
            arg_types: found.arg_types,
            result: found.result,
            body: WindowBody::Aggregate(found.udaf),
            positioned: None,
        });
    }
    if !exists(name) {
        return Err(if super::function_exists(name) {
            SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("OVER specified, but {name} is not a window function nor an aggregate function"),
            )
        } else {
            no_function(name, args)
        });
    }
    // An untyped literal as the value is text.
    let value = |ty: PgType| if ty == PgType::Unknown { PgType::Text } else { ty };
    let fits = |i: usize, ty: PgType| args.get(i).is_none_or(|a| coercible(*a, ty));
    let (udf, arg_types, result) = match (name, args) {
        ("row_number", []) => (row_number::row_number_udwf(), vec![], PgType::Int8),
        ("rank", []) => (rank::rank_udwf(), vec![], PgType::Int8),
        ("dense_rank", []) => (rank::dense_rank_udwf(), vec![], PgType::Int8),
        ("percent_rank", []) => (rank::percent_rank_udwf(), vec![], PgType::Float8),
        ("cume_dist", []) => (cume_dist::cume_dist_udwf(), vec![], PgType::Float8),
        ("ntile", [_]) if fits(0, PgType::Int4) => {
            (Positioned::Ntile.udwf(), vec![PgType::Int4], PgType::Int4)
        }
        ("lag" | "lead", [v, ..]) if args.len() <= 3 && fits(1, PgType::Int4) => {
            let result = match args.get(2) {
                Some(default) => super::common_type(&name.to_uppercase(), &[*v, *default])?,
                None => value(*v),
            };
            let udf = if name == "lag" { lead_lag::lag_udwf() } else { lead_lag::lead_udwf() };
            (udf, [result, PgType::Int4, result][..args.len()].to_vec(), result)
        }
        ("first_value", [v]) => (nth_value::first_value_udwf(), vec![value(*v)], value(*v)),
        ("last_value", [v]) => (nth_value::last_value_udwf(), vec![value(*v)], value(*v)),
        ("nth_value", [v, _]) if fits(1, PgType::Int4) => {
            (nth_value::nth_value_udwf(), vec![value(*v), PgType::Int4], value(*v))
        }
        _ => return Err(no_function(name, args)),
    };
    let positioned = match name {
        "lag" if args.len() > 1 => Some(Positioned::Lag),
        "lead" if args.len() > 1 => Some(Positioned::Lead),
        "nth_value" => Some(Positioned::NthValue),
        _ => None,
    };
    Ok(ResolvedWindow { arg_types, result, body: WindowBody::Window(udf), positioned })
}

/// Whether DataFusion's function takes these arguments, and answers as PostgreSQL does.
fn literal_position(kind: Positioned, args: &[Expr]) -> bool {
    let number = match args.get(1) {
        Some(Expr::Literal(ScalarValue::Int32(Some(number)), _)) => *number,
        _ => return false,
    };
    match kind {
        Positioned::Lag | Positioned::Lead => args.get(2).is_none_or(|d| matches!(d, Expr::Literal(..))),
        Positioned::NthValue | Positioned::Ntile => number > 0,
    }
}

//! Casts from and to arrays: through text, and element by element.

use super::super::casts::convert;
use super::super::catalog::{CastMethod, Options};
use super::super::kind::{Arg, Body};
use super::super::{CastContext, cast};
use super::{made, needs_zone};
use crate::types::{Category, Datum, PgType, datum_at, to_array};
use std::sync::Arc;

/// How a cast with an array at either end is done; `None` where there is none.
pub(crate) fn step(from: PgType, to: PgType, context: CastContext) -> Option<CastMethod> {
    match (from.element(), to.element()) {
        (Some(a), Some(b)) => elements(from, to, a, b, context),
        (None, Some(element)) => {
            let least = if from == PgType::Unknown { CastContext::Implicit } else { CastContext::Explicit };
            let text = from == PgType::Unknown || from.category() == Category::String;
            (text && context >= least).then(|| through_text(from, to, element))
        }
        (Some(element), None) => {
            let text = to.category() == Category::String && context >= CastContext::Assignment;
            text.then(|| through_text(from, to, element))
        }
        (None, None) => None,
    }
}

fn through_text(from: PgType, to: PgType, element: PgType) -> CastMethod {
    let name = format!("{}_from_{}", to.name(), from.name());
    let body = || -> Body { Arc::new(move |args: &[Arg], rows| convert(args, rows, from, to)) };
    let (function, udf) = made(&name, &[from], to, Options::hidden(needs_zone(element)), body);
    CastMethod::Udf(function, udf)
}

fn elements(from: PgType, to: PgType, a: PgType, b: PgType, context: CastContext) -> Option<CastMethod> {
    if to.is_vector() {
        return None;
    }
    let CastMethod::Udf(inner, _) = cast::step(a, b, context)? else { return Some(CastMethod::Relabel) };
    let name = format!("{}_from_{}", to.name(), from.name());
    let options = Options::hidden(inner.hidden.clone());
    let body = || -> Body {
        Arc::new(move |args: &[Arg], rows| {
            // All elements of all rows in one call.
            let mut flat = Vec::new();
            let mut lengths = Vec::with_capacity(rows);
            for row in 0..rows {
                match datum_at(args[0].array.as_ref(), args[0].row(row), from)? {
                    Datum::Array(items) => {
                        lengths.push(Some(items.len()));
                        flat.extend(items);
                    }
                    _ => lengths.push(None),
                }
            }
            let mut inner_args = vec![Arg { array: to_array(&flat, a)?, constant: false }];
            inner_args.extend(args[1..].iter().cloned());
            let cast = (inner.body)(&inner_args, flat.len())?;
            let mut at = 0;
            let mut out = Vec::with_capacity(rows);
            for length in lengths {
                let Some(length) = length else {
                    out.push(Datum::Null);
                    continue;
                };
                let items = (at..at + length).map(|i| datum_at(cast.as_ref(), i, b));
                out.push(Datum::Array(items.collect::<Result<_, _>>()?));
                at += length;
            }
            to_array(&out, to)
        })
    };
    let (function, udf) = made(&name, &[from], to, options, body);
    Some(CastMethod::Udf(function, udf))
}

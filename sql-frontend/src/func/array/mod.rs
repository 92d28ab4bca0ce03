//! Functions, operators and casts of arrays.
//!
//! They exist for every element type, so they are not in the catalog but [`super::made`] for the types of a call.

mod any;
mod casts;
mod functions;
mod operators;

pub use any::{as_list, is_listable, resolve_any};
pub(crate) use casts::step;
pub(crate) use functions::{exists, resolve};
pub(crate) use operators::operator;

use super::catalog::Options;
use super::context::ContextValue;
use super::made::{by_row, called, made, simple};
use super::resolve::Resolved;
use super::scalar::Variadic;
use crate::types::{Datum, PgType};

/// The name of [`constructor`].
const CONSTRUCTOR: &str = "array";

/// `ARRAY[…]` of elements that have their common type.
pub fn constructor(element: PgType, array: PgType, count: usize) -> Resolved {
    let options =
        Options { strict: false, variadic: Variadic::Any, work: Some(vec![element]), ..Options::default() };
    let made = made(CONSTRUCTOR, &[element], array, options, || {
        by_row(vec![element], array, false, |items| Ok(Datum::Array(items.to_vec())))
    });
    called(CONSTRUCTOR, vec![element; count], array, made)
}

/// `array[n]`: null outside of the bounds.
pub fn subscript(array: PgType) -> Option<Resolved> {
    let element = array.element()?;
    let first = i64::from(!array.is_vector());
    Some(simple("subscript", vec![array, PgType::Int4], element, true, move |args| {
        let (items, Datum::Int4(at)) = (items(&args[0]), &args[1]) else { return Ok(Datum::Null) };
        let at = usize::try_from(i64::from(*at) - first).ok();
        Ok(at.and_then(|at| items.get(at)).cloned().unwrap_or(Datum::Null))
    }))
}

fn items(value: &Datum) -> &[Datum] {
    match value {
        Datum::Array(items) => items,
        _ => &[],
    }
}

/// Two values by `=`, nulls being equal, as the functions that search have it.
fn same(a: &Datum, b: &Datum, element: PgType) -> bool {
    a.compare(b, element).map_or(a.is_null() && b.is_null(), |order| order.is_eq())
}

fn needs_zone(element: PgType) -> Vec<ContextValue> {
    match element {
        PgType::Date | PgType::Time | PgType::Timestamp | PgType::Timestamptz => {
            vec![ContextValue::TimeZone, ContextValue::TransactionTime]
        }
        _ => vec![],
    }
}

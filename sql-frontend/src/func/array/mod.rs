//! Functions, operators and casts of arrays.
//!
//! They exist for every element type, so they are not in the catalog: each is made when a statement first needs it for
//! its types, and kept, so that equal calls are equal expressions.

mod any;
mod casts;
mod functions;
mod operators;

pub use any::{as_list, resolve_any};
pub(crate) use casts::step;
pub(crate) use functions::{exists, resolve};
pub(crate) use operators::operator;

use super::catalog::Options;
use super::context::ContextValue;
use super::kind::{Arg, Body};
use super::resolve::{Form, Resolved};
use super::scalar::{Function, PgFunction, Variadic};
use crate::Result;
use crate::types::{Datum, PgType, datum_at, to_array};
use datafusion::logical_expr::{ScalarUDF, Volatility};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

type Made = (Arc<Function>, Arc<ScalarUDF>);

/// By name and types.
static MADE: LazyLock<Mutex<BTreeMap<String, Made>>> = LazyLock::new(Mutex::default);

/// Above the numbers of the catalog's functions.
static NEXT: AtomicU32 = AtomicU32::new(1 << 20);

fn made(
    name: &str,
    params: &[PgType],
    result: PgType,
    options: Options,
    body: impl FnOnce() -> Body,
) -> Made {
    let types: Vec<&str> = params.iter().map(|ty| ty.name()).collect();
    let key = format!("{name}({}) {}", types.join(","), result.name());
    let mut all = MADE.lock();
    if let Some(made) = all.get(&key) {
        return made.clone();
    }
    let function = Arc::new(Function {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        name: name.to_string(),
        params: params.to_vec(),
        work: options.work.unwrap_or_else(|| params.to_vec()),
        variadic: options.variadic,
        result,
        strict: options.strict,
        volatility: Volatility::Immutable,
        hidden: options.hidden,
        body: body(),
    });
    let udf = PgFunction::udf(&function);
    all.insert(key, (function.clone(), udf.clone()));
    (function, udf)
}

fn called(name: &str, arg_types: Vec<PgType>, result: PgType, (function, udf): Made) -> Resolved {
    let body = Form::Call { function, udf, negated: false, wrap: vec![] };
    Resolved { name: name.into(), arg_types, result, body }
}

/// A function on single values as one on columns.
fn by_row(
    params: Vec<PgType>,
    result: PgType,
    strict: bool,
    f: impl Fn(&[Datum]) -> Result<Datum> + Send + Sync + 'static,
) -> Body {
    Arc::new(move |args: &[Arg], rows| {
        let mut out = Vec::with_capacity(rows);
        let mut values = Vec::with_capacity(args.len());
        for row in 0..rows {
            values.clear();
            for (at, arg) in args.iter().enumerate() {
                // The last type is that of all further arguments.
                let ty = params.get(at).or(params.last()).copied().unwrap_or(PgType::Text);
                values.push(datum_at(arg.array.as_ref(), arg.row(row), ty)?);
            }
            out.push(if strict && values.iter().any(Datum::is_null) { Datum::Null } else { f(&values)? });
        }
        to_array(&out, result)
    })
}

fn simple(
    name: &str,
    params: Vec<PgType>,
    result: PgType,
    strict: bool,
    f: impl Fn(&[Datum]) -> Result<Datum> + Send + Sync + 'static,
) -> Resolved {
    let options = Options { strict, ..Options::default() };
    let made = made(name, &params, result, options, || by_row(params.clone(), result, strict, f));
    called(name, params, result, made)
}

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

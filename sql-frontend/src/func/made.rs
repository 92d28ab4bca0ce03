//! Functions made for the types of their arguments, where these are too many for the catalog: each when a statement first
//! needs it, and kept, so that equal calls are equal expressions.

use super::catalog::Options;
use super::kind::{Arg, Body, column_of};
use super::resolve::{Form, Resolved};
use super::scalar::Function;
use crate::Result;
use crate::types::{Datum, PgType, datum_at};
use datafusion::logical_expr::ScalarUDF;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

pub(super) type Made = (Arc<Function>, Arc<ScalarUDF>);

/// By name and types.
static MADE: LazyLock<Mutex<BTreeMap<String, Made>>> = LazyLock::new(Mutex::default);

/// Above the numbers of the catalog's functions.
static NEXT: AtomicU32 = AtomicU32::new(1 << 20);

pub(super) fn made(
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
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let made = options.function(id, name, params, result, body());
    all.insert(key, made.clone());
    made
}

pub(super) fn called(name: &str, arg_types: Vec<PgType>, result: PgType, (function, udf): Made) -> Resolved {
    let body = Form::Call { function, udf, negated: false, wrap: vec![] };
    Resolved { name: name.into(), arg_types, result, body }
}

/// A function on single values as one on columns.
pub(super) fn by_row(
    params: Vec<PgType>,
    result: PgType,
    strict: bool,
    f: impl Fn(&[Datum]) -> Result<Datum> + Send + Sync + 'static,
) -> Body {
    Arc::new(move |args: &[Arg], rows| {
        let mut values = Vec::with_capacity(args.len());
        column_of(result, rows, |row| {
            values.clear();
            for (at, arg) in args.iter().enumerate() {
                // The last type is that of all further arguments.
                let ty = params.get(at).or(params.last()).copied().unwrap_or(PgType::Text);
                values.push(datum_at(arg.array.as_ref(), arg.row(row), ty)?);
            }
            if strict && values.iter().any(Datum::is_null) { Ok(Datum::Null) } else { f(&values) }
        })
    })
}

pub(super) fn simple(
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

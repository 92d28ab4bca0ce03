//! `pg_sleep`: waits where nothing can be awaited, and ends when the statement is to end.

use super::{
    functions::{Function, function, wait},
    view::SessionView,
};
use crate::{
    error::SqlError,
    types::{Datum, PgType},
};
use PgType::{Float8, Interval, Timestamptz, Void};
use std::time::Duration;

pub(super) static FUNCTIONS: &[Function] = &[
    function("pg_sleep", &[Float8], Void, |view, args| match args[0] {
        Datum::Float8(seconds) => sleep(view, seconds),
        _ => Ok(Datum::Null),
    }),
    function("pg_sleep_for", &[Interval], Void, |view, args| match &args[0] {
        Datum::Interval(span) => sleep(view, span.comparison_value() as f64 / 1e6),
        _ => Ok(Datum::Null),
    }),
    function("pg_sleep_until", &[Timestamptz], Void, |view, args| match args[0] {
        Datum::Timestamptz(at) => {
            let now = view.shared.env.clock().physical().unix_micros() as i64;
            sleep(view, at.saturating_sub(now) as f64 / 1e6)
        }
        _ => Ok(Datum::Null),
    }),
];

/// Longest sleep; PostgreSQL's clock runs out sooner.
const LONGEST: f64 = 1e9;

fn sleep(view: &SessionView, seconds: f64) -> Result<Datum, SqlError> {
    let env = view.shared.env.clone();
    // NaN sleeps not at all.
    let span = Duration::from_secs_f64(if seconds > 0.0 { seconds.min(LONGEST) } else { 0.0 });
    wait(async {
        tokio::select! {
            biased;
            error = view.stop.reached() => Err(error),
            () = env.sleep(span) => Ok(Datum::Text(String::new())),
        }
    })
}

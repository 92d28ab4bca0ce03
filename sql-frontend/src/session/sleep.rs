//! `pg_sleep`: waits where nothing can be awaited, and ends when the statement is to end.

use super::{
    cancel::Cancel,
    functions::{Function, function, wait},
    view::SessionView,
};
use crate::{
    error::{SqlError, SqlState},
    types::{Datum, PgType},
};
use PgType::{Float8, Interval, Timestamptz, Void};
use std::{sync::Arc, time::Duration};

/// What may end a statement that does not give way.
pub struct Stop {
    pub cancel: Arc<Cancel>,
    /// By the time since boot.
    pub deadline: Option<Duration>,
}

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
    let left = view.stop.deadline.map(|deadline| deadline.saturating_sub(env.boottime()));
    let timeout = async {
        match left {
            Some(left) => env.sleep(left).await,
            None => std::future::pending().await,
        }
    };
    wait(async {
        tokio::select! {
            biased;
            () = view.stop.cancel.requested() => Err(view.stop.cancel.error()),
            () = env.sleep(span) => Ok(Datum::Text(String::new())),
            () = timeout => {
                Err(SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout"))
            }
        }
    })
}

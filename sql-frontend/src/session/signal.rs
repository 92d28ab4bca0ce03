//! `pg_cancel_backend` and `pg_terminate_backend`: for a session of any gateway, which its number names.

use super::{
    cancel::Sessions,
    functions::{Function, function, wait},
    view::SessionView,
};
use crate::{
    error::{SqlError, SqlState},
    types::{Datum, PgType},
};
use PgType::{Bool, Int4, Int8};
use quorate_proto::placement::{NodeCommand, NodeReply, Signal};
use std::time::Duration;

/// How long another gateway is given to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether a session has gone.
const LOOK: Duration = Duration::from_millis(20);

pub(super) static FUNCTIONS: &[Function] = &[
    function("pg_cancel_backend", &[Int4], Bool, |view, args| {
        wait(tell(view, pid(&args[0]), Signal::Cancel)).map(Datum::Bool)
    }),
    function("pg_terminate_backend", &[Int4], Bool, |view, args| {
        wait(tell(view, pid(&args[0]), Signal::Terminate)).map(Datum::Bool)
    }),
    function("pg_terminate_backend", &[Int4, Int8], Bool, |view, args| {
        let Datum::Int8(millis) = args[1] else { return Ok(Datum::Null) };
        let Ok(millis) = u64::try_from(millis) else {
            let text = "\"timeout\" must not be negative";
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, text));
        };
        wait(terminate(view, pid(&args[0]), Duration::from_millis(millis))).map(Datum::Bool)
    }),
];

/// None has the number zero.
fn pid(datum: &Datum) -> u32 {
    match datum {
        Datum::Int4(pid) => u32::try_from(*pid).unwrap_or(0),
        _ => 0,
    }
}

/// Whether there is such a session, and it was told.
async fn tell(view: &SessionView, pid: u32, signal: Signal) -> Result<bool, SqlError> {
    let node = Sessions::node_of(pid);
    let known = view.shared.cluster.nodes().into_iter().any(|known| known.id == node);
    if node == view.shared.env.node() || !known {
        return Ok(found(view, pid, view.shared.signal(pid, signal)));
    }
    let command = NodeCommand::Signal { pid, signal };
    let answer = tokio::select! {
        biased;
        error = view.stop.reached() => return Err(error),
        answer = quorate_env::call(&view.shared.env, node, &command, PATIENCE) => answer,
    };
    match answer.map(|answer| answer.result) {
        Ok(Ok(NodeReply::Signaled(there))) => Ok(found(view, pid, there)),
        _ => Err(SqlError::new(
            SqlState("08006"),
            format!("node {node}, which serves the session {pid}, does not answer"),
        )),
    }
}

/// As it was found; nobody under the number is worth a warning.
fn found(view: &SessionView, pid: u32, there: bool) -> bool {
    if !there {
        let text = format!("PID {pid} is not a PostgreSQL backend process");
        view.warnings.lock().push(SqlError::new(SqlState("01000"), text));
    }
    there
}

/// Whether it is gone in that time; at once true if there is nothing to wait for.
async fn terminate(view: &SessionView, pid: u32, limit: Duration) -> Result<bool, SqlError> {
    let env = &view.shared.env;
    if !tell(view, pid, Signal::Terminate).await? {
        return Ok(false);
    }
    let end = env.boottime() + limit;
    while !limit.is_zero() && tell(view, pid, Signal::Terminate).await? {
        if env.boottime() >= end {
            return Ok(false);
        }
        tokio::select! {
            biased;
            error = view.stop.reached() => return Err(error),
            () = env.sleep(LOOK) => {}
        }
    }
    Ok(true)
}

//! `quorate.recoveries`: the certificates of shards that were brought back without their quorum.

use super::{
    Make, Rows, Spec,
    cluster::{Q, ask, time, unexpected},
    int8, text,
};
use crate::{ddl::shards::show_key, error::SqlError, session::view::SessionView, types::Datum};
use futures::{FutureExt, future::BoxFuture};
use quorate_proto::{
    Replica, Span,
    placement::{Loss, PlacementReply, PlacementRequest, Recovery},
};

pub static TABLES: &[Spec] = &[Spec(
    Q,
    "recoveries",
    "recovery_id:int8 shard_id:int8 start_key:text end_key:text epoch_before:text epoch_after:text taken:text \
     taken_replica_id:int8 given_up:text lost:text loss:text proof:text at_risk_from:timestamptz \
     at_risk_until:timestamptz at_risk_after:text asked_by:text asked_at:timestamptz outcome:text",
    Make::Ask(rows),
)];

pub async fn all(view: &SessionView) -> Result<Vec<Recovery>, SqlError> {
    match ask(view, PlacementRequest::Recoveries).await? {
        PlacementReply::Recoveries(all) => Ok(all),
        other => unexpected(other),
    }
}

/// What is to be known of keys of which acknowledged writes may be missing, whichever shard has them now.
pub fn notice(recoveries: Option<&[Recovery]>, span: &Span) -> Option<String> {
    let Some(recoveries) = recoveries else {
        return Some("whether it was recovered is not known: the placement driver does not answer".into());
    };
    let at_risk = |recovery: &&Recovery| {
        recovery.begun && recovery.plan.loss.is_possible() && recovery.plan.span.overlaps(span)
    };
    let told = recoveries.iter().filter(at_risk);
    let told: Vec<String> = told
        .map(|recovery| format!("acknowledged writes may be missing: recovery {}", recovery.id))
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn rows(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move { Ok(all(view).await?.into_iter().map(|recovery| row(view, recovery)).collect()) }.boxed()
}

fn row(view: &SessionView, recovery: Recovery) -> Vec<Datum> {
    let Recovery { id, plan, by, at, reborn, outcome, .. } = recovery;
    let epoch = |(version, config): (u64, u64)| text(format!("{version}.{config}"));
    let named = |replica: &Replica| format!("replica {} on node {}", replica.id, replica.node);
    let snapshot = view.snapshot();
    let end = plan.span.end.as_ref().map_or("…".into(), |end| show_key(end, snapshot));
    let others: Vec<String> = plan.others.iter().map(named).collect();
    let lost: Vec<String> =
        plan.lost.iter().map(|lost| format!("{}: {}", named(&lost.replica), lost.why)).collect();
    let (loss, proof, from, until, after) = match plan.loss {
        Loss::Nothing(proof) => ("none", text(proof), Datum::Null, Datum::Null, Datum::Null),
        Loss::Interval { from, until, after } => {
            ("possible", Datum::Null, time(from), time(until), text(after.to_string()))
        }
    };
    vec![
        int8(id),
        int8(plan.shard.0),
        text(show_key(&plan.span.start, snapshot)),
        text(end),
        epoch(plan.before),
        epoch(plan.after),
        text(named(&plan.taken)),
        reborn.map(|replica| replica.0 as i64).into(),
        text(others.join("; ")),
        text(lost.join("; ")),
        text(loss),
        proof,
        from,
        until,
        after,
        text(by),
        time(at),
        text(outcome),
    ]
}

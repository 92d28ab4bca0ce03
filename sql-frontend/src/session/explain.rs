//! `EXPLAIN`, and what a statement has cost.
//!
//! `EXPLAIN ANALYZE` that is a transaction of its own commits before it says what was spent, so that the commit is in it.

use super::{
    Session,
    functions::relation_text,
    plan::{Body, Planned},
    replay::Step,
    run::Outcome,
    tx::Tx,
};
use crate::{
    error::SqlError,
    exec::{self, ExecContext},
    types::Datum,
    wire::{
        backend,
        encode::{RowFormat, Scratch, put_row},
        io::Outbox,
    },
};
use quorate_txn::Cost;
use std::time::Duration;

/// What a transaction took to commit.
#[derive(Clone, Copy, Default)]
pub(super) struct Spent {
    pub cost: Cost,
    pub shards: usize,
}

impl Session {
    /// Whether the step ends with its commit and then says what both have cost: [`Session::tell_spent`].
    pub(super) fn is_measured(&self, step: &Step) -> bool {
        let implicit = matches!(&self.tx, Tx::Open(open) if !open.explicit);
        step.alone && implicit && matches!(step.planned.body, Body::Explain { analyze: true, .. })
    }

    pub(super) async fn explain(
        &mut self,
        inner: &Planned,
        params: &[Datum],
        ctx: &ExecContext,
        analyze: bool,
        measured: bool,
    ) -> Result<Outcome, SqlError> {
        let (before, start) = (self.open()?.txn.cost(), self.shared.env.boottime());
        let (title, scan) = match &inner.body {
            Body::Query(query) => (None, Some(query)),
            Body::Insert(insert) => (
                Some(format!("Insert on {}", insert.table.name)),
                insert.values.is_none().then_some(&insert.source),
            ),
            Body::Update(update) => (Some(format!("Update on {}", update.table.name)), Some(&update.scan)),
            Body::Delete(delete) => (Some(format!("Delete on {}", delete.table.name)), Some(&delete.scan)),
            Body::Nothing => (Some("Result (never any rows)".to_string()), None),
            Body::Explain { .. } | Body::Declare(_) | Body::Utility => (None, None),
        };
        let mut lines: Vec<String> = title.iter().cloned().collect();
        if let Some(scan) = scan {
            // Only a query is run to be explained; what writes runs below, once.
            let run = analyze && title.is_none();
            let drawn = exec::explain::explain(scan, params, run, ctx).await?;
            let indent = |at: usize| match (title.is_some(), at) {
                (false, _) => "",
                (true, 0) => "  ->  ",
                (true, _) => "      ",
            };
            lines.extend(drawn.into_iter().enumerate().map(|(at, line)| indent(at).to_string() + &line));
        }
        if inner.fast.is_some() {
            lines.insert(0, "Fast path (straight to the coordinator, when its keys are known):".into());
        }
        if analyze {
            if title.is_some() {
                let outcome = self.run_data(inner, params, ctx).await?;
                lines.push(format!("Result: {}", outcome.tag));
            }
            if !measured {
                let txn = &self.open()?.txn;
                let spent = Spent { cost: txn.cost() - before, shards: txn.shards() };
                let took = self.shared.env.boottime().saturating_sub(start);
                lines.extend(told(&spent, took, inner.writes));
            }
        }
        Ok(Outcome::rows(lines.into_iter().map(|line| vec![Datum::Text(line)]).collect(), "EXPLAIN"))
    }

    /// Commits, and adds to the rows of the step what all has cost.
    pub(super) async fn tell_spent(
        &mut self,
        step: &Step,
        start: Duration,
        out: &mut Outbox,
    ) -> Result<(), SqlError> {
        self.spent = Spent::default();
        self.commit(out).await?;
        let took = self.shared.env.boottime().saturating_sub(start);
        let types = step.planned.types();
        let zone = *self.settings.zone();
        let relation = |oid| relation_text(None, oid);
        let format = RowFormat { types: &types, formats: &step.formats, zone: &zone, relation: &relation };
        let mut scratch = Scratch::default();
        for line in told(&self.spent, took, false) {
            put_row(&mut out.buffer, &[Datum::Text(line)], &format, &mut scratch);
        }
        backend::command_complete(&mut out.buffer, "EXPLAIN");
        Ok(())
    }
}

/// The last lines; `open`: what was written is not committed yet.
fn told(spent: &Spent, took: Duration, open: bool) -> Vec<String> {
    let Spent { cost, shards } = spent;
    let later = if open { " (before the commit)" } else { "" };
    vec![
        format!("Shards: {shards}  Consensus rounds: {}{later}", cost.rounds),
        format!("Calls to other nodes: {}  Waits: {}  Bytes: {}", cost.calls, cost.waits, cost.bytes),
        format!("Execution Time: {:.3} ms", took.as_secs_f64() * 1e3),
    ]
}

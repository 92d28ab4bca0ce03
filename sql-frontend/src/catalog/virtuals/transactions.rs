//! `quorate.transactions`: what is under way at all gateways, and who keeps old versions from being removed (PROTOCOL 24).

use super::{Make, Rows, Spec, gateways, int8, text};
use crate::{error::SqlError, session::view::SessionView, types::Datum};
use futures::{FutureExt, future::BoxFuture};
use quorate_proto::{
    NodeId, Timestamp,
    placement::{NodeCommand, NodeReply, TransactionInfo},
};

pub static TABLES: &[Spec] = &[Spec(
    "quorate",
    "transactions",
    "transaction_id:text node_id:int8 pid:int8 user_name:text application_name:text client_addr:text state:text \
     isolation:text read_only:bool started:timestamptz read_at:timestamptz read_timestamp:text guarantee:text \
     holds:timestamptz holds_horizon:bool",
    Make::Ask(transactions),
)];

fn transactions(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let told = |reply| match reply {
            NodeReply::Transactions(all) => Some(all),
            _ => None,
        };
        let own = view.shared.transactions();
        let answers = gateways::ask_all(view, &NodeCommand::Transactions, own, told).await;
        let held = answers.iter().filter_map(|(_, known)| known.as_ref().ok()).flatten();
        let oldest = held.filter_map(|txn| txn.holds).min();
        let rows = answers.iter().flat_map(|(node, known)| match known {
            Ok(all) => all.iter().map(|txn| row(*node, txn, oldest)).collect(),
            Err(why) => vec![silent(*node, why)],
        });
        Ok(rows.collect())
    }
    .boxed()
}

fn time(ts: Timestamp) -> Datum {
    Datum::Timestamptz(ts.unix_micros() as i64)
}

fn row(node: NodeId, txn: &TransactionInfo, oldest: Option<Timestamp>) -> Vec<Datum> {
    let of_session = |word: &String| if txn.pid.is_some() { text(word) } else { Datum::Null };
    vec![
        text(txn.txn.to_string()),
        int8(node.0),
        txn.pid.map(i64::from).into(),
        of_session(&txn.user),
        of_session(&txn.application),
        of_session(&txn.client),
        text(&txn.state),
        text(&txn.isolation),
        Datum::Bool(txn.read_only),
        time(txn.started),
        time(txn.read_ts),
        text(txn.read_ts.to_string()),
        text(&txn.guarantee),
        txn.holds.map_or(Datum::Null, time),
        Datum::Bool(txn.holds.is_some() && txn.holds == oldest),
    ]
}

/// Nothing is known of its transactions: better said than left out.
fn silent(node: NodeId, why: &str) -> Vec<Datum> {
    let mut row = vec![Datum::Null; 15];
    row[1] = int8(node.0);
    row[6] = text(why);
    row
}

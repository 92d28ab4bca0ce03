//! `quorate.transactions`: what is under way at all gateways, and who keeps old versions from being removed (PROTOCOL 24).

use super::{Make, Rows, Spec, int8, text};
use crate::{error::SqlError, session::view::SessionView, types::Datum};
use futures::{FutureExt, future::BoxFuture, future::join_all};
use quorate_proto::{
    NodeId, Timestamp,
    placement::{NodeCommand, NodeReply, TransactionInfo},
};
use std::{collections::BTreeSet, time::Duration};

/// A node that does not answer in this time gets a row that says so.
const TIMEOUT: Duration = Duration::from_secs(2);

pub static TABLES: &[Spec] = &[Spec(
    "quorate",
    "transactions",
    "transaction_id:text node_id:int8 pid:int8 user_name:text application_name:text client_addr:text state:text \
     isolation:text read_only:bool started:timestamptz read_at:timestamptz read_timestamp:text guarantee:text \
     holds:timestamptz holds_horizon:bool",
    Make::Ask(transactions),
)];

/// What a node answers, or that it does not.
type Answer = (NodeId, Result<Vec<TransactionInfo>, &'static str>);

fn transactions(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let own = view.shared.env.node();
        let mut nodes: BTreeSet<NodeId> =
            view.shared.cluster.nodes().into_iter().map(|node| node.id).collect();
        nodes.remove(&own);
        let mut answers: Vec<Answer> = vec![(own, Ok(view.shared.transactions()))];
        answers.extend(join_all(nodes.into_iter().map(|node| ask(view, node))).await);
        answers.sort_by_key(|(node, _)| *node);
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

async fn ask(view: &SessionView, node: NodeId) -> Answer {
    let asked = quorate_env::call(&view.shared.env, node, &NodeCommand::Transactions, TIMEOUT).await;
    let known = match asked.map(|answer| answer.result) {
        Ok(Ok(NodeReply::Transactions(all))) => Ok(all),
        Ok(_) => Err("unknown: the node does not tell"),
        Err(_) => Err("unknown: the node does not answer"),
    };
    (node, known)
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

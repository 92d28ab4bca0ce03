//! `pg_stat_activity`: the sessions of all gateways.

use super::{Make, Rows, Spec, gateways, int4, oid, text};
use crate::{error::SqlError, session::view::SessionView, types::Datum};
use futures::{FutureExt, future::BoxFuture};
use quorate_proto::{
    NodeId,
    placement::{NodeCommand, NodeReply, SessionInfo},
};
use std::net::SocketAddr;

pub static TABLES: &[Spec] = &[Spec(
    "pg_catalog",
    "pg_stat_activity",
    "datid:oid datname:name pid:int4 leader_pid:int4 usesysid:oid usename:name application_name:text client_addr:text \
     client_hostname:text client_port:int4 backend_start:timestamptz xact_start:timestamptz query_start:timestamptz \
     state_change:timestamptz wait_event_type:text wait_event:text state:text backend_xid:text backend_xmin:text \
     query_id:int8 query:text backend_type:text",
    Make::Ask(activity),
)];

fn activity(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let told = |reply| match reply {
            NodeReply::Sessions(all) => Some(all),
            _ => None,
        };
        let own = view.shared.sessions_under_way();
        let answers = gateways::ask_all(view, &NodeCommand::Sessions, own, told).await;
        let rows = answers.iter().flat_map(|(node, known)| match known {
            Ok(all) => all.iter().map(row).collect(),
            Err(why) => vec![silent(*node, why)],
        });
        Ok(rows.collect())
    }
    .boxed()
}

fn row(session: &SessionInfo) -> Vec<Datum> {
    let time = |at: Option<i64>| at.map_or(Datum::Null, Datum::Timestamptz);
    let client: Option<SocketAddr> = session.client.parse().ok();
    vec![
        oid::database(&session.database).map_or(Datum::Null, Datum::Oid),
        text(&session.database),
        int4(session.pid),
        Datum::Null,
        Datum::Oid(oid::ROOT),
        text(&session.user),
        text(&session.application),
        client.map_or(Datum::Null, |client| text(client.ip().to_string())),
        Datum::Null,
        client.map_or(Datum::Null, |client| int4(client.port())),
        Datum::Timestamptz(session.began),
        time(session.transaction_began),
        time(session.query_began),
        Datum::Timestamptz(session.state_changed),
        Datum::Null,
        Datum::Null,
        text(&session.state),
        Datum::Null,
        Datum::Null,
        Datum::Null,
        text(&session.query),
        text("client backend"),
    ]
}

/// Nothing is known of its sessions: better said than left out.
fn silent(node: NodeId, why: &str) -> Vec<Datum> {
    let mut row = vec![Datum::Null; 22];
    row[6] = text(format!("node {node}"));
    row[16] = text(why);
    row
}

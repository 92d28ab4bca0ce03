//! Schema `quorate`: nodes, shards, replicas, settings, operations, decisions, jobs.

use super::{Make, Rows, Spec, gateways, int8, recoveries, text};
use crate::{
    ddl::{job, placement, shards::show_key},
    error::{SqlError, SqlState},
    row::key::table_of,
    server::Shared,
    session::view::SessionView,
    types::Datum,
};
use futures::{FutureExt, future::BoxFuture};
use quorate_proto::{
    NodeId, ShardId, Timestamp,
    placement::{
        NodeCommand, NodeReply, NodeState, OperationState, PlacementReply, PlacementRequest, ReplicaReport,
        ShardMode,
    },
};
use std::{collections::BTreeMap, time::Duration};

pub(super) const Q: &str = "quorate";
const TIMEOUT: Duration = Duration::from_secs(5);

pub static TABLES: &[Spec] = &[
    Spec(
        Q,
        "nodes",
        "node_id:int8 rpc_address:text sql_address:text http_address:text locality:text roles:text state:text \
         last_heartbeat:timestamptz clock_offset_us:int8 replicas:int8 leaders:int8 incarnation:text \
         disk:text disk_free_bytes:int8 disk_reserve_bytes:int8 carries_driver:bool disk_sync_us:int8 network_delay_us:int8 slow:text",
        Make::Ask(nodes),
    ),
    Spec(
        Q,
        "shards",
        "shard_id:int8 table_name:text start_key:text end_key:text leader_node_id:int8 mode:text version:int8 \
         config_epoch:int8 replica_node_ids:text size_bytes:int8 notice:text",
        Make::Ask(shards),
    ),
    Spec(
        Q,
        "replicas",
        "shard_id:int8 node_id:int8 replica_id:int8 role:text leader:bool term:int8 mode:text appended:text \
         durable:text committed:text applied:text flushed:text trimmed:text closed_timestamp:timestamptz \
         size_bytes:int8",
        Make::Ask(replicas),
    ),
    Spec(Q, "settings", "name:text value:text", Make::Ask(settings)),
    Spec(
        Q,
        "placement_operations",
        "operation_id:int8 operation:text state:text step:text started:timestamptz updated:timestamptz origin:text",
        Make::Ask(operations),
    ),
    Spec(
        Q,
        "placement_decisions",
        "decision_id:int8 at:timestamptz scheduler:text shard_id:int8 seen:text candidates:text chosen:text \
         outcome:text operation_id:int8 inputs:text",
        Make::Ask(decisions),
    ),
    Spec(
        Q,
        "placement_rules",
        "table_id:int8 table_name:text replicas:int8 constraints:text leader_preference:text version:int8 \
         fulfilled:bool unfulfilled:text impossible:text",
        Make::Ask(rules),
    ),
    Spec(
        Q,
        "jobs",
        "job_id:int8 job:text owner_node_id:int8 lease_until:timestamptz created:timestamptz",
        Make::Ask(jobs),
    ),
];

pub(super) async fn ask(view: &SessionView, request: PlacementRequest) -> Result<PlacementReply, SqlError> {
    view.shared
        .placement
        .request(request, TIMEOUT)
        .await
        .map_err(|error| SqlError::new(SqlState("57Q01"), format!("placement driver: {error}")))
}

pub(super) fn unexpected<T>(reply: PlacementReply) -> Result<T, SqlError> {
    Err(SqlError::internal(format!("placement answered {reply:?}")))
}

pub(super) fn time(ts: Timestamp) -> Datum {
    if ts == Timestamp::ZERO { Datum::Null } else { Datum::Timestamptz(ts.unix_micros() as i64) }
}

fn nodes(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let all = match ask(view, PlacementRequest::Nodes).await? {
            PlacementReply::Nodes(all) => all,
            other => return unexpected(other),
        };
        let row = |status: quorate_proto::placement::NodeStatus| {
            let state = match status.state {
                NodeState::Live => "live",
                NodeState::Suspect => "suspect",
                NodeState::Dead => "dead",
                NodeState::Draining => "draining",
                NodeState::Decommissioning => "decommissioning",
                NodeState::Decommissioned => "decommissioned",
            };
            let locality: Vec<String> =
                status.info.locality.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let names = [(1u8, "placement"), (2, "shard"), (4, "sql")];
            let roles: Vec<&str> =
                names.iter().filter(|(bit, _)| status.info.roles & bit != 0).map(|(_, name)| *name).collect();
            vec![
                int8(status.info.id.0),
                text(status.info.rpc_address),
                text(status.info.sql_address),
                text(status.info.http_address),
                text(locality.join(",")),
                text(roles.join(",")),
                text(state),
                time(status.last_heartbeat),
                Datum::Int8(status.clock_offset_micros),
                int8(status.replicas),
                int8(status.leaders),
                text(format!("{:016x}", status.info.incarnation)),
                text(status.space.room.to_string()),
                int8(status.space.free),
                int8(status.space.reserve),
                Datum::Bool(status.carries_driver),
                int8(status.tempo.sync_micros),
                int8(status.tempo.delay_micros),
                if status.slow.is_empty() { Datum::Null } else { text(status.slow) },
            ]
        };
        Ok(all.into_iter().map(row).collect())
    }
    .boxed()
}

async fn reports(view: &SessionView) -> Result<Vec<(NodeId, ReplicaReport)>, SqlError> {
    match ask(view, PlacementRequest::Replicas).await? {
        PlacementReply::Replicas(all) => Ok(all),
        other => unexpected(other),
    }
}

/// Who leads which shard, by his own word, as the placement driver has heard it last; nobody if that cannot be asked.
pub async fn leaders(shared: &Shared) -> BTreeMap<ShardId, (NodeId, ReplicaReport)> {
    let reply = shared.placement.request(PlacementRequest::Replicas, TIMEOUT).await;
    let Ok(PlacementReply::Replicas(reports)) = reply else { return BTreeMap::new() };
    reports
        .into_iter()
        .filter(|(_, report)| report.leader)
        .map(|(node, report)| (report.shard, (node, report)))
        .collect()
}

fn mode(mode: ShardMode) -> &'static str {
    match mode {
        ShardMode::Target => "TARGET",
        ShardMode::Election => "ELECTION",
        ShardMode::Degraded => "DEGRADED",
        ShardMode::Recovery => "RECOVERY",
        ShardMode::Damaged => "DAMAGED",
    }
}

fn shards(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        // Sizes and modes are the leaders' own words; without the placement driver the map still is there.
        let (leaders, recoveries) = tokio::join!(leaders(&view.shared), recoveries::all(view));
        let recoveries = recoveries.ok();
        let snapshot = view.snapshot();
        let mut rows = Vec::new();
        for (shard, leader) in view.shared.cluster.shards() {
            let table = table_of(&shard.span.start).and_then(|id| snapshot.tables.get(&id));
            let known = leaders.get(&shard.id);
            let replicas: Vec<String> = shard.replicas.iter().map(|r| r.node.to_string()).collect();
            let end = shard.span.end.as_ref();
            rows.push(vec![
                int8(shard.id.0),
                table.map(|t| t.name.clone()).into(),
                text(show_key(&shard.span.start, snapshot)),
                text(end.map_or("…".into(), |end| show_key(end, snapshot))),
                known.map(|(node, _)| *node).or(leader).map(|node| node.0 as i64).into(),
                known.map(|(_, report)| mode(report.mode).to_string()).into(),
                int8(shard.version),
                int8(shard.config_epoch),
                text(format!("{{{}}}", replicas.join(","))),
                known.map(|(_, report)| report.size_bytes as i64).into(),
                recoveries::notice(recoveries.as_deref(), &shard.span).into(),
            ]);
        }
        Ok(rows)
    }
    .boxed()
}

fn replicas(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let told = |reply| match reply {
            NodeReply::Closed(all) => Some(all),
            _ => None,
        };
        // It rises all the time, and is not told with heartbeats.
        let asked = gateways::ask_all(view, &NodeCommand::Closed, view.shared.cluster.closed(), told);
        let (reports, closed) = tokio::join!(reports(view), asked);
        let of_node =
            |(node, all): gateways::Answer<_>| (node, all.unwrap_or_default().into_iter().collect());
        let closed: BTreeMap<NodeId, BTreeMap<ShardId, Timestamp>> =
            closed.into_iter().map(of_node).collect();
        let row = |(node, report): (NodeId, ReplicaReport)| {
            let closed = closed.get(&node).and_then(|all| all.get(&report.shard));
            let role = report.descriptor.replica_on(node).map(|r| format!("{:?}", r.role).to_lowercase());
            let at = &report.frontiers;
            vec![
                int8(report.shard.0),
                int8(node.0),
                int8(report.replica.0),
                role.into(),
                Datum::Bool(report.leader),
                int8(report.term),
                text(mode(report.mode)),
                text(at.appended.to_string()),
                text(at.durable.to_string()),
                text(at.committed.to_string()),
                text(at.applied.to_string()),
                text(at.flushed.to_string()),
                text(at.trimmed.to_string()),
                closed.map_or(Datum::Null, |closed| time(*closed)),
                int8(report.size_bytes),
            ]
        };
        Ok(reports?.into_iter().map(row).collect())
    }
    .boxed()
}

fn settings(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        match ask(view, PlacementRequest::Settings).await? {
            PlacementReply::Settings(all) => {
                Ok(all.into_iter().map(|(name, value)| vec![text(name), text(value)]).collect())
            }
            other => unexpected(other),
        }
    }
    .boxed()
}

fn operations(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let all = match ask(view, PlacementRequest::Operations).await? {
            PlacementReply::Operations(all) => all,
            other => return unexpected(other),
        };
        let row = |status: quorate_proto::placement::OperationStatus| {
            let state = match &status.state {
                OperationState::Running => "running".into(),
                OperationState::Done => "done".into(),
                OperationState::Failed(why) => format!("failed: {why}"),
            };
            vec![
                int8(status.id),
                text(format!("{:?}", status.operation)),
                text(state),
                text(status.step),
                time(status.started),
                time(status.updated),
                text(status.origin),
            ]
        };
        Ok(all.into_iter().map(row).collect())
    }
    .boxed()
}

fn decisions(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let all = match ask(view, PlacementRequest::Decisions { limit: 10_000 }).await? {
            PlacementReply::Decisions(all) => all,
            other => return unexpected(other),
        };
        let row = |decision: quorate_proto::placement::PlacementDecision| {
            let told = |what: String, score: i64, why: &str| match score {
                i64::MIN => format!("{what}: out ({why})"),
                score => format!("{what}: {score} ({why})"),
            };
            let nodes = decision.candidates.iter();
            let nodes = nodes.map(|(node, score, why)| told(format!("node {node}"), *score, why));
            let options = decision.options.iter();
            let options = options.map(|(what, score, why)| told(what.clone(), *score, why));
            let candidates: Vec<String> = nodes.chain(options).collect();
            vec![
                int8(decision.id),
                time(decision.at),
                text(decision.scheduler),
                decision.shard.map(|shard| shard.0 as i64).into(),
                text(decision.seen),
                text(candidates.join("; ")),
                text(decision.chosen),
                text(decision.outcome),
                decision.operation.map(|id| id as i64).into(),
                Some(decision.told).filter(|told| !told.is_empty()).into(),
            ]
        };
        Ok(all.into_iter().map(row).collect())
    }
    .boxed()
}

fn rules(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let snapshot = view.snapshot();
        let row = |status: quorate_proto::placement::PlacementStatus| {
            let id = table_of(&status.rule.span.start);
            let table = id.and_then(|id| snapshot.tables.get(&id));
            let named = vec![id.map(|id| id as i64).into(), table.map(|table| table.name.clone()).into()];
            [named, placement::show_status(&status)].concat()
        };
        Ok(placement::rules(&view.shared).await?.into_iter().map(row).collect())
    }
    .boxed()
}

fn jobs(view: &SessionView) -> BoxFuture<'_, Result<Rows, SqlError>> {
    async move {
        let row = |job: job::Job| {
            vec![
                int8(job.id),
                text(job.kind.describe()),
                int8(job.owner.0),
                time(job.lease_until),
                time(job.created),
            ]
        };
        Ok(job::all(&view.shared).await?.into_iter().map(row).collect())
    }
    .boxed()
}

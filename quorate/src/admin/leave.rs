//! Draining nodes, and calling a decommission off.

use super::client;
use crate::cli::HostArgs;
use anyhow::{Context, Result, bail};
use quorate_proto::{
    NodeId,
    placement::{NodeOrder, NodeState, NodeStatus, PlacementReply, PlacementRequest},
};
use serde_json::json;
use std::time::Duration;

/// For a node to hand over all that it leads.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Returns when the node leads nothing. Clients that are connected to it stay.
pub async fn drain(host: &HostArgs, node: NodeId) -> Result<()> {
    let waiting = super::asking(host);
    let mut status = order(host, node, NodeOrder::Drain).await?;
    let rounds = PATIENCE.as_millis() / LOOK_AGAIN.as_millis();
    let mut round = 0;
    while status.leaders > 0 && matches!(status.state, NodeState::Draining) {
        round += 1;
        if round > rounds {
            bail!(
                "node {node} is draining, and still leads {} shards: no other node that could take them answers",
                status.leaders
            );
        }
        waiting.now(format!("node {node}: handing over {} shards", status.leaders));
        crate::demo::pause(LOOK_AGAIN).await;
        let PlacementReply::Nodes(nodes) = client::placement(&host.host, PlacementRequest::Nodes).await?
        else {
            bail!("unexpected answer");
        };
        status = find(nodes, node)?;
    }
    drop(waiting);
    tell(host, &status);
    Ok(())
}

pub async fn undrain(host: &HostArgs, node: NodeId) -> Result<()> {
    let _waiting = super::asking(host);
    let status = order(host, node, NodeOrder::Undrain).await?;
    tell(host, &status);
    Ok(())
}

pub async fn recommission(host: &HostArgs, node: NodeId) -> Result<()> {
    let _waiting = super::asking(host);
    let status = order(host, node, NodeOrder::Recommission).await?;
    tell(host, &status);
    Ok(())
}

async fn order(host: &HostArgs, node: NodeId, order: NodeOrder) -> Result<NodeStatus> {
    match client::placement(&host.host, PlacementRequest::Order { node, order }).await? {
        PlacementReply::Nodes(nodes) => find(nodes, node),
        _ => bail!("unexpected answer"),
    }
}

fn find(nodes: Vec<NodeStatus>, node: NodeId) -> Result<NodeStatus> {
    let mut nodes = nodes.into_iter();
    nodes.find(|status| status.info.id == node).with_context(|| format!("there is no node {node}"))
}

fn tell(host: &HostArgs, status: &NodeStatus) {
    let NodeStatus { info, state, leaders, sessions, replicas, .. } = status;
    let state = format!("{state:?}").to_lowercase();
    if host.json {
        let all = json!({
            "node": info.id.0, "state": state, "leaders": leaders, "sessions": sessions, "replicas": replicas,
        });
        println!("{all}");
    } else {
        println!(
            "node {}: {state}; it leads {leaders} shards, holds {replicas} copies, and has {sessions} clients",
            info.id
        );
    }
}

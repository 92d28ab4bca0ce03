//! `quorate init | node | shard | setting`: what operators ask of a cluster.

mod client;
pub use client::node as ask_node;
mod leave;
mod merge;
mod operation;
mod recover;

use crate::{
    cli::{HostArgs, NodeArgs, NodeCommand as Nodes, SettingArgs, SettingCommand, ShardArgs, ShardCommand},
    progress::{self, Waiting},
    shell::table,
};
use anyhow::{Context, Result, bail};
use quorate_proto::{
    Key, NodeId, ShardDescriptor, ShardId,
    placement::{
        MapUpdate, NodeCommand, NodeReply, NodeStatus, Operation, PlacementReply, PlacementRequest,
        show_tiers,
    },
};
use serde_json::json;

fn asking(host: &HostArgs) -> Waiting {
    waiting(host, format!("waiting for an answer from {}", host.host))
}

/// A wait that people are told of, and programs not.
fn waiting(host: &HostArgs, what: String) -> Waiting {
    if host.json {
        progress::mute();
    }
    progress::waiting(what)
}

/// Founds the cluster, or finds that it is founded.
pub async fn found(host: &HostArgs) -> Result<()> {
    initialize(host).await.map(|_| ())
}

pub async fn init(host: &HostArgs) -> Result<()> {
    let founding = format!("{}: founding the cluster with the nodes that it was told to join", host.host);
    let waiting = waiting(host, founding);
    let cluster_id = initialize(host).await?;
    drop(waiting);
    if host.json {
        println!("{}", json!({ "cluster_id": cluster_id }));
    } else {
        println!("cluster {cluster_id}");
    }
    Ok(())
}

async fn initialize(host: &HostArgs) -> Result<String> {
    match client::node(&host.host, NodeCommand::Init).await? {
        NodeReply::Initialized(cluster_id) => Ok(cluster_id),
        other => bail!("unexpected answer {other:?}"),
    }
}

pub async fn node(args: NodeArgs) -> Result<()> {
    let (wanted, host) = match args.command {
        Nodes::Ls(host) => (None, host),
        Nodes::Status { node, host } => (node, host),
        Nodes::Drain { node, host } => return leave::drain(&host, NodeId(node)).await,
        Nodes::Undrain { node, host } => return leave::undrain(&host, NodeId(node)).await,
        Nodes::Decommission { node, cancel: true, host } => {
            return leave::recommission(&host, NodeId(node)).await;
        }
        Nodes::Decommission { node, cancel: false, host } => {
            return decommission(&host, NodeId(node)).await;
        }
    };
    let _waiting = asking(&host);
    let PlacementReply::Nodes(mut nodes) = client::placement(&host.host, PlacementRequest::Nodes).await?
    else {
        bail!("unexpected answer");
    };
    if let Some(wanted) = wanted {
        nodes.retain(|n| n.info.id == NodeId(wanted));
        if nodes.is_empty() {
            bail!("the cluster has no node {wanted}");
        }
    }
    let names = [
        "node",
        "state",
        "rpc",
        "sql",
        "locality",
        "replicas",
        "leaders",
        "sessions",
        "clock offset µs",
        "disk",
        "driver",
        "slow",
    ];
    let row = |n: &NodeStatus| {
        vec![
            n.info.id.to_string(),
            format!("{:?}", n.state).to_lowercase(),
            n.info.rpc_address.clone(),
            n.info.sql_address.clone(),
            show_tiers(&n.info.locality),
            n.replicas.to_string(),
            n.leaders.to_string(),
            n.sessions.to_string(),
            n.clock_offset_micros.to_string(),
            n.space.room.to_string(),
            if n.carries_driver { "member" } else { "" }.to_owned(),
            n.slow.clone(),
        ]
    };
    show(&names, nodes.iter().map(row).collect(), host.json)
}

/// Returns when the node has left.
pub async fn decommission(host: &HostArgs, node: NodeId) -> Result<()> {
    operation::run(host, Operation::Decommission { node }).await
}

pub async fn shard(args: ShardArgs) -> Result<()> {
    match args.command {
        ShardCommand::Ls(host) => list_shards(&host).await,
        ShardCommand::Split { key, host } => {
            let at = unhex(&key).with_context(|| format!("`{key}` is not hexadecimal"))?;
            operation::run(&host, Operation::Split { at }).await
        }
        ShardCommand::Merge { left, host } => {
            let at = merge::boundary(&shards(&host).await?.changed, ShardId(left))?;
            operation::run(&host, Operation::Merge { at }).await
        }
        ShardCommand::Move { shard, from, to, host } => {
            let (from, to) = (NodeId(from), NodeId(to));
            operation::run(&host, Operation::MoveReplica { shard: ShardId(shard), from, to }).await
        }
        ShardCommand::Recover { shard, yes, host } => recover::recover(&host, shard, yes).await,
        ShardCommand::TransferLeader { shard, to, host } => {
            operation::run(&host, Operation::TransferLeader { shard: ShardId(shard), to: NodeId(to) }).await
        }
    }
}

async fn shards(host: &HostArgs) -> Result<MapUpdate> {
    let _waiting = asking(host);
    let request = PlacementRequest::WatchMap { after_version: 0, wait_millis: 0 };
    match client::placement(&host.host, request).await? {
        PlacementReply::Map(map) => Ok(map),
        _ => bail!("unexpected answer"),
    }
}

async fn list_shards(host: &HostArgs) -> Result<()> {
    let MapUpdate { changed, leaders, .. } = shards(host).await?;
    let leader = |shard: ShardId| leaders.iter().find(|(s, _)| *s == shard).map(|(_, n)| n.to_string());
    let row = |d: &ShardDescriptor| {
        vec![
            d.id.to_string(),
            hex(&d.span.start),
            d.span.end.as_ref().map_or_else(|| "end".into(), |end| hex(end)),
            leader(d.id).unwrap_or_default(),
            d.replicas.iter().map(|r| r.node.to_string()).collect::<Vec<_>>().join(","),
            d.version.to_string(),
            d.config_epoch.to_string(),
        ]
    };
    let names = ["shard", "start", "end", "leader", "nodes", "version", "config epoch"];
    show(&names, changed.iter().map(row).collect(), host.json)
}

pub async fn setting(args: SettingArgs) -> Result<()> {
    match args.command {
        SettingCommand::Ls(host) => {
            let _waiting = asking(&host);
            let reply = client::placement(&host.host, PlacementRequest::Settings).await?;
            let PlacementReply::Settings(settings) = reply else { bail!("unexpected answer") };
            let rows = settings.into_iter().map(|(name, value)| vec![name, value]).collect();
            show(&["name", "value"], rows, host.json)
        }
        SettingCommand::Set { name, value, host } => {
            let _waiting = asking(&host);
            client::placement(&host.host, PlacementRequest::SetSetting { name, value }).await?;
            Ok(())
        }
    }
}

fn show(names: &[&str], rows: Vec<Vec<String>>, json: bool) -> Result<()> {
    if json {
        let object = |row: Vec<String>| -> serde_json::Map<String, serde_json::Value> {
            names.iter().map(|n| n.replace(' ', "_")).zip(row.into_iter().map(Into::into)).collect()
        };
        let all: Vec<_> = rows.into_iter().map(object).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        let header: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let rows: Vec<Vec<Option<String>>> =
            rows.into_iter().map(|r| r.into_iter().map(Some).collect()).collect();
        print!("{}", table(&header, &rows));
    }
    Ok(())
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Key> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>().map(Key::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_hexadecimal() {
        assert_eq!(unhex("00ff61").map(|k| hex(&k)), Some("00ff61".into()));
        assert!(unhex("0").is_none() && unhex("zz").is_none());
    }
}

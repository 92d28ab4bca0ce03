//! One request to one node over the nodes' own protocol, as operator: node id 0, which belongs to no cluster.

use anyhow::{Context, Result, anyhow, bail};
use quorate_proto::{
    NodeId, WIRE_VERSION,
    link::{Batch, Frame, Hello, frame::Kind, link_client::LinkClient},
    placement::{
        NodeAnswer, NodeCommand, NodeReply, PlacementAnswer, PlacementError, PlacementReply, PlacementRequest,
    },
    rpc::{self, Rpc},
};
use std::{collections::BTreeMap, time::Duration};
use tokio_stream::StreamExt;

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A node that is frozen answers no pings either; one that works on a long request does.
const PULSE: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(4);
const CALL_PATIENCE: Duration = Duration::from_secs(90);
/// For the placement driver to have a leader.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Sends `request` to the node at `host` and waits for its answer.
pub async fn call<R: Rpc>(host: &str, request: &R) -> Result<R::Answer> {
    let answer = exchange(host, R::SERVICE as u32, rpc::encode(request)).await?;
    rpc::decode(&answer).with_context(|| format!("{host} answered something unreadable"))
}

#[expect(clippy::disallowed_methods, reason = "a tool around the cluster, never simulated")]
async fn exchange(host: &str, service: u32, body: bytes::Bytes) -> Result<bytes::Bytes> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{host}"))
        .with_context(|| format!("`{host}` is not HOST:PORT"))?
        .connect_timeout(CONNECT_PATIENCE)
        .http2_keep_alive_interval(PULSE)
        .keep_alive_timeout(SILENCE)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|e| anyhow!("cannot reach {host}: {e}"))?;
    let mut client = LinkClient::new(channel).max_decoding_message_size(64 << 20);
    let hello = Hello { wire_version: WIRE_VERSION, ..Hello::default() };
    let request = Frame { kind: Kind::Request as i32, service, call_id: 1, body };
    let greeting = Batch { hello: Some(hello), ..Batch::default() };
    let question = Batch { frames: vec![request], ..Batch::default() };
    // The request side stays open until the answer is here: closing it would end the stream.
    let outbound = tokio_stream::iter([greeting, question]).chain(tokio_stream::pending());
    let wait = async {
        let mut inbound = client.exchange(outbound).await.map_err(status)?.into_inner();
        while let Some(batch) = inbound.next().await {
            for frame in batch.map_err(status)?.frames {
                match Kind::try_from(frame.kind) {
                    Ok(Kind::Reply) if frame.call_id == 1 => return Ok(frame.body),
                    Ok(Kind::Refused) => bail!("{host} refused: {}", String::from_utf8_lossy(&frame.body)),
                    _ => {}
                }
            }
        }
        bail!("{host} closed the connection without an answer")
    };
    tokio::time::timeout(CALL_PATIENCE, wait).await.map_err(|_| anyhow!("{host} does not answer"))?
}

fn status(status: tonic::Status) -> anyhow::Error {
    anyhow!("{}: {}", status.code(), status.message())
}

/// Asks the node itself.
pub async fn node(host: &str, command: NodeCommand) -> Result<NodeReply> {
    let NodeAnswer { result } = call(host, &command).await?;
    result.map_err(|why| anyhow!(why))
}

/// Asks the placement driver: the node at `host` tells who carries it, and those tell who leads. While nobody does it is asked
/// again: the node that leads may be the one that drains or leaves.
pub async fn placement(host: &str, request: PlacementRequest) -> Result<PlacementReply> {
    let mut tries = 0;
    loop {
        match ask_leader(host, &request).await? {
            Asked::Answered(reply) => return Ok(reply),
            Asked::NobodyLeads(error) if tries == TRIES => return Err(error),
            Asked::NobodyLeads(_) => tries += 1,
        }
        crate::demo::pause(PAUSE).await;
    }
}

enum Asked {
    Answered(PlacementReply),
    /// Nothing was done.
    NobodyLeads(anyhow::Error),
}

async fn ask_leader(host: &str, request: &PlacementRequest) -> Result<Asked> {
    let NodeReply::Described { info, driver, nodes, cluster_id, .. } =
        node(host, NodeCommand::Describe).await?
    else {
        bail!("{host} did not say what it is");
    };
    if cluster_id.is_empty() {
        bail!("{host} belongs to no cluster yet; run `quorate init --host {host}`");
    }
    let mut addresses: BTreeMap<NodeId, String> =
        nodes.into_iter().map(|node| (node.id, node.rpc_address)).collect();
    addresses.insert(info.id, host.to_owned());
    // If it is none of the driver's members it has heard of them, and perhaps of later ones since.
    let mut candidates: Vec<NodeId> = [info.id].into_iter().chain(driver.nodes().into_iter().rev()).collect();
    let mut last = anyhow!("no node of the placement driver can be reached");
    let mut nobody = false;
    for _ in 0..20 {
        let Some(next) = candidates.pop() else { break };
        let Some(to) = addresses.get(&next) else { continue };
        match call(to, request).await {
            Ok(PlacementAnswer { result: Ok(reply) }) => return Ok(Asked::Answered(reply)),
            Ok(PlacementAnswer { result: Err(PlacementError::NotLeader(leader, members)) }) => {
                for (node, address) in &members.addresses {
                    addresses.entry(*node).or_insert_with(|| address.clone());
                }
                candidates.extend(members.nodes().into_iter().filter(|node| !driver.nodes().contains(node)));
                candidates.extend(leader);
                last = anyhow!("the placement driver has no leader now");
                nobody = true;
            }
            Ok(PlacementAnswer { result: Err(error @ PlacementError::Unavailable(_)) }) => {
                return Ok(Asked::NobodyLeads(error.into()));
            }
            Ok(PlacementAnswer { result: Err(error) }) => return Err(error.into()),
            Err(error) => last = error,
        }
    }
    if nobody { Ok(Asked::NobodyLeads(last)) } else { Err(last) }
}

//! Sending a state to a replica that the log can no longer bring up to date, and taking one in.
//!
//! The sender opens a consistent view, calls `Begin`, one `Chunk` after the other, and `Finish`; the receiver answers each.
//! Nothing changes there before `Finish`, which hands the whole to openraft: it truncates a conflicting log, has the state
//! machine replace its state, and purges the log (PROTOCOL 8). A transfer that breaks is begun anew.

use crate::node_state::NodeState;
use crate::raft::apply::{Snapshot, SnapshotData};
use crate::raft::network::Link;
use crate::raft::payload::{decode_membership, encode_membership};
use crate::raft::types::{SnapshotMeta, StoredMembership, Types, Vote, log_id_unless_zero, position_or_zero};
use crate::receive::{vote_form, vote_of};
use crate::wire::{Route, SnapshotAnswer, SnapshotCall};
use crate::{SnapshotSink, SnapshotSource};
use async_trait::async_trait;
use bytes::Bytes;
use openraft::errors::{NetworkError, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use quorate_env::{Env, Handler, Refusal, TransportError, time};
use quorate_proto::rpc::{Service, decode, encode};
use quorate_proto::{NodeId, Room};
use std::sync::Arc;
use std::time::Duration;

const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// The receiver writes the whole state down before it answers.
const FINISH_TIMEOUT: Duration = Duration::from_secs(120);
/// A transfer that nothing was heard of for so long is forgotten.
const ABANDONED: Duration = Duration::from_secs(60);

/// Spreads the chunks of all groups of a node over time.
pub(crate) struct Pace {
    bytes_per_second: u64,
    next: parking_lot::Mutex<Duration>,
}

impl Pace {
    pub fn new(bytes_per_second: u64) -> Self {
        Pace { bytes_per_second: bytes_per_second.max(1), next: parking_lot::Mutex::default() }
    }

    async fn admit(&self, env: &Env, bytes: usize) {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let at = {
            let mut next = self.next.lock();
            let at = (*next).max(env.boottime());
            *next = at + cost;
            at
        };
        env.sleep_until_boottime(at).await;
    }
}

/// A transfer that is coming in.
pub(crate) struct Incoming {
    route: Route,
    sink: Box<dyn SnapshotSink>,
    chunks: u64,
    touched: Duration,
}

pub(crate) async fn send(
    link: &Link,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
    let SnapshotData::Outgoing(source) = snapshot.snapshot else {
        return Err(network("not a snapshot that can be sent"));
    };
    let node = &link.shared.node;
    let route = link.route();
    let transfer = node.unique();
    step(link, &SnapshotCall::Begin { route, transfer }, CHUNK_TIMEOUT).await?;
    let mut source = Some(source);
    let mut chunks = 0;
    while let Some(bytes) = read(link, &mut source).await? {
        node.snapshot_pace.admit(&node.env, bytes.len()).await;
        let call = SnapshotCall::Chunk { route, transfer, sequence: chunks, bytes: bytes.as_ref().into() };
        step(link, &call, CHUNK_TIMEOUT).await?;
        quorate_env::count!("quorate_consensus_snapshot_sent_bytes_total", bytes.len() as u64);
        chunks += 1;
    }
    let membership = encode_membership(snapshot.meta.last_membership.membership());
    let call = SnapshotCall::Finish {
        route,
        transfer,
        chunks,
        vote: vote_form(&vote),
        position: position_or_zero(snapshot.meta.last_log_id.as_ref()),
        membership_position: position_or_zero(snapshot.meta.last_membership.log_id().as_ref()),
        membership: membership.as_ref().into(),
    };
    match step(link, &call, FINISH_TIMEOUT).await? {
        SnapshotAnswer::Finished(vote) => Ok(SnapshotResponse::new(vote_of(&vote))),
        _ => Err(network("the receiver did not finish")),
    }
}

/// Reads the next chunk where blocking is allowed.
async fn read(
    link: &Link,
    source: &mut Option<Box<dyn SnapshotSource>>,
) -> Result<Option<Bytes>, StreamingError<Types>> {
    let Some(mut reader) = source.take() else { return Ok(None) };
    let env = link.shared.env.clone();
    let (reader, chunk) = env
        .blocking("snapshot.read", move || {
            let chunk = reader.next_chunk();
            (reader, chunk)
        })
        .await;
    *source = Some(reader);
    chunk.map_err(network)
}

async fn step(
    link: &Link,
    call: &SnapshotCall<'_>,
    timeout: Duration,
) -> Result<SnapshotAnswer, StreamingError<Types>> {
    let transport = link.shared.env.transport();
    let raw = match transport.call(link.node, Service::Snapshot, encode(call), timeout).await {
        Ok(raw) => raw,
        Err(error @ (TransportError::NotSent(_) | TransportError::Refused(_))) => {
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        }
        Err(error) => return Err(StreamingError::Network(NetworkError::new(&error))),
    };
    match decode(&raw).map_err(network)? {
        SnapshotAnswer::Refused(why) => Err(StreamingError::Unreachable(Unreachable::from_string(why))),
        answer => Ok(answer),
    }
}

fn network(why: impl std::fmt::Display) -> StreamingError<Types> {
    StreamingError::Network(NetworkError::from_string(why.to_string()))
}

pub(crate) struct SnapshotService(pub Arc<NodeState>);

#[async_trait]
impl Handler for SnapshotService {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        let call = minicbor::decode::<SnapshotCall<'_>>(&body).map_err(|e| Refusal(e.to_string()))?;
        let answer = match call {
            SnapshotCall::Begin { route, transfer } => self.begin(from, route, transfer).await,
            SnapshotCall::Chunk { route, transfer, sequence, bytes } => {
                let bytes: &[u8] = bytes;
                self.chunk(from, route, transfer, sequence, body.slice_ref(bytes)).await
            }
            SnapshotCall::Finish {
                route,
                transfer,
                chunks,
                vote,
                position,
                membership_position,
                membership,
            } => {
                let membership = decode_membership(membership).map_err(|e| Refusal(e.to_string()))?;
                let meta = SnapshotMeta {
                    last_log_id: log_id_unless_zero(position),
                    last_membership: StoredMembership::new(
                        log_id_unless_zero(membership_position),
                        membership,
                    ),
                };
                self.finish(from, route, transfer, chunks, vote_of(&vote), meta).await
            }
        };
        Ok(encode(&answer.unwrap_or_else(SnapshotAnswer::Refused)))
    }
}

impl SnapshotService {
    async fn begin(&self, from: NodeId, route: Route, transfer: u64) -> Result<SnapshotAnswer, String> {
        let shared = self.0.addressee(&route).ok_or("no such replica")?;
        if self.0.env.space().room() > Room::Plenty {
            return Err("the disk is full".into());
        }
        let sink = shared.machine.restore().map_err(|e| e.to_string())?;
        let now = self.0.env.boottime();
        let mut incoming = self.0.incoming.lock().await;
        // One at a time into a replica; the newest is the one that somebody still sends.
        incoming.retain(|_, other| other.route.shard != route.shard && now < other.touched + ABANDONED);
        incoming.insert((from, transfer), Incoming { route, sink, chunks: 0, touched: now });
        Ok(SnapshotAnswer::Continue)
    }

    async fn chunk(
        &self,
        from: NodeId,
        route: Route,
        transfer: u64,
        sequence: u64,
        bytes: Bytes,
    ) -> Result<SnapshotAnswer, String> {
        // Taken out while it is written to, so that others do not wait.
        let mut one = self.take(from, route, transfer, sequence).await?;
        let env = self.0.env.clone();
        let (mut one, result) = env
            .blocking("snapshot.chunk", move || {
                let result = one.sink.chunk(bytes);
                (one, result)
            })
            .await;
        result.map_err(|e| e.to_string())?;
        one.chunks += 1;
        one.touched = time::now();
        self.0.incoming.lock().await.insert((from, transfer), one);
        Ok(SnapshotAnswer::Continue)
    }

    async fn take(&self, from: NodeId, route: Route, transfer: u64, chunks: u64) -> Result<Incoming, String> {
        let mut incoming = self.0.incoming.lock().await;
        let one = incoming.remove(&(from, transfer)).ok_or("no such transfer")?;
        if one.route != route || one.chunks != chunks {
            return Err("out of order".into());
        }
        Ok(one)
    }

    async fn finish(
        &self,
        from: NodeId,
        route: Route,
        transfer: u64,
        chunks: u64,
        vote: Vote,
        meta: SnapshotMeta,
    ) -> Result<SnapshotAnswer, String> {
        let mut one = self.take(from, route, transfer, chunks).await?;
        // The entries that follow up to where it became a member do not know it: a split among them has no right half for it.
        if meta.last_membership.membership().get_node(&route.to.0).is_none() {
            quorate_env::probe!("consensus.snapshot_from_before");
            return Err("it is from before this replica was a member".into());
        }
        let env = self.0.env.clone();
        let (one, sealed) = env
            .blocking("snapshot.seal", move || {
                let sealed = one.sink.seal();
                (one, sealed)
            })
            .await;
        sealed.map_err(|e| e.to_string())?;
        let shared = self.0.addressee(&route).ok_or("no such replica")?;
        let raft = shared.raft().ok_or("starting")?.clone();
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Incoming(one.sink) };
        let answer = raft.install_full_snapshot(vote, snapshot).await.map_err(|e| e.to_string())?;
        Ok(SnapshotAnswer::Finished(vote_form(&answer.vote)))
    }
}

//! The sender's side.

use crate::SnapshotSource;
use crate::raft::apply::{Snapshot, SnapshotData};
use crate::raft::network::Link;
use crate::raft::payload::encode_membership;
use crate::raft::types::{Types, Vote, position_or_zero};
use crate::receive::{vote_form, vote_of};
use crate::wire::{Credit, SnapshotAnswer, SnapshotCall};
use bytes::Bytes;
use openraft::errors::{NetworkError, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use quorate_env::TransportError;
use quorate_proto::rpc::{Service, decode, encode};
use std::time::Duration;

const PART_TIMEOUT: Duration = Duration::from_secs(10);
/// The receiver writes the whole state down before it answers.
const FINISH_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a receiver is asked that has no place, or whose answer was lost.
const POLL: Duration = Duration::from_millis(500);
/// For so long a place is waited for with a view of the state that grows old; then a newer one is opened.
const PLACE_PATIENCE: Duration = Duration::from_secs(10);
/// For so long a receiver is asked what it has, before the transfer counts as broken.
const RESUME_PATIENCE: Duration = Duration::from_secs(30);

/// Why a call has no answer that helps.
enum Miss {
    /// It may have arrived.
    Unsure(TransportError),
    Final(StreamingError<Types>),
}

impl Miss {
    fn into_error(self) -> StreamingError<Types> {
        match self {
            Miss::Unsure(error @ TransportError::NotSent(_)) => {
                StreamingError::Unreachable(Unreachable::new(&error))
            }
            Miss::Unsure(error) => StreamingError::Network(NetworkError::new(&error)),
            Miss::Final(error) => error,
        }
    }
}

pub(crate) async fn send(
    link: &Link,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
    let SnapshotData::Outgoing(source) = snapshot.snapshot else {
        return Err(network("not a snapshot that can be sent"));
    };
    let (route, transfer) = (link.route(), link.shared.node.unique());
    let mut credit = begin(link, transfer).await?;
    let mut source = Some(source);
    while let Some(chunks) = read(link, &mut source, credit.bytes).await? {
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        let env = &link.shared.env;
        let own_turn = link.shared.node.snapshots_sent.turn(env, bytes);
        env.sleep(own_turn.max(Duration::from_micros(credit.pause))).await;
        credit = deliver(link, transfer, credit.parts, &chunks).await?;
        quorate_env::count!("quorate_consensus_snapshot_sent_bytes_total", bytes as u64);
    }
    let membership = encode_membership(snapshot.meta.last_membership.membership());
    let call = SnapshotCall::Finish {
        route,
        transfer,
        parts: credit.parts,
        vote: vote_form(&vote),
        position: position_or_zero(snapshot.meta.last_log_id.as_ref()),
        membership_position: position_or_zero(snapshot.meta.last_membership.log_id().as_ref()),
        membership: membership.as_ref().into(),
    };
    match ask(link, &call, FINISH_TIMEOUT).await.map_err(Miss::into_error)? {
        SnapshotAnswer::Finished(vote) => Ok(SnapshotResponse::new(vote_of(&vote))),
        _ => Err(network("the receiver did not finish")),
    }
}

/// Waits for a place at the receiver.
async fn begin(link: &Link, transfer: u64) -> Result<Credit, StreamingError<Types>> {
    let env = &link.shared.env;
    let until = env.boottime() + PLACE_PATIENCE;
    loop {
        let call = SnapshotCall::Begin { route: link.route(), transfer };
        match ask(link, &call, PART_TIMEOUT).await.map_err(Miss::into_error)? {
            SnapshotAnswer::Go(credit) => return Ok(credit),
            SnapshotAnswer::Later if env.boottime() < until => env.sleep(POLL).await,
            SnapshotAnswer::Later => return Err(unreachable("it takes in other snapshots")),
            _ => return Err(network("the receiver did not begin")),
        }
    }
}

/// Brings a part there, also when answers are lost on the way.
async fn deliver(
    link: &Link,
    transfer: u64,
    part: u64,
    chunks: &[Bytes],
) -> Result<Credit, StreamingError<Types>> {
    let (route, env) = (link.route(), &link.shared.env);
    let chunks = chunks.iter().map(|chunk| chunk.as_ref().into()).collect();
    let call = SnapshotCall::Part { route, transfer, part, chunks };
    let until = env.boottime() + RESUME_PATIENCE;
    let mut answer = go(link, &call).await;
    loop {
        match answer {
            Ok(credit) if credit.parts > part => return Ok(credit),
            Ok(_) => answer = go(link, &call).await,
            Err(Miss::Unsure(error)) if env.boottime() < until => {
                tracing::debug!(shard = %route.shard, to = %link.node, part, %error, "a snapshot is interrupted");
                env.sleep(POLL).await;
                quorate_env::probe!("consensus.snapshot_resumed");
                answer = go(link, &SnapshotCall::Where { route, transfer }).await;
            }
            Err(miss) => return Err(miss.into_error()),
        }
    }
}

async fn go(link: &Link, call: &SnapshotCall<'_>) -> Result<Credit, Miss> {
    let answer = ask(link, call, PART_TIMEOUT).await?;
    if link.shared.env.fault("consensus.snapshot_answer_lost") {
        return Err(Miss::Unsure(TransportError::Lost("by fault point".into())));
    }
    match answer {
        SnapshotAnswer::Go(credit) => Ok(credit),
        _ => Err(Miss::Final(network("the receiver does not go on"))),
    }
}

/// Reads up to so many bytes, but at least one chunk, where blocking is allowed. `None` when there are no more.
async fn read(
    link: &Link,
    source: &mut Option<Box<dyn SnapshotSource>>,
    bytes: u64,
) -> Result<Option<Vec<Bytes>>, StreamingError<Types>> {
    let Some(mut reader) = source.take() else { return Ok(None) };
    let env = link.shared.env.clone();
    let (reader, chunks) = env
        .blocking("snapshot.read", move || {
            let (mut chunks, mut size) = (Vec::new(), 0);
            while size < bytes || chunks.is_empty() {
                match reader.next_chunk() {
                    Ok(Some(chunk)) => {
                        size += chunk.len() as u64;
                        chunks.push(chunk);
                    }
                    Ok(None) => break,
                    Err(error) => return (reader, Err(error)),
                }
            }
            (reader, Ok(chunks))
        })
        .await;
    *source = Some(reader);
    chunks.map(|chunks| Some(chunks).filter(|chunks| !chunks.is_empty())).map_err(network)
}

async fn ask(link: &Link, call: &SnapshotCall<'_>, timeout: Duration) -> Result<SnapshotAnswer, Miss> {
    let transport = link.shared.env.transport();
    let raw = match transport.call(link.node, Service::Snapshot, encode(call), timeout).await {
        Ok(raw) => raw,
        Err(error @ TransportError::Refused(_)) => {
            return Err(Miss::Final(StreamingError::Unreachable(Unreachable::new(&error))));
        }
        Err(error) => return Err(Miss::Unsure(error)),
    };
    match decode(&raw).map_err(|error| Miss::Final(network(error)))? {
        SnapshotAnswer::Refused(why) => Err(Miss::Final(unreachable(why))),
        answer => Ok(answer),
    }
}

fn network(why: impl std::fmt::Display) -> StreamingError<Types> {
    StreamingError::Network(NetworkError::from_string(why.to_string()))
}

fn unreachable(why: impl std::fmt::Display) -> StreamingError<Types> {
    StreamingError::Unreachable(Unreachable::from_string(why.to_string()))
}

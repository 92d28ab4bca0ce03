//! The receiver's side.

use crate::SnapshotSink;
use crate::node_state::NodeState;
use crate::raft::apply::{Snapshot, SnapshotData};
use crate::raft::payload::decode_membership;
use crate::raft::types::{SnapshotMeta, StoredMembership, Vote, log_id_unless_zero};
use crate::receive::{vote_form, vote_of};
use crate::wire::{Credit, Route, SnapshotAnswer, SnapshotCall};
use async_trait::async_trait;
use bytes::Bytes;
use quorate_env::{Env, Handler, Refusal, planted};
use quorate_proto::rpc::encode;
use quorate_proto::{NodeId, Room};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// So much of a state may come in one part.
const PART_BYTES: u64 = 1 << 20;
/// A transfer that nothing was heard of for so long is forgotten.
const ABANDONED: Duration = Duration::from_secs(60);

/// Those that are coming in, by sender and its name for each.
pub(crate) type Transfers = parking_lot::Mutex<BTreeMap<(NodeId, u64), Arc<Transfer>>>;

pub(crate) struct Transfer {
    route: Route,
    /// Locked while a part is taken in.
    taken: Mutex<Taken>,
}

struct Taken {
    /// `None` once a part has failed.
    sink: Option<Box<dyn SnapshotSink>>,
    parts: u64,
    touched: Duration,
}

impl Transfer {
    fn is_awaited(&self, now: Duration) -> bool {
        self.taken.try_lock().map_or(true, |taken| taken.sink.is_some() && now < taken.touched + ABANDONED)
    }
}

pub(crate) struct SnapshotService(pub Arc<NodeState>);

#[async_trait]
impl Handler for SnapshotService {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        let call = minicbor::decode::<SnapshotCall<'_>>(&body).map_err(|e| Refusal(e.to_string()))?;
        let answer = match call {
            SnapshotCall::Begin { route, transfer } => self.begin(from, route, transfer),
            SnapshotCall::Part { route, transfer, part, chunks } => {
                let chunks = chunks.into_iter().map(|chunk| body.slice_ref(chunk)).collect();
                self.part(from, route, transfer, part, chunks).await
            }
            SnapshotCall::Where { route, transfer } => self.where_is(from, route, transfer).await,
            SnapshotCall::Finish {
                route,
                transfer,
                parts,
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
                self.finish(from, route, transfer, parts, vote_of(&vote), meta).await
            }
        };
        Ok(encode(&answer.unwrap_or_else(SnapshotAnswer::Refused)))
    }
}

impl SnapshotService {
    fn begin(&self, from: NodeId, route: Route, transfer: u64) -> Result<SnapshotAnswer, String> {
        let shared = self.0.addressee(&route).ok_or("no such replica")?;
        if self.0.env.space().room() > Room::Plenty {
            return Err("the disk is full".into());
        }
        let now = self.0.env.boottime();
        let mut transfers = self.0.transfers.lock();
        // One at a time into a replica; the newest is the one that somebody still sends.
        transfers.retain(|_, other| other.route.shard != route.shard && other.is_awaited(now));
        if transfers.len() >= self.0.config.snapshots_at_a_time {
            quorate_env::probe!("consensus.snapshot_waits_for_a_place");
            return Ok(SnapshotAnswer::Later);
        }
        let sink = Some(shared.machine.restore().map_err(|e| e.to_string())?);
        let taken = Mutex::new(Taken { sink, parts: 0, touched: now });
        transfers.insert((from, transfer), Arc::new(Transfer { route, taken }));
        Ok(self.go(0, 0))
    }

    /// What may come next, after so many parts and the bytes of the last.
    fn go(&self, parts: u64, bytes: usize) -> SnapshotAnswer {
        let pause = self.0.snapshots_received.turn(&self.0.env, bytes).as_micros() as u64;
        SnapshotAnswer::Go(Credit { parts, bytes: PART_BYTES, pause })
    }

    async fn part(
        &self,
        from: NodeId,
        route: Route,
        transfer: u64,
        part: u64,
        chunks: Vec<Bytes>,
    ) -> Result<SnapshotAnswer, String> {
        let transfer = self.find(from, route, transfer)?;
        if self.0.env.fault("consensus.snapshot_part_refused") {
            return Err("by fault point".into());
        }
        let mut taken = transfer.taken.lock().await;
        // Else it is there already, and its answer was lost.
        let is_next = part == taken.parts || planted!("consensus.snapshot_part_taken_twice");
        if part > taken.parts {
            return Err("out of order".into());
        }
        let mut bytes = 0;
        if is_next {
            let sink = taken.sink.take().ok_or("an earlier part was not taken in")?;
            bytes = chunks.iter().map(Bytes::len).sum();
            let take =
                |sink: &mut dyn SnapshotSink| chunks.into_iter().try_for_each(|chunk| sink.chunk(chunk));
            taken.sink = Some(blocking(&self.0.env, "snapshot.part", sink, take).await?);
            taken.parts += 1;
        }
        taken.touched = self.0.env.boottime();
        Ok(self.go(taken.parts, bytes))
    }

    async fn where_is(&self, from: NodeId, route: Route, transfer: u64) -> Result<SnapshotAnswer, String> {
        let transfer = self.find(from, route, transfer)?;
        let mut taken = transfer.taken.lock().await;
        taken.touched = self.0.env.boottime();
        Ok(self.go(taken.parts, 0))
    }

    fn find(&self, from: NodeId, route: Route, transfer: u64) -> Result<Arc<Transfer>, String> {
        let transfers = self.0.transfers.lock();
        let one = transfers.get(&(from, transfer)).filter(|one| one.route == route);
        Ok(one.ok_or("no such transfer")?.clone())
    }

    async fn finish(
        &self,
        from: NodeId,
        route: Route,
        transfer: u64,
        parts: u64,
        vote: Vote,
        meta: SnapshotMeta,
    ) -> Result<SnapshotAnswer, String> {
        let one = self.find(from, route, transfer)?;
        let mut taken = one.taken.lock().await;
        self.0.transfers.lock().remove(&(from, transfer));
        // The entries that follow up to where it became a member do not know it: a split among them has no right half for it.
        if meta.last_membership.membership().get_node(&route.to.0).is_none() {
            quorate_env::probe!("consensus.snapshot_from_before");
            return Err("it is from before this replica was a member".into());
        }
        let sink = taken.sink.take().filter(|_| taken.parts == parts).ok_or("parts are missing")?;
        let sink = blocking(&self.0.env, "snapshot.seal", sink, |sink| sink.seal()).await?;
        let shared = self.0.addressee(&route).ok_or("no such replica")?;
        let raft = shared.raft().ok_or("starting")?.clone();
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Incoming(sink) };
        let answer = raft.install_full_snapshot(vote, snapshot).await.map_err(|e| e.to_string())?;
        Ok(SnapshotAnswer::Finished(vote_form(&answer.vote)))
    }
}

/// Works on a sink where blocking is allowed. It is lost if that fails.
async fn blocking(
    env: &Env,
    name: &'static str,
    mut sink: Box<dyn SnapshotSink>,
    work: impl FnOnce(&mut dyn SnapshotSink) -> Result<(), crate::Fatal> + Send + 'static,
) -> Result<Box<dyn SnapshotSink>, String> {
    let work = move || work(&mut *sink).map(|()| sink);
    env.blocking(name, work).await.map_err(|error| error.to_string())
}

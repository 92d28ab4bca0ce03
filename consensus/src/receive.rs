//! What arrives from other replicas, handed to openraft: appends and their answers one way and in order; votes and
//! hand-overs as calls, behind the gate of [`crate::elections`].

use crate::elections::Withheld;
use crate::node_state::NodeState;
use crate::raft::payload::decode_entry;
use crate::raft::types::{Types, Vote, log_id_unless_zero, position_or_zero, vote, vote_parts};
use crate::shared::{Inbound, RaftHandle, Shared};
use crate::wire::{Answer, Append, Call, CallAnswer, OneWay, Outcome, Route, VoteForm};
use async_trait::async_trait;
use bytes::Bytes;
use futures::task::noop_waker;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use quorate_env::{Handler, Refusal};
use quorate_proto::rpc::{decode, encode};
use quorate_proto::{LogPosition, NodeId, ReplicaId};
use std::future::Future;
use std::sync::Arc;
use std::task::Context;

/// Streams of appends that one replica keeps in mind.
const INBOUND_STREAMS: usize = 4;

pub(crate) struct RaftService(pub Arc<NodeState>);

pub(crate) fn vote_form(vote: &Vote) -> VoteForm {
    let (term, replica, committed) = vote_parts(vote);
    VoteForm { term, replica, committed }
}

pub(crate) fn vote_of(form: &VoteForm) -> Vote {
    vote(form.term, form.replica, form.committed)
}

#[async_trait]
impl Handler for RaftService {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        let call: Call = decode(&body).map_err(|e| Refusal(format!("undecodable: {e}")))?;
        let route = call.route();
        let shared = self.0.addressee(&route).ok_or_else(|| Refusal(format!("no {route:?} here")))?;
        let raft = shared.raft().ok_or_else(|| Refusal("starting".into()))?.clone();
        let answer = match call {
            Call::Vote { pre, vote, last, transfer, .. } => {
                answer_vote(&shared, &raft, from, pre, vote, last, transfer).await?
            }
            Call::Transfer { vote, target, last, .. } => {
                answer_transfer(&shared, &raft, route, vote, target, last).await?
            }
        };
        Ok(encode(&answer))
    }

    fn one_way(&self, from: NodeId, body: Bytes) {
        let message = match minicbor::decode::<OneWay<'_>>(&body) {
            Ok(message) => message,
            Err(error) => {
                quorate_env::count!("quorate_consensus_undecodable_total");
                tracing::warn!(%from, %error, "undecodable message");
                return;
            }
        };
        match message {
            OneWay::Append(append) => self.append(from, append, &body),
            OneWay::Answer(answer) => self.0.answered(answer),
            OneWay::Doubt { route, term } => self.doubted(from, route, term),
            OneWay::Released { route, term } => {
                if let Some(shared) = self.0.addressee(&route) {
                    shared.note_released(term, route.from);
                }
            }
        }
    }
}

impl RaftService {
    /// Hands an append to openraft in the order of arrival, and its answer back whenever that comes.
    fn append(&self, from: NodeId, append: Append<'_>, body: &Bytes) {
        let back = Reply {
            node: self.0.clone(),
            to: from,
            route: append.route.back(),
            stream: append.stream,
            sequence: append.sequence,
        };
        let Some(shared) = self.0.addressee(&append.route) else {
            return back.refuse("no such replica");
        };
        let Some(raft) = shared.raft().cloned() else { return back.refuse("starting") };
        if self.0.env.fault("consensus.refused_append") {
            return back.refuse("by fault point");
        }
        if !in_order(&shared, from, &append) {
            return back.refuse("out of order");
        }
        let request = match request(&append, body) {
            Ok(request) => request,
            Err(error) => return back.refuse(&format!("undecodable entry: {error}")),
        };
        shared.note_leader(append.term, append.route.from, from, append.incarnation);
        // Read before openraft sees the append: whoever leans on this epoch knows that the vote was still bound when the
        // append was taken.
        let epoch = self.0.granted.lock().epoch(from, append.incarnation, self.0.env.boottime());
        let answering = async move {
            let outcome = match raft.append_entries(request).await {
                Ok(AppendEntriesResponse::Success) => Outcome::Stored,
                Ok(AppendEntriesResponse::Conflict) => Outcome::Conflict,
                Ok(AppendEntriesResponse::HigherVote(vote)) => Outcome::HigherVote(vote_form(&vote)),
                Ok(AppendEntriesResponse::PartialSuccess(_)) => Outcome::Refused("partly stored".into()),
                Err(error) => Outcome::Refused(error.to_string()),
            };
            back.send(epoch, outcome);
        };
        // The first poll puts the request into openraft's queue, so that requests keep their order; the answer is awaited
        // in a task. (Without tokio's budget, which may turn a poll away.)
        let mut answering = Box::pin(tokio::task::coop::unconstrained(answering));
        let waker = noop_waker();
        if answering.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.0.env.spawn("consensus.append", answering).detach();
        }
    }

    /// Someone was asked to elect another leader and would know whether this one still stands.
    fn doubted(&self, from: NodeId, route: Route, term: u64) {
        match self.0.addressee(&route) {
            Some(shared) => {
                if shared.release(term) {
                    self.0.send(from, &OneWay::Released { route: route.back(), term });
                } else {
                    shared.stir(|pace| pace.wake(self.0.env.boottime()));
                }
            }
            // A replica that is not here leads nowhere.
            None => self.0.send(from, &OneWay::Released { route: route.back(), term }),
        }
    }
}

/// Where an append's answer goes.
struct Reply {
    node: Arc<NodeState>,
    to: NodeId,
    route: Route,
    stream: u64,
    sequence: u64,
}

impl Reply {
    fn refuse(self, why: &str) {
        self.send(None, Outcome::Refused(why.into()));
    }

    fn send(self, epoch: Option<crate::support::Epoch>, outcome: Outcome) {
        let Reply { node, to, route, stream, sequence } = self;
        node.send(to, &OneWay::Answer(Answer { route, stream, sequence, epoch, outcome }));
    }
}

/// A message lost or overtaken on the way would look to openraft like a log that lost entries; so a stream with a gap ends.
fn in_order(shared: &Shared, from: NodeId, append: &Append<'_>) -> bool {
    if append.alone {
        return true;
    }
    let mut inbound = shared.inbound.lock();
    let at = inbound.iter().position(|s| s.from == from && s.stream == append.stream);
    match at {
        Some(at) if inbound[at].next == append.sequence => {
            inbound[at].next += 1;
            true
        }
        None if append.sequence == 0 => {
            if inbound.len() >= INBOUND_STREAMS {
                inbound.remove(0);
            }
            inbound.push(Inbound { from, stream: append.stream, next: 1 });
            true
        }
        _ => false,
    }
}

fn request(append: &Append<'_>, body: &Bytes) -> std::io::Result<AppendEntriesRequest<Types>> {
    let entries = append.entries.iter().map(|entry| {
        let payload: &[u8] = entry.payload;
        decode_entry(entry.position, &body.slice_ref(payload))
    });
    Ok(AppendEntriesRequest {
        vote: vote(append.term, append.route.from, true),
        prev_log_id: log_id_unless_zero(append.prev),
        entries: entries.collect::<std::io::Result<_>>()?,
        leader_commit: log_id_unless_zero(append.commit),
    })
}

async fn answer_vote(
    shared: &Arc<Shared>,
    raft: &RaftHandle,
    from: NodeId,
    pre: bool,
    form: VoteForm,
    last: LogPosition,
    transfer: bool,
) -> Result<CallAnswer, Refusal> {
    if let Err(withheld) = shared.begin_vote(pre, transfer, form.term, from) {
        match withheld {
            Withheld::Supported(known) => {
                let route = Route { shard: shared.shard(), from: shared.replica(), to: known.replica };
                shared.node.send(known.node, &OneWay::Doubt { route, term: known.term });
            }
            // Whoever asks has lost sight of this leader.
            Withheld::Leading => shared.stir(|pace| pace.wake(shared.env.boottime())),
            Withheld::Young => {}
        }
        return Err(Refusal(format!("vote withheld: {withheld:?}")));
    }
    let clock = shared.leaders_clock();
    let mut request = VoteRequest::new(vote_of(&form), log_id_unless_zero(last));
    request.leadership_transfer = transfer;
    let stopped = |error: &dyn std::fmt::Display| Refusal(format!("stopped: {error}"));
    let response = if pre {
        raft.pre_vote(request).await.map_err(|e| stopped(&e))?
    } else {
        match raft.vote(request).await {
            Ok(response) => {
                if !shared.vote_decided(response.vote_granted, transfer, &response.vote) {
                    quorate_env::probe!("consensus.granted_vote_kept_back");
                    return Err(Refusal("the leader was supported again meanwhile".into()));
                }
                response
            }
            Err(error) => {
                // Nothing can be granted by a stopped replica, but what it decided is unknown.
                shared.vote_decided(true, transfer, &vote_of(&form));
                return Err(stopped(&error));
            }
        }
    };
    Ok(CallAnswer::Vote {
        granted: response.vote_granted,
        vote: vote_form(&response.vote),
        last: position_or_zero(response.last_log_id.as_ref()),
        clock,
    })
}

async fn answer_transfer(
    shared: &Arc<Shared>,
    raft: &RaftHandle,
    route: Route,
    form: VoteForm,
    target: ReplicaId,
    last: LogPosition,
) -> Result<CallAnswer, Refusal> {
    // The leader of this term has given its lease up, and says so.
    shared.note_released(form.term, route.from);
    shared.stir(|pace| pace.handed_over(shared.env.boottime()));
    let request = TransferLeaderRequest::new(vote_of(&form), target.0, log_id_unless_zero(last));
    let answer = raft.handle_transfer_leader(request).await.map_err(|e| Refusal(e.to_string()))?;
    Ok(CallAnswer::Transfer { accepted: answer.is_ok() })
}

//! openraft's network over `env`'s transport. Every wait has an end.

use super::apply::{Snapshot, SnapshotData};
use super::stream::Pipeline;
use super::types::{Member, Types, Vote, log_id_unless_zero, position_or_zero};
use crate::receive::{vote_form, vote_of};
use crate::shared::Shared;
use crate::wire::{Call, CallAnswer, Route};
use futures::{Stream, stream};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate_env::{TransportError, probe};
use quorate_proto::rpc::{Service, decode, encode};
use quorate_proto::{NodeId, ReplicaId};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long an append may stay unanswered by a node that is otherwise alive (its disk may be slow).
const APPEND_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Network(pub Arc<Shared>);

/// The way to one other replica.
#[derive(Clone)]
pub(crate) struct Link {
    pub shared: Arc<Shared>,
    pub target: ReplicaId,
    pub node: NodeId,
    heartbeat: bool,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, member: &Member) -> Link {
        let node = NodeId(member.node);
        Link { shared: self.0.clone(), target: ReplicaId(target), node, heartbeat: false }
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Link {
        Link { heartbeat: true, ..self.new_client(target, member).await }
    }
}

impl Link {
    pub fn route(&self) -> Route {
        Route { shard: self.shared.shard(), from: self.shared.replica(), to: self.target }
    }

    pub fn is_reachable(&self) -> bool {
        self.shared.node.received.lock().reaches(self.node, self.shared.env.boottime())
    }

    async fn call(&self, call: &Call, timeout: Duration) -> Result<CallAnswer, RPCError<Types>> {
        let transport = self.shared.env.transport();
        let raw =
            transport.call(self.node, Service::Raft, encode(call), timeout).await.map_err(
                |error| match error {
                    TransportError::Refused(_) | TransportError::NotSent(_) => {
                        RPCError::Unreachable(Unreachable::new(&error))
                    }
                    TransportError::Lost(_) => RPCError::Network(NetworkError::new(&error)),
                },
            )?;
        decode(&raw).map_err(|error| RPCError::Network(NetworkError::from_string(error)))
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<Types>,
        pre: bool,
        timeout: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let transfer = rpc.leadership_transfer;
        self.check_campaign(transfer)?;
        let form = vote_form(&rpc.vote);
        let last = position_or_zero(rpc.last_log_id.as_ref());
        let call = Call::Vote { route: self.route(), pre, vote: form, last, transfer };
        let answer = self.call(&call, timeout).await.inspect_err(|error| {
            tracing::debug!(shard = %self.shared.shard(), to = %self.node, pre, %error, "no vote");
        })?;
        match answer {
            CallAnswer::Vote { granted, vote, last, clock } => {
                // A round that began while the leader was not supported counts for nothing once it is again.
                self.check_campaign(transfer)?;
                if granted {
                    self.shared.note_clock(form.term, clock);
                }
                let last = log_id_unless_zero(last);
                Ok(VoteResponse::new(vote_of(&vote), last, granted))
            }
            CallAnswer::Transfer { .. } => {
                Err(RPCError::Network(NetworkError::from_string("answered something else")))
            }
        }
    }

    fn check_campaign(&self, transfer: bool) -> Result<(), RPCError<Types>> {
        if transfer {
            return Ok(());
        }
        self.shared.may_campaign().map_err(|withheld| {
            probe!("consensus.own_campaign_withheld");
            RPCError::Unreachable(Unreachable::from_string(format!("own vote is bound: {withheld:?}")))
        })
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let input = Box::pin(stream::once(async { rpc }));
        let mut pipeline = Pipeline::new(self.clone(), input, true, option.soft_ttl());
        match pipeline.next_answer().await {
            Some(Ok(Ok(_))) => Ok(AppendEntriesResponse::Success),
            Some(Ok(Err(StreamAppendError::Conflict(_)))) => Ok(AppendEntriesResponse::Conflict),
            Some(Ok(Err(StreamAppendError::HigherVote(vote)))) => Ok(AppendEntriesResponse::HigherVote(vote)),
            Some(Err(error)) => Err(error),
            None => Err(RPCError::Network(NetworkError::from_string("no answer"))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let patience =
            if !self.heartbeat && self.is_reachable() { APPEND_PATIENCE } else { option.soft_ttl() };
        let pipeline = Pipeline::new(self.clone(), input, self.heartbeat, patience);
        let answers = stream::unfold(pipeline, |mut pipeline| async move {
            pipeline.next_answer().await.map(|answer| (answer, pipeline))
        });
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, false, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, true, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = crate::snapshot::send(self, vote, snapshot);
        tokio::select! {
            biased;
            result = sending => result.inspect_err(|error| {
                quorate_env::count!("quorate_consensus_snapshots_failed_total");
                tracing::warn!(shard = %self.shared.shard(), to = %self.node, %error, "a snapshot was not sent");
            }),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    /// The lease goes first (PROTOCOL 2), whoever has ordered the hand-over.
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let form = vote_form(req.from_leader());
        self.shared.bar_lease(form.term);
        if self.shared.env.fault("consensus.lost_hand_over") {
            return Err(RPCError::Network(NetworkError::from_string("by fault point")));
        }
        let call = Call::Transfer {
            route: self.route(),
            vote: form,
            target: ReplicaId(*req.to_node_id()),
            last: position_or_zero(req.last_log_id()),
        };
        match self.call(&call, option.soft_ttl()).await? {
            CallAnswer::Transfer { accepted: true } => Ok(Ok(())),
            _ => Err(RPCError::Network(NetworkError::from_string("hand-over not taken"))),
        }
    }
}

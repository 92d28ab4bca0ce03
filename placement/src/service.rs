//! Answers the requests of nodes and operators. Only the leader does; the others say who leads.

use crate::{
    Host, Placement,
    command::{Command, Reply},
    leader::{Beat, Session},
    machine::Seen,
    run::recover,
    settings,
    state::{NodeRecord, OPERATOR, PLACEMENT_ROLE},
};
use quorate_consensus::ProposeError;
use quorate_env::rpc;
use quorate_proto::{
    KvError, NodeId, ShardId,
    placement::{
        DriverAnswer, DriverCommand, Leaving, Operation, OperationState, OperationStatus, PlacementAnswer,
        PlacementError, PlacementReply, PlacementRequest,
    },
    rpc::{decode, encode},
};
use std::{sync::Arc, time::Duration};

/// Longest wait for a change.
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(crate) fn serve(host: &Arc<Host>) {
    let stopping = "the node is stopping";
    let weak = Arc::downgrade(host);
    rpc::serve(host.env(), move |from, request: PlacementRequest| {
        let weak = weak.clone();
        async move {
            let result = match weak.upgrade() {
                Some(host) => host.answer(from, request).await,
                None => Err(PlacementError::Unavailable(stopping.into())),
            };
            PlacementAnswer { result }
        }
    });
    let weak = Arc::downgrade(host);
    rpc::serve(host.env(), move |_, command: DriverCommand| {
        let weak = weak.clone();
        async move {
            let result = match weak.upgrade() {
                Some(host) => host.obey(command).await,
                None => Err(KvError::Internal { why: stopping.into() }),
            };
            DriverAnswer { result }
        }
    });
}

impl Placement {
    pub(crate) async fn answer(
        self: &Arc<Self>,
        _from: NodeId,
        request: PlacementRequest,
    ) -> Result<PlacementReply, PlacementError> {
        let session = self.lead()?;
        // What is answered must not be older than what an earlier leader has answered.
        self.group.confirm_read().await.map_err(unavailable)?;
        match request {
            PlacementRequest::Heartbeat {
                node,
                clock_offset_micros,
                changed,
                full,
                map_version,
                schema_version,
                holds,
                space,
                sessions,
                carries,
                tempo,
            } => {
                let beat = Beat {
                    clock_offset_micros,
                    changed,
                    full,
                    schema_version,
                    holds,
                    space,
                    sessions,
                    carries,
                    tempo,
                };
                session.heartbeat(self, node, beat, map_version).await
            }
            PlacementRequest::WatchMap { after_version, wait_millis } => {
                self.watch(wait_millis, |seen| seen.map_version > after_version).await;
                let session = self.lead()?;
                let mut update = self.machine.state().map_after(after_version);
                update.leaders = session.leaders_for(&update);
                Ok(PlacementReply::Map(update))
            }
            PlacementRequest::WatchSchema { after, wait_millis } => {
                self.watch(wait_millis, |seen| seen.schema > after).await;
                self.lead()?;
                Ok(PlacementReply::SchemaVersion(self.machine.state().counters.schema))
            }
            PlacementRequest::AllocateIds { kind, count } => {
                if count == 0 || count > 1 << 32 {
                    return Err(PlacementError::Refused("between 1 and 2^32 ids at a time".into()));
                }
                self.number(Command::AllocateIds(kind, count)).await.map(PlacementReply::Ids)
            }
            PlacementRequest::Nodes => Ok(PlacementReply::Nodes(session.nodes(self))),
            PlacementRequest::SetSetting { name, value } => {
                settings::check(&name, &value).map_err(PlacementError::Refused)?;
                self.check_closing(&name, &value)?;
                self.propose(Command::SetSetting(name, value)).await?;
                Ok(PlacementReply::Settings(self.settings()))
            }
            PlacementRequest::Settings => Ok(PlacementReply::Settings(self.settings())),
            PlacementRequest::Start(operation) => self.begin(&session, operation, OPERATOR).await,
            PlacementRequest::Order { node, order } => {
                self.order(node, order).await?;
                Ok(PlacementReply::Nodes(session.nodes(self)))
            }
            PlacementRequest::Operations => {
                let state = self.machine.state();
                let all = state.operations.values().map(|record| record.status.clone());
                Ok(PlacementReply::Operations(all.collect()))
            }
            PlacementRequest::Operation { id, wait_millis } => self.operation(id, wait_millis).await,
            PlacementRequest::Decisions { limit } => Ok(PlacementReply::Decisions(self.decisions(limit))),
            PlacementRequest::AdvanceSchema { to } => session.advance_schema(self, to).await,
            PlacementRequest::Replicas => Ok(PlacementReply::Replicas(session.replicas())),
            PlacementRequest::Configure { span, change } => self.configure(&session, span, change).await,
            PlacementRequest::Rules => Ok(PlacementReply::Rules(self.rules(&session))),
            PlacementRequest::Forget(span) => {
                self.propose(Command::Forget(span)).await?;
                Ok(PlacementReply::Rules(Vec::new()))
            }
            PlacementRequest::Explain(asked) => self.explain(&session, asked),
            PlacementRequest::Survey(shard) => {
                recover::survey(self, &session, shard).await.map(PlacementReply::Surveyed)
            }
            PlacementRequest::Recoveries => {
                let all = self.machine.state().recoveries.values().cloned().collect();
                Ok(PlacementReply::Recoveries(all))
            }
        }
    }

    /// Waits for news; none in time are news, too.
    async fn watch(&self, wait_millis: u64, news: impl Fn(&Seen) -> bool) {
        if wait_millis > 0 {
            let wait = Duration::from_millis(wait_millis).min(MAX_WAIT);
            let _ = self
                .env
                .timeout(wait, self.machine.changes().wait_for(|seen| seen.closed || news(seen)))
                .await;
        }
    }

    /// The session, if this node leads.
    pub(crate) fn lead(&self) -> Result<Arc<Session>, PlacementError> {
        self.session().ok_or_else(|| {
            let leadership = self.group.leadership().borrow().clone();
            if leadership.is_leader {
                return PlacementError::Unavailable("the leader is not ready yet".into());
            }
            PlacementError::not_leader(leadership.leader.map(|(_, node)| node))
        })
    }

    /// Leaders would close later than that all the same (PROTOCOL 22).
    fn check_closing(&self, name: &str, value: &str) -> Result<(), PlacementError> {
        let least = 4 * self.env.clock().bound();
        let closing = name == settings::CLOSING_TARGET.name;
        if closing && settings::duration(value).is_some_and(|target| target < least) {
            let why = format!("{name} is at least {least:?}, four times the clock bound");
            return Err(PlacementError::Refused(why));
        }
        Ok(())
    }

    fn settings(&self) -> Vec<(String, String)> {
        let state = self.machine.state();
        let all = settings::ALL.iter();
        all.map(|setting| (setting.name.to_owned(), state.setting(setting).to_owned())).collect()
    }

    /// Starts an operation; an equal one under way is joined, if it was asked for by the same.
    async fn begin(
        &self,
        session: &Session,
        operation: Operation,
        origin: &str,
    ) -> Result<PlacementReply, PlacementError> {
        let same = |status: &OperationStatus| status.operation == operation && status.origin == origin;
        let same = self.machine.state().running().find(|record| same(&record.status)).map(|r| r.status.id);
        if let Some(id) = same {
            return Ok(PlacementReply::Started(id));
        }
        self.sensible(&operation).map_err(PlacementError::Refused)?;
        if let Operation::Decommission { node } = &operation {
            self.can_go(session, *node).map_err(PlacementError::Refused)?;
        }
        let at = self.env.clock().physical();
        let origin = origin.to_owned();
        let id = self.number(Command::StartOperation { operation, origin, at, decision: None }).await?;
        Ok(PlacementReply::Started(id))
    }

    /// Refuses at once what could only fail later.
    fn sensible(&self, operation: &Operation) -> Result<(), String> {
        let (state, own) = (self.machine.state(), self.own());
        let shard = |id: &ShardId| match *id {
            ShardId::PLACEMENT => Ok(&own),
            _ => state.shards.get(id).map(|r| &r.descriptor).ok_or_else(|| format!("there is no shard {id}")),
        };
        let node =
            |id: &NodeId| state.nodes.get(id).map(|_| ()).ok_or_else(|| format!("there is no node {id}"));
        let stays = |id: &NodeId| match state.leaving(*id) {
            Leaving::No => Ok(()),
            Leaving::Draining => Err(format!("node {id} is draining: it receives nothing")),
            Leaving::Decommissioning => Err(format!("node {id} is being decommissioned")),
            Leaving::Gone => Err(format!("node {id} was decommissioned")),
        };
        if let Some(why) = state.breaks_a_rule(operation) {
            return Err(why);
        }
        match operation {
            Operation::Split { at } if at.is_empty() => {
                Err("a split needs a key inside the key space".into())
            }
            Operation::Merge { at } if at.is_empty() => {
                Err("the first shard has none before it that could take it over".into())
            }
            Operation::Split { .. } | Operation::Scatter { .. } | Operation::Merge { .. } => Ok(()),
            Operation::MoveReplica { shard: id, from, to } => {
                node(from)?;
                node(to)?;
                stays(to)?;
                let shard = shard(id)?;
                if shard.replica_on(*from).is_none() && shard.replica_on(*to).is_none() {
                    return Err(format!("node {from} holds no copy of shard {id}"));
                }
                if shard.replica_on(*from).is_some() && shard.replica_on(*to).is_some() {
                    return Err(format!("node {to} holds a copy of shard {id} already"));
                }
                let lacks_role = |record: &NodeRecord| record.info.roles & PLACEMENT_ROLE == 0;
                if *id == ShardId::PLACEMENT && state.nodes.get(to).is_some_and(lacks_role) {
                    return Err(format!("node {to} has not the role placement"));
                }
                Ok(())
            }
            Operation::TransferLeader { shard: id, to } => {
                node(to)?;
                stays(to)?;
                shard(id)?.replica_on(*to).map(|_| ()).ok_or(format!("node {to} holds no copy of shard {id}"))
            }
            // Whether it can go is a longer story.
            Operation::Decommission { node: id } => node(id),
            Operation::Repair { shard: id, dead } => {
                node(dead)?;
                shard(id).map(|_| ())
            }
            Operation::Withdraw { .. } => Err("it is withdrawn when nothing works on it".into()),
            Operation::Resize { .. } => {
                Err("the number of copies is what ALTER TABLE … CONFIGURE PLACEMENT says".into())
            }
            Operation::Recover { plan, .. } => shard(&plan.shard).map(|_| ()),
            Operation::Remake { .. } => {
                Err("a lost copy is replaced when its node says that it is lost".into())
            }
        }
    }

    async fn operation(&self, id: u64, wait_millis: u64) -> Result<PlacementReply, PlacementError> {
        let find = || -> Result<OperationStatus, PlacementError> {
            let state = self.machine.state();
            let record = state.operations.get(&id);
            record
                .map(|record| record.status.clone())
                .ok_or_else(|| PlacementError::Refused(format!("there is no operation {id}")))
        };
        let over = |status: &OperationStatus| status.state != OperationState::Running;
        let mut changes = self.machine.changes();
        let wait = async {
            while changes.changed().await.is_ok() {
                let closed = changes.borrow_and_update().closed;
                if closed || find().is_ok_and(|status| over(&status)) {
                    return;
                }
            }
        };
        if !over(&find()?) && wait_millis > 0 {
            // Still running is an answer too.
            let _ = self.env.timeout(Duration::from_millis(wait_millis).min(MAX_WAIT), wait).await;
            self.lead()?;
        }
        Ok(PlacementReply::Operations(vec![find()?]))
    }

    pub(crate) async fn number(&self, command: Command) -> Result<u64, PlacementError> {
        match self.propose(command).await? {
            Reply::Number(number) => Ok(number),
            other => Err(PlacementError::Refused(format!("an unexpected reply: {other:?}"))),
        }
    }

    /// Replicates a command and returns what it answers; a refusal by the state is an error.
    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, PlacementError> {
        let term = self.lead()?.term;
        quorate_env::count!("quorate_placement_proposals_total");
        let (_, reply) = self.group.propose(term, encode(&command)).await.map_err(|error| match error {
            ProposeError::NotLeader { leader } => PlacementError::not_leader(leader),
            ProposeError::TermChanged | ProposeError::Stopped => PlacementError::not_leader(None),
            ProposeError::NoQuorum { missing, .. } => {
                PlacementError::Unavailable(format!("nodes not reached: {missing:?}"))
            }
            ProposeError::Ambiguous(why) => PlacementError::Ambiguous(why),
        })?;
        match decode(&reply) {
            Ok(Reply::Refused(why)) => Err(PlacementError::Refused(why)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(PlacementError::Refused(format!("a reply that cannot be read: {error}"))),
        }
    }
}

fn unavailable(error: KvError) -> PlacementError {
    match error {
        KvError::NotLeader { leader, .. } => PlacementError::not_leader(leader),
        other => PlacementError::Unavailable(other.to_string()),
    }
}

//! The shard server of a node: answers requests to its replicas.

use crate::{
    Context, Peers, ShardConfig, admin, closed, eval::orphans, flusher, forget, gc, news, replica::Replica,
    story,
};
use quorate_consensus::Consensus;
use quorate_env::{Env, NodeId, Task, timeline::Happening};
use quorate_proto::kv::{ShardAnswer, ShardOp, ShardRequest};
use quorate_proto::placement::{ReplicaAnswer, ReplicaCommand, ReplicaReport};
use quorate_proto::{KvError, ShardDescriptor, ShardId, Timestamp, rpc::Service};
use quorate_storage::{Engine, StorageError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub struct ShardServer {
    context: Arc<Context>,
    flusher: Task<()>,
    closing: Task<()>,
    collector: Task<()>,
}

impl ShardServer {
    /// Opens all replicas that the engine knows, then answers `Service::Kv` and `Service::Replica`.
    ///
    /// # Errors
    /// If a replica cannot be opened: its disk or its metadata is broken.
    pub async fn start(
        env: Env,
        engine: Arc<dyn Engine>,
        consensus: Arc<Consensus>,
        peers: Arc<dyn Peers>,
        config: ShardConfig,
    ) -> Result<Arc<ShardServer>, KvError> {
        let context = Context::new(env.clone(), engine, consensus, peers, config);
        context.watch_for_damage();
        context.open_all().await?;
        let flusher = env.spawn("shard.flusher", flusher::run(context.clone()));
        let kv = context.clone();
        quorate_env::serve(&env, move |_: NodeId, request: ShardRequest| answer(kv.clone(), request));
        let replicas = context.clone();
        quorate_env::serve(&env, move |_: NodeId, command: ReplicaCommand| {
            execute(replicas.clone(), command)
        });
        let service = closed::ClosingService(Arc::downgrade(&context));
        env.transport().serve(Service::Closing, Arc::new(service));
        let closing = env.spawn("shard.closing", closed::run(context.clone()));
        let (versions, records) = (gc::run(context.clone()), forget::run(context.clone()));
        let locks = orphans::run(context.clone());
        let collector = env.spawn("shard.gc", async move {
            futures::join!(versions, records, locks);
        });
        Ok(Arc::new(ShardServer { context, flusher, closing, collector }))
    }

    /// One request, as if it had come over the network.
    pub async fn handle(&self, request: ShardRequest) -> ShardAnswer {
        answer(self.context.clone(), request).await
    }

    /// One command of the placement driver, as if it had come over the network.
    pub async fn command(&self, command: ReplicaCommand) -> ReplicaAnswer {
        execute(self.context.clone(), command).await
    }

    /// All replicas of the node, also damaged ones. Unchanged while nothing happens.
    pub fn reports(&self) -> Vec<ReplicaReport> {
        self.context.all().iter().map(|replica| replica.report()).collect()
    }

    /// The same of those of which something may be new since this was asked last, for the node's heartbeat. Something that
    /// nobody notes is told of some seconds later.
    pub fn news(&self) -> Vec<ReplicaReport> {
        news::reports(&self.context)
    }

    /// Locks and intents that are known in the shards that the node leads, where there are any.
    pub fn locks(&self) -> BTreeMap<ShardId, usize> {
        let known =
            |replica: &Arc<Replica>| Some((replica.shard, replica.leader_now()?.core().locks.locks()));
        self.context.all().iter().filter_map(known).filter(|(_, locks)| *locks > 0).collect()
    }

    /// The shards of which there are replicas here.
    pub fn held(&self) -> BTreeSet<ShardId> {
        self.context.held()
    }

    /// Descriptors of all replicas that hold keys.
    pub fn descriptors(&self) -> Vec<ShardDescriptor> {
        self.context.all().iter().filter(|r| !r.is_empty()).map(|r| r.descriptor()).collect()
    }

    /// Up to when each replica here can answer alone (PROTOCOL 23).
    pub fn closed(&self) -> Vec<(ShardId, Timestamp)> {
        closed::all(&self.context)
    }

    /// Changes [`ShardConfig::closing_target`]; K does not fall.
    pub fn set_closing_target(&self, target: Duration) {
        self.context.closing.set_target(target);
    }

    /// Old versions that are only seen from before `horizon`, about `ttl` ago, may go in the background (PROTOCOL 24).
    pub fn set_gc_horizon(&self, horizon: Timestamp, ttl: Duration) {
        self.context.collector.set_horizon(horizon, ttl);
    }

    /// The same now, in all shards that this node leads; how many went.
    pub async fn collect_garbage(&self, horizon: Timestamp) -> u64 {
        gc::round(&self.context, horizon).await
    }

    /// Records of transactions with deadlines up to `until` go now, in all shards that this node leads; how many went. By
    /// itself it happens a retention later ([`ShardConfig::retention`]).
    pub async fn forget_records(&self, until: Timestamp) -> u64 {
        forget::round(&self.context, until).await
    }

    /// Below what nothing can be read any more, of each replica that holds keys.
    pub fn gc_thresholds(&self) -> Vec<(ShardId, Timestamp)> {
        let held = self.context.all().into_iter().filter(|replica| !replica.is_empty());
        held.map(|replica| (replica.shard, replica.state.load().gc_threshold)).collect()
    }

    /// Makes everything applied durable now, for an orderly stop.
    ///
    /// # Errors
    /// If the engine cannot be flushed.
    pub async fn flush(&self) -> Result<(), StorageError> {
        flusher::flush(&self.context).await
    }
}

impl Drop for ShardServer {
    fn drop(&mut self) {
        self.flusher.abort();
        self.closing.abort();
        self.collector.abort();
        // Replicas hold the context that holds them.
        self.context.replicas.write().clear();
    }
}

async fn answer(context: Arc<Context>, request: ShardRequest) -> ShardAnswer {
    let asked = story::Asked::of(context.env.node(), &request);
    let answer = match context.replica(request.shard) {
        Some(replica) => replica.handle(request).await,
        None => not_here(&context, &request),
    };
    if let Some(asked) = asked {
        asked.answered(&answer);
    }
    answer
}

fn not_here(context: &Context, request: &ShardRequest) -> ShardAnswer {
    release_everywhere(context, &request.op);
    let mut keys = Vec::new();
    crate::eval::for_each_key(&request.op, |key| keys.push(key.clone()));
    keys.extend(context.absorbed.lock().start_of(request.shard));
    let newer = context.owners(keys.iter());
    ShardAnswer { result: Err(KvError::StaleRoute { shard: request.shard, newer }), newer: Vec::new() }
}

async fn execute(context: Arc<Context>, command: ReplicaCommand) -> ReplicaAnswer {
    let what = format!("{command:?}");
    let mut result = admin::execute(&context, command).await;
    if context.env.fault("shard.lost_command_answer") {
        result = Err(KvError::Unreachable { node: context.env.node(), why: "by fault point".into() });
    }
    quorate_env::timeline::tell(|| Happening {
        node: Some(context.env.node()),
        what: format!("{what} → {}", result.as_ref().map_or_else(ToString::to_string, |_| "done".into())),
        ..Happening::default()
    });
    match &result {
        Ok(_) => tracing::debug!("{what}"),
        Err(error) => tracing::info!(%error, "{what}"),
    }
    ReplicaAnswer { result }
}

/// What a stale release of locks may have meant: the keys may have gone to any shard of this node by a split or a merge.
pub(crate) fn release_everywhere(context: &Context, op: &ShardOp) {
    if let ShardOp::ReleaseLocks(release) = op {
        context
            .all()
            .iter()
            .filter_map(|replica| replica.leader_now())
            .for_each(|leader| leader.release(release));
    }
}

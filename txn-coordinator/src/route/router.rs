//! Gets a request to whoever leads the shard of its keys, within a deadline.

use super::{
    map::ShardMap,
    source::{MapSource, Questions},
    tracker::Tracker,
};
use crate::Cost;
use parking_lot::RwLock;
use quorate_env::{Env, PlacementClient, TransportError, planted, rpc};
use quorate_proto::{
    Key, KvError, NodeId, ReplicaRole, ShardDescriptor, ShardId, Span,
    kv::{ReadOp, ShardAnswer, ShardOp, ShardReply, ShardRequest},
    placement::MapUpdate,
    rpc::{Service, decode, encode},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions {
    /// On [`Env::boottime`]; after it no further attempt is made.
    pub deadline: Duration,
    /// How long one attempt waits for its answer.
    pub attempt: Duration,
    /// Any replica may answer, the nearest is asked first.
    pub follower: bool,
}

/// An answer, and what it took.
#[derive(Clone, Debug)]
pub struct Sent {
    pub reply: ShardReply,
    pub shard: ShardId,
    pub node: NodeId,
    /// An earlier copy of the request was lost sight of: it may have been carried out as well.
    pub repeated: bool,
    pub cost: Cost,
}

#[derive(Clone, Debug)]
pub struct SendError {
    pub error: KvError,
    pub shard: Option<ShardId>,
    /// A copy of the request was lost sight of: it may have been carried out, or may still be.
    pub maybe: bool,
    /// The keys of the request lie in several shards by now; group them anew.
    pub regroup: bool,
    pub cost: Cost,
}

/// Cache of the shard map and of who leads what; shared by all transactions of a node.
pub struct Router {
    env: Env,
    source: Option<Arc<dyn MapSource>>,
    map: RwLock<ShardMap>,
    trouble: Tracker,
    unavailable_after: Duration,
    questions: Questions,
}

/// The first pause after nobody served a shard; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(4);
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// No shard is given up before this request itself has tried for so long.
const MIN_TRY: Duration = Duration::from_millis(500);

impl Router {
    pub fn new(env: Env, placement: Arc<PlacementClient>) -> Arc<Self> {
        Self::with_source(env, Some(placement), crate::TxnConfig::default().unavailable_after)
    }

    /// Over any source of the map, or none (then all comes through [`Router::update`] and the shards' refusals).
    pub fn with_source(
        env: Env,
        source: Option<Arc<dyn MapSource>>,
        unavailable_after: Duration,
    ) -> Arc<Self> {
        Arc::new(Router {
            env,
            source,
            map: RwLock::default(),
            trouble: Tracker::default(),
            unavailable_after,
            questions: Questions::default(),
        })
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Takes the driver's news, as heartbeats bring them.
    pub fn update(&self, update: &MapUpdate) {
        self.map.write().update(update);
    }

    /// Takes what a shard says of itself.
    pub fn learn(&self, descriptors: &[ShardDescriptor]) -> bool {
        let mut map = self.map.write();
        descriptors.iter().fold(false, |news, d| map.learn(d) | news)
    }

    /// The version of the driver's map that is included here.
    pub fn map_version(&self) -> u64 {
        self.map.read().version()
    }

    /// All shards known, in key order, with their leaders as last seen.
    pub fn shards(&self) -> Vec<(ShardDescriptor, Option<NodeId>)> {
        let map = self.map.read();
        map.shards().map(|d| (d.clone(), map.leader(d.id))).collect()
    }

    /// The shard that owns a key, and its leader as last seen.
    pub fn lookup(&self, key: &[u8]) -> Option<(ShardDescriptor, Option<NodeId>)> {
        let map = self.map.read();
        let descriptor = map.lookup(key)?.clone();
        let leader = map.leader(descriptor.id);
        Some((descriptor, leader))
    }

    /// The shards that own some keys, of which `next` names the first at or after a given one.
    pub fn owners(&self, next: impl Fn(&Key) -> Option<Key>) -> BTreeSet<ShardId> {
        let map = self.map.read();
        let mut owners = BTreeSet::new();
        let mut from = Some(Key::MIN);
        while let Some(key) = from.as_ref().and_then(&next) {
            let shard = map.lookup(&key);
            owners.extend(shard.map(|shard| shard.id));
            // Where the map has a hole, on to the next key.
            from = shard.map_or_else(|| Some(key.successor()), |shard| shard.span.end.clone());
        }
        owners
    }

    /// Which shard owns a key; asks the driver if the map does not say.
    pub async fn locate(&self, key: &[u8], deadline: Duration) -> Result<ShardDescriptor, SendError> {
        self.wait_for(deadline, |map| map.lookup(key).cloned()).await
    }

    /// Which shard owns the last keys before `end`.
    pub async fn locate_before(
        &self,
        end: Option<&Key>,
        deadline: Duration,
    ) -> Result<ShardDescriptor, SendError> {
        self.wait_for(deadline, |map| map.lookup_before(end).cloned()).await
    }

    /// The parts of a span by shard.
    pub async fn split(
        &self,
        span: &Span,
        deadline: Duration,
    ) -> Result<Vec<(ShardDescriptor, Span)>, SendError> {
        self.wait_for(deadline, |map| map.split(span)).await
    }

    async fn wait_for<T>(
        &self,
        deadline: Duration,
        find: impl Fn(&ShardMap) -> Option<T>,
    ) -> Result<T, SendError> {
        let began = self.env.boottime();
        let mut pause = MIN_PAUSE;
        loop {
            if let Some(found) = find(&self.map.read()) {
                return Ok(found);
            }
            self.ask_for_map().await;
            if let Some(found) = find(&self.map.read()) {
                return Ok(found);
            }
            let now = self.env.boottime();
            if now >= deadline || now.saturating_sub(began) >= self.unavailable_after {
                return Err(SendError {
                    error: KvError::Timeout { why: "no shard is known for the key".into() },
                    shard: None,
                    maybe: false,
                    regroup: false,
                    cost: Cost::default(),
                });
            }
            self.pause(&mut pause).await;
        }
    }

    /// Brings the map up to date; several askers share one question.
    pub async fn ask_for_map(&self) {
        let Some(source) = &self.source else { return };
        self.questions
            .share(async {
                quorate_env::count!("quorate_txn_map_requests_total");
                if let Some(update) = source.changes(self.map_version()).await {
                    self.update(&update);
                }
            })
            .await;
    }

    /// Sends the operation to the shard that owns its keys and waits for the answer. Every operation may be repeated (the
    /// shard answers repetitions from intents, records and done-records), so a lost answer is asked for again; the result
    /// says if that happened.
    pub async fn send(&self, op: ShardOp, options: SendOptions) -> Result<Sent, SendError> {
        let Some(hull) = hull(&op) else {
            return Err(SendError {
                error: KvError::BadRequest { why: "an operation without keys".into() },
                shard: None,
                maybe: false,
                regroup: false,
                cost: Cost::default(),
            });
        };
        Errand { router: self, op, options, cost: Cost::default(), maybe: false }.run(hull).await
    }

    /// Tells a shard by its id, and if it was split or merged since, all that have its keys by now: the leader as last seen, and whoever that
    /// one names. Gives up after `patience`, for messages whose loss does little harm.
    pub async fn tell(&self, shard: ShardId, op: ShardOp, patience: Duration) {
        let until = self.env.boottime() + patience;
        let mut shards = vec![shard];
        while let Some(shard) = shards.pop() {
            if let Some(former) = self.tell_one(shard, &op, until).await {
                let owners = self.split(&former, until).await.unwrap_or_default();
                shards.extend(owners.into_iter().map(|(owner, _)| owner.id));
            }
        }
    }

    /// Tells a shard while it has the keys that it is known for; if it has others by now, returns where those were.
    async fn tell_one(&self, shard: ShardId, op: &ShardOp, until: Duration) -> Option<Span> {
        let known = self.map.read().get(shard)?.clone();
        let (mut pause, mut told) = (MIN_PAUSE, None);
        for turn in 0.. {
            let now = self.map.read().get(shard).filter(|now| now.version == known.version).cloned();
            let Some(descriptor) = now else { return Some(known.span) };
            let node = told.take().or_else(|| self.pick(&descriptor, turn, false))?;
            let request = request(&descriptor, op.clone());
            match rpc::call(&self.env, node, &request, Duration::from_secs(2)).await {
                Ok(ShardAnswer { result: Err(KvError::NotLeader { leader, .. }), .. }) => {
                    self.forget_leader(shard, node);
                    told = leader.filter(|leader| *leader != node);
                }
                // It may have just begun to lead.
                Ok(ShardAnswer { result: Err(KvError::NotReady { .. }), .. }) => {}
                Ok(ShardAnswer { result: Err(KvError::StaleRoute { newer, .. }), .. }) => {
                    if self.learn(&newer) {
                        continue;
                    }
                    self.forget_leader(shard, node);
                    self.ask_for_map().await;
                }
                Ok(answer) => {
                    self.learn(&answer.newer);
                    return None;
                }
                Err(_) => self.forget_leader(shard, node),
            }
            if self.env.boottime() >= until {
                return None;
            }
            self.pause(&mut pause).await;
        }
        None
    }

    async fn pause(&self, pause: &mut Duration) {
        self.env.sleep(self.env.jittered(*pause)).await;
        *pause = (*pause * 2).min(MAX_PAUSE);
    }
}

/// One request under way.
struct Errand<'a> {
    router: &'a Router,
    op: ShardOp,
    options: SendOptions,
    cost: Cost,
    maybe: bool,
}

/// What to do after an attempt that brought no result.
enum Next {
    /// There at once: somebody told where.
    Hop(NodeId),
    /// The next replica, after a pause if all were asked.
    Another { unreached: Vec<NodeId>, last: KvError },
    /// The map has changed, or must be asked for.
    Remap { news: bool },
    /// The same again, later.
    Later(Duration, KvError),
}

impl Errand<'_> {
    async fn run(mut self, hull: Span) -> Result<Sent, SendError> {
        let began = self.router.env.boottime();
        let (mut pause, mut tried, mut hops) = (MIN_PAUSE, 0usize, 0u32);
        let mut told: Option<NodeId> = None;
        let mut last_error = None;
        loop {
            let found = self.router.locate(&hull.start, self.options.deadline).await;
            let shard = match found {
                Ok(shard) => shard,
                Err(error) => return Err(self.fail(None, error.error)),
            };
            if !shard.span.contains_span(&hull) {
                let error = KvError::StaleRoute { shard: shard.id, newer: Vec::new() };
                return Err(SendError { regroup: true, ..self.fail(Some(shard.id), error) });
            }
            let now = self.router.env.boottime();
            if now >= self.options.deadline {
                let error = last_error.unwrap_or(KvError::Timeout { why: "no answer in time".into() });
                return Err(self.out_of_time(shard.id, error));
            }
            let anybody = self.options.follower && !planted!("txn.past_is_read_at_leaders");
            let node = match told.take() {
                Some(node) => node,
                None => match self.router.pick(&shard, tried, anybody) {
                    Some(node) => node,
                    None => return Err(self.fail(Some(shard.id), nobody(&shard))),
                },
            };
            tried += 1;
            let next = match self.attempt(&shard, node).await {
                Ok(sent) => return sent,
                Err(next) => next,
            };
            self.cost.reroutes += 1;
            match next {
                Next::Remap { news } => {
                    if !news {
                        self.router.ask_for_map().await;
                        self.router.pause(&mut pause).await;
                    }
                }
                Next::Hop(node) if hops < 4 => {
                    hops += 1;
                    told = Some(node);
                }
                Next::Hop(_) => {
                    hops = 0;
                    self.router.pause(&mut pause).await;
                }
                Next::Later(wait, error) => {
                    // A copy that is given up while it stands in line might be carried out.
                    let left = self.options.deadline.saturating_sub(self.router.env.boottime());
                    if left < wait + self.options.attempt {
                        return Err(self.out_of_time(shard.id, error));
                    }
                    last_error = Some(error);
                    self.router.env.sleep(self.router.env.jittered(wait)).await;
                }
                Next::Another { unreached, last } => {
                    let now = self.router.env.boottime();
                    let (lasted, missing) = self.router.trouble.failed(shard.id, unreached, now);
                    let round = shard.replicas.len().max(1);
                    let tried_enough = tried >= round && now.saturating_sub(began) >= MIN_TRY;
                    if tried_enough && lasted >= self.router.unavailable_after {
                        if missing.is_empty() && matches!(last, KvError::NotReady { .. }) {
                            // Nobody is missing: it says what it waits for, as while it is merged.
                            return Err(self.fail(Some(shard.id), last));
                        }
                        return Err(self.unavailable(shard.id, missing, lasted));
                    }
                    last_error = Some(last);
                    if tried.is_multiple_of(round) {
                        if pause >= MAX_PAUSE {
                            self.router.ask_for_map().await;
                        }
                        self.router.pause(&mut pause).await;
                    }
                }
            }
        }
    }

    /// One copy of the request, to one node. `Err` says how to go on.
    async fn attempt(
        &mut self,
        shard: &ShardDescriptor,
        node: NodeId,
    ) -> Result<Result<Sent, SendError>, Next> {
        let mut answer = self.call(shard, node).await;
        if self.router.env.fault("txn.lost_answer") {
            answer = Err(TransportError::Lost("by fault point".into()));
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.router.forget_leader(shard.id, node);
                self.maybe |= !error.is_definite() && !is_read(&self.op);
                let last = match &error {
                    TransportError::Lost(why) => KvError::Ambiguous { why: why.clone() },
                    other => KvError::Unreachable { node, why: other.to_string() },
                };
                return Err(Next::Another { unreached: vec![node], last });
            }
        };
        let news = self.router.learn(&answer.newer);
        match answer.result {
            Ok(reply) => {
                self.router.trouble.served(shard.id);
                if !self.options.follower {
                    self.router.set_leader(shard.id, node);
                }
                let cost = self.cost;
                Ok(Ok(Sent { reply, shard: shard.id, node, repeated: self.maybe, cost }))
            }
            Err(error) => self.refused(shard, node, error, news),
        }
    }

    fn refused(
        &mut self,
        shard: &ShardDescriptor,
        node: NodeId,
        error: KvError,
        news: bool,
    ) -> Result<Result<Sent, SendError>, Next> {
        match error {
            KvError::NotLeader { leader: Some(leader), .. } if leader != node => {
                self.router.set_leader(shard.id, leader);
                Err(Next::Hop(leader))
            }
            KvError::StaleRoute { ref newer, .. } => {
                let news = self.router.learn(newer) || news;
                if !news {
                    // It knows of no better map, and perhaps holds nothing of the shard any more: others do.
                    self.router.forget_leader(shard.id, node);
                }
                Err(Next::Remap { news })
            }
            KvError::QuorumUnavailable { ref missing, .. } => {
                let unreached = missing.clone();
                self.router.forget_leader(shard.id, node);
                Err(Next::Another { unreached, last: error })
            }
            KvError::NotLeader { .. } | KvError::NotReady { .. } | KvError::ClockFenced { .. } => {
                self.router.forget_leader(shard.id, node);
                Err(Next::Another { unreached: Vec::new(), last: error })
            }
            KvError::Unreachable { .. } => Err(Next::Another { unreached: vec![node], last: error }),
            KvError::Ambiguous { .. } => {
                self.maybe |= !is_read(&self.op);
                Err(Next::Another { unreached: Vec::new(), last: error })
            }
            KvError::Forgotten { .. } => {
                self.maybe |= !is_read(&self.op);
                Ok(Err(self.fail(Some(shard.id), error)))
            }
            KvError::Overloaded { retry_after_millis, .. } => {
                Err(Next::Later(Duration::from_millis(retry_after_millis.clamp(5, 1000)), error))
            }
            other => {
                self.router.trouble.served(shard.id);
                if !self.options.follower {
                    self.router.set_leader(shard.id, node);
                }
                Ok(Err(self.fail(Some(shard.id), other)))
            }
        }
    }

    async fn call(&mut self, shard: &ShardDescriptor, node: NodeId) -> Result<ShardAnswer, TransportError> {
        let env = &self.router.env;
        let request = request(shard, self.op.clone());
        let left = self.options.deadline.saturating_sub(env.boottime());
        let timeout = self.options.attempt.min(left);
        if node == env.node() {
            return rpc::call(env, node, &request, timeout).await;
        }
        let body = encode(&request);
        drop(request);
        self.cost.calls += 1;
        self.cost.bytes += body.len() as u64;
        let answer = env.transport().call(node, Service::Kv, body, timeout).await?;
        self.cost.bytes += answer.len() as u64;
        decode(&answer).map_err(|error| TransportError::Lost(format!("the answer cannot be read: {error}")))
    }

    fn fail(&self, shard: Option<ShardId>, error: KvError) -> SendError {
        SendError { error, shard, maybe: self.maybe, regroup: false, cost: self.cost }
    }

    fn out_of_time(&self, shard: ShardId, last: KvError) -> SendError {
        let error = match last {
            _ if self.maybe => KvError::Ambiguous { why: format!("no answer of shard {shard} in time") },
            KvError::Timeout { .. } | KvError::Overloaded { .. } => last,
            other => KvError::Timeout { why: format!("shard {shard}: {other}") },
        };
        self.fail(Some(shard), error)
    }

    fn unavailable(&self, shard: ShardId, missing: Vec<NodeId>, lasted: Duration) -> SendError {
        quorate_env::count!("quorate_txn_unavailable_total");
        let for_micros = lasted.as_micros() as u64;
        self.fail(Some(shard), KvError::QuorumUnavailable { shard, missing, for_micros })
    }
}

impl Router {
    fn set_leader(&self, shard: ShardId, node: NodeId) {
        if self.map.read().leader(shard) != Some(node) {
            self.map.write().set_leader(shard, Some(node));
        }
    }

    /// That node does not lead any more, or cannot be reached.
    fn forget_leader(&self, shard: ShardId, node: NodeId) {
        if self.map.read().leader(shard) == Some(node) {
            self.map.write().set_leader(shard, None);
        }
    }

    /// Whom to ask at the `n`th attempt: the leader as last seen, then one replica after another, own node first.
    fn pick(&self, shard: &ShardDescriptor, n: usize, follower: bool) -> Option<NodeId> {
        let own = self.env.node();
        let data = || shard.replicas.iter().filter(|r| r.role != ReplicaRole::Witness);
        if follower && n == 0 && data().any(|r| r.node == own) {
            return Some(own);
        }
        if let Some(leader) = self.map.read().leader(shard.id) {
            return Some(leader);
        }
        let mut nodes: Vec<NodeId> =
            data().filter(|r| r.role == ReplicaRole::Voter).map(|r| r.node).collect();
        nodes.sort_by_key(|node| (*node != own, node.0));
        (!nodes.is_empty()).then(|| nodes[n % nodes.len()])
    }
}

fn request(shard: &ShardDescriptor, op: ShardOp) -> ShardRequest {
    ShardRequest { shard: shard.id, version: shard.version, config_epoch: shard.config_epoch, op }
}

fn nobody(shard: &ShardDescriptor) -> KvError {
    KvError::QuorumUnavailable { shard: shard.id, missing: Vec::new(), for_micros: 0 }
}

fn is_read(op: &ShardOp) -> bool {
    matches!(op, ShardOp::Read(_))
}

/// The smallest span that holds all keys of an operation; `None` if it has none.
pub(crate) fn hull(op: &ShardOp) -> Option<Span> {
    let mut hull = Hull::default();
    let mut parts =
        |refresh: &[Span], checks: &[quorate_proto::kv::Check], writes: &[quorate_proto::kv::Write]| {
            refresh.iter().for_each(|span| hull.add_span(span));
            checks.iter().for_each(|check| hull.add(&check.key));
            writes.iter().for_each(|write| hull.add(&write.key));
        };
    match op {
        ShardOp::Read(read) => {
            for op in &read.ops {
                match op {
                    ReadOp::Get(key) => hull.add(key),
                    ReadOp::Scan(scan) => hull.add_span(&scan.span),
                }
            }
        }
        ShardOp::CommitLocal(c) => parts(&c.refresh, &c.checks, &c.writes),
        ShardOp::Prepare(p) => parts(&p.refresh, &p.checks, &p.writes),
        ShardOp::Refresh(r) => parts(&r.spans, &r.checks, &[]),
        ShardOp::Decide(d) => hull.add(&d.txn.anchor),
        ShardOp::Resolve(r) => r.keys.iter().for_each(|key| hull.add(key)),
        ShardOp::QueryTxn(q) => hull.add(&q.anchor),
        ShardOp::Heartbeat(h) => hull.add(&h.txn.anchor),
        ShardOp::Waits(w) => hull.add(&w.keeper),
        ShardOp::Prevent(p) => hull.add(&p.key),
        ShardOp::Settle(s) => hull.add(&s.at),
        ShardOp::ReleaseLocks(_) => {}
    }
    hull.0
}

#[derive(Default)]
struct Hull(Option<Span>);

impl Hull {
    fn add(&mut self, key: &Key) {
        if !self.0.as_ref().is_some_and(|hull| hull.contains(key)) {
            self.add_span(&Span::point(key));
        }
    }

    fn add_span(&mut self, span: &Span) {
        self.0 = Some(match self.0.take() {
            None => span.clone(),
            Some(hull) => Span {
                start: hull.start.min(span.start.clone()),
                end: match (hull.end, &span.end) {
                    (Some(a), Some(b)) => Some(a.max(b.clone())),
                    _ => None,
                },
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_env::sim::{SimConfig, SimWorld};
    use quorate_proto::kv::{Inquiry, QueryTxn, TxnState};
    use quorate_proto::{Replica, ReplicaId, TxnId};

    /// The replica that led has gone to another node; the one that it left knows nobody, and the map has no news.
    #[test]
    fn a_node_that_holds_the_shard_no_longer_is_not_asked_for_ever() {
        let run = SimWorld::run(SimConfig::new(1), |world| async move {
            let envs = [1, 2, 3].map(|node| world.start(NodeId(node), ""));
            for env in &envs[1..] {
                let result = match env.node() {
                    NodeId(3) => Err(KvError::StaleRoute { shard: ShardId::FIRST, newer: Vec::new() }),
                    _ => Ok(ShardReply::Txn(TxnState::Aborted)),
                };
                quorate_env::serve(env, move |_: NodeId, _: ShardRequest| {
                    std::future::ready(ShardAnswer { result: result.clone(), newer: Vec::new() })
                });
            }
            let router = Router::with_source(envs[0].clone(), None, Duration::from_secs(5));
            let member = |node| Replica { id: ReplicaId(node), node: NodeId(node), role: ReplicaRole::Voter };
            let (id, span) = (ShardId::FIRST, Span::ALL);
            let replicas = vec![member(2), member(3)];
            router.learn(&[ShardDescriptor { id, span, version: 1, config_epoch: 1, replicas }]);
            router.set_leader(ShardId::FIRST, NodeId(3));
            let query = QueryTxn { txn: TxnId(1), anchor: Key::from("a"), why: Inquiry::Outcome, meta: None };
            let deadline = envs[0].boottime() + Duration::from_secs(10);
            let options = SendOptions { deadline, attempt: Duration::from_secs(1), follower: false };
            let sent = router.send(ShardOp::QueryTxn(query), options).await;
            assert_eq!(sent.map(|sent| sent.node).map_err(|failed| failed.error), Ok(NodeId(2)));
        });
        run.unwrap();
    }
}

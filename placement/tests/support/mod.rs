//! A cluster for the driver: real groups of the driver itself on simulated nodes, and fake shards that do what they are told.

mod merges;
mod recovery;

use parking_lot::Mutex;
use quorate_consensus::{Consensus, ConsensusConfig};
use quorate_env::{
    Env, PlacementClient, rpc,
    sim::{SimConfig, SimWorld},
};
use quorate_placement::{Founding, Host, Placement};
use quorate_proto::{
    KvError, LogPosition, NodeId, Replica, ReplicaId, ReplicaRole, Seal, ShardDescriptor, ShardId, Space,
    Span, Tempo, Timestamp,
    placement::{
        Frontiers, Leaving, MemberProgress, NodeInfo, Operation, OperationState, OperationStatus,
        PlacementError, PlacementReply, PlacementRequest, ReplicaAnswer, ReplicaCommand, ReplicaReply,
        ReplicaReport, ShardLoad, ShardMode, Tier,
    },
};
use quorate_storage::{Family, LogStore as _, MemEngine, MemLog};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// The fake shards, all that is true of them.
#[derive(Default)]
pub struct Shards {
    pub truth: BTreeMap<ShardId, Shard>,
    /// Copies by shard and node, with the descriptor that the copy knows.
    pub copies: BTreeMap<(ShardId, NodeId), (ReplicaId, ShardDescriptor)>,
    /// Every command that a node has got, shortened.
    pub told: Vec<String>,
    /// The next command is carried out, but its answer gets lost.
    pub lose_answers: usize,
    /// Replicas that were on a node and are lost: the node makes none under such an id.
    pub lost: BTreeSet<ReplicaId>,
    /// Nodes whose copies do not come to a seal.
    pub lagging: BTreeSet<NodeId>,
    /// Questions at a sealed shard that are answered as if the seal came later.
    pub seal_unseen: u32,
    /// Nodes whose heartbeats do not tell of copies.
    pub reticent: BTreeSet<NodeId>,
    /// Shards that let no new member in: each try finds another change before it.
    pub restless: BTreeSet<ShardId>,
    /// Who has told that its copy has come to the seal of a shard.
    sealed: BTreeSet<(ShardId, LogPosition, NodeId)>,
    down: BTreeSet<NodeId>,
    /// Copies that take themselves for the leader's, whatever the others say.
    pub deluded: BTreeSet<(ShardId, NodeId)>,
    /// No copy is given up for now.
    pub keep_copies: bool,
    /// What leaders tell of bytes and requests; of other shards, nothing.
    pub loads: BTreeMap<ShardId, (u64, ShardLoad)>,
}

pub struct Shard {
    pub descriptor: ShardDescriptor,
    pub leader: NodeId,
    pub term: u64,
    /// Questions until a learner has caught up.
    pub behind: u32,
    /// It serves nobody.
    pub seal: Option<Seal>,
}

impl Shards {
    fn execute(&mut self, node: NodeId, command: ReplicaCommand) -> Result<ReplicaReply, KvError> {
        let name = format!("{command:?}");
        self.told.push(format!("{node}: {}", name.split([' ', '{']).next().unwrap_or_default()));
        match command {
            ReplicaCommand::CreateShard { descriptor } => {
                let id = descriptor.id;
                let own = descriptor.replica_on(node).expect("a member").id;
                self.copies.insert((id, node), (own, descriptor.clone()));
                self.truth.entry(id).or_insert(Shard {
                    descriptor,
                    leader: node,
                    term: 2,
                    behind: 0,
                    seal: None,
                });
                Ok(ReplicaReply::Done)
            }
            ReplicaCommand::CreateLearner { replica, .. } if self.lost.contains(&replica.id) => {
                Err(KvError::BadRequest {
                    why: format!("replica {} may have promised something", replica.id),
                })
            }
            ReplicaCommand::CreateLearner { descriptor, replica } => {
                if let Some((other, _)) = self.copies.get(&(descriptor.id, node))
                    && *other != replica.id
                {
                    return Err(KvError::BadRequest { why: format!("replica {other} is here") });
                }
                self.copies.entry((descriptor.id, node)).or_insert((replica.id, descriptor));
                Ok(ReplicaReply::Done)
            }
            ReplicaCommand::Split { shard, at, right, right_replicas, version } => {
                self.leads(shard, node)?;
                if let Some(done) = self.truth.get(&right) {
                    return Ok(ReplicaReply::Changed(vec![
                        self.truth[&shard].descriptor.clone(),
                        done.descriptor.clone(),
                    ]));
                }
                let left = self.truth.get_mut(&shard).expect("checked");
                if !left.descriptor.span.contains(&at) {
                    return Err(KvError::BadRequest { why: "not inside".into() });
                }
                if left.descriptor.version != version {
                    return Err(KvError::StaleRoute { shard, newer: vec![left.descriptor.clone()] });
                }
                let end = left.descriptor.span.end.replace(at.clone());
                left.descriptor.version += 1;
                let (leader, term) = (left.leader, left.term);
                let left = left.descriptor.clone();
                let replicas = left.replicas.iter().zip(right_replicas);
                let descriptor = ShardDescriptor {
                    id: right,
                    span: Span { start: at, end },
                    version: left.version,
                    config_epoch: left.config_epoch,
                    replicas: replicas.map(|(r, id)| Replica { id, ..r.clone() }).collect(),
                };
                for replica in &descriptor.replicas {
                    self.copies.insert((right, replica.node), (replica.id, descriptor.clone()));
                }
                self.truth.insert(
                    right,
                    Shard { descriptor: descriptor.clone(), leader, term, behind: 0, seal: None },
                );
                self.publish(shard);
                Ok(ReplicaReply::Changed(vec![left, descriptor]))
            }
            ReplicaCommand::ChangeMembers { shard, config_epoch, members } => {
                self.leads(shard, node)?;
                let truth = self.truth.get_mut(&shard).expect("checked");
                if truth.descriptor.replicas == members {
                    return Ok(ReplicaReply::Changed(vec![truth.descriptor.clone()]));
                }
                if truth.descriptor.config_epoch != config_epoch {
                    return Err(KvError::StaleRoute { shard, newer: vec![truth.descriptor.clone()] });
                }
                if self.restless.contains(&shard) {
                    truth.descriptor.config_epoch += 1;
                    return Err(KvError::StaleRoute { shard, newer: vec![truth.descriptor.clone()] });
                }
                let known = |id| truth.descriptor.replicas.iter().any(|replica| replica.id == id);
                if members.iter().any(|member| !known(member.id)) {
                    truth.behind = 3;
                } else if members.iter().any(|member| votes_now(&truth.descriptor, member)) {
                    assert_eq!(truth.behind, 0, "a learner votes before it has caught up");
                }
                let two = |a: &&Replica| members.iter().filter(|b| b.node == a.node).count() > 1;
                assert_eq!(members.iter().find(two), None, "two copies on one node");
                assert!(members.iter().any(|m| m.node == node), "the leader was removed");
                truth.descriptor.replicas = members;
                truth.descriptor.config_epoch += 1;
                let changed = truth.descriptor.clone();
                self.publish(shard);
                Ok(ReplicaReply::Changed(vec![changed]))
            }
            ReplicaCommand::TransferLeader { shard, to } => {
                let truth = self.truth.get_mut(&shard).ok_or_else(|| gone(shard))?;
                let heir = truth.descriptor.replicas.iter().find(|r| r.id == to).expect("a member").node;
                if truth.leader != heir {
                    self.leads(shard, node)?;
                    if self.down.contains(&heir) {
                        return Err(KvError::Timeout { why: format!("node {heir} does not take over") });
                    }
                    let truth = self.truth.get_mut(&shard).expect("checked");
                    truth.leader = heir;
                    truth.term += 1;
                }
                Ok(ReplicaReply::Done)
            }
            ReplicaCommand::Destroy { shard, .. } if self.keep_copies => {
                Err(KvError::NotReady { shard, why: "not now".into() })
            }
            ReplicaCommand::Destroy { shard, replica } => {
                let mut members =
                    self.truth.get(&shard).into_iter().flat_map(|truth| &truth.descriptor.replicas);
                assert!(members.all(|r| r.id != replica), "a member was destroyed");
                self.copies.retain(|(s, n), (id, _)| (*s, *n, *id) != (shard, node, replica));
                Ok(ReplicaReply::Done)
            }
            ReplicaCommand::Status { shard } => {
                self.leads(shard, node)?;
                let truth = self.truth.get_mut(&shard).expect("checked");
                truth.behind = truth.behind.saturating_sub(1);
                let caught_up = truth.behind == 0;
                let members = truth.descriptor.replicas.iter().map(|replica| MemberProgress {
                    replica: replica.clone(),
                    matched: 1,
                    caught_up: caught_up || replica.role == ReplicaRole::Voter,
                });
                let mut seal = truth.seal.clone().map(Box::new);
                if seal.is_some() && self.seal_unseen > 0 {
                    self.seal_unseen -= 1;
                    seal = None;
                }
                Ok(ReplicaReply::Status {
                    descriptor: truth.descriptor.clone(),
                    leader: Some(truth.leader),
                    members: members.collect(),
                    seal,
                })
            }
            ReplicaCommand::Holdings => {
                let held = self.copies.keys().filter(|(_, holder)| *holder == node);
                Ok(ReplicaReply::Holdings(held.map(|(shard, _)| *shard).collect()))
            }
            ReplicaCommand::Testify { shard } => self.testify(node, shard),
            ReplicaCommand::Fence { .. } => Ok(ReplicaReply::Done),
            ReplicaCommand::Revive { shard, old, new, last, epochs } => {
                self.revive(node, shard, (old, new), last, epochs)
            }
            command => self.merge(node, command),
        }
    }

    fn leads(&self, shard: ShardId, node: NodeId) -> Result<(), KvError> {
        let truth = self.truth.get(&shard).ok_or_else(|| gone(shard))?;
        if truth.leader != node {
            return Err(KvError::NotLeader { shard, leader: Some(truth.leader) });
        }
        let there = |copy: &&Replica| {
            let held = self.copies.get(&(shard, copy.node)).is_some_and(|(id, _)| *id == copy.id);
            held && !self.down.contains(&copy.node)
        };
        match 2 * truth.descriptor.voters().filter(there).count() > truth.descriptor.voters().count() {
            true => Ok(()),
            false => Err(KvError::NotLeader { shard, leader: None }),
        }
    }

    /// The members hear of it; who was removed does not.
    fn publish(&mut self, shard: ShardId) {
        let descriptor = self.truth[&shard].descriptor.clone();
        for replica in &descriptor.replicas {
            if let Some(copy) = self.copies.get_mut(&(shard, replica.node)) {
                copy.1 = descriptor.clone();
            }
        }
    }

    /// The node's leaderships go to others, as elections would have it.
    pub fn node_died(&mut self, node: NodeId) {
        self.down.insert(node);
        let led: Vec<ShardId> =
            self.truth.iter().filter(|(_, s)| s.leader == node).map(|(id, _)| *id).collect();
        led.into_iter().for_each(|shard| self.elect(shard, node));
    }

    /// Another voter leads than the one on `node`.
    fn elect(&mut self, shard: ShardId, node: NodeId) {
        let shard = self.truth.get_mut(&shard).expect("a shard");
        let there = |r: &&Replica| r.node != node && !self.lost.contains(&r.id);
        shard.term += 1;
        shard.leader = shard.descriptor.voters().find(there).map_or(node, |r| r.node);
    }

    fn reports(&self, node: NodeId) -> Vec<ReplicaReport> {
        let told = |holder: NodeId| holder == node && !self.reticent.contains(&node);
        let own = self.copies.iter().filter(|((_, holder), _)| told(*holder));
        own.map(|((shard, _), (replica, descriptor))| {
            // One that was merged into another is led by nobody.
            let truth = self.truth.get(shard);
            let led = truth.filter(|truth| truth.leader == node);
            let load = led.and_then(|_| self.loads.get(shard));
            ReplicaReport {
                shard: *shard,
                replica: *replica,
                leader: led.is_some() || self.deluded.contains(&(*shard, node)),
                term: truth.map_or(1, |truth| truth.term),
                descriptor: led.map_or(descriptor, |truth| &truth.descriptor).clone(),
                size_bytes: load.map_or(0, |(bytes, _)| *bytes),
                frontiers: Frontiers::default(),
                mode: ShardMode::Target,
                load: load.map(|(_, load)| load.clone()).unwrap_or_default(),
            }
        })
        .collect()
    }
}

fn votes_now(before: &ShardDescriptor, member: &Replica) -> bool {
    let learned = |old: &Replica| old.id == member.id && old.role == ReplicaRole::Learner;
    member.role == ReplicaRole::Voter && before.replicas.iter().any(learned)
}

fn gone(shard: ShardId) -> KvError {
    KvError::StaleRoute { shard, newer: Vec::new() }
}

/// Disks survive crashes; the rest of a node does not.
pub struct Disk {
    pub engine: Arc<MemEngine>,
    pub log: Arc<MemLog>,
}

#[derive(Clone)]
pub struct Cluster {
    pub world: SimWorld,
    pub shards: Arc<Mutex<Shards>>,
    disks: Arc<Mutex<BTreeMap<NodeId, Disk>>>,
    drivers: Vec<Replica>,
    /// Where the driver's replicas are, on the nodes that are up.
    hosts: Arc<Mutex<BTreeMap<NodeId, std::sync::Weak<Host>>>>,
    /// Nodes that have made their replica of the driver, once and for all.
    made: Arc<Mutex<BTreeSet<NodeId>>>,
    /// Why nodes did not open theirs.
    pub refused: Arc<Mutex<BTreeMap<NodeId, String>>>,
    /// The catalog version that each node says it uses.
    pub schema: Arc<Mutex<BTreeMap<NodeId, u64>>>,
    /// How far back the transactions of each node look, if told.
    pub holds: Arc<Mutex<BTreeMap<NodeId, Timestamp>>>,
    /// Of nodes that say how fast they are.
    pub tempos: Arc<Mutex<BTreeMap<NodeId, Tempo>>>,
    /// The horizon that each node was told last.
    pub horizons: Arc<Mutex<BTreeMap<NodeId, Option<Timestamp>>>>,
    /// How many clients each node has.
    pub sessions: Arc<Mutex<BTreeMap<NodeId, u64>>>,
    /// What each node was told last about its leaving, and about who has gone.
    pub leaving: Arc<Mutex<BTreeMap<NodeId, (Leaving, Vec<NodeId>)>>>,
    /// Where nodes say that they are.
    pub localities: Arc<Mutex<BTreeMap<NodeId, Vec<Tier>>>>,
    /// Roles of nodes that do not have all.
    pub roles: Arc<Mutex<BTreeMap<NodeId, u8>>>,
    /// Nodes without SQL: they use no version, and say so for ever.
    without_sql: Vec<NodeId>,
}

pub fn node(id: u64) -> NodeId {
    NodeId(id)
}

impl Cluster {
    /// `nodes` nodes, of which the first three carry the driver.
    pub async fn start(world: SimWorld, nodes: u64, without_sql: Vec<NodeId>) -> Cluster {
        let drivers = (1..=nodes.min(3)).map(|id| Replica {
            id: ReplicaId(id),
            node: NodeId(id),
            role: ReplicaRole::Voter,
        });
        let cluster = Cluster {
            world,
            shards: Arc::default(),
            disks: Arc::default(),
            drivers: drivers.collect(),
            hosts: Arc::default(),
            made: Arc::default(),
            refused: Arc::default(),
            schema: Arc::default(),
            holds: Arc::default(),
            tempos: Arc::default(),
            horizons: Arc::default(),
            sessions: Arc::default(),
            leaving: Arc::default(),
            localities: Arc::default(),
            roles: Arc::default(),
            without_sql,
        };
        for id in 1..=nodes {
            cluster.up(NodeId(id));
        }
        cluster
    }

    pub fn up(&self, id: NodeId) {
        self.shards.lock().down.remove(&id);
        let env = self.world.start(id, "c");
        let disk = {
            let mut disks = self.disks.lock();
            let disk = disks
                .entry(id)
                .or_insert_with(|| Disk { engine: Arc::new(MemEngine::new()), log: Arc::new(MemLog::new()) });
            (disk.engine.clone(), disk.log.clone())
        };
        let cluster = self.clone();
        env.clone().spawn("test.node", cluster.node(env, disk)).detach();
    }

    /// Power loss: what was not flushed or synced is gone.
    pub async fn crash(&self, id: NodeId) {
        self.world.crash(id).await;
        if let Some(disk) = self.disks.lock().get(&id) {
            disk.engine.crash();
            disk.log.crash(0);
        }
        self.shards.lock().node_died(id);
    }

    /// A node that lives has lost its copy of a shard.
    pub fn lose(&self, shard: ShardId, id: NodeId) -> ReplicaId {
        let mut shards = self.shards.lock();
        let (replica, _) = shards.copies.remove(&(shard, id)).expect("a copy");
        shards.lost.insert(replica);
        if shards.truth[&shard].leader == id {
            shards.elect(shard, id);
        }
        replica
    }

    /// The disk is gone as well.
    pub async fn wipe(&self, id: NodeId) {
        self.crash(id).await;
        self.disks.lock().remove(&id);
    }

    async fn node(self, env: Env, disk: (Arc<MemEngine>, Arc<MemLog>)) {
        let shards = self.shards.clone();
        let answering = env.clone();
        rpc::serve(&env, move |_, command: ReplicaCommand| {
            let (shards, env) = (shards.clone(), answering.clone());
            async move {
                let result = shards.lock().execute(env.node(), command);
                let lose = {
                    let mut shards = shards.lock();
                    let lose = shards.lose_answers > 0;
                    shards.lose_answers = shards.lose_answers.saturating_sub(1);
                    lose
                };
                if lose {
                    env.sleep(Duration::from_secs(3600)).await;
                }
                ReplicaAnswer { result }
            }
        });
        let consensus = Consensus::start(env.clone(), disk.1, ConsensusConfig::default());
        // It remembers the founders and nobody else.
        let client = Arc::new(self.client(&env));
        let founds = self.drivers.iter().any(|r| r.node == env.node());
        let done = self.made.lock().contains(&env.node());
        let founding = founds.then(|| Founding { members: self.drivers.clone(), done });
        let host = match Host::start(env.clone(), consensus, disk.0, client.clone(), founding).await {
            Ok(host) => host,
            Err(error) => {
                self.refused.lock().insert(env.node(), error.to_string());
                return;
            }
        };
        if founds {
            self.made.lock().insert(env.node());
        }
        self.hosts.lock().insert(env.node(), Arc::downgrade(&host));
        let mut map_version = 0;
        let serves_sql = !self.without_sql.contains(&env.node());
        loop {
            let changed = self.shards.lock().reports(env.node());
            let schema_version = self.schema.lock().get(&env.node()).copied().unwrap_or(0);
            let usual = if serves_sql { 7 } else { 3 };
            let roles = self.roles.lock().get(&env.node()).copied().unwrap_or(usual);
            let request = PlacementRequest::Heartbeat {
                node: NodeInfo {
                    roles,
                    locality: self.localities.lock().get(&env.node()).cloned().unwrap_or_default(),
                    ..info(&env)
                },
                clock_offset_micros: 0,
                space: Space::default(),
                changed,
                full: true,
                map_version,
                schema_version,
                holds: self.holds.lock().get(&env.node()).copied(),
                sessions: self.sessions.lock().get(&env.node()).copied().unwrap_or(0),
                carries: host.carries(),
                tempo: self.tempos.lock().get(&env.node()).copied().unwrap_or_default(),
            };
            if let Ok(PlacementReply::Heartbeat {
                map, schema_version, horizon, leaving, gone, driver, ..
            }) = client.request(request, Duration::from_secs(2)).await
            {
                client.learn(&driver);
                assert!(map.version >= map_version, "the map went back");
                map_version = map.version;
                self.horizons.lock().insert(env.node(), horizon);
                self.leaving.lock().insert(env.node(), (leaving, gone));
                if serves_sql {
                    self.schema.lock().insert(env.node(), schema_version);
                }
            }
            env.sleep(Duration::from_millis(500)).await;
        }
    }

    pub fn client(&self, env: &Env) -> PlacementClient {
        PlacementClient::new(env.clone(), self.drivers.iter().map(|r| r.node).collect())
    }

    /// Asks from whatever node is up.
    pub async fn ask(&self, request: PlacementRequest) -> PlacementReply {
        let id = self.world.up()[0];
        let env = self.world.env(id).expect("up");
        let (client, name) = (self.client(&env), format!("{request:?}"));
        let asked =
            env.spawn("test.ask", async move { client.request(request, Duration::from_secs(60)).await });
        asked.join().await.expect("not crashed").unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Why the driver refuses a request.
    pub async fn refused(&self, request: PlacementRequest) -> String {
        let id = self.world.up()[0];
        let env = self.world.env(id).expect("up");
        let client = self.client(&env);
        let asked =
            env.spawn("test.ask", async move { client.request(request, Duration::from_secs(60)).await });
        match asked.join().await.expect("not crashed") {
            Err(PlacementError::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    pub async fn begin(&self, operation: Operation) -> u64 {
        match self.ask(PlacementRequest::Start(operation)).await {
            PlacementReply::Started(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub async fn wait(&self, id: u64) -> OperationStatus {
        for _ in 0..100 {
            let reply = self.ask(PlacementRequest::Operation { id, wait_millis: 5000 }).await;
            let PlacementReply::Operations(all) = reply else { panic!("{reply:?}") };
            if all[0].state != OperationState::Running {
                return all[0].clone();
            }
        }
        panic!("operation {id} does not end");
    }

    pub async fn do_it(&self, operation: Operation) -> OperationStatus {
        let id = self.begin(operation).await;
        self.wait(id).await
    }

    /// Until the first shard is there.
    pub async fn founded(&self) {
        for _ in 0..200 {
            let created = self.shards.lock().copies.len();
            if created >= self.drivers.len() {
                return;
            }
            self.world.sleep(Duration::from_millis(100)).await;
        }
        panic!("the first shard is not created");
    }

    /// The driver's replicas on the nodes that are up.
    pub fn carriers(&self) -> BTreeMap<NodeId, Arc<Placement>> {
        let hosts = self.hosts.lock();
        let up = hosts.iter().filter_map(|(node, host)| Some((*node, host.upgrade()?)));
        up.filter_map(|(node, host)| Some((node, host.placement()?))).collect()
    }

    /// How far the driver's log is committed.
    pub fn committed(&self) -> LogPosition {
        let all = self.carriers().into_values();
        all.map(|placement| placement.group().frontiers().committed).max().unwrap_or_default()
    }

    /// Nodes that believe to lead the driver.
    pub fn leaders(&self) -> Vec<NodeId> {
        let leads = |placement: &Placement| placement.group().leadership().borrow().is_leader;
        self.carriers().into_iter().filter(|(_, placement)| leads(placement)).map(|(node, _)| node).collect()
    }

    /// What the disk of a node, up or down, holds of the driver.
    pub fn driver_data(&self, id: NodeId) -> usize {
        let disks = self.disks.lock();
        let dump = disks[&id].engine.dump();
        let of_driver = |key: &[u8]| key.starts_with(&ShardId::PLACEMENT.0.to_be_bytes());
        dump.iter().filter(|(family, key, _)| *family == Family::Meta && of_driver(key)).count()
            + usize::from(disks[&id].log.groups().iter().any(|key| key.shard == ShardId::PLACEMENT))
    }

    /// The map as the driver has it.
    pub async fn map(&self) -> BTreeMap<ShardId, ShardDescriptor> {
        match self.ask(PlacementRequest::WatchMap { after_version: 0, wait_millis: 0 }).await {
            PlacementReply::Map(map) => map.changed.into_iter().map(|d| (d.id, d)).collect(),
            other => panic!("{other:?}"),
        }
    }
}

pub fn info(env: &Env) -> NodeInfo {
    NodeInfo {
        id: env.node(),
        incarnation: env.incarnation(),
        rpc_address: format!("sim:{}", env.node()),
        sql_address: String::new(),
        http_address: String::new(),
        locality: Vec::new(),
        roles: 7,
    }
}

pub fn run<F>(seed: u64, nodes: u64, scenario: impl FnOnce(Cluster) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    run_with(seed, nodes, vec![], scenario);
}

/// The same, where some nodes do not serve SQL.
pub fn run_with<F>(
    seed: u64,
    nodes: u64,
    without_sql: Vec<NodeId>,
    scenario: impl FnOnce(Cluster) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let outcome = SimWorld::run(SimConfig::new(seed), move |world| async move {
        let cluster = Cluster::start(world, nodes, without_sql).await;
        cluster.founded().await;
        // Nothing happens by itself but where that is asked for.
        let (name, value) = ("placement.moves".to_owned(), "0".to_owned());
        cluster.ask(PlacementRequest::SetSetting { name, value }).await;
        scenario(cluster).await;
    });
    outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

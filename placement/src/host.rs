//! The driver's replica on a node, which comes and goes: founders make theirs at the founding, others are told to when they take
//! a member's place, and whoever is a member no more is told to remove it.
//!
//! What the engine holds says which replica is here, and which were. *Create*: the id is durable, then an empty replica is
//! opened, which the leader brings up by snapshot; a crash in between leaves one that is opened empty at the next start.
//! *Remove*: the replica stops; one durable batch takes its state away and notes that it is gone; then its log goes. A crash
//! before the batch leaves a replica that takes part again and is told again, one behind it a log, which the next start removes.
//!
//! Every node has a host. One without a replica answers requests for the driver by telling who carries it.

use crate::{
    Founding, Placement, StartError,
    machine::{self, Machine},
    store,
};
use parking_lot::Mutex;
use quorate_consensus::{Consensus, FOUNDING_POSITION, Start};
use quorate_env::{Env, PlacementClient, planted, probe};
use quorate_proto::{
    KvError, NodeId, ReplicaId, ShardId,
    placement::{Carries, DriverCommand, DriverMembers, PlacementError, PlacementReply, PlacementRequest},
};
use quorate_storage::{Engine, StorageError, WriteBatch, meta};
use std::sync::Arc;

const SELF: ShardId = ShardId::PLACEMENT;

pub struct Host {
    env: Env,
    consensus: Arc<Consensus>,
    engine: Arc<dyn Engine>,
    /// Knows who carries the driver.
    client: Arc<PlacementClient>,
    /// Making and removing, one at a time.
    changing: tokio::sync::Mutex<()>,
    here: Mutex<Option<Arc<Placement>>>,
}

impl Host {
    /// Opens the node's replica of the driver, if it holds one or is to found one, and answers requests.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        env: Env,
        consensus: Arc<Consensus>,
        engine: Arc<dyn Engine>,
        client: Arc<PlacementClient>,
        founding: Option<Founding>,
    ) -> Result<Arc<Host>, StartError> {
        let (changing, here) = Default::default();
        let host = Arc::new(Host { env, consensus, engine, client, changing, here });
        host.open_what_is_here(founding).await?;
        crate::service::serve(&host);
        Ok(host)
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// The replica that is here.
    pub fn placement(&self) -> Option<Arc<Placement>> {
        self.here.lock().clone()
    }

    /// What is told of it with heartbeats.
    pub fn carries(&self) -> Carries {
        let here = self.here.lock();
        here.as_ref().map_or(Carries::Nothing, |placement| Carries::Replica(placement.replica()))
    }

    async fn open_what_is_here(&self, founding: Option<Founding>) -> Result<(), StartError> {
        let node = self.env.node();
        let held = store::held(&*self.engine)?;
        let has_log = self.consensus.has_log(SELF);
        let forgiven = planted!("placement.lost_founder_starts");
        match (held.replica, founding) {
            (Some(replica), founding) => {
                let machine = self.load(replica).await?;
                // The state is durable before the log begins, and the log before the copy counts as made.
                let made =
                    founding.is_some_and(|founding| founding.done) || machine.position() > FOUNDING_POSITION;
                if made && !has_log && !forgiven {
                    return Err(StartError::Lost(node));
                }
                self.open(machine, Start::Existing).await
            }
            (None, Some(founding)) if held.gone.is_none() => {
                if (founding.done || has_log) && !forgiven {
                    return Err(StartError::Lost(node));
                }
                let (engine, members) = (self.engine.clone(), founding.members.clone());
                let found = move || machine::found(&*engine, node, &members);
                let replica = self.env.blocking("placement.found", found).await?;
                let machine = self.load(replica).await?;
                self.open(machine, Start::Founding { members: founding.members }).await
            }
            // A crash has come between the end of a replica and that of its log.
            (None, _) => Ok(self.consensus.remove(SELF).await?),
        }
    }

    async fn load(&self, replica: ReplicaId) -> Result<Arc<Machine>, StorageError> {
        let engine = self.engine.clone();
        self.env.blocking("placement.open", move || Machine::open(engine, replica)).await
    }

    async fn open(&self, machine: Arc<Machine>, start: Start) -> Result<(), StartError> {
        let group = self.consensus.open(SELF, machine.replica(), start, machine.clone()).await?;
        *self.here.lock() = Some(Placement::start(&self.env, group, machine));
        Ok(())
    }

    pub(crate) async fn obey(&self, command: DriverCommand) -> Result<(), KvError> {
        tracing::info!(?command, "the placement driver's leader says");
        let _one = self.changing.lock().await;
        match command {
            DriverCommand::Create(replica) => self.create(replica).await,
            DriverCommand::Remove(replica) => self.remove(replica).await,
        }
    }

    async fn create(&self, replica: ReplicaId) -> Result<(), KvError> {
        let held = store::held(&*self.engine).map_err(internal)?;
        if held.gone.is_some_and(|gone| replica <= gone) && !planted!("placement.removed_member_comes_back") {
            let why = format!("replica {replica} of the placement driver was removed here");
            return Err(KvError::BadRequest { why });
        }
        match held.replica {
            Some(other) if other != replica => {
                let why = format!("replica {other} of the placement driver is here");
                return Err(KvError::BadRequest { why });
            }
            Some(_) if self.placement().is_some() => return Ok(()),
            Some(_) => {}
            None => {
                self.consensus.remove(SELF).await?;
                let mut batch = WriteBatch::new();
                store::put_replica(&mut batch, replica);
                self.write_durably(batch).await?;
            }
        }
        let machine = self.load(replica).await.map_err(internal)?;
        self.open(machine, Start::Learner).await.map_err(internal)?;
        probe!("placement.made_a_member");
        Ok(())
    }

    async fn remove(&self, replica: ReplicaId) -> Result<(), KvError> {
        let held = store::held(&*self.engine).map_err(internal)?;
        if held.replica.is_some_and(|own| replica > own) {
            return Err(KvError::BadRequest { why: format!("replica {:?} is here", held.replica) });
        }
        if held.gone.is_some_and(|gone| replica <= gone) || held.replica.is_some_and(|own| replica < own) {
            return Ok(());
        }
        let here = self.here.lock().take();
        if let Some(placement) = here {
            placement.end().await;
        }
        let mut batch = WriteBatch::new();
        if !planted!("placement.removed_member_leaves_state") {
            batch.delete_range(meta::shard_range(SELF));
        }
        store::put_gone(&mut batch, replica);
        self.write_durably(batch).await?;
        self.consensus.remove(SELF).await?;
        probe!("placement.removed_a_member");
        Ok(())
    }

    /// Range deletions are preceded by a flush, and nothing is told before it is durable (PROTOCOL 8).
    async fn write_durably(&self, batch: WriteBatch) -> Result<(), KvError> {
        let engine = self.engine.clone();
        let write = move || {
            engine.flush()?;
            engine.write(&batch)?;
            engine.flush()
        };
        self.env.blocking("placement.write_durably", write).await.map_err(internal)
    }

    pub(crate) async fn answer(
        &self,
        from: NodeId,
        request: PlacementRequest,
    ) -> Result<PlacementReply, PlacementError> {
        let answer = match self.placement() {
            Some(placement) => placement.answer(from, request).await,
            None => Err(PlacementError::not_leader(None)),
        };
        answer.map_err(|error| match error {
            PlacementError::NotLeader(leader, _) => {
                PlacementError::NotLeader(leader, Box::new(self.whereabouts(leader)))
            }
            other => other,
        })
    }

    /// Who carries the driver, and where they and its leader listen.
    fn whereabouts(&self, leader: Option<NodeId>) -> DriverMembers {
        let mut members = self.client.members();
        if let Some(own) = self.placement().map(|placement| placement.members())
            && own.at > members.at
        {
            members = own;
        }
        let nodes = members.nodes();
        let wanted = |node: &NodeId| leader == Some(*node) || nodes.contains(node);
        let known = self.env.transport().addresses();
        members.addresses = known.into_iter().filter(|(node, _)| wanted(node)).collect();
        members
    }
}

fn internal(error: impl std::fmt::Display) -> KvError {
    KvError::Internal { why: error.to_string() }
}

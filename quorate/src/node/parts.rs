//! What a node keeps on disk and the Raft groups above it.

use super::identity::DataDir;
use anyhow::Result;
use async_trait::async_trait;
use quorate_consensus::{Consensus, ConsensusConfig};
use quorate_env::Env;
use quorate_proto::{
    Key, KvError,
    kv::{ShardOp, ShardReply},
};
use quorate_shard_server::{Peers, ShardConfig, ShardServer};
use quorate_storage::{
    CachedEngine, Engine, Family, FileLog, FileLogOptions, LogStore, RocksOptions, StorageError, open_rocks,
};
use quorate_txn::{Router, route::SendOptions};
use std::{sync::Arc, time::Duration};

/// One request of a shard to another.
const PEER_PATIENCE: Duration = Duration::from_secs(3);
const PEER_ATTEMPT: Duration = Duration::from_secs(1);

/// What to do about a disk that does not give back what it was given.
const LOST: &str = "this cannot be mended: leave the node down, so that its copies are made elsewhere after \
                        placement.repair_after, and start another one under a new id with an empty directory";

#[derive(Clone)]
pub struct Storage {
    pub engine: Arc<dyn Engine>,
    pub log: Arc<dyn LogStore>,
    pub consensus: Arc<Consensus>,
    env: Env,
}

impl Storage {
    pub fn open(env: &Env, data: &DataDir) -> Result<Self> {
        let engine = CachedEngine::over(open_rocks(&data.join("engine"), &RocksOptions::default())?);
        all_is_told(&*engine)?;
        let spawn = |name: &'static str, body: Box<dyn FnOnce() + Send>| {
            env.spawn_thread(name, body).map(|_running| ())
        };
        let log = FileLog::open(&data.join("log"), FileLogOptions::default(), &spawn)?;
        let consensus = Consensus::start(env.clone(), log.clone(), ConsensusConfig::default());
        Ok(Storage { engine, log, consensus, env: env.clone() })
    }

    pub async fn serve_shards(&self, env: &Env, router: &Arc<Router>) -> Result<Arc<ShardServer>> {
        let peers = Arc::new(OtherShards { env: env.clone(), router: router.clone() });
        let (engine, consensus) = (self.engine.clone(), self.consensus.clone());
        Ok(ShardServer::start(env.clone(), engine, consensus, peers, ShardConfig::default()).await?)
    }

    /// Waits until the log or the engine has failed for good, and says why: a node that cannot write any more must stop.
    pub async fn broken(&self) -> String {
        loop {
            if let Some(why) = self.log.dead() {
                return format!("the log has failed: {why}");
            }
            if let Some(why) = self.engine.broken() {
                return format!(
                    "the engine has met damaged blocks: {why}; start the node again: it writes the engine anew then, \
                     without the copies that are damaged, and these are replaced"
                );
            }
            self.env.sleep(Duration::from_millis(200)).await;
        }
    }
}

/// What says which shards are here has to read back, or nothing can be opened.
fn all_is_told(engine: &dyn Engine) -> Result<(), StorageError> {
    let snapshot = engine.snapshot();
    snapshot.iter(Family::Meta, &[], None, false).try_for_each(|pair| pair.map(drop))
}

/// What is to be done if the data directory cannot be opened because it is damaged.
pub fn explain(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(StorageError::Corruption(_)) => error.context(LOST),
        _ => error,
    }
}

/// How a shard reaches the shard of another transaction's anchor.
struct OtherShards {
    env: Env,
    router: Arc<Router>,
}

#[async_trait]
impl Peers for OtherShards {
    async fn shard_call(&self, _key: &Key, op: ShardOp) -> Result<ShardReply, KvError> {
        let deadline = self.env.boottime() + PEER_PATIENCE;
        let options = SendOptions { deadline, attempt: PEER_ATTEMPT, follower: false };
        self.router.send(op, options).await.map(|sent| sent.reply).map_err(|failed| failed.error)
    }
}

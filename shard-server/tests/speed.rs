//! What the shortest paths cost inside one process, in memory: run by hand with `--ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test")]

use async_trait::async_trait;
use quorate_consensus::{Consensus, ConsensusConfig};
use quorate_env::{Env, EnvConfig, NodeId};
use quorate_proto::kv::*;
use quorate_proto::placement::ReplicaCommand;
use quorate_proto::{
    Key, KvError, Replica, ReplicaId, ReplicaRole, ShardDescriptor, ShardId, Span, Timestamp, TxnId, Value,
};
use quorate_shard_server::{Peers, ShardConfig, ShardServer};
use quorate_storage::{MemEngine, MemLog};
use std::{sync::Arc, time::Duration};

struct Nobody;

#[async_trait]
impl Peers for Nobody {
    async fn shard_call(&self, _: &Key, _: ShardOp) -> Result<ShardReply, KvError> {
        Err(KvError::NotReady { shard: ShardId(0), why: "alone".into() })
    }
}

#[test]
#[ignore = "a measurement"]
fn point_reads_and_local_commits() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let env = Env::real(EnvConfig::new(NodeId(1))).unwrap();
        let scope = env.scope().clone();
        quorate_env::scope::within(&scope, measure(env)).await;
    });
}

async fn measure(env: Env) {
    let consensus = Consensus::start(env.clone(), Arc::new(MemLog::new()), ConsensusConfig::default());
    let engine = Arc::new(MemEngine::new());
    let server = ShardServer::start(env.clone(), engine, consensus, Arc::new(Nobody), ShardConfig::default())
        .await
        .unwrap();
    let replicas = vec![Replica { id: ReplicaId(1), node: NodeId(1), role: ReplicaRole::Voter }];
    let descriptor =
        ShardDescriptor { id: ShardId::FIRST, span: Span::ALL, version: 1, config_epoch: 1, replicas };
    server.command(ReplicaCommand::CreateShard { descriptor }).await.result.unwrap();
    while !server.reports()[0].leader {
        env.sleep(Duration::from_millis(10)).await;
    }
    env.sleep(Duration::from_millis(50)).await;
    let send = |op| server.handle(ShardRequest { shard: ShardId::FIRST, version: 1, config_epoch: 1, op });
    let keys: Vec<Key> = (0..1000).map(|n| Key::from(format!("account/{n:06}").as_str())).collect();
    let count = 2_000u64;
    let before = server.reports()[0].frontiers.applied.index;
    let start = env.boottime();
    for n in 0..count {
        let now = env.clock().physical();
        let key = keys[(n % 1000) as usize].clone();
        let txn = TxnMeta {
            id: TxnId(u128::from(n) + 1),
            anchor: key.clone(),
            attempt: 0,
            started: now,
            deadline: now.plus(Duration::from_secs(60)),
            gateway: NodeId(1),
            incarnation: env.incarnation(),
            session: None,
        };
        let check = Check { key: key.clone(), kind: CheckKind::UnchangedSince(now) };
        let write = Write { key, value: Some(Value::from(vec![7u8; 100])) };
        let op = ShardOp::CommitLocal(CommitLocal {
            txn,
            read_ts: now,
            commit_ts: now,
            commit_before: Timestamp::MAX,
            refresh: Vec::new(),
            checks: vec![check],
            writes: vec![write],
        });
        send(op).await.result.unwrap();
    }
    let took = env.boottime() - start;
    let entries = server.reports()[0].frontiers.applied.index - before;
    println!(
        "local commit: {:.1} µs each, {entries} entries for {count}",
        took.as_micros() as f64 / count as f64
    );
    assert_eq!(entries, count);
    env.sleep(Duration::from_millis(20)).await;
    let start = env.boottime();
    for n in 0..100 * count {
        let op = ShardOp::Read(ReadRequest {
            txn: None,
            read_ts: env.clock().physical(),
            uncertain_to: Timestamp::ZERO,
            may_forward: false,
            lock: None,
            ops: vec![ReadOp::Get(keys[(n % 1000) as usize].clone())],
            follower: false,
            number: 0,
            asked: Timestamp::ZERO,
        });
        send(op).await.result.unwrap();
    }
    println!("point read: {:.2} µs each", (env.boottime() - start).as_micros() as f64 / (100 * count) as f64);
}

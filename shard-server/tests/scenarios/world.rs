//! The commands of the scripts, run against one simulated node with all its shards.
//!
//! ```text
//! begin t1 [ts=5] [anchor=a] [gateway=9] [incarnation=1] [deadline=5000] [attempt=0]
//! get t1|- k … [ts=] [upto=] [forward] [follower] [lock=x|s] [nowait|skip|wait=ms]      scan … a b [limit=] [reverse]
//! commit|prepare t1 [put=k:v …] [del=k …] [check=k@5 …] [absent=k …] [refresh=a..b …] [ts=] [before=]
//! decide t1 commit=20|abort [keys=a,b] [span=a..c]        resolve t1 commit=20|abort keys=a,b
//! refresh t1 from=5 to=9 [spans=a..b …] [check=… …]
//! query t1 [intent|now]        heartbeat t1 [until=]        release t1        settle k until=
//! sleep 100        split m        crash        dump        stall on|off        deaf on|off        flush        closing 200        closed
//! gc 1500        forget 1500
//! merge m        seal m        absorb m        forget-seal m        unseal m
//! ```
//! Times are milliseconds; the node's clock stands at 1000 when a script begins. `name: command` runs in the background
//! and prints when it is done. A crash loses what was not flushed or synced; the node then starts again.

use crate::show::Show;
use async_trait::async_trait;
use parking_lot::Mutex;
use quorate_consensus::{Consensus, ConsensusConfig};
use quorate_env::{Env, NodeId, Task, sim::SimWorld};
use quorate_proto::kv::*;
use quorate_proto::placement::{ReplicaCommand, ReplicaReply};
use quorate_proto::{
    Key, KvError, Replica, ReplicaId, ReplicaRole, Seal, ShardDescriptor, ShardId, Span, Timestamp, TxnId,
    Value,
};
use quorate_shard_server::{Peers, ShardConfig, ShardServer};
use quorate_storage::{MemEngine, MemLog};
use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const NODE: NodeId = NodeId(1);

/// The way to the node's shards: whoever owns the key, wherever a split has put it; and whether the deadlock detector is deaf.
#[derive(Clone, Default)]
struct Router(Arc<Mutex<Option<Arc<ShardServer>>>>, Arc<AtomicBool>);

impl Router {
    fn server(&self) -> Arc<ShardServer> {
        self.0.lock().clone().expect("the node is up")
    }

    /// Sends once, under the descriptor that the node has for the key now.
    async fn send(&self, key: &Key, op: ShardOp) -> Result<ShardReply, KvError> {
        let server = self.server();
        let descriptor =
            server.descriptors().into_iter().find(|d| d.contains(key)).expect("every key has an owner");
        let ShardDescriptor { id: shard, version, config_epoch, .. } = descriptor;
        server.handle(ShardRequest { shard, version, config_epoch, op }).await.result
    }
}

#[async_trait]
impl Peers for Router {
    async fn shard_call(&self, key: &Key, op: ShardOp) -> Result<ShardReply, KvError> {
        if matches!(op, ShardOp::Waits(_)) && self.1.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        self.send(key, op).await
    }
}

struct Background {
    task: Task<()>,
    result: Arc<OnceLock<String>>,
    announced: bool,
}

pub struct World {
    sim: SimWorld,
    env: Env,
    engine: MemEngine,
    log: MemLog,
    router: Router,
    show: Show,
    txns: BTreeMap<String, (TxnMeta, Timestamp)>,
    background: BTreeMap<String, Background>,
    shards: u64,
    /// As they were told, by where the sealed shard begins.
    seals: BTreeMap<Key, Seal>,
}

impl World {
    pub async fn start(sim: SimWorld) -> World {
        let env = sim.start(NODE, "test");
        let (engine, log, router) = (MemEngine::new(), MemLog::new(), Router::default());
        let mut world = World {
            show: Show::new(Timestamp::ZERO),
            sim,
            env,
            engine,
            log,
            router,
            txns: BTreeMap::new(),
            background: BTreeMap::new(),
            shards: 1,
            seals: BTreeMap::new(),
        };
        world.open().await;
        let replicas = vec![Replica { id: ReplicaId(1), node: NODE, role: ReplicaRole::Voter }];
        let descriptor =
            ShardDescriptor { id: ShardId::FIRST, span: Span::ALL, version: 1, config_epoch: 1, replicas };
        let created = world.router.server().command(ReplicaCommand::CreateShard { descriptor }).await;
        created.result.expect("the first shard is created");
        world.ready().await;
        world.sim.sleep(Duration::from_secs(2)).await;
        let now = world.env.clock().physical();
        world.show = Show::new(now.minus(Duration::from_secs(1)));
        world
    }

    async fn open(&mut self) {
        let log = Arc::new(self.log.reopen(None));
        let env = self.env.clone();
        let engine = Arc::new(self.engine.clone());
        let router = self.router.clone();
        // Inside the node's scope, so that a crash takes everything with it.
        let scope = self.env.scope().clone();
        let server = quorate_env::scope::within(&scope, async move {
            let config = ConsensusConfig { never_quiet: false, ..ConsensusConfig::default() };
            let consensus = Consensus::start(env.clone(), log, config);
            let peers = Arc::new(router);
            // Times in scripts are far in the past; what is closed is told with `closing`.
            let (closing_target, retention) = (Duration::from_secs(3600), Duration::from_secs(100));
            // Nobody comes again here: one request waits as long as all those of a coordinator would.
            let reader_wait = ShardConfig::default().lock_wait;
            let config = ShardConfig { closing_target, retention, reader_wait, ..ShardConfig::default() };
            ShardServer::start(env, engine, consensus, peers, config).await
        });
        *self.router.0.lock() = Some(server.await.expect("the server starts"));
    }

    /// Waits until all shards have a leader here.
    async fn ready(&self) {
        for _ in 0..2000 {
            let reports = self.router.server().reports();
            if !reports.is_empty() && reports.iter().all(|report| report.leader) {
                return;
            }
            self.sim.sleep(Duration::from_millis(10)).await;
        }
        panic!("no leader");
    }

    pub async fn block(&mut self, lines: &[String]) -> String {
        let mut out = String::new();
        for line in
            lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            match line.split_once(": ") {
                Some((name, command)) => self.start_background(name, command, &mut out).await,
                None => {
                    let result = self.command(line).await;
                    for line in result.lines() {
                        let _ = writeln!(out, "{line}");
                    }
                }
            }
            self.settle(&mut out).await;
        }
        out
    }

    async fn start_background(&mut self, name: &str, command: &str, out: &mut String) {
        let result = Arc::new(OnceLock::new());
        let (key, op) = self.request(command);
        let (router, show, cell) = (self.router.clone(), self.show.clone(), result.clone());
        let task = self.env.spawn("script", async move {
            let reply = router.send(&key, op).await;
            let _ = cell.set(show.reply(&reply));
        });
        self.background.insert(name.to_owned(), Background { task, result, announced: false });
        self.settle(out).await;
        if let Some(background) = self.background.get_mut(name) {
            background.announced = true;
            let _ = writeln!(out, "{name}: waits");
        }
    }

    /// Lets everything run that can run now, and prints what came to its end.
    async fn settle(&mut self, out: &mut String) {
        self.sim.sleep(Duration::from_micros(10)).await;
        let done: Vec<_> =
            self.background.iter().filter(|(_, b)| b.task.is_finished()).map(|(n, _)| n.clone()).collect();
        for name in done {
            let background = self.background.remove(&name).expect("just found");
            let text = background.result.get().cloned().unwrap_or_else(|| "died with the node".into());
            let _ = writeln!(out, "{name}: {text}");
        }
    }

    async fn command(&mut self, line: &str) -> String {
        let args = Args::new(line);
        match args.words[0] {
            "begin" => self.begin(&args),
            "sleep" => {
                self.sim.sleep(Duration::from_millis(args.words[1].parse().expect("milliseconds"))).await;
                format!("now {}", self.show.ts(self.env.clock().physical()))
            }
            "split" => self.split(Key::from(args.words[1])).await,
            "merge" => {
                let at = args.words[1];
                self.merge_step("seal", Key::from(at)).await;
                self.merge_step("absorb", Key::from(at)).await
            }
            step @ ("seal" | "absorb" | "forget-seal" | "unseal") => {
                self.merge_step(step, Key::from(args.words[1])).await
            }
            "stall" => {
                self.log.stall(args.words[1] == "on");
                "ok".into()
            }
            "deaf" => {
                self.router.1.store(args.words[1] == "on", Ordering::Relaxed);
                "ok".into()
            }
            "flush" => {
                self.router.server().flush().await.expect("the engine flushes");
                "ok".into()
            }
            "closing" => {
                let target = Duration::from_millis(args.words[1].parse().expect("milliseconds"));
                self.router.server().set_closing_target(target);
                "ok".into()
            }
            "closed" => {
                let closed = self.router.server().closed().into_iter();
                closed.map(|(shard, at)| format!("shard {shard} {}\n", self.show.ts(at))).collect()
            }
            "gc" => {
                let horizon = self.show.at(args.words[1]);
                let server = self.router.server();
                let removed = server.collect_garbage(horizon).await;
                let thresholds = server.gc_thresholds().into_iter();
                let text = thresholds.map(|(shard, at)| format!(", shard {shard} from {}", self.show.ts(at)));
                format!("{removed} versions removed{}", text.collect::<String>())
            }
            "forget" => {
                let until = self.show.at(args.words[1]);
                format!("{} records removed", self.router.server().forget_records(until).await)
            }
            "crash" => self.crash().await,
            "dump" => self.show.dump(&self.engine),
            _ => {
                let (key, op) = self.request(line);
                self.show.reply(&self.router.send(&key, op).await)
            }
        }
    }

    async fn crash(&mut self) -> String {
        self.sim.crash(NODE).await;
        *self.router.0.lock() = None;
        self.log.crash(0);
        self.engine.crash();
        self.env = self.sim.start(NODE, "test");
        self.open().await;
        self.ready().await;
        format!("leads again, now {}", self.show.ts(self.env.clock().physical()))
    }

    async fn split(&mut self, at: Key) -> String {
        let server = self.router.server();
        let parent = server.descriptors().into_iter().find(|d| d.contains(&at)).expect("an owner");
        self.shards += 1;
        let right_replicas = vec![ReplicaId(10 * self.shards)];
        let right = ShardId(self.shards);
        let version = parent.version;
        let command = ReplicaCommand::Split { shard: parent.id, at, right, right_replicas, version };
        let text = match server.command(command).await.result {
            Ok(reply) => self.show.split(&reply),
            Err(error) => self.show.error(&error),
        };
        self.ready().await;
        text
    }

    /// One step of the merge of the shard that begins, or began, at the key.
    async fn merge_step(&mut self, step: &str, at: Key) -> String {
        let server = self.router.server();
        let told = || self.seals.get(&at).cloned().expect("sealed before");
        let command = match step {
            "seal" => {
                let all = server.descriptors();
                let right = all.iter().find(|d| d.span.start == at).expect("a shard begins there");
                let left = all.iter().find(|d| d.span.end.as_ref() == Some(&at)).expect("a neighbour");
                ReplicaCommand::Seal { shard: right.id, version: right.version, left: left.clone() }
            }
            "absorb" => ReplicaCommand::Absorb(told()),
            "forget-seal" => ReplicaCommand::Forget(told()),
            _ => ReplicaCommand::Unseal { shard: told().right.id, version: told().right.version },
        };
        match server.command(command).await.result {
            Ok(ReplicaReply::Sealed(seal)) => {
                let text = self.show.seal(&seal);
                let wait = ReplicaCommand::AwaitSeal((*seal).clone());
                server.command(wait).await.result.expect("it is applied here");
                self.seals.insert(at, *seal);
                text
            }
            Ok(ReplicaReply::Done) => "done".into(),
            Ok(reply) => self.show.split(&reply),
            Err(error) => self.show.error(&error),
        }
    }

    fn begin(&mut self, args: &Args<'_>) -> String {
        let name = args.words[1];
        let id = args.get("id").map_or(self.txns.len() as u128 + 1, |id| id.parse().expect("a number"));
        let started = self.show.at(args.get("ts").unwrap_or("10"));
        let meta = TxnMeta {
            id: TxnId(id),
            anchor: Key::from(args.get("anchor").unwrap_or("a")),
            attempt: args.get("attempt").map_or(0, |n| n.parse().expect("a number")),
            started,
            deadline: self.show.at(args.get("deadline").unwrap_or("1000000")),
            gateway: args.get("gateway").map_or(NODE, |n| n.parse().expect("a number")),
            incarnation: args
                .get("incarnation")
                .map_or(self.env.incarnation(), |n| n.parse().expect("a number")),
            session: None,
        };
        self.show.name(meta.id, name);
        self.txns.insert(name.to_owned(), (meta, started));
        "ok".into()
    }

    fn txn(&self, args: &Args<'_>) -> (TxnMeta, Timestamp) {
        self.txns.get(args.words[1]).cloned().unwrap_or_else(|| panic!("no transaction {}", args.words[1]))
    }

    /// The key to route by, and the operation.
    fn request(&self, line: &str) -> (Key, ShardOp) {
        let args = Args::new(line);
        let first = |keys: &[Key], spans: &[Span], anchor: &Key| {
            keys.first().or(spans.first().map(|span| &span.start)).unwrap_or(anchor).clone()
        };
        match args.words[0] {
            "get" | "scan" => self.read(&args),
            "commit" | "prepare" => {
                let (txn, read_ts) = self.txn(&args);
                let (writes, checks, refresh) =
                    (args.writes(), args.checks(&self.show), args.spans("refresh"));
                let commit_ts = args.get("ts").map_or(read_ts, |ts| self.show.at(ts));
                let commit_before = args.get("before").map_or(Timestamp::MAX, |ts| self.show.at(ts));
                let keys: Vec<_> = writes
                    .iter()
                    .map(|w| w.key.clone())
                    .chain(checks.iter().map(|c| c.key.clone()))
                    .collect();
                let key = first(&keys, &refresh, &txn.anchor);
                let op = if args.words[0] == "commit" {
                    let anchor = key.clone();
                    let txn = TxnMeta { anchor, ..txn };
                    ShardOp::CommitLocal(CommitLocal {
                        txn,
                        read_ts,
                        commit_ts,
                        commit_before,
                        refresh,
                        checks,
                        writes,
                    })
                } else {
                    ShardOp::Prepare(Prepare {
                        txn,
                        read_ts,
                        commit_ts,
                        commit_before,
                        refresh,
                        checks,
                        writes,
                        staging: args.get("stage").map(|keys| keys.split(',').map(Key::from).collect()),
                    })
                };
                (key, op)
            }
            "decide" => {
                let (txn, _) = self.txn(&args);
                let (decision, intents) = (args.decision(&self.show), args.keys());
                let span = args.spans("span").pop();
                let decide = Decide { txn, decision, intents, prepared: Vec::new(), span };
                (decide.txn.anchor.clone(), ShardOp::Decide(decide))
            }
            "resolve" => {
                let (txn, _) = self.txn(&args);
                let (decision, keys) = (args.decision(&self.show), args.keys());
                (keys[0].clone(), ShardOp::Resolve(Resolve { txn: txn.id, decision, keys }))
            }
            "refresh" => {
                let (txn, read_ts) = self.txn(&args);
                let from = args.get("from").map_or(read_ts, |ts| self.show.at(ts));
                let to = self.show.at(args.get("to").expect("to="));
                let (spans, checks) = (args.spans("spans"), args.checks(&self.show));
                let keys: Vec<_> = checks.iter().map(|check| check.key.clone()).collect();
                (
                    first(&keys, &spans, &txn.anchor),
                    ShardOp::Refresh(Refresh { txn, from, to, spans, checks }),
                )
            }
            "query" => {
                let (txn, _) = self.txn(&args);
                let query = QueryTxn {
                    txn: txn.id,
                    anchor: txn.anchor.clone(),
                    why: match () {
                        () if args.has("intent") => Inquiry::Intent,
                        () if args.has("now") => Inquiry::End,
                        () => Inquiry::Outcome,
                    },
                    meta: Some(txn.clone()),
                };
                (txn.anchor, ShardOp::QueryTxn(query))
            }
            "prevent" => {
                let (txn, ts) = self.txn(&args);
                let ts = args.get("ts").map_or(ts, |ts| self.show.at(ts));
                let key = args.names().map(Key::from).next().expect("a key");
                (key.clone(), ShardOp::Prevent(Prevent { txn: txn.id, attempt: txn.attempt, ts, key }))
            }
            "heartbeat" => {
                let (txn, _) = self.txn(&args);
                let until = args.get("until").map_or(txn.deadline, |until| self.show.at(until));
                (txn.anchor.clone(), ShardOp::Heartbeat(Heartbeat { txn, until }))
            }
            "settle" => {
                let (at, until) = (Key::from(args.words[1]), args.get("until").expect("until="));
                (at.clone(), ShardOp::Settle(Settle { at, until: self.show.at(until) }))
            }
            "release" => {
                let (txn, _) = self.txn(&args);
                let at = args.get("at").map_or(txn.anchor.clone(), Key::from);
                (at, ShardOp::ReleaseLocks(ReleaseLocks { txn: txn.id, undone: None }))
            }
            other => panic!("no command {other:?}"),
        }
    }

    fn read(&self, args: &Args<'_>) -> (Key, ShardOp) {
        let (txn, ts) = match args.words[1] {
            "-" => (None, None),
            _ => {
                let (txn, ts) = self.txn(args);
                (Some(txn), Some(ts))
            }
        };
        let read_ts = args.get("ts").map(|ts| self.show.at(ts)).or(ts).expect("ts=");
        let wait = match args.get("wait") {
            Some(millis) => WaitPolicy::Block(millis.parse().expect("milliseconds")),
            None if args.has("nowait") => WaitPolicy::NoWait,
            None if args.has("skip") => WaitPolicy::SkipLocked,
            None => WaitPolicy::Block(0),
        };
        let lock = args.get("lock").map(|mode| LockRequest {
            mode: if mode == "x" { LockMode::Exclusive } else { LockMode::Shared },
            wait,
            firm: true,
        });
        let keys: Vec<Key> = args.names().map(Key::from).collect();
        let ops = if args.words[0] == "get" {
            keys.iter().cloned().map(ReadOp::Get).collect()
        } else {
            let span = Span { start: keys[0].clone(), end: keys.get(1).cloned() };
            let max_rows = args.get("limit").map_or(0, |n| n.parse().expect("a number"));
            vec![ReadOp::Scan(Scan { span, reverse: args.has("reverse"), max_rows, max_bytes: 0 })]
        };
        let request = ReadRequest {
            txn,
            read_ts,
            uncertain_to: args.get("upto").map_or(read_ts, |ts| self.show.at(ts)),
            may_forward: args.has("forward"),
            lock,
            ops,
            follower: args.has("follower"),
            number: 0,
            asked: read_ts,
        };
        (keys[0].clone(), ShardOp::Read(request))
    }
}

struct Args<'a> {
    words: Vec<&'a str>,
}

const FLAGS: [&str; 8] = ["follower", "nowait", "skip", "reverse", "forward", "intent", "now", "abort"];

impl<'a> Args<'a> {
    fn new(line: &'a str) -> Self {
        Args { words: line.split_whitespace().collect() }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.words.iter().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn has(&self, flag: &str) -> bool {
        self.words.contains(&flag)
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.words.iter().skip(2).filter(|word| !word.contains('=') && !FLAGS.contains(word)).copied()
    }

    fn keys(&self) -> Vec<Key> {
        self.get("keys").into_iter().flat_map(|keys| keys.split(',')).map(Key::from).collect()
    }

    fn writes(&self) -> Vec<Write_> {
        let puts = self.all("put").map(|put| {
            let (key, value) = put.split_once(':').expect("put=key:value");
            Write_ { key: Key::from(key), value: Some(Value::from(value)) }
        });
        puts.chain(self.all("del").map(|key| Write_ { key: Key::from(key), value: None })).collect()
    }

    fn checks(&self, show: &Show) -> Vec<Check> {
        let unchanged = self.all("check").map(|check| {
            let (key, since) = check.split_once('@').expect("check=key@since");
            Check { key: Key::from(key), kind: CheckKind::UnchangedSince(show.at(since)) }
        });
        let absent = self.all("absent").map(|key| Check { key: Key::from(key), kind: CheckKind::Absent });
        unchanged.chain(absent).collect()
    }

    fn spans(&self, name: &str) -> Vec<Span> {
        let span = |text: &str| {
            let (start, end) = text.split_once("..").expect("start..end");
            Span::new(start, end)
        };
        self.all(name).map(span).collect()
    }

    fn decision(&self, show: &Show) -> Decision {
        self.get("commit").map_or(Decision::Abort, |ts| Decision::Commit(show.at(ts)))
    }
}

type Write_ = quorate_proto::kv::Write;

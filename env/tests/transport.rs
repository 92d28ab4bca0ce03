//! What every transport promises, run against the real one over loopback and the simulated one.

#![expect(clippy::unwrap_used, reason = "a test")]

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use quorate_env::{
    Env, EnvConfig, Handler, NodeId, Refusal, Service, TransportError,
    sim::{SimConfig, SimWorld},
    time,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

/// Where nodes live.
#[async_trait]
trait Site: Send + Sync {
    /// Starts a node, or starts it again; all nodes know one another.
    async fn start(&self, id: u64) -> Env;
    async fn crash(&self, id: u64);
}

#[derive(Default)]
struct Loopback(Mutex<BTreeMap<u64, (Option<Env>, String)>>);

#[async_trait]
impl Site for Loopback {
    async fn start(&self, id: u64) -> Env {
        let config = EnvConfig { cluster_id: "test".into(), ..EnvConfig::new(NodeId(id)) };
        let env = Env::real(config).unwrap();
        let known = self.0.lock().get(&id).map(|(_, address)| address.clone());
        let address = known.unwrap_or_else(|| "127.0.0.1:0".into());
        let mut bound = env.listen(&address).await;
        for _ in 0..100 {
            if bound.is_ok() {
                break;
            }
            time::sleep(Duration::from_millis(20)).await;
            bound = env.listen(&address).await;
        }
        let address = bound.unwrap().to_string();
        let mut nodes = self.0.lock();
        for (other, (peer, peer_address)) in nodes.iter() {
            env.transport().set_address(NodeId(*other), peer_address.clone());
            if let Some(peer) = peer {
                peer.transport().set_address(NodeId(id), address.clone());
            }
        }
        nodes.insert(id, (Some(env.clone()), address));
        env
    }

    async fn crash(&self, id: u64) {
        let env = self.0.lock().get_mut(&id).and_then(|(env, _)| env.take()).unwrap();
        env.kill();
        while !env.scope().is_empty() {
            time::sleep(Duration::from_millis(1)).await;
        }
    }
}

struct Simulated(SimWorld);

#[async_trait]
impl Site for Simulated {
    async fn start(&self, id: u64) -> Env {
        self.0.start(NodeId(id), "test")
    }

    async fn crash(&self, id: u64) {
        self.0.crash(NodeId(id)).await;
    }
}

/// Echoes; `slow…` after a while, `never` not at all, `no` is refused. Remembers one-way messages and finished calls.
#[derive(Default)]
struct Echo {
    seen: Mutex<Vec<u32>>,
    finished: AtomicU64,
}

#[async_trait]
impl Handler for Echo {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        match &body[..] {
            b"never" => std::future::pending().await,
            b"no" => return Err(Refusal(format!("not for node {from}"))),
            body if body.starts_with(b"slow") => time::sleep(Duration::from_millis(200)).await,
            _ => {}
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(body)
    }

    fn one_way(&self, _from: NodeId, body: Bytes) {
        self.seen.lock().push(u32::from_be_bytes(body[..4].try_into().unwrap()));
    }
}

fn echo(env: &Env) -> Arc<Echo> {
    let echo = Arc::new(Echo::default());
    env.transport().serve(Service::Kv, echo.clone());
    echo
}

async fn ask(env: &Env, to: u64, body: &'static str, timeout: Duration) -> Result<Bytes, TransportError> {
    env.transport().call(NodeId(to), Service::Kv, Bytes::from_static(body.as_bytes()), timeout).await
}

/// Until `condition` holds, at most ten seconds.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = time::now() + 10 * SECOND;
    while !condition() {
        assert!(time::now() < deadline, "never: {what}");
        time::sleep(Duration::from_millis(10)).await;
    }
}

async fn ask_for_snapshot(env: &Env, to: u64) -> Result<Bytes, TransportError> {
    env.transport().call(NodeId(to), Service::Snapshot, Bytes::from_static(b"state"), SECOND).await
}

async fn suite(site: &dyn Site) {
    let one = site.start(1).await;
    let two = site.start(2).await;
    let three = site.start(3).await;
    let (own, echo_two, echo_three) = (echo(&one), echo(&two), echo(&three));

    // Answers, refusals and losses.
    assert_eq!(ask(&one, 2, "hello", SECOND).await.unwrap(), "hello");
    assert_eq!(ask(&three, 2, "hello", SECOND).await.unwrap(), "hello");
    assert_eq!(ask(&one, 1, "myself", SECOND).await.unwrap(), "myself");
    assert_eq!(own.finished.load(Ordering::SeqCst), 1);
    assert_eq!(ask(&one, 2, "no", SECOND).await, Err(TransportError::Refused("not for node 1".into())));
    let timeout = Duration::from_millis(50);
    assert!(matches!(ask(&one, 2, "never", timeout).await, Err(TransportError::Lost(_))));
    assert!(matches!(ask(&one, 1, "never", timeout).await, Err(TransportError::Lost(_))));
    assert!(matches!(ask(&one, 9, "hello", SECOND).await, Err(TransportError::NotSent(_))));
    let unserved = one.transport().call(NodeId(2), Service::Placement, Bytes::new(), SECOND).await;
    assert!(matches!(unserved, Err(TransportError::Refused(_))), "{unserved:?}");
    let unserved = one.transport().call(NodeId(1), Service::Placement, Bytes::new(), SECOND).await;
    assert!(matches!(unserved, Err(TransportError::Refused(_))), "{unserved:?}");

    // A caller who leaves does not stop the handler, elsewhere or here.
    let finished = echo_two.finished.load(Ordering::SeqCst);
    assert!(ask(&one, 2, "slow", timeout).await.is_err());
    eventually("the abandoned call ends", || echo_two.finished.load(Ordering::SeqCst) == finished + 1).await;
    let finished = own.finished.load(Ordering::SeqCst);
    assert!(time::timeout(timeout, ask(&one, 1, "slow", SECOND)).await.is_err());
    eventually("the abandoned own call ends", || own.finished.load(Ordering::SeqCst) == finished + 1).await;

    // Many at once, in both directions, slow ones not in the way of the others.
    let slow = one.spawn("test.slow", {
        let one = one.clone();
        async move { ask(&one, 2, "slow", SECOND).await }
    });
    let started = time::now();
    let calls = (0..500u32).map(|n| {
        let (from, to) = if n % 2 == 0 { (&one, 2) } else { (&two, 1) };
        let body = Bytes::from(vec![n as u8; 1 + n as usize * 7]);
        async move {
            let answer = from.transport().call(NodeId(to), Service::Kv, body.clone(), 5 * SECOND).await;
            assert_eq!(answer.unwrap(), body);
        }
    });
    futures::future::join_all(calls).await;
    assert!(time::now() - started < 4 * SECOND);
    assert_eq!(slow.join().await.unwrap().unwrap(), "slow");

    // Large bodies.
    let large = Bytes::from(vec![7; 5 << 20]);
    let answer = two.transport().call(NodeId(3), Service::Kv, large.clone(), 10 * SECOND).await;
    assert_eq!(answer.unwrap(), large);

    // Snapshots go their own way.
    two.transport().serve(Service::Snapshot, Arc::new(Echo::default()));
    let answer = one.transport().call(NodeId(2), Service::Snapshot, large.clone(), 10 * SECOND).await;
    assert_eq!(answer.unwrap(), large);

    // One way, in order.
    for n in 0..1000u32 {
        one.transport().send(NodeId(3), Service::Kv, Bytes::copy_from_slice(&n.to_be_bytes()));
    }
    eventually("all messages arrive", || echo_three.seen.lock().len() == 1000).await;
    assert_eq!(*echo_three.seen.lock(), (0..1000).collect::<Vec<_>>());

    // Clocks are measured, and nobody is fenced.
    eventually("clocks are measured", || one.clock().peer_offset(NodeId(2)).is_some()).await;
    eventually("nobody is fenced", || [&one, &two, &three].iter().all(|env| !env.clock().is_fenced())).await;

    // A peer dies: its calls are lost, later ones not sent; back again it is another incarnation.
    eventually("connected", || one.transport().peer(NodeId(2)).unwrap().connected).await;
    let before = one.transport().peer(NodeId(2)).unwrap().incarnation;
    assert_eq!(before, Some(two.incarnation()));
    let pending = one.spawn("test.pending", {
        let one = one.clone();
        async move { ask(&one, 2, "never", 30 * SECOND).await }
    });
    time::sleep(Duration::from_millis(100)).await;
    let crashed_at = time::now();
    site.crash(2).await;
    let lost = pending.join().await.unwrap();
    assert!(matches!(lost, Err(TransportError::Lost(_))), "{lost:?}");
    assert!(time::now() - crashed_at < 5 * SECOND, "a broken connection is noticed at once");
    let deadline = time::now() + 5 * SECOND;
    loop {
        match ask(&one, 2, "hello", SECOND).await {
            Err(TransportError::NotSent(_)) => break,
            other => assert!(time::now() < deadline, "{other:?}"),
        }
    }
    assert_eq!(ask(&one, 3, "others go on", SECOND).await.unwrap(), "others go on");
    // The way for snapshots, which is dialled when it is needed, has failed as well and must be dialled again.
    for _ in 0..20 {
        assert!(ask_for_snapshot(&one, 2).await.is_err());
        time::sleep(Duration::from_millis(20)).await;
    }
    let two = site.start(2).await;
    echo(&two);
    two.transport().serve(Service::Snapshot, Arc::new(Echo::default()));
    let deadline = time::now() + 5 * SECOND;
    while ask(&one, 2, "back", SECOND).await.is_err() {
        assert!(time::now() < deadline, "the peer is not reached again");
        time::sleep(Duration::from_millis(20)).await;
    }
    while ask_for_snapshot(&one, 2).await.is_err() {
        assert!(time::now() < deadline, "the peer takes no snapshot again");
        time::sleep(Duration::from_millis(20)).await;
    }
    let after = one.transport().peer(NodeId(2)).unwrap().incarnation;
    assert_eq!(after, Some(two.incarnation()));
    assert_ne!(after, before);

    // A forgotten peer is unknown.
    one.transport().forget(NodeId(3));
    assert!(matches!(ask(&one, 3, "hello", SECOND).await, Err(TransportError::NotSent(_))));
    assert_eq!(one.transport().addresses().len(), 1);

    // What panics is counted, and the rest goes on.
    assert!(one.spawn("test.panic", async { panic!("on purpose") }).join().await.is_err());
    assert_eq!(one.scope().panics(), 1);
    assert_eq!(ask(&one, 2, "still here", SECOND).await.unwrap(), "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real() {
    suite(&Loopback::default()).await;
}

#[test]
fn simulated() {
    let outcome = SimWorld::run(SimConfig::new(7), |world| async move { suite(&Simulated(world)).await });
    // The suite ends with one panic on purpose, which a world never overlooks.
    match outcome {
        Err(quorate_env::sim::SimError::Panicked(panics)) => {
            assert_eq!(panics, ["node 1, task test.panic: on purpose"]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_turned_away() {
    let site = Loopback::default();
    let one = site.start(1).await;
    echo(&one);
    let address = site.0.lock()[&1].1.clone();
    let other = EnvConfig { cluster_id: "another".into(), ..EnvConfig::new(NodeId(2)) };
    let two = Env::real(other).unwrap();
    two.transport().set_address(NodeId(1), address.clone());
    let error = ask(&two, 1, "hello", SECOND).await.unwrap_err();
    assert!(
        matches!(&error, TransportError::NotSent(why) if why.contains("belongs to cluster test")),
        "{error}"
    );
    // A node that is not at its address.
    let three = Env::real(EnvConfig::new(NodeId(3))).unwrap();
    three.transport().set_address(NodeId(9), address.clone());
    let error = ask(&three, 9, "hello", SECOND).await.unwrap_err();
    assert!(matches!(&error, TransportError::NotSent(why) if why.contains("this is node 1")), "{error}");
    // Without a cluster yet it may talk.
    three.transport().set_address(NodeId(1), address);
    assert_eq!(ask(&three, 1, "hello", SECOND).await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_by_nobody_in_particular() {
    use quorate_proto::placement::{NodeAnswer, NodeCommand, NodeReply};
    let site = Loopback::default();
    let one = site.start(1).await;
    quorate_env::serve(&one, |from, command: NodeCommand| async move {
        assert_eq!((from, command), (NodeId(0), NodeCommand::Describe));
        NodeAnswer { result: Ok(NodeReply::Done) }
    });
    let address = site.0.lock()[&1].1.clone();
    let answer = quorate_env::net::ask(&address, &NodeCommand::Describe, SECOND).await.unwrap();
    assert_eq!(answer.result, Ok(NodeReply::Done));
    let error = quorate_env::net::ask("127.0.0.1:1", &NodeCommand::Describe, SECOND).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error}");
}

/// Hands everything on to `to` until the sender says `true`: then it keeps the connection and hands on nothing more.
#[expect(clippy::disallowed_methods, reason = "it stands for the network, outside of any node")]
async fn proxy(to: String, silent: quorate_env::watch::Receiver<bool>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let (to, mut silent) = (to.clone(), silent.clone());
            held.push(tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                let stop = silent.wait_for(|silent| *silent);
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = stop => {}
                }
                std::future::pending::<()>().await;
            }));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_ends_its_calls() {
    let site = Loopback::default();
    let one = site.start(1).await;
    echo(&one);
    let (silent, watch) = quorate_env::watch::channel(false);
    let address = site.0.lock()[&1].1.clone();
    let address = proxy(address, watch).await;
    let two = Env::real(EnvConfig { cluster_id: "test".into(), ..EnvConfig::new(NodeId(2)) }).unwrap();
    two.transport().set_address(NodeId(1), address);
    assert_eq!(ask(&two, 1, "hello", 10 * SECOND).await.unwrap(), "hello");
    let (answer, _) = tokio::join!(ask(&two, 1, "never", 600 * SECOND), async {
        time::sleep(SECOND / 10).await;
        silent.send_replace(true)
    });
    assert!(matches!(&answer, Err(TransportError::Lost(why)) if !why.contains("within")), "{answer:?}");
}

//! Typed requests, and the placement client that follows the driver's leader.

#![expect(clippy::unwrap_used, reason = "a test")]

use parking_lot::Mutex;
use quorate_env::{
    Env, NodeId, PlacementClient, call, serve,
    sim::{SimConfig, SimWorld},
};
use quorate_proto::placement::{
    IdKind, NodeAnswer, NodeCommand, NodeReply, PlacementAnswer, PlacementError, PlacementReply,
    PlacementRequest,
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

fn run<F: Future<Output = ()> + Send + 'static>(seed: u64, scenario: impl FnOnce(SimWorld) -> F) {
    SimWorld::run(SimConfig::new(seed), scenario).unwrap();
}

#[test]
fn a_typed_call_is_answered_here_and_elsewhere() {
    run(1, |world| async move {
        let (one, two) = (world.start(NodeId(1), ""), world.start(NodeId(2), ""));
        for env in [&one, &two] {
            let own = env.clone();
            serve(env, move |from, command: NodeCommand| {
                let own = own.clone();
                async move {
                    own.sleep(Duration::from_millis(5)).await;
                    assert_eq!(command, NodeCommand::Init);
                    let text = format!("{} to {}", from, own.node());
                    NodeAnswer { result: Ok(NodeReply::Initialized(text)) }
                }
            });
        }
        let ask = |to| call(&one, NodeId(to), &NodeCommand::Init, SECOND);
        let said = |text: &str| Ok(NodeReply::Initialized(text.to_owned()));
        assert_eq!(ask(1).await.unwrap().result, said("1 to 1"));
        assert_eq!(ask(2).await.unwrap().result, said("1 to 2"));
        assert!(ask(3).await.unwrap_err().is_definite());
        let impatient = call(&one, NodeId(1), &NodeCommand::Init, Duration::from_millis(1)).await;
        assert!(!impatient.unwrap_err().is_definite());
    });
}

/// Drivers of which only `leader` answers; counts what it carried out.
fn drivers(world: &SimWorld, leader: &Arc<Mutex<Option<NodeId>>>, done: &Arc<AtomicU64>) -> Env {
    for id in 1..=3 {
        driver(&world.start(NodeId(id), ""), leader, done);
    }
    world.start(NodeId(4), "")
}

fn driver(env: &Env, leader: &Arc<Mutex<Option<NodeId>>>, done: &Arc<AtomicU64>) {
    let (own, leader, done) = (env.node(), leader.clone(), done.clone());
    let inner = env.clone();
    serve(env, move |_, request: PlacementRequest| {
        let (leader, done, env) = (*leader.lock(), done.clone(), inner.clone());
        async move {
            if leader != Some(own) {
                return PlacementAnswer { result: Err(PlacementError::not_leader(leader)) };
            }
            if let PlacementRequest::AdvanceSchema { .. } = request {
                env.sleep(5 * SECOND).await;
            }
            PlacementAnswer { result: Ok(PlacementReply::Ids(done.fetch_add(1, Ordering::Relaxed))) }
        }
    });
}

#[test]
fn the_placement_client_follows_the_leader() {
    run(2, |world| async move {
        let (leader, done) = (Arc::new(Mutex::new(Some(NodeId(3)))), Arc::default());
        let env = drivers(&world, &leader, &done);
        let client = PlacementClient::new(env.clone(), vec![NodeId(1), NodeId(2), NodeId(3)]);
        let allocate = PlacementRequest::AllocateIds { kind: IdKind::Object, count: 1 };
        let ask = || client.request(allocate.clone(), 3 * SECOND);
        assert_eq!(ask().await, Ok(PlacementReply::Ids(0)));
        assert_eq!(client.leader(), Some(NodeId(3)));
        *leader.lock() = Some(NodeId(1));
        assert_eq!(ask().await, Ok(PlacementReply::Ids(1)));
        assert_eq!(client.leader(), Some(NodeId(1)));
        // The leader dies, and another one comes up only after a while.
        world.crash(NodeId(1)).await;
        *leader.lock() = None;
        let late = leader.clone();
        let setter = world.spawn("test.election", async move {
            quorate_env::time::sleep(SECOND).await;
            *late.lock() = Some(NodeId(2));
        });
        assert_eq!(ask().await, Ok(PlacementReply::Ids(2)));
        setter.join().await.unwrap();
        // Nobody leads: a definite failure, in time.
        *leader.lock() = None;
        let started = env.boottime();
        assert!(matches!(ask().await, Err(PlacementError::Unavailable(_))));
        assert!(env.boottime() - started < 4 * SECOND);
        // What takes long on purpose is waited for; what cannot be repeated is never repeated.
        *leader.lock() = Some(NodeId(2));
        let advance = PlacementRequest::AdvanceSchema { to: 2 };
        assert_eq!(client.request(advance.clone(), 20 * SECOND).await, Ok(PlacementReply::Ids(3)));
        let lost = client.request(advance, SECOND).await;
        assert!(matches!(lost, Err(PlacementError::Ambiguous(_))), "{lost:?}");
        // Without any node known it says so.
        let nobody = PlacementClient::new(env, Vec::new());
        assert!(matches!(nobody.request(allocate, SECOND).await, Err(PlacementError::Unavailable(_))));
    });
}

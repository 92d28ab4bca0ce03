//! The simulated world itself: virtual time, crashes at await points, cuts, clocks, and the same run for the same seed.

#![expect(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use quorate_env::{
    Handler, NodeId, Refusal, Service, TransportError, scope,
    sim::{NetworkFaults, SimConfig, SimError, SimWorld},
    time,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

#[derive(Default)]
struct Counter(AtomicU64, Mutex<Vec<u8>>);

#[async_trait::async_trait]
impl Handler for Counter {
    async fn call(&self, _from: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(body)
    }

    fn one_way(&self, _from: NodeId, body: Bytes) {
        self.1.lock().push(body[0]);
    }
}

fn run<T, F>(config: SimConfig, scenario: impl FnOnce(SimWorld) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    SimWorld::run(config, scenario).unwrap().value
}

#[test]
fn an_hour_passes_at_once_and_to_the_microsecond() {
    let outcome = SimWorld::run(SimConfig::new(1), |world| async move {
        let env = world.start(ONE, "");
        let before = (env.boottime(), env.clock().physical());
        env.sleep(Duration::from_micros(1_800_000_017)).await;
        assert_eq!(env.boottime() - before.0, Duration::from_micros(1_800_000_017));
        let drift = env.clock().physical().since(before.1).abs_diff(env.boottime() - before.0);
        assert!(drift < Duration::from_millis(50), "{drift:?}");
        let target = env.clock().physical().plus(Duration::from_micros(333));
        env.clock().wait_until_past(target).await;
        assert!(env.clock().physical().since(target) < Duration::from_micros(3));
        assert!(env.timeout(SECOND, std::future::pending::<()>()).await.is_err());
    });
    assert!(outcome.unwrap().elapsed > Duration::from_secs(1801));
}

#[test]
fn stuck_and_endless_runs_are_told() {
    let stuck = SimWorld::run(SimConfig::new(1), |_| std::future::pending::<()>());
    // The time limit itself is a timer, so a stuck run ends there.
    assert!(matches!(stuck, Err(SimError::TimeLimit(_) | SimError::Stuck)), "{stuck:?}");
    let panicked = SimWorld::run(SimConfig::new(1), |world| async move {
        let env = world.start(ONE, "");
        env.spawn("test.panic", async { panic!("on purpose") }).detach();
        world.sleep(SECOND).await;
    });
    assert!(matches!(panicked, Err(SimError::Panicked(_))), "{panicked:?}");
}

#[test]
fn a_timer_that_wakes_nobody_does_not_stop_the_world() {
    run(SimConfig::new(3), |world| async move {
        let mut timer = time::sleep(SECOND);
        assert!((&mut timer).now_or_never().is_none(), "polled by hand, with nobody to wake");
        world.sleep(2 * SECOND).await;
        assert_eq!(world.elapsed(), 2 * SECOND);
    });
}

#[test]
fn a_crash_drops_all_tasks_of_the_node_and_nothing_else() {
    struct Dropped(Arc<AtomicU64>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            // A destructor may even spawn; that task must not outlive the node either.
            let dropped = Dropped2(self.0.clone());
            drop(scope::spawn(async move {
                let _dropped = dropped;
                time::sleep(SECOND).await;
                unreachable!("a dead node works on");
            }));
        }
    }
    struct Dropped2(Arc<AtomicU64>);
    impl Drop for Dropped2 {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    run(SimConfig::new(3), |world| async move {
        let dropped = Arc::new(AtomicU64::new(0));
        let worked = Arc::new(AtomicU64::new(0));
        for node in [ONE, TWO] {
            let env = world.start(node, "");
            let (inner, worked) = (dropped.clone(), worked.clone());
            env.spawn("test.outer", async move {
                // Like openraft: spawns without an `Env`.
                let _detached = scope::spawn(async move {
                    let _dropped = Dropped(inner);
                    loop {
                        worked.fetch_add(1, Ordering::Relaxed);
                        time::sleep(Duration::from_millis(10)).await;
                    }
                });
            })
            .detach();
        }
        world.sleep(SECOND).await;
        world.crash(ONE).await;
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        let before = worked.load(Ordering::Relaxed);
        world.sleep(SECOND).await;
        let more = worked.load(Ordering::Relaxed) - before;
        assert!((90..=101).contains(&more), "only node 2 works on: {more}");
        assert!(!world.is_up(ONE));
        // A second life draws another incarnation.
        let second = world.start(ONE, "");
        assert!(world.up() == [ONE, TWO] && second.incarnation() != world.env(TWO).unwrap().incarnation());
        drop(second);
        // Death at an await point somewhere inside.
        world.crash_after_polls(TWO, 25, 10 * SECOND).await;
        assert_eq!(dropped.load(Ordering::Relaxed), 4);
    });
}

#[test]
fn cuts_work_one_way_and_break_connections_in_time() {
    run(SimConfig::new(4), |world| async move {
        let (one, two) = (world.start(ONE, ""), world.start(TWO, ""));
        let (at_one, at_two) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
        one.transport().serve(Service::Kv, at_one.clone());
        two.transport().serve(Service::Kv, at_two.clone());
        let call = |env: quorate_env::Env, to| async move {
            env.transport().call(to, Service::Kv, Bytes::from_static(b"x"), SECOND).await
        };
        assert!(call(one.clone(), TWO).await.is_ok());
        world.cut(TWO, ONE);
        // The request arrives, the answer does not.
        assert!(matches!(call(one.clone(), TWO).await, Err(TransportError::Lost(_))));
        assert_eq!(at_two.0.load(Ordering::Relaxed), 2);
        assert!(matches!(call(two.clone(), ONE).await, Err(TransportError::Lost(_))));
        assert_eq!(at_one.0.load(Ordering::Relaxed), 0);
        world.sleep(5 * SECOND).await;
        assert!(matches!(call(one.clone(), TWO).await, Err(TransportError::NotSent(_))));
        world.heal();
        assert!(call(one, TWO).await.is_ok());
    });
}

#[test]
fn a_call_is_not_kept_waiting_for_what_cannot_come() {
    run(SimConfig::new(6), |world| async move {
        let (one, two) = (world.start(ONE, ""), world.start(TWO, ""));
        two.transport().serve(Service::Kv, Arc::new(Counter::default()));
        let call = || one.transport().call(TWO, Service::Kv, Bytes::from_static(b"x"), 60 * SECOND);
        // The request gets lost; the answer; the connection while the callee is held up.
        for trouble in 0..3 {
            match trouble {
                0 => world.cut(ONE, TWO),
                1 => world.cut(TWO, ONE),
                _ => world.pause(TWO),
            }
            let before = world.elapsed();
            let (answer, ()) = tokio::join!(call(), async {
                world.sleep(Duration::from_millis(1)).await;
                world.cut(ONE, TWO);
            });
            assert!(matches!(answer, Err(TransportError::Lost(_))), "{trouble}: {answer:?}");
            assert!(world.elapsed() - before < 6 * SECOND, "{trouble}: {:?}", world.elapsed() - before);
            world.heal();
            world.resume(TWO);
        }
        assert!(call().await.is_ok());
    });
}

#[test]
fn a_bad_network_loses_repeats_and_reorders() {
    run(SimConfig::new(5), |world| async move {
        let (one, two) = (world.start(ONE, ""), world.start(TWO, ""));
        let counter = Arc::new(Counter::default());
        two.transport().serve(Service::Kv, counter.clone());
        let faults = NetworkFaults { loss: 0.1, duplicate: 0.1, reorder: 0.5, ..NetworkFaults::default() };
        world.set_network(faults);
        for n in 0..200u8 {
            one.transport().send(TWO, Service::Kv, Bytes::copy_from_slice(&[n]));
        }
        world.sleep(SECOND).await;
        let seen = counter.1.lock().clone();
        let mut unique = seen.clone();
        unique.sort_unstable();
        unique.dedup();
        assert!(unique.len() < 195, "some are lost: {}", unique.len());
        assert!(seen.len() > unique.len(), "some are repeated");
        assert!(!seen.is_sorted(), "some overtake others");
    });
}

#[test]
fn a_clock_that_jumps_is_fenced_and_comes_back() {
    run(SimConfig::new(6), |world| async move {
        for node in [ONE, TWO, THREE] {
            world.start(node, "cluster");
        }
        world.sleep(SECOND).await;
        let fenced = || {
            world.up().into_iter().filter(|&n| world.env(n).unwrap().clock().is_fenced()).collect::<Vec<_>>()
        };
        assert_eq!(fenced(), []);
        world.jump_clock(TWO, 500_000);
        world.sleep(SECOND).await;
        assert_eq!(fenced(), [TWO]);
        let offset = world.env(TWO).unwrap().clock().offset_micros();
        assert!((offset - 500_000).abs() < 5_000, "{offset}");
        world.jump_clock(TWO, -500_000);
        world.sleep(2 * SECOND).await;
        assert_eq!(fenced(), []);
        // The others do not follow a leaping clock.
        let ahead = world.env(ONE).unwrap().clock().now().since(world.env(ONE).unwrap().clock().physical());
        assert!(ahead <= Duration::from_millis(10), "{ahead:?}");
        // Cut off from all others for long: fenced as well.
        world.partition(&[THREE], &[ONE, TWO]);
        world.sleep(4 * SECOND).await;
        assert_eq!(fenced(), []);
        world.sleep(12 * SECOND).await;
        assert_eq!(fenced(), [THREE]);
        world.heal();
        world.sleep(2 * SECOND).await;
        assert_eq!(fenced(), []);
    });
}

/// Two of four are left: too few, unless one of those away has left for good.
#[test]
fn who_has_left_neither_counts_nor_helps_a_majority() {
    const FOUR: NodeId = NodeId(4);
    run(SimConfig::new(7), |world| async move {
        for node in [ONE, TWO, THREE, FOUR] {
            world.start(node, "cluster");
        }
        world.sleep(SECOND).await;
        let fenced = |node: NodeId| world.env(node).unwrap().clock().is_fenced();
        assert!(![ONE, TWO, THREE, FOUR].into_iter().any(fenced));
        world.env(FOUR).unwrap().clock().retire();
        assert!(fenced(FOUR));
        world.crash(THREE).await;
        world.sleep(14 * SECOND).await;
        // It still runs, and could be asked.
        assert!(fenced(ONE) && fenced(TWO));
        world.env(ONE).unwrap().transport().forget(FOUR);
        world.sleep(2 * SECOND).await;
        assert!(!fenced(ONE) && fenced(TWO), "two of three are a majority, two of four are not");
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let hash = |seed| {
        let config = SimConfig {
            network: NetworkFaults { loss: 0.05, duplicate: 0.05, late: 0.05, ..NetworkFaults::default() },
            ..SimConfig::new(seed)
        };
        let outcome = SimWorld::run(config, |world| async move {
            for node in [ONE, TWO, THREE] {
                let env = world.start(node, "cluster");
                env.transport().serve(Service::Kv, Arc::new(Counter::default()));
                for task in 0..5u8 {
                    let env = env.clone();
                    env.clone()
                        .spawn("test.chat", async move {
                            loop {
                                let to = NodeId(env.random_range(1..4));
                                let body = Bytes::copy_from_slice(&[task]);
                                let _ = env.transport().call(to, Service::Kv, body, SECOND).await;
                                env.sleep(env.jittered(Duration::from_millis(20))).await;
                            }
                        })
                        .detach();
                }
            }
            world.sleep(2 * SECOND).await;
            world.crash_after_polls(TWO, 100, SECOND).await;
            world.sleep(2 * SECOND).await;
        });
        let outcome = outcome.unwrap();
        assert!(outcome.events > 1000);
        outcome.trace_hash
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

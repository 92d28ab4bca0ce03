//! The real clock.

use quorate_env::{Env, EnvConfig, NodeId, Timestamp};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hybrid_clock_rises_and_follows_its_peers_within_the_bound() {
    let env = Env::real(EnvConfig::new(NodeId(1))).unwrap();
    let clock = env.clock();
    let mut last = Timestamp::ZERO;
    for _ in 0..10_000 {
        let now = clock.now();
        assert!(now > last);
        last = now;
    }
    let near = clock.physical().plus(Duration::from_micros(900));
    clock.observe(near).unwrap();
    assert!(clock.now() > near);
    let far = clock.physical().plus(Duration::from_secs(1));
    assert!(clock.observe(far).unwrap_err().ahead > Duration::from_millis(990));
    assert!(clock.now() < far);
    assert!(clock.commit_wait() && !clock.is_fenced());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_waits_end_soon_after_their_time() {
    let env = Env::real(EnvConfig::new(NodeId(1))).unwrap();
    let waits = (0..200).map(|n| {
        let env = env.clone();
        async move {
            env.sleep(Duration::from_millis(n % 17)).await;
            let target = env.clock().physical().plus(Duration::from_micros(100 + 37 * n));
            env.clock().wait_until_past(target).await;
            let late = env.clock().physical().since(target);
            assert!(env.clock().physical() > target);
            late
        }
    });
    let mut late = futures::future::join_all(waits).await;
    late.sort();
    println!("late by {:?} (median), {:?} (worst)", late[100], late[199]);
}

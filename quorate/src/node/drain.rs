//! Leaving without hurting anyone: statements end, leaderships are handed over, state is flushed.

use super::{gateway::Gateway, parts::Storage};
use quorate_env::Env;
use std::time::Duration;

/// Statements under way get this long to end; leaderships are handed over meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// For statements that were ended, to tell their clients, and for leaderships that came late.
const FAREWELL: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub async fn run(env: &Env, storage: &Storage, gateway: &Gateway) {
    // Clients that wait for nothing are sent away; the others are as soon as their statement is answered.
    env.shutdown().begin();
    storage.consensus.leave();
    let leaving = async { tokio::join!(hand_over(storage), sessions_end(env, gateway)) };
    if env.timeout(PATIENCE, leaving).await.is_err() {
        tracing::warn!(sessions = gateway.sessions(), "draining took too long; what still runs is ended");
        gateway.end_statements();
        // Who does not even take that message is left without it.
        let _ = env.timeout(FAREWELL, sessions_end(env, gateway)).await;
    }
    // Others that stop, too, may have handed over to this node meanwhile.
    let _ = env.timeout(FAREWELL, hand_over(storage)).await;
    tracing::info!(leaderships = led(storage), sessions = gateway.sessions(), "drained");
    if env.timeout(FAREWELL, storage.consensus.stop()).await.is_err() {
        // What waits for space on a full disk is told so when the log is closed.
        tracing::warn!("replicas are stopped in the midst of what they do");
    }
    storage.log.close();
    let engine = storage.engine.clone();
    if let Err(error) = env.blocking("flush", move || engine.flush()).await {
        tracing::error!(%error, "the last flush failed");
    }
}

/// Hands leaderships over for as long as that makes them fewer. Where nobody can take them, as on the last node of a cluster
/// that is stopped as a whole, there is nothing to wait for.
async fn hand_over(storage: &Storage) {
    let mut before = usize::MAX;
    loop {
        let left = storage.consensus.hand_over().await;
        if left == 0 || left >= before {
            return;
        }
        before = left;
    }
}

fn led(storage: &Storage) -> usize {
    storage.consensus.groups().iter().filter(|group| group.leadership().borrow().is_leader).count()
}

async fn sessions_end(env: &Env, gateway: &Gateway) {
    while gateway.sessions() > 0 {
        env.sleep(LOOK_AGAIN).await;
    }
}

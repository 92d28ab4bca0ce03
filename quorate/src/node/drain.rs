//! Leaving without hurting anyone: sessions end, leaderships are handed over, state is flushed.

use super::parts::Storage;
use quorate_env::Env;
use std::time::Duration;

/// At most `patience` long.
pub async fn run(env: &Env, storage: &Storage, patience: Duration) {
    env.shutdown().begin();
    let hand_over = async {
        for group in storage.consensus.groups() {
            if !group.leadership().borrow().is_leader {
                continue;
            }
            let own = group.replica();
            let heir = group.progress().into_iter().find(|m| m.caught_up && m.replica.id != own);
            if let Some(heir) = heir
                && let Err(error) = group.transfer(heir.replica.id).await
            {
                tracing::warn!(shard = %group.shard(), %error, "leadership was not handed over");
            }
        }
    };
    if env.timeout(patience, hand_over).await.is_err() {
        tracing::warn!("draining took too long");
    }
    storage.consensus.stop().await;
    storage.log.close();
    let engine = storage.engine.clone();
    if let Err(error) = env.blocking("flush", move || engine.flush()).await {
        tracing::error!(%error, "the last flush failed");
    }
}

//! Whom the router asks for the shard map, one question at a time.

use async_trait::async_trait;
use quorate_env::PlacementClient;
use quorate_proto::placement::{MapUpdate, PlacementReply, PlacementRequest};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Where the router asks for the map when shards cannot tell.
#[async_trait]
pub trait MapSource: Send + Sync + 'static {
    /// What has changed since the version; `None` if it cannot be reached now.
    async fn changes(&self, after_version: u64) -> Option<MapUpdate>;
}

#[async_trait]
impl MapSource for PlacementClient {
    async fn changes(&self, after_version: u64) -> Option<MapUpdate> {
        let request = PlacementRequest::WatchMap { after_version, wait_millis: 0 };
        match self.request(request, Duration::from_secs(2)).await {
            Ok(PlacementReply::Map(update)) => Some(update),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, "no shard map from the placement driver");
                None
            }
        }
    }
}

/// Questions of many, of which one is under way at a time.
#[derive(Default)]
pub(super) struct Questions {
    turn: tokio::sync::Mutex<()>,
    /// So many have come to their end.
    ended: AtomicU64,
}

impl Questions {
    /// Asks, or waits for the end of the question that is under way: whatever came of it counts for all who have waited for it.
    /// (If each asked again when there was no answer, the last of them would wait for as many timeouts as there are askers.)
    pub async fn share(&self, question: impl Future<Output = ()>) {
        let known = self.ended.load(Ordering::Acquire);
        let _turn = self.turn.lock().await;
        if self.ended.load(Ordering::Acquire) == known {
            question.await;
            self.ended.fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_env::sim::{SimConfig, SimWorld};
    use quorate_proto::NodeId;
    use std::sync::Arc;

    #[test]
    fn a_question_without_an_answer_is_not_asked_by_each_in_turn() {
        let run = SimWorld::run(SimConfig::new(1), |world| async move {
            let env = world.start(NodeId(1), "");
            let (questions, asked) = (Arc::new(Questions::default()), Arc::new(AtomicU64::new(0)));
            let askers = (0..20).map(|_| {
                let (env, questions, asked) = (env.clone(), questions.clone(), asked.clone());
                async move {
                    questions
                        .share(async {
                            env.sleep(Duration::from_secs(2)).await;
                            asked.fetch_add(1, Ordering::Relaxed);
                        })
                        .await;
                }
            });
            futures::future::join_all(askers).await;
            assert_eq!(asked.load(Ordering::Relaxed), 1);
            // Who comes later asks anew, and who gives up in the midst leaves the question to the next one.
            let question = async { env.sleep(Duration::from_secs(2)).await };
            let given_up = env.timeout(Duration::from_secs(1), questions.share(question)).await;
            assert!(given_up.is_err());
            questions.share(async { _ = asked.fetch_add(1, Ordering::Relaxed) }).await;
            assert_eq!(asked.load(Ordering::Relaxed), 2);
        });
        run.unwrap();
    }
}

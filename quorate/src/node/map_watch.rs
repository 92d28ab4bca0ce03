//! News of the shard map when it happens: one request a node that waits at the placement driver.

use quorate_env::{Env, PlacementClient};
use quorate_proto::placement::{PlacementReply, PlacementRequest};
use quorate_txn::Router;
use std::{sync::Arc, time::Duration};

/// For so long the driver holds a request without news: all that an idle node asks for is two of them a minute.
const WAIT: Duration = Duration::from_secs(30);
/// On top of that, to find the driver's leader.
const PATIENCE: Duration = Duration::from_secs(2);
/// After news: what changes in one go, as in a scatter, is told in one go.
const PAUSE: Duration = Duration::from_millis(20);
/// After a failure. Heartbeats bring the map meanwhile, and say what is wrong.
const RETRY: Duration = Duration::from_secs(1);

/// Follows the map until the node shuts down.
pub async fn follow(env: Env, driver: Arc<PlacementClient>, router: Arc<Router>) {
    while !env.shutdown().is_set() {
        let wait_millis = WAIT.as_millis() as u64;
        let request = PlacementRequest::WatchMap { after_version: router.map_version(), wait_millis };
        let pause = match driver.request(request, WAIT + PATIENCE).await {
            Ok(PlacementReply::Map(update)) => {
                router.update(&update);
                PAUSE
            }
            _ => RETRY,
        };
        env.sleep(pause).await;
    }
}

//! News from the placement driver when they happen: two requests a node that wait there, one for the shard map and one for
//! the catalog's version.

use super::pulse::Pulse;
use quorate_env::{Env, PlacementClient};
use quorate_proto::placement::{PlacementReply, PlacementRequest};
use quorate_sql::server::ClusterInfo as _;
use quorate_txn::Router;
use std::{sync::Arc, time::Duration};

/// For so long the driver holds a request without news: all that an idle node asks for is two of each a minute.
const WAIT: Duration = Duration::from_secs(30);
/// On top of that, to find the driver's leader.
const PATIENCE: Duration = Duration::from_secs(2);
/// After news of the map: what changes in one go, as in a scatter, is told in one go.
const PAUSE: Duration = Duration::from_millis(20);
/// After a failure. Heartbeats bring the news meanwhile, and say what is wrong.
const RETRY: Duration = Duration::from_secs(1);

const WAIT_MILLIS: u64 = WAIT.as_millis() as u64;

/// Follows the map until the node shuts down.
pub async fn map(env: Env, driver: Arc<PlacementClient>, router: Arc<Router>) {
    while !env.shutdown().is_set() {
        let after_version = router.map_version();
        let request = PlacementRequest::WatchMap { after_version, wait_millis: WAIT_MILLIS };
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

/// Follows the catalog's version until the node shuts down. A new one comes with its lease by heartbeat, which is not waited
/// for: a schema change goes on when all nodes have told of it.
pub async fn schema(env: Env, driver: Arc<PlacementClient>, pulse: Arc<Pulse>) {
    let mut told = pulse.schema();
    let mut after = 0;
    while !env.shutdown().is_set() {
        let request = PlacementRequest::WatchSchema { after, wait_millis: WAIT_MILLIS };
        match driver.request(request, WAIT + PATIENCE).await {
            Ok(PlacementReply::SchemaVersion(version)) if version > after => {
                after = version;
                pulse.hurry();
                let told = told.wait_for(|lease| lease.version >= version);
                // If it got lost, the next one brings it.
                let _ = env.timeout(RETRY, told).await;
            }
            Ok(_) => {}
            Err(_) => env.sleep(RETRY).await,
        }
    }
}

//! The node's knowledge of the catalog: read whole from the key space, kept by version, pinned by transactions.

use super::{
    keys,
    pins::{PinId, Pins},
    snapshot::{Snapshot, decode_u64},
};
use crate::{
    error::{SqlError, SqlState},
    server::{ClusterInfo, Placement},
    session::errors::from_txn,
};
use futures::TryStreamExt;
use parking_lot::Mutex;
use quorate_env::{Env, planted};
use quorate_proto::placement::{NodeState, NodeStatus, PlacementError, PlacementReply, PlacementRequest};
use quorate_txn::{Coordinator, ScanOptions, TxnOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How often the catalog is read while old transactions hold its version back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// For asking who holds a schema change up.
const ASK: Duration = Duration::from_secs(2);
/// For asking how far the schema is.
const DRIVER: Duration = Duration::from_secs(15);
/// After an answer that leaves that open.
const ASK_AGAIN: Duration = Duration::from_millis(10);

pub struct Catalog {
    env: Env,
    coordinator: Arc<Coordinator>,
    cluster: Arc<dyn ClusterInfo>,
    placement: Arc<dyn Placement>,
    pins: Mutex<Pins>,
    /// One reader at a time; whoever comes second finds the work done.
    reading: tokio::sync::Mutex<()>,
    /// How long a schema change waits for all nodes to use it.
    patience: Duration,
    /// Schema changes that wait here for other nodes.
    settling: AtomicUsize,
}

/// One of them.
struct Settling<'a>(&'a AtomicUsize);

impl<'a> Settling<'a> {
    fn begin(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::AcqRel);
        Settling(all)
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Catalog {
    pub fn new(
        env: Env,
        coordinator: Arc<Coordinator>,
        cluster: Arc<dyn ClusterInfo>,
        placement: Arc<dyn Placement>,
        patience: Duration,
    ) -> Arc<Self> {
        let pins = Mutex::new(Pins::new(Arc::default()));
        Arc::new(Catalog {
            env,
            coordinator,
            cluster,
            placement,
            pins,
            reading: Default::default(),
            patience,
            settling: AtomicUsize::new(0),
        })
    }

    /// Follows the schema version until the node shuts down.
    pub fn start(self: &Arc<Self>) {
        let catalog = self.clone();
        self.env.spawn("sql.catalog", async move { catalog.follow().await }).detach();
    }

    async fn follow(&self) {
        let mut schema = self.cluster.schema();
        loop {
            let version = schema.borrow_and_update().version;
            let current = self.current();
            let old = version > current.version || !current.loaded;
            if (old || self.is_held_back())
                && let Err(error) = self.refresh().await
            {
                tracing::debug!(%error, "the catalog could not be read; again soon");
                self.env.sleep(Duration::from_millis(200)).await;
                continue;
            }
            // While a transaction here holds the version back, no other one comes; but its table may be closed.
            let limit = if self.is_held_back() { LOOK_AGAIN } else { Duration::MAX };
            if let Ok(Err(_)) = self.env.timeout(limit, schema.changed()).await {
                return;
            }
        }
    }

    fn is_held_back(&self) -> bool {
        self.pins.lock().is_held_back()
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.pins.lock().current().clone()
    }

    /// Reads the catalog again if it has changed, and returns what it is now.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, SqlError> {
        let _one = self.reading.lock().await;
        // Taken before the read, so that the snapshot holds at least all that was committed up to this version.
        let version = self.cluster.schema().borrow().version;
        let have = self.current();
        let read = || async {
            let txn = self.coordinator.begin(TxnOptions { read_only: true, ..Default::default() });
            let generation = txn.get(&keys::generation(), None).await.map_err(from_txn)?;
            let generation = generation.as_ref().and_then(|raw| decode_u64(raw)).unwrap_or(0);
            if generation == have.generation && have.loaded {
                let mut same = (*have).clone();
                same.version = version;
                return Ok(same);
            }
            let pages: Vec<_> = txn
                .scan(keys::descriptors(), ScanOptions::default())
                .try_collect()
                .await
                .map_err(from_txn)?;
            Snapshot::from_rows(version, &pages.concat())
        };
        let mut attempt = 0;
        let snapshot = loop {
            match read().await {
                Ok(snapshot) => break Arc::new(snapshot),
                Err(error) if error.sqlstate == SqlState::SERIALIZATION_FAILURE && attempt < 10 => {
                    attempt += 1
                }
                Err(error) => return Err(error),
            }
        };
        let report = {
            let mut pins = self.pins.lock();
            pins.install(snapshot.clone());
            pins.report()
        };
        self.report(report);
        Ok(snapshot)
    }

    fn report(&self, version: Option<u64>) {
        if let Some(version) = version {
            self.cluster.report_schema(version);
        }
    }

    pub fn pin(self: &Arc<Self>) -> Pinned {
        Pinned { id: self.pins.lock().pin(), catalog: self.clone() }
    }

    /// Returns when all nodes use the catalog as it is now: when its version has been raised twice since. A node that reports a
    /// version has read the catalog after it learned of that version, and it is raised when all have reported the one before.
    /// Who raises it does not matter, so changes that wait side by side wait together.
    pub async fn settle(&self) -> Result<(), SqlError> {
        let _settling = Settling::begin(&self.settling);
        let deadline = self.env.boottime() + self.patience;
        // The driver's word: what this node has heard may have been raised before the change that is to be settled.
        let mut present = self.driver_version().await?;
        if planted!("sql.schema_settled_by_hearsay") {
            present = self.cluster.schema().borrow().version;
        }
        let settled = present + if planted!("sql.schema_settled_too_early") { 1 } else { 2 };
        while present < settled {
            let left = deadline.saturating_sub(self.env.boottime());
            if left.is_zero() {
                return Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "not all nodes have taken over the schema change in time",
                )
                .detail("A node still runs a transaction that began before the change.")
                .hint("The change stands. Nodes with such a transaction use the old state until it ends."));
            }
            present =
                match self.placement.request(PlacementRequest::AdvanceSchema { to: present + 1 }, left).await
                {
                    Ok(PlacementReply::SchemaVersion(version)) => version,
                    // Somebody else has raised it, or we did.
                    Err(PlacementError::Refused(_) | PlacementError::Ambiguous(_)) => {
                        self.env.sleep(ASK_AGAIN).await;
                        self.driver_version().await?
                    }
                    other => return Err(unexpected(other)),
                };
        }
        Ok(())
    }

    /// The catalog's version that the placement driver has now.
    async fn driver_version(&self) -> Result<u64, SqlError> {
        let request = PlacementRequest::WatchSchema { after: 0, wait_millis: 0 };
        match self.placement.request(request, DRIVER).await {
            Ok(PlacementReply::SchemaVersion(version)) => Ok(version),
            other => Err(unexpected(other)),
        }
    }

    /// Whom the schema changes of this node wait for, in words; `None` if none waits.
    pub async fn held_up_by(&self) -> Option<String> {
        if self.settling.load(Ordering::Acquire) == 0 {
            return None;
        }
        let present = self.cluster.schema().borrow().version;
        let nodes = match self.placement.request(PlacementRequest::Nodes, ASK).await {
            Ok(PlacementReply::Nodes(nodes)) => nodes,
            _ => vec![],
        };
        Some(held_up(&nodes, present))
    }
}

/// What the driver has to say to a schema change otherwise.
fn unexpected(answer: Result<PlacementReply, PlacementError>) -> SqlError {
    match answer {
        Ok(other) => SqlError::internal(format!("placement answered {other:?} to a schema change")),
        Err(error) => SqlError::new(SqlState("57Q01"), format!("schema change: {error}")),
    }
}

/// Whom a change waits for until everybody uses this version.
fn held_up(nodes: &[NodeStatus], version: u64) -> String {
    let behind = |node: &&NodeStatus| {
        node.serves_sql() && node.state != NodeState::Decommissioned && node.schema_version < version
    };
    let name = |live: bool| {
        let which = nodes.iter().filter(behind).filter(move |node| (node.state == NodeState::Live) == live);
        which.map(|node| node.info.id.to_string()).collect::<Vec<_>>().join(", ")
    };
    match (name(true), name(false)) {
        (busy, _) if !busy.is_empty() => {
            format!("waiting for transactions on node {busy} that use the schema as it was before the change")
        }
        (_, silent) if !silent.is_empty() => {
            format!(
                "waiting until node {silent}, which is silent, may not use the schema before the change any more"
            )
        }
        _ => "waiting until all nodes use the changed schema".into(),
    }
}

/// A transaction's hold on the catalog.
pub struct Pinned {
    id: PinId,
    catalog: Arc<Catalog>,
}

impl Pinned {
    pub fn begin_statement(&self) -> Arc<Snapshot> {
        self.catalog.pins.lock().begin_statement(self.id)
    }

    pub fn used(&self, tables: &[(u64, u64)]) {
        self.catalog.pins.lock().used(self.id, tables);
    }

    /// The statement is bound to these tables, and looks at nothing else of the catalog.
    pub fn bound(&self, tables: &[(u64, u64)]) {
        let report = {
            let mut pins = self.catalog.pins.lock();
            pins.bound(self.id, tables);
            pins.report()
        };
        self.catalog.report(report);
    }

    /// Before writes are committed: 40001 if they must not be.
    pub fn begin_commit(&self) -> Result<(), SqlError> {
        self.catalog.pins.lock().begin_commit(self.id).map_err(|table| {
            SqlError::new(
                SqlState::SERIALIZATION_FAILURE,
                format!("table \"{table}\" was dropped while the transaction used it"),
            )
            .detail("The drop has waited for a while; nothing of the transaction was committed.")
            .because("schema_change")
        })
    }

    pub fn end_statement(&self) {
        let report = {
            let mut pins = self.catalog.pins.lock();
            pins.end_statement(self.id);
            pins.report()
        };
        self.catalog.report(report);
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let report = {
            let mut pins = self.catalog.pins.lock();
            pins.unpin(self.id);
            pins.report()
        };
        self.catalog.report(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::{NodeId, Timestamp, placement::NodeInfo};

    fn node(id: u64, state: NodeState, schema_version: u64, roles: u8) -> NodeStatus {
        let info = NodeInfo {
            id: NodeId(id),
            incarnation: 1,
            rpc_address: String::new(),
            sql_address: String::new(),
            http_address: String::new(),
            locality: vec![],
            roles,
        };
        NodeStatus {
            info,
            state,
            last_heartbeat: Timestamp::ZERO,
            clock_offset_micros: 0,
            space: Default::default(),
            sessions: 0,
            replicas: 0,
            leaders: 0,
            schema_version,
            carries_driver: false,
            tempo: Default::default(),
            slow: String::new(),
        }
    }

    #[test]
    fn who_is_in_the_way_is_named() {
        use NodeState::{Live, Suspect};
        let mut nodes = vec![node(1, Live, 7, 7), node(2, Live, 6, 3), node(3, Suspect, 6, 7)];
        assert!(held_up(&nodes, 7).contains("node 3, which is silent"), "node 2 serves no SQL");
        nodes.extend([node(4, Live, 6, 4), node(5, Live, 0, 4)]);
        assert!(held_up(&nodes, 7).contains("transactions on node 4, 5 that"));
        assert!(held_up(&nodes[..1], 7).contains("all nodes"));
    }
}

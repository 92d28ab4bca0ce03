//! Asks the placement driver, wherever its leader is.

use crate::{Env, TransportError, rpc};
use parking_lot::Mutex;
use quorate_proto::{
    NodeId,
    placement::{PlacementError, PlacementReply, PlacementRequest},
};
use std::time::Duration;

/// One try of a request that does not wait on purpose.
const ATTEMPT: Duration = Duration::from_secs(2);
const BACKOFF: Duration = Duration::from_millis(50);

/// Follows the driver's leader among the known placement nodes.
pub struct PlacementClient {
    env: Env,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    nodes: Vec<NodeId>,
    leader: Option<NodeId>,
    next: usize,
}

impl PlacementClient {
    pub fn new(env: Env, nodes: Vec<NodeId>) -> Self {
        let client = PlacementClient { env, known: Mutex::default() };
        client.set_nodes(nodes);
        client
    }

    /// Which nodes carry the driver.
    pub fn set_nodes(&self, mut nodes: Vec<NodeId>) {
        nodes.sort_unstable();
        nodes.dedup();
        self.known.lock().nodes = nodes;
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.known.lock().nodes.clone()
    }

    /// The leader as far as known.
    pub fn leader(&self) -> Option<NodeId> {
        self.known.lock().leader
    }

    /// Asks until there is an answer or `timeout` is over.
    ///
    /// # Errors
    /// What the driver answered; [`PlacementError::Unavailable`] when no leader was found in time (nothing happened);
    /// [`PlacementError::Ambiguous`] when a request that cannot be repeated harmlessly was lost on the way.
    pub async fn request(
        &self,
        request: PlacementRequest,
        timeout: Duration,
    ) -> Result<PlacementReply, PlacementError> {
        let deadline = self.env.boottime() + timeout;
        let mut last = PlacementError::Unavailable("no placement node is known".into());
        // Whether an earlier try may have been carried out.
        let mut lost = false;
        loop {
            let left = deadline.saturating_sub(self.env.boottime());
            if left.is_zero() {
                return Err(if lost { PlacementError::Ambiguous(last.to_string()) } else { last });
            }
            let Some(target) = self.target() else {
                self.env.sleep(BACKOFF.min(left)).await;
                continue;
            };
            let patience = left.min(ATTEMPT + waits_on_purpose(&request).unwrap_or(left));
            let error = match rpc::call(&self.env, target, &request, patience).await {
                Ok(answer) => match answer.result {
                    Ok(reply) => {
                        self.known.lock().leader = Some(target);
                        return Ok(reply);
                    }
                    Err(PlacementError::NotLeader(leader)) => {
                        self.follow(target, leader.filter(|leader| *leader != target));
                        if leader.is_some_and(|leader| leader != target) {
                            continue;
                        }
                        PlacementError::Unavailable("the driver has no leader now".into())
                    }
                    Err(error @ (PlacementError::Unavailable(_) | PlacementError::NotInitialized)) => {
                        self.follow(target, None);
                        error
                    }
                    Err(error @ PlacementError::Ambiguous(_)) => {
                        if !repeats_harmlessly(&request) {
                            return Err(error);
                        }
                        lost = true;
                        self.follow(target, None);
                        error
                    }
                    Err(error @ PlacementError::Refused(_)) => return Err(error),
                },
                Err(TransportError::Lost(why)) => {
                    self.follow(target, None);
                    if !repeats_harmlessly(&request) {
                        return Err(PlacementError::Ambiguous(why));
                    }
                    lost = true;
                    PlacementError::Unavailable(format!("node {target}: {why}"))
                }
                Err(error) => {
                    self.follow(target, None);
                    PlacementError::Unavailable(format!("node {target}: {error}"))
                }
            };
            last = error;
            let left = deadline.saturating_sub(self.env.boottime());
            self.env.sleep(self.env.jittered(BACKOFF).min(left)).await;
        }
    }

    /// The leader, or else one node after the other.
    fn target(&self) -> Option<NodeId> {
        let mut known = self.known.lock();
        if let Some(leader) = known.leader {
            return Some(leader);
        }
        let node = known.nodes.get(known.next % known.nodes.len().max(1)).copied();
        known.next = known.next.wrapping_add(1);
        node
    }

    /// `asked` is not the leader; perhaps `leader` is.
    fn follow(&self, asked: NodeId, leader: Option<NodeId>) {
        let mut known = self.known.lock();
        if leader.is_some() || known.leader == Some(asked) {
            known.leader = leader;
        }
    }
}

/// How long the driver may take on purpose; `None`: as long as it likes.
fn waits_on_purpose(request: &PlacementRequest) -> Option<Duration> {
    match request {
        PlacementRequest::WatchMap { wait_millis, .. }
        | PlacementRequest::WatchSchema { wait_millis, .. }
        | PlacementRequest::Operation { wait_millis, .. } => Some(Duration::from_millis(*wait_millis)),
        PlacementRequest::AdvanceSchema { .. } => None,
        _ => Some(Duration::ZERO),
    }
}

/// A second execution does no harm: ids are wasted at worst. Raising the catalog version twice, or starting an operation
/// twice, is not the same as once.
fn repeats_harmlessly(request: &PlacementRequest) -> bool {
    !matches!(request, PlacementRequest::AdvanceSchema { .. } | PlacementRequest::Start(_))
}

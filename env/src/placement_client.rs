//! Asks the placement driver, wherever its leader is.

use crate::{Env, TransportError, rpc};
use parking_lot::Mutex;
use quorate_proto::{
    NodeId,
    placement::{DriverMembers, PlacementError, PlacementReply, PlacementRequest},
};
use std::time::Duration;

/// One try of a request that does not wait on purpose.
const ATTEMPT: Duration = Duration::from_secs(2);
const BACKOFF: Duration = Duration::from_millis(50);

/// Follows the driver's leader among its members, and the members as others take their places. When none of those that it knows
/// brings it further, it asks the other nodes: any of them has heard of the members.
pub struct PlacementClient {
    env: Env,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    nodes: Vec<NodeId>,
    /// The latest that was heard of them; empty as long as `nodes` are all that was said.
    members: DriverMembers,
    leader: Option<NodeId>,
    next: usize,
}

impl PlacementClient {
    pub fn new(env: Env, nodes: Vec<NodeId>) -> Self {
        PlacementClient { env, known: Mutex::new(Known { nodes, ..Known::default() }) }
    }

    /// Takes in who carries the driver, if that is news.
    pub fn learn(&self, members: &DriverMembers) -> bool {
        let mut known = self.known.lock();
        let (nodes, first) = (members.nodes(), known.nodes.is_empty());
        if nodes.is_empty() || !(first || members.at > known.members.at) {
            return false;
        }
        known.nodes = nodes;
        known.members = DriverMembers { addresses: Vec::new(), ..members.clone() };
        known.next = 0;
        true
    }

    /// Who carries the driver, as far as known.
    pub fn members(&self) -> DriverMembers {
        self.known.lock().members.clone()
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
                    Err(PlacementError::NotLeader(leader, members)) => {
                        self.meet(&members.addresses);
                        let news = self.learn(&members);
                        self.follow(target, leader.filter(|leader| *leader != target));
                        if news || leader.is_some_and(|leader| leader != target) {
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

    /// The leader, or else one member after the other, and after two rounds of them whoever else is known.
    fn target(&self) -> Option<NodeId> {
        let mut known = self.known.lock();
        if let Some(leader) = known.leader {
            return Some(leader);
        }
        let members = known.nodes.len();
        if members == 0 {
            return None;
        }
        let at = known.next;
        known.next = at.wrapping_add(1);
        if at < 2 * members {
            return Some(known.nodes[at % members]);
        }
        let peers = self.env.transport().addresses().into_iter().map(|(node, _)| node);
        let other = peers.filter(|node| !known.nodes.contains(node)).nth(at - 2 * members);
        Some(other.unwrap_or_else(|| {
            known.next = 1;
            known.nodes[0]
        }))
    }

    /// Nodes that this one cannot reach where it thinks that they are.
    fn meet(&self, addresses: &[(NodeId, String)]) {
        let transport = self.env.transport();
        for (node, address) in addresses {
            if transport.peer(*node).is_none_or(|peer| !peer.connected) {
                transport.set_address(*node, address.clone());
            }
        }
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

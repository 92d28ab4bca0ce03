//! Moments of the past that clients look at.

use crate::node::Node;
use quorate_env::sim::SimWorld;
use quorate_proto::Timestamp;
use std::time::Duration;

/// What the node's replicas have closed, or some moment of the last seconds; it may have been collected since.
pub fn draw(world: &SimWorld, node: &Node) -> Timestamp {
    let clock = node.env.clock().physical();
    let closed = node.shards.closed().into_iter().map(|(_, at)| at).min();
    let far = if world.random().chance(0.3) { 12_000 } else { 3000 };
    let some = clock.minus(Duration::from_millis(world.random().range(1..far)));
    closed.filter(|_| world.random().chance(0.5)).unwrap_or(some)
}

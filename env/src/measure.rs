//! Measures the other nodes' clocks, in real and simulated nodes alike.

use crate::{Clock, Env, Handler, Refusal, offsets::Interval, planted, time};
use async_trait::async_trait;
use bytes::Bytes;
use quorate_proto::{NodeId, rpc::Service};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// How often the own clock is judged.
const TICK: Duration = Duration::from_millis(250);
/// Every how many ticks each peer is asked.
const ASK_EVERY: u32 = 3;
/// Every how many ticks the tasks are counted.
const COUNT_EVERY: u32 = 20;
const TIMEOUT: Duration = Duration::from_secs(1);

/// Answers with the own physical clock: 8 bytes, big endian, microseconds since 2020.
struct TimeService(Arc<Clock>);

#[async_trait]
impl Handler for TimeService {
    async fn call(&self, _from: NodeId, _body: Bytes) -> Result<Bytes, Refusal> {
        if self.0.is_retired() && !planted!("env.retired_clock_counts") {
            return Err(Refusal("this node was decommissioned".into()));
        }
        Ok(Bytes::copy_from_slice(&self.0.physical().micros().to_be_bytes()))
    }
}

pub(crate) fn start(env: &Env) {
    env.transport().serve(Service::Time, Arc::new(TimeService(env.clock().clone())));
    env.spawn("env.clocks", run(env.clone())).detach();
}

async fn run(env: Env) {
    let mut named = BTreeSet::new();
    for tick in 0u32.. {
        if tick % COUNT_EVERY == 0 && !env.is_simulated() {
            count_tasks(&env, &mut named);
        }
        let peers: Vec<NodeId> = env.transport().addresses().into_iter().map(|(node, _)| node).collect();
        // A peer without any measurement is asked at every tick, so that a starting node is not fenced for long.
        for &peer in &peers {
            if tick % ASK_EVERY == 0 || env.clock().peer_offset(peer).is_none() {
                env.spawn("env.clock_exchange", exchange(env.clone(), peer)).detach();
            }
        }
        env.clock().judge(&peers, !env.transport().cluster().is_empty());
        env.sleep(TICK).await;
    }
}

/// Sets the gauge of live tasks by name; names that were seen once are kept, so that they fall to zero.
fn count_tasks(env: &Env, named: &mut BTreeSet<&'static str>) {
    let tasks = env.scope().tasks();
    named.extend(tasks.keys());
    for name in named.iter() {
        let live = tasks.get(name).copied().unwrap_or(0);
        metrics::gauge!("quorate_env_tasks", "task" => *name).set(live as f64);
    }
}

/// One exchange: the peer's reading was taken between our sending and our receiving.
async fn exchange(env: Env, peer: NodeId) {
    let sent = time::now();
    let Ok(answer) = env.transport().call(peer, Service::Time, Bytes::new(), TIMEOUT).await else { return };
    let received = env.clock().physical().micros() as i64;
    let now = time::now();
    let took = now.saturating_sub(sent);
    env.tempo().answered(peer, now, took);
    let round_trip = took.as_micros() as i64;
    let Ok(raw) = <[u8; 8]>::try_from(&answer[..]) else { return };
    let theirs = u64::from_be_bytes(raw) as i64;
    metrics::histogram!("quorate_env_clock_round_trip_seconds").record(round_trip as f64 / 1e6);
    env.clock().measured(peer, Interval { low: theirs - received, high: theirs - received + round_trip });
}

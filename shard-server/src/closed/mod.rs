//! Closed timestamps (PROTOCOL 22): up to K nothing will be written any more, so that a replica that has applied what K
//! rests on may answer reads at or below it alone.
//!
//! *Closing*, twice per target (less often with thousands of shards: [`SHARE`]) and for all shards that this node leads: read the clock; then check each shard's lease; then K
//! is the reading less the target, or less if an evaluation is under way below that ([`evaluations`]). Every evaluation from
//! then on goes above K, and all that was written at or below it is applied here, so that the applied position says what a
//! follower needs. *A leader that is deposed between two of these steps* has read its clock before its successor's lease
//! began, and the successor writes above its own clock + 2ε.
//! *Telling*: one message for each peer ([`wire`]); a lost one is noticed by its number.
//! *Taking*: a follower counts K as its own when it has applied that position in that range version ([`frontier`]), and from
//! then on refuses, by stopping, an entry that writes at or below it.
//! *Split*: the entry carries K, which holds for both halves. *Snapshot*: its header carries K as of before the state.
//! *Hand-over*: nothing is closed once the lease is given up, and the heir's low water lies above all clocks that the voters
//! have heard of, plus a lease period (PROTOCOL 21), thus above K. *After a crash* K begins at what the state has inherited,
//! as A begins at what was flushed.

pub mod evaluations;
pub mod frontier;
mod inbox;
mod outbox;
mod wire;

use crate::{Context, replica::Replica};
use async_trait::async_trait;
use bytes::Bytes;
use frontier::{Fact, Place};
use inbox::Inbox;
use outbox::{Led, Outbox};
use parking_lot::{Mutex, RwLock};
use quorate_env::{Env, Handler, NodeId, Refusal};
use quorate_proto::rpc::{Service, decode, encode};
use quorate_proto::{ShardId, Timestamp};
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use wire::{Closed, Message};

/// A new target is heeded after this, whatever the old one was.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Closing takes at most so small a part of a processor's time, as far as [`LONGEST_PAUSE`] lets it.
const SHARE: u32 = 100;

/// What a node knows and tells of closed timestamps.
pub(crate) struct Closing {
    inbox: RwLock<Inbox>,
    outbox: Mutex<Outbox>,
    target_micros: AtomicU64,
}

impl Closing {
    pub(crate) fn new(env: &Env, target: Duration) -> Self {
        let closing = Closing {
            inbox: RwLock::default(),
            outbox: Mutex::new(Outbox::new(env.incarnation())),
            target_micros: AtomicU64::new(0),
        };
        closing.set_target(target);
        closing
    }

    pub(crate) fn set_target(&self, target: Duration) {
        self.target_micros.store(target.as_micros() as u64, Ordering::Relaxed);
    }

    /// The distance at which K follows the clock: never less than four times what clocks may differ by.
    fn target(&self, env: &Env) -> Duration {
        Duration::from_micros(self.target_micros.load(Ordering::Relaxed)).max(4 * env.clock().bound())
    }

    fn receive(&self, context: &Context, from: NodeId, closed: Closed) {
        let incarnation = closed.incarnation;
        let (known, taken) = self.inbox.write().receive(from, closed);
        for (shard, fact) in known {
            if let Some(replica) = context.replica(shard) {
                replica.frontier.lock().offer(fact);
            }
        }
        if taken.is_err() {
            quorate_env::probe!("shard.closed_message_lost");
            let again = Message::Again(incarnation);
            context.env.transport().send(from, Service::Closing, encode(&again));
        }
    }
}

/// Answers [`Service::Closing`].
pub(crate) struct ClosingService(pub Weak<Context>);

#[async_trait]
impl Handler for ClosingService {
    async fn call(&self, _from: NodeId, _body: Bytes) -> Result<Bytes, Refusal> {
        Err(Refusal("closing is one way".into()))
    }

    fn one_way(&self, from: NodeId, body: Bytes) {
        let Some(context) = self.0.upgrade() else { return };
        match decode::<Message>(&body) {
            Ok(Message::Closed(closed)) => context.closing.receive(&context, from, closed),
            Ok(Message::Again(incarnation)) => {
                context.closing.outbox.lock().begin_anew(from, incarnation);
            }
            Err(error) => tracing::warn!(%from, %error, "undecodable closing message"),
        }
    }
}

/// Runs until the node stops.
pub(crate) async fn run(context: Arc<Context>) {
    let env = &context.env;
    let mut took = Duration::ZERO;
    loop {
        let target = context.closing.target(env);
        env.sleep(pause(target, took)).await;
        let reading = env.clock().physical();
        if env.fault("shard.late_closing") {
            env.sleep(Duration::from_millis(env.random_range(1..4000))).await;
        }
        let began = env.boottime();
        close(&context, reading.minus(target));
        took = env.boottime() - began;
    }
}

/// Until the next closing, by what the last one took.
fn pause(target: Duration, took: Duration) -> Duration {
    (target / 2).max(took * SHARE).min(LONGEST_PAUSE)
}

/// To be called with a timestamp from a clock that was read before.
fn close(context: &Context, at: Timestamp) {
    let led: Vec<Led> = context.all().iter().filter_map(|replica| replica.close(at)).collect();
    for (peer, closed) in context.closing.outbox.lock().messages(at, &led) {
        quorate_env::count!("quorate_shard_closing_messages_total");
        context.env.transport().send(peer, Service::Closing, encode(&Message::Closed(closed)));
    }
}

impl Replica {
    /// Closes what it may, if this replica leads and has a lease now.
    fn close(&self, at: Timestamp) -> Option<Led> {
        let leader = self.leader_now()?;
        let group = self.group.load_full()?;
        let leased = group.lease().is_some_and(|lease| lease.term == leader.term);
        if !leased && !quorate_env::planted!("shard.closed_without_lease") {
            return None;
        }
        let closed = leader.core().evaluations.close(at);
        // Looked at behind that: until a seal is applied here, its evaluation holds K back.
        if self.state.load().sealed.is_some() {
            return None;
        }
        // All that was written at or below is applied by now; and the position is read first, so that what is said of a
        // range that is just being split waits for the split.
        let place = self.place();
        self.frontier.lock().raise(closed);
        let own = self.context.env.node();
        let state = self.state.load();
        let peers = state.descriptor.replicas.iter().map(|member| member.node).filter(|node| *node != own);
        Some(Led { shard: self.shard, fact: Fact { place, closed }, peers: peers.collect() })
    }

    fn place(&self) -> Place {
        let position = self.applied.lock().position;
        Place { position, version: self.state.load().descriptor.version }
    }

    /// K: this replica's state is complete up to here.
    pub(crate) fn closed(&self) -> Timestamp {
        let here = self.place();
        let inbox = self.context.closing.inbox.read();
        self.frontier.lock().take(here, inbox.facts(self.shard))
    }
}

/// K of every replica of the node that holds keys.
pub(crate) fn all(context: &Context) -> Vec<(ShardId, Timestamp)> {
    let held = context.all().into_iter().filter(|replica| !replica.is_empty());
    held.map(|replica| (replica.shard, replica.closed())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_thousands_of_shards_takes_no_more_than_its_share() {
        let (target, ms) = (Duration::from_millis(200), Duration::from_millis);
        assert_eq!(pause(target, Duration::from_micros(90)), ms(100), "twice per target");
        assert_eq!(pause(target, ms(4)), ms(400));
        assert_eq!(pause(target, ms(40)), LONGEST_PAUSE);
        assert_eq!(pause(Duration::from_secs(9), ms(0)), LONGEST_PAUSE);
    }
}

//! The receiving side: the groups of the other nodes, and what follows from them for each shard. Pure.

use super::{
    frontier::{Fact, Place},
    wire::Closed,
};
use quorate_proto::{NodeId, ShardId, Timestamp};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Inbox {
    senders: BTreeMap<NodeId, Sender>,
}

#[derive(Debug)]
struct Sender {
    incarnation: u64,
    next: u64,
    at: Timestamp,
    group: BTreeMap<ShardId, Place>,
}

/// A message was lost before this one, of which nothing was taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Gap;

impl Inbox {
    /// What the groups say of a shard. More than one speaks of it when its leadership has moved; each is true.
    pub fn facts(&self, shard: ShardId) -> impl Iterator<Item = Fact> {
        let told = move |sender: &Sender| {
            sender.group.get(&shard).map(|place| Fact { place: *place, closed: sender.at })
        };
        self.senders.values().filter_map(told)
    }

    /// Takes a message in. What was known of a shard and is not said by its group any more is handed out, so that it is not
    /// forgotten.
    pub fn receive(&mut self, from: NodeId, message: Closed) -> (Vec<(ShardId, Fact)>, Result<(), Gap>) {
        let Closed { incarnation, seq, at, joined, left, held } = message;
        let mut known = Vec::new();
        let goes_on = self
            .senders
            .get(&from)
            .is_some_and(|known| (known.incarnation, known.next) == (incarnation, seq));
        if !goes_on && !quorate_env::planted!("shard.gap_unnoticed") {
            if let Some(old) = self.senders.remove(&from) {
                let fact = |(shard, place)| (shard, Fact { place, closed: old.at });
                known.extend(old.group.into_iter().map(fact));
            }
            if seq != 0 {
                return (known, Err(Gap));
            }
        }
        let sender = self.senders.entry(from).or_insert_with(|| Sender {
            incarnation,
            next: 0,
            at: Timestamp::ZERO,
            group: BTreeMap::new(),
        });
        for shard in left {
            let place = sender.group.remove(&shard);
            known.extend(place.map(|place| (shard, Fact { place, closed: sender.at })));
        }
        for (shard, place) in joined {
            let old = sender.group.insert(shard, place);
            known.extend(old.map(|place| (shard, Fact { place, closed: sender.at })));
        }
        known.extend(held.into_iter().map(|(shard, place, closed)| (shard, Fact { place, closed })));
        sender.at = at;
        sender.next = seq + 1;
        (known, Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::{Led, Outbox};
    use super::*;
    use quorate_proto::{LogPosition, rpc};

    const ME: NodeId = NodeId(1);
    const PEER: NodeId = NodeId(2);

    fn fact(index: u64, closed: u64) -> Fact {
        let place = Place { position: LogPosition { term: 1, index }, version: 1 };
        Fact { place, closed: Timestamp(closed) }
    }

    fn led(shards: impl IntoIterator<Item = (u64, Fact)>) -> Vec<Led> {
        let led = |(shard, fact)| Led { shard: ShardId(shard), fact, peers: vec![PEER] };
        shards.into_iter().map(led).collect()
    }

    fn one(outbox: &mut Outbox, at: u64, shards: &[Led]) -> Closed {
        let mut messages = outbox.messages(Timestamp(at), shards);
        assert_eq!(messages.len(), 1);
        messages.remove(0).1
    }

    fn facts(inbox: &Inbox, shard: u64) -> Vec<Fact> {
        inbox.facts(ShardId(shard)).collect()
    }

    /// A thousand idle shards are told once; after that they cost one timestamp.
    #[test]
    fn shards_on_which_nothing_happens_cost_nothing() {
        let (mut outbox, mut inbox) = (Outbox::new(7), Inbox::default());
        let idle = |at| led((1..=1000).map(|shard| (shard, fact(10, at))));
        let first = one(&mut outbox, 100, &idle(100));
        assert_eq!(first.joined.len(), 1000);
        assert_eq!(inbox.receive(ME, first), (vec![], Ok(())));
        for at in [200, 300, 400] {
            let next = one(&mut outbox, at, &idle(at));
            assert!(rpc::encode(&next).len() < 40);
            assert_eq!(inbox.receive(ME, next), (vec![], Ok(())));
            assert_eq!(facts(&inbox, 1000), [fact(10, at)]);
        }
        assert!(outbox.messages(Timestamp(500), &[]).len() == 1, "they leave");
        assert!(outbox.messages(Timestamp(600), &[]).is_empty(), "and then there is nothing to say");
    }

    #[test]
    fn who_leaves_or_moves_on_keeps_what_was_closed_before() {
        let (mut outbox, mut inbox) = (Outbox::new(7), Inbox::default());
        let (_, ok) = inbox.receive(ME, one(&mut outbox, 100, &led([(1, fact(10, 100)), (2, fact(5, 100))])));
        ok.unwrap();
        // The first writes, the second is held back by an evaluation.
        let message = one(&mut outbox, 200, &led([(1, fact(11, 200)), (2, fact(5, 150))]));
        let (known, ok) = inbox.receive(ME, message);
        ok.unwrap();
        let of =
            |shard: u64| known.iter().filter(|(id, _)| id.0 == shard).map(|(_, f)| *f).collect::<Vec<_>>();
        assert_eq!(of(1), [fact(10, 100)]);
        assert_eq!(of(2), [fact(5, 100), fact(5, 150)]);
        assert_eq!((facts(&inbox, 1), facts(&inbox, 2)), (vec![fact(11, 200)], vec![]));
        // The leadership is lost, and the message says so before its timestamp counts.
        let (known, _) = inbox.receive(ME, one(&mut outbox, 300, &led([(2, fact(5, 300))])));
        assert_eq!(known, [(ShardId(1), fact(11, 200))]);
        assert_eq!(facts(&inbox, 1), []);
    }

    #[test]
    fn after_a_lost_message_nothing_counts_until_all_is_said_anew() {
        let (mut outbox, mut inbox) = (Outbox::new(7), Inbox::default());
        inbox.receive(ME, one(&mut outbox, 100, &led([(1, fact(10, 100))]))).1.unwrap();
        // Lost: the shard has another leader.
        let _ = one(&mut outbox, 200, &led([(2, fact(3, 200))]));
        let late = one(&mut outbox, 300, &led([(2, fact(3, 300))]));
        let (known, gap) = inbox.receive(ME, late.clone());
        assert_eq!((known, gap), (vec![(ShardId(1), fact(10, 100))], Err(Gap)));
        assert_eq!((facts(&inbox, 1), facts(&inbox, 2)), (vec![], vec![]));
        assert_eq!(inbox.receive(ME, late).1, Err(Gap));
        outbox.begin_anew(PEER, 6);
        outbox.begin_anew(PEER, 7);
        let again = one(&mut outbox, 400, &led([(2, fact(3, 400))]));
        assert_eq!(again.seq, 0);
        inbox.receive(ME, again).1.unwrap();
        assert_eq!(facts(&inbox, 2), [fact(3, 400)]);
    }
}

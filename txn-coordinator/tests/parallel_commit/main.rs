//! A model of parallel commit (`docs/parallel-commit.md`), every state of which is visited: one transaction with two keys in two
//! shards, requests and answers that are lost, repeated and late, recoveries at any time, others' reads and writes, up to two
//! attempts. Each rule, left out, is seen to be needed.
//!
//! What it leaves out: the transaction's own reads, more keys, leaders that change in the midst of a request (nothing was applied
//! then, or all), and the time of removal: a record goes whenever what it waits for has come.

mod steps;
mod world;

use stateright::{Checker, HasDiscoveries, Model, Property};
use steps::{Step, Without, steps, take};
use world::{Bounds, Outcome, Place, Record, World};

struct Protocol {
    without: Without,
    bounds: Bounds,
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, world: &World, out: &mut Vec<Step>) {
        steps(world, self.without, self.bounds, out);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        take(&mut next, self.without, step);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises().into_iter().chain(ways()).collect()
    }
}

/// What holds in every state.
fn promises() -> Vec<Property<Protocol>> {
    vec![
        Property::always("what the client was told is so", |_, world: &World| match world.told {
            Some(Outcome::Committed(ts)) => world.is_committed() == Some(ts),
            Some(Outcome::Aborted) => world.is_committed().is_none(),
            None => true,
        }),
        Property::always("what is committed stays committed", |_, world: &World| {
            world.was_committed.is_none_or(|ts| world.is_committed() == Some(ts))
        }),
        Property::always("all or nothing, at one time", |_, world: &World| {
            let versions: Vec<u8> = world.places.iter().filter_map(|place| place.version).collect();
            let one = versions.windows(2).all(|pair| pair[0] == pair[1]);
            one && (versions.is_empty() || !world.places.iter().any(|place| place.aborted))
        }),
        Property::always("what is committed is there", |_, world: &World| {
            let Some(ts) = world.is_committed() else { return true };
            let holds = |place: &Place| place.intent.is_some_and(|intent| intent.ts <= ts);
            world.places.iter().all(|place| place.version == Some(ts) || holds(place))
        }),
        Property::always("nobody has read past it", |_, world: &World| {
            world.is_committed().is_none_or(|ts| world.places.iter().all(|place| place.missed < ts))
        }),
        Property::always("no intent stands above the outcome", |_, world: &World| {
            let Record::Final(Outcome::Committed(ts)) = world.record else { return true };
            world.places.iter().all(|place| place.intent.is_none_or(|intent| intent.ts <= ts))
        }),
    ]
}

/// What happens in some state, or else the model would show nothing.
fn ways() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes("acknowledged after one round", |_, world: &World| {
            let staged = matches!(world.record, Record::Staging { .. });
            staged && matches!(world.told, Some(Outcome::Committed(_)))
        }),
        Property::sometimes("committed by a recovery", |_, world: &World| {
            matches!(world.recovered, Some(Outcome::Committed(_)))
        }),
        Property::sometimes("aborted by a recovery that missed an intent", |_, world: &World| {
            world.recovered == Some(Outcome::Aborted)
                && world.places.iter().any(|place| place.intent.is_some())
        }),
        Property::sometimes("committed later than asked for", |_, world: &World| {
            world.attempt == 1 && world.told == Some(Outcome::Committed(3))
        }),
        Property::sometimes("committed by the second attempt", |_, world: &World| {
            world.attempt == 2 && matches!(world.told, Some(Outcome::Committed(_)))
        }),
        Property::sometimes("committed, and nobody can tell", |_, world: &World| {
            world.record == Record::Gone && world.was_committed.is_some() && world.told.is_none()
        }),
    ]
}

const TWO_ATTEMPTS: Bounds = Bounds { attempts: 2, copies: 1, others: 2, removal: false };
const TWO_COPIES: Bounds = Bounds { attempts: 1, copies: 2, others: 2, removal: false };
const REMOVAL: Bounds = Bounds { attempts: 1, copies: 2, others: 1, removal: true };

fn holds(bounds: Bounds) {
    let checker = Protocol { without: Without::Nothing, bounds }.checker().threads(2).spawn_bfs().join();
    println!("{bounds:?}: {} states", checker.unique_state_count());
    for promise in promises() {
        checker.assert_no_discovery(promise.name);
    }
    for way in ways() {
        let possible = match way.name {
            "committed by the second attempt" => bounds.attempts > 1,
            "committed later than asked for" => bounds.others > 1,
            "committed, and nobody can tell" => bounds.removal,
            _ => true,
        };
        if possible {
            checker.assert_any_discovery(way.name);
        }
    }
}

#[test]
fn promises_are_kept() {
    holds(TWO_ATTEMPTS);
    holds(TWO_COPIES);
    holds(REMOVAL);
}

/// `cargo test --release -p quorate-txn --test parallel_commit -- --ignored --nocapture`
#[test]
#[ignore = "millions of states"]
fn promises_are_kept_with_more_of_everything() {
    holds(Bounds { others: 3, ..TWO_ATTEMPTS });
    holds(Bounds { others: 3, ..TWO_COPIES });
    holds(Bounds { removal: true, ..TWO_ATTEMPTS });
    holds(Bounds { removal: true, ..TWO_COPIES });
}

#[test]
fn each_rule_is_needed() {
    let rules = [
        (Without::Prevention, TWO_ATTEMPTS, "what is committed stays committed"),
        (Without::NotesAfterLeaders, TWO_ATTEMPTS, "nobody has read past it"),
        (Without::IntentsAsked, TWO_ATTEMPTS, "what is committed is there"),
        (Without::LateCopies, TWO_COPIES, "no intent stands above the outcome"),
        (Without::DoubtAfterCopies, TWO_COPIES, "what the client was told is so"),
        (Without::CompareAndSet, TWO_ATTEMPTS, "what is committed stays committed"),
        (Without::WaitingForAnswers, TWO_ATTEMPTS, "what the client was told is so"),
        (Without::ProofBeforeAgain, TWO_ATTEMPTS, "what is committed stays committed"),
        (Without::RemovalAfterIntents, REMOVAL, "what is committed is there"),
        (Without::ThresholdOfRecords, REMOVAL, "what is committed stays committed"),
        (Without::UnknownOutcome, REMOVAL, "what the client was told is so"),
    ];
    for (without, bounds, promise) in rules {
        let found = HasDiscoveries::AnyOf([promise].into());
        let checker = Protocol { without, bounds }.checker().threads(2).finish_when(found).spawn_bfs().join();
        let path = checker.assert_any_discovery(promise);
        println!("without {without:?}, `{promise}` does not hold: {:?}", path.into_actions());
    }
}

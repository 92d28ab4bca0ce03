//! What can happen next, and what comes of it.

use crate::world::{
    ANCHOR, Answer, Bounds, Intent, KEYS, Message, Outcome, Part, Record, Recovery, Ts, World, asked,
};

/// A rule that is left out, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    Nothing,
    /// A recovery that finds no intent lets one be laid afterwards.
    Prevention,
    /// A new leader writes below what its predecessor noted.
    NotesAfterLeaders,
    /// A recovery takes the record's word for it.
    IntentsAsked,
    /// A prepare is carried out whatever versions there are.
    LateCopies,
    /// A refusal is believed though an earlier copy may have been carried out.
    DoubtAfterCopies,
    /// A final record is written over.
    CompareAndSet,
    /// The coordinator gives up when an answer does not come.
    WaitingForAnswers,
    /// The coordinator begins another attempt when an answer does not come.
    ProofBeforeAgain,
    /// The record of a commit is removed while intents of it are left.
    RemovalAfterIntents,
    /// What comes after the removal of the record makes another one.
    ThresholdOfRecords,
    /// Whoever asks for the outcome is told the same as one who stands before an intent.
    UnknownOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The coordinator begins an attempt: the first, or one after proof that the one before did not commit.
    Begin,
    /// It asks a part again.
    Again(usize),
    Deliver(Message),
    /// All parts stand: the client is told.
    Acknowledge,
    /// It tells the client that nothing has come of it.
    GiveUp,
    /// It decides at a later time than it asked for.
    Decide(Ts),
    /// It has the record looked at.
    AskRecord,
    Recover,
    AskIntent(usize),
    EndRecovery,
    Resolve(usize),
    Read(usize, Ts),
    Write(usize),
    NewLeader(usize),
    /// The time of the record is over.
    Remove,
}

pub fn steps(world: &World, without: Without, bounds: Bounds, out: &mut Vec<Step>) {
    out.extend(world.messages.iter().map(|message| Step::Deliver(*message)));
    coordinator(world, without, bounds, out);
    match (world.recovery, world.record) {
        (None, Record::Staging { .. } | Record::Absent) if world.attempt > 0 => out.push(Step::Recover),
        (Some(recovery), _) => {
            let open = (0..KEYS).filter(|key| recovery.found[*key].is_none());
            out.extend(open.map(Step::AskIntent));
            if recovery.found.iter().all(Option::is_some) || recovery.found.contains(&Some(false)) {
                out.push(Step::EndRecovery);
            }
        }
        _ => {}
    }
    if bounds.removal && removable(world, without) {
        out.push(Step::Remove);
    }
    for key in 0..KEYS {
        let place = &world.places[key];
        if place.intent.is_some() && matches!(world.record, Record::Final(_) | Record::Gone) {
            out.push(Step::Resolve(key));
        }
        let in_the_way = |ts| place.intent.is_some_and(|intent| intent.ts <= ts);
        out.extend(
            (2..=bounds.others)
                .filter(|ts| *ts > place.noted && !in_the_way(*ts))
                .map(|ts| Step::Read(key, ts)),
        );
        if place.intent.is_none()
            && place.foreign.max(place.noted).max(place.version.unwrap_or(0)) <= bounds.others
        {
            out.push(Step::Write(key));
        }
        if without == Without::NotesAfterLeaders && place.noted > 0 {
            out.push(Step::NewLeader(key));
        }
    }
}

fn removable(world: &World, without: Without) -> bool {
    let intents = world.places.iter().any(|place| place.intent.is_some());
    match world.record {
        Record::Final(Outcome::Committed(_)) => !intents || without == Without::RemovalAfterIntents,
        Record::Final(Outcome::Aborted) => true,
        Record::Absent => world.attempt > 0,
        Record::Staging { .. } | Record::Gone => false,
    }
}

fn coordinator(world: &World, without: Without, bounds: Bounds, out: &mut Vec<Step>) {
    if world.told.is_some() {
        return;
    }
    if world.attempt == 0 {
        out.push(Step::Begin);
        return;
    }
    let told = world.record == Record::Gone && without == Without::UnknownOutcome;
    if told || matches!(world.record, Record::Final(_)) {
        out.push(Step::AskRecord);
    }
    if world.deciding {
        return;
    }
    let again = (0..KEYS)
        .filter(|key| world.parts[*key].answer.is_none() && world.parts[*key].copies < bounds.copies);
    out.extend(again.map(Step::Again));
    let answers: Vec<Option<Answer>> = world.parts.iter().map(|part| part.answer).collect();
    let prepared: Vec<Ts> = answers.iter().filter_map(|answer| prepared(*answer)).collect();
    let highest = prepared.iter().copied().max().unwrap_or(0);
    if prepared.len() == KEYS {
        out.push(if highest <= asked(world.attempt) { Step::Acknowledge } else { Step::Decide(highest) });
    }
    let sure = |part: &Part| match part.answer {
        Some(Answer::Refused) => part.copies == 1 || without == Without::DoubtAfterCopies,
        Some(Answer::Prepared(ts)) => ts > asked(world.attempt),
        _ => false,
    };
    let failed = world.parts.iter().any(sure);
    let open = answers.contains(&None);
    if world.attempt < bounds.attempts && (failed || (open && without == Without::ProofBeforeAgain)) {
        out.push(Step::Begin);
    }
    if failed || (open && without == Without::WaitingForAnswers) {
        out.push(Step::GiveUp);
    }
}

fn prepared(answer: Option<Answer>) -> Option<Ts> {
    match answer {
        Some(Answer::Prepared(ts)) => Some(ts),
        _ => None,
    }
}

pub fn take(world: &mut World, without: Without, step: Step) {
    match step {
        Step::Begin => {
            world.attempt += 1;
            world.parts = Default::default();
            (0..KEYS).for_each(|key| send(world, key));
        }
        Step::Again(key) => send(world, key),
        Step::Deliver(message) => {
            world.messages.remove(&message);
            deliver(world, without, message);
        }
        Step::Acknowledge => {
            let outcome = Outcome::Committed(asked(world.attempt));
            world.told = Some(outcome);
            decide(world, outcome);
        }
        Step::GiveUp => {
            world.told = Some(Outcome::Aborted);
            decide(world, Outcome::Aborted);
        }
        Step::Decide(ts) => decide(world, Outcome::Committed(ts)),
        Step::AskRecord => match world.record {
            Record::Final(outcome) => world.told = Some(outcome),
            _ => world.told = Some(Outcome::Aborted),
        },
        Step::Recover => match world.record {
            Record::Staging { attempt } => {
                world.recovery = Some(Recovery { attempt, found: [None; KEYS] });
            }
            // Nothing was staged, and nothing will be.
            _ => {
                world.record = Record::Final(Outcome::Aborted);
                world.recovered = Some(Outcome::Aborted);
            }
        },
        Step::AskIntent(key) => ask_intent(world, without, key),
        Step::EndRecovery => end_recovery(world, without),
        Step::Resolve(key) => resolve(world, key),
        Step::Read(key, ts) => {
            let place = &mut world.places[key];
            place.noted = place.noted.max(ts);
            if place.version.is_none_or(|version| version > ts) {
                place.missed = place.missed.max(ts);
            }
        }
        Step::Write(key) => {
            let place = &mut world.places[key];
            place.foreign = place.foreign.max(place.noted).max(place.version.unwrap_or(0)) + 1;
        }
        Step::NewLeader(key) => world.places[key].noted = 0,
        Step::Remove if without == Without::ThresholdOfRecords => world.record = Record::Absent,
        Step::Remove => world.record = Record::Gone,
    }
    world.was_committed = world.was_committed.or(world.is_committed());
}

fn send(world: &mut World, key: usize) {
    let part = &mut world.parts[key];
    part.copies += 1;
    let (attempt, nth) = (world.attempt, part.copies);
    world.messages.insert(Message::Prepare { key, attempt, nth });
}

fn decide(world: &mut World, outcome: Outcome) {
    world.deciding = true;
    world.messages.insert(Message::Decide { attempt: world.attempt, outcome });
}

fn deliver(world: &mut World, without: Without, message: Message) {
    match message {
        Message::Prepare { key, attempt, .. } => {
            let answer = prepare(world, without, key, attempt);
            world.messages.insert(Message::Answered { key, attempt, answer });
        }
        Message::Answered { key, attempt, answer } => {
            if attempt == world.attempt && world.parts[key].answer.is_none() {
                world.parts[key].answer = Some(answer);
            }
        }
        Message::Decide { attempt, outcome } => {
            let open = match world.record {
                Record::Absent => true,
                Record::Staging { attempt: staged } => staged <= attempt,
                Record::Final(_) => without == Without::CompareAndSet,
                Record::Gone => false,
            };
            if open {
                world.record = Record::Final(outcome);
            }
            if let Record::Final(outcome) = world.record {
                world.messages.insert(Message::Decided(outcome));
            }
        }
        Message::Decided(outcome) => {
            world.told.get_or_insert(outcome);
        }
    }
}

fn prepare(world: &mut World, without: Without, key: usize, attempt: u8) -> Answer {
    let wanted = asked(attempt);
    if key == ANCHOR && matches!(world.record, Record::Final(_) | Record::Gone) {
        return Answer::Unclear;
    }
    let place = &mut world.places[key];
    let newest = place.foreign.max(place.version.unwrap_or(0));
    match place.intent {
        Some(intent) if intent.attempt == attempt => return Answer::Prepared(intent.ts),
        Some(intent) if intent.attempt > attempt => return Answer::Unclear,
        _ => {}
    }
    if without != Without::LateCopies {
        if newest == wanted {
            return Answer::Unclear;
        }
        if newest > wanted {
            return Answer::Refused;
        }
    }
    let ts = wanted.max(place.noted + 1).max(newest + 1);
    place.intent = Some(Intent { attempt, ts });
    if key == ANCHOR && ts <= wanted {
        world.record = match world.record {
            Record::Staging { attempt: staged } if staged > attempt => world.record,
            _ => Record::Staging { attempt },
        };
    }
    Answer::Prepared(ts)
}

fn ask_intent(world: &mut World, without: Without, key: usize) {
    let Some(recovery) = &mut world.recovery else { return };
    let place = &mut world.places[key];
    let stands = place.stands(recovery.attempt) || without == Without::IntentsAsked;
    if !stands && without != Without::Prevention {
        place.noted = place.noted.max(asked(recovery.attempt));
    }
    recovery.found[key] = Some(stands);
}

fn end_recovery(world: &mut World, without: Without) {
    let Some(recovery) = world.recovery.take() else { return };
    let all = recovery.found.iter().all(|found| *found == Some(true));
    let outcome = if all { Outcome::Committed(asked(recovery.attempt)) } else { Outcome::Aborted };
    let same = world.record == Record::Staging { attempt: recovery.attempt };
    if same || without == Without::CompareAndSet {
        world.record = Record::Final(outcome);
        world.recovered = Some(outcome);
    }
}

fn resolve(world: &mut World, key: usize) {
    let outcome = match world.record {
        Record::Final(outcome) => outcome,
        // That is what one who stands before the intent is told.
        Record::Gone => Outcome::Aborted,
        Record::Absent | Record::Staging { .. } => return,
    };
    let place = &mut world.places[key];
    let Some(intent) = place.intent.take() else { return };
    match outcome {
        Outcome::Committed(ts) if intent.ts <= ts && place.version.is_none() => place.version = Some(ts),
        // Of a late copy, beside the version that the first one has become.
        Outcome::Committed(_) if place.version.is_some() => {}
        // It cannot be resolved, and stays.
        Outcome::Committed(_) => place.intent = Some(intent),
        Outcome::Aborted => place.aborted = true,
    }
}

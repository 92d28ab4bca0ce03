//! The commit machine, fed with the answers that matter: what it believes, and what it asks the record.

use quorate_proto::{
    Key, KvError, LogPosition, ShardId, Span, Timestamp, TxnId, Value,
    kv::{TxnState, Write},
};
use quorate_txn::commit::{
    events::{Effect, Event, Failure, Part, Plan},
    machine::Machine,
};

const S: Timestamp = Timestamp(1000);
const LATER: Timestamp = Timestamp(1001);
const TXN: TxnId = TxnId(7);

fn part(shard: u64, keys: &[&str]) -> Part {
    let write = |key: &&str| Write { key: Key::from(*key), value: Some(Value::from("v")) };
    Part { shard: ShardId(shard), writes: keys.iter().map(write).collect(), ..Part::default() }
}

fn plan(parts: Vec<Part>) -> Plan {
    Plan {
        txn: TXN,
        read_ts: S,
        commit_ts: S,
        commit_max: Timestamp(u64::MAX),
        parts,
        record: false,
        anchor: Key::from("a"),
        anchor_shard: ShardId(1),
        stage: true,
    }
}

/// Staged, with its anchor in the first of two parts.
fn staged() -> Machine {
    let (machine, effects) = Machine::new(plan(vec![part(1, &["a"]), part(2, &["x"])]));
    assert!(machine.is_staged() && effects.len() == 2);
    machine
}

fn at(index: u64) -> LogPosition {
    LogPosition { term: 1, index }
}

fn prepared(part: usize, ts: Timestamp, repeated: bool) -> Event {
    Event::Prepared { part, ts, position: Some(at(part as u64 + 1)), repeated }
}

fn refused(error: KvError, maybe: bool) -> Failure {
    Failure { error, maybe, parts: None }
}

fn aborted(why: &str) -> KvError {
    KvError::TxnAborted { txn: TXN, why: why.into() }
}

const ASK: Effect = Effect::Ask { abort: true };

fn all(parts: [usize; 2]) -> Vec<usize> {
    parts.to_vec()
}

#[test]
fn an_intent_above_the_staged_timestamp_proves_nothing_after_a_lost_answer() {
    let mut machine = staged();
    assert_eq!(machine.step(prepared(1, LATER, true)), []);
    assert_eq!(machine.step(prepared(0, S, false)), [ASK]);
    let resolve = Effect::Resolve { ts: S, parts: all([0, 1]), record: false };
    assert_eq!(machine.step(Event::Asked(TxnState::Committed(S))), [Effect::Wait { ts: S }, resolve]);
    assert_eq!(machine.step(Event::Waited), [Effect::Answer(Ok(S))]);
}

#[test]
fn a_question_without_an_answer_leaves_the_outcome_open() {
    // The record may have been removed since, too.
    for nothing in [Event::AskFailed, Event::Asked(TxnState::Unknown)] {
        let mut machine = staged();
        machine.step(prepared(1, LATER, true));
        machine.step(prepared(0, S, false));
        let effects = machine.step(nothing);
        assert!(matches!(effects[..], [Effect::Answer(Err(KvError::Ambiguous { .. }))]), "{effects:?}");
    }
}

#[test]
fn an_intent_above_the_staged_timestamp_is_decided_upon_when_no_answer_was_lost() {
    let mut machine = staged();
    machine.step(prepared(1, LATER, false));
    let decide = [Effect::Decide { ts: LATER }, Effect::Wait { ts: LATER }];
    assert_eq!(machine.step(prepared(0, S, false)), decide);
}

#[test]
fn a_commit_that_is_pushed_above_its_bound_fails() {
    let plan = plan(vec![part(1, &["a"]), part(2, &["x"])]);
    let (mut machine, _) = Machine::new(Plan { commit_max: S, ..plan });
    machine.step(prepared(1, LATER, false));
    let effects = machine.step(prepared(0, S, false));
    let passed = Effect::Answer(Err(KvError::BoundPassed { needed: LATER, bound: S }));
    assert!(effects.contains(&passed), "{effects:?}");
}

#[test]
fn a_repeated_answer_at_the_staged_timestamp_is_as_good_as_the_first() {
    let mut machine = staged();
    machine.step(prepared(1, S, true));
    let resolve = Effect::Resolve { ts: S, parts: all([0, 1]), record: true };
    assert_eq!(machine.step(prepared(0, S, false)), [Effect::Wait { ts: S }, resolve]);
}

/// Its own version, which a recovery has made of the intent since the first copy.
#[test]
fn a_conflict_that_may_be_with_itself_is_asked_about() {
    let conflict = |other| {
        let failure =
            refused(KvError::Conflict { key: Key::from("x"), other, their_ts: S, our_ts: S }, false);
        Event::PrepareFailed { part: 1, failure }
    };
    let mut machine = staged();
    machine.step(prepared(0, S, false));
    assert_eq!(machine.step(conflict(Some(TXN))), [ASK]);
    let effects = machine.step(Event::Asked(TxnState::Aborted));
    let told = KvError::Conflict { key: Key::from("x"), other: None, their_ts: S, our_ts: S };
    let abort = Effect::Abort { record: false, parts: all([0, 1]) };
    assert_eq!(effects, [Effect::Answer(Err(told)), abort]);

    let mut machine = staged();
    machine.step(prepared(0, S, false));
    let effects = machine.step(conflict(None));
    let abort = Effect::Abort { record: true, parts: vec![0] };
    assert!(matches!(effects[0], Effect::Answer(Err(KvError::Conflict { .. }))), "{effects:?}");
    assert_eq!(effects[1..], [abort]);
}

#[test]
fn a_prepare_that_finds_the_record_committed_is_asked_about() {
    let mut machine = staged();
    machine.step(prepared(1, S, false));
    let failure = refused(KvError::TxnCommitted { txn: TXN, ts: S }, false);
    assert_eq!(machine.step(Event::PrepareFailed { part: 0, failure }), [ASK]);
}

/// Decided by a recovery at the staged timestamp, whatever the coordinator took for certain.
#[test]
fn the_record_may_hold_another_timestamp_than_was_decided() {
    let mut machine = staged();
    machine.step(prepared(1, LATER, false));
    machine.step(prepared(0, S, false));
    machine.step(Event::Waited);
    let effects = machine.step(Event::Decided { state: TxnState::Committed(S), entry: None });
    let resolve = Effect::Resolve { ts: S, parts: all([0, 1]), record: false };
    assert_eq!(effects, [Effect::Answer(Ok(S)), resolve]);
}

/// The deadline refuses a copy; another may have been carried out before.
#[test]
fn a_refusal_after_a_lost_answer_is_not_the_records_word() {
    let late = || aborted("its deadline has passed");
    let local = || Machine::new(plan(vec![part(1, &["a"])])).0;
    let mut machine = local();
    assert_eq!(machine.step(Event::Local(Err(refused(late(), true)))), [ASK]);
    let effects = machine.step(Event::Asked(TxnState::Committed(S)));
    assert_eq!(effects, [Effect::Wait { ts: S }]);
    assert_eq!(machine.step(Event::Waited), [Effect::Answer(Ok(S))]);
    assert_eq!(local().step(Event::Local(Err(refused(late(), false)))), [Effect::Answer(Err(late()))]);

    let deciding = || {
        let mut machine = staged();
        machine.step(prepared(1, LATER, false));
        machine.step(prepared(0, S, false));
        machine
    };
    assert_eq!(deciding().step(Event::DecideFailed { failure: refused(late(), true) }), [ASK]);
    let abort = Effect::Abort { record: true, parts: all([0, 1]) };
    let effects = deciding().step(Event::DecideFailed { failure: refused(late(), false) });
    assert_eq!(effects, [Effect::Answer(Err(late())), abort]);
}

/// The clock is fenced while the decision is under way: the client hears that nobody knows, and nothing after that.
#[test]
fn the_client_is_answered_once() {
    let outcomes = [
        Event::Decided { state: TxnState::Aborted, entry: None },
        Event::DecideFailed { failure: refused(aborted("its deadline has passed"), false) },
        Event::Decided { state: TxnState::Committed(LATER), entry: None },
    ];
    for outcome in outcomes {
        let mut machine = staged();
        machine.step(prepared(1, LATER, false));
        machine.step(prepared(0, S, false));
        let effects = machine.step(Event::Unwaitable);
        assert!(matches!(effects[..], [Effect::Answer(Err(KvError::Ambiguous { .. }))]), "{effects:?}");
        let effects = machine.step(outcome);
        assert!(matches!(effects[..], [Effect::Abort { .. } | Effect::Resolve { .. }]), "{effects:?}");
        assert!(machine.finished());
    }
}

/// A large share comes in several parts of one shard: the one with the anchor has the record, and with it the decision.
#[test]
fn a_staged_commit_is_decided_by_the_entry_with_the_anchor() {
    let parts = vec![part(1, &["0"]), part(1, &["a"]), part(2, &["x"])];
    let (mut machine, _) = Machine::new(plan(parts));
    for part in 0..3 {
        machine.step(prepared(part, S, false));
    }
    assert_eq!(machine.decided(), Some((ShardId(1), at(2))));
}

/// The reads were to be proven by the very prepare that lays the intents. Parted from these by a split, they are not.
#[test]
fn no_intents_are_laid_for_reads_that_a_split_has_taken_away() {
    let reading = |mut part: Part| {
        part.refresh.push(Span::new("x", "z"));
        part
    };
    let above = || Plan { commit_ts: LATER, ..plan(vec![part(1, &["a"]), reading(part(2, &["x"]))]) };
    let split = |parts| Event::Regrouped { part: 1, parts, maybe: false };

    let (mut machine, _) = Machine::new(above());
    assert!(machine.is_staged());
    let effects = machine.step(split(vec![part(2, &["x"]), reading(part(3, &[]))]));
    assert!(matches!(effects[..], [Effect::Answer(Err(KvError::TxnAborted { .. }))]), "{effects:?}");
    assert_eq!(machine.step(prepared(0, LATER, false)), [Effect::Abort { record: true, parts: vec![0] }]);

    let (mut machine, _) = Machine::new(above());
    let effects = machine.step(split(vec![part(2, &["x"]), reading(part(3, &["y"]))]));
    let again = |part| Effect::Prepare { part, commit_ts: LATER };
    assert_eq!(effects, [again(2), again(3)]);

    // Reads at the timestamp of the commit hold by themselves.
    let (mut machine, _) = Machine::new(Plan { commit_ts: S, ..above() });
    let effects = machine.step(split(vec![part(2, &["x"]), reading(part(3, &[]))]));
    assert_eq!(effects, [Effect::Prepare { part: 2, commit_ts: S }]);
}

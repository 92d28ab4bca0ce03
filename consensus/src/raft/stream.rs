//! A pipelined stream of appends to one follower: up to [`IN_FLIGHT`] messages on their way, answers taken in their order,
//! and an error as soon as nothing comes back for a while, so that a black-holed peer never wedges anything.
//!
//! A request that only tells how far the log is committed is held back for a moment: under load the next entries carry
//! that along, and half of all messages are saved. It is answered together with the message that took its place.

use super::network::Link;
use super::payload::encode_payload;
use super::types::{LogId, Types, position, position_or_zero, vote_parts};
use crate::lease::Ack;
use crate::node_state::AnswerStream;
use crate::receive::vote_of;
use crate::wire::{Answer, Append, EntryFrame, OneWay, Outcome};
use futures::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use quorate_env::time;
use quorate_proto::LogPosition;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const IN_FLIGHT: usize = 64;
/// Payload on its way to one follower.
const IN_FLIGHT_BYTES: usize = 8 << 20;
/// How long a request without entries waits for one that has some.
const HOLD: Duration = Duration::from_millis(10);

type Item = Result<StreamAppendResult<Types>, RPCError<Types>>;

struct Flight {
    sequence: u64,
    term: u64,
    prev: Option<LogId>,
    last: Option<LogId>,
    commit: LogPosition,
    bytes: usize,
    /// What requests that this one stands for as well are to be told.
    stands_for: Vec<Option<LogId>>,
}

pub(crate) struct Pipeline<S> {
    link: Link,
    input: S,
    input_ended: bool,
    alone: bool,
    stream: AnswerStream,
    next: u64,
    flights: VecDeque<Flight>,
    bytes: usize,
    /// Answers that came before their turn.
    early: BTreeMap<u64, Answer>,
    /// A request without entries, and until when it waits.
    held: Option<(AppendEntriesRequest<Types>, Duration)>,
    /// What the next message stands for besides itself.
    replaced: Vec<Option<LogId>>,
    settled: VecDeque<Item>,
    /// When nothing may have come back for too long.
    deadline: Duration,
    patience: Duration,
    over: bool,
}

enum Event {
    Request(Option<AppendEntriesRequest<Types>>),
    Answer(Answer),
    /// What is held has waited long enough.
    Due,
    Late,
}

impl<S> Pipeline<S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    pub fn new(link: Link, input: S, alone: bool, patience: Duration) -> Self {
        let stream = link.shared.node.open_stream();
        Pipeline {
            link,
            input,
            input_ended: false,
            alone,
            stream,
            next: 0,
            flights: VecDeque::new(),
            bytes: 0,
            early: BTreeMap::new(),
            held: None,
            replaced: Vec::new(),
            settled: VecDeque::new(),
            deadline: Duration::ZERO,
            patience,
            over: false,
        }
    }

    /// The answer whose turn it is; `None` at the end.
    pub async fn next_answer(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.settled.pop_front() {
                return Some(item);
            }
            if self.over {
                return None;
            }
            if let Some(front) = self.flights.front()
                && let Some(answer) = self.early.remove(&front.sequence)
            {
                let item = self.settle(answer);
                self.settled.push_back(item);
                continue;
            }
            if self.input_ended && self.flights.is_empty() && self.held.is_none() {
                return None;
            }
            match self.wait().await {
                Event::Request(None) => {
                    self.input_ended = true;
                    self.send_held();
                }
                Event::Request(Some(request)) => self.take(request),
                Event::Due => self.send_held(),
                Event::Answer(answer) => {
                    self.early.insert(answer.sequence, answer);
                }
                Event::Late => {
                    quorate_env::count!("quorate_consensus_append_timeouts_total");
                    return Some(self.fail("no answer in time"));
                }
            }
        }
    }

    async fn wait(&mut self) -> Event {
        let room = self.flights.len() < IN_FLIGHT && self.bytes < IN_FLIGHT_BYTES;
        let due = self.held.as_ref().map(|(_, due)| *due);
        tokio::select! {
            biased;
            Some(answer) = self.stream.answers.recv() => Event::Answer(answer),
            request = self.input.next(), if !self.input_ended && room => Event::Request(request),
            () = time::sleep_until(due.unwrap_or_default()), if due.is_some() => Event::Due,
            () = time::sleep_until(self.deadline), if !self.flights.is_empty() => Event::Late,
        }
    }

    /// The first request of a stream finds out what the follower has, and is never held.
    fn take(&mut self, request: AppendEntriesRequest<Types>) {
        let news_only = request.entries.is_empty() && self.next > 0 && !self.alone;
        let due = match self.held.take() {
            Some((older, due)) => {
                self.replaced.push(older.prev_log_id);
                due
            }
            None => time::now() + HOLD,
        };
        if news_only {
            self.held = Some((request, due));
        } else {
            self.send(request);
        }
    }

    fn send_held(&mut self) {
        if let Some((request, _)) = self.held.take() {
            self.send(request);
        }
    }

    fn send(&mut self, request: AppendEntriesRequest<Types>) {
        let (term, leader, _) = vote_parts(&request.vote);
        let payloads: Vec<_> =
            request.entries.iter().map(|entry| (position(&entry.log_id), encode_payload(entry))).collect();
        let bytes: usize = payloads.iter().map(|(_, payload)| payload.len()).sum();
        let route = self.link.route();
        debug_assert_eq!(route.from, leader);
        let commit = position_or_zero(request.leader_commit.as_ref());
        let message = OneWay::Append(Append {
            route,
            term,
            incarnation: self.link.shared.env.incarnation(),
            stream: self.stream.stream,
            sequence: self.next,
            prev: position_or_zero(request.prev_log_id.as_ref()),
            commit,
            entries: payloads
                .iter()
                .map(|(position, payload)| EntryFrame {
                    position: *position,
                    payload: payload.as_ref().into(),
                })
                .collect(),
            alone: self.alone,
        });
        self.link.shared.node.send(self.link.node, &message);
        quorate_env::count!("quorate_consensus_append_messages_total");
        if self.flights.is_empty() {
            self.deadline = time::now() + self.patience;
        }
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        self.flights.push_back(Flight {
            sequence: self.next,
            term,
            prev: request.prev_log_id,
            last,
            commit,
            bytes,
            stands_for: std::mem::take(&mut self.replaced),
        });
        self.bytes += bytes;
        self.next += 1;
    }

    fn settle(&mut self, answer: Answer) -> Item {
        let Some(flight) = self.flights.pop_front() else { return self.fail("an answer to nothing") };
        self.bytes -= flight.bytes;
        self.deadline = time::now() + self.patience;
        match answer.outcome {
            Outcome::Stored => {
                let ack = Ack {
                    term: flight.term,
                    epoch: answer.epoch,
                    commit: flight.commit,
                    matched: position_or_zero(flight.last.as_ref()),
                };
                self.link.shared.note_ack(self.link.target.0, ack);
                self.settled.extend(flight.stands_for.into_iter().map(|last| Ok(Ok(last))));
                Ok(Ok(flight.last))
            }
            Outcome::Conflict => match flight.prev {
                // Later in a stream, what precedes was stored a moment ago; a conflict then comes from a disordered
                // stream, and openraft would take it for a lost log.
                Some(prev) if flight.sequence == 0 => {
                    self.over = true;
                    Ok(Err(StreamAppendError::Conflict(prev)))
                }
                _ => self.fail("conflict within a stream"),
            },
            Outcome::HigherVote(vote) => {
                self.over = true;
                Ok(Err(StreamAppendError::HigherVote(vote_of(&vote))))
            }
            Outcome::Refused(why) => {
                self.over = true;
                Err(RPCError::Unreachable(Unreachable::from_string(why)))
            }
        }
    }

    fn fail(&mut self, why: &str) -> Item {
        self.over = true;
        let reachable = self.link.is_reachable();
        let why = format!("{} on node {}: {why}", self.link.target, self.link.node);
        Err(if reachable {
            RPCError::Network(NetworkError::from_string(why))
        } else {
            RPCError::Unreachable(Unreachable::from_string(why))
        })
    }
}

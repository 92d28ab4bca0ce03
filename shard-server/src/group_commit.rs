//! Group commit: commands of one term that are proposed while an entry of that term is under way go down together in the
//! next one. A busy shard pays for replication by the entry then, not by the command; an idle one waits for nothing.
//!
//! Where processors are fought over, an entry's cost is everybody's time: a shard that has many commands takes a breath after
//! each shared entry, so that more of them share the next. (PostgreSQL's `commit_delay` is the like, set by hand.)
//!
//! The commands of one entry were evaluated side by side under latches that keep them apart, so their order in it does not
//! matter; each keeps its latches until the entry is applied, and all have its outcome. (The idea is that of databases
//! that let several transactions share one write of their log: DeWitt et al., 1984.)

use crate::{command::Command, leader::Leader};
use parking_lot::Mutex;
use quorate_consensus::{Group, ProposeError};
use quorate_env::Env;
use quorate_proto::LogPosition;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Nobody waits longer for the entry under way before its command goes down: far away replicas answer late.
const PATIENCE: Duration = Duration::from_millis(4);
/// A shard whose entry was shared by this many takes a breath.
const MANY: usize = 3;
/// The time from one entry of such a shard to the next if its threads did nothing but wait for processors.
const LONGEST_BREATH: Duration = Duration::from_millis(20);
/// An entry takes up no more commands once it is this large; entries of other shards wait behind it.
const ENTRY_BYTES: usize = 256 << 10;
/// Nor once it has this many: each writes its record and ends its transaction while the entry is applied.
const ENTRY_COMMANDS: usize = 256;

type Outcome = Result<LogPosition, ProposeError>;

#[derive(Default)]
pub(crate) struct GroupCommit(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Entries under way.
    entries: usize,
}

struct Waiting {
    command: Command,
    tell: oneshot::Sender<Outcome>,
}

impl Queue {
    /// What goes into the next entry: at least one command, if any waits.
    fn take(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let many = self.waiting.iter().take(ENTRY_COMMANDS).take_while(|waiting| {
            let room = bytes < ENTRY_BYTES;
            bytes += waiting.command.size();
            room
        });
        let many = many.count();
        self.waiting.drain(..many).collect()
    }
}

enum Turn {
    Now(Command),
    Later(oneshot::Receiver<Outcome>),
}

impl GroupCommit {
    /// Splits and locks that are handed over have entries for themselves.
    fn enter(&self, command: Command) -> Turn {
        let mut queue = self.0.lock();
        if queue.entries == 0 || command.extras.is_alone() {
            queue.entries += 1;
            return Turn::Now(command);
        }
        let (tell, told) = oneshot::channel();
        queue.waiting.push(Waiting { command, tell });
        Turn::Later(told)
    }

    /// Replicates a command of the leader's term, perhaps together with others; returns the entry's position once it is
    /// applied here.
    ///
    /// # Errors
    /// As [`Group::propose`]'s, for all commands of the entry alike.
    pub async fn propose(leader: &Arc<Leader>, env: &Env, group: &Arc<Group>, command: Command) -> Outcome {
        let mut told = match leader.proposals.enter(command) {
            Turn::Now(command) => {
                return Carrier::new(leader, env, group).carry(command).await;
            }
            Turn::Later(told) => told,
        };
        let patience = PATIENCE + 2 * breath(env.contention());
        let outcome = match env.timeout(patience, &mut told).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // Unless it is under way already, it goes now, with all others.
                leader.proposals.0.lock().entries += 1;
                Carrier::new(leader, env, group).carry_waiting();
                told.await
            }
        };
        outcome.unwrap_or_else(|_| Err(ProposeError::Ambiguous("the node is stopping".into())))
    }
}

/// Whoever brings an entry on its way, counted in [`Queue::entries`]. When it is done, or gone, what has come meanwhile
/// goes next.
struct Carrier {
    leader: Arc<Leader>,
    env: Env,
    group: Arc<Group>,
}

impl Carrier {
    /// For an entry that is counted already.
    fn new(leader: &Arc<Leader>, env: &Env, group: &Arc<Group>) -> Self {
        Carrier { leader: leader.clone(), env: env.clone(), group: group.clone() }
    }

    async fn carry(&self, command: Command) -> Outcome {
        let outcome = self.group.propose(self.leader.term, command.encode()).await;
        outcome.map(|(position, _)| position)
    }

    /// In a task of its own: nobody who may go away has to see it through.
    fn carry_waiting(self) {
        let batch = self.leader.proposals.0.lock().take();
        if batch.is_empty() {
            return;
        }
        metrics::histogram!("quorate_shard_commands_an_entry").record(batch.len() as f64);
        let env = self.env.clone();
        let carrying = async move {
            let mut entry = Command::default();
            let mut tell = Vec::with_capacity(batch.len());
            for waiting in batch {
                entry.join(waiting.command);
                tell.push(waiting.tell);
            }
            let many = tell.len();
            if many > 1 {
                quorate_env::probe!("shard.commands_share_an_entry");
            }
            let began = self.env.boottime();
            let outcome = self.carry(entry).await;
            let believed = quorate_env::planted!("shard.shared_entry_believed");
            let outcome = if believed { Ok(LogPosition::default()) } else { outcome };
            for tell in tell {
                // Who has gone does not want to know.
                let _ = tell.send(outcome.clone());
            }
            if many >= MANY {
                self.env.sleep_until_boottime(began + breath(self.env.contention())).await;
            }
        };
        env.spawn("shard.group_commit", carrying).detach();
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        {
            let mut queue = self.leader.proposals.0.lock();
            queue.entries -= 1;
            if queue.entries > 0 || queue.waiting.is_empty() {
                return;
            }
            queue.entries += 1;
        }
        Carrier::new(&self.leader, &self.env, &self.group).carry_waiting();
    }
}

/// From the start of one entry to that of the next, at a given [`Env::contention`]. With its square: as long as there is much
/// idle time the answers shall come at once.
fn breath(contention: f64) -> Duration {
    LONGEST_BREATH.mul_f64(contention * contention)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use quorate_storage::Family;

    fn waiting(bytes: usize) -> Waiting {
        let mut command = Command::default();
        command.batch.put(Family::Data, &b"k"[..], Bytes::from(vec![0; bytes]));
        Waiting { command, tell: oneshot::channel().0 }
    }

    fn entries(waiting: Vec<Waiting>) -> Vec<usize> {
        let mut queue = Queue { waiting, entries: 0 };
        std::iter::from_fn(|| Some(queue.take().len()).filter(|many| *many > 0)).collect()
    }

    #[test]
    fn an_entry_is_bounded_by_bytes_and_by_commands() {
        assert_eq!(entries((0..600).map(|_| waiting(10)).collect()), [256, 256, 88]);
        assert_eq!(entries((0..5).map(|_| waiting(100 << 10)).collect()), [3, 2]);
        assert_eq!(entries(vec![waiting(1 << 20), waiting(1)]), [1, 1]);
    }
}

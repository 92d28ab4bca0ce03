//! From an evaluated command to its entry.

use crate::{
    command::Command,
    group_commit::GroupCommit,
    leader::{LatchGuard, Leader},
    replica::Replica,
};
use quorate_consensus::ProposeError;
use quorate_proto::{KvError, LogPosition, TxnId};
use std::{sync::Arc, time::Duration};

impl Replica {
    /// Replicates a command evaluated under `latched` in the leader's term, and gives the latches back once it is applied
    /// here. They are let go as well if it certainly never will be; with an unknown outcome they stay until it is known.
    pub(crate) async fn propose(
        self: &Arc<Self>,
        leader: &Arc<Leader>,
        latched: LatchGuard,
        command: Command,
    ) -> Result<(LogPosition, LatchGuard), KvError> {
        let group = self.group()?;
        let env = &self.context.env;
        if env.fault("shard.late_proposal") {
            env.sleep(Duration::from_millis(env.random_range(1..400))).await;
        }
        let start = env.boottime();
        let mut outcome = GroupCommit::propose(leader, env, &group, command).await;
        if env.fault("shard.lost_outcome") {
            outcome = outcome.and_then(|_| Err(ProposeError::Ambiguous("by fault point".into())));
        }
        match outcome {
            Ok(position) => {
                let took = self.context.env.boottime().saturating_sub(start);
                metrics::histogram!("quorate_shard_replicate_seconds").record(took.as_secs_f64());
                Ok((position, latched))
            }
            Err(error) => {
                if !error.is_definite() {
                    self.hold_until_known(leader.clone(), latched);
                }
                Err(error.into_kv(self.shard))
            }
        }
    }

    /// Replicates what needs no latches, and is no transaction's business. It waits for hand-overs, and they for it: behind the
    /// locks that they tell nothing may come.
    pub(crate) async fn propose_bare(
        self: &Arc<Self>,
        leader: &Arc<Leader>,
        command: Command,
    ) -> Result<(), KvError> {
        let latched = self.latch_against_hand_over(leader, TxnId(0)).await?;
        self.not_sealed(&self.state.load())?;
        drop(self.propose(leader, latched, command).await?);
        Ok(())
    }

    /// The entry may still be applied in this term. Another entry behind it tells: once that is applied, ours is, or is not
    /// in the log. When the term is over, so are its latches.
    fn hold_until_known(self: &Arc<Self>, leader: Arc<Leader>, latched: LatchGuard) {
        quorate_env::probe!("shard.outcome_unknown");
        let replica = self.clone();
        let watch = async move {
            let _latched = latched;
            while !leader.is_over() {
                let Ok(group) = replica.group() else { return };
                match group.propose(leader.term, Command::default().encode()).await {
                    Ok(_) => return,
                    Err(
                        ProposeError::NotLeader { .. } | ProposeError::TermChanged | ProposeError::Stopped,
                    ) => {
                        // The next leader may still commit it; nothing is closed over it here.
                        leader.core().evaluations.stop();
                        // Who waits for the latches must not be let in before the end of the term shows.
                        leader.end(None);
                        return;
                    }
                    Err(ProposeError::NoQuorum { .. } | ProposeError::Ambiguous(_)) => {
                        replica.context.env.sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        };
        self.context.env.spawn("shard.hold_latches", watch).detach();
    }
}

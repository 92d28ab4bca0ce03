//! Copies that do not read back: a damaged block of the engine, or a damaged entry of the log.
//!
//! Whoever meets one gets an error, and the copy is taken out of service: it leads, votes, answers and applies nothing any more,
//! and its node reports it as damaged. So it counts as lost, and the placement driver replaces it by a new one under a new replica
//! id, if the others have a quorum (`placement/src/run/remake.rs`). It is removed when the first sign of that comes, the
//! creation of the new one; until then it stays as it is, because it may be the last that holds some of the shard's rows. A node
//! that is started anew takes it into service again, until the damage is met again.

use crate::{Context, replica::Replica};
use quorate_proto::{KvError, ReplicaId, ShardId};
use quorate_storage::{Damage, Family, FamilyRange, StorageError};
use std::sync::Arc;

impl Context {
    /// Has the engine tell of damaged blocks.
    pub(crate) fn watch_for_damage(self: &Arc<Self>) {
        let context = Arc::downgrade(self);
        self.engine.on_damage(Arc::new(move |damage| {
            if let Some(context) = context.upgrade() {
                context.met(&damage);
            }
        }));
    }

    fn met(self: &Arc<Self>, damage: &Damage) {
        match self.holder(damage) {
            Some(replica) => self.condemn(&replica, &damage.error),
            None => tracing::error!(error = %damage.error, "a damaged block, of no copy that is held here"),
        }
    }

    /// Whose block it is.
    fn holder(&self, damage: &Damage) -> Option<Arc<Replica>> {
        if damage.family == Family::Meta {
            return self.replica(ShardId(u64::from_be_bytes(*damage.key.first_chunk()?)));
        }
        let holds = |replica: &Arc<Replica>| {
            let range = FamilyRange::of_span(damage.family, &replica.state.load().descriptor.span);
            !replica.is_empty() && range.contains(&damage.key)
        };
        self.all().into_iter().find(holds)
    }

    /// Takes the copy out of service, unless nobody else has one.
    pub(crate) fn condemn(self: &Arc<Self>, replica: &Arc<Replica>, error: &StorageError) {
        let (shard, id) = (replica.shard.0, replica.id.0);
        if replica.state.load().descriptor.voters().nth(1).is_none() {
            tracing::error!(shard, replica = id, %error, "the only copy of the shard is damaged");
            return;
        }
        if quorate_env::planted!("shard.damaged_copy_serves") || !replica.note_damage(error.to_string()) {
            return;
        }
        quorate_env::count!("quorate_shard_copies_damaged_total");
        quorate_env::probe!("shard.copy_damaged");
        tracing::error!(shard, replica = id, %error, "a copy is damaged: it serves no more, and has to be replaced");
        let (context, replica) = (self.clone(), replica.clone());
        let retiring = async move {
            let _one = context.registry.lock().await;
            context.retire(&replica).await;
        };
        self.env.spawn("shard.retire", retiring).detach();
    }

    async fn retire(&self, replica: &Replica) {
        replica.stop_leading();
        if let Some(group) = replica.group.swap(None) {
            group.stop().await;
        }
    }

    /// Makes place for a new copy, of a greater id. To be called with the registry locked.
    pub(crate) async fn clear_damaged(
        self: &Arc<Self>,
        shard: ShardId,
        for_id: ReplicaId,
    ) -> Result<(), KvError> {
        let Some(replica) = self.replica(shard) else { return Ok(()) };
        let Some(why) = replica.damage() else { return Ok(()) };
        if for_id <= replica.id && !quorate_env::planted!("shard.damaged_copy_comes_back") {
            return Err(KvError::BadRequest {
                why: format!("replica {} of shard {shard} is damaged here: {why}", replica.id),
            });
        }
        self.retire(&replica).await;
        self.remove(&replica).await
    }
}

impl Replica {
    /// What is read of a copy that turns out to be damaged is asked for elsewhere.
    pub(crate) fn elsewhere_if_damaged<T>(&self, result: Result<T, KvError>) -> Result<T, KvError> {
        match result {
            Err(KvError::Internal { .. }) if self.damage().is_some() => {
                Err(self.not_ready("its copy here is damaged, and will be replaced"))
            }
            result => result,
        }
    }
}

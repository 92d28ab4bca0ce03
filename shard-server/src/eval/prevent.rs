//! Is the intent of a staged transaction there? If not, it never will be (PROTOCOL 14).
//!
//! *Evaluate*: a read of the key is noted at the staged timestamp, in nobody's name, so that it stands against the very
//! transaction; a prepare that comes later must take a higher timestamp, at which the staged commit does not hold. One
//! that is under way holds its latch until it is applied, and is seen. *No entry*: like a read, the note holds as long as the
//! leader's term, and every later leader writes above what was noted (PROTOCOL 11).

use crate::{
    latch::{Access, LatchSet},
    registry::internal,
    replica::Replica,
};
use quorate_proto::{KvError, kv::Prevent};
use quorate_storage::intent;
use std::sync::Arc;

impl Replica {
    /// Whether the intent stands, of this attempt and at a timestamp not above the staged one.
    pub(super) async fn prevent(self: &Arc<Self>, version: u64, request: Prevent) -> Result<bool, KvError> {
        let Prevent { txn, attempt, ts, key } = request;
        self.wait_clock(ts).await?;
        let leader = self.leader()?;
        let points = vec![(key.clone(), Access::Read)];
        let latched = leader.latch(LatchSet { points, ..LatchSet::default() }).await?;
        if !quorate_env::planted!("shard.prevention_not_noted") {
            leader.core().cache.add_point(&key, ts, None);
        }
        let snapshot = self.context.engine.snapshot();
        self.still(&leader, version)?;
        let stands = intent::get(&*snapshot, &key)
            .map_err(internal)?
            .is_some_and(|found| found.txn.id == txn && found.txn.attempt == attempt && found.ts <= ts);
        drop((latched, snapshot));
        self.certify(&leader).await?;
        if !stands {
            quorate_env::probe!("shard.prevented_intent");
        }
        Ok(stands)
    }
}

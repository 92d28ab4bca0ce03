//! What a transaction has cost, counted where it happens (DESIGN §10).

/// Counters of one transaction, over all its attempts. Calls to shards led by this very node are no calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Calls to other nodes before the answer.
    pub calls: u64,
    /// Steps in which calls (however many in parallel) were waited for.
    pub waits: u64,
    /// Consensus rounds waited for before the answer.
    pub rounds: u64,
    /// Log entries that the transaction proposed before the answer.
    pub entries: u64,
    /// Bytes of requests and answers exchanged with other nodes.
    pub bytes: u64,
    /// Requests that had to be sent again: another leader, another shard, a lost answer.
    pub reroutes: u64,
    /// Attempts of the transaction.
    pub attempts: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.calls += other.calls;
        self.waits += other.waits;
        self.rounds += other.rounds;
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.reroutes += other.reroutes;
        self.attempts += other.attempts;
    }
}

/// What came on top of `before`, an earlier count of the same transaction.
impl std::ops::Sub for Cost {
    type Output = Cost;

    fn sub(self, before: Cost) -> Cost {
        Cost {
            calls: self.calls - before.calls,
            waits: self.waits - before.waits,
            rounds: self.rounds - before.rounds,
            entries: self.entries - before.entries,
            bytes: self.bytes - before.bytes,
            reroutes: self.reroutes - before.reroutes,
            attempts: self.attempts - before.attempts,
        }
    }
}

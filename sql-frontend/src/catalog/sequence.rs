//! Numbers from sequences. A node takes them in blocks, in transactions of their own, so that neither a rollback nor another
//! node waits for anybody; as with PostgreSQL's `CACHE`, numbers taken and not used are lost, and different nodes hand out
//! from different blocks.

use super::{
    SequenceDescriptor, keys,
    snapshot::{decode_u64, encode_u64},
    store::exclusive,
};
use crate::{
    error::{SqlError, SqlState},
    session::errors::from_txn,
};
use parking_lot::Mutex;
use quorate_env::Env;
use quorate_proto::ErrorClass;
use quorate_txn::{Coordinator, TxnOptions};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const FIRST_BLOCK: u64 = 32;
const LARGEST_BLOCK: u64 = 8192;
/// A block used up faster than this is followed by one twice as large.
const FAST: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Block {
    next: i64,
    left: u64,
    size: u64,
    taken_at: Duration,
}

pub struct Sequences {
    env: Env,
    coordinator: Arc<Coordinator>,
    blocks: Mutex<BTreeMap<u64, Block>>,
    /// Only one refill at a time.
    refilling: tokio::sync::Mutex<()>,
}

impl Sequences {
    pub fn new(env: Env, coordinator: Arc<Coordinator>) -> Arc<Self> {
        Arc::new(Sequences { env, coordinator, blocks: Mutex::default(), refilling: Default::default() })
    }

    /// The next number if the node has one at hand.
    pub fn try_next(&self, sequence: &SequenceDescriptor) -> Option<i64> {
        let mut blocks = self.blocks.lock();
        let block = blocks.get_mut(&sequence.id)?;
        if block.left == 0 {
            return None;
        }
        let value = block.next;
        block.left -= 1;
        block.next = block.next.saturating_add(sequence.increment);
        Some(value)
    }

    pub async fn next(&self, sequence: &SequenceDescriptor) -> Result<i64, SqlError> {
        loop {
            if let Some(value) = self.try_next(sequence) {
                return Ok(value);
            }
            self.reserve(sequence, 1).await?;
        }
    }

    /// Makes sure that `count` numbers are at hand (as far as a block reaches).
    pub async fn reserve(&self, sequence: &SequenceDescriptor, count: u64) -> Result<(), SqlError> {
        let count = count.clamp(1, LARGEST_BLOCK);
        if self.at_hand(sequence.id) >= count {
            return Ok(());
        }
        let _one = self.refilling.lock().await;
        if self.at_hand(sequence.id) >= count {
            return Ok(());
        }
        let now = self.env.boottime();
        let size = match self.blocks.lock().get(&sequence.id) {
            Some(block) if now.saturating_sub(block.taken_at) < FAST => (block.size * 2).min(LARGEST_BLOCK),
            Some(block) => block.size,
            None => FIRST_BLOCK,
        }
        .max(count);
        let (next, left) = self.take(sequence, size).await?;
        // What was left of the old block is dropped: numbers of one block follow one another.
        self.blocks.lock().insert(sequence.id, Block { next, left, size, taken_at: now });
        Ok(())
    }

    fn at_hand(&self, id: u64) -> u64 {
        self.blocks.lock().get(&id).map_or(0, |block| block.left)
    }

    /// Moves the counter by up to `size` numbers; first and how many.
    async fn take(&self, sequence: &SequenceDescriptor, size: u64) -> Result<(i64, u64), SqlError> {
        self.change(sequence, |now| {
            let first = match now.unwrap_or(sequence.start) {
                beyond if beyond > sequence.max || beyond < sequence.min => {
                    restarted(sequence).ok_or_else(|| exhausted(sequence))?
                }
                first => first,
            };
            let room = if sequence.increment > 0 {
                (i128::from(sequence.max) - i128::from(first)) / i128::from(sequence.increment)
            } else {
                (i128::from(first) - i128::from(sequence.min)) / -i128::from(sequence.increment)
            };
            let count = u64::try_from(room + 1).unwrap_or(u64::MAX).min(size);
            Ok((after(sequence, first, count), (first, count)))
        })
        .await
    }

    /// `setval`: the next number is `value`, or the one after it if `called`.
    pub async fn set(&self, sequence: &SequenceDescriptor, value: i64, called: bool) -> Result<(), SqlError> {
        if value < sequence.min || value > sequence.max {
            return Err(SqlError::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                format!(
                    "setval: value {value} is out of bounds for sequence \"{}\" ({}..{})",
                    sequence.name, sequence.min, sequence.max
                ),
            ));
        }
        let next = if called { after(sequence, value, 1) } else { value };
        self.change(sequence, |_| Ok((next, ()))).await?;
        self.blocks.lock().remove(&sequence.id);
        Ok(())
    }

    /// Forgets what is at hand (after `TRUNCATE … RESTART IDENTITY` or a drop).
    pub fn forget(&self, id: u64) {
        self.blocks.lock().remove(&id);
    }

    async fn change<T>(
        &self,
        sequence: &SequenceDescriptor,
        step: impl Fn(Option<i64>) -> Result<(i64, T), SqlError>,
    ) -> Result<T, SqlError> {
        let key = keys::counter(sequence.id);
        let mut attempt = 0;
        loop {
            let txn = self.coordinator.begin(TxnOptions::default());
            let result = async {
                let now = txn.get(&key, Some(exclusive())).await?;
                let now = now.as_ref().and_then(|raw| decode_u64(raw)).map(|raw| raw as i64);
                let (next, result) = match step(now) {
                    Ok(step) => step,
                    Err(error) => return Ok(Err(error)),
                };
                txn.put(key.clone(), encode_u64(next as u64));
                txn.commit().await?;
                Ok(Ok(result))
            }
            .await;
            match result {
                Ok(result) => return result,
                // Numbers of a block whose fate is unknown are simply never used.
                Err(error)
                    if attempt < 20
                        && matches!(
                            quorate_txn::TxnError::class(&error),
                            ErrorClass::RetryTransaction | ErrorClass::Ambiguous
                        ) =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(from_txn(error)),
            }
        }
    }
}

/// Where the counter stands `count` numbers after `first`. Outside of the bounds it says that there are no more; where that
/// step would leave i64, it goes beyond the other bound.
fn after(sequence: &SequenceDescriptor, first: i64, count: u64) -> i64 {
    let next = i128::from(first) + i128::from(sequence.increment) * i128::from(count);
    i64::try_from(next).unwrap_or(if sequence.increment > 0 { i64::MIN } else { i64::MAX })
}

/// Where a sequence goes on behind its last number.
fn restarted(sequence: &SequenceDescriptor) -> Option<i64> {
    let first = if sequence.increment > 0 { sequence.min } else { sequence.max };
    sequence.cycle.then_some(first)
}

fn exhausted(sequence: &SequenceDescriptor) -> SqlError {
    let (word, bound) =
        if sequence.increment > 0 { ("maximum", sequence.max) } else { ("minimum", sequence.min) };
    SqlError::new(
        SqlState("2200H"),
        format!("nextval: reached {word} value of sequence \"{}\" ({bound})", sequence.name),
    )
}

//! Row ids of tables without a primary key: rising with time on each node, unique among all, without any coordination.
//!
//! The upper 51 bits are microseconds since 2020 (good until 2091), moved on by one where several fall into the same; the
//! lower 12 are the node's id. A node whose clock went back by less than the clock bound over a restart takes longer than that
//! to restart.

use parking_lot::Mutex;
use quorate_env::Env;

const NODE_BITS: u32 = 12;

/// Highest node id for which row ids are unique.
pub const MAX_NODE: u64 = (1 << NODE_BITS) - 1;

pub struct RowIds {
    env: Env,
    last: Mutex<u64>,
}

impl RowIds {
    pub fn new(env: Env) -> Self {
        RowIds { env, last: Mutex::new(0) }
    }

    pub fn next(&self) -> i64 {
        let now = self.env.clock().physical().micros();
        let mut last = self.last.lock();
        *last = now.max(*last + 1);
        (*last << NODE_BITS | self.env.node().0 & MAX_NODE) as i64
    }
}

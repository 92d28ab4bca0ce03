//! What a session knows: time, user, database; identifiers and randomness drawn for a statement.

use super::catalog::{Catalog, Options};
use super::context::ContextValue;
use super::kind::*;
use crate::types::PgType;
use crate::{Result, SqlError};
use datafusion::logical_expr::Volatility;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What `version()` answers: drivers read the number of the PostgreSQL that is spoken.
pub const VERSION: &str = concat!("PostgreSQL 15.0 (Quorate ", env!("CARGO_PKG_VERSION"), ")");

static CLOCK: OnceLock<Box<dyn Fn() -> i64 + Send + Sync>> = OnceLock::new();

/// Gives `clock_timestamp()` and `timeofday` their clock: microseconds since 1970, from `Env`. The first call in a process counts.
pub fn set_clock(clock: impl Fn() -> i64 + Send + Sync + 'static) {
    let _ = CLOCK.set(Box::new(clock));
}

fn clock() -> Result<i64> {
    match CLOCK.get() {
        Some(clock) => Ok(clock()),
        None => Err(SqlError::internal("clock_timestamp() was called before the server set its clock")),
    }
}

/// Counts draws, so that calls of one statement differ.
static DRAWS: AtomicU64 = AtomicU64::new(0);

/// 32 bytes that nobody can guess without the statement's seed.
fn draw(seed: &[u8; 16]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed);
    hash.update(DRAWS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    hash.finalize().into()
}

pub(super) fn register(c: &mut Catalog) {
    for name in ["now", "current_timestamp", "transaction_timestamp"] {
        c.context(name, ContextValue::TransactionTime);
    }
    c.context("statement_timestamp", ContextValue::StatementTime);
    for name in ["current_user", "current_role", "user"] {
        c.context(name, ContextValue::CurrentUser);
    }
    c.context("session_user", ContextValue::SessionUser);
    for name in ["current_database", "current_catalog"] {
        c.context(name, ContextValue::CurrentDatabase);
    }
    c.context("current_schema", ContextValue::CurrentSchema);
    c.context("pg_backend_pid", ContextValue::BackendPid);
    let constant = |text: &'static str| -> Body {
        Arc::new(move |_, rows| Text::build(vec![Some(text.to_string()); rows]))
    };
    c.function("version", &[], PgType::Text, Options::default(), constant(VERSION));
    let volatile =
        |hidden: &[ContextValue]| Options { volatility: Volatility::Volatile, ..Options::hidden(hidden) };
    c.function(
        "clock_timestamp",
        &[],
        PgType::Timestamptz,
        volatile(&[]),
        Arc::new(|_, rows| Timestamptz::build((0..rows).map(|_| clock().map(Some)).collect::<Result<_>>()?)),
    );
    c.function(
        "random",
        &[],
        PgType::Float8,
        volatile(&[ContextValue::Seed]),
        seeded::<Float8>(|bytes| {
            let word = u64::from_be_bytes([
                bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
            ]);
            (word >> 11) as f64 / (1u64 << 53) as f64
        }),
    );
    c.function(
        "gen_random_uuid",
        &[],
        PgType::Uuid,
        volatile(&[ContextValue::Seed]),
        seeded::<Uuid>(|bytes| {
            let mut id = [0u8; 16];
            id.copy_from_slice(&bytes[..16]);
            id[6] = id[6] & 0x0f | 0x40;
            id[8] = id[8] & 0x3f | 0x80;
            id
        }),
    );
}

fn seeded<R: Kind>(f: fn([u8; 32]) -> R::Owned) -> Body {
    Arc::new(move |args, rows| {
        let view = Uuid::view(args[0].array.as_ref())?;
        let seed =
            if args[0].array.is_empty() || args[0].is_null(0) { [0; 16] } else { Uuid::get(&view, 0)? };
        R::build((0..rows).map(|_| Some(f(draw(&seed)))).collect())
    })
}

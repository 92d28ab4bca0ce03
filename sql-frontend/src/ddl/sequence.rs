//! `ALTER SEQUENCE … RESTART`.

use super::{AfterCommit, Change};
use crate::{
    catalog::{keys, snapshot::encode_u64, store},
    error::{SqlError, SqlState},
    session::{errors::from_txn, names::Names, parse::AlterSequence, run::Outcome},
};

/// The next number, once the transaction is committed.
pub async fn restart(change: &mut Change, alter: &AlterSequence) -> Result<Outcome, SqlError> {
    let (schema, name) = Names::split(&alter.name)?;
    let names = change.view()?.names.within(change.now().clone());
    let sequence = match names.sequence_named(schema.as_deref(), &name) {
        Ok(sequence) => sequence,
        Err(error) if alter.if_exists && error.sqlstate == SqlState::UNDEFINED_TABLE => {
            change.notice(SqlState("00000"), format!("relation \"{name}\" does not exist, skipping"));
            return Ok(Outcome::done("ALTER SEQUENCE"));
        }
        Err(error) => return Err(error),
    };
    let next = alter.restart.unwrap_or(sequence.start);
    let beyond = |what: &str, bound: i64| {
        let text = format!("RESTART value ({next}) cannot be {what} ({bound})");
        Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, text))
    };
    if next < sequence.min {
        return beyond("less than MINVALUE", sequence.min);
    }
    if next > sequence.max {
        return beyond("greater than MAXVALUE", sequence.max);
    }
    let key = keys::counter(sequence.id);
    change.txn.get(&key, store::exclusive()).await.map_err(from_txn)?;
    change.txn.put(key, encode_u64(next as u64));
    // This node forgets its block at once; others' last numbers are used up from theirs.
    change.after_commit.push(AfterCommit::ForgetSequence(sequence.id));
    let now = change.now().clone();
    change.overlay = Some(now);
    Ok(Outcome::done("ALTER SEQUENCE"))
}

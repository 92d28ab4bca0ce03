//! `CREATE SEQUENCE`, `ALTER SEQUENCE … RESTART`.

use super::{AfterCommit, Change, allocate_ids, create_table::check_name};
use crate::{
    bind::bind_type,
    catalog::{SequenceDescriptor, keys, snapshot::encode_u64, store},
    error::{SqlError, SqlState},
    session::{names::Names, parse::AlterSequence, run::Outcome},
    types::PgType,
};
use sqlparser::ast::{Expr, SequenceOptions, Statement};
use std::sync::Arc;

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
    store::claim(&change.txn, &key).await?;
    change.txn.put(key, encode_u64(next as u64));
    // This node forgets its block at once; others' last numbers are used up from theirs.
    change.after_commit.push(AfterCommit::ForgetSequence(sequence.id));
    let now = change.now().clone();
    change.overlay = Some(now);
    Ok(Outcome::done("ALTER SEQUENCE"))
}

/// `CREATE SEQUENCE`.
pub async fn create(change: &mut Change, statement: &Statement) -> Result<Outcome, SqlError> {
    let Statement::CreateSequence { temporary, if_not_exists, name, data_type, sequence_options, owned_by } =
        statement
    else {
        return Err(SqlError::internal("not CREATE SEQUENCE"));
    };
    if *temporary || owned_by.is_some() {
        return Err(SqlError::unsupported("this form of CREATE SEQUENCE"));
    }
    let ty = data_type.as_ref().map_or(Ok(PgType::Int8), |ty| bind_type(ty, None).map(|(ty, _)| ty))?;
    let (schema, name) = Names::split(name)?;
    let schema = change.view()?.names.creation_schema(schema)?;
    check_name(&name)?;
    if *if_not_exists && store::is_name_taken(&change.txn, &schema, &name).await? {
        change.notice(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists, skipping"));
        return Ok(Outcome::done("CREATE SEQUENCE"));
    }
    let shared = change.shared()?;
    let mut sequence = SequenceDescriptor {
        id: allocate_ids(&shared, 1).await?,
        schema,
        name,
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        owner: None,
        cycle: false,
    };
    take_options(&mut sequence, sequence_options, ty)?;
    store::take_name(&change.txn, &sequence.schema, &sequence.name, sequence.id).await?;
    store::put_sequence(&change.txn, &sequence);
    store::raise_generation(&change.txn).await?;
    change.overlay(|snapshot| {
        snapshot.sequences.insert(sequence.id, Arc::new(sequence));
    });
    Ok(Outcome::done("CREATE SEQUENCE"))
}

fn take_options(
    sequence: &mut SequenceDescriptor,
    options: &[SequenceOptions],
    ty: PgType,
) -> Result<(), SqlError> {
    let number = |expr: &Expr| {
        expr.to_string().replace(' ', "").parse::<i64>().map_err(|_| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid number of a sequence: {expr}"))
        })
    };
    let (mut start, mut min, mut max) = (None, None, None);
    for option in options {
        match option {
            SequenceOptions::IncrementBy(expr, _) => sequence.increment = number(expr)?,
            SequenceOptions::MinValue(value) => min = value.as_ref().map(number).transpose()?,
            SequenceOptions::MaxValue(value) => max = value.as_ref().map(number).transpose()?,
            SequenceOptions::StartWith(expr, _) => start = Some(number(expr)?),
            // Numbers are taken in blocks in any case.
            SequenceOptions::Cache(expr) if number(expr)? <= 0 => {
                return bad(format!("CACHE ({}) must be greater than zero", number(expr)?));
            }
            SequenceOptions::Cache(_) => {}
            SequenceOptions::Cycle(no) => sequence.cycle = !no,
        }
    }
    let (least, most) = match ty {
        PgType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        PgType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        PgType::Int8 => (i64::MIN, i64::MAX),
        _ => return bad("sequence type must be smallint, integer, or bigint"),
    };
    for (name, value) in [("MAXVALUE", max), ("MINVALUE", min)] {
        if let Some(value) = value.filter(|value| *value < least || *value > most) {
            return bad(format!("{name} ({value}) is out of range for sequence data type {ty}"));
        }
    }
    if sequence.increment == 0 {
        return bad("INCREMENT must not be zero");
    }
    let up = sequence.increment > 0;
    sequence.min = min.unwrap_or(if up { 1 } else { least });
    sequence.max = max.unwrap_or(if up { most } else { -1 });
    sequence.start = start.unwrap_or(if up { sequence.min } else { sequence.max });
    let SequenceDescriptor { min, max, start, .. } = *sequence;
    if min >= max {
        return bad(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})"));
    }
    if start < min {
        return bad(format!("START value ({start}) cannot be less than MINVALUE ({min})"));
    }
    if start > max {
        return bad(format!("START value ({start}) cannot be greater than MAXVALUE ({max})"));
    }
    Ok(())
}

fn bad(text: impl Into<String>) -> Result<(), SqlError> {
    Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, text))
}

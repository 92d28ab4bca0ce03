//! `ON CONFLICT`: rows one after the other, each against the rows that are there and those that this statement has written.

use super::{Change, Checks, Row, Writer, write::index_by_id};
use crate::{
    bind::{BoundConflict, ConflictAction},
    catalog::{IndexState, TableDescriptor},
    error::{SqlError, SqlState},
    exec::{Answers, RowProgram, program::Compiled},
    row::{RowDecoder, index_entry, primary_key, row_key_of_entry},
    types::Datum,
};
use quorate_proto::Key;
use std::collections::BTreeSet;

/// How often a row's fate is asked for again before what is in its way counts as no matter of the clause's.
const ASKED_AGAIN: u32 = 3;

pub struct Resolver<'a> {
    writer: &'a Writer,
    table: &'a TableDescriptor,
    bound: &'a BoundConflict,
    values: Option<Compiled>,
    condition: Option<Compiled>,
    decoder: RowDecoder,
    /// Rows that this statement has written: it may not touch them again.
    written: BTreeSet<Key>,
}

/// What becomes of one proposed row.
enum Fate {
    Insert,
    Skip,
    Update(Row),
}

impl<'a> Resolver<'a> {
    pub async fn new(
        writer: &'a Writer,
        table: &'a TableDescriptor,
        bound: &'a BoundConflict,
        params: &[Datum],
    ) -> Result<Self, SqlError> {
        let (mut values, mut condition) = (None, None);
        if let ConflictAction::Update { values: program, condition: only, asked, .. } = &bound.action {
            let answers = match asked {
                Some(asked) => asked.answers(params, &writer.ctx).await?,
                None => Answers::new(),
            };
            let compile = |program: &RowProgram| program.compile_answered(params, &answers, &writer.ctx);
            values = Some(compile(program)?);
            condition = only.as_ref().map(compile).transpose()?;
        }
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let decoder = RowDecoder::for_rows(table, &all)?;
        Ok(Resolver { writer, table, bound, values, condition, decoder, written: BTreeSet::new() })
    }

    /// Writes rows; those that were inserted or updated, as they are now.
    pub async fn write(&mut self, rows: Vec<Row>, checks: &Checks) -> Result<Vec<Row>, SqlError> {
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            out.extend(self.write_one(row, checks).await?);
        }
        Ok(out)
    }

    /// A place that was free when its fate was asked may be taken when it is written to: if the lock on it was lost with its
    /// leader, and somebody came in between. Then the row has another fate.
    async fn write_one(&mut self, mut row: Row, checks: &Checks) -> Result<Option<Row>, SqlError> {
        let mut left = ASKED_AGAIN;
        loop {
            match self.fate(&row).await? {
                Fate::Skip => return Ok(None),
                Fate::Update(existing) => return self.update(existing, row, checks).await,
                Fate::Insert => {}
            }
            let change = Change { old: None, new: Some(row) };
            match self.writer.apply(self.table, std::slice::from_ref(&change)).await {
                Err(error) if error.sqlstate == SqlState::UNIQUE_VIOLATION && left > 0 => left -= 1,
                result => {
                    let new = result.map(|()| change.new)?;
                    let key = new.as_ref().map(|row| primary_key(self.table, row)).transpose()?;
                    self.written.extend(key);
                    return Ok(new);
                }
            }
            row = change.new.unwrap_or_default();
        }
    }

    async fn fate(&self, row: &Row) -> Result<Fate, SqlError> {
        let arbiters: Vec<u32> = match &self.bound.arbiters {
            Some(arbiters) => arbiters.clone(),
            None => std::iter::once(&self.table.primary)
                .chain(
                    self.table
                        .indexes
                        .iter()
                        .filter(|index| index.unique && index.state != IndexState::DeleteOnly),
                )
                .map(|index| index.id)
                .collect(),
        };
        for id in arbiters {
            let Some(existing) = self.existing(id, row).await? else { continue };
            return Ok(match self.bound.action {
                ConflictAction::Nothing => Fate::Skip,
                ConflictAction::Update { .. } => Fate::Update(existing),
            });
        }
        Ok(Fate::Insert)
    }

    /// The row that holds this one's place in a unique index.
    async fn existing(&self, index: u32, row: &Row) -> Result<Option<Row>, SqlError> {
        let mut key = primary_key(self.table, row)?;
        if index != self.table.primary.id {
            let descriptor = index_by_id(self.table, index)?;
            let entry = index_entry(self.table, descriptor, row)?;
            if !entry.exclusive {
                return Ok(None);
            }
            let Some(value) = self.writer.claim_to_act(&entry.key).await? else { return Ok(None) };
            key = row_key_of_entry(self.table, descriptor, &entry.key, &value)?;
        }
        let Some(value) = self.writer.claim_to_act(&key).await? else { return Ok(None) };
        let mut existing = Row::new();
        self.decoder.decode(&key, &value, &mut existing)?;
        Ok(Some(existing))
    }

    async fn update(
        &mut self,
        existing: Row,
        proposed: Row,
        checks: &Checks,
    ) -> Result<Option<Row>, SqlError> {
        let key = primary_key(self.table, &existing)?;
        if self.written.contains(&key) {
            return Err(SqlError::new(
                SqlState::CARDINALITY_VIOLATION,
                "ON CONFLICT DO UPDATE command cannot affect row a second time",
            )
            .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values."));
        }
        let ConflictAction::Update { assigned, .. } = &self.bound.action else { return Ok(None) };
        let mut input = existing.clone();
        input.extend(proposed);
        if let Some(condition) = &self.condition
            && condition.row(&input)?.first() != Some(&Datum::Bool(true))
        {
            return Ok(None);
        }
        let Some(values) = &self.values else { return Ok(None) };
        self.written.insert(key);
        let mut new = existing.clone();
        for (&at, value) in assigned.iter().zip(values.row(&input)?) {
            new[at] = value;
        }
        self.writer.check(self.table, checks, Some(&[&existing]), &[&new])?;
        self.written.insert(primary_key(self.table, &new)?);
        let change = Change { old: Some(existing), new: Some(new) };
        self.writer.apply(self.table, std::slice::from_ref(&change)).await?;
        Ok(change.new)
    }
}

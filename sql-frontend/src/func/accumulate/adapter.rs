//! States as DataFusion's accumulators, and as the bytes between them.

use super::{Kind, State, bad_state, new_state};
use crate::row::ordered_bytes;
use crate::types::{Datum, Numeric, PgType, array, datum_at, to_scalar};
use crate::{Result, SqlError};
use datafusion::arrow::array::{Array, ArrayRef, BinaryArray};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

/// An argument that different rows are put in order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub argument: usize,
    pub asc: bool,
    pub nulls_first: bool,
}

/// Passes each different row on once, in their order, as PostgreSQL does, which sorts them.
#[derive(Debug)]
pub(crate) struct Distinct {
    kind: Kind,
    params: Vec<PgType>,
    /// Of every argument.
    order: Vec<Place>,
    rows: BTreeMap<Vec<u8>, Vec<Datum>>,
    bytes: usize,
}

impl Distinct {
    /// Arguments that `order` does not have come behind it.
    pub(crate) fn new(kind: Kind, params: Vec<PgType>, order: &[Place]) -> Self {
        let others = (0..params.len())
            .filter(|argument| order.iter().all(|place| place.argument != *argument))
            .map(|argument| Place { argument, asc: true, nulls_first: false });
        let order = order.iter().copied().chain(others).collect();
        Distinct { kind, params, order, rows: BTreeMap::new(), bytes: 0 }
    }

    /// Bytes that are equal for equal rows, and ordered as they are.
    fn identity(&self, row: &[Datum]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for place in &self.order {
            let value = &row[place.argument];
            out.push(u8::from(value.is_null() != place.nulls_first));
            if !value.is_null() {
                let bytes = ordered_bytes(self.params[place.argument], value)?;
                out.extend(bytes.into_iter().map(|b| if place.asc { b } else { !b }));
            }
        }
        Ok(out)
    }
}

impl State for Distinct {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        let identity = self.identity(row)?;
        let size = 2 * identity.len() + size_of_val(row);
        if let Entry::Vacant(vacant) = self.rows.entry(identity) {
            vacant.insert(row.to_vec());
            self.bytes += size;
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(self.rows.values().flatten().cloned().collect())
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        saved.chunks(self.params.len()).try_for_each(|row| self.add(row))
    }

    fn finish(&self) -> Result<Datum> {
        let mut state = new_state(self.kind, &self.params);
        self.rows.values().try_for_each(|row| state.add(row))?;
        state.finish()
    }

    fn held(&self) -> usize {
        self.bytes
    }
}

fn row_at(values: &[ArrayRef], params: &[PgType], row: usize) -> Result<Vec<Datum>> {
    params.iter().zip(values).map(|(ty, array)| datum_at(array.as_ref(), row, *ty)).collect()
}

/// A state as DataFusion's accumulator.
#[derive(Debug)]
pub(crate) struct Adapter {
    state: Box<dyn State>,
    params: Vec<PgType>,
    result: PgType,
}

impl Adapter {
    pub(crate) fn new(state: Box<dyn State>, params: Vec<PgType>, result: PgType) -> Self {
        Adapter { state, params, result }
    }
}

impl Accumulator for Adapter {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for row in 0..values.first().map_or(0, |a| a.len()) {
            self.state.add(&row_at(values, &self.params, row)?)?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for row in 0..values.first().map_or(0, |a| a.len()) {
            self.state.retract(&row_at(values, &self.params, row)?)?;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.state.can_retract()
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(to_scalar(&self.state.finish()?, self.result))
    }

    fn size(&self) -> usize {
        size_of_val(self) + 128 + self.state.held()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(pack(&self.state.save()?)))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let Some(blobs) = states.first().and_then(|a| a.as_any().downcast_ref::<BinaryArray>()) else {
            return Err(DataFusionError::from(bad_state()));
        };
        for blob in blobs.iter().flatten() {
            self.state.merge(&unpack(blob)?)?;
        }
        Ok(())
    }
}

/// A sliding window over an aggregate that cannot take rows out: keeps the frame's rows and starts over.
#[derive(Debug)]
pub(crate) struct Replay {
    kind: Kind,
    params: Vec<PgType>,
    result: PgType,
    rows: VecDeque<Vec<Datum>>,
}

impl Replay {
    pub(crate) fn new(kind: Kind, params: Vec<PgType>, result: PgType) -> Self {
        Replay { kind, params, result, rows: VecDeque::new() }
    }
}

impl Accumulator for Replay {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for row in 0..values.first().map_or(0, |a| a.len()) {
            self.rows.push_back(row_at(values, &self.params, row)?);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for _ in 0..values.first().map_or(0, |a| a.len()) {
            self.rows.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let mut state = new_state(self.kind, &self.params);
        for row in &self.rows {
            state.add(row)?;
        }
        Ok(to_scalar(&state.finish()?, self.result))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.len() * 64
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Err(DataFusionError::from(SqlError::internal("a window frame has no partial state")))
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> DfResult<()> {
        Err(DataFusionError::from(SqlError::internal("a window frame has no partial state")))
    }
}

/// Values with their types, for a saved state.
fn pack(values: &[Datum]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        if value.is_null() {
            out.extend_from_slice(&0u32.to_be_bytes());
            continue;
        }
        let ty = array::shape(value);
        out.extend_from_slice(&ty.oid().to_be_bytes());
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        // Numerics in their own encoding: the wire's ends at 32767 digits to base 10000.
        match value {
            Datum::Numeric(n) => n.write_encoding(&mut out),
            other => other.write_binary(ty, &mut out),
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    out
}

fn unpack(mut blob: &[u8]) -> Result<Vec<Datum>> {
    let mut out = Vec::new();
    let word = |blob: &mut &[u8]| -> Result<u32> {
        let (head, rest) = blob.split_first_chunk::<4>().ok_or_else(bad_state)?;
        *blob = rest;
        Ok(u32::from_be_bytes(*head))
    };
    while !blob.is_empty() {
        let oid = word(&mut blob)?;
        if oid == 0 {
            out.push(Datum::Null);
            continue;
        }
        let length = word(&mut blob)? as usize;
        let (body, rest) = blob.split_at_checked(length).ok_or_else(bad_state)?;
        blob = rest;
        let ty = PgType::from_oid(oid).ok_or_else(bad_state)?;
        out.push(match ty {
            PgType::Numeric => Datum::Numeric(Numeric::decode(body)?),
            ty => Datum::from_binary(ty, body, -1)?,
        });
    }
    Ok(out)
}

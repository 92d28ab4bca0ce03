//! The running states of our aggregates, and their dress as DataFusion accumulators.
//!
//! A state is saved for merging as one blob. Sums of integers are kept in 128 bits and checked at the end; sums of numerics are
//! exact; floats add as PostgreSQL's transition functions do, in the order of the rows.

use crate::types::{Datum, Interval, Numeric, PgType, datum_at, to_scalar};
use crate::{Result, SqlError, SqlState};
use datafusion::arrow::array::{Array, ArrayRef, BinaryArray};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Sum,
    Avg,
    VarSamp,
    VarPop,
    StddevSamp,
    StddevPop,
    Min,
    Max,
    StringAgg,
    BytesAgg,
}

/// A running aggregate over rows of values.
pub(crate) trait State: Send + Sync + Debug {
    fn add(&mut self, row: &[Datum]) -> Result<()>;
    /// Takes a row out again; only where [`State::can_retract`].
    fn retract(&mut self, _row: &[Datum]) -> Result<()> {
        Err(SqlError::internal("this aggregate cannot take rows out"))
    }
    fn can_retract(&self) -> bool {
        false
    }
    /// What [`State::merge`] of another instance takes.
    fn save(&self) -> Result<Vec<Datum>>;
    fn merge(&mut self, saved: &[Datum]) -> Result<()>;
    fn finish(&self) -> Result<Datum>;
}

pub(crate) fn new_state(kind: Kind, params: &[PgType]) -> Box<dyn State> {
    let ty = params[0];
    let integer = ty.is_integer();
    match kind {
        Kind::Sum | Kind::Avg if integer => Box::new(IntSum { ty, avg: kind == Kind::Avg, sum: 0, count: 0 }),
        Kind::Sum | Kind::Avg if ty == PgType::Numeric => {
            Box::new(NumericSum { avg: kind == Kind::Avg, sum: Numeric::zero(), count: 0 })
        }
        Kind::Sum | Kind::Avg if ty == PgType::Interval => {
            Box::new(IntervalSum { avg: kind == Kind::Avg, sum: Interval::default(), count: 0 })
        }
        Kind::Sum | Kind::Avg => Box::new(FloatSum { ty, avg: kind == Kind::Avg, sum: 0.0, count: 0 }),
        Kind::VarSamp | Kind::VarPop | Kind::StddevSamp | Kind::StddevPop => {
            if integer || ty == PgType::Numeric {
                Box::new(ExactSpread { kind, count: 0, sum: Numeric::zero(), squares: Numeric::zero() })
            } else {
                Box::new(FloatSpread { kind, count: 0.0, sum: 0.0, spread: 0.0 })
            }
        }
        Kind::Min | Kind::Max => Box::new(Extreme { ty, greatest: kind == Kind::Max, best: Datum::Null }),
        Kind::StringAgg => Box::new(Joined { text: None }),
        Kind::BytesAgg => Box::new(JoinedBytes { bytes: None }),
    }
}

fn int(value: &Datum) -> Option<i128> {
    match value {
        Datum::Int2(v) => Some((*v).into()),
        Datum::Int4(v) => Some((*v).into()),
        Datum::Int8(v) => Some((*v).into()),
        _ => None,
    }
}

fn float(value: &Datum) -> Option<f64> {
    match value {
        Datum::Float4(v) => Some((*v).into()),
        Datum::Float8(v) => Some(*v),
        _ => None,
    }
}

fn exact(value: &Datum) -> Option<Numeric> {
    match value {
        Datum::Numeric(n) => Some(n.clone()),
        other => int(other).map(Numeric::from),
    }
}

fn bad_state() -> SqlError {
    SqlError::internal("malformed aggregate state")
}

#[derive(Debug)]
struct IntSum {
    ty: PgType,
    avg: bool,
    sum: i128,
    count: i64,
}

impl State for IntSum {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        if let Some(v) = int(&row[0]) {
            self.sum += v;
            self.count += 1;
        }
        Ok(())
    }

    fn retract(&mut self, row: &[Datum]) -> Result<()> {
        if let Some(v) = int(&row[0]) {
            self.sum -= v;
            self.count -= 1;
        }
        Ok(())
    }

    fn can_retract(&self) -> bool {
        true
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Numeric(self.sum.into()), Datum::Int8(self.count)])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        let [Datum::Numeric(Numeric::Finite { digits, .. }), Datum::Int8(count)] = saved else {
            return Err(bad_state());
        };
        self.sum += i128::try_from(digits).map_err(|_| bad_state())?;
        self.count += count;
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        if self.count == 0 {
            return Ok(Datum::Null);
        }
        if self.avg {
            return Ok(Numeric::from(self.sum).div(&Numeric::from(self.count))?.into());
        }
        if self.ty == PgType::Int8 {
            return Ok(Numeric::from(self.sum).into());
        }
        i64::try_from(self.sum).map(Datum::Int8).map_err(|_| SqlError::out_of_range("bigint"))
    }
}

#[derive(Debug)]
struct NumericSum {
    avg: bool,
    sum: Numeric,
    count: i64,
}

impl State for NumericSum {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        if let Datum::Numeric(n) = &row[0] {
            self.sum = self.sum.add(n)?;
            self.count += 1;
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Numeric(self.sum.clone()), Datum::Int8(self.count)])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        let [Datum::Numeric(sum), Datum::Int8(count)] = saved else { return Err(bad_state()) };
        self.sum = self.sum.add(sum)?;
        self.count += count;
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        if self.count == 0 {
            return Ok(Datum::Null);
        }
        if self.avg {
            Ok(self.sum.div(&Numeric::from(self.count))?.into())
        } else {
            Ok(self.sum.clone().into())
        }
    }
}

#[derive(Debug)]
struct IntervalSum {
    avg: bool,
    sum: Interval,
    count: i64,
}

impl State for IntervalSum {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        if let Datum::Interval(v) = &row[0] {
            self.sum = self.sum.add(v)?;
            self.count += 1;
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Interval(self.sum), Datum::Int8(self.count)])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        let [Datum::Interval(sum), Datum::Int8(count)] = saved else { return Err(bad_state()) };
        self.sum = self.sum.add(sum)?;
        self.count += count;
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        Ok(match (self.count, self.avg) {
            (0, _) => Datum::Null,
            (_, false) => Datum::Interval(self.sum),
            (n, true) => Datum::Interval(self.sum.div(n as f64)?),
        })
    }
}

#[derive(Debug)]
struct FloatSum {
    ty: PgType,
    avg: bool,
    sum: f64,
    count: i64,
}

impl FloatSum {
    fn plus(&mut self, v: f64, other_finite: bool) -> Result<()> {
        let finite = self.sum.is_finite() && other_finite;
        // The sum of float4 is kept in float4, as float4pl does.
        self.sum = if self.ty == PgType::Float4 && !self.avg {
            f64::from(self.sum as f32 + v as f32)
        } else {
            self.sum + v
        };
        if self.sum.is_infinite() && finite {
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
        }
        Ok(())
    }
}

impl State for FloatSum {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        if let Some(v) = float(&row[0]) {
            self.plus(v, v.is_finite())?;
            self.count += 1;
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Float8(self.sum), Datum::Int8(self.count)])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        let [Datum::Float8(sum), Datum::Int8(count)] = saved else { return Err(bad_state()) };
        self.plus(*sum, sum.is_finite())?;
        self.count += count;
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        Ok(match (self.count, self.avg, self.ty) {
            (0, _, _) => Datum::Null,
            (n, true, _) => Datum::Float8(self.sum / n as f64),
            (_, false, PgType::Float4) => Datum::Float4(self.sum as f32),
            _ => Datum::Float8(self.sum),
        })
    }
}

/// Count, sum and sum of squares, exactly.
#[derive(Debug)]
struct ExactSpread {
    kind: Kind,
    count: i64,
    sum: Numeric,
    squares: Numeric,
}

impl State for ExactSpread {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        if let Some(n) = exact(&row[0]) {
            self.count += 1;
            self.sum = self.sum.add(&n)?;
            self.squares = self.squares.add(&n.mul(&n)?)?;
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![
            Datum::Int8(self.count),
            Datum::Numeric(self.sum.clone()),
            Datum::Numeric(self.squares.clone()),
        ])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        let [Datum::Int8(count), Datum::Numeric(sum), Datum::Numeric(squares)] = saved else {
            return Err(bad_state());
        };
        self.count += count;
        self.sum = self.sum.add(sum)?;
        self.squares = self.squares.add(squares)?;
        Ok(())
    }

    /// `numeric_stddev_internal`.
    fn finish(&self) -> Result<Datum> {
        let sample = matches!(self.kind, Kind::VarSamp | Kind::StddevSamp);
        if self.count == 0 || (sample && self.count == 1) {
            return Ok(Datum::Null);
        }
        if !self.sum.is_finite() {
            return Ok(Numeric::NaN.into());
        }
        let n = Numeric::from(self.count);
        let spread = n.mul(&self.squares)?.sub(&self.sum.mul(&self.sum)?)?;
        if spread.signum() <= 0 {
            return Ok(Numeric::zero().into());
        }
        let divisor = if sample { n.mul(&Numeric::from(self.count - 1))? } else { n.mul(&n)? };
        let variance = spread.div(&divisor)?;
        if matches!(self.kind, Kind::StddevSamp | Kind::StddevPop) {
            return Ok(variance.sqrt_at(variance.scale())?.into());
        }
        Ok(variance.into())
    }
}

/// Count, sum and sum of squared differences, by Youngs and Cramer, as `float8_accum` keeps them.
#[derive(Debug)]
struct FloatSpread {
    kind: Kind,
    count: f64,
    sum: f64,
    spread: f64,
}

impl State for FloatSpread {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        let Some(v) = float(&row[0]) else { return Ok(()) };
        let before = self.count;
        let (old_sum, old_spread) = (self.sum, self.spread);
        self.count += 1.0;
        self.sum += v;
        if before > 0.0 {
            let t = v * self.count - self.sum;
            self.spread += t * t / (self.count * before);
            if self.sum.is_infinite() || self.spread.is_infinite() {
                if old_sum.is_finite() && old_spread.is_finite() && v.is_finite() {
                    return Err(SqlError::new(
                        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                        "value out of range: overflow",
                    ));
                }
                self.spread = f64::NAN;
            }
        } else if !v.is_finite() {
            self.spread = f64::NAN;
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Float8(self.count), Datum::Float8(self.sum), Datum::Float8(self.spread)])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        let [Datum::Float8(n), Datum::Float8(sum), Datum::Float8(spread)] = saved else {
            return Err(bad_state());
        };
        if *n == 0.0 {
            return Ok(());
        }
        if self.count == 0.0 {
            (self.count, self.sum, self.spread) = (*n, *sum, *spread);
            return Ok(());
        }
        let total = self.count + n;
        let difference = self.sum / self.count - sum / n;
        self.spread += spread + self.count * n * difference * difference / total;
        self.count = total;
        self.sum += sum;
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        let sample = matches!(self.kind, Kind::VarSamp | Kind::StddevSamp);
        if self.count == 0.0 || (sample && self.count <= 1.0) {
            return Ok(Datum::Null);
        }
        let variance = self.spread / if sample { self.count - 1.0 } else { self.count };
        let root = matches!(self.kind, Kind::StddevSamp | Kind::StddevPop);
        Ok(Datum::Float8(if root { variance.sqrt() } else { variance }))
    }
}

#[derive(Debug)]
struct Extreme {
    ty: PgType,
    greatest: bool,
    best: Datum,
}

impl State for Extreme {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        let value = &row[0];
        if value.is_null() {
            return Ok(());
        }
        let replace = match self.best.compare(value, self.ty) {
            None => true,
            // Among equals numeric_larger keeps the new one, numeric_smaller too.
            Some(order) if self.greatest => order.is_le(),
            Some(order) => order.is_ge(),
        };
        if replace {
            self.best = value.clone();
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![self.best.clone()])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        self.add(saved)
    }

    fn finish(&self) -> Result<Datum> {
        Ok(self.best.clone())
    }
}

#[derive(Debug)]
struct Joined {
    text: Option<String>,
}

impl State for Joined {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        let Datum::Text(value) = &row[0] else { return Ok(()) };
        match &mut self.text {
            None => self.text = Some(value.clone()),
            Some(text) => {
                if let Some(Datum::Text(delimiter)) = row.get(1) {
                    text.push_str(delimiter);
                }
                text.push_str(value);
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![self.text.clone().into()])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        // The delimiter of the joint is not in the other state.
        match (&self.text, &saved[0]) {
            (_, Datum::Null) => Ok(()),
            (None, _) => self.add(saved),
            (Some(_), _) => Err(SqlError::internal("string_agg needs its rows in one stream")),
        }
    }

    fn finish(&self) -> Result<Datum> {
        Ok(self.text.clone().into())
    }
}

#[derive(Debug)]
struct JoinedBytes {
    bytes: Option<Vec<u8>>,
}

impl State for JoinedBytes {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        let Datum::Bytea(value) = &row[0] else { return Ok(()) };
        match &mut self.bytes {
            None => self.bytes = Some(value.clone()),
            Some(bytes) => {
                if let Some(Datum::Bytea(delimiter)) = row.get(1) {
                    bytes.extend_from_slice(delimiter);
                }
                bytes.extend_from_slice(value);
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![self.finish()?])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        match (&self.bytes, &saved[0]) {
            (_, Datum::Null) => Ok(()),
            (None, _) => self.add(saved),
            (Some(_), _) => Err(SqlError::internal("string_agg needs its rows in one stream")),
        }
    }

    fn finish(&self) -> Result<Datum> {
        Ok(self.bytes.clone().map_or(Datum::Null, Datum::Bytea))
    }
}

/// Passes each different row on once.
#[derive(Debug)]
pub(crate) struct Distinct {
    inner: Box<dyn State>,
    params: Vec<PgType>,
    seen: BTreeSet<Vec<u8>>,
    rows: Vec<Vec<Datum>>,
}

impl Distinct {
    pub(crate) fn new(inner: Box<dyn State>, params: Vec<PgType>) -> Self {
        Distinct { inner, params, seen: BTreeSet::new(), rows: Vec::new() }
    }

    /// Bytes that are equal for equal rows.
    fn identity(&self, row: &[Datum]) -> Vec<u8> {
        let mut out = Vec::new();
        for (value, ty) in row.iter().zip(&self.params) {
            let start = out.len();
            out.extend_from_slice(&[0; 5]);
            match value {
                Datum::Null => out[start] = 1,
                Datum::Numeric(n) => n.write_key(&mut out),
                Datum::Float4(v) if *v == 0.0 => out.push(0),
                Datum::Float8(v) if *v == 0.0 => out.push(0),
                Datum::Float4(v) if v.is_nan() => out.push(1),
                Datum::Float8(v) if v.is_nan() => out.push(1),
                Datum::Interval(i) => out.extend_from_slice(&i.comparison_value().to_be_bytes()),
                Datum::Text(s) if *ty == PgType::Bpchar => {
                    out.extend_from_slice(s.trim_end_matches(' ').as_bytes());
                }
                other => other.write_binary(*ty, &mut out),
            }
            let length = (out.len() - start - 5) as u32;
            out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        }
        out
    }
}

impl State for Distinct {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        let identity = self.identity(row);
        if self.seen.insert(identity) {
            self.inner.add(row)?;
            self.rows.push(row.to_vec());
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(self.rows.iter().flatten().cloned().collect())
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        for row in saved.chunks(self.params.len()) {
            self.add(row)?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        self.inner.finish()
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
        size_of_val(self) + 128
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
        let ty = match value {
            Datum::Null => {
                out.extend_from_slice(&0u32.to_be_bytes());
                continue;
            }
            Datum::Bool(_) => PgType::Bool,
            Datum::Int2(_) => PgType::Int2,
            Datum::Int4(_) => PgType::Int4,
            Datum::Int8(_) => PgType::Int8,
            Datum::Float4(_) => PgType::Float4,
            Datum::Float8(_) => PgType::Float8,
            Datum::Numeric(_) => PgType::Numeric,
            Datum::Text(_) => PgType::Text,
            Datum::Bytea(_) => PgType::Bytea,
            Datum::Uuid(_) => PgType::Uuid,
            Datum::Date(_) => PgType::Date,
            Datum::Time(_) => PgType::Time,
            Datum::Timestamp(_) => PgType::Timestamp,
            Datum::Timestamptz(_) => PgType::Timestamptz,
            Datum::Interval(_) => PgType::Interval,
            Datum::Oid(_) => PgType::Oid,
        };
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

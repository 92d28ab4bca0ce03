//! Variances and standard deviations.

use super::{Kind, State, bad_state, exact, float};
use crate::types::{Datum, Numeric};
use crate::{Result, SqlError, SqlState};

/// Count, sum and sum of squares, exactly.
#[derive(Debug)]
pub struct ExactSpread {
    pub kind: Kind,
    pub count: i64,
    pub sum: Numeric,
    pub squares: Numeric,
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
pub struct FloatSpread {
    pub kind: Kind,
    pub count: f64,
    pub sum: f64,
    pub spread: f64,
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

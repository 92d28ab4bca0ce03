//! Sums and averages.

use super::{State, bad_state, float, int};
use crate::types::{Datum, Interval, Numeric, PgType};
use crate::{Result, SqlError, SqlState};

#[derive(Debug)]
pub struct IntSum {
    pub ty: PgType,
    pub avg: bool,
    pub sum: i128,
    pub count: i64,
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
pub struct NumericSum {
    pub avg: bool,
    pub sum: Numeric,
    pub count: i64,
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
pub struct IntervalSum {
    pub avg: bool,
    pub sum: Interval,
    pub count: i64,
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
pub struct FloatSum {
    pub ty: PgType,
    pub avg: bool,
    pub sum: f64,
    pub count: i64,
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

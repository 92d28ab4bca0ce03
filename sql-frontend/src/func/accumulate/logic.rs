//! What becomes one truth value, or one pattern of bits.

use super::{State, bad_state};
use crate::Result;
use crate::types::Datum;

/// `bool_and` (`every`) and `bool_or` (`any`): null without values.
#[derive(Debug)]
pub struct Truths {
    pub every: bool,
    pub trues: i64,
    pub falses: i64,
}

impl Truths {
    fn count(&mut self, value: &Datum, by: i64) {
        match value {
            Datum::Bool(true) => self.trues += by,
            Datum::Bool(false) => self.falses += by,
            _ => {}
        }
    }
}

impl State for Truths {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        self.count(&row[0], 1);
        Ok(())
    }

    fn retract(&mut self, row: &[Datum]) -> Result<()> {
        self.count(&row[0], -1);
        Ok(())
    }

    fn can_retract(&self) -> bool {
        true
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Int8(self.trues), Datum::Int8(self.falses)])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        let [Datum::Int8(trues), Datum::Int8(falses)] = saved else { return Err(bad_state()) };
        self.trues += trues;
        self.falses += falses;
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        Ok(match (self.trues, self.falses) {
            (0, 0) => Datum::Null,
            (trues, falses) => Datum::Bool(if self.every { falses == 0 } else { trues > 0 }),
        })
    }
}

/// `bit_and`, `bit_or` and `bit_xor`: null without values.
#[derive(Debug)]
pub struct Bits {
    pub join: fn(i64, i64) -> i64,
    pub bits: Datum,
}

impl State for Bits {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        let joined = match (&self.bits, &row[0]) {
            (_, Datum::Null) => return Ok(()),
            // Sign extension commutes with all three.
            (Datum::Int2(a), Datum::Int2(b)) => Datum::Int2((self.join)((*a).into(), (*b).into()) as i16),
            (Datum::Int4(a), Datum::Int4(b)) => Datum::Int4((self.join)((*a).into(), (*b).into()) as i32),
            (Datum::Int8(a), Datum::Int8(b)) => Datum::Int8((self.join)(*a, *b)),
            (_, first) => first.clone(),
        };
        self.bits = joined;
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(vec![self.bits.clone()])
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        self.add(saved)
    }

    fn finish(&self) -> Result<Datum> {
        Ok(self.bits.clone())
    }
}

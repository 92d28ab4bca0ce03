//! What keeps values: the greatest and the least, texts and arrays of all.

use super::State;
use crate::types::{Datum, PgType};
use crate::{Result, SqlError};

#[derive(Debug)]
pub struct Extreme {
    pub ty: PgType,
    pub greatest: bool,
    pub best: Datum,
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
pub struct Joined {
    pub text: Option<String>,
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

    fn held(&self) -> usize {
        self.text.as_ref().map_or(0, String::len)
    }
}

#[derive(Debug)]
pub struct JoinedBytes {
    pub bytes: Option<Vec<u8>>,
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

    fn held(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

/// `array_agg`: nulls too; null without rows.
#[derive(Debug)]
pub struct Items {
    pub items: Vec<Datum>,
    pub bytes: usize,
}

impl State for Items {
    fn add(&mut self, row: &[Datum]) -> Result<()> {
        self.bytes += row[0].size();
        self.items.push(row[0].clone());
        Ok(())
    }

    fn save(&self) -> Result<Vec<Datum>> {
        Ok(self.items.clone())
    }

    fn merge(&mut self, saved: &[Datum]) -> Result<()> {
        saved.iter().try_for_each(|item| self.add(std::slice::from_ref(item)))
    }

    fn finish(&self) -> Result<Datum> {
        Ok(if self.items.is_empty() { Datum::Null } else { Datum::Array(self.items.clone()) })
    }

    fn held(&self) -> usize {
        self.bytes
    }
}

//! Values with units, read and shown as PostgreSQL does.

use super::invalid;
use crate::error::{SqlError, SqlState};

/// How a quantity is counted and written.
pub struct Unit {
    /// What a bare number is in.
    base: &'static str,
    /// Units and what one of them is in the base, the largest first.
    units: &'static [(&'static str, f64)],
    hint: &'static str,
}

pub const MILLIS: Unit = Unit {
    base: "ms",
    units: &[("d", 8.64e7), ("h", 3.6e6), ("min", 6e4), ("s", 1e3), ("ms", 1.0), ("us", 0.001)],
    hint: "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".",
};

pub const KILOBYTES: Unit = Unit {
    base: "kB",
    units: &[("TB", 1_073_741_824.0), ("GB", 1_048_576.0), ("MB", 1024.0), ("kB", 1.0), ("B", 1.0 / 1024.0)],
    hint: "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".",
};

impl Unit {
    /// The value in the base, not below `least` and in 31 bits.
    pub fn parse(&self, name: &str, value: &str, least: i32) -> Result<i32, SqlError> {
        let value = value.trim();
        let letters = value.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(value.len());
        let (number, unit) = value.split_at(letters);
        let number: f64 = number.trim().parse().map_err(|_| invalid(name, value))?;
        let unit = if unit.is_empty() { self.base } else { unit };
        let Some((_, factor)) = self.units.iter().find(|(known, _)| *known == unit) else {
            return Err(invalid(name, value).hint(self.hint));
        };
        let result = (number * factor).round();
        if result < f64::from(least) || result > f64::from(i32::MAX) {
            let (base, most) = (self.base, i32::MAX);
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!(
                    "{result} {base} is outside the valid range for parameter \"{name}\" ({least} .. {most})"
                ),
            ));
        }
        Ok(result as i32)
    }

    /// In the largest unit that divides it.
    pub fn show(&self, value: i32) -> String {
        if value == 0 {
            return "0".into();
        }
        let whole = self.units.iter().find(|(_, factor)| f64::from(value) % factor == 0.0);
        let (unit, factor) = whole.copied().unwrap_or((self.base, 1.0));
        format!("{}{unit}", f64::from(value) / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_in_the_largest_unit_that_divides_it() {
        assert_eq!(KILOBYTES.show(KILOBYTES.parse("m", "64MB", 64).unwrap()), "64MB");
        assert_eq!(KILOBYTES.show(KILOBYTES.parse("m", " 1.5 GB", 64).unwrap()), "1536MB");
        assert_eq!(KILOBYTES.show(KILOBYTES.parse("m", "65", 64).unwrap()), "65kB");
        assert_eq!(MILLIS.show(MILLIS.parse("t", "90000", 0).unwrap()), "90s");
        assert_eq!(MILLIS.show(MILLIS.parse("t", "1d", 0).unwrap()), "1d");
        assert_eq!(MILLIS.show(0), "0");
    }

    #[test]
    fn refuses_what_is_out_of_range_or_no_number() {
        let outside = KILOBYTES.parse("work_mem", "1", 64).unwrap_err();
        assert_eq!(
            outside.message,
            "1 kB is outside the valid range for parameter \"work_mem\" (64 .. 2147483647)"
        );
        for wrong in ["", "x", "5 parsecs", "1e400", "3mb", "nan", "inf"] {
            assert!(KILOBYTES.parse("work_mem", wrong, 64).is_err(), "{wrong}");
        }
    }
}

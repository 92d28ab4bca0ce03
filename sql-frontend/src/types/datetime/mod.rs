//! Dates, times, intervals and zones.

pub mod calendar;
mod format;
mod interval;
mod parse;
mod zone;

pub use format::{write_date, write_interval, write_offset, write_time, write_timestamp};
pub use interval::{
    add_to_timestamp, add_to_timestamptz, age, checked as checked_interval, parse_interval, round_micros,
};
pub use parse::{InputContext, fraction_micros, parse_date, parse_time, parse_timestamp, parse_timestamptz};
pub use zone::{NamedZone, TimeZone, zones_at};

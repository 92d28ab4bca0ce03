//! Dates, times, intervals and zones.
mod zone;
pub use zone::TimeZone;

//! Hybrid logical timestamps (Kulkarni et al., "Logical Physical Clocks", 2014) in one `u64`.

use minicbor::{Decode, Encode};
use std::{fmt, time::Duration};

/// Bits below the microseconds.
pub const LOGICAL_BITS: u32 = 12;
/// 2020-01-01T00:00:00Z in microseconds since the Unix epoch.
pub const EPOCH_UNIX_MICROS: u64 = 1_577_836_800_000_000;

/// Microseconds since 2020-01-01 UTC `<< 12 |` logical counter. [`Timestamp::ZERO`] is before everything.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Timestamp(#[n(0)] pub u64);

impl Timestamp {
    pub const ZERO: Timestamp = Timestamp(0);
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// `micros` since 2020-01-01 UTC, logical part 0.
    pub const fn from_micros(micros: u64) -> Self {
        Timestamp(micros << LOGICAL_BITS)
    }

    /// Times before 2020 become [`Timestamp::ZERO`].
    pub const fn from_unix_micros(micros: u64) -> Self {
        Self::from_micros(micros.saturating_sub(EPOCH_UNIX_MICROS))
    }

    /// Microseconds since 2020-01-01 UTC.
    pub const fn micros(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    pub const fn unix_micros(self) -> u64 {
        self.micros() + EPOCH_UNIX_MICROS
    }

    pub const fn logical(self) -> u64 {
        self.0 & ((1 << LOGICAL_BITS) - 1)
    }

    /// The next representable timestamp.
    #[must_use]
    pub const fn next(self) -> Self {
        Timestamp(self.0.saturating_add(1))
    }

    /// The previous representable timestamp.
    #[must_use]
    pub const fn prev(self) -> Self {
        Timestamp(self.0.saturating_sub(1))
    }

    #[must_use]
    pub const fn plus(self, d: Duration) -> Self {
        Timestamp(self.0.saturating_add((d.as_micros() as u64) << LOGICAL_BITS))
    }

    #[must_use]
    pub const fn minus(self, d: Duration) -> Self {
        Timestamp(self.0.saturating_sub((d.as_micros() as u64) << LOGICAL_BITS))
    }

    /// Physical distance to an `earlier` timestamp; zero if it is not earlier.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.micros().saturating_sub(earlier.micros()))
    }
}

/// Printed as `micros.logical`, the form that `AS OF SYSTEM TIME` also reads.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04}", self.micros(), self.logical())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_keeps_order() {
        let t = Timestamp::from_micros(10);
        assert!(t < t.next());
        assert_eq!(t.next().prev(), t);
        assert_eq!(t.plus(Duration::from_micros(5)).since(t), Duration::from_micros(5));
        assert_eq!(Timestamp::ZERO.prev(), Timestamp::ZERO);
        assert_eq!(Timestamp::MAX.next(), Timestamp::MAX);
    }
}

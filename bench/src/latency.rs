//! Latencies of finished transactions, in microseconds, and their percentiles.

#[derive(Default, Clone)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    pub fn add(&mut self, micros: u128) {
        self.0.push(u32::try_from(micros).unwrap_or(u32::MAX));
    }

    pub fn merge(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn above_ms(&self, limit: f64) -> usize {
        self.0.iter().filter(|&&micros| f64::from(micros) / 1000.0 > limit).count()
    }

    /// The smallest value that at least `percent` of all do not exceed, in milliseconds; `None` when there are none.
    pub fn percentile_ms(&self, percent: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).map(|&v| f64::from(v) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let mut all = Latencies::default();
        (1..=100).for_each(|n| all.add(n * 1000));
        assert_eq!((all.percentile_ms(50.0), all.percentile_ms(99.0)), (Some(50.0), Some(99.0)));
        assert_eq!(all.count(), 100);
        assert_eq!(Latencies::default().percentile_ms(50.0), None);
    }
}

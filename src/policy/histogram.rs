//! How often something took how long, in fixed buckets.

use std::time::Duration;

/// How many buckets are bounded. One more takes what is longer than the last bound.
pub const BOUNDS: usize = 12;

/// Upper bounds of buckets in microseconds, each inclusive.
pub type Bounds = [u64; BOUNDS];

/// For connects, in seconds: 0.0005 to 10. A local server takes less than a millisecond, one on another continent 0.1 to 0.3 s. Linux sends
/// a SYN again after 1 s and after 3 s, so one bucket has the connects that needed a second SYN, and one those that needed a third.
pub const CONNECTS: Bounds =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];

/// For sessions, in seconds: 0.01 to a day, each four to seven times as long as the one before. A request takes milliseconds, a kept
/// connection minutes, a shell hours.
pub const SESSIONS: Bounds = [
    10_000,
    50_000,
    250_000,
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    7_200_000_000,
    28_800_000_000,
    86_400_000_000,
];

/// How often something took how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    bounds: &'static Bounds,
    /// How many fell into each bucket, and not into one before.
    counts: [u64; BOUNDS + 1],
    /// All of them together, in microseconds.
    sum: u64,
}

impl Histogram {
    /// An empty one with these buckets.
    pub fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, counts: [0; BOUNDS + 1], sum: 0 }
    }

    /// Something took so long.
    pub fn record(&mut self, took: Duration) {
        let micros = took.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(took.subsec_micros()));
        let bucket = self.bounds.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS);
        self.counts[bucket] += 1;
        self.sum = self.sum.wrapping_add(micros);
    }

    /// The upper bound of each bounded bucket, in microseconds, with the number of all that took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        self.bounds.iter().copied().zip(counts)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took together, in microseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_has_its_bound_and_nothing_beyond() {
        for bounds in [&CONNECTS, &SESSIONS] {
            assert!(bounds.is_sorted_by(|one, next| one < next));
            for (bucket, bound) in bounds.iter().enumerate() {
                let mut histogram = Histogram::new(bounds);
                histogram.record(Duration::from_micros(*bound));
                histogram.record(Duration::from_micros(bound + 1));
                let counts: Vec<_> = histogram.cumulative().map(|(_, count)| count).collect();
                assert_eq!(counts[bucket], 1);
                assert!(counts[..bucket].iter().all(|count| *count == 0));
                assert!(counts[bucket + 1..].iter().all(|count| *count == 2));
                assert_eq!((histogram.count(), histogram.sum()), (2, 2 * bound + 1));
            }
        }
    }

    #[test]
    fn what_is_longer_than_all_bounds_is_counted() {
        let mut histogram = Histogram::new(&CONNECTS);
        histogram.record(Duration::MAX);
        assert_eq!((histogram.count(), histogram.cumulative().last()), (1, Some((10_000_000, 0))));
    }

    proptest! {
        #[test]
        fn cumulative_counts_are_those_of_a_sorted_list(times in proptest::collection::vec(0u64..20_000_000, 0..200)) {
            let mut histogram = Histogram::new(&CONNECTS);
            times.iter().for_each(|time| histogram.record(Duration::from_micros(*time)));
            for (bound, count) in histogram.cumulative() {
                prop_assert_eq!(count, times.iter().filter(|time| **time <= bound).count() as u64);
            }
            prop_assert_eq!((histogram.count(), histogram.sum()), (times.len() as u64, times.iter().sum()));
        }
    }
}

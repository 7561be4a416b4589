//! Counters, gauges and histograms: lock-free cells that a room owns and `ops` reads.
//!
//! They have no names, no labels and no registry. A room keeps a struct of them, and only the code
//! that writes the metrics page knows their names.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// A gauge at zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }

    /// Adds one until the returned guard is dropped.
    pub fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }
}

/// One unit of a [`Gauge`], given back on drop.
#[derive(Debug)]
pub struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Buckets of a histogram, not counting the one for all larger values.
pub const BUCKETS: usize = 16;

/// Upper bounds of the time buckets, in microseconds: from an exchange on loopback to the longest
/// usual deadline of a command.
pub const TIME_BOUNDS_US: [u64; BUCKETS] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    600_000_000,
];

/// Upper bounds of the size buckets, in bytes: from an empty body to the longest that is accepted.
pub const SIZE_BOUNDS: [u64; BUCKETS] = [
    0,
    128,
    256,
    512,
    1 << 10,
    2 << 10,
    4 << 10,
    8 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
    256 << 20,
];

/// Durations, counted by [`TIME_BOUNDS_US`].
#[derive(Debug, Default)]
pub struct TimeHistogram(Buckets);

/// Sizes in bytes, counted by [`SIZE_BOUNDS`].
#[derive(Debug, Default)]
pub struct SizeHistogram(Buckets);

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BUCKETS + 1],
    sum: AtomicU64,
}

/// The contents of a histogram at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Observations at or below each bound, cumulative; the last one is the count of all.
    pub cumulative: [u64; BUCKETS + 1],
    /// Sum of all observations, in microseconds or bytes.
    pub sum: u64,
}

impl Snapshot {
    /// The count of all observations.
    pub fn count(&self) -> u64 {
        self.cumulative[BUCKETS]
    }
}

impl Buckets {
    fn observe(&self, value: u64, bounds: &[u64; BUCKETS]) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// The present counts, cumulative as Prometheus wants them.
    fn snapshot(&self) -> Snapshot {
        let mut total = 0;
        let cumulative = std::array::from_fn(|i| {
            total += self.counts[i].load(Relaxed);
            total
        });
        Snapshot { cumulative, sum: self.sum.load(Relaxed) }
    }
}

impl TimeHistogram {
    /// Counts one duration.
    pub fn observe(&self, time: Duration) {
        self.0.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), &TIME_BOUNDS_US);
    }

    /// The present counts, the sum in microseconds.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }
}

impl SizeHistogram {
    /// Counts one size in bytes.
    pub fn observe(&self, bytes: u64) {
        self.0.observe(bytes, &SIZE_BOUNDS);
    }

    /// The present counts, the sum in bytes.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_gauge_comes_back_down() {
        let gauge = Gauge::new();
        {
            let _held = gauge.hold();
            assert_eq!(gauge.get(), 1);
        }
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_duration_on_a_bound_counts_in_that_bucket() {
        let histogram = TimeHistogram::default();
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_micros(1_001));
        histogram.observe(Duration::from_secs(3_600));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.cumulative[0], 1);
        assert_eq!(snapshot.cumulative[1], 2);
        assert_eq!(snapshot.cumulative[15], 2);
        assert_eq!(snapshot.count(), 3);
    }

    #[test]
    fn an_empty_body_has_a_bucket_of_its_own() {
        let histogram = SizeHistogram::default();
        for size in [0, 1, 128] {
            histogram.observe(size);
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.cumulative[0], snapshot.cumulative[1], snapshot.sum), (1, 3, 129));
    }
}

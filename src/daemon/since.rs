//! Tracks how long the daemon has been ready or not: `watch` records it and the page shows it.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::unpoisoned::Unpoisoned;

/// The time since which the daemon has been ready, or not.
pub(super) struct Since(Mutex<(bool, Instant, SystemTime)>);

impl Since {
    pub(super) fn new() -> Self {
        Self(Mutex::new((false, Instant::now(), SystemTime::now())))
    }

    /// Records the current state. After a change, returns how long the previous state lasted.
    pub(super) fn note(&self, ready: bool) -> Option<Duration> {
        let mut since = self.0.lock().unpoisoned();
        let lasted = (since.0 != ready).then(|| since.1.elapsed());
        if lasted.is_some() {
            *since = (ready, Instant::now(), SystemTime::now());
        }
        lasted
    }

    /// How long the current state has lasted, and its beginning.
    pub(super) fn get(&self) -> (Duration, SystemTime) {
        let since = self.0.lock().unpoisoned();
        (since.1.elapsed(), since.2)
    }
}

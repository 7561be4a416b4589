//! How long the daemon has been ready, or not: `watch` notes it, the page shows it.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::unpoisoned::Unpoisoned;

/// Since when the daemon has been ready, or not.
pub(super) struct Since(Mutex<(bool, Instant, SystemTime)>);

impl Since {
    pub(super) fn new() -> Self {
        Self(Mutex::new((false, Instant::now(), SystemTime::now())))
    }

    /// Notes the present state. After a change: how long the state before it lasted.
    pub(super) fn note(&self, ready: bool) -> Option<Duration> {
        let mut since = self.0.lock().unpoisoned();
        let lasted = (since.0 != ready).then(|| since.1.elapsed());
        if lasted.is_some() {
            *since = (ready, Instant::now(), SystemTime::now());
        }
        lasted
    }

    /// For how long the present state has lasted, and since when.
    pub(super) fn get(&self) -> (Duration, SystemTime) {
        let since = self.0.lock().unpoisoned();
        (since.1.elapsed(), since.2)
    }
}

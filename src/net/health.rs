//! What the checks of one way through a proxy have found (W-36, W-37).
//!
//! `cli` has the checks made and records them here; whoever shows a proxy's health reads it here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use super::proxy::Check;
use crate::stats::TimeHistogram;
use crate::unpoisoned::Unpoisoned;

/// Checks that are kept (operations.md, section 2.2).
pub const HISTORY: usize = 10;

/// A phase that is over sooner is not counted (operations.md, section 4).
const PHASE_MIN: Duration = Duration::from_millis(1);

/// The checks of one way.
#[derive(Debug, Default)]
pub struct RouteHealth {
    health: Mutex<Health>,
    /// How long dials took that came about.
    pub tcp: TimeHistogram,
    /// How long the rest took.
    pub connect: TimeHistogram,
}

/// What is known of a way at one moment.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// The last checks with their ends, the latest one last; at most [`HISTORY`].
    pub history: VecDeque<(SystemTime, Check)>,
    /// When a check succeeded last.
    pub last_success: Option<SystemTime>,
    /// How many checks failed, by phase and reason.
    pub failures: Vec<((&'static str, &'static str), u64)>,
}

impl Health {
    /// The last check and its end; `None` before the first.
    pub fn last(&self) -> Option<&(SystemTime, Check)> {
        self.history.back()
    }

    /// Whether the last check succeeded; not before the first (W-36).
    pub fn is_good(&self) -> bool {
        self.last().is_some_and(|(_, check)| check.failure.is_none())
    }
}

impl RouteHealth {
    /// What is known now.
    pub fn health(&self) -> Health {
        self.cell().clone()
    }

    /// Takes down a check that has ended now.
    pub fn record(&self, check: Check) {
        for (histogram, took) in [(&self.tcp, check.tcp), (&self.connect, check.connect)] {
            if let Some(took) = took.filter(|took| *took >= PHASE_MIN) {
                histogram.observe(took);
            }
        }
        let mut health = self.cell();
        let now = SystemTime::now();
        match check.failure {
            None => health.last_success = Some(now),
            Some(failure) => match health.failures.iter_mut().find(|(f, _)| *f == failure) {
                Some((_, count)) => *count += 1,
                None => health.failures.push((failure, 1)),
            },
        }
        if health.history.len() == HISTORY {
            health.history.pop_front();
        }
        health.history.push_back((now, check));
    }

    fn cell(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unpoisoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: Option<(&'static str, &'static str)>, status: u16) -> Check {
        Check { tcp: None, connect: None, failure, status: Some(status) }
    }

    #[test] // W-36, W-37
    fn the_last_checks_are_kept_and_the_last_one_decides() {
        let route = RouteHealth::default();
        assert!(!route.health().is_good(), "before the first check");
        route.record(check(None, 200));
        for status in 500..500 + HISTORY as u16 {
            route.record(check(Some(("connect", "bad_status")), status));
        }
        let health = route.health();
        assert!(!health.is_good() && health.last_success.is_some());
        assert_eq!(health.failures, [(("connect", "bad_status"), HISTORY as u64)]);
        let kept: Vec<_> = health.history.iter().filter_map(|(_, check)| check.status).collect();
        assert_eq!(kept, (500..500 + HISTORY as u16).collect::<Vec<_>>());
        route.record(check(None, 200));
        assert!(route.health().is_good());
    }
}

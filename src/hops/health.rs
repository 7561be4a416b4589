//! The health check of a proxy, and the results of the last checks (wire-36, wire-37).
//!
//! The timer thread of `daemon` makes the checks and records them; the page, the metrics and the
//! readiness of `daemon` read them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::net::{Cancel, NetError, NetErrorKind, Proxy};
use crate::stats::TimeHistogram;
use crate::unpoisoned::Unpoisoned;

/// How long each half of a check may take (wire-37).
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// The number of checks that are kept (operations.md, section 2.2).
pub const HISTORY: usize = 10;

/// A shorter phase is not counted (operations.md, section 4).
const PHASE_MIN: Duration = Duration::from_millis(1);

/// The result of a check (wire-37).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// How long the dial took, if it succeeded.
    pub tcp: Option<Duration>,
    /// How long the rest took, if the proxy answered.
    pub connect: Option<Duration>,
    /// The phase and the reason of a failure.
    pub failure: Option<(&'static str, &'static str)>,
    /// The status of the answer to CONNECT.
    pub status: Option<u16>,
}

impl Check {
    /// Checks a proxy: asks it for a tunnel to a target and closes the tunnel again.
    pub fn of(proxy: &Proxy, host: &str, port: u16, cancel: &Cancel) -> Self {
        let began = Instant::now();
        let dialled = match proxy.dial(began + CHECK_LIMIT, cancel) {
            Ok(dialled) => dialled,
            Err(error) => {
                return Self {
                    failure: Some(("tcp", reason(&error, "dial_error"))),
                    ..Self::default()
                };
            }
        };
        let (tcp, began) = (Some(began.elapsed()), Instant::now());
        match dialled.ask(host, port, began + CHECK_LIMIT) {
            Ok(status) => {
                let is_open = (200..=299).contains(&status);
                let failure = (!is_open).then_some(("connect", "bad_status"));
                Self { tcp, connect: Some(began.elapsed()), failure, status: Some(status) }
            }
            Err(error) => {
                let failure = Some(("connect", reason(&error, "connect_error")));
                Self { tcp, connect: None, failure, status: None }
            }
        }
    }

    /// The fault of the proxy, in words; `None` if it opened a tunnel.
    pub fn complaint(&self) -> Option<String> {
        let (phase, reason) = self.failure?;
        Some(match (phase, reason, self.status) {
            ("tcp", "timeout", _) => "it takes no connection in time".to_owned(),
            ("tcp", ..) => "no connection to it is possible".to_owned(),
            (_, _, Some(407)) => "it wants other credentials (status 407)".to_owned(),
            (_, _, Some(status)) => format!("it refuses to open a way (status {status})"),
            (_, "timeout", _) => "it does not answer".to_owned(),
            _ => "it does not answer as a proxy does".to_owned(),
        })
    }
}

fn reason(error: &NetError, other: &'static str) -> &'static str {
    if error.kind == NetErrorKind::TimedOut { "timeout" } else { other }
}

/// The checks of one route.
#[derive(Debug, Default)]
pub struct RouteHealth {
    health: Mutex<Health>,
    /// How long successful dials took.
    pub tcp: TimeHistogram,
    /// How long the rest took.
    pub connect: TimeHistogram,
}

/// The state of a route at one moment.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// The last checks and when they ended, the latest one last; at most [`HISTORY`].
    pub history: VecDeque<(SystemTime, Check)>,
    /// The time of the last success.
    pub last_success: Option<SystemTime>,
    /// The number of failed checks, by phase and reason.
    pub failures: Vec<((&'static str, &'static str), u64)>,
}

impl Health {
    /// The last check and the time at which it ended; `None` before the first.
    pub fn last(&self) -> Option<&(SystemTime, Check)> {
        self.history.back()
    }

    /// True if the last check succeeded; false before the first (wire-36).
    pub fn is_good(&self) -> bool {
        self.last().is_some_and(|(_, check)| check.failure.is_none())
    }
}

impl RouteHealth {
    /// The present state.
    pub fn health(&self) -> Health {
        self.cell().clone()
    }

    /// Records a check that has ended now.
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

    #[test] // wire-36, wire-37
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

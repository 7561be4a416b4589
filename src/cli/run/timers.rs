//! The thread for what is done from time to time: looking at files, trying proxies out, warning
//! of certificates that expire.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use super::reload::Reloader;
use crate::cli::edges::{Edges, certificates, expiry_warning};
use crate::net::Cancel;
use crate::net::proxy::Check;
use crate::stats::TimeHistogram;

/// How often the files of secrets and certificates are looked at; it costs a `stat` of each.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A phase that is over sooner is not counted (operations.md, section 4).
const PHASE_MIN: Duration = Duration::from_millis(1);
/// How often a certificate that expires is told again.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the checks of the proxies found, by the order of [`Edges::ways`].
#[derive(Debug)]
pub struct ProxyHealth(Vec<Route>);

/// The checks of one way.
#[derive(Debug, Default)]
pub struct Route {
    health: Mutex<Health>,
    /// How long dials took that came about.
    pub tcp: TimeHistogram,
    /// How long the rest took.
    pub connect: TimeHistogram,
}

impl Route {
    /// What is known now.
    pub fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    fn record(&self, check: Check) {
        for (histogram, took) in [(&self.tcp, check.tcp), (&self.connect, check.connect)] {
            if let Some(took) = took.filter(|took| *took >= PHASE_MIN) {
                histogram.observe(took);
            }
        }
        let mut health = lock(&self.health);
        let now = SystemTime::now();
        match check.failure {
            None => health.last_success = Some(now),
            Some(failure) => match health.failures.iter_mut().find(|(f, _)| *f == failure) {
                Some((_, count)) => *count += 1,
                None => health.failures.push((failure, 1)),
            },
        }
        health.last = Some((now, check));
    }
}

/// One proxied route (W-36).
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// The last check; `None` before the first.
    pub last: Option<(SystemTime, Check)>,
    /// The last check that succeeded.
    pub last_success: Option<SystemTime>,
    /// How many checks failed, by phase and reason.
    pub failures: Vec<((&'static str, &'static str), u64)>,
}

impl ProxyHealth {
    /// Nothing is known yet.
    pub fn new(edges: &Edges) -> Self {
        Self(edges.ways().map(|_| Route::default()).collect())
    }

    /// Those of all ways, in the order of [`Edges::ways`].
    pub fn routes(&self) -> &[Route] {
        &self.0
    }
}

fn lock<T>(cell: &Mutex<T>) -> MutexGuard<'_, T> {
    cell.lock().unwrap_or_else(|e| e.into_inner())
}

/// The thread's work.
pub struct Timers {
    /// Looks at files.
    pub reloader: Arc<Mutex<Reloader>>,
    /// The ways whose certificates and proxies are looked at.
    pub edges: Arc<Edges>,
    /// Where the checks of the proxies go.
    pub health: Arc<ProxyHealth>,
    /// How often proxies are tried out.
    pub check_interval: Duration,
}

impl Timers {
    /// Until `stop`.
    pub fn run(self, stop: &Cancel) {
        let start = Instant::now();
        let (mut look_at, mut check_at) = (start + LOOK_EVERY, start);
        let mut told = Vec::new();
        while !stop.is_cancelled() {
            let now = Instant::now();
            if look_at <= now {
                lock(&self.reloader).look();
                look_at = now + LOOK_EVERY;
            }
            if check_at <= now {
                self.check_proxies(stop);
                check_at = now + self.check_interval;
            }
            // The server's certificate is known from the first handshake on.
            self.warn(&mut told);
            // Woken early only by the stop.
            let _ = stop.channel().recv_deadline(look_at.min(check_at));
        }
    }

    fn check_proxies(&self, stop: &Cancel) {
        for (way, route) in self.edges.ways().zip(self.health.routes()) {
            let Some((proxy, _)) = &way.proxy else { continue };
            let before = route.health().last.map(|(_, check)| check.failure.is_some());
            let check = proxy.check(&way.target.host, way.target.port, stop);
            if stop.is_cancelled() {
                return;
            }
            match check.failure {
                Some((phase, reason)) if before != Some(true) => log::warn!(
                    proxy = proxy.url(), phase, reason, status = check.status;
                    "the proxy does not open a way to {}", way.target.origin()
                ),
                None if before == Some(true) => {
                    log::info!(proxy = proxy.url(); "the proxy opens a way again");
                }
                _ => {}
            }
            route.record(check);
        }
    }

    fn warn(&self, told: &mut Vec<(Instant, String)>) {
        told.retain(|(at, _)| at.elapsed() < WARN_EVERY);
        for way in self.edges.ways() {
            for (whose, facts) in certificates(way) {
                let Some(line) = expiry_warning(whose, &facts) else { continue };
                let line = format!("{}: {line}", way.name);
                if !told.iter().any(|(_, earlier)| *earlier == line) {
                    log::warn!("{line}");
                    told.push((Instant::now(), line));
                }
            }
        }
    }
}

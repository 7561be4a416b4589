//! The thread for periodic work: it checks files for changes, tries the proxies, and warns about
//! certificates that expire.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::reload::Reloader;
use super::shared::ProxyHealth;
use crate::hops::health::{Check, RouteHealth};
use crate::hops::{Hop, Hops, certificates};
use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;

/// How often the files of secrets and certificates are checked; each check costs a `stat` per file.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the warning about an expiring certificate is repeated.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

fn lock<T>(cell: &Mutex<T>) -> MutexGuard<'_, T> {
    cell.lock().unpoisoned()
}

/// The thread's work.
pub struct Timers {
    /// The check of files.
    pub reloader: Arc<Mutex<Reloader>>,
    /// The hops whose certificates and proxies are checked.
    pub hops: Arc<Hops>,
    /// The place for the results of the proxy checks.
    pub health: Arc<ProxyHealth>,
    /// How often proxies are tried.
    pub check_interval: Duration,
}

impl Timers {
    /// Works until `stop`.
    pub fn run(self, stop: &Cancel) {
        let start = Instant::now();
        let (mut look_at, mut check_at) = (start + LOOK_EVERY, start);
        let (mut told, mut unchecked) = (Vec::new(), VecDeque::new());
        while !stop.is_cancelled() {
            let now = Instant::now();
            if look_at <= now {
                lock(&self.reloader).look();
                look_at = now + LOOK_EVERY;
            }
            if check_at <= now && unchecked.is_empty() {
                unchecked = self.hops.all().zip(self.health.routes()).collect();
                check_at = now + self.check_interval;
            }
            // One at a time, so that dead proxies do not delay the check of files.
            if let Some((hop, route)) = unchecked.pop_front() {
                check(hop, route, stop);
            }
            // The server's certificate is known from the first handshake on.
            self.warn(&mut told);
            if unchecked.is_empty() {
                // Only the stop wakes it early.
                let _ = stop.channel().recv_deadline(look_at.min(check_at));
            }
        }
    }

    fn warn(&self, told: &mut Vec<(Instant, String)>) {
        told.retain(|(at, _)| at.elapsed() < WARN_EVERY);
        for hop in self.hops.all() {
            for (whose, facts) in certificates::of(hop) {
                let Some(line) = certificates::expiry_warning(whose, &facts) else { continue };
                let line = format!("{}: {line}", hop.name);
                if !told.iter().any(|(_, earlier)| *earlier == line) {
                    log::warn!("{line}");
                    told.push((Instant::now(), line));
                }
            }
        }
    }
}

/// Tries the proxy of one hop, if it has one.
fn check(hop: &Hop, route: &RouteHealth, stop: &Cancel) {
    let Some((proxy, _)) = &hop.proxy else { return };
    let failed_before = route.health().last().map(|(_, check)| check.failure.is_some());
    let check = Check::of(proxy, &hop.target.host, hop.target.port, stop);
    if stop.is_cancelled() {
        return;
    }
    let (proxy, target) = (proxy.url(), hop.target.origin());
    match check.complaint() {
        Some(complaint) if failed_before != Some(true) => {
            log::warn!("proxy {proxy} on the way to {target}: {complaint}");
        }
        None if failed_before == Some(true) => {
            log::info!("proxy {proxy} opens a way to {target} again");
        }
        _ => {}
    }
    route.record(check);
}

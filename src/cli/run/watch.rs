//! One thread that looks at the daemon once in a while: it tells the service manager how it is,
//! says in the log when readiness changes, and feeds the watchdog while something moves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::net::Cancel;
use crate::ops::listener::Standstill;
use crate::ops::readiness::Readiness;
use crate::ops::service_manager::ServiceManager;

/// How often readiness is looked at: how late its change is logged.
const LOOK: Duration = Duration::from_secs(1);

/// Since when the daemon has been ready, or not.
pub(super) struct Since(Mutex<(bool, Instant, SystemTime)>);

impl Since {
    pub(super) fn new() -> Self {
        Self(Mutex::new((false, Instant::now(), SystemTime::now())))
    }

    /// Whether this is a change.
    fn note(&self, ready: bool) -> bool {
        let mut since = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let changed = since.0 != ready;
        if changed {
            *since = (ready, Instant::now(), SystemTime::now());
        }
        changed
    }

    /// For how long, and since when.
    pub(super) fn get(&self) -> (Duration, SystemTime) {
        let since = self.0.lock().unwrap_or_else(|e| e.into_inner());
        (since.1.elapsed(), since.2)
    }
}

pub(super) struct Watch {
    pub(super) readiness: Arc<Readiness>,
    pub(super) standstill: Standstill,
    pub(super) started: Box<dyn Fn() -> bool + Send>,
    pub(super) manager: Arc<ServiceManager>,
    pub(super) since: Arc<Since>,
    /// Ends it.
    pub(super) end: Cancel,
}

impl Watch {
    pub(super) fn run(self) {
        let pause = self.manager.watchdog().map_or(LOOK, |usec| LOOK.min(usec / 3));
        let announced = AtomicBool::new(false);
        let mut told = String::new();
        let mut stood_still = None;
        loop {
            let report = self.readiness.report();
            if self.since.note(report.ready) && !self.readiness.is_draining() {
                if report.ready {
                    log::info!("ready: commands are served");
                } else {
                    log::warn!("not ready: {}", report.line);
                }
            }
            if !announced.load(Ordering::Relaxed) && (self.started)() {
                // The start is complete when polls are made: a control plane that is down must
                // not make the service manager start us again and again.
                announced.store(true, Ordering::Relaxed);
                self.manager.ready(&report.line);
            }
            if told != report.line && !self.readiness.is_draining() {
                self.manager.status(&report.line);
                told.clone_from(&report.line);
            }
            let standstill = (self.standstill)();
            match &standstill {
                None => self.manager.alive(),
                Some(why) if stood_still != standstill => {
                    log::error!("nothing moves any more: {why}");
                }
                Some(_) => {}
            }
            stood_still = standstill;
            let _ = self.end.channel().recv_timeout(pause);
            if self.end.is_cancelled() {
                return;
            }
        }
    }
}

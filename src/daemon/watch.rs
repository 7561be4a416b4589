//! One thread that looks at the daemon once in a while: it tells the service manager how it is,
//! says in the log when readiness changes, and feeds the watchdog while something moves.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::net::Cancel;
use crate::ops::listener::Standstill;
use crate::ops::log::Logger;
use crate::ops::readiness::{Readiness, Report, Verdict};
use crate::ops::service_manager::ServiceManager;
use crate::unpoisoned::Unpoisoned;

/// How often readiness is looked at: how late its change is logged.
const LOOK: Duration = Duration::from_secs(1);
/// How long a start may take to become ready before the log says what it waits for.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// What to do about a tunnel that is not ready.
const NEXT: &str = "`mcp-tunnel doctor` tries each step of the way and says what to do";

/// Since when the daemon has been ready, or not.
pub(super) struct Since(Mutex<(bool, Instant, SystemTime)>);

impl Since {
    pub(super) fn new() -> Self {
        Self(Mutex::new((false, Instant::now(), SystemTime::now())))
    }

    /// After a change: how long the state before it lasted.
    fn note(&self, ready: bool) -> Option<Duration> {
        let mut since = self.0.lock().unpoisoned();
        let lasted = (since.0 != ready).then(|| since.1.elapsed());
        if lasted.is_some() {
            *since = (ready, Instant::now(), SystemTime::now());
        }
        lasted
    }

    /// For how long, and since when.
    pub(super) fn get(&self) -> (Duration, SystemTime) {
        let since = self.0.lock().unpoisoned();
        (since.1.elapsed(), since.2)
    }
}

pub(super) struct Watch {
    pub(super) readiness: Arc<Readiness>,
    pub(super) standstill: Standstill,
    pub(super) started: Box<dyn Fn() -> bool + Send>,
    pub(super) manager: Arc<ServiceManager>,
    pub(super) since: Arc<Since>,
    /// Counts of repeated lines are written at each look.
    pub(super) logger: &'static Logger,
    /// Ends it.
    pub(super) end: Cancel,
}

/// What the log says of readiness: each change, and what is waited for meanwhile.
#[derive(Default)]
struct Told {
    was_ready: bool,
    /// The condition that was given as the reason last.
    reason: Option<String>,
}

impl Told {
    fn look(&mut self, report: &Report, since: &Since) {
        let lasted = since.note(report.ready);
        if report.ready {
            match lasted {
                Some(down) if self.was_ready => {
                    log::info!("ready again after {} s: commands are served", down.as_secs());
                }
                Some(_) => log::info!("ready: commands are served"),
                None => {}
            }
            self.was_ready = true;
            self.reason = None;
            return;
        }
        if !self.was_ready && since.get().0 < START_PATIENCE {
            return;
        }
        let failed = report.conditions.iter().find(|c| matches!(c.verdict, Verdict::NotReady(_)));
        let reason = failed.map(|condition| condition.name.clone());
        if self.reason != reason {
            let state = match (lasted, self.was_ready) {
                (Some(_), _) => "not ready",
                (None, true) => "still not ready",
                (None, false) => "not ready yet",
            };
            log::warn!("{state}: {} ({NEXT})", report.line);
            self.reason = reason;
        }
    }
}

impl Watch {
    pub(super) fn run(self) {
        let pause = self.manager.watchdog().map_or(LOOK, |usec| LOOK.min(usec / 3));
        let mut announced = false;
        let mut told = Told::default();
        let mut status = String::new();
        let mut stood_still = false;
        loop {
            let report = self.readiness.report();
            let draining = self.readiness.is_draining();
            if !draining {
                told.look(&report, &self.since);
            }
            if !announced && (self.started)() {
                // The start is complete when polls are made: a control plane that is down must
                // not make the service manager start us again and again.
                announced = true;
                self.manager.ready(&report.line);
            }
            if status != report.line && !draining {
                self.manager.status(&report.line);
                status.clone_from(&report.line);
            }
            let standstill = (self.standstill)();
            match &standstill {
                None => self.manager.alive(),
                // The service manager does it if it has a watchdog.
                Some(why) if !stood_still => {
                    log::error!("no progress: {why}; only a restart of the daemon helps");
                }
                Some(_) => {}
            }
            stood_still = standstill.is_some();
            self.logger.write_due();
            let _ = self.end.channel().recv_timeout(pause);
            if self.end.is_cancelled() {
                return;
            }
        }
    }
}

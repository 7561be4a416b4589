//! A thread that checks the daemon about once a second: it reports the state to the service
//! manager, logs changes of readiness, and feeds the watchdog while nothing is stuck.

use std::sync::Arc;
use std::time::Duration;

use super::page::Shown;
use super::since::Since;
use crate::net::Cancel;
use crate::ops::readiness::{Report, Verdict};
use crate::ops::service_manager::ServiceManager;

/// How often readiness is checked, which bounds how late a change is logged.
const LOOK: Duration = Duration::from_secs(1);
/// How long a start may take before the log says what it waits for.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// The advice for a tunnel that is not ready.
const NEXT: &str = "`mcp-tunnel doctor` tries each step of the way and says what to do";

pub(super) struct Watch {
    pub(super) shown: Shown,
    pub(super) manager: Arc<ServiceManager>,
    /// Ends it.
    pub(super) end: Cancel,
}

/// The part of readiness that the log has reported already.
#[derive(Default)]
struct Told {
    was_ready: bool,
    /// The condition that was last logged as the reason.
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
        let Shown { shared, readiness, since, .. } = &self.shown;
        let mut announced = false;
        let mut told = Told::default();
        let mut status = String::new();
        let mut stood_still = false;
        loop {
            let report = readiness.report();
            let draining = readiness.is_draining();
            if !draining {
                told.look(&report, since);
            }
            if !announced && shared.has_polled() {
                // The start is complete when polls are made: a control plane that is down must not
                // make the service manager restart us again and again.
                announced = true;
                self.manager.ready(&report.line);
            }
            if status != report.line && !draining {
                self.manager.status(&report.line);
                status.clone_from(&report.line);
            }
            let standstill = shared.standstill(draining);
            match &standstill {
                None => self.manager.alive(),
                // The service manager restarts it, if it has a watchdog.
                Some(why) if !stood_still => {
                    log::error!("no progress: {why}; only a restart of the daemon helps");
                }
                Some(_) => {}
            }
            stood_still = standstill.is_some();
            shared.logger.write_due();
            let _ = self.end.channel().recv_timeout(pause);
            if self.end.is_cancelled() {
                return;
            }
        }
    }
}

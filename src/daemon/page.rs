//! The data behind the health listener and the operator page.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::shared::Shared;
use super::since::Since;
use super::{metrics, system, views};
use crate::oauth::report::{self, Detail};
use crate::ops::api::Admin;
use crate::ops::listener::{Bound, Listener, Standstill, Views};
use crate::ops::readiness::Readiness;
use crate::ops::recent::Recent;
use crate::settings::{Config, Effective};

/// The data that is shown about the daemon.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) shared: Arc<Shared>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) since: Arc<Since>,
    pub(super) metadata: Arc<views::Metadata>,
    pub(super) recent: Arc<Recent>,
}

impl Shown {
    /// The check for anything that is stuck, for probes, page and watchdog.
    pub(super) fn standstill(&self) -> Standstill {
        let (shared, readiness) = (Arc::clone(&self.shared), Arc::clone(&self.readiness));
        Box::new(move || shared.standstill(readiness.is_draining()))
    }
}

/// Serves probes, metrics and the page. They are answered from the moment it returns.
///
/// # Errors
/// If the system refuses a thread.
pub(super) fn serve(
    bound: Bound,
    shown: &Shown,
    config: &Config,
    started: &[Effective],
    began: (Instant, SystemTime),
) -> Result<Listener, String> {
    if bound.is_open() {
        log::warn!(
            "other hosts can read probes and metrics, without a login: health.listen_addr is not \
             an address of the loopback"
        );
    }
    let admin = admin(shown, config, started, began, bound.url());
    let polled = Arc::clone(&shown.shared);
    let listener = bound
        .serve(Views {
            readiness: Arc::clone(&shown.readiness),
            standstill: shown.standstill(),
            started: Box::new(move || polled.has_polled()),
            sources: metrics::sources(&shown.shared),
            admin: Some(admin),
        })
        .map_err(|e| format!("the health listener: {e}"))?;
    if config.admin_ui.allow_remote {
        log::warn!(
            "the operator page answers other hosts: there is no login (admin_ui.allow_remote)"
        );
    }
    Ok(listener)
}

fn admin(
    shown: &Shown,
    config: &Config,
    started: &[Effective],
    began: (Instant, SystemTime),
    health_url: &str,
) -> Admin {
    let shared = &shown.shared;
    let status = views::Status {
        config: config.without_secrets(),
        shared: Arc::clone(shared),
        readiness: Arc::clone(&shown.readiness),
        since: Arc::clone(&shown.since),
        standstill: shown.standstill(),
        metadata: Arc::clone(&shown.metadata),
        health_url: health_url.to_owned(),
        started: began,
    };
    let settings = views::settings(config, started);
    let (system_config, seen) = (config.without_secrets(), Arc::clone(shared));
    let (full, summary) = (Arc::clone(&shared.oauth), Arc::clone(&shared.oauth));
    Admin {
        logger: shared.logger,
        recent: Arc::clone(&shown.recent),
        status: Box::new(move || status.json()),
        system: Box::new(move || system::json(&system_config, &seen)),
        settings: Box::new(move || settings.clone()),
        oauth: Box::new(move || report::json(&full, Detail::Full)),
        oauth_summary: Box::new(move || report::json(&summary, Detail::Summary)),
        harpoon: views::harpoon(config),
        allow_remote: config.admin_ui.allow_remote,
        token: Arc::clone(&shared.token),
    }
}

//! The first state: opens and creates everything that confinement would forbid later. Everything
//! that can fail without the network fails here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::verdict;
use crate::confine;
use crate::control_plane::Access;
use crate::hops::certificates::shared_identity;
use crate::hops::{Hops, bindings, commands};
use crate::launcher;
use crate::net::Trust;
use crate::ops::audit::Audit;
use crate::ops::files::PidFile;
use crate::ops::listener::{Bound, Listen};
use crate::ops::log::{self as ops_log, Format, LogSettings, Logger};
use crate::ops::parent;
use crate::ops::service_manager::ServiceManager;
use crate::ops::signals::Signals;
use crate::random;
use crate::record_kind::RecordKind;
use crate::settings::config::{HealthListener, LogFormat};
use crate::settings::url::bracketed;
use crate::settings::{Config, Effective, Problem};

/// A daemon that has opened everything and has not yet given up the right to open more.
pub(super) struct Prepared<'a> {
    opened: Opened<'a>,
    launcher: Option<launcher::Prepared>,
}

/// The parts that the later states are built from.
pub(super) struct Opened<'a> {
    pub(super) config: &'a Config,
    /// The time at which the start began.
    pub(super) began: (Instant, SystemTime),
    pub(super) signals: Signals,
    pub(super) logger: &'static Logger,
    pub(super) manager: ServiceManager,
    pub(super) audit: Option<Arc<Audit>>,
    pub(super) hops: Arc<Hops>,
    pub(super) access: Arc<Access>,
    pub(super) bound: Bound,
    pub(super) pid_file: Option<PidFile>,
}

impl<'a> Prepared<'a> {
    /// Passes the verdict on the configuration ([`super::verdict`]), then opens what it names.
    ///
    /// # Errors
    /// All problems that the verdict finds, or the first file or socket that cannot be used after
    /// all.
    pub(super) fn open(config: &'a Config, effective: &[Effective]) -> Result<Self, Vec<Problem>> {
        let began = (Instant::now(), SystemTime::now());
        let hops = verdict::of(config, effective)?;
        Self::take(config, hops, began).map_err(|line| vec![Problem::general(line)])
    }

    /// The PID file comes last: it says that the daemon runs.
    fn take(config: &'a Config, hops: Hops, began: (Instant, SystemTime)) -> Result<Self, String> {
        let hops = Arc::new(hops);
        // Before this process gives up rights that a child may need.
        let launcher = commands::prepare(config)?;
        confine::no_core_file();
        parent::end_with_it()?;
        // Before any thread, so that no signal gets its default action.
        let signals = Signals::install().map_err(|e| format!("signals cannot be handled: {e}"))?;
        let instance_id = random::instance_id().map_err(|e| e.to_string())?;
        let logger = start_log(config, &instance_id)?;
        for warning in &config.warnings {
            log::warn!(target: RecordKind::Daemon.target(), "{warning}");
        }
        let manager = ServiceManager::of_environment().map_err(|e| {
            format!("the service manager named by NOTIFY_SOCKET cannot be reached: {e}")
        })?;
        let audit = config.log.audit_file.as_deref().map(open_audit).transpose()?;
        warn_of(config, &hops);
        let access = bindings::access(config, instance_id, hops.control_plane())?;
        let listen = listen(&config.health.listener);
        let bound =
            Bound::take(&listen, config.health.url_file.as_deref()).map_err(|e| e.to_string())?;
        let pid_file = config.process.pid_file.as_deref().map(write_pid).transpose()?;
        let opened = Opened {
            config,
            began,
            signals,
            logger,
            manager,
            audit,
            hops,
            access,
            bound,
            pid_file,
        };
        Ok(Self { opened, launcher })
    }

    /// Takes it apart for the next state.
    pub(super) fn into_parts(self) -> (Opened<'a>, Option<launcher::Prepared>) {
        (self.opened, self.launcher)
    }
}

fn start_log(config: &Config, instance_id: &str) -> Result<&'static Logger, String> {
    let format = match config.log.format {
        LogFormat::Plain => None,
        LogFormat::StructText => Some(Format::StructText),
        LogFormat::Json => Some(Format::Json),
    };
    ops_log::init(LogSettings {
        format,
        file: config.log.file.clone(),
        level: config.log.level,
        always: vec![
            ("client_instance_id", instance_id.to_owned()),
            ("tunnel_id", config.control_plane.tunnel_id.to_string()),
        ],
        ring: config.admin_ui.log_buffer_events,
    })
    .map_err(|e| match &config.log.file {
        Some(path) => format!("the log file {} cannot be opened: {e}", path.display()),
        None => format!("the log cannot be started: {e}"),
    })
}

fn open_audit(path: &Path) -> Result<Arc<Audit>, String> {
    let wrong = |e| format!("the audit trail {} cannot be opened: {e}", path.display());
    Audit::open(path).map(Arc::new).map_err(wrong)
}

fn warn_of(config: &Config, hops: &Hops) {
    for warning in hops.warnings() {
        log::warn!(target: RecordKind::Daemon.target(), "{warning}");
    }
    if let Some(why) = hops.trust().and_then(Trust::without_system) {
        log::warn!("{why}: only those of ca_bundle are believed");
    }
    if let Some((file, channel)) = shared_identity(config) {
        log::warn!(
            channel = channel.as_str();
            "both hops use {}: whoever verifies one could pass for this host on the other",
            file.display()
        );
    }
}

fn listen(listener: &HealthListener) -> Listen {
    match listener {
        HealthListener::Tcp { host, port } => Listen::Tcp(format!("{}:{port}", bracketed(host))),
        HealthListener::Unix(path) => Listen::Unix(path.clone()),
    }
}

fn write_pid(path: &Path) -> Result<PidFile, String> {
    PidFile::create(path).map_err(|e| format!("the PID file cannot be written: {e}"))
}

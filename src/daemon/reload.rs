//! Reads secrets and certificates again while the daemon runs: on SIGHUP, and when one of their
//! files has changed.
//!
//! If a new value cannot be used, the old one stays in use, and the log, a metric and the readiness
//! line report it. Calls in flight keep the old values; new requests and connections use the new
//! ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use log::LevelFilter;

use super::shared::{ReloadState, Shared};
use super::verdict;
use crate::control_plane::Access;
use crate::hops::{Hops, bindings};
use crate::mcp::Binding;
use crate::ops::api::Token;
use crate::ops::log::Logger;
use crate::secret::Secret;
use crate::settings::config::{Config, Target};
use crate::settings::{Effective, Id, Loaded, Setting};
use crate::unpoisoned::Unpoisoned;
use crate::wire::ChannelName;

/// The settings that a reload applies; all others need a restart.
const RELOADED: [Id; 6] = [
    Id::ApiKey,
    Id::ControlPlaneExtraHeaders,
    Id::McpExtraHeaders,
    Id::DiscoveryExtraHeaders,
    Id::AdminToken,
    Id::LogLevel,
];

/// Loads the configuration anew, from the same flags, environment and file.
pub type LoadAgain = Box<dyn Fn() -> Loaded + Send>;

/// Reads secrets, certificates and the log level again.
pub struct Reloader {
    again: LoadAgain,
    /// The settings that the daemon was started with.
    started: BTreeMap<Id, Option<String>>,
    /// The secret parts that are missing from their printable form.
    hidden: Vec<(Id, Secret)>,
    hops: Arc<Hops>,
    access: Arc<Access>,
    bindings: Vec<(ChannelName, Binding)>,
    token: Token,
    /// `log.level` as it was read last.
    level: LevelFilter,
    logger: &'static Logger,
    state: Arc<ReloadState>,
    files: Vec<(PathBuf, Stamp)>,
}

/// Inode, time of change in seconds and nanoseconds, and size: one of them changes when a file is
/// replaced or written.
type Stamp = Option<(u64, i64, i64, u64)>;

impl Reloader {
    /// Records when the files were last changed; reads nothing yet.
    pub fn new(config: &Config, started: &[Effective], again: LoadAgain, shared: &Shared) -> Self {
        Self {
            again,
            started: values(started),
            hidden: hidden(config),
            hops: Arc::clone(&shared.hops),
            access: Arc::clone(&shared.access),
            bindings: shared.bindings.clone(),
            token: Arc::clone(&shared.token),
            level: config.log.level,
            logger: shared.logger,
            state: Arc::clone(&shared.reload),
            files: stamped(files(config)),
        }
    }

    /// `log.level` as it was read last.
    pub fn level(&self) -> LevelFilter {
        self.level
    }

    /// Reloads if one of the files has changed.
    pub fn look(&mut self) {
        let changed = self.files.iter().find(|(path, before)| stamp(path) != *before);
        if let Some((path, _)) = changed {
            let path = path.display().to_string();
            self.reload(&format!("{path} has changed"));
        }
    }

    /// Reads everything again, and opens the log file anew.
    pub fn reload(&mut self, because: &str) {
        // Taken before the files are read, so that a change in the meantime is seen next time.
        self.files = stamped(self.files.drain(..).map(|(path, _)| path).collect());
        let mut wrong = Vec::new();
        if let Err(error) = self.logger.reopen() {
            wrong.push(format!("the log file cannot be opened anew: {error}"));
        }
        let loaded = (self.again)();
        let needs_restart = self.needs_restart(&loaded);
        match &loaded.config {
            Some(config) => {
                self.files = stamped(files(config));
                let unsupported = verdict::unsupported(config, &loaded.effective);
                match unsupported.is_empty() {
                    true => wrong.extend(self.renew(config).err()),
                    false => wrong.extend(unsupported.iter().map(ToString::to_string)),
                }
            }
            None => wrong.extend(loaded.problems.iter().map(ToString::to_string)),
        }
        for line in self.hops.reload() {
            if !wrong.contains(&line) {
                wrong.push(line);
            }
        }
        // Set before the count, so that the reason is there when the count is seen.
        self.state.complain(wrong.first().map(|line| format!("reload failed: {line}")));
        if wrong.is_empty() {
            self.state.done.inc();
            log::info!(
                "reloaded: {because}; key, token, headers, certificates and log file are read again"
            );
        } else {
            self.state.failed.inc();
            for line in &wrong {
                log::error!("reload: {line}; what was in use stays in use");
            }
        }
        if !needs_restart.is_empty() {
            log::warn!("settings have changed that need a restart: {}", needs_restart.join(", "));
        }
    }

    fn renew(&mut self, config: &Config) -> Result<(), String> {
        // A level that was switched at run time stays unless the setting has changed.
        if config.log.level != self.level {
            self.level = config.log.level;
            self.logger.set_level(self.level, "reload");
        }
        let control_plane = &config.control_plane;
        self.access
            .renew(&control_plane.api_key, &control_plane.extra_headers)
            .map_err(|e| e.to_string())?;
        *self.token.lock().unpoisoned() = config.admin_ui.token.clone();
        for (_, binding) in &self.bindings {
            if let Binding::Http(http) = binding {
                http.renew(bindings::mcp_headers(config)?);
            }
        }
        Ok(())
    }

    /// The settings that differ from those at the start and are not reloaded. A setting that could
    /// not be parsed is reported separately.
    fn needs_restart(&self, loaded: &Loaded) -> Vec<&'static str> {
        let shown = values(&loaded.effective).into_iter();
        let mut changed: BTreeSet<Id> = shown
            .filter(|(id, value)| self.started.get(id) != Some(value))
            .map(|(id, _)| id)
            .collect();
        let now = loaded.config.as_ref().map(hidden).unwrap_or_default();
        changed.extend(now.iter().filter(|one| !self.hidden.contains(one)).map(|(id, _)| *id));
        changed.retain(|id| !RELOADED.contains(id));
        changed.into_iter().map(|id| Setting::of(id).key).collect()
    }
}

/// The parts of settings that are not shown because they may be secrets.
fn hidden(config: &Config) -> Vec<(Id, Secret)> {
    let servers: Vec<_> = config
        .mcp
        .bindings
        .iter()
        .filter_map(|binding| match &binding.target {
            Target::Http(http) => Some(http),
            Target::Stdio { .. } => None,
        })
        .collect();
    let proxies = servers
        .iter()
        .filter_map(|http| http.http_proxy.as_ref())
        .chain(config.control_plane.http_proxy.as_ref())
        .filter_map(|proxy| Some((proxy.id, proxy.url.0.userinfo.clone()?)));
    let queries = servers.iter().map(|http| (Id::ServerUrls, Secret::new(http.url.full())));
    let token = config.admin_ui.token.clone().map(|token| (Id::AdminToken, token));
    proxies.chain(queries).chain(token).collect()
}

fn values(settings: &[Effective]) -> BTreeMap<Id, Option<String>> {
    settings.iter().map(|setting| (setting.id, setting.value.clone())).collect()
}

/// The files that are reloaded when they change. The configuration file is not among them: its
/// edits are applied when the operator asks for a reload.
fn files(config: &Config) -> Vec<PathBuf> {
    let mut identities = vec![config.control_plane.identity.as_ref()];
    identities.extend(config.mcp.bindings.iter().map(|binding| match &binding.target {
        Target::Http(http) => http.identity.as_ref(),
        Target::Stdio { .. } => None,
    }));
    let mut files: Vec<PathBuf> = config.ca_bundle.iter().cloned().collect();
    for identity in identities.into_iter().flatten() {
        files.extend([identity.cert.clone(), identity.key.clone()]);
    }
    files.extend(config.secret_files.iter().cloned());
    files.sort();
    files.dedup();
    files
}

fn stamped(files: Vec<PathBuf>) -> Vec<(PathBuf, Stamp)> {
    files.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
}

fn stamp(path: &PathBuf) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()))
}

//! `runtimes`: daemons of a user without a service manager, each with a profile of its own.
//!
//! The profile names the tunnel, the PID file, the URL file and the log; these files tell the rest.
//! Until there is a profile, [`records`] keeps the tunnel that was made for an alias. A host with
//! systemd needs none of this.

pub mod cleanup;
pub mod create;
pub mod records;

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{beside, profiles, state};
use crate::cli::{Invocation, NEGATIVE, complain, complain_about, fail, say};
use crate::daemon_client::is_ok;
use crate::settings::reference::{is_reference, text_of};
use crate::settings::samples::{self, Inputs, Sample};
use crate::settings::source::profile_dir;
use crate::settings::url::HttpUrl;
use crate::settings::{Env, Flags, Id, Setting, check_text, load, output};
use crate::wire::TunnelId;

/// How long a new daemon may take until it is live.
const START_LIMIT: Duration = Duration::from_secs(5);
/// How long a daemon may take to end: its grace period and a little more.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How often a state is polled whose changes are not announced.
const LOOK: Duration = Duration::from_millis(50);
/// Most bytes of the log's end that are shown.
const TAIL: usize = 2048;

/// Variables that would override the profile.
const OVERRIDES: [Id; 9] = [
    Id::ConfigFile,
    Id::Profile,
    Id::ProfileFile,
    Id::TunnelId,
    Id::ServerUrls,
    Id::Commands,
    Id::HealthListenAddr,
    Id::HealthUrlFile,
    Id::PidFile,
];

/// One daemon, as its profile describes it.
struct Runtime {
    alias: String,
    profile: PathBuf,
    tunnel_id: String,
    url_file: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    log_file: Option<PathBuf>,
}

/// The state of a daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Stopped,
    Starting,
    Healthy,
    Ready,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Ready => "ready",
        }
    }
}

impl Runtime {
    /// An alias with a tunnel and no profile yet.
    fn named(alias: &str, profile: &Path) -> Self {
        Self {
            alias: alias.to_owned(),
            profile: profile.to_owned(),
            tunnel_id: String::new(),
            url_file: None,
            pid_file: None,
            log_file: None,
        }
    }

    /// Reads the settings of a profile that lead to its daemon. References and other variables are
    /// not needed.
    fn of(alias: &str, profile: &Path) -> Option<Self> {
        let mut flags = Flags::default();
        let path = profile.to_str()?.to_owned();
        flags.add(Setting::of(Id::ConfigFile), "--config".to_owned(), true, path);
        let loaded = load(&flags, &Env::default());
        let value = |id| {
            let found = loaded.effective.iter().find(|e| e.id == id)?;
            found.value.clone()
        };
        let file = |id| value(id).map(PathBuf::from);
        Some(Self {
            tunnel_id: value(Id::TunnelId).unwrap_or_default(),
            url_file: file(Id::HealthUrlFile),
            pid_file: file(Id::PidFile),
            log_file: file(Id::LogFile),
            ..Self::named(alias, profile)
        })
    }

    /// The process, if it lives. A process ID that has been reused by another program is ignored.
    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.pid_file.as_ref()?).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let profile = self.profile.as_os_str().as_bytes();
        command.split(|byte| *byte == 0).any(|word| word == profile).then_some(pid)
    }

    fn url(&self) -> Option<String> {
        fs::read_to_string(self.url_file.as_ref()?).ok().map(|text| text.trim().to_owned())
    }

    fn state(&self) -> State {
        match (self.pid(), self.url()) {
            (None, _) => State::Stopped,
            (Some(_), None) => State::Starting,
            (Some(_), Some(url)) if is_ok(&url, "/readyz") => State::Ready,
            (Some(_), Some(url)) if is_ok(&url, "/healthz") => State::Healthy,
            (Some(_), Some(_)) => State::Starting,
        }
    }

    fn json(&self) -> Value {
        let state = self.state();
        json!({
            "alias": self.alias,
            "tunnel_id": self.tunnel_id,
            "runtime_state": state.word(),
            "running": state != State::Stopped,
            "healthy": matches!(state, State::Healthy | State::Ready),
            "ready": state == State::Ready,
            "mode": if state == State::Stopped { "stopped" } else { "process" },
            "pid": self.pid().map(|pid| pid.as_raw_nonzero().get()),
            "health_url": self.url(),
            "profile_path": self.profile.display().to_string(),
            "log_path": self.log_file.as_ref().map(|path| path.display().to_string()),
        })
    }

    fn line(&self) -> String {
        format!("{}\t{}\t{}\n", self.alias, self.state().word(), self.tunnel_id)
    }
}

/// Lower case; every run of other characters becomes one dash.
fn alias_of(text: &str) -> Result<String, String> {
    let dashed: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => Err(format!("`{text}` has no letter or digit to make an alias of")),
        parts => Ok(parts.join("-")),
    }
}

fn directory(invocation: &Invocation) -> Result<PathBuf, String> {
    profile_dir(invocation.last("profile-dir"), &Env::of_process())
}

/// The alias of a command that takes it as a word or as a flag.
fn alias_given(invocation: &Invocation) -> Result<String, String> {
    let alias = invocation.words.first().map(String::as_str).or(invocation.last("alias"));
    let name = invocation.command.name;
    alias_of(alias.ok_or_else(|| format!("`mcp-tunnel runtimes {name}` needs ALIAS"))?)
}

/// The daemon that the first word names: of a profile, or one whose tunnel was only created.
fn named(invocation: &Invocation) -> Result<Runtime, String> {
    let alias = alias_of(&invocation.words[0])?;
    let profile = directory(invocation)?.join(format!("{alias}.yaml"));
    let unknown = || format!("there is no profile {}", profile.display());
    if profile.exists() {
        return Runtime::of(&alias, &profile).ok_or_else(unknown);
    }
    let recorded = records::read(&state::root(&Env::of_process())?)?.aliases.remove(&alias);
    let tunnel_id = recorded.ok_or_else(unknown)?.tunnel_id;
    Ok(Runtime { tunnel_id, ..Runtime::named(&alias, &profile) })
}

/// The profiles that name a pid file, and the tunnels that have no profile yet.
fn all(invocation: &Invocation) -> Result<Vec<Runtime>, String> {
    let dir = directory(invocation)?;
    let profiles = profiles::existing(&dir)?;
    let mut runtimes: Vec<Runtime> = profiles
        .iter()
        .filter_map(|(name, path)| Runtime::of(name, path))
        .filter(|runtime| runtime.pid_file.is_some())
        .collect();
    for (alias, record) in records::read(&state::root(&Env::of_process())?)?.aliases {
        if profiles.iter().all(|(name, _)| *name != alias) {
            let none = Runtime::named(&alias, &dir.join(format!("{alias}.yaml")));
            runtimes.push(Runtime { tunnel_id: record.tunnel_id, ..none });
        }
    }
    runtimes.sort_by(|a, b| a.alias.cmp(&b.alias));
    Ok(runtimes)
}

/// `runtimes list`
pub fn list(invocation: &Invocation) -> ExitCode {
    let runtimes = match all(invocation) {
        Ok(runtimes) => runtimes,
        Err(wrong) => return fail(&wrong),
    };
    if invocation.is_on("json") {
        let rows: Vec<Value> = runtimes.iter().map(Runtime::json).collect();
        say(&format!("{:#}\n", json!({"aliases": rows})));
    } else {
        say(&runtimes.iter().map(Runtime::line).collect::<String>());
    }
    ExitCode::SUCCESS
}

/// `runtimes status ALIAS`
pub fn status(invocation: &Invocation) -> ExitCode {
    match named(invocation) {
        Ok(runtime) => {
            show(invocation, &runtime);
            ExitCode::SUCCESS
        }
        Err(wrong) => fail(&wrong),
    }
}

fn show(invocation: &Invocation, runtime: &Runtime) {
    if invocation.is_on("json") {
        say(&format!("{:#}\n", runtime.json()));
    } else {
        say(&runtime.line());
    }
}

/// `runtimes connect ALIAS`: writes the profile if there is none, and starts the daemon.
pub fn connect(invocation: &Invocation) -> ExitCode {
    let runtime = match prepared(invocation) {
        Ok(runtime) => runtime,
        Err(wrong) => return fail(&wrong),
    };
    if runtime.pid().is_none() {
        let started = start(&runtime).and_then(|child| wait_live(&runtime, child));
        if let Err(wrong) = started {
            complain(&wrong);
            if let Some(tail) = runtime.log_file.as_deref().and_then(tail_of) {
                complain(&format!("the end of its log:\n{tail}"));
            }
        }
    }
    show(invocation, &runtime);
    match runtime.state() {
        State::Healthy | State::Ready => ExitCode::SUCCESS,
        State::Starting | State::Stopped => ExitCode::from(NEGATIVE),
    }
}

fn prepared(invocation: &Invocation) -> Result<Runtime, String> {
    let alias = alias_given(invocation)?;
    let profile = directory(invocation)?.join(format!("{alias}.yaml"));
    let given = ["tunnel-id", "mcp-server-url", "mcp-command", "runtime-api-key"]
        .into_iter()
        .any(|flag| invocation.last(flag).is_some());
    let shown = profile.display().to_string();
    if profile.exists() && given && !invocation.is_on("force") {
        return Err(format!(
            "{shown} exists; leave the flags out to use it, or replace it with --force"
        ));
    }
    if !profile.exists() || given {
        let text = new_profile(invocation, &alias)?;
        let problems = check_text(&shown, &text);
        if !problems.is_empty() {
            complain_about(&problems);
            return Err("nothing was written".to_owned());
        }
        output::write(&profile, &text, invocation.is_on("force"))?;
    }
    let runtime = Runtime::of(&alias, &profile).filter(|runtime| runtime.pid_file.is_some());
    runtime.ok_or_else(|| format!("{shown} names no `process.pid_file`: it cannot be watched"))
}

fn new_profile(invocation: &Invocation, alias: &str) -> Result<String, String> {
    let env = Env::of_process();
    let root = state::root(&env)?;
    let recorded = records::read(&root)?.aliases.remove(alias);
    let recorded = recorded.as_ref().filter(|_| invocation.last("tunnel-id").is_none());
    let tunnel_id = invocation
        .last("tunnel-id")
        .or(recorded.map(|record| record.tunnel_id.as_str()))
        .or_else(|| env.non_blank("CONTROL_PLANE_TUNNEL_ID"))
        .ok_or("a new runtime needs --tunnel-id, or a tunnel from `runtimes create`")?;
    let tunnel_id: TunnelId =
        tunnel_id.parse().map_err(|e| format!("--tunnel-id: found `{tunnel_id}`; {e}"))?;
    let (server_url, command) = (invocation.last("mcp-server-url"), invocation.last("mcp-command"));
    refuse_secrets(server_url, command)?;
    let api_key = invocation.last("runtime-api-key").unwrap_or(samples::API_KEY);
    if !is_reference(api_key) {
        return Err("--runtime-api-key takes `env:NAME` or `file:PATH`".to_owned());
    }
    let of_env = |name| env.non_blank(name);
    let (base_url, url_path) = match recorded {
        Some(record) => {
            (record.control_plane_base_url.as_str(), record.control_plane_url_path.as_str())
        }
        None => (
            of_env("CONTROL_PLANE_BASE_URL").unwrap_or(samples::BASE_URL),
            of_env("CONTROL_PLANE_URL_PATH").unwrap_or(""),
        ),
    };
    let sample: &Sample = samples::find("sample_mcp_with_dcr").expect("it is in the table");
    let profile = sample.render(&Inputs {
        tunnel_id: tunnel_id.as_str(),
        base_url,
        url_path,
        api_key,
        health: "127.0.0.1:0",
        server_url,
        command,
        ..Inputs::default()
    })?;
    let in_root = |name: String| crate::wire::json::quote(&root.join(name).to_string_lossy());
    let with = |text: String, group: &str, line: String| {
        text.replacen(&format!("\n{group}:\n"), &format!("\n{group}:\n  {line}\n"), 1)
    };
    let url_file = in_root(format!("health/{alias}.url"));
    let log_file = in_root(format!("logs/{alias}.log"));
    let profile = with(profile, "health", format!("url_file: {url_file}"));
    let profile = with(profile, "log", format!("file: {log_file}"));
    let pid_file = in_root(format!("{alias}.pid"));
    Ok(format!("{profile}process:\n  pid_file: {pid_file}\n"))
}

/// A target is shown by `ps` and kept in the profile: no place for a secret.
fn refuse_secrets(server_url: Option<&str>, command: Option<&str>) -> Result<(), String> {
    const MARKS: [&str; 6] = ["token=", "secret=", "password=", "api_key=", "apikey=", "bearer "];
    let with_login = |url: &str| HttpUrl::parse(url).is_ok_and(|url| url.userinfo.is_some());
    let marked = |text: &str| MARKS.iter().any(|mark| text.to_lowercase().contains(mark));
    if server_url.is_some_and(|url| with_login(url) || marked(url)) || command.is_some_and(marked) {
        return Err("the MCP server's URL or command holds a secret: give headers in the profile \
                    as `mcp.extra_headers` with `env:` or `file:`"
            .to_owned());
    }
    Ok(())
}

/// Starts the daemon in a process group of its own, so that it outlives this terminal's Ctrl-C.
fn start(runtime: &Runtime) -> Result<Child, String> {
    let files = [&runtime.pid_file, &runtime.url_file, &runtime.log_file];
    for dir in files.into_iter().flatten().filter_map(|path| path.parent()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| format!("cannot make {}: {}", dir.display(), text_of(&e)))?;
    }
    // One that was left over would be taken for the new daemon's.
    if let Some(path) = &runtime.url_file {
        let _ = fs::remove_file(path);
    }
    let out = || -> Result<Stdio, String> {
        let Some(path) = &runtime.log_file else { return Ok(Stdio::null()) };
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        log.map(Stdio::from).map_err(|e| format!("cannot open {}: {}", path.display(), text_of(&e)))
    };
    let mut command = Command::new(beside::daemon()?);
    command.arg("run").arg("--config").arg(&runtime.profile);
    for name in OVERRIDES.iter().flat_map(|id| Setting::of(*id).env) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(out()?).stderr(out()?).process_group(0);
    command.spawn().map_err(|e| format!("the daemon cannot be started: {}", text_of(&e)))
}

/// Waits until the new daemon is live.
fn wait_live(runtime: &Runtime, mut child: Child) -> Result<(), String> {
    let limit = Instant::now() + START_LIMIT;
    loop {
        if matches!(runtime.state(), State::Healthy | State::Ready) {
            return Ok(());
        }
        match child.try_wait() {
            Ok(Some(status)) => return Err(format!("the daemon ended at once: {status}")),
            Ok(None) if Instant::now() < limit => thread::sleep(LOOK),
            Ok(None) => {
                return Err(format!("the daemon is not live after {} s", START_LIMIT.as_secs()));
            }
            Err(e) => return Err(text_of(&e)),
        }
    }
}

fn tail_of(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let tail = &bytes[bytes.len().saturating_sub(TAIL)..];
    Some(String::from_utf8_lossy(tail).trim_end().to_owned()).filter(|text| !text.is_empty())
}

/// `runtimes stop ALIAS`: SIGTERM, and a wait for the end.
pub fn stop(invocation: &Invocation) -> ExitCode {
    let runtime = match named(invocation) {
        Ok(runtime) => runtime,
        Err(wrong) => return fail(&wrong),
    };
    if let Some(pid) = runtime.pid() {
        if let Err(e) = kill_process(pid, Signal::TERM) {
            complain(&format!("{} cannot be stopped: {}", runtime.alias, text_of(&e.into())));
            return ExitCode::from(NEGATIVE);
        }
        let limit = Instant::now() + STOP_LIMIT;
        while runtime.pid().is_some() {
            if Instant::now() >= limit {
                complain(&format!("{} has not ended yet", runtime.alias));
                return ExitCode::from(NEGATIVE);
            }
            thread::sleep(LOOK);
        }
    }
    show(invocation, &runtime);
    ExitCode::SUCCESS
}

/// `runtimes rm ALIAS`: the profile and what its daemon has left; the tunnel itself stays.
pub fn remove(invocation: &Invocation) -> ExitCode {
    let runtime = match named(invocation) {
        Ok(runtime) => runtime,
        Err(wrong) => return fail(&wrong),
    };
    if runtime.pid_file.is_none() && runtime.profile.exists() {
        return fail(&format!(
            "{} is no runtime; `mcp-tunnel profiles rm` removes it",
            runtime.profile.display()
        ));
    }
    if runtime.pid().is_some() {
        return fail(&format!("{} is running: stop it first", runtime.alias));
    }
    let files = [Some(runtime.profile), runtime.url_file, runtime.log_file, runtime.pid_file];
    let mut removed = Vec::new();
    for path in files.into_iter().flatten() {
        match fs::remove_file(&path) {
            Ok(()) => removed.push(path.display().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return fail(&format!("cannot remove {}: {}", path.display(), text_of(&e))),
        }
    }
    let root = state::root(&Env::of_process());
    if let Err(wrong) = root.and_then(|root| records::forget(&root, &runtime.alias)) {
        return fail(&wrong);
    }
    if invocation.is_on("json") {
        let report = json!({
            "alias": runtime.alias,
            "removed": true,
            "removed_paths": removed,
            "tunnel_id": runtime.tunnel_id,
        });
        say(&format!("{report:#}\n"));
    } else {
        say(&removed.iter().map(|path| format!("removed {path}\n")).collect::<String>());
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // cli.md, 11.8
    fn an_alias_is_made_of_letters_digits_and_single_dashes() {
        assert_eq!(alias_of("My  Server_2!").unwrap(), "my-server-2");
        assert_eq!(alias_of("--a--").unwrap(), "a");
        assert!(alias_of("!?").is_err());
    }

    #[test] // cli.md, 11.8
    fn a_target_with_a_secret_is_refused() {
        assert!(refuse_secrets(Some("http://u:p@h/"), None).is_err());
        assert!(refuse_secrets(Some("http://h/?Token=x"), None).is_err());
        assert!(refuse_secrets(None, Some("srv --password=x")).is_err());
        assert!(refuse_secrets(Some("http://h/mcp"), Some("srv --stdio")).is_ok());
    }
}

//! `mcp-tunnel dev proxy`: a relay and a daemon of this host alone, for integration tests.
//!
//! Both are children, `mcp-tunnel-relay serve` and `mcp-tunnel run`, because this program holds
//! no relay. This process only starts them, says where they are, and takes them down.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::process::{Pid, Signal, kill_process};

use super::beside;
use crate::cli::{Invocation, fail, say};
use crate::daemon_client::{conditions, is_ok};
use crate::ops::parent;
use crate::ops::signals::{Event, Signals};
use crate::settings::reference::text_of;
use crate::settings::{Id, Setting, grammar};
use crate::wire::TunnelId;

/// The program that plays the control plane.
const RELAY: &str = "mcp-tunnel-relay";
/// Where both children find the runtime key of this run.
const KEY_VARIABLE: &str = "MCP_TUNNEL_DEV_PROXY_KEY";
/// The tunnel unless one is named.
const TUNNEL_ID: &str = "tunnel_22222222222222222222222222222222";
/// How often children and files are looked at; a test that waits for the URL does not notice.
const LOOK: Duration = Duration::from_millis(50);
/// How long a child may take to end after SIGTERM: more than the daemon needs to drain, kill its
/// own children and end its threads.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Stack of the thread that waits for signals, in bytes.
const STACK: usize = 128 * 1024;
/// Flags of settings that go to the daemon as they are.
pub const PASSED: [Id; 7] = [
    Id::ServerUrls,
    Id::Commands,
    Id::Profile,
    Id::ProfileFile,
    Id::ProfileDir,
    Id::HealthListenAddr,
    Id::HealthUrlFile,
];

/// Why a wait ended early.
enum Ended {
    /// A signal.
    Asked,
    /// Something went wrong.
    Failed(String),
}

/// The options of the command.
struct Options {
    listen: String,
    tunnel_id: TunnelId,
    /// `None`: until a signal.
    duration: Option<Duration>,
    readiness: Duration,
    response: Duration,
    last_seen: Duration,
}

/// Where everything is once it is ready.
struct Ready<'a> {
    tunnel_id: &'a TunnelId,
    relay: &'a str,
    health_url: &'a str,
}

/// A child in a process group of its own, so that Ctrl-C reaches it through this process alone.
/// It is killed when dropped, and ends on its own if this process is killed.
struct Part {
    name: &'static str,
    child: Child,
}

/// A directory for its owner alone, removed when dropped.
struct Scratch(PathBuf);

/// Runs both until a signal or the end of `--duration`.
pub fn dev_proxy(invocation: &Invocation) -> ExitCode {
    let result = options(invocation).and_then(|options| proxy(invocation, &options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => fail(&wrong),
    }
}

fn options(invocation: &Invocation) -> Result<Options, String> {
    match invocation.last("backend").unwrap_or("auto") {
        "auto" | "go" => {}
        other => return Err(format!("--backend: `{other}` is not built in; use `auto`")),
    }
    match invocation.last("engine-queue-backend").unwrap_or("inmem") {
        "inmem" => {}
        other => {
            return Err(format!("--engine-queue-backend: `{other}` is not built in; use `inmem`"));
        }
    }
    let listen = match (invocation.last("listen"), invocation.last("listen-unix-socket")) {
        (Some(_), Some(_)) => {
            return Err("--listen and --listen-unix-socket exclude each other: give one".to_owned());
        }
        (None, Some(path)) => format!("unix:{path}"),
        (address, None) => address.unwrap_or("127.0.0.1:0").to_owned(),
    };
    let tunnel_id = invocation.last("tunnel-id").unwrap_or(TUNNEL_ID);
    let tunnel_id =
        tunnel_id.parse().map_err(|e| format!("--tunnel-id: found `{tunnel_id}`; {e}"))?;
    let time = |flag: &str, default: &str| {
        let text = invocation.last(flag).unwrap_or(default);
        let ns = grammar::duration(text).map_err(|e| format!("--{flag}: {e}"))?;
        u64::try_from(ns)
            .map(Duration::from_nanos)
            .map_err(|_| format!("--{flag}: the duration must not be negative"))
    };
    Ok(Options {
        listen,
        tunnel_id,
        duration: Some(time("duration", "0s")?).filter(|duration| !duration.is_zero()),
        readiness: time("readiness-timeout", "10s")?,
        response: time("response-timeout", "30s")?,
        last_seen: time("client-last-seen-timeout", "20s")?,
    })
}

fn proxy(invocation: &Invocation, options: &Options) -> Result<(), String> {
    // Before the children, so that no signal leaves them behind.
    let signals = watch_signals()?;
    let key = crate::random::instance_id().map_err(|e| e.to_string())?;
    let scratch = Scratch::new()?;
    let limit = Instant::now() + options.readiness;
    let mut parts = Vec::new();
    let result = (|| {
        let url_file = scratch.0.join("relay");
        parts.push(start_relay(options, &key, &url_file)?);
        let relay = wait(&signals, &mut parts, Some(limit), || read(&url_file))?
            .ok_or("the relay does not listen in time (--readiness-timeout)")?;

        let health_file = match invocation.settings.last(Id::HealthUrlFile) {
            Some((path, _)) => PathBuf::from(path),
            None => scratch.0.join("health"),
        };
        // One that was left over would be taken for the new daemon's.
        let _ = fs::remove_file(&health_file);
        parts.push(start_daemon(invocation, options, &key, &relay, &health_file)?);
        let ready = || read(&health_file).filter(|base| is_ok(base, "/readyz"));
        let health_url = wait(&signals, &mut parts, Some(limit), ready)?.ok_or_else(|| {
            format!("the tunnel is not ready in time (--readiness-timeout){}", why(&health_file))
        })?;

        let ready = Ready { tunnel_id: &options.tunnel_id, relay: &relay, health_url: &health_url };
        let _url_file = invocation
            .last("url-file")
            .map(|path| OwnFile::create(Path::new(path), &ready.json()))
            .transpose()?;
        say(&if invocation.is_on("print-json") { ready.json() } else { ready.line() });
        let end = options.duration.and_then(|duration| Instant::now().checked_add(duration));
        wait(&signals, &mut parts, end, || None::<()>).map(|_| ())
    })();
    let down = match result {
        Ok(()) | Err(Ended::Asked) => Ok(()),
        Err(Ended::Failed(wrong)) => Err(wrong),
    };
    // The daemon first: it still has answers for the relay.
    while let Some(part) = parts.pop() {
        part.stop(&signals)?;
    }
    down
}

/// Hands signals that end it on: a closed terminal (SIGHUP) does as well. At most two count.
fn watch_signals() -> Result<Receiver<()>, String> {
    let mut signals = Signals::install().map_err(|e| format!("signals: {}", text_of(&e)))?;
    let (asked, asks) = bounded(2);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            loop {
                if matches!(signals.wait(), Event::Stop | Event::StopNow(_) | Event::Reload) {
                    let _ = asked.try_send(());
                }
            }
        })
        .map_err(|e| format!("a thread for signals: {}", text_of(&e)))?;
    Ok(asks)
}

/// The text of a URL file once it is there.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|url| !url.is_empty())
}

/// The first condition of readiness that does not hold, without its details in brackets.
fn why(health_file: &Path) -> String {
    let report = read(health_file).and_then(|base| conditions(&base)).unwrap_or_default();
    let first = report.lines().find_map(|line| line.strip_prefix("not ok "));
    first.map(|line| format!(": {}", line.split(" [").next().unwrap_or(line))).unwrap_or_default()
}

/// Waits for a state, `None` if it does not come in time.
fn wait<T>(
    signals: &Receiver<()>,
    parts: &mut [Part],
    limit: Option<Instant>,
    mut state: impl FnMut() -> Option<T>,
) -> Result<Option<T>, Ended> {
    loop {
        if let Some(value) = state() {
            return Ok(Some(value));
        }
        for part in parts.iter_mut() {
            if let Ok(Some(status)) = part.child.try_wait() {
                return Err(Ended::Failed(format!("{} ended by itself: {status}", part.name)));
            }
        }
        if limit.is_some_and(|limit| Instant::now() >= limit) {
            return Ok(None);
        }
        match signals.recv_timeout(LOOK) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(Ended::Asked),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

impl From<&str> for Ended {
    fn from(wrong: &str) -> Self {
        Self::Failed(wrong.to_owned())
    }
}

impl From<String> for Ended {
    fn from(wrong: String) -> Self {
        Self::Failed(wrong)
    }
}

fn start_relay(options: &Options, key: &str, url_file: &Path) -> Result<Part, String> {
    let beside = std::env::current_exe()
        .map(|exe| exe.with_file_name(RELAY))
        .ok()
        .filter(|path| path.is_file())
        .unwrap_or_else(|| RELAY.into());
    let ms = |time: Duration| format!("{}ms", time.as_millis());
    let mut command = Command::new(beside);
    command
        .args(["serve", "--listen", &options.listen])
        .args(["--tunnel-id", options.tunnel_id.as_str()])
        .args(["--runtime-key", &format!("env:{KEY_VARIABLE}")])
        .args(["--response-timeout", &ms(options.response)])
        .args(["--client-last-seen", &ms(options.last_seen)])
        // The daemon is gone by then and cannot answer any more.
        .args(["--drain-timeout", "1s", "--log-level", "warn"])
        .arg("--url-file")
        .arg(url_file)
        .env(KEY_VARIABLE, key)
        .stdout(Stdio::null());
    Part::start("the relay", command).map_err(|e| match e.kind() {
        ErrorKind::NotFound => {
            format!(
                "`{RELAY}` is neither beside this program nor on PATH; install it: it plays the \
                 control plane"
            )
        }
        _ => format!("`{RELAY}` cannot be started: {}", text_of(&e)),
    })
}

fn start_daemon(
    invocation: &Invocation,
    options: &Options,
    key: &str,
    relay: &str,
    health_file: &Path,
) -> Result<Part, String> {
    let mut command = Command::new(beside::daemon()?);
    command.arg("run");
    for id in PASSED {
        if let Some((values, flag)) = invocation.settings.all(id) {
            command.args(values.iter().map(|value| format!("{flag}={value}")));
        }
    }
    if invocation.settings.last(Id::HealthListenAddr).is_none() {
        command.arg("--health.listen-addr=127.0.0.1:0");
    }
    if invocation.settings.last(Id::HealthUrlFile).is_none() {
        command.arg(format!("--health.url-file={}", health_file.display()));
    }
    for name in Setting::of(Id::ControlPlaneUnixSocket).env {
        command.env_remove(name);
    }
    let base_url = match relay.strip_prefix("unix:") {
        Some(socket) => {
            command.arg(format!("--control-plane.unix-socket={socket}"));
            "http://localhost"
        }
        None => relay,
    };
    command
        .arg(format!("--control-plane.base-url={base_url}"))
        .arg("--control-plane.url-path=/")
        .arg(format!("--control-plane.tunnel-id={}", options.tunnel_id))
        .arg(format!("--control-plane.api-key=env:{KEY_VARIABLE}"))
        // Short polls: it is ready after the first one.
        .arg("--control-plane.poll-timeout=500ms")
        .arg("--control-plane.poll-deadline-guardrail=100ms")
        .env(KEY_VARIABLE, key)
        .stdout(Stdio::null());
    Part::start("the daemon", command)
        .map_err(|e| format!("the daemon cannot be started: {}", text_of(&e)))
}

impl Part {
    fn start(name: &'static str, mut command: Command) -> std::io::Result<Self> {
        // This is the main thread: the kernel tells the child when it is gone.
        let child = command
            .env(parent::VARIABLE, std::process::id().to_string())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { name, child })
    }

    /// SIGTERM, and a wait for the end; a signal while it takes its time makes it end at once.
    fn stop(mut self, signals: &Receiver<()>) -> Result<(), String> {
        self.terminate();
        let limit = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= limit {
                return Err(format!("{} did not end and was killed", self.name));
            }
            if signals.recv_timeout(LOOK).is_ok() {
                // The second one: it kills its own children before it ends.
                self.terminate();
            }
        }
        Ok(())
    }

    fn terminate(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Both do nothing if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Scratch {
    fn new() -> Result<Self, String> {
        let id = crate::random::instance_id().map_err(|e| e.to_string())?;
        let path = std::env::temp_dir().join(format!("mcp-tunnel-dev-{id}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| format!("cannot make {}: {}", path.display(), text_of(&e)))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `--url-file`, removed when dropped.
struct OwnFile(PathBuf);

impl OwnFile {
    /// Mode 0644 (cli.md, section 11.11), and never seen half written.
    fn create(path: &Path, text: &str) -> Result<Self, String> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        fs::write(&temporary, text)
            .and_then(|()| fs::set_permissions(&temporary, PermissionsExt::from_mode(0o644)))
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(|e| format!("--url-file {}: {}", path.display(), text_of(&e)))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Ready<'_> {
    fn path(&self) -> String {
        format!("/v1/mcp/{}", self.tunnel_id)
    }

    /// The MCP URL, or the socket and the path on it.
    fn line(&self) -> String {
        let between = if self.relay.starts_with("unix:") { " " } else { "" };
        format!("{}{between}{}\n", self.relay, self.path())
    }

    /// Relay and control plane are one listener here, so both have the same place.
    fn json(&self) -> String {
        let socket = self.relay.strip_prefix("unix:");
        let transport = if socket.is_some() { "unix" } else { "tcp" };
        let base_url = if socket.is_some() { "http://localhost" } else { self.relay };
        let json = serde_json::json!({
            "tunnel_id": self.tunnel_id.as_str(),
            "mcp_url": format!("{base_url}{}", self.path()),
            "mcp_transport": transport,
            "mcp_unix_socket": socket.unwrap_or_default(),
            "mcp_url_path": self.path(),
            "control_plane_base_url": base_url,
            "control_plane_transport": transport,
            "control_plane_unix_socket": socket.unwrap_or_default(),
            "health_url": self.health_url,
            // The name that callers know for the control plane in memory.
            "backend": "go",
        });
        format!("{json:#}\n")
    }
}

//! The real binaries, started with what a test says and nothing of the machine's environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::control_plane::{API_KEY, TUNNEL_ID};
use super::http::get;
use super::{ControlPlane, McpServer, PATIENCE, Program, Scratch, Signal, eventually, programs};

/// A command for one of the binaries of this crate, without inherited settings.
pub fn binary(path: &str) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("PATH", std::env::var("PATH").unwrap());
    command
}

/// The text of a URL file once it is there.
fn url_file(program: &mut Program, path: &Path) -> String {
    eventually("the URL file", || {
        if let Some(status) = program.has_ended() {
            program.exit();
            panic!("it ended instead of listening: {status}");
        }
        std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n') || !text.is_empty())
    })
    .trim()
    .to_owned()
}

/// `mcp-tunnel-relay serve` with one tunnel.
pub struct Relay {
    pub program: Program,
    pub url: String,
    _scratch: Scratch,
}

impl Relay {
    pub fn start() -> Relay {
        Relay::start_on(0)
    }

    /// On a given port: a relay that comes back where it was.
    pub fn start_on(port: u16) -> Relay {
        let scratch = Scratch::new();
        let url = scratch.path("url");
        let mut command = binary(programs::relay());
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .args(["--tunnel-id", TUNNEL_ID, "--runtime-key", "env:RELAY_RUNTIME_KEY"])
            .arg("--url-file")
            .arg(&url)
            .env("RELAY_RUNTIME_KEY", API_KEY);
        let mut program = Program::spawn(command);
        let url = url_file(&mut program, &url);
        Relay { program, url, _scratch: scratch }
    }

    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap()
    }

    /// Where an MCP client connects to.
    pub fn mcp_url(&self) -> String {
        format!("{}/v1/mcp/{TUNNEL_ID}", self.url.trim_end_matches('/'))
    }
}

/// `mcp-tunnel run` in the making: [`Tunnel::to`] a control plane, [`Settings::http`] or
/// [`Settings::stdio`], then [`Settings::start`] or [`Settings::spawn`].
pub struct Settings {
    command: Command,
    scratch: Scratch,
    url_file: PathBuf,
}

impl Settings {
    /// The private server is this Streamable HTTP endpoint.
    pub fn http(self, url: &str) -> Settings {
        self.env("MCP_SERVER_URL", url)
    }

    /// The private server is this command.
    pub fn stdio(self, command: &str) -> Settings {
        self.env("MCP_COMMAND", command)
    }

    pub fn env(mut self, name: &str, value: &str) -> Settings {
        self.command.env(name, value);
        self
    }

    pub fn without_env(mut self, name: &str) -> Settings {
        self.command.env_remove(name);
        self
    }

    pub fn arg(mut self, arg: &str) -> Settings {
        self.command.arg(arg);
        self
    }

    /// Has another command start it, which it takes the place of (`exec`). To be said last.
    pub fn started_by(self, mut starter: Command) -> Settings {
        starter.arg(self.command.get_program()).args(self.command.get_args()).env_clear();
        starter.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Settings { command: starter, ..self }
    }

    /// What `config check` says of the same settings: its exit code and its standard error.
    pub fn check(&self) -> (i32, String) {
        let mut command = binary(programs::tunnel());
        command.args(["config", "check"]).args(self.command.get_args().skip(1));
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut program = Program::spawn(command);
        (program.exit_code(), program.stderr())
    }

    /// Starts it, without waiting for anything: for settings it should refuse.
    pub fn spawn(self) -> Program {
        Program::spawn(self.command).with(self.scratch)
    }

    /// Starts it and waits until its health listener answers; it need not be ready.
    pub fn start(self) -> Tunnel {
        let mut program = Program::spawn(self.command);
        let health = url_file(&mut program, &self.url_file);
        Tunnel { program, health, _scratch: self.scratch }
    }

    /// Starts it and waits until it says that it is ready.
    pub fn start_ready(self) -> Tunnel {
        let tunnel = self.start();
        tunnel.wait_ready();
        tunnel
    }
}

/// A daemon between a scripted control plane and a scripted MCP server.
pub fn between() -> (ControlPlane, McpServer, Tunnel) {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    (control_plane, server, tunnel)
}

/// A running `mcp-tunnel run`.
pub struct Tunnel {
    pub program: Program,
    /// Base URL of the health listener.
    pub health: String,
    _scratch: Scratch,
}

impl Tunnel {
    /// Settings for a daemon of the control plane at `url`.
    pub fn to(url: &str) -> Settings {
        let scratch = Scratch::new();
        let url_file = scratch.path("health-url");
        let mut command = binary(programs::tunnel());
        command
            .arg("run")
            .env("HOME", scratch.path(""))
            .env("CONTROL_PLANE_BASE_URL", url)
            .env("CONTROL_PLANE_TUNNEL_ID", TUNNEL_ID)
            .env("CONTROL_PLANE_API_KEY", API_KEY)
            .env("HEALTH_LISTEN_ADDR", "127.0.0.1:0")
            .env("HEALTH_URL_FILE", &url_file)
            .env("LOG_LEVEL", "debug");
        Settings { command, scratch, url_file }
    }

    /// Status and body of a page of the health listener.
    pub fn page(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.health.trim_end_matches('/')))
            .unwrap_or_else(|| panic!("no answer to GET {path}"))
    }

    /// A page of JSON.
    pub fn json(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.page(path);
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {status} {e}: {body}"))
    }

    /// The value of a metric that has one, named with its labels as the page has them.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.page("/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no metric {name} in:\n{page}")).parse().unwrap()
    }

    /// Waits until a metric has this value.
    pub fn wait_metric(&self, name: &str, value: f64) {
        let what = format!("{name} to be {value}");
        eventually(&what, || (self.metric(name) == value).then_some(()));
    }

    /// Tells it to stop, and waits for its good end.
    pub fn stop(mut self) {
        self.program.signal(Signal::TERM);
        assert_eq!(self.program.exit_code(), 0);
    }

    pub fn wait_ready(&self) {
        self.wait_readiness("ready", |status, _| status == 200);
    }

    /// Waits until it is not ready, and gives the reason it states.
    pub fn wait_not_ready(&self, because: impl Fn(&str) -> bool) -> String {
        self.wait_readiness("unready for that reason", |status, why| status == 503 && because(why))
    }

    fn wait_readiness(&self, what: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let (status, body) = self.page("/readyz");
            if wanted(status, &body) {
                return body;
            }
            assert!(begin.elapsed() < PATIENCE, "in vain for {what}; /readyz is {status}: {body}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

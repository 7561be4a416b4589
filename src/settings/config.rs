//! The checked configuration that the daemon is built from.
//!
//! Every value here was parsed and bounded, and references were resolved. It need not be checked
//! again. Only [`super::load`] creates it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::table::Id;
use super::url::{HttpUrl, ProxyUrl};
use crate::secret::Secret;
use crate::wire::{ChannelName, TunnelId};

/// The configuration of `run`.
#[derive(Debug, Clone)]
pub struct Config {
    /// PEM file whose certificates are trusted in addition to those of the system, on every hop.
    pub ca_bundle: Option<PathBuf>,
    /// The outbound hop.
    pub control_plane: ControlPlane,
    /// The private hop.
    pub mcp: Mcp,
    /// Allowlisted outbound HTTP.
    pub harpoon: Harpoon,
    /// Where the log goes.
    pub log: Log,
    /// The listener for health, metrics and the operator page.
    pub health: Health,
    /// The process itself.
    pub process: Process,
    /// How often configured proxies are checked.
    pub proxy_check_interval: Duration,
    /// The operator page.
    pub admin_ui: AdminUi,
    /// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, for targets without a proxy of their own.
    pub ambient_proxy: AmbientProxy,
    /// Files that secrets were read from. They are read again when they change.
    pub secret_files: Vec<PathBuf>,
    /// Warnings, one line each, to be logged at start.
    pub warnings: Vec<String>,
}

impl Config {
    /// A copy for display: without key, headers and token.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        shown.control_plane.api_key = Secret::new(String::new());
        shown.control_plane.extra_headers.clear();
        shown.mcp.extra_headers.clear();
        shown.mcp.discovery_extra_headers.clear();
        shown.admin_ui.token = None;
        shown
    }
}

/// How to reach the control plane and who we are there.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Scheme, host and port; its path is not used (see `url_path`). Already switched to the
    /// client-certificate host if that applies (config-17).
    pub base_url: HttpUrl,
    /// Empty, or a cleaned path that starts with `/` and does not end with one.
    pub url_path: String,
    /// The tunnel that this daemon serves.
    pub tunnel_id: TunnelId,
    /// Value of `OpenAI-Organization`.
    pub organization_id: Option<String>,
    /// The runtime key.
    pub api_key: Secret,
    /// Client certificate and key for this hop.
    pub identity: Option<Identity>,
    /// Explicit proxy; without one [`Config::ambient_proxy`] applies.
    pub http_proxy: Option<ProxySetting>,
    /// A unix socket that every connection goes to, whatever the base URL says.
    pub unix_socket: Option<PathBuf>,
    /// Most commands that are polled and not yet being forwarded, 1 to 10000.
    pub max_inflight: usize,
    /// Number of polls kept open at the control plane, 1 to 4.
    pub polls_in_flight: usize,
    /// How long the control plane may hold a poll open.
    pub poll_timeout: Duration,
    /// Added to `poll_timeout` for the deadline of the poll's HTTP exchange.
    pub poll_deadline_guardrail: Duration,
    /// Channels to ask for, sorted; `None` sends no filter.
    pub poll_channels: Option<Vec<ChannelName>>,
    /// Sent with every control-plane request. Names in canonical spelling.
    pub extra_headers: HeaderMap,
}

/// Header names in canonical spelling with their values.
pub type HeaderMap = Vec<(String, Secret)>;

/// An explicit proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySetting {
    /// Its address, and our credentials there.
    pub url: ProxyUrl,
    /// The setting that named it.
    pub id: Id,
    /// The source of its URL, as the API shows it (wire-35): the flag, the variable or the key of
    /// the file, without dashes; `env:NAME` for a reference.
    pub source: String,
}

/// A client certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// The MCP servers and how to talk to them.
#[derive(Debug, Clone)]
pub struct Mcp {
    /// One server for each channel, in the order in which they were configured.
    pub bindings: Vec<Binding>,
    /// Variables that the commands get besides the usual ones; `PREFIX*` means all that begin so.
    pub pass_env: Vec<String>,
    /// True if the commands get the whole environment except our secrets.
    pub inherit_env: bool,
    /// Sent to the configured MCP origins; headers of the remote client override them.
    pub extra_headers: HeaderMap,
    /// Sent with discovery and probe requests; override `extra_headers` there.
    pub discovery_extra_headers: HeaderMap,
    /// How long to wait for the server at start before polling; zero does not wait.
    pub startup_wait: Duration,
    /// The longest that one call may hold a connection to the server.
    pub connection_max_ttl: Duration,
    /// Number of forwarding threads, at least 1.
    pub max_concurrent_requests: usize,
}

/// One channel and the server behind it.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The channel; each is bound once.
    pub channel: ChannelName,
    /// The server.
    pub target: Target,
}

/// A server to forward to.
#[derive(Debug, Clone)]
pub enum Target {
    /// Streamable HTTP.
    Http(Box<HttpTarget>),
    /// A child process that speaks on its standard streams. Never empty.
    Stdio {
        /// Program and arguments.
        argv: Vec<String>,
    },
}

/// A Streamable HTTP server.
#[derive(Debug, Clone)]
pub struct HttpTarget {
    /// Where it is; with a Unix socket still the source of the `Host` header and the path.
    pub url: HttpUrl,
    /// Connect here instead of to the URL's host. Never together with a proxy.
    pub unix_socket: Option<PathBuf>,
    /// The proxy of this entry, of the MCP side, or of everything, whichever is nearest.
    pub http_proxy: Option<ProxySetting>,
    /// Client certificate of this entry or of the MCP side.
    pub identity: Option<Identity>,
}

/// The allowlisted outbound HTTP server.
#[derive(Debug, Clone)]
pub struct Harpoon {
    /// The targets that may be called.
    pub targets: Vec<HarpoonTarget>,
    /// True if `http:` targets and redirects are allowed.
    pub allow_plaintext_http: bool,
    /// Longest answer that is handed back, 1 to 102400 bytes.
    pub max_response_bytes: usize,
    /// Most redirects that are followed, 0 to 5.
    pub max_redirects: usize,
    /// Explicit proxy for its targets.
    pub http_proxy: Option<ProxySetting>,
    /// True if `/harpoon/mcp` is served on the health listener.
    pub serve_http_streamable: bool,
    /// Host suffixes that OAuth discovery may register.
    pub hosts_include_suffix: Vec<String>,
    /// Case-insensitive patterns of hosts that OAuth discovery may register.
    pub hosts_include_regex: Vec<String>,
    /// True if loopback hosts may be registered.
    pub hosts_include_loopback: bool,
    /// True if hosts with private addresses may be registered.
    pub hosts_include_private: bool,
}

/// One allowlisted target.
#[derive(Debug, Clone)]
pub struct HarpoonTarget {
    /// Its name, unique.
    pub label: String,
    /// Its base URL.
    pub url: HttpUrl,
    /// Connect here instead of to the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// Told to the model.
    pub description: String,
}

/// The log.
#[derive(Debug, Clone)]
pub struct Log {
    /// The least important level that is written.
    pub level: log::LevelFilter,
    /// The format of a line.
    pub format: LogFormat,
    /// Appended to instead of a standard stream.
    pub file: Option<PathBuf>,
    /// Gets a line for each command.
    pub audit_file: Option<PathBuf>,
    /// True if whole HTTP messages are written, secrets included.
    pub http_raw_unsafe: bool,
}

/// The operator page.
#[derive(Debug, Clone)]
pub struct AdminUi {
    /// True if it answers peers that are not on this host.
    pub allow_remote: bool,
    /// The token that a request must carry to change anything.
    pub token: Option<Secret>,
    /// How many log records it keeps, 1 to 100000.
    pub log_buffer_events: usize,
}

/// The format of the log, which also decides where it goes if there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain lines, on stderr.
    Plain,
    /// `key=value` lines, on stdout.
    StructText,
    /// One JSON object for each line, on stdout.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::StructText => "struct-text",
            Self::Json => "json",
        })
    }
}

/// The health listener.
#[derive(Debug, Clone)]
pub struct Health {
    /// Where it listens.
    pub listener: HealthListener,
    /// File that gets the listener's base URL.
    pub url_file: Option<PathBuf>,
}

/// Where the health listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthListener {
    /// A TCP address. An empty host is every interface, port 0 is chosen by the kernel.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// The process.
#[derive(Debug, Clone)]
pub struct Process {
    /// File that gets the process id.
    pub pid_file: Option<PathBuf>,
    /// How long calls in flight may go on after SIGTERM or SIGINT.
    pub shutdown_grace: Duration,
    /// How far the daemon gives up rights that it does not need.
    pub confinement: Confinement,
}

/// How far the daemon gives up rights that it does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// As far as the kernel supports it.
    On,
    /// No.
    Off,
    /// Completely, or the daemon does not start.
    Require,
}

/// The standard proxy variables as they were found, upper case first.
#[derive(Debug, Clone, Default)]
pub struct AmbientProxy {
    /// `HTTP_PROXY` or `http_proxy`, whichever was found. May hold credentials.
    pub http: Option<(&'static str, Secret)>,
    /// `HTTPS_PROXY` or `https_proxy`. May hold credentials.
    pub https: Option<(&'static str, Secret)>,
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
    /// `REQUEST_METHOD` is set: `HTTP_PROXY` may come from a client.
    pub is_cgi: bool,
}

//! The command line of `mcp-tunnel-relay`, and the combinations of options that are refused.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::Arg::{Long, Short, Value};
use log::LevelFilter;

use crate::httpd::Bind;
use crate::secret::Secret;
use crate::wire::TunnelId;
use crate::wire::command::parse_timeout;

use super::Times;

/// The default address of the relay.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8765);
/// Shortest key that an operator may choose, in characters: long enough to be generated
/// and not remembered.
const MIN_KEY: usize = 32;
/// Longest tunnel budget: daemons give up a call after 10 minutes.
const MAX_RESPONSE_TIMEOUT: Duration = Duration::from_secs(600);

/// The text of `mcp-tunnel-relay --help`.
pub const HELP: &str = "\
mcp-tunnel-relay: a control plane for mcp-tunnel on your own host

  mcp-tunnel-relay serve [OPTIONS]

MCP clients post to /v1/mcp/TUNNEL_ID; tunnel daemons (mcp-tunnel or the
reference client) poll for their messages. Queues, keys and tunnels are kept in
memory and are lost when the process ends.

Example:
  mcp-tunnel-relay serve --dev

Listening:
  --listen ADDR            IP:PORT, localhost:PORT or unix:PATH
                           [127.0.0.1:8765]
  --behind-tls-proxy       a proxy in front speaks TLS: allow addresses other
                           than loopback; needs --public-url, and a connector
                           key for every tunnel
  --public-url URL         URL at which clients reach the relay, such as
                           https://relay.example
  --allowed-host HOST      accept this value of `Host` too (repeatable)
  --allowed-origin ORIGIN  origin of web pages that may call, such as
                           https://app.example (repeatable)
  --url-file PATH          write the URL to this file while listening

Tunnels and keys (a key is env:NAME or file:PATH, of at least 32 characters):
  --tunnel-id ID           a tunnel; the three options below belong to the last
                           one named
    --runtime-key KEY        key of its daemon (repeatable)
    --connector-key KEY      key of its MCP clients, sent in the header
                             X-Tunnel-Connector-Key or as bearer token
                             (repeatable); without one, every local process may
                             call
    --name TEXT              a name for the daemon's log
  --admin-key KEY          key that opens /v1/tunnels and /relay/v1/keys, on
                           loopback only
  --dev                    create a tunnel and a runtime key, and print how to
                           use them

Times (digits and a unit: 500ms, 30s, 5m):
  --response-timeout D     time that a daemon has to answer       [30s]
  --pickup-timeout D       how long a command waits for a daemon  [10s]
  --deliver-grace D        extra time for the answer's way back   [2s]
  --client-last-seen D     silence after which a daemon is gone   [20s]
  --warm-up D              time for daemons to connect at start   [3s]
  --sse-commit-after D     open the event stream without news     [25s]
  --sse-keepalive D        interval of comments on quiet streams  [15s]
  --drain-timeout D        time for calls to end after SIGTERM    [35s]

Other:
  --log-level LEVEL        error, warn, info or debug             [info]
  --no-confinement         keep rights that the relay does not need
  -h, --help    -V, --version

/healthz, /readyz and /metrics are served on the same listener.

Not supported in this version: TLS (use a proxy), a state directory, several
relays for one tunnel, rate limits, resuming event streams.
";

/// The request that the command line makes.
#[derive(Debug)]
pub enum Command {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Serve.
    Serve(Box<Config>),
}

/// The configuration of one relay.
#[derive(Debug)]
pub struct Config {
    /// The address to listen on.
    pub listen: Bind,
    /// True if a proxy in front of the relay speaks TLS.
    pub behind_tls_proxy: bool,
    /// The URL at which clients reach the relay.
    pub public_url: Option<String>,
    /// Further hosts that clients may name.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may talk to the relay.
    pub allowed_origins: Vec<String>,
    /// The file that gets the URL.
    pub url_file: Option<PathBuf>,
    /// The tunnels.
    pub tunnels: Vec<TunnelConfig>,
    /// The key of the operator.
    pub admin_key: Option<Secret>,
    /// True if to create a tunnel for a trial.
    pub dev: bool,
    /// All time limits.
    pub times: Times,
    /// How much to log.
    pub log_level: LevelFilter,
    /// True if it gives up rights that it does not need.
    pub confinement: bool,
}

/// One tunnel.
#[derive(Debug)]
pub struct TunnelConfig {
    /// Its id.
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// Keys of its daemons.
    pub runtime_keys: Vec<Secret>,
    /// Keys of its MCP clients.
    pub connector_keys: Vec<Secret>,
}

/// Reads the arguments (without the program's name).
///
/// # Errors
/// One line: the problem and its correction.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    match parser.next().map_err(|e| e.to_string())? {
        None | Some(Short('h') | Long("help")) => return Ok(Command::Help),
        Some(Short('V') | Long("version")) => return Ok(Command::Version),
        Some(Value(command)) if command == "serve" => {}
        Some(Value(other)) => {
            return Err(format!("unknown command {other:?} (the only one is `serve`)"));
        }
        Some(other) => {
            let shown = other.unexpected();
            return Err(format!("{shown}: the command `serve` comes first, see --help"));
        }
    }
    let mut config = Config {
        listen: Bind::Tcp(DEFAULT_LISTEN),
        behind_tls_proxy: false,
        public_url: None,
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
        url_file: None,
        tunnels: Vec::new(),
        admin_key: None,
        dev: false,
        times: Times::default(),
        log_level: LevelFilter::Info,
        confinement: true,
    };
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        let Long(name) = arg else {
            return match arg {
                Short('h') => Ok(Command::Help),
                Short('V') => Ok(Command::Version),
                other => Err(other.unexpected().to_string()),
            };
        };
        let name = name.to_owned();
        match name.as_str() {
            "help" => return Ok(Command::Help),
            "version" => return Ok(Command::Version),
            "dev" => config.dev = true,
            "behind-tls-proxy" => config.behind_tls_proxy = true,
            "no-confinement" => config.confinement = false,
            _ => {
                let value = if OPTIONS.contains(&name.as_str()) {
                    parser.value().map_err(|e| e.to_string())?
                } else {
                    return Err(format!("unknown option --{name}, see --help"));
                };
                let value = value.into_string().map_err(|_| format!("--{name}: not UTF-8"))?;
                config.set(&name, value).map_err(|e| format!("--{name}: {e}"))?;
            }
        }
    }
    config.check()?;
    Ok(Command::Serve(Box::new(config)))
}

/// The options that take a value.
const OPTIONS: [&str; 19] = [
    "listen",
    "public-url",
    "allowed-host",
    "allowed-origin",
    "url-file",
    "tunnel-id",
    "runtime-key",
    "connector-key",
    "name",
    "admin-key",
    "response-timeout",
    "pickup-timeout",
    "deliver-grace",
    "client-last-seen",
    "warm-up",
    "sse-commit-after",
    "sse-keepalive",
    "drain-timeout",
    "log-level",
];

impl Config {
    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "listen" => self.listen = listen(&value)?,
            "public-url" => {
                if !value.starts_with("https://") && !value.starts_with("http://") {
                    return Err("a URL begins with https:// or http://".to_owned());
                }
                self.public_url = Some(value.trim_end_matches('/').to_owned());
            }
            "allowed-host" => self.allowed_hosts.push(value),
            "allowed-origin" => {
                if !value.contains("://") || value.ends_with('/') {
                    return Err("an origin is scheme://host or scheme://host:port".to_owned());
                }
                self.allowed_origins.push(value);
            }
            "url-file" => self.url_file = Some(PathBuf::from(value)),
            "tunnel-id" => self.add_tunnel(value.parse().map_err(|e| format!("{e}"))?)?,
            "runtime-key" => {
                let key = key(&value)?;
                let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                if !key.expose().bytes().all(allowed) {
                    return Err("a runtime key has only letters, digits, `_` and `-`".to_owned());
                }
                self.last_tunnel()?.runtime_keys.push(key);
            }
            "connector-key" => {
                let key = key(&value)?;
                self.last_tunnel()?.connector_keys.push(key);
            }
            "name" => self.last_tunnel()?.name = value,
            "admin-key" => self.admin_key = Some(key(&value)?),
            "log-level" => {
                let level = value.parse().map_err(|_| "one of error, warn, info, debug")?;
                self.log_level = level;
            }
            time => *self.time(time) = duration(&value)?,
        }
        if self.times.response_timeout > MAX_RESPONSE_TIMEOUT {
            return Err("at most 10m, because daemons give up a call then".to_owned());
        }
        Ok(())
    }

    fn add_tunnel(&mut self, id: TunnelId) -> Result<(), String> {
        if self.tunnels.iter().any(|tunnel| tunnel.id == id) {
            return Err("the tunnel is named twice".to_owned());
        }
        self.tunnels.push(TunnelConfig {
            name: "relay tunnel".to_owned(),
            id,
            runtime_keys: Vec::new(),
            connector_keys: Vec::new(),
        });
        Ok(())
    }

    /// The time that an option sets. Every other option is handled by [`Config::set`].
    fn time(&mut self, option: &str) -> &mut Duration {
        let times = &mut self.times;
        match option {
            "response-timeout" => &mut times.response_timeout,
            "pickup-timeout" => &mut times.pickup_timeout,
            "deliver-grace" => &mut times.deliver_grace,
            "client-last-seen" => &mut times.client_last_seen,
            "warm-up" => &mut times.warm_up,
            "sse-commit-after" => &mut times.sse_commit_after,
            "sse-keepalive" => &mut times.sse_keepalive,
            "drain-timeout" => &mut times.drain_timeout,
            other => unreachable!("--{other} is no option"),
        }
    }

    fn last_tunnel(&mut self) -> Result<&mut TunnelConfig, String> {
        self.tunnels.last_mut().ok_or_else(|| "it belongs after a --tunnel-id".to_owned())
    }

    /// Checks the options together (relay-47).
    fn check(&self) -> Result<(), String> {
        let local = match &self.listen {
            Bind::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Bind::Unix(_) => true,
        };
        if !local && !self.behind_tls_proxy {
            return Err(format!(
                "--listen {}: not a loopback address, and the relay itself speaks no TLS; put a \
                 proxy in front that does, and add --behind-tls-proxy",
                self.listen
            ));
        }
        if !local && self.admin_key.is_some() {
            return Err("--admin-key works on a loopback listener or a unix socket only".to_owned());
        }
        if self.behind_tls_proxy && self.public_url.is_none() {
            return Err("--behind-tls-proxy needs --public-url, to know its own name".to_owned());
        }
        if self.dev && self.behind_tls_proxy {
            return Err("--dev is for this host only, without --behind-tls-proxy".to_owned());
        }
        if self.tunnels.is_empty() && self.admin_key.is_none() && !self.dev {
            return Err(
                "nothing to serve: name a --tunnel-id with its --runtime-key, or try --dev"
                    .to_owned(),
            );
        }
        for tunnel in &self.tunnels {
            let id = &tunnel.id;
            if tunnel.runtime_keys.is_empty() && self.admin_key.is_none() {
                return Err(format!("--tunnel-id {id}: needs a --runtime-key after it"));
            }
            if tunnel.connector_keys.is_empty() && self.behind_tls_proxy {
                return Err(format!(
                    "--tunnel-id {id}: needs a --connector-key after it, or everybody who \
                     reaches the proxy could call the MCP server"
                ));
            }
        }
        if self.times.response_timeout.is_zero() {
            return Err("--response-timeout: must be above zero".to_owned());
        }
        Ok(())
    }
}

fn listen(text: &str) -> Result<Bind, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err("unix: needs a path".to_owned()),
            path => Ok(Bind::Unix(PathBuf::from(path))),
        };
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address = address.parse().map_err(|_| "use IP:PORT, localhost:PORT or unix:PATH")?;
    Ok(Bind::Tcp(address))
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_timeout(text).ok_or_else(|| "use digits and one unit: 500ms, 30s, 5m".to_owned())
}

/// Reads the key that a reference names. The error holds nothing of the key.
fn key(reference: &str) -> Result<Secret, String> {
    let text = if let Some(name) = reference.strip_prefix("env:") {
        std::env::var(name).map_err(|_| format!("the variable {name} is not set"))?
    } else if let Some(path) = reference.strip_prefix("file:") {
        std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?
    } else {
        return Err(
            "a key is given as env:NAME or file:PATH, because arguments are public".to_owned()
        );
    };
    let secret = Secret::new(text.trim().to_owned());
    let text = secret.expose();
    if text.len() < MIN_KEY {
        return Err(format!("the key is shorter than {MIN_KEY} characters"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the key has spaces or characters that are not ASCII".to_owned());
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "tunnel_0123456789abcdefghijklmnopqrstuv";

    fn run(args: &str) -> Result<Config, String> {
        let args = args.split_whitespace().map(OsString::from);
        match parse(args)? {
            Command::Serve(config) => Ok(*config),
            other => panic!("{other:?}"),
        }
    }

    /// A key file that lives as long as the test process.
    fn key_file(name: &str, key: &str) -> String {
        let path = std::env::temp_dir().join(format!("relay-args-{}-{name}", std::process::id()));
        std::fs::write(&path, key).unwrap();
        format!("file:{}", path.display())
    }

    #[test]
    fn keys_belong_to_the_tunnel_before_them() {
        let key = key_file("long", &format!("{}\n", "k".repeat(40)));
        let other = ID.replace('0', "9");
        let config = run(&format!(
            "serve --tunnel-id {ID} --runtime-key {key} --connector-key={key} --name a \
             --tunnel-id {other} --runtime-key {key} --response-timeout 500ms --listen [::1]:0"
        ))
        .unwrap();
        assert_eq!(config.tunnels.len(), 2);
        assert_eq!(config.tunnels[0].runtime_keys[0].expose(), "k".repeat(40));
        assert!(config.tunnels[1].connector_keys.is_empty());
        assert_eq!(config.times.response_timeout, Duration::from_millis(500));
        assert!(run("serve --dev --listen unix:/tmp/x").is_ok());
    }

    #[test] // relay-47
    fn what_would_open_the_relay_to_the_world_is_refused() {
        let key = key_file("open", &"k".repeat(40));
        let tunnel = format!("--tunnel-id {ID} --runtime-key {key}");
        let proxy = "--listen 0.0.0.0:1 --behind-tls-proxy --public-url https://a";
        for (args, said) in [
            (format!("{tunnel} --listen 0.0.0.0:1"), "--behind-tls-proxy"),
            (format!("{tunnel} --listen [::]:1"), "not a loopback address"),
            (format!("{tunnel} {proxy}"), "--connector-key"),
            (format!("{tunnel} --behind-tls-proxy"), "--public-url"),
            ("--dev --listen 0.0.0.0:1".to_owned(), "--behind-tls-proxy"),
            (format!("--dev {proxy}"), "--dev"),
            (format!("--admin-key {key} {proxy}"), "loopback"),
        ] {
            let error = run(&format!("serve {args}")).unwrap_err();
            assert!(error.contains(said), "{args}: {error}");
        }
        assert!(run(&format!("serve {tunnel} --connector-key {key} {proxy}")).is_ok());
    }

    #[test]
    fn bad_arguments_get_one_clear_line() {
        let short = key_file("short", "secretsecret");
        let odd = key_file("odd", &"k.".repeat(40));
        for (args, said) in [
            ("listen", "unknown command"),
            ("--dev", "`serve` comes first"),
            ("serve", "nothing to serve"),
            ("serve --nonsense", "--nonsense"),
            ("serve --listen", "--listen"),
            ("serve --listen nowhere --dev", "IP:PORT"),
            ("serve --tunnel-id tunnel_x", "a tunnel id is"),
            ("serve --runtime-key env:X", "env:X"),
            (&format!("serve --tunnel-id {ID}"), "--runtime-key"),
            (&format!("serve --tunnel-id {ID} --runtime-key plain"), "env:NAME or file:PATH"),
            (&format!("serve --tunnel-id {ID} --runtime-key {short}"), "shorter than 32"),
            (&format!("serve --tunnel-id {ID} --runtime-key {odd}"), "letters, digits"),
            (&format!("serve --tunnel-id {ID} --tunnel-id {ID}"), "twice"),
            ("serve --runtime-key file:/dev/null", "shorter"),
            ("serve --dev --response-timeout 11m", "at most 10m"),
            ("serve --dev --response-timeout 0s", "above zero"),
            ("serve --dev --warm-up soon", "digits and one unit"),
            ("serve --dev --log-level loud", "error, warn, info, debug"),
        ] {
            let error = run(args).unwrap_err();
            let said = if said == "env:X" { "the variable X is not set" } else { said };
            assert!(error.contains(said), "{args}: {error}");
            assert!(!error.contains("secretsecret") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_help_names_every_option() {
        for option in OPTIONS.iter().chain(&["dev", "behind-tls-proxy", "no-confinement"]) {
            assert!(HELP.contains(&format!("--{option}")), "{option}");
        }
        assert!(HELP.lines().all(|line| line.len() <= 80));
    }
}

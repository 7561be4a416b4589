//! The control-plane side: it takes messages from MCP clients on `/v1/mcp/{tunnel_id}`, queues
//! them, hands them to daemons that poll, and returns the answers that those post.
//!
//! ```text
//! MCP client --POST /v1/mcp/..--> connector --queue--> tunnel <--GET ../poll-- daemon
//!     ^                              |  waits            |                        |
//!     '------- JSON or events -------'<-- call's mail <- control <--POST ../response
//! ```
//!
//! Everything is kept in memory: queues, keys and tunnels end with the process. A command is handed
//! out at most once. The binary `mcp-tunnel-relay` is the only caller; the room calls `httpd`,
//! `wire`, `stats`, `secret`, `confine`, and of `ops` the log and the service manager.

mod admin;
mod args;
mod budget;
mod call;
mod connector;
mod control;
mod daemons;
mod discovery;
mod edge;
mod guard;
mod ids;
mod keys;
mod metadata;
mod ops;
mod problems;
mod reply;
mod serve;
mod stats;
mod tunnel;
mod waiter;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::httpd::{Exchange, Limits, Running, Server};
use crate::secret::Secret;
use crate::unpoisoned::Unpoisoned;
use crate::wire::TunnelId;

use args::Config;
use budget::Budget;
use guard::Guard;
use ids::Ids;
use keys::{Key, KeyRing, Role};
use reply::{Problem, Reply, Visit};
use stats::Stats;
use tunnel::{Record, Tunnel};

pub use args::HELP;
pub use serve::{EXIT_CODES, main};

/// Most connections of one relay, each with a thread: 8 000 idle ones take about 310 MiB.
const CONNECTIONS: usize = 8192;
/// Memory for the bodies of MCP requests, while they arrive and while they are queued.
const REQUEST_MEMORY: usize = 512 * 1024 * 1024;
/// Memory for the bodies of responses, until the MCP client has taken them.
const RESPONSE_MEMORY: usize = 256 * 1024 * 1024;

/// How long things may take (relay.md, 2.3, 3.2, 3.7 and 6).
#[derive(Debug, Clone)]
pub struct Times {
    /// How long a daemon may take to answer, from the moment it gets the command.
    pub response_timeout: Duration,
    /// How long a command waits for a poll.
    pub pickup_timeout: Duration,
    /// How long the relay waits beyond `response_timeout`, for the answer to arrive.
    pub deliver_grace: Duration,
    /// How long a daemon counts as connected after its last request.
    pub client_last_seen: Duration,
    /// How long after the start all tunnels count as connected, so that a restart of the relay
    /// does not look like a loss of all daemons.
    pub warm_up: Duration,
    /// After how long an event stream is opened even without an answer, because proxies have idle
    /// limits.
    pub sse_commit_after: Duration,
    /// The longest silence of an event stream.
    pub sse_keepalive: Duration,
    /// How long calls may go on after the first SIGTERM.
    pub drain_timeout: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(30),
            pickup_timeout: Duration::from_secs(10),
            deliver_grace: Duration::from_secs(2),
            client_last_seen: Duration::from_secs(20),
            warm_up: Duration::from_secs(3),
            sse_commit_after: Duration::from_secs(25),
            sse_keepalive: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(35),
        }
    }
}

/// One relay.
pub struct Relay {
    ids: Ids,
    keys: KeyRing,
    tunnels: RwLock<HashMap<TunnelId, Arc<Tunnel>>>,
    times: Times,
    guard: Guard,
    /// The URL for clients; if it is not set, the name that each client uses.
    public_url: Option<String>,
    /// True if tunnels without a connector key are open to every client.
    allow_open: bool,
    stats: Arc<Stats>,
    request_memory: Arc<Budget>,
    response_memory: Arc<Budget>,
    started: Instant,
    draining: AtomicBool,
    connections: OnceLock<Box<dyn Fn() -> usize + Send + Sync>>,
}

impl Relay {
    /// Binds the listener. Nothing is served yet, and no thread is started.
    ///
    /// # Errors
    /// If the address cannot be bound, or the system lacks random bytes.
    pub fn bind(config: &Config) -> io::Result<(Arc<Self>, Server)> {
        let no_random = |_| io::Error::other("the kernel gives no random bytes");
        let server = Server::bind(&config.listen, Limits::with_connections(CONNECTIONS))?;
        let guard = Guard::new(
            server.local(),
            config.public_url.as_deref(),
            &config.allowed_hosts,
            &config.allowed_origins,
        );
        let relay = Arc::new(Self {
            ids: Ids::new().map_err(no_random)?,
            keys: KeyRing::new().map_err(no_random)?,
            tunnels: RwLock::default(),
            times: config.times.clone(),
            guard,
            public_url: config.public_url.clone(),
            allow_open: !config.behind_tls_proxy,
            stats: Arc::default(),
            request_memory: Budget::new(REQUEST_MEMORY),
            response_memory: Budget::new(RESPONSE_MEMORY),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            connections: OnceLock::new(),
        });
        relay.admit(config).map_err(io::Error::other)?;
        Ok((relay, server))
    }

    /// Serves on the listener.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn serve(self: &Arc<Self>, server: Server) -> io::Result<Running> {
        let relay = self.clone();
        let running = server.serve("relay", move |exchange: Exchange<'_>| relay.route(exchange))?;
        let _ = self.connections.set(Box::new(running.connection_count()));
        Ok(running)
    }

    /// Adds the tunnels and keys of the command line.
    fn admit(&self, config: &Config) -> Result<(), &'static str> {
        let key = |role: Role, tunnel: Option<&TunnelId>| Key {
            id: ids::hex(&self.ids.random::<4>()),
            role,
            tunnels: tunnel.into_iter().cloned().collect(),
            label: "from the command line".to_owned(),
            expires: None,
            waiting: AtomicUsize::new(0),
        };
        for tunnel in &config.tunnels {
            let record = Record { name: tunnel.name.clone(), ..Record::default() };
            self.add_tunnel(tunnel.id.clone(), record, usize::MAX);
            for secret in &tunnel.runtime_keys {
                self.add_key(secret, key(Role::Runtime, Some(&tunnel.id)))?;
            }
            for secret in &tunnel.connector_keys {
                self.add_key(secret, key(Role::Connector, Some(&tunnel.id)))?;
            }
        }
        match &config.admin_key {
            Some(secret) => self.add_key(secret, key(Role::Admin, None)),
            None => Ok(()),
        }
    }

    fn add_key(&self, secret: &Secret, key: Key) -> Result<(), &'static str> {
        if key.role == Role::Connector {
            for tunnel in key.tunnels.iter().filter_map(|id| self.tunnel(id)) {
                // For good: a tunnel does not become open when its last key is revoked.
                tunnel.guarded.store(true, Ordering::Relaxed);
            }
        }
        self.keys.add(secret, key)
    }

    fn read_tunnels(&self) -> RwLockReadGuard<'_, HashMap<TunnelId, Arc<Tunnel>>> {
        self.tunnels.read().unpoisoned()
    }

    fn write_tunnels(&self) -> RwLockWriteGuard<'_, HashMap<TunnelId, Arc<Tunnel>>> {
        self.tunnels.write().unpoisoned()
    }

    fn tunnel(&self, id: &TunnelId) -> Option<Arc<Tunnel>> {
        self.read_tunnels().get(id).cloned()
    }

    fn all_tunnels(&self) -> Vec<Arc<Tunnel>> {
        let mut tunnels: Vec<_> = self.read_tunnels().values().cloned().collect();
        tunnels.sort_by(|a, b| a.id.cmp(&b.id));
        tunnels
    }

    fn add_tunnel(&self, id: TunnelId, record: Record, limit: usize) -> Option<Arc<Tunnel>> {
        let tag = self.ids.tunnel_tag(&id);
        let guarded = !self.allow_open;
        let tunnel = Arc::new(Tunnel::new(id.clone(), tag, guarded, record, self.stats.clone()));
        let mut tunnels = self.write_tunnels();
        let room = tunnels.len() < limit;
        room.then(|| tunnels.insert(id, tunnel.clone()));
        room.then_some(tunnel)
    }

    fn remove_tunnel(&self, id: &TunnelId) {
        self.write_tunnels().remove(id);
    }

    /// The key in `Authorization`, of any role.
    fn key_of(&self, visit: &Visit<'_>) -> Option<Arc<Key>> {
        let text = keys::bearer(visit.exchange.head().headers.values("Authorization"))?;
        self.keys.find(text)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn is_warming_up(&self) -> bool {
        self.started.elapsed() < self.times.warm_up
    }

    fn affinity_conflicts(&self) -> i64 {
        let last_seen = self.times.client_last_seen;
        let tunnels = self.all_tunnels();
        let conflicts = tunnels.iter().filter(|tunnel| tunnel.daemons().conflict(last_seen));
        i64::try_from(conflicts.count()).unwrap_or(i64::MAX)
    }

    fn connections(&self) -> i64 {
        self.connections.get().map_or(0, |count| i64::try_from(count()).unwrap_or(i64::MAX))
    }

    /// Passes one request to its handler.
    fn route(&self, exchange: Exchange<'_>) {
        let head = exchange.head();
        let mut common = vec![
            ("X-Request-Id", self.ids.exchange_id()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
        ];
        let (method, path) = (head.method.clone(), head.segments.clone());
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let probes = matches!(path[..], ["healthz" | "readyz"]);
        let host = probes || self.guard.allows_host(head);
        if !host || !self.guard.allows_origin(head) {
            self.stats.origin_rejected.inc();
            let visit = Visit { exchange, common };
            return visit.reply(if host { FOREIGN_ORIGIN } else { FOREIGN_HOST }.envelope());
        }
        if let Some(origin) = head.headers.get("Origin") {
            common.push(("Access-Control-Allow-Origin", origin.to_owned()));
            common.push(("Access-Control-Expose-Headers", EXPOSED.to_owned()));
            common.push(("Vary", "Origin".to_owned()));
        }
        let visit = Visit { exchange, common };
        match (method.as_str(), &path[..]) {
            (_, ["v1", "mcp", id]) => connector::serve(self, visit, id, None),
            (_, ["v1", "mcp", id, channel]) => connector::serve(self, visit, id, Some(channel)),
            (_, [".well-known", "oauth-protected-resource", "v1", "mcp", id]) => {
                discovery::serve(self, visit, id);
            }
            ("GET", ["v1", "tunnels", id, "poll"]) => control::poll(self, visit, id),
            ("POST", ["v1", "tunnels", id, "response"]) => control::respond(self, visit, id),
            ("GET", ["v1", "tunnels", id, "cloudflare", "runtime"]) => {
                control::no_managed_runtime(self, visit, id);
            }
            ("GET", ["v1", "tunnels", id]) => {
                match self.key_of(&visit).is_some_and(|key| key.role == Role::Admin) {
                    true => admin::get(self, visit, id),
                    false => control::metadata(self, visit, id),
                }
            }
            ("POST", ["v1", "tunnels", id]) => admin::update(self, visit, id),
            ("DELETE", ["v1", "tunnels", id]) => admin::delete(self, visit, id),
            ("POST", ["v1", "tunnels"]) => admin::create(self, visit),
            ("GET", ["v1", "tunnels"]) => admin::list(self, visit),
            ("POST", ["relay", "v1", "keys"]) => admin::create_key(self, visit),
            ("GET", ["relay", "v1", "keys"]) => admin::list_keys(self, visit),
            ("DELETE", ["relay", "v1", "keys", id]) => admin::revoke_key(self, visit, id),
            ("GET" | "HEAD", ["healthz"]) => visit.reply(ops::health()),
            ("GET" | "HEAD", ["readyz"]) => visit.reply(ops::ready(self)),
            ("GET" | "HEAD", ["metrics"]) => visit.reply(ops::metrics(self)),
            (_, path) => visit.reply(elsewhere(path)),
        }
    }

    /// Stops accepting commands and lets daemons finish, for at most `drain_timeout`
    /// (relay.md, 6).
    fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        let tunnels = self.all_tunnels();
        for tunnel in &tunnels {
            tunnel.drain();
        }
        let deadline = Instant::now() + self.times.drain_timeout;
        for tunnel in &tunnels {
            tunnel.wait_until_settled(deadline);
            tunnel.end_handed(call::Failure::DrainedHanded);
        }
    }
}

/// The headers of an answer that a web page may read.
const EXPOSED: &str = "Mcp-Session-Id, Mcp-Protocol-Version, WWW-Authenticate, X-Request-Id";

/// The answer for a path or method that is not served.
fn elsewhere(path: &[&str]) -> Reply {
    let allow = match path {
        ["v1", "tunnels"] | ["relay", "v1", "keys"] => "GET, POST",
        ["v1", "tunnels", _] => "GET, POST, DELETE",
        ["v1", "tunnels", _, "poll"] | ["v1", "tunnels", _, "cloudflare", "runtime"] => "GET",
        ["v1", "tunnels", _, "response"] => "POST",
        ["relay", "v1", "keys", _] => "DELETE",
        ["healthz" | "readyz" | "metrics"] => "GET, HEAD",
        _ => return NO_PATH.envelope(),
    };
    NO_METHOD.envelope().with("Allow", allow.to_owned())
}

const NO_PATH: Problem = Problem::new(404, "", "no such path");
const NO_METHOD: Problem = Problem::new(405, "", "this path does not take this method");
const FOREIGN_HOST: Problem =
    Problem::new(403, "", "the `Host` of the request is not one of this relay");
const FOREIGN_ORIGIN: Problem =
    Problem::new(403, "", "the `Origin` of the request is not allowed here");

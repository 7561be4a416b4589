//! The common part of all requests to the control plane: where they go and what they carry
//! (wire-6 to wire-9, wire-12, wire-17).

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, HeaderName, Method, Uri, header};

use crate::net::client::{ClientConfig, can_be_header, header_value};
use crate::net::{Cancel, Client, Ledger, NetError, Outgoing, Proxy, Reply, SecretHeaders, Tls};
use crate::secret::Secret;
use crate::unpoisoned::Unpoisoned;
use crate::wire::server_info::ServerInfo;
use crate::wire::{CLIENT_NAME, CLIENT_VERSION, IDENTITY_HEADERS, TunnelId};

/// How long a connection to the control plane may lie idle and still be trusted: below the
/// 60 s after which load balancers usually close, with room for clocks that differ.
const IDLE: Duration = Duration::from_secs(45);

/// Stands in the log for the `X-Request-Id` that an answer did not have (wire-10).
pub const NO_REQUEST_ID: &str = "missing_request_id";

/// Headers beside [`IDENTITY_HEADERS`] that extra headers cannot replace: what ties an answer to
/// its command (wire-9), and what belongs to the transport. No encoding may be asked for, since
/// none is decoded (wire-20).
const RESERVED_HEADERS: [&str; 8] = [
    "content-type",
    "x-tunnel-shard-token",
    "x-client-request-id",
    "accept-encoding",
    "host",
    "content-length",
    "transfer-encoding",
    "trailer",
];

fn is_reserved(name: &str) -> bool {
    let mut reserved = IDENTITY_HEADERS.iter().chain(&RESERVED_HEADERS);
    reserved.any(|reserved| name.eq_ignore_ascii_case(reserved))
}

/// What is needed to speak with the control plane.
pub struct AccessConfig {
    /// Scheme, host and port; path and query are ignored (wire-6).
    pub base_url: Uri,
    /// Inserted before `/v1`: empty, or made by `settings::url::clean_path`.
    pub url_path: String,
    /// Which tunnel.
    pub tunnel_id: TunnelId,
    /// This process, from [`crate::random::instance_id`].
    pub instance_id: String,
    /// Sent as `OpenAI-Organization`.
    pub organization_id: Option<String>,
    /// What `X-Tunnel-MCP-Server-Info` says.
    pub server_info: ServerInfo,
    /// How long the service may hold a poll.
    pub poll_timeout: Duration,
    /// How much longer a request may take in all.
    pub guardrail: Duration,
    /// Whom to believe and who we are; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// The proxy on the way.
    pub proxy: Option<Proxy>,
    /// A unix socket that every connection goes to (wire-23).
    pub unix_socket: Option<PathBuf>,
    /// Where exchanges are noted.
    pub ledger: Ledger,
}

/// The common part of all requests, shared by the threads that make them.
pub struct Access {
    origin: String,
    headers: HeaderMap,
    /// The key and the operator's headers.
    secrets: RwLock<SecretHeaders>,
    config: AccessConfig,
    /// How long the service may hold a poll.
    pub poll_timeout: Duration,
    /// Limit of every single attempt (wire-17).
    pub attempt_limit: Duration,
}

/// A setting that cannot be put into a request. The text names it and never shows its value.
#[derive(Debug)]
pub struct AccessError(pub String);

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AccessError {}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({} {})", self.origin, self.config.tunnel_id)
    }
}

impl Access {
    /// Prepares URLs and headers: the runtime key and `extra` headers of the operator's go with
    /// every request.
    ///
    /// # Errors
    /// If a value cannot be a header, or the channels are too many (wire-14).
    pub fn new(
        config: AccessConfig,
        key: &Secret,
        extra: &[(String, Secret)],
    ) -> Result<Arc<Self>, AccessError> {
        let scheme = config.base_url.scheme_str().unwrap_or("https");
        let authority = config
            .base_url
            .authority()
            .ok_or_else(|| AccessError("the base URL has no host".to_owned()))?;
        // User info has no effect on the wire (wire-6).
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let headers = common(&config)?;
        Ok(Arc::new(Self {
            origin: format!("{scheme}://{host}"),
            secrets: RwLock::new(secrets(key, extra, &headers)?),
            headers,
            poll_timeout: config.poll_timeout,
            attempt_limit: config.poll_timeout + config.guardrail,
            config,
        }))
    }

    /// Uses another key and other extra headers from the next request on.
    ///
    /// # Errors
    /// As [`Access::new`]; what was used before stays in use.
    pub fn renew(&self, key: &Secret, extra: &[(String, Secret)]) -> Result<(), AccessError> {
        let secrets = secrets(key, extra, &self.headers)?;
        *self.secrets.write().unpoisoned() = secrets;
        Ok(())
    }

    /// This process, as the control plane sees it (wire-4).
    pub fn instance_id(&self) -> &str {
        &self.config.instance_id
    }

    /// Whether a server of this daemon keeps its state in this daemon's process, so that another
    /// daemon could not take its calls.
    pub fn has_proc_affinity(&self) -> bool {
        self.config.server_info.has_proc_affinity()
    }

    /// The tunnel that this daemon serves.
    pub fn tunnel_id(&self) -> &TunnelId {
        &self.config.tunnel_id
    }

    /// Scheme, host and port, for log lines.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A client for one thread; `linger` as in [`ClientConfig`].
    pub fn client(&self, cancel: Cancel, linger: Option<Duration>) -> Client {
        let config = ClientConfig {
            tls: self.config.tls.clone(),
            unix_socket: self.config.unix_socket.clone(),
            proxy: self.config.proxy.clone(),
            idle: IDLE,
            linger,
            secrets_keep_path: false,
            ledger: self.config.ledger.clone(),
        };
        Client::new(config, cancel)
    }

    /// The URL of a route below this tunnel, for instance `/poll?limit=1` (wire-6).
    pub fn url(&self, route: &str) -> Uri {
        format!(
            "{}{}/v1/tunnels/{}{route}",
            self.origin, self.config.url_path, self.config.tunnel_id
        )
        .parse()
        .expect("an origin, a clean path and a tunnel id make a URL")
    }

    /// Sends one attempt, with the common headers and limit.
    pub fn send(
        &self,
        client: &Client,
        method: Method,
        uri: &Uri,
        extra: HeaderMap,
        body: Option<&[u8]>,
        deadline: Option<Instant>,
    ) -> Result<Reply, NetError> {
        let mut headers = self.headers.clone();
        headers.extend(extra);
        let secrets = self.secrets.read().unpoisoned().clone();
        let own = Instant::now() + self.attempt_limit;
        let limit = deadline.map_or(own, |deadline| deadline.min(own));
        let reply = client.send(&Outgoing {
            method: method.clone(),
            uri,
            headers,
            secrets,
            body,
            limit,
        })?;
        log::debug!(
            status = reply.status.as_u16(),
            tunnel_request_id = reply.header("x-request-id").unwrap_or(NO_REQUEST_ID);
            "control plane answered {method} {}", uri.path()
        );
        Ok(reply)
    }
}

/// The headers of every request that are no secrets (wire-7).
fn common(config: &AccessConfig) -> Result<HeaderMap, AccessError> {
    let server_info = config.server_info.to_header().map_err(|e| AccessError(e.to_owned()))?;
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str, what: &str| {
        let value = header_value(value)
            .ok_or_else(|| AccessError(format!("{what} cannot be sent as a header")))?;
        headers.insert(name, value);
        Ok(())
    };
    put("accept", "application/json", "the media type")?;
    put("user-agent", &format!("{CLIENT_NAME}/{CLIENT_VERSION}"), "the user agent")?;
    put("x-tunnel-client-name", CLIENT_NAME, "the client name")?;
    put("x-tunnel-client-version", CLIENT_VERSION, "the client version")?;
    put("x-tunnel-client-instance-id", &config.instance_id, "the instance id")?;
    put("x-tunnel-mcp-server-info", &server_info, "the server info")?;
    if let Some(id) = &config.organization_id {
        put("openai-organization", id.trim(), "the organization id")?;
    }
    Ok(headers)
}

/// The key, and the operator's headers that are neither reserved nor among `common` (wire-8).
fn secrets(
    key: &Secret,
    extra: &[(String, Secret)],
    common: &HeaderMap,
) -> Result<SecretHeaders, AccessError> {
    let mut secrets = Vec::with_capacity(extra.len() + 1);
    for (name, value) in extra {
        if is_reserved(name) {
            log::warn!(name = name.as_str(); "extra header skipped: it is reserved");
            continue;
        }
        let wrong = || AccessError(format!("the extra header `{name}` cannot be sent"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        if !can_be_header(value.expose()) {
            return Err(wrong());
        }
        if !common.contains_key(&name) {
            secrets.push((name, value.clone()));
        }
    }
    let bearer =
        bearer(key).ok_or_else(|| AccessError("the API key cannot be sent as a header".into()))?;
    secrets.push((header::AUTHORIZATION, bearer));
    Ok(secrets)
}

/// A key as `Authorization` has it, if it can be there.
pub(crate) fn bearer(key: &Secret) -> Option<Secret> {
    can_be_header(key.expose()).then(|| Secret::new(["Bearer ", key.expose()].concat()))
}

/// How many daemons poll the tunnel, if the control plane says so: `mcp-tunnel-relay` does, in an
/// addition to the contract.
pub fn daemons(reply: &Reply) -> Option<usize> {
    reply.header("x-tunnel-daemons")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ChannelName;

    fn access(base_url: &str, url_path: &str) -> Arc<Access> {
        let config = AccessConfig {
            base_url: base_url.parse().unwrap(),
            url_path: url_path.to_owned(),
            tunnel_id: format!("tunnel_{}", "a".repeat(32)).parse().unwrap(),
            instance_id: "i".to_owned(),
            organization_id: None,
            server_info: ServerInfo::new([(&ChannelName::main(), false)]),
            poll_timeout: Duration::from_secs(30),
            guardrail: Duration::from_secs(5),
            tls: None,
            proxy: None,
            unix_socket: None,
            ledger: Ledger::default(),
        };
        let extra = [("X-Team".to_owned(), Secret::new("eu".to_owned()))];
        Access::new(config, &Secret::new("k1".to_owned()), &extra).unwrap()
    }

    #[test] // wire-6
    fn the_path_of_the_base_url_is_replaced() {
        let id = format!("tunnel_{}", "a".repeat(32));
        for (base, path, expected) in [
            ("https://gw.example", "/team/eu", "https://gw.example/team/eu/v1/tunnels/"),
            ("https://h/v1/tunnel?x=1", "", "https://h/v1/tunnels/"),
            ("http://u:p@h:8080/", "", "http://h:8080/v1/tunnels/"),
        ] {
            let url = access(base, path).url("/poll?limit=1");
            assert_eq!(url.to_string(), format!("{expected}{id}/poll?limit=1"));
        }
    }

    #[test] // wire-7
    fn the_key_is_in_no_header_map() {
        let access = access("http://h", "");
        assert!(!access.headers.contains_key("authorization"));
        assert!(!access.headers.contains_key("x-team"));
        let secrets = access.secrets.read().unwrap();
        assert_eq!(secrets[1].1.expose(), "Bearer k1");
        assert!(!format!("{access:?} {secrets:?}").contains("k1"));
    }
}

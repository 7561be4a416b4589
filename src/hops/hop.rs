//! One hop: the certificates that it trusts, the certificate that it presents, and its proxy.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use ureq::http::Uri;

use super::raw;
use crate::net::client::ClientConfig;
use crate::net::ledger::{RawLog, Route};
use crate::net::trust::TlsError;
use crate::net::{IdentityFiles, Ledger, Proxy, Tls, Trust};
use crate::settings::ambient::{self, Choice};
use crate::settings::config::{AmbientProxy, Config, Identity, ProxySetting, Target};
use crate::settings::url::{HttpUrl, ProxyUrl};
use crate::wire::ChannelName;

/// The route of one hop.
#[derive(Debug, Clone)]
pub struct Hop {
    /// `control-plane`, or the channel.
    pub name: String,
    /// Its target.
    pub target: HttpUrl,
    /// `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// The proxy and the setting or variable that named it (wire-35).
    pub proxy: Option<(Proxy, String)>,
    /// A unix socket to connect to instead of the target's host; then there is no proxy.
    pub unix_socket: Option<PathBuf>,
    /// The statistics of its exchanges.
    pub ledger: Ledger,
    /// A client certificate and key that plain HTTP does not use. They are checked all the same, or
    /// a mistake in them would show only once the hop speaks TLS.
    unused_identity: Option<IdentityFiles>,
}

impl Hop {
    /// The proxy alone.
    pub fn proxy(&self) -> Option<Proxy> {
        self.proxy.as_ref().map(|(proxy, _)| proxy.clone())
    }

    /// The configuration of a client of this hop. The caller decides how long connections are kept.
    pub fn client(&self) -> ClientConfig {
        ClientConfig {
            tls: self.tls.clone(),
            unix_socket: self.unix_socket.clone(),
            proxy: self.proxy(),
            ledger: self.ledger.clone(),
            ..ClientConfig::default()
        }
    }
}

/// All hops of one configuration.
#[derive(Debug)]
pub struct Hops {
    trust: Option<Trust>,
    warnings: Vec<String>,
    control_plane: Hop,
    channels: Vec<(ChannelName, Hop)>,
    oauth: Option<OAuthHop>,
}

/// How to reach the origins that the OAuth metadata of `main`'s server names: with the server's
/// proxy, bundle and socket, but never with its client certificate (oauth-5).
#[derive(Debug, Clone)]
pub struct OAuthHop {
    /// The trusted certificates, or the reason why there are none: a host without certificates may
    /// not need any.
    tls: Result<Tls, String>,
    explicit: Option<ProxySetting>,
    ambient: AmbientProxy,
    unix_socket: Option<PathBuf>,
    ledger: Ledger,
}

impl OAuthHop {
    /// The TCP ports that discovery may connect to besides the server's own: those of web servers,
    /// because the authorization server is not known yet, and those of the proxies that the
    /// environment names for them.
    pub fn ports(&self) -> BTreeSet<u16> {
        if self.explicit.is_some() || self.unix_socket.is_some() {
            return BTreeSet::new();
        }
        let web = ["http://server.invalid", "https://server.invalid"];
        let targets = web.into_iter().filter_map(|url| HttpUrl::parse(url).ok());
        targets
            .flat_map(|target| {
                let proxy = match ambient::choose(&self.ambient, &target) {
                    Choice::Proxy(url, _) => Some(url.0.port),
                    _ => None,
                };
                [Some(target.port), proxy].into_iter().flatten()
            })
            .collect()
    }

    /// How to reach one of them. `open` lists the ports that the process may connect to; `None`
    /// means all.
    ///
    /// # Errors
    /// If the proxy for it cannot be used, or the port is closed.
    pub fn toward(&self, uri: &Uri, open: Option<&BTreeSet<u16>>) -> Result<ClientConfig, String> {
        let tls = match uri.scheme_str() {
            Some("http") => self.tls.clone().ok(),
            _ => Some(self.tls.clone()?),
        };
        let ledger = self.ledger.clone();
        if self.unix_socket.is_some() {
            let unix_socket = self.unix_socket.clone();
            return Ok(ClientConfig { tls, unix_socket, ledger, ..ClientConfig::default() });
        }
        let target = HttpUrl::parse(&uri.to_string())?;
        let chosen = proxy_for(&target, self.explicit.as_ref(), &self.ambient)?;
        let proxy = chosen.map(|(url, _)| built(&url, || self.tls.clone())).transpose()?;
        let port = proxy.as_ref().map_or(target.port, Proxy::port);
        if open.is_some_and(|open| !open.contains(&port)) {
            return Err(format!(
                "process.confinement leaves ports 80, 443 and those of the configuration open, not \
                 {port}"
            ));
        }
        Ok(ClientConfig { tls, proxy, ledger, ..ClientConfig::default() })
    }
}

/// The part that a hop cannot be built without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopPart {
    /// The trusted certificates.
    Trust,
    /// A client certificate and its key.
    Identity,
    /// A proxy.
    Proxy,
}

/// A hop that cannot be built.
#[derive(Debug)]
pub struct HopError {
    /// The part that is at fault.
    pub part: HopPart,
    /// The fault, without a secret.
    pub line: String,
}

impl fmt::Display for HopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// The parts that a hop is built from.
struct Wanted<'a> {
    name: &'a str,
    target: &'a HttpUrl,
    identity: Option<&'a Identity>,
    explicit: Option<&'a ProxySetting>,
    unix_socket: Option<&'a PathBuf>,
    route: Route,
    raw: Option<RawLog>,
}

impl Hops {
    /// Reads the files: trusted certificates only if a hop speaks TLS, client certificates and
    /// their keys always.
    ///
    /// # Errors
    /// If a file or a proxy cannot be used.
    pub fn of(config: &Config) -> Result<Self, HopError> {
        let raw_log: Option<RawLog> = config.log.http_raw_unsafe.then_some(raw::request);
        let bundle = config.ca_bundle.clone();
        let mut reader = Reader { bundle, trust: None, warnings: Vec::new() };
        let ambient = &config.ambient_proxy;
        let control_plane = &config.control_plane;
        let wanted = Wanted {
            name: "control-plane",
            target: &control_plane.base_url,
            identity: control_plane.identity.as_ref(),
            explicit: control_plane.http_proxy.as_ref(),
            unix_socket: control_plane.unix_socket.as_ref(),
            route: control_plane_route,
            raw: raw_log,
        };
        let control_plane = hop(&wanted, ambient, &mut reader)?;
        let mut channels = Vec::new();
        let mut oauth = None;
        for binding in &config.mcp.bindings {
            if let Target::Http(http) = &binding.target {
                let wanted = Wanted {
                    name: binding.channel.as_str(),
                    target: &http.url,
                    identity: http.identity.as_ref(),
                    explicit: http.http_proxy.as_ref(),
                    unix_socket: http.unix_socket.as_ref(),
                    route: server_route,
                    raw: raw_log,
                };
                let hop = hop(&wanted, ambient, &mut reader)?;
                if binding.channel.is_main() {
                    oauth = Some(OAuthHop {
                        tls: reader.hop(None).map_err(|error| error.line),
                        explicit: http.http_proxy.clone(),
                        ambient: ambient.clone(),
                        unix_socket: http.unix_socket.clone(),
                        ledger: hop.ledger.clone(),
                    });
                }
                channels.push((binding.channel.clone(), hop));
            }
        }
        let Reader { trust, warnings, .. } = reader;
        Ok(Self { trust, warnings, control_plane, channels, oauth })
    }

    /// The certificates that all hops trust; `None` if none speaks TLS.
    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// Doubts about them, one line each, to be logged at start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The hop to the control plane.
    pub fn control_plane(&self) -> &Hop {
        &self.control_plane
    }

    /// The hop to the HTTP server of a channel.
    pub fn channel(&self, channel: &ChannelName) -> Option<&Hop> {
        self.channels.iter().find(|(name, _)| name == channel).map(|(_, hop)| hop)
    }

    /// The routes of OAuth discovery for the server of `main`, if that is an HTTP server.
    pub fn oauth(&self) -> Option<&OAuthHop> {
        self.oauth.as_ref()
    }

    /// All hops, the control plane's first.
    pub fn all(&self) -> impl Iterator<Item = &Hop> {
        std::iter::once(&self.control_plane).chain(self.channels.iter().map(|(_, hop)| hop))
    }

    /// Reads bundle, certificates and keys again. Returns a line for each that cannot be used; the
    /// old one then stays in use.
    pub fn reload(&self) -> Vec<String> {
        // Before the hops, which use the new certificates.
        let trust = self.trust.as_ref().map(Trust::reload);
        let proxies = self.all().filter_map(|hop| hop.proxy.as_ref()?.0.tls());
        let oauth = self.oauth.iter().filter_map(|oauth| oauth.tls.as_ref().ok());
        let hops = self.all().filter_map(|hop| hop.tls.as_ref()).chain(proxies).chain(oauth);
        let hops = hops.map(Tls::reload);
        let unused = self.all().filter_map(|hop| hop.unused_identity.as_ref());
        let results = trust.into_iter().chain(hops).chain(unused.map(IdentityFiles::check));
        let mut wrong: Vec<String> = results.filter_map(|r| Some(r.err()?.to_string())).collect();
        wrong.dedup();
        wrong
    }
}

/// Reads the trusted certificates once, when the first hop needs them, and collects warnings.
struct Reader {
    bundle: Option<PathBuf>,
    trust: Option<Trust>,
    warnings: Vec<String>,
}

impl Reader {
    fn hop(&mut self, identity: Option<&Identity>) -> Result<Tls, HopError> {
        let trust = match &self.trust {
            Some(trust) => trust.clone(),
            None => Trust::load(self.bundle.as_deref())
                .map_err(|e| HopError { part: HopPart::Trust, line: e.to_string() })?,
        };
        self.trust = Some(trust.clone());
        Tls::new(&trust, identity.map(files)).map_err(identity_error)
    }
}

fn files(identity: &Identity) -> IdentityFiles {
    IdentityFiles { cert: identity.cert.clone(), key: identity.key.clone() }
}

fn identity_error(error: TlsError) -> HopError {
    HopError { part: HopPart::Identity, line: error.to_string() }
}

fn hop(wanted: &Wanted<'_>, ambient: &AmbientProxy, reader: &mut Reader) -> Result<Hop, HopError> {
    let tls = match wanted.target.https {
        true => Some(reader.hop(wanted.identity)?),
        false => None,
    };
    let unused_identity = wanted.identity.filter(|_| tls.is_none()).map(files);
    if let Some(unused) = &unused_identity {
        unused.check().map_err(identity_error)?;
    }
    let mut warn = |line| reader.warnings.push(line);
    let chosen = chosen(wanted.target, wanted.explicit, ambient, &mut warn)
        .map_err(|line| HopError { part: HopPart::Proxy, line });
    let proxy = match chosen {
        _ if wanted.unix_socket.is_some() => None,
        chosen => chosen?,
    };
    let proxy = match proxy {
        None => None,
        Some((url, source)) => Some((built(&url, || reader.hop(None))?, source)),
    };
    Ok(Hop {
        name: wanted.name.to_owned(),
        target: wanted.target.clone(),
        tls,
        proxy,
        unix_socket: wanted.unix_socket.cloned(),
        ledger: Ledger::new(wanted.route, wanted.raw),
        unused_identity,
    })
}

/// The proxy of the hop's setting, or else of the environment (wire-30, config-16). A variable
/// without a valid proxy is logged.
///
/// # Errors
/// If the environment's proxy cannot be used.
pub fn proxy_for(
    target: &HttpUrl,
    explicit: Option<&ProxySetting>,
    ambient: &AmbientProxy,
) -> Result<Option<(ProxyUrl, String)>, String> {
    chosen(target, explicit, ambient, &mut |line| log::warn!("{line}"))
}

fn chosen(
    target: &HttpUrl,
    explicit: Option<&ProxySetting>,
    ambient: &AmbientProxy,
    warn: &mut dyn FnMut(String),
) -> Result<Option<(ProxyUrl, String)>, String> {
    if let Some(explicit) = explicit {
        return Ok(Some((explicit.url.clone(), explicit.source.clone())));
    }
    match ambient::choose(ambient, target) {
        Choice::Direct => Ok(None),
        Choice::Unreadable(variable) => {
            let host = &target.host;
            warn(format!("{variable} holds no URL of a proxy: {host} is reached without one"));
            Ok(None)
        }
        Choice::Proxy(url, variable) => Ok(Some((url, format!("env:{variable}")))),
        Choice::Refused(line) => Err(line),
    }
}

/// Builds a proxy; `tls` is called for an `https` proxy.
pub fn built<E>(url: &ProxyUrl, tls: impl FnOnce() -> Result<Tls, E>) -> Result<Proxy, E> {
    let url = &url.0;
    let tls = url.https.then(tls).transpose()?;
    Ok(Proxy::new(&url.host, url.port, url.userinfo.as_ref(), tls))
}

/// The pattern of a path at an MCP server, for metrics: the configured path may hold a secret.
fn server_route(path: &str) -> &'static str {
    if path.starts_with("/.well-known/") { "/.well-known" } else { "/{mcp}" }
}

/// The pattern of a path of the control plane, for metrics: the id of the tunnel would be the same
/// on every sample.
fn control_plane_route(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("poll") => "/v1/tunnels/{tunnel_id}/poll",
        Some("response") => "/v1/tunnels/{tunnel_id}/response",
        _ => "/v1/tunnels/{tunnel_id}",
    }
}

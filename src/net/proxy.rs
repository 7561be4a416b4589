//! A way out through an HTTP proxy (W-34, W-35, W-37).
//!
//! A target with TLS is reached by CONNECT, one without by requests in absolute form. Which proxy
//! serves which target is decided elsewhere, once, at start.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use ureq::http::{HeaderName, header};
use zeroize::Zeroizing;

use super::cancel::Cancel;
use super::dial;
use super::error::Fault;
use super::head::Held;
use super::tls::Tls;
use super::transport::{HANDSHAKE_TIMEOUT, Layered};
use crate::secret::Secret;

/// How long a proxy may take to open a tunnel: it looks the name up and dials meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest head of a proxy's answer to CONNECT, in bytes.
const ANSWER_MAX: usize = 16 * 1024;

/// Most header lines of it.
const HEADERS_MAX: usize = 64;

/// How long each half of a health check may take (W-37).
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// One proxy; clones share it. It prints without user name and password.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    host: String,
    port: u16,
    url: String,
    /// `Proxy-Authorization`, if there are credentials.
    credentials: Option<(HeaderName, Secret)>,
    /// For an `https` proxy. It carries no client certificate (W-29).
    tls: Option<Tls>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.url)
    }
}

/// How a health check ended (W-37).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How long the dial took, if it came about.
    pub tcp: Option<Duration>,
    /// How long the rest took, if it came to an end.
    pub connect: Option<Duration>,
    /// The phase and the reason of a failure.
    pub failure: Option<(&'static str, &'static str)>,
    /// The status that the proxy answered CONNECT with.
    pub status: Option<u16>,
}

impl Check {
    /// What is wrong with the proxy, in words; nothing if it opened a way.
    pub fn complaint(&self) -> Option<String> {
        let (phase, reason) = self.failure?;
        Some(match (phase, reason, self.status) {
            ("tcp", "timeout", _) => "it takes no connection in time".to_owned(),
            ("tcp", ..) => "no connection to it is possible".to_owned(),
            (_, _, Some(407)) => "it wants other credentials (status 407)".to_owned(),
            (_, _, Some(status)) => format!("it refuses to open a way (status {status})"),
            (_, "timeout", _) => "it does not answer".to_owned(),
            _ => "it does not answer as a proxy does".to_owned(),
        })
    }
}

impl Proxy {
    /// A proxy at `host` and `port`; `userinfo` is `user:password`, percent-encoded as in a URL.
    /// With `tls` the proxy itself is spoken to over TLS.
    pub fn new(host: &str, port: u16, userinfo: Option<&Secret>, tls: Option<Tls>) -> Self {
        let (scheme, own_port) = if tls.is_some() { ("https", 443) } else { ("http", 80) };
        let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = match port == own_port {
            true => format!("{scheme}://{shown}"),
            false => format!("{scheme}://{shown}:{port}"),
        };
        let credentials =
            userinfo.map(|userinfo| (header::PROXY_AUTHORIZATION, basic(userinfo.expose())));
        Self(Arc::new(Inner { host: host.to_owned(), port, url, credentials, tls }))
    }

    /// How it is spoken to, if that is over TLS.
    pub fn tls(&self) -> Option<&Tls> {
        self.0.tls.as_ref()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Scheme, host and port, for people (W-35).
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The SHA-256 of that text in hexadecimal: its name in metrics (W-35).
    pub fn id(&self) -> String {
        let hash = ring::digest::digest(&ring::digest::SHA256, self.0.url.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A connection to the proxy itself.
    pub(super) fn open(&self, limit: Option<Instant>, cancel: &Cancel) -> io::Result<Layered> {
        let dial = || {
            let stream = dial::tcp(&self.0.host, self.0.port, limit, cancel)?;
            self.wrap(Layered::Plain(stream), limit)
        };
        dial().map_err(|error| Fault::AtProxy(self.0.url.clone(), error).into())
    }

    fn wrap(&self, mut stream: Layered, limit: Option<Instant>) -> io::Result<Layered> {
        let Some(tls) = &self.0.tls else { return Ok(stream) };
        stream.socket().limit = dial::earlier(limit, HANDSHAKE_TIMEOUT);
        tls.handshake(&self.0.host, stream)
    }

    /// Has the proxy connect to a target; from then on the stream is the target's.
    pub(super) fn connect(
        &self,
        stream: &mut Layered,
        host: &str,
        port: u16,
        limit: Option<Instant>,
    ) -> io::Result<()> {
        stream.socket().limit = dial::earlier(limit, CONNECT_TIMEOUT);
        let target = format!("{host}:{port}");
        let status = self
            .ask(stream, &target)
            .map_err(|error| io::Error::from(Fault::AtProxy(self.0.url.clone(), error)))?;
        match status {
            200 => Ok(()),
            status => Err(self.refusal(status, &target).into()),
        }
    }

    /// Sends CONNECT and gives the status of the answer.
    fn ask(&self, stream: &mut Layered, target: &str) -> io::Result<u16> {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let mut request = Held::default();
        request.push_head(head.as_bytes(), None, self.0.credentials.as_slice());
        stream.write_all(request.bytes())?;
        request.wipe();
        stream.flush()?;
        let mut head = Vec::new();
        let mut byte = [0];
        // Byte by byte: what comes after the head belongs to the tunnel.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == ANSWER_MAX {
                return Err(Fault::NotAProxy.into());
            }
            if stream.read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.push(byte[0]);
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut headers);
        match answer.parse(&head) {
            Ok(httparse::Status::Complete(_)) => answer.code.ok_or(Fault::NotAProxy.into()),
            _ => Err(Fault::NotAProxy.into()),
        }
    }

    /// What a refused request or tunnel means.
    pub(super) fn refusal(&self, status: u16, target: &str) -> Fault {
        let url = &self.0.url;
        let told = match status {
            407 if self.0.credentials.is_some() => {
                format!("{url} does not accept the user name and password of its URL (HTTP 407)")
            }
            407 => format!("{url} asks for a user name and password in its URL (HTTP 407)"),
            403 => format!("{url} does not allow connections to {target} (HTTP 403)"),
            // Tinyproxy says 500, others say what gateways say.
            500 | 502..=504 => {
                let told = format!("the proxy {url} can not reach {target}: HTTP {status}");
                return Fault::BehindProxy(told);
            }
            _ => format!("{url} answers CONNECT {target} with HTTP {status}"),
        };
        Fault::ProxyRefused(told)
    }

    /// Who we are there, as a header.
    pub(super) fn credentials(&self) -> Option<&(HeaderName, Secret)> {
        self.0.credentials.as_ref()
    }

    /// Tries the way to a target out, and closes it again (W-37).
    pub fn check(&self, host: &str, port: u16, cancel: &Cancel) -> Check {
        let began = Instant::now();
        let dialled = dial::tcp(&self.0.host, self.0.port, Some(began + CHECK_LIMIT), cancel);
        let stream = match dialled {
            Ok(stream) => stream,
            Err(error) => {
                let reason = if is_timeout(&error) { "timeout" } else { "dial_error" };
                return Check {
                    tcp: None,
                    connect: None,
                    failure: Some(("tcp", reason)),
                    status: None,
                };
            }
        };
        let (tcp, began) = (Some(began.elapsed()), Instant::now());
        let limit = Some(began + CHECK_LIMIT);
        let asked = self.wrap(Layered::Plain(stream), limit).and_then(|mut stream| {
            stream.socket().limit = limit;
            self.ask(&mut stream, &format!("{}:{port}", bracketed(host)))
        });
        let connect = Some(began.elapsed());
        match asked {
            Ok(status @ 200..=299) => Check { tcp, connect, failure: None, status: Some(status) },
            Ok(status) => {
                let failure = Some(("connect", "bad_status"));
                Check { tcp, connect, failure, status: Some(status) }
            }
            Err(error) => {
                let reason = if is_timeout(&error) { "timeout" } else { "connect_error" };
                Check { tcp, connect: None, failure: Some(("connect", reason)), status: None }
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
}

fn bracketed(host: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// `user:password` of a URL as Basic credentials; a missing password is empty (W-34).
fn basic(userinfo: &str) -> Secret {
    // With room for all of it: a buffer that grows leaves copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(userinfo.len() + 1));
    plain.extend(percent_decode_str(userinfo));
    if !userinfo.contains(':') {
        plain.push(b':');
    }
    let encoded = Zeroizing::new(STANDARD.encode(&plain));
    Secret::new(["Basic ", &encoded].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(userinfo: Option<&str>) -> Proxy {
        let userinfo = userinfo.map(|text| Secret::new(text.to_owned()));
        Proxy::new("proxy.example", 3128, userinfo.as_ref(), None)
    }

    #[test] // W-34
    fn a_missing_password_is_empty() {
        assert_eq!(basic("user").expose(), format!("Basic {}", STANDARD.encode("user:")));
        assert_eq!(basic("a%zz:").expose(), format!("Basic {}", STANDARD.encode("a%zz:")));
    }

    #[test] // W-35
    fn a_proxy_prints_without_its_credentials() {
        let proxy = proxy(Some("user:secret"));
        assert_eq!(format!("{proxy:?} {}", proxy.url()).matches("secret").count(), 0);
        assert_eq!(proxy.url(), "http://proxy.example:3128");
        assert_eq!(Proxy::new("::1", 80, None, None).url(), "http://[::1]");
        // printf http://proxy.example:3128 | sha256sum
        assert_eq!(proxy.id().len(), 64);
        assert_eq!(proxy.id(), Proxy::new("proxy.example", 3128, None, None).id());
    }

    #[test]
    fn each_refusal_says_who_refuses_and_what_would_help() {
        let told = |proxy: &Proxy, status| proxy.refusal(status, "h:443").to_string();
        assert!(told(&proxy(None), 407).contains("asks for a user name"));
        assert!(told(&proxy(Some("u:secret")), 407).contains("does not accept the user name"));
        assert!(!told(&proxy(Some("u:secret")), 407).contains("secret"));
        assert!(told(&proxy(None), 403).contains("does not allow connections to h:443"));
        assert!(told(&proxy(None), 504).contains("can not reach h:443"));
        assert!(told(&proxy(None), 302).contains("HTTP 302"));
    }
}

//! Connections through an HTTP proxy (wire-34, wire-35).
//!
//! A target with TLS is reached by CONNECT; a target without TLS gets requests in absolute form,
//! which [`super::transport`] writes. `hops` decides once, at start, which proxy serves which
//! target.

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
use super::error::{Cause, Fault, NetError, NetErrorKind};
use super::head::Held;
use super::stream::{Stream, earlier};
use super::tls::{Layered, Tls};
use crate::secret::Secret;

/// How long a proxy may take to open a tunnel, lookup and dial included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest head of a proxy's answer to CONNECT, in bytes.
const ANSWER_MAX: usize = 16 * 1024;

/// The maximum number of header lines in that head.
const HEADERS_MAX: usize = 64;

/// A proxy; clones share it. Its printed form has no user name and no password.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    host: String,
    port: u16,
    url: String,
    /// `Proxy-Authorization`, if its URL has credentials.
    credentials: Option<(HeaderName, Secret)>,
    /// TLS of an `https` proxy, without a client certificate (wire-29).
    tls: Option<Tls>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.url)
    }
}

impl Proxy {
    /// A proxy at `host` and `port`; `userinfo` is `user:password`, percent-encoded as in a URL.
    /// With `tls`, the connection to the proxy itself is encrypted.
    pub fn new(host: &str, port: u16, userinfo: Option<&Secret>, tls: Option<Tls>) -> Self {
        let (scheme, own_port) = if tls.is_some() { ("https", 443) } else { ("http", 80) };
        let shown = bracketed(host);
        let url = match port == own_port {
            true => format!("{scheme}://{shown}"),
            false => format!("{scheme}://{shown}:{port}"),
        };
        let credentials =
            userinfo.map(|userinfo| (header::PROXY_AUTHORIZATION, basic(userinfo.expose())));
        Self(Arc::new(Inner { host: host.to_owned(), port, url, credentials, tls }))
    }

    /// TLS of an `https` proxy.
    pub fn tls(&self) -> Option<&Tls> {
        self.0.tls.as_ref()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Scheme, host and port, for people (wire-35).
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The SHA-256 of [`Proxy::url`] in hexadecimal, which is its name in metrics (wire-35).
    pub fn id(&self) -> String {
        let hash = ring::digest::digest(&ring::digest::SHA256, self.0.url.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A connection to the proxy itself.
    pub(super) fn open(&self, limit: Option<Instant>, cancel: &Cancel) -> io::Result<Layered> {
        let stream = dial::tcp(&self.0.host, self.0.port, limit, cancel);
        stream.and_then(|stream| self.wrap(stream, limit)).map_err(|error| self.fault(error))
    }

    /// Makes the handshake with an `https` proxy.
    fn wrap(&self, stream: Stream, limit: Option<Instant>) -> io::Result<Layered> {
        let stream = Layered::Plain(stream);
        match &self.0.tls {
            Some(tls) => tls.handshake(&self.0.host, stream, limit),
            None => Ok(stream),
        }
    }

    fn fault(&self, error: io::Error) -> io::Error {
        let fault = Fault::of(error).at(&format!("at the proxy {}", self.0.url));
        fault.because(Some(Cause::AtProxy)).into()
    }

    /// Asks the proxy to connect to a target; from then on the stream is the target's.
    pub(super) fn connect(
        &self,
        stream: &mut Layered,
        host: &str,
        port: u16,
        limit: Option<Instant>,
    ) -> io::Result<()> {
        stream.socket().limit = earlier(limit, CONNECT_TIMEOUT);
        let target = format!("{host}:{port}");
        match self.ask(stream, &target).map_err(|error| self.fault(error))? {
            200 => Ok(()),
            status => Err(self.refusal(status, &target).into()),
        }
    }

    /// Sends CONNECT and returns the status of the answer.
    fn ask(&self, stream: &mut Layered, target: &str) -> io::Result<u16> {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let mut request = Held::default();
        request.push_head(head.as_bytes(), None, self.credentials());
        stream.write_all(request.bytes())?;
        request.wipe();
        stream.flush()?;
        let mut head = Vec::new();
        let mut byte = [0];
        // Read byte by byte: the bytes after the head belong to the tunnel.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == ANSWER_MAX {
                return Err(not_a_proxy());
            }
            if stream.read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.push(byte[0]);
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut headers);
        match answer.parse(&head) {
            Ok(httparse::Status::Complete(_)) => answer.code.ok_or_else(not_a_proxy),
            _ => Err(not_a_proxy()),
        }
    }

    /// The fault for a refused request or tunnel.
    pub(super) fn refusal(&self, status: u16, target: &str) -> Fault {
        let url = &self.0.url;
        let told = match status {
            407 if self.0.credentials.is_some() => {
                format!("{url} does not accept the user name and password of its URL (HTTP 407)")
            }
            407 => format!("{url} asks for a user name and password in its URL (HTTP 407)"),
            403 => format!("{url} does not allow connections to {target} (HTTP 403)"),
            // Tinyproxy answers 500, others with the statuses of gateways.
            500 | 502..=504 => {
                let told = format!("the proxy {url} cannot reach {target}: HTTP {status}");
                return Fault::new(NetErrorKind::HostUnreachable, told);
            }
            _ => format!("{url} answers CONNECT {target} with HTTP {status}"),
        };
        Fault::new(NetErrorKind::Proxy, told)
    }

    /// Our credentials for the proxy, as a header.
    pub(super) fn credentials(&self) -> Option<&(HeaderName, Secret)> {
        self.0.credentials.as_ref()
    }

    /// Dials the proxy, to try it out.
    ///
    /// # Errors
    /// If there is no connection within `limit`.
    pub fn dial(&self, limit: Instant, cancel: &Cancel) -> Result<Dialled<'_>, NetError> {
        dial::tcp(&self.0.host, self.0.port, Some(limit), cancel)
            .map(|stream| Dialled { proxy: self, stream })
            .map_err(|error| NetError::of_io(error, false, false))
    }
}

/// A connection to a proxy, to try it out.
pub struct Dialled<'a> {
    proxy: &'a Proxy,
    stream: Stream,
}

impl Dialled<'_> {
    /// Asks for a tunnel to a target, closes the connection again, and returns the status of the
    /// answer.
    ///
    /// # Errors
    /// If the proxy does not answer within `limit`.
    pub fn ask(self, host: &str, port: u16, limit: Instant) -> Result<u16, NetError> {
        let shown = bracketed(host);
        let asked = self.proxy.wrap(self.stream, Some(limit)).and_then(|mut stream| {
            stream.socket().limit = Some(limit);
            self.proxy.ask(&mut stream, &format!("{shown}:{port}"))
        });
        asked.map_err(|error| NetError::of_io(error, false, false))
    }
}

fn not_a_proxy() -> io::Error {
    Fault::new(NetErrorKind::NotHttp, "").into()
}

fn bracketed(host: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// `user:password` of a URL as Basic credentials; a missing password is empty (wire-34).
fn basic(userinfo: &str) -> Secret {
    // Allocated at full size: a growing buffer would leave copies of the secret behind.
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

    #[test] // wire-34
    fn a_missing_password_is_empty() {
        assert_eq!(basic("user").expose(), format!("Basic {}", STANDARD.encode("user:")));
        // printf u::p@ss | base64
        assert_eq!(basic("u%3A:p%40ss").expose(), "Basic dTo6cEBzcw==");
        assert_eq!(basic("a%zz:").expose(), format!("Basic {}", STANDARD.encode("a%zz:")));
    }

    #[test] // wire-35
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
        assert!(told(&proxy(None), 504).contains("cannot reach h:443"));
        assert!(told(&proxy(None), 302).contains("HTTP 302"));
    }
}

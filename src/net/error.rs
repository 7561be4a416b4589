//! What went wrong on a socket, told apart as far as a caller decides on it.

use std::fmt;
use std::io;

/// A failed exchange.
#[derive(Debug)]
pub struct NetError {
    /// What happened.
    pub kind: NetErrorKind,
    /// Whether a byte of the request was handed to the connection: only if not, the peer
    /// certainly knows nothing of it (W-68).
    pub wrote: bool,
    /// Whether the connection had served an earlier request: its peer may have closed it for
    /// being idle, before this request reached it.
    pub reused: bool,
    /// What is to blame, where an operator would look somewhere else than the kind suggests.
    pub cause: Option<Cause>,
    /// For the log: what the system or library said. It never holds a header or a body.
    pub detail: String,
}

/// A cause with a remedy of its own, whatever the kind of the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The exchange did not get past the proxy.
    AtProxy,
    /// A certificate of the server's chain has expired.
    Expired,
}

/// The kinds that the classification tables name (F-58, F-59).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetErrorKind {
    /// The name was not resolved.
    Dns,
    /// Nobody listens there.
    Refused,
    /// No way to the network.
    NetworkUnreachable,
    /// No way to the host.
    HostUnreachable,
    /// The connection failed in another way.
    Dial,
    /// The proxy refused to go on.
    Proxy,
    /// TLS was not agreed on.
    Tls,
    /// The peer reset the connection.
    Reset,
    /// The connection was aborted.
    Aborted,
    /// The peer no longer reads.
    BrokenPipe,
    /// The peer closed where an answer might have begun.
    Eof,
    /// The peer closed inside an answer.
    UnexpectedEof,
    /// The limit passed.
    TimedOut,
    /// Somebody gave the exchange up.
    Cancelled,
    /// The peer does not speak HTTP/1.1 as we do.
    NotHttp,
    /// None of these.
    Other,
}

impl NetErrorKind {
    /// The stable word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::NetworkUnreachable => "network_unreachable",
            Self::HostUnreachable => "host_unreachable",
            Self::Dial => "dial",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Aborted => "aborted",
            Self::BrokenPipe => "broken_pipe",
            Self::Eof => "eof",
            Self::UnexpectedEof => "unexpected_eof",
            Self::TimedOut => "timeout",
            Self::Cancelled => "cancelled",
            Self::NotHttp => "not_http",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            NetErrorKind::Dns => "the host name was not resolved",
            NetErrorKind::Refused => "connection refused",
            NetErrorKind::NetworkUnreachable => "network unreachable",
            NetErrorKind::HostUnreachable => "host unreachable",
            NetErrorKind::Dial => "no connection",
            NetErrorKind::Proxy => "refused by the proxy",
            NetErrorKind::Tls => "TLS failed",
            NetErrorKind::Reset => "connection reset by the peer",
            NetErrorKind::Aborted => "connection aborted",
            NetErrorKind::BrokenPipe => "the peer no longer reads",
            NetErrorKind::Eof => "the peer closed the connection without an answer",
            NetErrorKind::UnexpectedEof => "the peer closed the connection inside an answer",
            NetErrorKind::TimedOut => "timed out",
            NetErrorKind::Cancelled => "given up",
            NetErrorKind::NotHttp => "the answer is not HTTP/1.1",
            NetErrorKind::Other => "I/O error",
        };
        match self.detail.as_str() {
            "" => f.write_str(what),
            detail => write!(f, "{what} ({detail})"),
        }
    }
}

impl std::error::Error for NetError {}

/// What our own layers put inside an `io::Error`, so that it comes back through ureq.
#[derive(Debug)]
pub(super) enum Fault {
    Cancelled,
    Dns(String),
    Dial(io::Error),
    /// The peer cut an established connection. Without this cover ureq would take it for the
    /// end of the answer.
    Cut(io::Error),
    Tls(String),
    /// A certificate of the server's chain has expired.
    Expired(String),
    /// It happened on the way to the proxy of this URL, or at it.
    AtProxy(String, io::Error),
    /// The proxy refused.
    ProxyRefused(String),
    /// The proxy did not reach the target.
    BehindProxy(String),
    /// The answer to CONNECT is no HTTP.
    NotAProxy,
    /// TLS with the target failed, inside the tunnel through the proxy of this URL.
    InTunnel(String, io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("given up"),
            Self::Dns(text)
            | Self::Tls(text)
            | Self::Expired(text)
            | Self::ProxyRefused(text)
            | Self::BehindProxy(text) => f.write_str(text),
            Self::Dial(error) | Self::Cut(error) => error.fmt(f),
            Self::NotAProxy => f.write_str("the answer to CONNECT is not HTTP/1.1"),
            Self::AtProxy(url, error) => write!(f, "proxy {url}: {error}"),
            Self::InTunnel(url, error) => write!(f, "through the proxy {url}: {error}"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}

impl NetError {
    pub(super) fn of_ureq(error: ureq::Error, wrote: bool, answer_began: bool) -> Self {
        match error {
            ureq::Error::Io(error) => Self::of_io(error, wrote, answer_began),
            ureq::Error::Timeout(phase) => Self {
                kind: NetErrorKind::TimedOut,
                wrote,
                reused: false,
                cause: None,
                detail: phase.to_string(),
            },
            ureq::Error::Protocol(_)
            | ureq::Error::Http(_)
            | ureq::Error::LargeResponseHeader(..)
            | ureq::Error::BodyStalled => {
                // The library's text may quote the peer; its kind is enough.
                Self {
                    kind: NetErrorKind::NotHttp,
                    wrote,
                    reused: false,
                    cause: None,
                    detail: String::new(),
                }
            }
            other => Self {
                kind: NetErrorKind::Other,
                wrote,
                reused: false,
                cause: None,
                detail: other.to_string(),
            },
        }
    }

    pub(super) fn of_io(error: io::Error, wrote: bool, answer_began: bool) -> Self {
        let error = match error.downcast::<ureq::Error>() {
            Ok(inner) => return Self::of_ureq(inner, wrote, answer_began),
            Err(error) => error,
        };
        let error = match error.downcast::<Fault>() {
            Ok(Fault::Dial(error)) => {
                let mut dialled = Self::of_io(error, wrote, answer_began);
                if dialled.kind == NetErrorKind::Other {
                    dialled.kind = NetErrorKind::Dial;
                }
                return dialled;
            }
            Ok(Fault::Cut(error)) => return Self::of_io(error, wrote, answer_began),
            Ok(Fault::AtProxy(url, error)) => {
                let at = Self::of_io(error, wrote, answer_began);
                return Self {
                    cause: Some(Cause::AtProxy),
                    detail: told_with(&at.detail, &format!("at the proxy {url}")),
                    ..at
                };
            }
            Ok(Fault::InTunnel(url, error)) => {
                let at = Self::of_io(error, wrote, answer_began);
                let way = format!("through the proxy {url}, which may open TLS itself");
                return Self { detail: told_with(&at.detail, &way), ..at };
            }
            Ok(Fault::Expired(detail)) => {
                let (kind, cause) = (NetErrorKind::Tls, Some(Cause::Expired));
                return Self { kind, wrote, reused: false, cause, detail };
            }
            Ok(fault) => {
                let (kind, detail) = match fault {
                    Fault::Dns(text) => (NetErrorKind::Dns, text),
                    Fault::Tls(text) => (NetErrorKind::Tls, text),
                    Fault::ProxyRefused(text) => (NetErrorKind::Proxy, text),
                    Fault::BehindProxy(text) => (NetErrorKind::HostUnreachable, text),
                    Fault::NotAProxy => (NetErrorKind::NotHttp, String::new()),
                    _ => (NetErrorKind::Cancelled, String::new()),
                };
                return Self { kind, wrote, reused: false, cause: None, detail };
            }
            Err(error) => error,
        };
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => NetErrorKind::Refused,
            io::ErrorKind::NetworkUnreachable => NetErrorKind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable => NetErrorKind::HostUnreachable,
            io::ErrorKind::ConnectionReset => NetErrorKind::Reset,
            io::ErrorKind::ConnectionAborted => NetErrorKind::Aborted,
            io::ErrorKind::BrokenPipe => NetErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof if answer_began => NetErrorKind::UnexpectedEof,
            io::ErrorKind::UnexpectedEof => NetErrorKind::Eof,
            io::ErrorKind::TimedOut => NetErrorKind::TimedOut,
            _ => NetErrorKind::Other,
        };
        let detail = match kind {
            NetErrorKind::Other => error.to_string(),
            _ => String::new(),
        };
        Self { kind, wrote, reused: false, cause: None, detail }
    }
}

/// A detail and where it happened.
fn told_with(detail: &str, place: &str) -> String {
    match detail {
        "" => place.to_owned(),
        detail => format!("{detail}; {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // W-37
    fn a_failure_at_the_proxy_keeps_its_kind_and_names_the_cause() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let fault = Fault::AtProxy("http://p:3128".to_owned(), Fault::Dial(refused).into());
        let error = NetError::of_io(fault.into(), false, false);
        assert_eq!((error.kind, error.cause), (NetErrorKind::Refused, Some(Cause::AtProxy)));
        let expired = NetError::of_io(Fault::Expired("x".to_owned()).into(), false, false);
        assert_eq!((expired.kind, expired.cause), (NetErrorKind::Tls, Some(Cause::Expired)));
    }
}

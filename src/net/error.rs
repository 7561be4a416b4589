//! The failures of a socket, in the kinds that callers distinguish.
//!
//! The layers of `net` report a [`Fault`] inside an `io::Error`, so that it passes through ureq.
//! Every other room sees a [`NetError`].

use std::fmt;
use std::io;

/// A failed exchange.
#[derive(Debug)]
pub struct NetError {
    /// The kind of the failure.
    pub kind: NetErrorKind,
    /// True if a byte of the request was handed to the connection. If not, the peer certainly knows
    /// nothing of the request (wire-68).
    pub wrote: bool,
    /// True if the connection had served an earlier request: its peer may have closed it as idle
    /// before this request reached it.
    pub reused: bool,
    /// The cause, if an operator should look elsewhere than the kind suggests.
    pub cause: Option<Cause>,
    /// The message of the system or a library, for the log. It never holds a header or a body.
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

/// The kinds that the classification tables name (forwarding-58, forwarding-59).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetErrorKind {
    /// The name was not resolved.
    Dns,
    /// The port refused the connection.
    Refused,
    /// No route to the network.
    NetworkUnreachable,
    /// No route to the host.
    HostUnreachable,
    /// The connection failed in another way.
    Dial,
    /// The proxy refused the request.
    Proxy,
    /// The TLS handshake failed.
    Tls,
    /// The peer reset the connection.
    Reset,
    /// The connection was aborted.
    Aborted,
    /// The peer no longer reads.
    BrokenPipe,
    /// The peer closed the connection before the answer began.
    Eof,
    /// The peer closed the connection inside the answer.
    UnexpectedEof,
    /// The limit passed.
    TimedOut,
    /// The exchange was cancelled.
    Cancelled,
    /// The peer does not speak HTTP/1.1 as we do.
    NotHttp,
    /// None of these.
    Other,
}

impl NetErrorKind {
    /// The stable word for metrics.
    pub fn word(self) -> &'static str {
        self.texts().0
    }

    /// The word for metrics, and the text for people.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Dns => ("dns", "the host name was not resolved"),
            Self::Refused => ("refused", "connection refused"),
            Self::NetworkUnreachable => ("network_unreachable", "network unreachable"),
            Self::HostUnreachable => ("host_unreachable", "host unreachable"),
            Self::Dial => ("dial", "no connection"),
            Self::Proxy => ("proxy", "refused by the proxy"),
            Self::Tls => ("tls", "TLS failed"),
            Self::Reset => ("reset", "connection reset by the peer"),
            Self::Aborted => ("aborted", "connection aborted"),
            Self::BrokenPipe => ("broken_pipe", "the peer no longer reads"),
            Self::Eof => ("eof", "the peer closed the connection without an answer"),
            Self::UnexpectedEof => {
                ("unexpected_eof", "the peer closed the connection inside an answer")
            }
            Self::TimedOut => ("timeout", "timed out"),
            Self::Cancelled => ("cancelled", "given up"),
            Self::NotHttp => ("not_http", "the answer is not HTTP/1.1"),
            Self::Other => ("other", "I/O error"),
        }
    }

    fn of(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::NetworkUnreachable => Self::NetworkUnreachable,
            io::ErrorKind::HostUnreachable => Self::HostUnreachable,
            io::ErrorKind::ConnectionReset => Self::Reset,
            io::ErrorKind::ConnectionAborted => Self::Aborted,
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            io::ErrorKind::UnexpectedEof => Self::Eof,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, what) = self.kind.texts();
        match self.detail.as_str() {
            "" => f.write_str(what),
            detail => write!(f, "{what} ({detail})"),
        }
    }
}

impl std::error::Error for NetError {}

/// A failure whose kind is known where it happens.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: NetErrorKind,
    cause: Option<Cause>,
    detail: String,
}

impl Fault {
    pub(super) fn new(kind: NetErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, cause: None, detail: detail.into() }
    }

    pub(super) fn cancelled() -> Self {
        Self::new(NetErrorKind::Cancelled, "")
    }

    /// The fault behind an error: one that was reported before, or the system's error.
    pub(super) fn of(error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(fault) => return fault,
            Err(error) => error,
        };
        match NetErrorKind::of(error.kind()) {
            NetErrorKind::Other => Self::new(NetErrorKind::Other, error.to_string()),
            kind => Self::new(kind, ""),
        }
    }

    /// The fault of a connection that was not established.
    pub(super) fn of_dial(error: io::Error) -> Self {
        let fault = Self::of(error);
        match fault.kind {
            NetErrorKind::Other => Self { kind: NetErrorKind::Dial, ..fault },
            _ => fault,
        }
    }

    /// The same fault, with its cause.
    pub(super) fn because(self, cause: Option<Cause>) -> Self {
        Self { cause, ..self }
    }

    /// The same fault, with the place where it happened.
    pub(super) fn at(self, place: &str) -> Self {
        let detail = match self.detail.as_str() {
            "" => place.to_owned(),
            detail => format!("{detail}; {place}"),
        };
        Self { detail, ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.word(), self.detail)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}

impl NetError {
    fn new(fault: Fault, wrote: bool) -> Self {
        let Fault { kind, cause, detail } = fault;
        Self { kind, wrote, reused: false, cause, detail }
    }

    /// The failure that ureq reports; `answer_began` distinguishes a truncated answer from a
    /// missing one.
    pub(super) fn of_ureq(error: ureq::Error, wrote: bool, answer_began: bool) -> Self {
        let fault = match error {
            ureq::Error::Io(error) => return Self::of_io(error, wrote, answer_began),
            ureq::Error::Timeout(phase) => Fault::new(NetErrorKind::TimedOut, phase.to_string()),
            // The library's text may quote the peer; the kind is enough.
            ureq::Error::Protocol(_)
            | ureq::Error::Http(_)
            | ureq::Error::LargeResponseHeader(..)
            | ureq::Error::BodyStalled => Fault::new(NetErrorKind::NotHttp, ""),
            other => Fault::new(NetErrorKind::Other, other.to_string()),
        };
        Self::new(fault, wrote)
    }

    /// The failure that a socket or one of our layers reports.
    pub(super) fn of_io(error: io::Error, wrote: bool, answer_began: bool) -> Self {
        let fault = match error.downcast::<ureq::Error>() {
            Ok(inner) => return Self::of_ureq(inner, wrote, answer_began),
            Err(error) => Fault::of(error),
        };
        Self::new(
            match fault.kind {
                NetErrorKind::Eof if answer_began => {
                    Fault { kind: NetErrorKind::UnexpectedEof, ..fault }
                }
                _ => fault,
            },
            wrote,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // forwarding-58, forwarding-59
    fn an_end_inside_an_answer_is_told_from_one_before_it() {
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(NetError::of_io(end(), true, false).kind, NetErrorKind::Eof);
        assert_eq!(NetError::of_io(end(), true, true).kind, NetErrorKind::UnexpectedEof);
    }

    #[test] // wire-37
    fn a_failure_at_the_proxy_keeps_its_kind_and_names_the_cause() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let fault = Fault::of(Fault::of_dial(refused).into()).at("at x");
        let fault = fault.because(Some(Cause::AtProxy));
        let error = NetError::of_ureq(ureq::Error::Io(fault.into()), false, false);
        assert_eq!((error.kind, error.cause), (NetErrorKind::Refused, Some(Cause::AtProxy)));
        assert_eq!(error.to_string(), "connection refused (at x)");
        let unknown = Fault::of_dial(io::Error::other("no idea"));
        let error = NetError::of_io(unknown.into(), false, false);
        assert_eq!((error.kind, error.detail.as_str()), (NetErrorKind::Dial, "no idea"));
    }
}

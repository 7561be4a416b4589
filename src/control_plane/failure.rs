//! What a failed poll can be: the classes that metrics, the page and its advice tell apart.
//!
//! `poll` classifies and `daemon` reads the result. Nothing here decides about retries.

use crate::net::{NetError, NetErrorKind};

/// The class of a failed poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The limit passed.
    Timeout,
    /// No connection was made.
    Unreachable,
    /// TLS was not agreed on.
    Tls,
    /// The connection broke.
    Connection,
    /// The service refuses the key, which only an operator can change (W-73).
    KeyRefused,
    /// The service asks for fewer requests.
    RateLimited,
    /// The service reports an error of its own.
    ServerError,
    /// A status that the contract does not have.
    UnexpectedStatus,
    /// An answer that does not follow the protocol.
    BadAnswer,
}

impl FailureClass {
    /// All classes, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Unreachable,
        Self::Tls,
        Self::Connection,
        Self::KeyRefused,
        Self::RateLimited,
        Self::ServerError,
        Self::UnexpectedStatus,
        Self::BadAnswer,
    ];

    /// The stable word for metrics and scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Connection => "connection",
            Self::KeyRefused => "key_refused",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::UnexpectedStatus => "unexpected_status",
            Self::BadAnswer => "bad_answer",
        }
    }

    /// The class of an exchange without an answer.
    pub(super) fn of_net(error: &NetError) -> Self {
        match error.kind {
            NetErrorKind::TimedOut => Self::Timeout,
            NetErrorKind::Dns
            | NetErrorKind::Refused
            | NetErrorKind::NetworkUnreachable
            | NetErrorKind::HostUnreachable
            | NetErrorKind::Dial => Self::Unreachable,
            NetErrorKind::Tls => Self::Tls,
            NetErrorKind::NotHttp => Self::BadAnswer,
            _ => Self::Connection,
        }
    }

    /// The class of an answer with a status that is no success.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::KeyRefused,
            429 => Self::RateLimited,
            500.. => Self::ServerError,
            _ => Self::UnexpectedStatus,
        }
    }
}

//! Turns what happened on a socket into the failure that is reported (forwarding-58,
//! forwarding-59). Pure; called by `http`.

use super::CallError;
use crate::net::{NetError, NetErrorKind};
use crate::wire::{Failure, FailureKind as Kind, FailureSource as Source};

/// The report for a failed exchange with the MCP server.
pub fn of_net(error: &NetError) -> CallError {
    let (source, kind) = match error.kind {
        NetErrorKind::Cancelled => return CallError::Cancelled,
        NetErrorKind::TimedOut => return CallError::TimedOut,
        NetErrorKind::Dns => (Source::Dns, Kind::Dns),
        NetErrorKind::Tls => (Source::Tls, Kind::Tls),
        NetErrorKind::Refused => (Source::Connect, Kind::ConnectionRefused),
        NetErrorKind::NetworkUnreachable => (Source::Connect, Kind::NetworkUnreachable),
        NetErrorKind::HostUnreachable => (Source::Connect, Kind::HostUnreachable),
        NetErrorKind::Dial | NetErrorKind::Proxy => (Source::Connect, Kind::Dial),
        NetErrorKind::Reset => (Source::TransportClosed, Kind::ConnectionReset),
        NetErrorKind::Aborted => (Source::TransportClosed, Kind::ConnectionAborted),
        NetErrorKind::BrokenPipe => (Source::TransportClosed, Kind::ClosedPipe),
        NetErrorKind::Eof => (Source::TransportClosed, Kind::Eof),
        NetErrorKind::UnexpectedEof => (Source::TransportClosed, Kind::UnexpectedEof),
        NetErrorKind::NotHttp => (Source::Protocol, Kind::InvalidProtocolResponse),
        NetErrorKind::Other => (Source::ClientInternal, Kind::Unknown),
    };
    Failure::new(source, kind).into()
}

/// A broken protocol, of this kind.
pub fn protocol(kind: Kind) -> Failure {
    Failure::new(Source::Protocol, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // forwarding-58, forwarding-59, forwarding-213
    fn every_kind_of_network_error_has_its_own_report() {
        let report = |kind| {
            let error =
                NetError { kind, wrote: false, reused: false, cause: None, detail: String::new() };
            match of_net(&error) {
                CallError::Failed(f, _) => (f.source.as_str(), f.kind.as_str(), f.resp_code()),
                _ => ("-", "-", 0),
            }
        };
        assert_eq!(report(NetErrorKind::Refused), ("connect", "connection_refused", 502));
        assert_eq!(report(NetErrorKind::Dns), ("dns", "dns", 502));
        assert_eq!(report(NetErrorKind::Tls), ("tls", "tls", 502));
        assert_eq!(report(NetErrorKind::Reset), ("transport_closed", "connection_reset", 502));
        assert_eq!(report(NetErrorKind::Eof), ("transport_closed", "eof", 502));
        assert_eq!(report(NetErrorKind::Other), ("client_internal", "unknown", 502));
        assert_eq!(report(NetErrorKind::TimedOut).2, 0);
    }
}

//! Failures of the private hop, classified: `error.data.tunnel_failure` (wire-62, forwarding-57 to
//! forwarding-63).

use super::RpcId;
use super::jsonrpc::{INTERNAL_ERROR, error_with};

words! {
    /// The part of the way that failed (forwarding-58).
    FailureSource {
        /// The MCP server answered with a status of 400..=599 and no MCP error.
        TargetHttp = "target_http",
        /// The name was not resolved.
        Dns = "dns",
        /// The TLS handshake failed.
        Tls = "tls",
        /// No connection was established.
        Connect = "connect",
        /// The connection, or the child's pipe, ended before the answer.
        TransportClosed = "transport_closed",
        /// A time limit passed.
        Timeout = "timeout",
        /// The answer broke the protocol.
        Protocol = "protocol",
        /// Any other failure on our side.
        ClientInternal = "client_internal",
    }
}

words! {
    /// The exact failure (forwarding-59).
    FailureKind {
        /// The pipe to the child is closed.
        ClosedPipe = "closed_pipe",
        /// The connection was aborted.
        ConnectionAborted = "connection_aborted",
        /// The connection was closed on our side.
        ConnectionClosed = "connection_closed",
        /// The port refused the connection.
        ConnectionRefused = "connection_refused",
        /// The peer reset the connection.
        ConnectionReset = "connection_reset",
        /// The connection failed in another way.
        Dial = "dial",
        /// The name was not resolved.
        Dns = "dns",
        /// The stream ended between two messages.
        Eof = "eof",
        /// No route to the host.
        HostUnreachable = "host_unreachable",
        /// A status of 400 or more whose body was not examined.
        HttpStatus = "http_status",
        /// A body that is JSON but not an MCP error.
        InvalidMcpError = "invalid_mcp_error",
        /// A message that is not expected there.
        InvalidProtocolResponse = "invalid_protocol_response",
        /// A body that is not JSON.
        MalformedJson = "malformed_json",
        /// No route to the network.
        NetworkUnreachable = "network_unreachable",
        /// An answer that is not an MCP answer at all.
        NonProtocolResponse = "non_protocol_response",
        /// A missing body where one is required.
        ResponseBodyMissing = "response_body_missing",
        /// A body over the limit.
        ResponseBodyTooLarge = "response_body_too_large",
        /// A body that broke off.
        ResponseBodyUnreadable = "response_body_unreadable",
        /// A time limit passed.
        Timeout = "timeout",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The stream ended inside a message.
        UnexpectedEof = "unexpected_eof",
        /// None of these.
        Unknown = "unknown",
    }
}

/// The reason why a command has no answer from the MCP server. It reveals nothing about the target:
/// no URL, no body, no free text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The part of the way that failed.
    pub source: FailureSource,
    /// The exact failure.
    pub kind: FailureKind,
    /// The status of the MCP server's answer, if there was one.
    pub upstream_status: Option<u16>,
}

/// The status of a failure without an upstream status (forwarding-61).
pub const BAD_GATEWAY: u16 = 502;

impl Failure {
    /// A failure without any answer from the server.
    pub const fn new(source: FailureSource, kind: FailureKind) -> Self {
        Self { source, kind, upstream_status: None }
    }

    /// A failure that follows from an HTTP answer with this status (forwarding-58, rows 1 and 2).
    pub const fn of_answer(status: u16, kind: FailureKind) -> Self {
        let source = match status {
            400..=599 => FailureSource::TargetHttp,
            _ => FailureSource::Protocol,
        };
        Self { source, kind, upstream_status: Some(status) }
    }

    /// The status to report: the upstream status, or 502 without one (forwarding-61).
    pub fn resp_code(&self) -> u16 {
        match self.upstream_status {
            // A 2xx status without an MCP answer is not a success (forwarding-223).
            Some(status) if status >= 300 => status,
            _ => BAD_GATEWAY,
        }
    }

    /// True if the server answered at all (forwarding-63 ties this to `target_http`).
    pub fn upstream_response_received(&self) -> bool {
        self.upstream_status.is_some() && self.source != FailureSource::TransportClosed
    }

    /// The JSON-RPC error to post (forwarding-57). Without an id the member is left out.
    pub fn to_json(&self, id: Option<&RpcId>) -> String {
        let status = match (self.source, self.upstream_status) {
            (FailureSource::TargetHttp, Some(status)) => format!(",\"upstream_status\":{status}"),
            _ => String::new(),
        };
        let data = format!(
            "{{\"tunnel_failure\":{{\"version\":1,\"source\":\"{}\",\"transport_error_kind\":\"{}\",\
             \"upstream_response_received\":{}{status}}}}}",
            self.source.as_str(),
            self.kind.as_str(),
            self.upstream_response_received(),
        );
        error_with(id, INTERNAL_ERROR, reason_phrase(self.resp_code()), Some(&data))
    }
}

/// The standard reason phrase of a status, or a general text (forwarding-57).
pub fn reason_phrase(status: u16) -> &'static str {
    ureq::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("MCP transport error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // forwarding-57
    fn a_refused_connection_reads_as_specified() {
        let failure = Failure::new(FailureSource::Connect, FailureKind::ConnectionRefused);
        let id = RpcId::from_json("\"q7\"");
        assert_eq!(
            failure.to_json(id.as_ref()),
            r#"{"jsonrpc":"2.0","id":"q7","error":{"code":-32603,"message":"Bad Gateway","data":{"tunnel_failure":{"version":1,"source":"connect","transport_error_kind":"connection_refused","upstream_response_received":false}}}}"#
        );
    }

    #[test] // forwarding-63
    fn the_upstream_status_goes_with_target_http_only() {
        let failure = Failure::of_answer(503, FailureKind::MalformedJson);
        assert_eq!(failure.source, FailureSource::TargetHttp);
        assert_eq!(failure.resp_code(), 503);
        assert!(
            failure
                .to_json(None)
                .contains(r#""upstream_response_received":true,"upstream_status":503"#)
        );
        let redirect = Failure::of_answer(302, FailureKind::MalformedJson);
        assert_eq!(redirect.source, FailureSource::Protocol);
        assert_eq!(redirect.resp_code(), 302);
        assert!(!redirect.to_json(None).contains("upstream_status"));
    }

    #[test] // forwarding-223
    fn a_success_without_an_mcp_answer_is_502() {
        let failure = Failure::of_answer(202, FailureKind::NonProtocolResponse);
        assert_eq!((failure.source, failure.resp_code()), (FailureSource::Protocol, 502));
    }

    #[test] // forwarding-57
    fn a_status_without_a_phrase_has_a_general_message() {
        assert_eq!(reason_phrase(502), "Bad Gateway");
        assert_eq!(reason_phrase(599), "MCP transport error");
    }
}

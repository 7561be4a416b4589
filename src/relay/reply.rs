//! Answers that the relay makes itself, and the request that gets them.

use crate::httpd::{BodyError, Exchange, Framing, Stream, WriteError};
use crate::wire::jsonrpc::{self, INTERNAL_ERROR};
use crate::wire::{RpcId, json};
use std::sync::Arc;

use super::budget::{Budget, Reserved};

/// Tells whether a command may have reached the MCP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It has certainly not.
    No,
    /// The relay does not know.
    Unknown,
}

/// A problem that the relay reports instead of an answer from behind the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs; empty if there is none.
    pub code: &'static str,
    /// A sentence for people.
    pub message: &'static str,
    /// When to try again, in seconds.
    pub retry_after: Option<u32>,
    /// Tells whether the command may have reached the MCP server.
    pub delivered: Delivered,
    /// The code of the JSON-RPC error that carries this to an MCP client.
    pub rpc_code: i64,
}

impl Problem {
    /// A problem that occurred before anything was handed out.
    pub const fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        let delivered = Delivered::No;
        let rpc_code = INTERNAL_ERROR;
        Self { status, code, message, retry_after: None, delivered, rpc_code }
    }

    /// Adds the time after which to try again.
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Marks the command as one that may have been executed.
    pub const fn maybe_delivered(mut self) -> Self {
        self.delivered = Delivered::Unknown;
        self
    }

    /// Sets another JSON-RPC error code.
    pub const fn rpc(mut self, code: i64) -> Self {
        self.rpc_code = code;
        self
    }

    /// As the error envelope of the control plane (wire.md, 14).
    pub fn envelope(&self) -> Reply {
        let kind = match self.status {
            401 | 403 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let code = match self.code {
            "" => "null".to_owned(),
            code => json::quote(code),
        };
        let message = json::quote(self.message);
        let body = format!(
            "{{\"error\":{{\"message\":{message},\"type\":\"{kind}\",\"param\":null,\
             \"code\":{code}}}}}"
        );
        self.finish(Reply::json(self.status, body))
    }

    /// As a JSON-RPC error message (relay.md, 3.5).
    pub fn rpc_text(&self, id: Option<&RpcId>) -> String {
        let data = format!(
            "{{\"tunnel_error\":{{\"code\":{},\"status\":{},\"retryable\":{},\"delivered\":\"{}\"}}}}",
            json::quote(self.code),
            self.status,
            self.retry_after.is_some(),
            match self.delivered {
                Delivered::No => "no",
                Delivered::Unknown => "unknown",
            }
        );
        // MCP defines the data of its own codes.
        let data = (self.rpc_code == INTERNAL_ERROR).then_some(data);
        jsonrpc::error_with(id, self.rpc_code, self.message, data.as_deref())
    }

    /// As an answer to an MCP client whose message had this id.
    pub fn rpc_reply(&self, id: Option<&RpcId>) -> Reply {
        self.finish(Reply::json(self.status, self.rpc_text(id)))
    }

    fn finish(&self, reply: Reply) -> Reply {
        let reply = match self.retry_after {
            Some(seconds) => reply.with("Retry-After", seconds.to_string()),
            None => reply,
        };
        match self.status {
            401 => reply.with("WWW-Authenticate", "Bearer".to_owned()),
            _ => reply,
        }
    }
}

/// One answer of known length.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Reply {
    /// An answer without body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// An answer with a JSON body.
    pub fn json(status: u16, body: String) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { status, headers, body }
    }

    /// An answer with a text body.
    pub fn text(status: u16, body: String) -> Self {
        let headers = vec![("Content-Type", "text/plain; charset=utf-8".to_owned())];
        Self { status, headers, body }
    }

    /// Adds a header field.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// One request to the relay, with the headers that every answer to it carries.
pub struct Visit<'c> {
    /// The request.
    pub exchange: Exchange<'c>,
    /// Header fields of every answer.
    pub common: Vec<(&'static str, String)>,
}

impl<'c> Visit<'c> {
    /// The first value of a header that is not empty.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.exchange.head().headers.get(name)
    }

    /// The answer to the preflight request of a browser, which carries no key. It allows every
    /// header that was asked for; authentication follows later, and the origin was checked before.
    pub fn preflight(&self, methods: &str) -> Reply {
        let headers = self.header("Access-Control-Request-Headers").unwrap_or("Content-Type");
        Reply::empty(204)
            .with("Access-Control-Allow-Methods", methods.to_owned())
            .with("Access-Control-Allow-Headers", headers.to_owned())
            .with("Access-Control-Max-Age", "600".to_owned())
    }

    /// Answers.
    pub fn reply(self, reply: Reply) {
        // If the client has gone, its answer is not needed.
        let _ = self.reply_parts(reply.status, &reply.headers, &[reply.body.as_bytes()]);
    }

    /// Answers with a body in pieces.
    pub fn reply_parts(
        self,
        status: u16,
        headers: &[(&str, String)],
        body: &[&[u8]],
    ) -> Result<(), WriteError> {
        let headers = fields(headers, &self.common);
        self.exchange.respond_parts(status, &headers, body)
    }

    /// Begins an answer in pieces.
    pub fn stream(self, status: u16, headers: &[(&str, String)]) -> Result<Stream<'c>, WriteError> {
        let headers = fields(headers, &self.common);
        self.exchange.stream(status, &headers)
    }

    /// Reads the body within the route's limit and the relay's memory budget. A chunked body is
    /// charged at the limit while it arrives, because its length is not known before.
    ///
    /// # Errors
    /// The answer to give instead; see also [`Unread`].
    pub fn read_body(
        &mut self,
        limit: usize,
        budget: &Arc<Budget>,
    ) -> Result<(Vec<u8>, Reserved), Unread> {
        let charge = match self.exchange.head().framing {
            Framing::Length(length) => {
                usize::try_from(length).ok().filter(|length| *length <= limit)
            }
            Framing::Chunked => Some(limit),
        };
        let charge = charge.ok_or(Unread::TooLarge)?;
        let mut reserved = budget.reserve(charge).ok_or(Unread::NoMemory)?;
        match self.exchange.read_body(limit) {
            Ok(body) => {
                reserved.shrink(body.len());
                Ok((body, reserved))
            }
            Err(BodyError::TooLarge) => Err(Unread::TooLarge),
            Err(BodyError::TooSlow) => Err(Unread::Broken(408)),
            Err(BodyError::Malformed | BodyError::Broken(_)) => Err(Unread::Broken(400)),
        }
    }
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is over the route's limit.
    TooLarge,
    /// The node has no memory for it now.
    NoMemory,
    /// It did not arrive whole; the status tells why.
    Broken(u16),
}

impl Unread {
    /// The problem to answer with.
    pub fn problem(self) -> Problem {
        match self {
            Self::TooLarge => TOO_LARGE,
            Self::NoMemory => NO_MEMORY,
            Self::Broken(status) => Problem::new(status, "", "the body did not arrive whole"),
        }
    }
}

fn fields<'a>(
    own: &'a [(&'a str, String)],
    common: &'a [(&'static str, String)],
) -> Vec<(&'a str, &'a str)> {
    own.iter()
        .map(|(n, v)| (*n, v.as_str()))
        .chain(common.iter().map(|(n, v)| (*n, v.as_str())))
        .collect()
}

const TOO_LARGE: Problem =
    Problem::new(413, "request_body_too_large", "the body is larger than this route accepts");
const NO_MEMORY: Problem =
    Problem::new(503, "tunnel_transport_unavailable", "the relay has no memory for this body now")
        .retry_after(1);
/// The tunnel id of the path has the wrong form.
pub const BAD_TUNNEL_ID: Problem = Problem::new(
    400,
    "invalid_tunnel_id_format",
    "a tunnel id is `tunnel_` and 32 characters of a-z and 0-9",
);
/// A channel name has the wrong form.
pub const BAD_CHANNEL: Problem = Problem::new(
    400,
    "invalid_channel_format",
    "a channel name is 1 to 64 characters of a-z, 0-9, `_` and `-`",
);
/// The relay is about to stop.
pub const DRAINING: Problem =
    Problem::new(503, "relay_shutting_down", "the relay is shutting down").retry_after(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_envelope_and_as_json_rpc_error() {
        let problem = Problem::new(429, "tunnel_queue_full", "full").retry_after(1);
        let reply = problem.envelope();
        assert_eq!(
            reply.body,
            r#"{"error":{"message":"full","type":"rate_limit_error","param":null,"code":"tunnel_queue_full"}}"#
        );
        assert_eq!(reply.headers[1], ("Retry-After", "1".to_owned()));
        let id = RpcId::from_json("1.0");
        assert_eq!(
            problem.rpc_text(id.as_ref()),
            r#"{"jsonrpc":"2.0","id":1.0,"error":{"code":-32603,"message":"full","data":{"tunnel_error":{"code":"tunnel_queue_full","status":429,"retryable":true,"delivered":"no"}}}}"#
        );
        let plain = Problem::new(404, "", "no such path").envelope();
        assert!(plain.body.ends_with(r#""code":null}}"#), "{}", plain.body);
    }
}

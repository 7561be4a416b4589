//! The answers to an `oauth_discovery` command: the server's metadata, or an error.

use std::time::Instant;

use super::Discovery;
use crate::net::Cancel;
use crate::wire::{ChannelName, Headers, Response, ResponseType, json};

impl Discovery {
    /// Reads the server's metadata, again each time, and passes them on as they came (oauth-28,
    /// oauth-29). The authorization server is not asked, because its answer would not be passed on.
    ///
    /// # Errors
    /// If there is no metadata, or it cannot be read: one line for the log, with origins for URLs.
    pub fn answer(&self, limit: Instant, cancel: &Cancel) -> Result<Response, String> {
        let document = self.search(limit, cancel).result.map_err(|failure| failure.text)?;
        Ok(Response {
            resp_type: ResponseType::OauthDiscovery,
            resp_code: document.status,
            resp_headers: document.headers,
            resp_json: Some(document.resource.text),
        })
    }
}

/// The answer if there is no metadata to pass on (forwarding-215). It names no place of the private
/// side (oauth-76).
pub fn unreadable() -> Response {
    let text = "this tunnel client cannot read OAuth metadata from its MCP server";
    error(502, text, "server_error", "oauth_discovery_failed")
}

/// The answer for a channel that has no metadata (forwarding-14).
pub fn unsupported_channel(channel: &ChannelName) -> Response {
    let text = format!("unsupported channel {}", json::quote(channel.as_str()));
    error(400, &text, "invalid_request_error", "unsupported_channel")
}

fn error(status: u16, message: &str, kind: &str, code: &str) -> Response {
    let body = format!(
        "{{\"error\":{{\"message\":{},\"type\":\"{kind}\",\"code\":\"{code}\"}}}}",
        json::quote(message)
    );
    Response {
        resp_type: ResponseType::OauthDiscovery,
        resp_code: status,
        resp_headers: Headers::json(),
        resp_json: Some(body),
    }
}

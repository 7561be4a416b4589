//! The body of a response POST (wire-59 to wire-61): printed by the daemon, parsed by the relay.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::headers::Headers;

words! {
    /// The type of a response (wire-60).
    ResponseType {
        /// Result or error of a request; final.
        JsonRpcResponse = "jsonrpc_response",
        /// A server message before the result; not final.
        JsonRpcNotify = "jsonrpc_notify",
        /// A notification was delivered; final.
        NotifyAck = "notify_ack",
        /// A session was closed; final.
        SessionTermination = "session_termination_response",
        /// OAuth metadata; final.
        OauthDiscovery = "oauth_discovery_response",
    }
}

impl ResponseType {
    /// True if no other response may follow for the same command.
    pub fn is_final(self) -> bool {
        self != Self::JsonRpcNotify
    }
}

/// One answer on its way to the control plane, before it is tied to its command.
#[derive(Debug, Clone)]
pub struct Response {
    /// The type of the response.
    pub resp_type: ResponseType,
    /// The status of the MCP server, or the status that reports a failure.
    pub resp_code: u16,
    /// Headers, still unfiltered.
    pub resp_headers: Headers,
    /// The JSON-RPC message; for OAuth discovery the metadata document.
    pub resp_json: Option<String>,
}

/// The only response headers that are sent (wire-61), in their spelling on the wire.
pub const FORWARDED_RESPONSE_HEADERS: [&str; 6] = [
    "Access-Control-Expose-Headers",
    "Content-Type",
    "Last-Event-Id",
    "Mcp-Protocol-Version",
    "Mcp-Session-Id",
    "Www-Authenticate",
];

/// Keeps the headers that wire-61 allows: listed names that `Connection` does not nominate, with
/// values that are not empty.
pub fn forwarded_headers(headers: &Headers) -> Headers {
    let nominated = headers.nominated_by_connection();
    let mut kept = Headers::new();
    for name in FORWARDED_RESPONSE_HEADERS {
        if nominated.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            continue;
        }
        for value in headers.values(name).iter().filter(|value| !value.is_empty()) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// The body of a response POST, tied to its command (wire-59).
#[derive(Debug, Deserialize)]
pub struct ResponseBody {
    /// As polled.
    pub request_id: Option<String>,
    /// As polled, canonical.
    pub channel: Option<String>,
    /// The JSON-RPC message as text.
    pub resp_json: Option<Box<RawValue>>,
    /// Headers that passed the filter.
    #[serde(default)]
    pub resp_headers: Headers,
    /// A status.
    pub resp_code: Option<i64>,
    /// See [`ResponseType`].
    pub resp_type: Option<String>,
}

impl Response {
    /// The body to post for a command. The payload is copied once, as text.
    pub fn to_body(&self, request_id: &str, channel: &str) -> String {
        #[derive(Serialize)]
        struct Head<'a> {
            request_id: &'a str,
            channel: &'a str,
            #[serde(skip_serializing_if = "Headers::is_empty")]
            resp_headers: &'a Headers,
            resp_code: u16,
            resp_type: &'a str,
        }
        let headers = match self.resp_type {
            ResponseType::OauthDiscovery => self.resp_headers.clone(),
            _ => forwarded_headers(&self.resp_headers),
        };
        let head = serde_json::to_string(&Head {
            request_id,
            channel,
            resp_headers: &headers,
            resp_code: self.resp_code,
            resp_type: self.resp_type.as_str(),
        })
        .expect("strings and numbers always serialize");
        match &self.resp_json {
            None => head,
            Some(json) => {
                let mut body = String::with_capacity(head.len() + json.len() + 16);
                body.push_str(&head[..head.len() - 1]);
                body.push_str(",\"resp_json\":");
                body.push_str(json);
                body.push('}');
                body
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // wire-59, wire-60
    fn a_termination_answer_has_no_json_and_no_headers() {
        let response = Response {
            resp_type: ResponseType::SessionTermination,
            resp_code: 204,
            resp_headers: Headers::new(),
            resp_json: None,
        };
        assert_eq!(
            response.to_body("r2", "main"),
            r#"{"request_id":"r2","channel":"main","resp_code":204,"resp_type":"session_termination_response"}"#
        );
    }

    #[test] // wire-52
    fn the_payload_is_the_text_it_was() {
        let json = r#"{"jsonrpc":"2.0","id":1.0,"result":{"b":1e400,"a":1,"a":2}}"#;
        let response = Response {
            resp_type: ResponseType::JsonRpcResponse,
            resp_code: 200,
            resp_headers: Headers::new(),
            resp_json: Some(json.to_owned()),
        };
        let body = response.to_body("r1", "main");
        let parsed: ResponseBody = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed.resp_json.unwrap().get(), json);
        assert_eq!(parsed.resp_code, Some(200));
    }

    #[test] // wire-61
    fn only_listed_headers_travel_in_the_listed_spelling() {
        let mut headers = Headers::new();
        headers.append("WWW-Authenticate", "Bearer");
        headers.append("www-authenticate", "Basic");
        headers.append("mcp-session-id", "");
        headers.append("MCP-Protocol-Version", "2025-06-18");
        headers.append("Content-Type", "application/json");
        headers.append("Set-Cookie", "x=1");
        headers.append("Connection", "content-type");
        let kept = forwarded_headers(&headers);
        assert_eq!(
            serde_json::to_string(&kept).unwrap(),
            r#"{"Mcp-Protocol-Version":["2025-06-18"],"Www-Authenticate":["Bearer","Basic"]}"#
        );
    }
}

//! The headers that go to a private server over HTTP (forwarding-34, forwarding-46, forwarding-226,
//! mcp-28 to mcp-32, mcp-40).

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::net::SecretHeaders;
use crate::net::client::header_value;
use crate::secret::Secret;
use crate::wire::{CLIENT_NAME, CLIENT_VERSION, Era, Headers, Message, era};

const BOTH_TYPES: &str = "application/json, text/event-stream";

/// Headers of a remote client that end at this hop: they belong to its connection, to its
/// browser, or to the transport (forwarding-51, first column of forwarding-226, mcp-40).
const NOT_FORWARDED: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-length",
    "cookie",
    "host",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// The headers of one request. The operator's headers are kept apart: they may be secrets, which
/// only `net` writes out.
#[derive(Debug, Clone, Default)]
pub struct RequestHeaders {
    /// All others.
    pub open: HeaderMap,
    /// The operator's headers; none of them is in `open` as well.
    pub secret: SecretHeaders,
}

impl RequestHeaders {
    fn has(&self, name: &str) -> bool {
        self.open.contains_key(name) || self.secret.iter().any(|(secret, _)| secret == name)
    }

    fn remove(&mut self, name: &str) {
        self.open.remove(name);
        self.secret.retain(|(secret, _)| secret != name);
    }

    /// Replaces all values of this name.
    fn insert(&mut self, name: &'static str, value: HeaderValue) {
        self.remove(name);
        self.open.insert(name, value);
    }
}

/// The headers for one message: the base, then the operator's `fixed` ones, then those of the
/// command.
pub fn for_message(
    message: &Message,
    command: &Headers,
    fixed: &[(HeaderName, Secret)],
) -> RequestHeaders {
    let mut headers = base(fixed);
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    forward(command, &mut headers);
    if !accepts_both(command) {
        headers.insert("accept", HeaderValue::from_static(BOTH_TYPES));
    }
    if message.era() == Era::Modern {
        make_modern(message, &mut headers);
    }
    headers
}

/// The headers for ending a session: the command's, without a default `Accept` (forwarding-54).
pub fn for_termination(command: &Headers, fixed: &[(HeaderName, Secret)]) -> RequestHeaders {
    let mut headers = base(fixed);
    forward(command, &mut headers);
    headers
}

/// The headers for resuming a broken stream (forwarding-39).
pub fn for_resumption(message: &RequestHeaders, last_id: &str) -> Option<RequestHeaders> {
    let mut headers = message.clone();
    headers.remove("content-type");
    headers.insert("accept", HeaderValue::from_static("text/event-stream"));
    headers.insert("last-event-id", header_value(last_id)?);
    Some(headers)
}

/// The headers of every request; among `fixed` ones of the same name the last counts.
fn base(fixed: &[(HeaderName, Secret)]) -> RequestHeaders {
    let mut headers = RequestHeaders::default();
    let agent = format!("{CLIENT_NAME}/{CLIENT_VERSION}");
    headers.insert("user-agent", header_value(&agent).expect("our own name is a header value"));
    for (name, value) in fixed {
        headers.remove(name.as_str());
        headers.secret.push((name.clone(), value.clone()));
    }
    headers
}

/// The headers of a request of the tunnel's own; `fixed` are the operator's.
pub fn for_question(fixed: &[(HeaderName, Secret)]) -> RequestHeaders {
    let mut headers = base(fixed);
    if !headers.has("accept") {
        headers.insert("accept", HeaderValue::from_static("application/json"));
    }
    headers
}

fn forward(command: &Headers, headers: &mut RequestHeaders) {
    let nominated = command.nominated_by_connection();
    for (name, values) in command.iter() {
        let lower = name.to_ascii_lowercase();
        if NOT_FORWARDED.contains(&lower.as_str()) || nominated.contains(&lower) {
            continue;
        }
        let Ok(name) = HeaderName::from_bytes(lower.as_bytes()) else { continue };
        let mut values = values.iter().filter_map(|value| header_value(value)).peekable();
        if values.peek().is_some() {
            headers.remove(name.as_str());
        }
        for value in values {
            headers.open.append(name.clone(), value);
        }
    }
}

fn accepts_both(command: &Headers) -> bool {
    let listed = command.values("accept").join(",").to_ascii_lowercase();
    listed.contains("application/json") && listed.contains("text/event-stream")
}

/// Adds the headers that the stateless era demands of every POST, if the command did not carry them
/// (mcp-29), and removes those that it forbids (mcp-32).
fn make_modern(message: &Message, headers: &mut RequestHeaders) {
    headers.remove("mcp-session-id");
    headers.remove("last-event-id");
    let mut derive = |name: &'static str, text: Option<&str>| {
        if !headers.has(name)
            && let Some(value) = text.and_then(|text| header_value(&era::to_header(text)))
        {
            headers.insert(name, value);
        }
    };
    derive("mcp-protocol-version", message.version());
    derive("mcp-method", message.method());
    derive("mcp-name", message.name().as_deref());
}

/// The headers of an answer in the form of the protocol. Bytes that are not UTF-8 are replaced.
pub fn received(headers: &HeaderMap) -> Headers {
    let mut received = Headers::new();
    for (name, value) in headers {
        received.append(name.as_str(), String::from_utf8_lossy(value.as_bytes()));
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(text).unwrap()
    }

    fn legacy() -> Message {
        message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
    }

    fn command(pairs: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.append(name, *value);
        }
        headers
    }

    fn all<'a>(headers: &'a RequestHeaders, name: &str) -> Vec<&'a str> {
        let secret = headers.secret.iter().filter(|(secret, _)| secret == name);
        let open = headers.open.get_all(name).iter().map(|value| value.to_str().unwrap());
        open.chain(secret.map(|(_, value)| value.expose())).collect()
    }

    fn fixed(name: &'static str, value: &str) -> (HeaderName, Secret) {
        (HeaderName::from_static(name), Secret::new(value.to_owned()))
    }

    #[test] // forwarding-34
    fn the_command_beats_the_operator_who_beats_the_base() {
        let fixed = [
            fixed("authorization", "fixed"),
            fixed("user-agent", "a"),
            fixed("x-site", "r"),
            fixed("x-site", "s"),
        ];
        let command = command(&[("Authorization", "a"), ("authorization", "b"), ("X-One", "1")]);
        let headers = for_message(&legacy(), &command, &fixed);
        assert_eq!(all(&headers, "authorization"), ["a", "b"]);
        assert_eq!(all(&headers, "user-agent"), ["a"]);
        assert_eq!(all(&headers, "x-site"), ["s"]);
        assert!(!headers.open.contains_key("x-site"), "a secret is in no header map");
        assert_eq!(all(&headers, "content-type"), ["application/json"]);
        assert_eq!(all(&headers, "accept"), [BOTH_TYPES]);
    }

    #[test] // forwarding-226, mcp-40, forwarding-52
    fn what_belongs_to_another_hop_stays_there() {
        let mut pairs: Vec<(&str, &str)> = NOT_FORWARDED.iter().map(|name| (*name, "x")).collect();
        pairs.push(("Connection", "X-Hop"));
        pairs.push(("X-Hop", "1"));
        pairs.push(("X-Kept", "1"));
        let headers = for_message(&legacy(), &command(&pairs), &[]);
        let mut names: Vec<&str> = headers.open.keys().map(HeaderName::as_str).collect();
        names.sort();
        assert_eq!(names, ["accept", "content-type", "user-agent", "x-kept"]);
    }

    #[test] // mcp-28
    fn both_answer_types_are_always_asked_for() {
        let own = command(&[("Accept", "text/event-stream, application/json;q=0.5")]);
        assert_eq!(
            all(&for_message(&legacy(), &own, &[]), "accept"),
            ["text/event-stream, application/json;q=0.5"]
        );
        let json = command(&[("Accept", "application/json")]);
        assert_eq!(all(&for_message(&legacy(), &json, &[]), "accept"), [BOTH_TYPES]);
    }

    #[test] // mcp-29, mcp-32
    fn a_stateless_request_gets_the_headers_it_must_have() {
        let call = message(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"é","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        );
        let headers = for_message(&call, &command(&[("Mcp-Session-Id", "s")]), &[]);
        assert_eq!(all(&headers, "mcp-protocol-version"), ["2026-07-28"]);
        assert_eq!(all(&headers, "mcp-method"), ["tools/call"]);
        assert_eq!(all(&headers, "mcp-name"), ["=?base64?w6k=?="]);
        assert!(!headers.has("mcp-session-id"));
        let own = command(&[("Mcp-Name", "=?base64?w6k=?="), ("Mcp-Param-X", "=?base64?eA==?=")]);
        let headers = for_message(&call, &own, &[]);
        assert_eq!(all(&headers, "mcp-name"), ["=?base64?w6k=?="]);
        assert_eq!(all(&headers, "mcp-param-x"), ["=?base64?eA==?="]);
    }
}

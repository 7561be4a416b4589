//! Logs whole HTTP messages, at level debug and only if the operator asks for them (setting
//! `log.http_raw_unsafe`).
//!
//! Payloads are shown, credentials are not: a [`Masker`] hides every secret of the request and the
//! values of headers and JSON members whose names suggest a credential. Of content that it cannot
//! parse it shows only the size. It gets copies only, which `net` passes to [`Tap`].

use serde_json::Value;
use ureq::http::{HeaderMap, Method, StatusCode, Uri};

use crate::component::Component;
use crate::net::SecretHeaders;
use crate::net::ledger::Tap;
use crate::secret::Secret;

/// The longest line or body that is parsed, in bytes.
const LOOK_MAX: usize = 1024 * 1024;
/// How many levels of JSON inside JSON strings are parsed. Each level may nest as deep as the
/// parser allows, and all of it is on the stack of a thread.
const NESTED_MAX: usize = 2;
/// The log target: operators look for these records among those of the network.
const TARGET: &str = Component::Net.target();
/// The heading of a response's records.
const RESPONSE: &str = "raw http response";
/// The shortest secret that is searched for in texts, in bytes: a shorter one would match
/// everywhere.
const SECRET_MIN: usize = 4;
/// The replacement for a hidden value.
const HIDDEN: &str = "[redacted]";
/// A name that suggests a credential contains one of these, in lower case and without separators.
const TELLING: [&str; 10] = [
    "authorization",
    "cookie",
    "password",
    "passwd",
    "secret",
    "apikey",
    "privatekey",
    "credential",
    "sessionid",
    "token",
];
/// Names of parameters that suggest a credential in a URL only.
const QUERY: [&str; 4] = ["key", "code", "sig", "signature"];
/// An MCP name that only sounds like a credential.
const HARMLESS: &str = "progresstoken";

/// Hides the credentials of one exchange.
#[derive(Debug)]
struct Masker {
    /// Values that are hidden wherever they occur: the secrets of the request, and the values of
    /// its headers whose names suggest a credential.
    values: Vec<Secret>,
}

/// Logs the response of one exchange.
#[derive(Debug)]
struct Response {
    masker: Masker,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The number of bytes of that line that were left out.
    left_out: usize,
}

/// Logs a request that is about to be sent, if raw logging is on at this moment.
pub fn request(
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    secrets: &SecretHeaders,
    body: Option<&[u8]>,
) -> Option<Box<dyn Tap>> {
    if log::max_level() < log::LevelFilter::Debug {
        return None;
    }
    let masker = Masker::of(headers, secrets);
    let mut text = format!("{method} {}\n{}", masker.target(uri), masker.headers(headers));
    for (name, _) in secrets {
        text.push_str(&format!("{name}: {HIDDEN}\n"));
    }
    if let Some(body) = body {
        text.push('\n');
        text.push_str(&masker.message(body));
    }
    record("raw http request", &text);
    Some(Box::new(Response { masker, line: Vec::new(), left_out: 0 }))
}

impl Tap for Response {
    fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        record(RESPONSE, &format!("{status}\n{}", self.masker.headers(headers)));
    }

    fn body(&mut self, body: &[u8]) {
        if !body.is_empty() {
            record(RESPONSE, &self.masker.message(body));
        }
    }

    /// Logs the lines that this piece completes: a line in two parts could not be masked.
    fn piece(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = LOOK_MAX.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            self.left_out += part.len() - room;
            if part.ends_with(b"\n") {
                self.end();
            }
        }
    }

    /// Logs the last line.
    fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        match std::mem::take(&mut self.left_out) {
            0 if line.is_empty() => {}
            0 => record(RESPONSE, &self.masker.message(line)),
            more => record(RESPONSE, &format!("({} bytes)", line.len() + more)),
        }
    }
}

impl Masker {
    fn of(headers: &HeaderMap, secrets: &SecretHeaders) -> Self {
        let told = headers.iter().filter(|(name, _)| tells(name.as_str()));
        let told = told.filter_map(|(_, value)| Some(Secret::new(value.to_str().ok()?.to_owned())));
        Self { values: secrets.iter().map(|(_, secret)| secret.clone()).chain(told).collect() }
    }

    fn target(&self, uri: &Uri) -> String {
        let place = format!(
            "{}://{}{}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", |at| at.as_str().rsplit('@').next().unwrap_or_default()),
            uri.path()
        );
        let Some(query) = uri.query() else { return self.masked(&place) };
        let shown = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if tells(name) || QUERY.contains(&name) => format!("{name}={HIDDEN}"),
            _ => pair.to_owned(),
        });
        self.masked(&format!("{place}?{}", shown.collect::<Vec<_>>().join("&")))
    }

    fn headers(&self, headers: &HeaderMap) -> String {
        let shown = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            let text = String::from_utf8_lossy(value.as_bytes());
            let text = if tells(name.as_str()) { HIDDEN.to_owned() } else { self.masked(&text) };
            format!("{name}: {text}\n")
        };
        headers.iter().map(shown).collect()
    }

    /// A body, or a line of an event stream.
    fn message(&self, bytes: &[u8]) -> String {
        let size = format!("({} bytes)", bytes.len());
        let Ok(text) = std::str::from_utf8(bytes) else { return size };
        if bytes.len() > LOOK_MAX {
            return size;
        }
        let (field, json) = match text.strip_prefix("data:") {
            Some(rest) => ("data: ", rest),
            None => ("", text),
        };
        let shown = match serde_json::from_str::<Value>(json) {
            Ok(mut value) => {
                hide(&mut value, NESTED_MAX);
                format!("{field}{value}")
            }
            // Text that is nearly JSON may hold anything, and its names cannot be read. A line may
            // be part of JSON that spans many lines.
            Err(_) if json.trim_start().starts_with(['{', '[']) || tells(json) => return size,
            Err(_) => text.to_owned(),
        };
        self.masked(&shown)
    }

    fn masked(&self, text: &str) -> String {
        let values = self.values.iter().map(Secret::expose);
        // With and without the scheme, as in `Bearer k`.
        values
            .flat_map(|value| [Some(value), value.split_once(' ').map(|(_, token)| token)])
            .flatten()
            .filter(|value| value.len() >= SECRET_MIN)
            .fold(text.to_owned(), |text, value| text.replace(value, HIDDEN))
    }
}

fn record(message: &'static str, dump: &str) {
    log::debug!(target: TARGET, dump = dump; "{message}");
}

/// True if a name suggests a credential.
fn tells(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_lowercase();
    name != HARMLESS && TELLING.iter().any(|word| name.contains(word))
}

/// Hides the values of members whose names suggest credentials, in JSON inside strings down to
/// `nested` levels.
fn hide(value: &mut Value, nested: usize) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if tells(name) {
                    *value = HIDDEN.into();
                } else {
                    hide(value, nested);
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|value| hide(value, nested)),
        // MCP messages also carry JSON inside strings.
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            let Some(nested) = nested.checked_sub(1) else {
                HIDDEN.clone_into(text);
                return;
            };
            if let Ok(mut inner) = serde_json::from_str::<Value>(text) {
                hide(&mut inner, nested);
                *text = inner.to_string();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderName;

    use super::*;

    fn tap() -> Response {
        let secret = Secret::new("Bearer sesame".to_owned());
        let secrets = vec![(HeaderName::from_static("authorization"), secret)];
        let masker = Masker::of(&HeaderMap::new(), &secrets);
        Response { masker, line: Vec::new(), left_out: 0 }
    }

    #[test] // operations-214
    fn names_that_speak_of_credentials_hide_their_values() {
        let hidden = [
            "Authorization",
            "proxy-authorization",
            "Set-Cookie",
            "X-Api-Key",
            "x-tunnel-shard-token",
            "shard_token",
            "accessToken",
            "client_secret",
            "Mcp-Session-Id",
        ];
        for name in hidden {
            assert!(tells(name), "{name}");
        }
        for name in ["code", "method", "progressToken", "content-type", "limit", "keys"] {
            assert!(!tells(name), "{name}");
        }
    }

    #[test] // operations-214, operations-135
    fn credentials_are_hidden_wherever_json_or_the_request_shows_them() {
        let tap = tap().masker;
        let body = r#"{"a":[{"shard_token":"x1","headers":{"Authorization":["Bearer x2"]}}],
            "code":-32601,"text":"{\"password\":\"x3\"}","echo":"open sesame"}"#;
        for shown in [tap.message(body.as_bytes()), tap.message(format!("data: {body}").as_bytes())]
        {
            assert!(shown.contains("-32601") && shown.contains(HIDDEN), "{shown}");
            for secret in ["x1", "x2", "x3", "sesame"] {
                assert!(!shown.contains(secret), "{secret}: {shown}");
            }
        }
        assert_eq!(tap.message(b"{\"password\":\"x"), "(14 bytes)");
        assert_eq!(tap.message(b"<html>sesame"), "<html>[redacted]");
        for part in ["data:   \"accessToken\": \"x\",", "  \"password\": \"x\"", "client_secret=x"]
        {
            assert_eq!(tap.message(part.as_bytes()), format!("({} bytes)", part.len()));
        }
        let uri: Uri = "http://h/p?limit=1&api_key=x4&key=x5".parse().unwrap();
        assert_eq!(tap.target(&uri), "http://h/p?limit=1&api_key=[redacted]&key=[redacted]");
    }

    #[test] // operations-214
    fn json_in_texts_is_looked_into_to_a_fixed_depth_and_shows_no_more() {
        let deep = |levels: usize| {
            let mut text = r#"{"password":"x1","plain":"x2"}"#.to_owned();
            for _ in 0..levels {
                let inner = format!("{}{text}{}", "[".repeat(100), "]".repeat(100));
                text = serde_json::json!({ "text": inner.replacen('[', " [", 1) }).to_string();
            }
            tap().masker.message(text.as_bytes())
        };
        assert!(deep(NESTED_MAX).contains("x2") && !deep(NESTED_MAX).contains("x1"));
        for levels in NESTED_MAX + 1..14 {
            let shown = deep(levels);
            assert!(shown.contains(HIDDEN) && !shown.contains("x2"), "{levels}: {shown}");
        }
    }

    #[test]
    fn a_line_is_judged_whole_or_told_by_its_size() {
        let mut tap = tap();
        tap.piece(b"data: {\"tok");
        assert_eq!(tap.line, b"data: {\"tok");
        tap.piece(b"en\":\"x\"}\n\nrest");
        assert_eq!(tap.line, b"rest");
        tap.piece(&vec![b'y'; 2 * LOOK_MAX]);
        assert_eq!((tap.line.len(), tap.left_out), (LOOK_MAX, LOOK_MAX + 4));
        tap.end();
        assert_eq!((tap.line.len(), tap.left_out), (0, 0));
    }
}

//! The error that a failed request reports (wire-74 to wire-77), made into one line for an
//! operator.

use std::fmt;

use crate::net::{NetError, Reply};
use crate::remedies::remedy;
use crate::wire::json::{self, Members};

/// Bytes of an error body that are kept (wire-74).
const KEPT: usize = 64 * 1024;
/// Bytes of an unstructured text that are shown (wire-75).
const SHOWN: usize = 1024;

/// A status that is no success, with what its body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusError {
    /// The status.
    pub status: u16,
    /// The service's code for it.
    pub code: Option<String>,
    /// The service's class of it.
    pub error_type: Option<String>,
    /// The service's text, or the raw body.
    pub message: Option<String>,
    /// `X-Request-Id` of the answer (wire-10).
    pub request_id: Option<String>,
}

impl StatusError {
    /// Reads the body of a reply. Its connection is given up if the body is long.
    pub fn read(reply: Reply) -> Self {
        let status = reply.status.as_u16();
        let request_id = reply.header("x-request-id").map(str::to_owned);
        match beginning(reply) {
            Ok(body) => Self::of(status, request_id, &String::from_utf8_lossy(&body)),
            Err(error) => {
                let message = Some(format!("read error body: {error}"));
                Self { status, code: None, error_type: None, message, request_id }
            }
        }
    }

    /// The same for a body that was read.
    pub fn of(status: u16, request_id: Option<String>, body: &str) -> Self {
        let (code, error_type, message) = details(body);
        Self { status, code, error_type, message, request_id }
    }

    /// What an operator can do about it.
    pub fn mitigation(&self) -> Option<&'static str> {
        remedy(self.status, self.code.as_deref())
    }

    /// Whether the service refuses the key, which only an operator can change (wire-73).
    pub fn is_refusal(&self) -> bool {
        matches!(self.status, 401 | 403)
    }

    /// The line with the id under which the service knows the request (wire-10).
    pub fn with_request_id(&self) -> String {
        match &self.request_id {
            Some(id) => format!("{self} (x-request-id: {id})"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        for part in [&self.code, &self.message].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        if let Some(mitigation) = self.mitigation() {
            write!(f, " mitigation: {mitigation}")?;
        }
        Ok(())
    }
}

/// The first [`KEPT`] bytes of a body. A longer one is not read on: its connection is closed.
fn beginning(mut reply: Reply) -> Result<Vec<u8>, NetError> {
    let mut body = Vec::new();
    let mut buf = [0; 16 * 1024];
    while body.len() < KEPT {
        match reply.read(&mut buf)? {
            0 => break,
            read => body.extend_from_slice(&buf[..read]),
        }
    }
    body.truncate(KEPT);
    Ok(body)
}

/// Code, type and message of a body.
type Details = (Option<String>, Option<String>, Option<String>);

/// What a body says (wire-75).
fn details(body: &str) -> Details {
    let body = body.trim();
    if body.is_empty() {
        return (None, None, None);
    }
    structured(body).unwrap_or_else(|| (None, None, Some(shortened(body))))
}

fn structured(body: &str) -> Option<Details> {
    let document = Members::of(body).ok()?;
    let inner = match document.get("error") {
        Some("null") | None => None,
        Some(error) => Some(Members::of(error).ok()?),
    };
    let source = inner.as_ref().unwrap_or(&document);
    let text = |name| match source.get(name) {
        Some("null") | None => Some(None),
        Some(value) => json::string(value).map(|text| Some(text.into_owned())),
    };
    let (code, error_type, mut message) = (text("code")?, text("type")?, text("message")?);
    if message.is_none() && inner.is_none() {
        message = document.get("detail").filter(|detail| *detail != "null").map(|detail| {
            json::string(detail).unwrap_or_else(|| json::compact(detail)).into_owned()
        });
    }
    let short = |text: Option<String>| text.map(|text| shortened(&text));
    Some((short(code), short(error_type), short(message)))
}

/// The first [`SHOWN`] bytes, cut on a character, with `...` behind a cut. It becomes part of one
/// line of the log and of the readiness page, so line breaks and their like become blanks.
fn shortened(text: &str) -> String {
    let cut = SHOWN.min(text.len());
    let end = (0..=cut).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let mut shown = text[..end].replace(char::is_control, " ");
    if end < text.len() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> (Option<String>, Option<String>) {
        let (code, _, message) = details(body);
        (code, message)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test] // wire-75
    fn bodies_are_read_in_all_their_forms() {
        assert_eq!(of("  "), (None, None));
        assert_eq!(of("plain"), (None, some("plain")));
        assert_eq!(of(r#"["x"]"#), (None, some(r#"["x"]"#)));
        assert_eq!(of(r#"{"error":"text"}"#), (None, some(r#"{"error":"text"}"#)));
        let numeric = r#"{"error":{"code":5}}"#;
        assert_eq!(of(numeric), (None, some(numeric)));
        assert_eq!(
            of(r#"{"error":{"code":"c","type":"t","message":"m","param":null}}"#),
            (some("c"), some("m"))
        );
        assert_eq!(of(r#"{"error":{"code":null,"message":"m"}}"#), (None, some("m")));
        assert_eq!(of(r#"{"code":"c","message":"m"}"#), (some("c"), some("m")));
        assert_eq!(of(r#"{"detail":"d"}"#), (None, some("d")));
        assert_eq!(of("{\"detail\":[{\n\"a\": 1}]}"), (None, some(r#"[{"a":1}]"#)));
    }

    #[test] // wire-75
    fn a_long_text_is_cut_on_a_character() {
        let text = "é".repeat(600);
        let shown = shortened(&text);
        assert_eq!(shown.len(), 1024 + 3);
        assert!(shown.ends_with("é..."));
        assert_eq!(shortened("short"), "short");
    }

    #[test] // wire-75
    fn what_a_service_says_stays_one_line_of_bounded_length() {
        let error = StatusError::of(500, None, "<html>\r\n<p>\u{1b}[2J\u{85}down</p>");
        assert_eq!(error.to_string(), "status 500: <html>  <p> [2J down</p>");
        let body = format!(r#"{{"code":"a\nb{}","message":"c\td"}}"#, "x".repeat(60_000));
        let line = StatusError::of(500, None, &body).to_string();
        assert!(line.starts_with("status 500: a bxx") && line.ends_with("...: c d"), "{line}");
        assert!(line.len() < 2 * SHOWN, "{} bytes", line.len());
    }

    #[test] // wire-76
    fn the_line_ends_with_what_to_do() {
        let error = StatusError {
            status: 401,
            code: some("tunnel_use_forbidden"),
            error_type: None,
            message: some("no"),
            request_id: None,
        };
        let line = error.to_string();
        assert!(line.starts_with("status 401: tunnel_use_forbidden: no mitigation: "), "{line}");
        assert!(line.contains("Tunnels Read and Use"));
    }
}

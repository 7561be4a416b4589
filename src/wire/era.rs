//! The two eras of MCP, and the demands of the second on a message and its headers (mcp.md, 4 and
//! 5).
//!
//! [`Message`](super::Message) determines the era of a message when it is parsed, and every other
//! room asks the message. Only the relay also checks headers against the message.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error_code::METHOD_NOT_FOUND;

/// The revision with sessions that the tunnel itself asks for: every server in use knows it.
pub const OWN_LEGACY: &str = "2025-06-18";
/// The first revision without sessions, and the one that the tunnel itself speaks.
pub const FIRST_MODERN: &str = "2026-07-28";

/// The member of `params._meta` that names the protocol revision of a modern request.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `params._meta` that lists what the client of a modern request can do.
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The member of `params._meta` that names the client of a modern request.
pub const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// The member of `result._meta` by which a modern server names itself.
pub const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";
/// The member of `_meta` that holds the id of a `subscriptions/listen` request (mcp-23).
pub const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The generation of MCP that a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Sessions that begin with `initialize`: up to 2025-11-25.
    Legacy,
    /// Since 2026-07-28: each request is complete in itself and is recognized by its
    /// [`META_VERSION`].
    Modern,
}

/// True if a protocol revision, such as the value of `MCP-Protocol-Version`, belongs to the modern
/// era.
pub fn is_modern(version: &str) -> bool {
    let date = version.len() == FIRST_MODERN.len()
        && version
            .bytes()
            .zip(FIRST_MODERN.bytes())
            .all(|(v, f)| v.is_ascii_digit() == f.is_ascii_digit());
    date && version >= FIRST_MODERN
}

/// The HTTP status of a modern server's answer with this error code; `None` means 200 (mcp-53).
pub fn status_of_error(code: i64) -> Option<u16> {
    match code {
        METHOD_NOT_FOUND => Some(404),
        code if is_modern_error(code) => Some(400),
        _ => None,
    }
}

/// True if only modern servers send this error code: HeaderMismatch,
/// MissingRequiredClientCapability, UnsupportedProtocolVersion.
pub fn is_modern_error(code: i64) -> bool {
    matches!(code, -32022..=-32020)
}

/// The member of `params` that the header `Mcp-Name` repeats for requests of this method (mcp-29).
pub fn named_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

const BASE64: (&str, &str) = ("=?base64?", "?=");

/// A text in the form in which a header of the modern era carries it: plain, or `=?base64?...?=`
/// (mcp.md, 4).
pub fn to_header(text: &str) -> Cow<'_, str> {
    let visible = |b: u8| (0x21..=0x7e).contains(&b);
    let bytes = text.as_bytes();
    let plain = bytes.iter().all(|b| visible(*b) || matches!(b, b' ' | b'\t'))
        && bytes.first().is_none_or(|b| visible(*b))
        && bytes.last().is_none_or(|b| visible(*b))
        && !(text.starts_with(BASE64.0) && text.ends_with(BASE64.1));
    match plain {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("{}{}{}", BASE64.0, STANDARD.encode(text), BASE64.1)),
    }
}

/// The text that such a header carries; `None` if it is malformed.
pub fn from_header(value: &str) -> Option<String> {
    match value.strip_prefix(BASE64.0).and_then(|v| v.strip_suffix(BASE64.1)) {
        Some(inner) => String::from_utf8(STANDARD.decode(inner).ok()?).ok(),
        None => value.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')).then(|| value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // mcp.md section 4
    fn a_text_that_cannot_be_a_header_value_is_encoded_and_comes_back() {
        for (text, value) in [
            ("a b", "a b"),
            (" a", "=?base64?IGE=?="),
            ("é", "=?base64?w6k=?="),
            ("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?="),
            ("", ""),
        ] {
            assert_eq!(to_header(text), value);
            assert_eq!(from_header(value).as_deref(), Some(text));
        }
        for malformed in ["zeiß", "=?base64?emVpw58?=", "=?base64?%?=", "a\nb"] {
            assert_eq!(from_header(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_revision_is_modern_by_its_date_alone() {
        for (version, modern) in [
            ("2026-07-28", true),
            ("2027-01-01", true),
            ("2025-11-25", false),
            ("zzzz-zz-zz", false),
            ("2026-07-28 ", false),
            ("9", false),
        ] {
            assert_eq!(is_modern(version), modern, "{version}");
        }
    }

    #[test] // mcp-53
    fn only_errors_of_the_modern_era_have_a_status_of_their_own() {
        for (code, status) in
            [(-32601, Some(404)), (-32022, Some(400)), (-32020, Some(400)), (-32602, None)]
        {
            assert_eq!(status_of_error(code), status);
        }
    }
}

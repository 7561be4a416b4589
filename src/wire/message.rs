//! One JSON-RPC message: its text, and the few facts that a tunnel needs to know about it. Each
//! message is parsed once, where it enters; later code asks the parsed value.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::era::{self, Era, META_VERSION};
use super::json::{self, Members};

/// The largest message that an MCP server may send through the tunnel, in bytes: four times the 16
/// MiB that must pass, which leaves room for escaping. It bounds the memory of one worker. The
/// daemon and the relay share this limit.
pub const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// A JSON-RPC message, carried as text.
#[derive(Debug, Clone)]
pub struct Message {
    text: String,
    kind: MessageKind,
    /// The range of `params` in the text.
    params: Option<Range<usize>>,
    era: Era,
    version: Option<String>,
}

/// The kind of a message, decided by its members alone (mcp.md, section 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageKind {
    /// `method` and an id: exactly one answer is due.
    Request {
        /// The sender's id, as text.
        id: RpcId,
        /// The method.
        method: String,
    },
    /// `method` without an id (or with `id: null`): no answer is due.
    Notification {
        /// The method.
        method: String,
    },
    /// `result` or `error`: the answer to a request of the other side.
    Response {
        /// The id of the request; `None` if an error has none.
        id: Option<RpcId>,
        /// `error.code`, if this is an error with an integer code.
        error_code: Option<i64>,
    },
}

/// The reason why a text is not a JSON-RPC message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAMessage {
    /// Not JSON, or text after the value.
    NotJson,
    /// JSON, but not an object (an array is a batch).
    NotAnObject,
    /// `jsonrpc` is not `"2.0"`.
    Version,
    /// `id` is neither a string, a number nor null.
    Id,
    /// Neither `method` nor a non-null `id`.
    Shape,
}

impl fmt::Display for NotAMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotJson => "it is not JSON",
            Self::NotAnObject => "it is not one JSON object",
            Self::Version => "its `jsonrpc` member is not \"2.0\"",
            Self::Id => "its `id` is neither a string nor a number",
            Self::Shape => "it has neither a `method` nor an `id`",
        })
    }
}

impl std::error::Error for NotAMessage {}

impl MessageKind {
    /// Determines the kind of the message `text`, without copying it, and returns its members too.
    pub fn read(text: &str) -> Result<(Self, Members<'_>), NotAMessage> {
        let members = Members::of(text).map_err(|_| {
            match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Ok(_) => NotAMessage::NotAnObject,
                Err(_) => NotAMessage::NotJson,
            }
        })?;
        Ok((kind(&members)?, members))
    }
}

impl Message {
    /// Reads a message (wire-50, wire-51). Unknown members are kept as part of the text.
    pub fn parse(text: impl Into<String>) -> Result<Self, NotAMessage> {
        let text = text.into();
        let (kind, members) = MessageKind::read(&text)?;
        let params = members.get("params");
        let version = params.and_then(|p| json::member(json::member(p, "_meta")?, META_VERSION));
        Ok(Self {
            era: if version.is_some() { Era::Modern } else { Era::Legacy },
            version: version.and_then(json::string).map(Cow::into_owned),
            params: params.map(|params| json::span(&text, params)),
            kind,
            text,
        })
    }

    /// The text as received.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Consumes the message and returns its text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// The kind of the message.
    pub fn kind(&self) -> &MessageKind {
        &self.kind
    }

    /// The method of a request or notification.
    pub fn method(&self) -> Option<&str> {
        match &self.kind {
            MessageKind::Request { method, .. } | MessageKind::Notification { method } => {
                Some(method)
            }
            MessageKind::Response { .. } => None,
        }
    }

    /// The id of a request, or of a response that has one.
    pub fn id(&self) -> Option<&RpcId> {
        match &self.kind {
            MessageKind::Request { id, .. } => Some(id),
            MessageKind::Response { id, .. } => id.as_ref(),
            MessageKind::Notification { .. } => None,
        }
    }

    /// The era of the message: modern if `params._meta` has [`META_VERSION`].
    pub fn era(&self) -> Era {
        self.era
    }

    /// The protocol revision that a modern message names; `None` if it is not a string.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// `params`, as JSON text.
    pub fn params(&self) -> Option<&str> {
        self.params.clone().map(|range| &self.text[range])
    }

    /// One member of `params`, as JSON text.
    pub fn param(&self, name: &str) -> Option<&str> {
        json::member(self.params()?, name)
    }

    /// One member of `params._meta`, as JSON text.
    pub fn meta(&self, name: &str) -> Option<&str> {
        json::member(self.param("_meta")?, name)
    }

    /// The subject of a request, such as a tool: the value that the header `Mcp-Name` repeats.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        json::string(self.param(era::named_member(self.method()?)?)?)
    }

    /// The id of the request that a `notifications/cancelled` cancels.
    pub fn cancelled_id(&self) -> Option<RpcId> {
        match &self.kind {
            MessageKind::Notification { method } if method == "notifications/cancelled" => {
                RpcId::from_json(self.param("requestId")?)
            }
            _ => None,
        }
    }

    /// The text with every top-level `id` replaced by `id`; nothing else changes.
    pub fn text_with_id(&self, id: &str) -> String {
        let members = Members::of(&self.text).expect("the text was parsed before");
        let edits = members.spans("id").into_iter().map(|r| (r, Cow::Borrowed(id))).collect();
        json::splice(&self.text, edits)
    }
}

fn kind(members: &Members<'_>) -> Result<MessageKind, NotAMessage> {
    if members.get("jsonrpc").and_then(json::string).as_deref() != Some("2.0") {
        return Err(NotAMessage::Version);
    }
    let id = match members.get("id") {
        None | Some("null") => None,
        Some(text) => Some(RpcId::from_json(text).ok_or(NotAMessage::Id)?),
    };
    let method = match members.get("method").map(json::string) {
        Some(Some(method)) if !method.is_empty() => Some(method.into_owned()),
        Some(_) => return Err(NotAMessage::Shape),
        None => None,
    };
    match (method, id) {
        (Some(method), Some(id)) => Ok(MessageKind::Request { id, method }),
        (Some(method), None) => Ok(MessageKind::Notification { method }),
        (None, id) => {
            let error_code = members
                .get("error")
                .and_then(|error| Members::of(error).ok())
                .and_then(|error| error.get("code")?.parse().ok());
            if id.is_none() && !members.has("error") {
                return Err(NotAMessage::Shape);
            }
            Ok(MessageKind::Response { id, error_code })
        }
    }
}

/// A JSON-RPC id, kept as its original JSON text, so `7`, `"7"` and `7.0` stay distinct.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RpcId(String);

impl RpcId {
    /// The id in a JSON text; `None` if it is neither a string nor a number.
    pub fn from_json(text: &str) -> Option<Self> {
        match text.as_bytes().first()? {
            b'"' | b'-' | b'0'..=b'9' => Some(Self(text.to_owned())),
            _ => None,
        }
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// True if both ids are equal, even in different spellings (`"\u0061"` for `"a"`, `1` for
    /// `1.0`). A string never equals a number.
    pub fn same_as(&self, other: &RpcId) -> bool {
        if self.0 == other.0 {
            return true;
        }
        match (json::string(&self.0), json::string(&other.0)) {
            (Some(a), Some(b)) => a == b,
            (None, None) => match (self.0.parse::<f64>(), other.0.parse::<f64>()) {
                // As doubles, different integers above 2^53 can be equal, so integers compare as
                // text.
                (Ok(a), Ok(b)) => {
                    a == b && !(self.0.parse::<i128>().is_ok() && other.0.parse::<i128>().is_ok())
                }
                _ => false,
            },
            _ => false,
        }
    }
}

impl fmt::Debug for RpcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RpcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MessageKind, NotAMessage> {
        Message::parse(text).map(|m| m.kind)
    }

    #[test] // wire-50, wire-51
    fn kinds_are_told_apart_by_members() {
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":"a","method":"ping","x":1}"#),
            Ok(MessageKind::Request {
                id: RpcId::from_json(r#""a""#).unwrap(),
                method: "ping".to_owned()
            })
        );
        let notification = MessageKind::Notification { method: "n".to_owned() };
        assert_eq!(parse(r#"{"jsonrpc":"2.0","method":"n"}"#), Ok(notification.clone()));
        assert_eq!(parse(r#"{"jsonrpc":"2.0","id":null,"method":"n"}"#), Ok(notification));
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":""}}"#),
            Ok(MessageKind::Response { id: RpcId::from_json("1"), error_code: Some(-32601) })
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#),
            Ok(MessageKind::Response { id: None, error_code: Some(1) })
        );
    }

    #[test] // wire-50
    fn what_is_no_message_says_why() {
        assert_eq!(parse("nonsense"), Err(NotAMessage::NotJson));
        assert_eq!(parse(r#"{"jsonrpc":"2.0","method":"a"} x"#), Err(NotAMessage::NotJson));
        assert_eq!(parse("[]"), Err(NotAMessage::NotAnObject));
        assert_eq!(parse(r#"{"method":"a"}"#), Err(NotAMessage::Version));
        assert_eq!(parse(r#"{"jsonrpc":"1.0","method":"a"}"#), Err(NotAMessage::Version));
        assert_eq!(parse(r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#), Err(NotAMessage::Id));
        assert_eq!(parse(r#"{"jsonrpc":"2.0","id":1,"method":""}"#), Err(NotAMessage::Shape));
        assert_eq!(parse(r#"{"jsonrpc":"2.0","id":1,"method":5}"#), Err(NotAMessage::Shape));
        assert_eq!(parse(r#"{"jsonrpc":"2.0","id":null}"#), Err(NotAMessage::Shape));
    }

    #[test] // wire-52
    fn an_id_keeps_its_text() {
        for id in ["12345678901234567890", "1.5", "-0", "1e400", r#""\u00e9""#] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
            let message = Message::parse(text.clone()).unwrap();
            assert_eq!(message.id().unwrap().as_json(), id);
            assert_eq!(message.text(), text);
        }
    }

    #[test] // mcp-1
    fn ids_compare_by_meaning_and_never_across_types() {
        let same = |a, b| RpcId::from_json(a).unwrap().same_as(&RpcId::from_json(b).unwrap());
        assert!(same("1", "1"));
        assert!(same("1", "1.0"));
        assert!(same(r#""a""#, r#""\u0061""#));
        assert!(!same("1", r#""1""#));
        assert!(!same("9007199254740993", "9007199254740992"));
    }

    #[test] // mcp-29
    fn the_era_and_the_name_are_told_by_the_params() {
        let call = |params: &str| {
            let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":PARAMS}"#;
            Message::parse(text.replace("PARAMS", params)).unwrap()
        };
        let modern = call(
            r#"{"name":"\u00e9","_meta":{"io.modelcontextprotocol\/protocolVersion":"2026-07-28"}}"#,
        );
        assert_eq!((modern.era(), modern.version()), (Era::Modern, Some("2026-07-28")));
        assert_eq!(modern.name().as_deref(), Some("é"));
        let odd = call(r#"{"name":7,"_meta":{"io.modelcontextprotocol/protocolVersion":7}}"#);
        assert_eq!((odd.era(), odd.version(), odd.name()), (Era::Modern, None, None));
        for legacy in ["{}", r#"{"_meta":{"progressToken":1}}"#, r#"{"_meta":[]}"#, "[1]", "7"] {
            assert_eq!(call(legacy).era(), Era::Legacy, "{legacy}");
        }
        let last = call(r#"{"name":"a"},"params":{"name":"b"}"#);
        assert_eq!(last.name().as_deref(), Some("b"));
    }

    #[test]
    fn replacing_the_id_leaves_the_rest() {
        let message =
            Message::parse(r#"{"id":1, "jsonrpc":"2.0","method":"m","params":{"id":1}}"#).unwrap();
        assert_eq!(
            message.text_with_id("42"),
            r#"{"id":42, "jsonrpc":"2.0","method":"m","params":{"id":1}}"#
        );
    }
}

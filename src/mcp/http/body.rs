//! What the body of an answer must be to count as the answer to a request. Pure: text in, the
//! message or the kind of failure out.

use crate::wire::message::NotAMessage;
use crate::wire::{FailureKind as Kind, Headers, Message, MessageKind, RpcId, json};

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// One message.
    Json,
    /// A stream of events.
    Events,
    /// Nothing of MCP.
    Other,
}

impl Media {
    /// Reads the `Content-Type`: `application/json` and its kin (forwarding-223), or
    /// `text/event-stream`.
    pub fn of(headers: &Headers) -> Self {
        let value = headers.get("Content-Type").unwrap_or_default();
        let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.strip_prefix("application/") {
            Some(sub) if sub == "json" || sub.ends_with("+json") => Self::Json,
            _ if media == "text/event-stream" => Self::Events,
            _ => Self::Other,
        }
    }
}

/// The answer to the request `id` in a body, as text.
pub(super) fn answer(id: &RpcId, body: Vec<u8>) -> Result<String, Kind> {
    restored(id, message(body, Kind::InvalidProtocolResponse)?)
}

/// The MCP error for the request `id` in the body of an answer that is no success (forwarding-35).
pub(super) fn error(id: &RpcId, body: Vec<u8>) -> Result<String, Kind> {
    let message = message(body, Kind::InvalidMcpError)?;
    let error = json::member(message.text(), "error").unwrap_or_default();
    let is_error = matches!(message.kind(), MessageKind::Response { error_code: Some(_), .. })
        && json::member(error, "message").is_some_and(|text| text.starts_with('"'))
        && json::member(message.text(), "result").is_none();
    match is_error {
        true => restored(id, message).map_err(|_| Kind::InvalidMcpError),
        false => Err(Kind::InvalidMcpError),
    }
}

/// A response to `id` as text, with the id as the remote client spelt it (mcp-1).
pub(super) fn restored(id: &RpcId, message: Message) -> Result<String, Kind> {
    match message.kind() {
        MessageKind::Response { id: Some(theirs), .. } if theirs == id => Ok(message.into_text()),
        MessageKind::Response { id: Some(theirs), .. } if theirs.same_as(id) => {
            Ok(message.text_with_id(id.as_json()))
        }
        _ => Err(Kind::InvalidProtocolResponse),
    }
}

/// The message that a body is; `other` if it is JSON and no message.
fn message(body: Vec<u8>, other: Kind) -> Result<Message, Kind> {
    if body.trim_ascii().is_empty() {
        return Err(Kind::ResponseBodyMissing);
    }
    let text = String::from_utf8(body).map_err(|_| Kind::MalformedJson)?;
    Message::parse(text).map_err(|why| match why {
        NotAMessage::NotJson => Kind::MalformedJson,
        _ => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RpcId {
        RpcId::from_json(text).unwrap()
    }

    #[test] // forwarding-35
    fn an_error_body_is_an_mcp_error_or_says_why_not() {
        let judge = |body: &str| error(&id("7"), body.as_bytes().to_vec());
        let good =
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32003,"message":"m","x":1e400},"y":2}"#;
        assert_eq!(judge(good).as_deref(), Ok(good));
        for (body, kind) in [
            ("", Kind::ResponseBodyMissing),
            (" \n", Kind::ResponseBodyMissing),
            ("<html>", Kind::MalformedJson),
            ("data: {}", Kind::MalformedJson),
            ("{}", Kind::InvalidMcpError),
            ("[]", Kind::InvalidMcpError),
            (r#"{"jsonrpc":"2.0","id":8,"error":{"code":1,"message":"m"}}"#, Kind::InvalidMcpError),
            (
                r#"{"jsonrpc":"2.0","id":"7","error":{"code":1,"message":"m"}}"#,
                Kind::InvalidMcpError,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":1.5,"message":"m"}}"#,
                Kind::InvalidMcpError,
            ),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":1}}"#, Kind::InvalidMcpError),
            (
                r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":1,"message":"m"}}"#,
                Kind::InvalidMcpError,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"x","error":{"code":1,"message":"m"}}"#,
                Kind::InvalidMcpError,
            ),
        ] {
            assert_eq!(judge(body), Err(kind), "{body}");
        }
    }

    #[test] // mcp-1
    fn the_id_goes_back_as_the_client_spelt_it() {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"n":1e400}}"#;
        let answer = answer(&id("1.0"), text.into());
        assert_eq!(answer.unwrap(), r#"{"jsonrpc":"2.0","id":1.0,"result":{"n":1e400}}"#);
    }

    #[test] // forwarding-21, forwarding-32
    fn a_body_that_is_no_answer_to_this_request_is_a_protocol_failure() {
        for (body, kind) in [
            ("", Kind::ResponseBodyMissing),
            ("{", Kind::MalformedJson),
            ("[]", Kind::InvalidProtocolResponse),
            (r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, Kind::InvalidProtocolResponse),
            (r#"{"jsonrpc":"2.0","method":"n"}"#, Kind::InvalidProtocolResponse),
        ] {
            assert_eq!(answer(&id("1"), body.into()), Err(kind), "{body}");
        }
    }

    #[test] // forwarding-223
    fn json_has_many_spellings() {
        let media = |value: &str| {
            let mut headers = Headers::new();
            headers.append("content-type", value);
            Media::of(&headers)
        };
        assert_eq!(media("Application/JSON; charset=utf-8"), Media::Json);
        assert_eq!(media("application/problem+json"), Media::Json);
        assert_eq!(media("TEXT/event-stream"), Media::Events);
        assert_eq!(media("text/html"), Media::Other);
        assert_eq!(Media::of(&Headers::new()), Media::Other);
    }
}

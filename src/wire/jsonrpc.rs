//! All JSON-RPC messages that this program writes itself: answers to a server's own requests,
//! cancels, refusals, and the few requests that it sends to a server.
//!
//! Every other message belongs to a client or a server and is carried unchanged. Callers pass ids
//! as JSON text (the form in which [`RpcId`] prints), and `params`, `result` and `data` likewise.

use std::fmt::Display;

use super::era::{FIRST_MODERN, META_CAPABILITIES, META_CLIENT, META_VERSION, OWN_LEGACY};
use super::{CLIENT_NAME, CLIENT_VERSION, RpcId, json};

pub use super::error_code::*;

/// A request.
pub fn request(id: impl Display, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// The response to a request that succeeded.
pub fn result(id: impl Display, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// An error response. Without an id the member `id` is left out.
pub fn error(id: Option<&RpcId>, code: i64, message: &str) -> String {
    error_with(id, code, message, None)
}

/// An error response with `data`.
pub fn error_with(id: Option<&RpcId>, code: i64, message: &str, data: Option<&str>) -> String {
    let id = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
    let data = data.map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
    let message = json::quote(message);
    format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":{code},"message":{message}{data}}}}}"#)
}

/// The answer to a request that a server sends to its client. The tunnel protocol cannot carry such
/// a request to the remote client (forwarding-203, mcp-10).
pub fn answer_to_server(id: &RpcId, method: &str) -> String {
    match method {
        "ping" => result(id, "{}"),
        _ => {
            let text = "Method not found: no client can be asked through this tunnel";
            error(Some(id), METHOD_NOT_FOUND, text)
        }
    }
}

/// The notification that nobody waits for the answer to a request any more (forwarding-211).
/// `reason` is plain text.
pub fn cancel(id: impl Display, reason: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"{reason}"}}}}"#
    )
}

/// The answer to a call that its client cancelled and its server has not answered since. The client
/// expects no answer, but the control plane does (mcp-69).
pub fn cancelled(id: &RpcId) -> String {
    error(Some(id), INTERNAL_ERROR, "Request cancelled")
}

/// The answer to a call that was cancelled before its server received it (stdio-202).
pub fn cancelled_unstarted(id: &RpcId) -> String {
    error(Some(id), INTERNAL_ERROR, "Request cancelled before it was started")
}

/// The client's notification that a session has begun (mcp-17).
pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The request that begins a session of the tunnel's own.
pub fn initialize(id: impl Display) -> String {
    let params = format!(
        r#"{{"protocolVersion":"{OWN_LEGACY}","capabilities":{{}},"clientInfo":{}}}"#,
        this_client()
    );
    request(id, "initialize", &params)
}

/// The tunnel's own request to a modern server for the revisions that it supports (mcp-18).
pub fn discover(id: impl Display) -> String {
    request(id, "server/discover", &modern_params())
}

/// The `params` of a modern request of the tunnel's own.
pub fn modern_params() -> String {
    format!(
        r#"{{"_meta":{{"{META_VERSION}":"{FIRST_MODERN}","{META_CAPABILITIES}":{{}},"{META_CLIENT}":{}}}}}"#,
        this_client()
    )
}

fn this_client() -> String {
    format!(r#"{{"name":"{CLIENT_NAME}","version":"{CLIENT_VERSION}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::era::Era;
    use crate::wire::{Message, MessageKind};

    fn id() -> RpcId {
        RpcId::from_json(r#""a\"b""#).unwrap()
    }

    #[test] // mcp-10
    fn a_ping_of_the_server_is_answered_and_all_else_is_refused() {
        let ping = answer_to_server(&id(), "ping");
        assert_eq!(ping, r#"{"jsonrpc":"2.0","id":"a\"b","result":{}}"#);
        let other = Message::parse(answer_to_server(&id(), "roots/list")).unwrap();
        let kind = MessageKind::Response { id: Some(id()), error_code: Some(METHOD_NOT_FOUND) };
        assert_eq!(other.kind(), &kind);
    }

    #[test] // forwarding-211
    fn a_cancel_names_its_request() {
        let message = Message::parse(cancel(id(), "too late")).unwrap();
        assert_eq!(message.cancelled_id(), Some(id()));
    }

    #[test] // mcp-18
    fn what_the_tunnel_asks_is_a_message_of_the_era_that_it_asks_about() {
        let initialize = Message::parse(initialize(7)).unwrap();
        assert_eq!(initialize.era(), Era::Legacy);
        assert_eq!(initialize.param("protocolVersion"), Some(r#""2025-06-18""#));
        let discover = Message::parse(discover(7)).unwrap();
        assert_eq!((discover.era(), discover.version()), (Era::Modern, Some(FIRST_MODERN)));
        assert!(Message::parse(INITIALIZED).is_ok());
    }

    #[test]
    fn an_error_has_its_id_and_data_only_if_it_has_them() {
        assert_eq!(
            error_with(None, PARSE_ERROR, "\"", Some("1")),
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"\"","data":1}}"#
        );
    }
}

//! JSON-RPC messages: the id goes out and comes back, and nothing else changes.

use mcp_tunnel::wire::json::Members;
use mcp_tunnel::wire::{Message, MessageKind, RpcId};

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(message) = Message::parse(text) else { return };
    assert_eq!(message.text(), text);
    let again = Message::parse(message.text()).expect("it was a message");
    assert_eq!(again.kind(), message.kind());
    let members = Members::of(text).expect("a message is an object");
    assert_eq!(members.has("method"), message.method().is_some());
    match message.kind() {
        MessageKind::Notification { .. } => assert!(message.id().is_none()),
        MessageKind::Response { id, .. } => assert!(id.is_some() || members.has("error")),
        MessageKind::Request { .. } => {}
    }
    let Some(id) = message.id() else { return };
    ids(id);
    assert_eq!(members.get("id"), Some(id.as_json()));
    let changed = Message::parse(message.text_with_id("42")).expect("still a message");
    assert_eq!(changed.id().map(RpcId::as_json), Some("42"));
    assert_eq!(changed.method(), message.method());
    if members.spans("id").len() == 1 {
        assert_eq!(changed.text_with_id(id.as_json()), text);
    }
}

fn ids(id: &RpcId) {
    assert!(id.same_as(id));
    assert_eq!(RpcId::from_json(id.as_json()).as_ref(), Some(id));
    for text in ["0", "1", "42", "\"\"", "\"a\"", "1.0", "9007199254740993"] {
        let other = RpcId::from_json(text).expect("it is an id");
        assert_eq!(id.same_as(&other), other.same_as(id));
        assert!(!id.same_as(&other) || id.as_json().starts_with('"') == text.starts_with('"'));
    }
}

//! Ids and tokens on the way to a child and back: one line out, the client's own bytes back.

use mcp_tunnel::mcp::stdio::rewrite::{
    self, Incoming, Names, Outgoing, cancelled, cancelled_id, line, restore_response,
};
use mcp_tunnel::wire::json::{self, Members};
use mcp_tunnel::wire::{Message, MessageKind, RpcId};

const NUMBER: u64 = 4711;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(message) = Message::parse(text) else { return };
    let root = Members::of(text).expect("a message is an object");
    if let Some(sent) = rewrite::notification(text) {
        one_line(&sent);
        assert_eq!(sent, line(text));
    }
    match message.kind() {
        MessageKind::Request { id, method } => {
            if let Some(outgoing) = Outgoing::of(&message) {
                request(&message, &outgoing, id, method);
            }
        }
        MessageKind::Notification { method } => notification(&root, method),
        MessageKind::Response { id: Some(id), .. } => response(&root, id),
        MessageKind::Response { id: None, .. } => {}
    }
    let _ = rewrite::discover_answer_is_modern(&root, None);
}

fn request(message: &Message, outgoing: &Outgoing<'_>, id: &RpcId, method: &str) {
    let sent = outgoing.request(NUMBER);
    let there = Message::parse(one_line(&sent)).expect("still a message");
    assert_eq!(there.id().map(|id| id.as_json().to_owned()), Some(NUMBER.to_string()));
    assert_eq!(there.method(), Some(method));
    let same = Outgoing::of(&there).expect("as clear as before");
    assert_eq!((same.modern, same.task), (outgoing.modern, outgoing.task));
    assert_eq!(same.token.is_some(), outgoing.token.is_some());
    assert!(same.token.is_none_or(|token| rewrite::number(token) == Some(NUMBER)));
    let one_id = Members::of(message.text()).is_ok_and(|root| root.spans("id").len() == 1);
    if one_id && outgoing.token.is_none() {
        let back = there.text_with_id(id.as_json());
        assert_eq!(back, json::compact(message.text()));
    }
    let initialize = outgoing.initialize(NUMBER);
    assert!(Message::parse(one_line(&initialize)).is_ok());
}

fn notification(root: &Members<'_>, method: &str) {
    let text = root.text();
    let id = RpcId::from_json("\"their own\"").expect("it is an id");
    let incoming = Incoming::of(method, root);
    let restored = incoming.restored(&id, Some("\"their token\""));
    let there = Message::parse(restored.as_str()).expect("still a message");
    assert_eq!(there.method(), Some(method));
    match incoming.names {
        Names::Stranger | Names::Nobody => assert_eq!(restored, text),
        Names::Token(_) => assert!(restored.contains("\"their token\"")),
        Names::Subscription(_) | Names::End(_) => assert!(restored.contains("\"their own\"")),
    }
    if cancelled_id(text).is_some() {
        let sent = cancelled(text, NUMBER);
        let named = cancelled_id(one_line(&sent));
        assert_eq!(named.map(|id| id.as_json().to_owned()), Some(NUMBER.to_string()));
    }
}

fn response(root: &Members<'_>, id: &RpcId) {
    let text = root.text();
    let theirs = RpcId::from_json("\"\\u0061\"").expect("it is an id");
    for listen in [false, true] {
        let Some(restored) = restore_response(root, &theirs, listen) else { continue };
        let there = Message::parse(restored.as_str()).expect("still a message");
        assert_eq!(there.id(), Some(&theirs));
        let again = Members::of(&restored).expect("still a message");
        assert_eq!(rewrite::has_result(&again), rewrite::has_result(root));
        let one_id = root.spans("id").len() == 1;
        if one_id && !listen {
            assert_eq!(there.text_with_id(id.as_json()), text);
        }
    }
}

/// The one line that a frame is.
fn one_line(frame: &[u8]) -> &str {
    let text = std::str::from_utf8(frame).expect("a frame is UTF-8");
    let line = text.strip_suffix('\n').expect("a frame ends its line");
    assert!(!line.contains(['\n', '\r']));
    line
}

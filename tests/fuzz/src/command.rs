//! Poll answers: one command never depends on its neighbours, and what was read is what an
//! honest peer would print again.

use std::time::Instant;

use mcp_tunnel::wire::command::parse_timeout;
use mcp_tunnel::wire::json::{self, Members};
use mcp_tunnel::wire::time::{parse_rfc3339, rfc3339};
use mcp_tunnel::wire::{ChannelName, CommandKind, Envelope, TunnelId};

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    names(text);
    let now = Instant::now();
    let Ok(envelope) = Envelope::parse(text, now) else { return };
    for command in &envelope.commands {
        assert!(!command.request_id.as_str().is_empty());
        assert!(!command.shard_token.as_str().is_empty());
        assert!(command.deadline.is_none_or(|deadline| deadline >= now));
        assert_eq!(command.received_at, now);
        if matches!(command.kind, CommandKind::SessionTermination) {
            assert!(command.session_id().is_some());
        }
        let shown = format!("{command:?}");
        assert!(shown.contains("[redacted]"));
    }
    let list = Members::of(text.trim()).ok().and_then(|document| document.get("commands"));
    let Some(elements) = list.and_then(|list| json::elements(list).ok()) else { return };
    assert_eq!(elements.len(), envelope.commands.len() + envelope.rejected.len());
    let (mut good, mut bad) = (envelope.commands.iter(), envelope.rejected.iter());
    for element in elements {
        let alone = format!("{{\"commands\":[{element}]}}");
        let alone = Envelope::parse(&alone, now).expect("a part of what was read before");
        match (alone.commands.first(), alone.rejected.first()) {
            (Some(command), None) => {
                assert_eq!(format!("{command:?}"), format!("{:?}", good.next().unwrap()));
            }
            (None, Some(rejected)) => assert_eq!(Some(rejected), bad.next()),
            _ => panic!("one element is one command"),
        }
    }
}

/// The grammars of single values, on the text itself.
fn names(text: &str) {
    if let Ok(id) = text.parse::<TunnelId>() {
        assert_eq!(id.as_str().parse(), Ok(id));
    }
    if let Ok(name) = text.parse::<ChannelName>() {
        assert_eq!(name.as_str().parse(), Ok(name));
    }
    if let Some(timeout) = parse_timeout(text) {
        assert_eq!(parse_timeout(&format!("{}ns", timeout.as_nanos())), Some(timeout));
    }
    if let Some(at) = parse_rfc3339(text) {
        let printed = rfc3339(at);
        let again = parse_rfc3339(&printed).expect("what was printed can be read");
        assert_eq!(rfc3339(again), printed);
    }
}

//! Event streams: how the network cuts a stream does not matter.

use mcp_tunnel::mcp::sse::Parser;

/// Far above what an input can hold, so that it decides nothing here.
const LARGE: usize = 1 << 30;

pub fn check(input: &[u8]) {
    let (recipe, bytes) = super::recipe_and_bytes(input);
    let whole = read(&[bytes]);
    assert_eq!(read(&super::pieces(bytes, recipe)), whole);
    if bytes.len() <= 64 {
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), whole);
    }
    for event in &whole.0 {
        assert!(!event.contains('\r'));
    }
    bounded(bytes);
}

type Seen = (Vec<String>, Option<String>, Option<u64>);

fn read(pieces: &[&[u8]]) -> Seen {
    let mut parser = Parser::new(LARGE);
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece);
        while let Some(event) = parser.next_event().expect("below the limit") {
            events.push(event);
        }
    }
    events.extend(parser.finish().expect("below the limit"));
    assert_eq!(parser.finish(), Ok(None));
    (events, parser.last_id().map(str::to_owned), parser.retry_ms())
}

/// With a small limit no event is larger than it, however the bytes come.
fn bounded(bytes: &[u8]) {
    let limit = 40;
    let mut parser = Parser::new(limit);
    for piece in bytes.chunks(8) {
        parser.push(piece);
        loop {
            match parser.next_event() {
                Ok(Some(event)) => assert!(event.len() <= limit),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    if let Ok(Some(event)) = parser.finish() {
        assert!(event.len() <= limit);
    }
}

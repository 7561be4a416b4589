//! Request heads: a head is complete at one byte and no other, whatever follows it.

use mcp_tunnel::httpd::head::{parse, parse_query};
use mcp_tunnel::httpd::{Framing, MAX_HEAD, MAX_HEADERS};

/// Heads up to this length are tried at every cut.
const EVERY_CUT: usize = 300;

pub fn check(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        for (name, value) in parse_query(text) {
            assert!(name.len() <= text.len() && value.len() <= text.len());
        }
    }
    let Ok(Some((head, length))) = parse(input) else { return };
    assert!(length <= input.len() && length <= MAX_HEAD);
    assert!(head.path.starts_with('/') && !head.method.is_empty());
    assert!(head.headers.iter().map(|(_, values)| values.len()).sum::<usize>() <= MAX_HEADERS);
    if head.framing == Framing::Chunked {
        assert!(head.speaks_chunked && !head.headers.has("Content-Length"));
    }
    let (again, same) = parse(&input[..length]).unwrap().expect("complete without what follows");
    assert_eq!((same, format!("{again:?}")), (length, format!("{head:?}")));
    for end in 0..length.min(EVERY_CUT) {
        if end + 1 < length {
            assert!(matches!(parse(&input[..end]), Ok(None)), "cut at {end}");
        }
    }
}

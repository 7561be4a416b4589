//! A child's output: how the pipe cuts it does not matter, a line over the limit is not kept, and
//! the call that it answers is told as a full reader would tell it.

use mcp_tunnel::mcp::stdio::lines::{Line, Lines};
use mcp_tunnel::mcp::stdio::rewrite;
use mcp_tunnel::wire::json::Members;

const LIMIT: usize = 40;

#[derive(Debug, PartialEq)]
enum Seen {
    Text(Vec<u8>),
    TooLong(Option<u64>),
}

pub fn check(input: &[u8]) {
    let (recipe, bytes) = super::recipe_and_bytes(input);
    let whole = read(&[bytes]);
    assert_eq!(read(&super::pieces(bytes, recipe)), whole);
    let mut expected: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    if expected.last().is_some_and(|rest| rest.is_empty()) {
        expected.pop();
    }
    assert_eq!(whole.len(), expected.len());
    for (seen, line) in whole.iter().zip(expected) {
        match seen {
            Seen::Text(text) => {
                assert!(line.len() <= LIMIT);
                assert_eq!(text, line.strip_suffix(b"\r").unwrap_or(line));
            }
            Seen::TooLong(number) => {
                assert!(line.len() > LIMIT);
                skimmed(line, *number);
            }
        }
    }
}

/// A number is never made up. An object may hide its id by escapes; then it is not found.
fn skimmed(line: &[u8], number: Option<u64>) {
    let Ok(text) = std::str::from_utf8(line) else { return };
    let Ok(members) = Members::of(text) else { return };
    let read = members.get("id").and_then(rewrite::number);
    assert!(number == read || text.contains('\\') || members.spans("id").len() > 1);
    assert!(number.is_none() || members.has("id"));
}

fn read(pieces: &[&[u8]]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut each = |line: Line<'_>| {
        seen.push(match line {
            Line::Text(text) => Seen::Text(text.to_vec()),
            Line::TooLong { number } => Seen::TooLong(number),
        });
    };
    let mut lines = Lines::new(LIMIT);
    for piece in pieces {
        lines.push(piece, &mut each);
    }
    lines.end(&mut each);
    seen
}

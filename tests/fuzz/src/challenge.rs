//! `WWW-Authenticate`: whoever reads a challenge whose metadata URL was replaced finds the new one.

use mcp_tunnel::wire::challenge::{resource_metadata, with_resource_metadata};

const URL: &str = "https://relay.example/metadata";

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let found = resource_metadata(text);
    let replaced = with_resource_metadata(text, URL);
    match resource_metadata(&replaced) {
        Some(url) => assert_eq!(url, URL),
        None => assert!(found.is_none() && replaced == text),
    }
    assert_eq!(with_resource_metadata(&replaced, URL), replaced);
}

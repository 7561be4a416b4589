//! The server-info header: what is read prints as what reads the same.

use mcp_tunnel::wire::server_info::{MAX_BYTES, ServerInfo};

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(info) = ServerInfo::from_header(text) else { return };
    let printed = info.to_header().expect("what may be read may be sent");
    assert!(printed.len() <= text.len() && printed.len() <= MAX_BYTES);
    assert_eq!(ServerInfo::from_header(&printed), Some(info));
}

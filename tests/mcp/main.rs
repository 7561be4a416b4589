//! mcp.md with the official SDKs at both ends of the whole path.

mod sdk_faults;
mod sdk_sessions;
#[path = "../support/mod.rs"]
mod support;

//! The relay's promises (relay.md), kept by the real binary: raw sockets play the MCP client and
//! the daemon.

mod contract;
mod mcp_side;
mod oauth;
mod operations;
#[path = "../support/programs.rs"]
mod programs;
mod queue;
mod security;
mod support;

//! The relay's promises (relay.md), kept by the real binary: raw sockets play the MCP client and
//! the daemon.

mod contract;
mod mcp_side;
mod oauth;
mod operations;
mod queue;
mod security;
mod support;

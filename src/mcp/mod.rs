//! The private hop: from a worker of `dispatch` to the MCP server and back.

pub mod stdio;

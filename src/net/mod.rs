//! Sockets with deadlines that can be cancelled from another thread, and HTTP on top of them.
//!
//! `control_plane` and `mcp` call it. It knows nothing of tunnels or MCP.

pub mod cancel;

pub use cancel::Cancel;

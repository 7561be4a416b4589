//! What the daemon has observed of its MCP servers: whether they answer, what they call themselves
//! and which tools they list, which sessions began here.
//!
//! `mcp` reports what it sees, the probe of `daemon` asks, and `daemon` and `oauth` read. How a
//! command is forwarded never depends on any of it.

mod catalog;
mod sessions;
mod state;

pub use catalog::{About, Catalog, Tools};
pub use sessions::Sessions;
pub use state::{Found, ServerState};

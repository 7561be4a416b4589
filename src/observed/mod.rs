//! The daemon's observations of its MCP servers: whether they answer, their names and tools, and
//! the sessions that began here.
//!
//! `mcp` reports what it sees, the probe of `daemon` asks, and `daemon` and `oauth` read.
//! Forwarding never depends on any of it.

mod catalog;
mod sessions;
mod state;

use crate::wire::ChannelName;

pub use catalog::{About, Catalog, Tools};
pub use state::{Found, ServerState};

use sessions::Sessions;

/// The observations of the HTTP server of one channel.
#[derive(Debug)]
pub struct Server {
    /// The state of its answers.
    pub state: ServerState,
    /// Its own description of itself.
    pub catalog: Catalog,
    sessions: Sessions,
}

impl Server {
    /// A server about which nothing is known yet. `origin` names it in log lines: scheme, host and
    /// port.
    pub fn new(channel: ChannelName, origin: String) -> Self {
        let state = ServerState::new(channel, origin);
        Self { state, catalog: Catalog::default(), sessions: Sessions::default() }
    }

    /// Records an answer with `status` to a message of the session `asked`. The answer named the
    /// session `named`.
    pub fn seen_session(&self, asked: Option<&str>, status: u16, named: Option<&str>) {
        self.sessions.answered(self.state.name(), asked, status, named);
    }
}

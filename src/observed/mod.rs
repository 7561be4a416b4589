//! What the daemon has observed of its MCP servers: whether they answer, what they call themselves
//! and which tools they list, which sessions began here.
//!
//! `mcp` reports what it sees, the probe of `daemon` asks, and `daemon` and `oauth` read. How a
//! command is forwarded never depends on any of it.

mod catalog;
mod sessions;
mod state;

use crate::wire::ChannelName;

pub use catalog::{About, Catalog, Tools};
pub use state::{Found, ServerState};

use sessions::Sessions;

/// What has been observed of the HTTP server of one channel.
#[derive(Debug)]
pub struct Server {
    /// Whether it answers.
    pub state: ServerState,
    /// What it has said of itself.
    pub catalog: Catalog,
    sessions: Sessions,
}

impl Server {
    /// A server of which nothing is known yet. `origin` names it in log lines: scheme, host and
    /// port.
    pub fn new(channel: ChannelName, origin: String) -> Self {
        let state = ServerState::new(channel, origin);
        Self { state, catalog: Catalog::default(), sessions: Sessions::default() }
    }

    /// An answer with `status` came to a message of the session `asked`; it named the session
    /// `named`.
    pub fn seen_session(&self, asked: Option<&str>, status: u16, named: Option<&str>) {
        self.sessions.answered(self.state.name(), asked, status, named);
    }
}

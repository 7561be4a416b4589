//! OAuth discovery: where the clients of a protected MCP server get their tokens (RFC 9728).
//!
//! The daemon itself never asks for a token. It reads the server's public metadata: at startup,
//! for the operator and readiness ([`startup`]), and whenever a remote client asks for it by an
//! `oauth_discovery` command ([`Discovery::answer`]). `daemon` starts it and `dispatch` calls it;
//! it calls `mcp` for the connection to the server, `net` and `wire`.
//!
//! Credentials of the remote client never come here. The operator's headers and the client
//! certificate go to the server's own origin only; requests to other origins that the metadata
//! names carry neither.

mod ask;
pub mod candidates;
pub mod command;
mod documents;
pub mod report;
mod search;
pub mod startup;

use std::sync::Arc;
use std::time::Duration;

use ureq::http::Uri;

use crate::mcp::HttpBinding;
use crate::net::client::ClientConfig;

pub use ask::Challenge;
pub use documents::Resource;
pub use search::{Attempt, Document, Failure, IssuerAttempt, IssuerSearch, Search, Shown};
pub use startup::Startup;

/// How to reach an origin other than the server's: its TLS, socket and proxy, or why that is
/// impossible.
pub type Elsewhere = Arc<dyn Fn(&Uri) -> Result<ClientConfig, String> + Send + Sync>;

/// Reads the metadata of one HTTP server.
pub struct Discovery {
    binding: Arc<HttpBinding>,
    elsewhere: Elsewhere,
}

impl Discovery {
    /// Discovery of the server behind `binding`, the one of channel `main`.
    pub fn new(binding: Arc<HttpBinding>, elsewhere: Elsewhere) -> Self {
        Self { binding, elsewhere }
    }

    /// The well-known URLs, which are tried whatever the server says.
    pub fn well_known(&self) -> Vec<String> {
        let candidates = candidates::protected_resource(self.binding.url(), None);
        candidates.iter().map(|candidate| candidate.url.to_string()).collect()
    }

    /// True if the server answered the last request.
    fn server_answers(&self) -> bool {
        self.binding.server().state.check().is_ok()
    }
}

/// The time for all requests of one discovery at startup (oauth-4).
pub const STARTUP_LIMIT: Duration = Duration::from_secs(5);

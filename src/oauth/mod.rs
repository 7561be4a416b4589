//! Discovery of MCP servers that OAuth protects: where their clients get tokens (RFC 9728).
//!
//! The daemon itself never asks for a token. It reads the server's public metadata, once at the
//! start for the operator and readiness ([`startup`]), and whenever a remote client asks for it
//! by an `oauth_discovery` command ([`Discovery::document`]). `cli` starts it and `dispatch` calls
//! it; it calls `mcp` for the way to the server, `net` and `wire`.
//!
//! Credentials of the remote client never come here. The operator's headers and the server's
//! client certificate go to the server's own origin alone; what the metadata names elsewhere is
//! asked as a stranger would.

mod ask;
pub mod candidates;
mod documents;
pub mod report;
mod search;
pub mod startup;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::Uri;

use crate::mcp::HttpBinding;
use crate::net::Cancel;
use crate::net::client::ClientConfig;

pub use ask::Challenge;
pub use documents::Resource;
pub use search::{Attempt, Document, Failure, IssuerAttempt, IssuerSearch, Search, Shown};
pub use startup::Startup;

/// How an origin that is not the server's is reached: its TLS, socket and proxy, or why it can
/// not be.
pub type Elsewhere = Arc<dyn Fn(&Uri) -> Result<ClientConfig, String> + Send + Sync>;

/// Finds out about one HTTP server.
pub struct Discovery {
    binding: Arc<HttpBinding>,
    elsewhere: Elsewhere,
}

impl Discovery {
    /// Discovery of the server behind `binding`, the one of channel `main`.
    pub fn new(binding: Arc<HttpBinding>, elsewhere: Elsewhere) -> Self {
        Self { binding, elsewhere }
    }

    /// Reads the server's metadata for a remote client (O-28), fresh each time. Its authorization
    /// server is not asked: nothing that it says would travel.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn document(&self, limit: Instant, cancel: &Cancel) -> Result<Document, Failure> {
        self.search(limit, cancel).result
    }

    /// The well-known places that are asked at whatever the server says.
    pub fn well_known(&self) -> Vec<String> {
        let candidates = candidates::protected_resource(self.binding.url(), None);
        candidates.iter().map(|candidate| candidate.url.to_string()).collect()
    }

    /// Whether the server answered last.
    fn server_answers(&self) -> bool {
        self.binding.server().state.check().is_ok()
    }
}

/// The budget of all requests of one discovery at the start (O-4).
pub const STARTUP_LIMIT: Duration = Duration::from_secs(5);

//! A private MCP server behind Streamable HTTP (forwarding.md, section 9; mcp-28 to mcp-41).
//!
//! [`HttpBinding`] is the server with what all threads share of it, [`HttpHop`] one thread's way
//! to it. `dispatch` forwards commands over a hop; the probe and `oauth` ask questions of their
//! own. A message is sent once: whether it may be repeated is for its client to say
//! (forwarding-43).

mod body;
mod calls;
mod hop;
mod stream;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::http::Uri;

use self::calls::Calls;
use super::headers::{self, RequestHeaders};
use crate::net::client::ClientConfig;
use crate::net::{Cancel, Origin, SecretHeaders};
use crate::observed::Server;
use crate::unpoisoned::Unpoisoned;
use crate::wire::ChannelName;

pub use hop::HttpHop;

/// How long a connection to the server may lie idle and still be used: below the 5 s after
/// which the usual servers (Node, uvicorn) close. A message must never meet a closing server,
/// since it cannot be sent again.
const IDLE: Duration = Duration::from_secs(3);

/// Headers that the operator configured for one server: they go to its URL alone (forwarding-46).
#[derive(Debug, Clone, Default)]
pub struct FixedHeaders {
    /// With every request.
    pub always: SecretHeaders,
    /// With the questions that the tunnel asks on its own account; they beat the others
    /// (forwarding-47).
    pub discovery: SecretHeaders,
}

/// One HTTP server and the channel that it serves; shared by all workers.
pub struct HttpBinding {
    url: Uri,
    client: ClientConfig,
    fixed: Mutex<FixedHeaders>,
    server: Server,
    calls: Calls,
}

impl fmt::Debug for HttpBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpBinding({})", self.server.state.name())
    }
}

impl HttpBinding {
    /// A server at `url` that is connected to as `client` says; `fixed` headers go with the
    /// requests to it.
    pub fn new(
        channel: ChannelName,
        url: Uri,
        client: ClientConfig,
        fixed: FixedHeaders,
    ) -> Arc<Self> {
        let client = ClientConfig { idle: IDLE, secrets_keep_path: true, ..client };
        let server = Server::new(channel, Origin::of(&url).to_string());
        let fixed = Mutex::new(fixed);
        Arc::new(Self { url, client, fixed, server, calls: Calls::default() })
    }

    /// The endpoint.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// How it is connected to.
    pub fn client(&self) -> &ClientConfig {
        &self.client
    }

    /// What has been observed of the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Sends other fixed headers from the next request on.
    pub fn renew(&self, fixed: FixedHeaders) {
        *self.fixed.lock().unpoisoned() = fixed;
    }

    /// The way to this server for one thread; `cancel` ends its exchanges.
    pub fn hop(self: &Arc<Self>, cancel: Cancel) -> HttpHop {
        HttpHop::new(Arc::clone(self), cancel, false)
    }

    /// The way for requests that the tunnel makes on its own account. What they show of the
    /// server is for the caller to judge.
    pub fn discovery_hop(self: &Arc<Self>, cancel: Cancel) -> HttpHop {
        HttpHop::new(Arc::clone(self), cancel, true)
    }

    /// The headers of a question that the tunnel asks on its own account, without a message.
    pub fn question_headers(&self) -> RequestHeaders {
        headers::for_question(&self.fixed(true))
    }

    /// The operator's headers, of which the last of one name counts.
    fn fixed(&self, discovers: bool) -> SecretHeaders {
        let fixed = self.fixed.lock().unpoisoned();
        let discovery = fixed.discovery.iter().filter(|_| discovers);
        fixed.always.iter().chain(discovery).cloned().collect()
    }
}

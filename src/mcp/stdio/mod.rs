//! The stdio channel: one child process, shared by all remote clients, many calls at once.
//!
//! The workers of `dispatch` call [`StdioChannel::request`] and [`StdioChannel::notify`]; `daemon`
//! starts and stops it; `ops` reads [`StdioChannel::status`] and [`StdioStats`]. It calls `wire`
//! and `launcher`.
//!
//! ```text
//! worker -> server: may it pass? (state) -> ids rewritten (rewrite) -> stdin -> child
//! worker <- mailbox <- ids restored (rewrite) <- reader: which call? (calls) <- lines <- child
//! ```
//!
//! The worker writes its frame itself, and the reader hands it the answer. A writer thread waits
//! for a full pipe, and a supervisor starts and ends the child.
//!
//! - Clients count their requests from 0 or 1 and share the child, so the child sees ids and
//!   progress tokens of ours; each client gets its own back, byte for byte. Nothing else changes.
//! - An older server is initialized once. The first `initialize` of a client is forwarded, all
//!   others get its answer, and a restarted child is brought to the same state before it serves
//!   (mcp.md, section 9, choice B).
//! - A child serves one era. Servers of both protocols decide by the first message which one
//!   they speak on this process, so clients of the older one get a second child if the first
//!   serves the modern one (mcp.md, section 9).
//! - Nothing waits without a bound, and one slow call delays no other.
//! - The child's end does not end the daemon: its calls fail at once, and it is started again.

mod calls;
mod child;
mod limits;
pub mod lines;
mod mailbox;
mod pipe;
mod reader;
pub mod rewrite;
mod server;
mod shared;
mod state;
mod status;
mod stderr;
mod stdin;
mod supervisor;
mod throttle;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::info;

pub use self::child::StartError;
pub use self::limits::{Limits, StdioConfig};
pub use self::status::{StdioState, StdioStats, StdioStatus};

use self::rewrite::Outgoing;
use self::server::{Server, answer};
use self::state::PIPE_CLOSED;
use super::{Answer, Bounds, CallError, Receipt};
use crate::observed::Catalog;
use crate::unpoisoned::Unpoisoned;
use crate::wire::{Headers, Message, jsonrpc};

/// Additional time for the threads to end after the grace period of a stop. It runs out only if a
/// child hangs in the kernel, where even `SIGKILL` does not end it.
const STOP_SLACK: Duration = Duration::from_secs(1);

/// One stdio channel.
pub struct StdioChannel {
    config: StdioConfig,
    stats: Arc<StdioStats>,
    catalog: Catalog,
    first: Server,
    /// For clients of the older protocol, if the first child serves the modern one.
    second: Mutex<Option<Arc<Server>>>,
}

impl StdioChannel {
    /// Starts the child and the threads that serve it.
    ///
    /// # Errors
    /// If the command cannot be started. Later failures to start are tried again.
    pub fn start(config: StdioConfig) -> Result<Arc<Self>, StartError> {
        let stats = Arc::new(StdioStats::default());
        let first = Server::start(config.clone(), stats.clone())?;
        let (catalog, second) = (Catalog::default(), Mutex::new(None));
        Ok(Arc::new(Self { config, stats, catalog, first, second }))
    }

    /// Forwards a request and waits for its answer. Its notifications are passed to
    /// `on_notification` in order, before the answer; meanwhile the child goes on. If
    /// `on_notification` breaks because nobody waits any more, the call ends.
    ///
    /// Of the headers of the remote client only the session is used (mcp-27): a later
    /// `notifications/cancelled` finds the call by the session and the request's id.
    ///
    /// # Errors
    /// If there is no answer within the bounds, or the child failed. A child that has read a part
    /// of the request then gets a cancel (forwarding-211).
    pub fn request(
        &self,
        message: &Message,
        command: &Headers,
        bounds: &Bounds,
        on_notification: &mut dyn FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<Answer, CallError> {
        let _counted = self.stats.in_flight.hold();
        let Some(outgoing) = Outgoing::of(message) else {
            self.stats.refused.inc();
            let text = "Invalid Request: a member name is ambiguous or no Unicode text";
            return Ok(answer(200, jsonrpc::error(message.id(), jsonrpc::INVALID_REQUEST, text)));
        };
        let second = match outgoing.modern {
            true => None,
            false => self.for_older_clients(message.method() == Some("initialize"))?,
        };
        let server = second.as_deref().unwrap_or(&self.first);
        let session = command.session_id();
        let answer = server.request(message, &outgoing, session, bounds, on_notification)?;
        self.catalog.learn(message, &answer.json);
        Ok(answer)
    }

    /// Forwards a notification, and returns once it is written to the child or need not be.
    ///
    /// # Errors
    /// If it could not be written within the bounds, or the child failed.
    pub fn notify(
        &self,
        message: &Message,
        command: &Headers,
        bounds: &Bounds,
    ) -> Result<Receipt, CallError> {
        let second = self.second();
        match message.method() {
            Some("notifications/cancelled") => {
                let session = command.session_id();
                let found = self.first.forward_cancel(message, session)
                    || second.is_some_and(|second| second.forward_cancel(message, session));
                if !found {
                    // The call is already over or belongs to another client (mcp-11).
                    self.stats.swallowed.inc();
                }
            }
            // The child has got its one `initialized` from us. The next two, and a response, answer
            // requests of the server, all of which were refused.
            Some("notifications/initialized")
            | Some("notifications/progress")
            | Some("notifications/roots/list_changed")
            | None => self.stats.swallowed.inc(),
            Some(_) => second.as_deref().unwrap_or(&self.first).notify(message, bounds)?,
        }
        Ok(Receipt { status: 200, headers: Headers::new() })
    }

    /// The channel at this moment.
    pub fn status(&self) -> StdioStatus {
        let (mut state, pid) = self.first.status();
        let mut servers = 1;
        if let Some(second) = self.second() {
            servers += 1;
            let (other, _) = second.status();
            if matches!(state, StdioState::Up { .. }) {
                state = other;
            }
        }
        StdioStatus { state, pid, restarts: self.stats.starts.get().saturating_sub(servers) }
    }

    /// The server's own description of itself.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The counters of the channel.
    pub fn stats(&self) -> &StdioStats {
        &self.stats
    }

    /// Ends the child as mcp-24 says: its input is closed, then `SIGTERM`, then `SIGKILL`, all
    /// within `grace`, and to its whole process group. Calls that are open fail; nothing is
    /// started again. Returns when the threads have ended.
    pub fn stop(&self, grace: Duration) {
        let until = Instant::now() + grace + STOP_SLACK;
        self.first.begin_stop(grace);
        let second = self.second();
        if let Some(second) = &second {
            second.begin_stop(grace);
        }
        self.first.end_stop(until);
        if let Some(second) = &second {
            second.end_stop(until);
        }
    }

    /// The server for clients of the older protocol, if it is not the first one. The first
    /// `initialize` that the first server can no longer take starts it.
    fn for_older_clients(&self, initialize: bool) -> Result<Option<Arc<Server>>, CallError> {
        let mut second = self.second.lock().unpoisoned();
        if second.is_none() && initialize && self.first.is_modern() {
            info!(
                channel:% = self.config.channel;
                "a second MCP child is started for clients of the older protocol"
            );
            let server = Server::start(self.config.clone(), self.stats.clone());
            *second = Some(Arc::new(server.map_err(|_| PIPE_CLOSED)?));
        }
        Ok(second.clone())
    }

    fn second(&self) -> Option<Arc<Server>> {
        self.second.lock().unpoisoned().clone()
    }
}

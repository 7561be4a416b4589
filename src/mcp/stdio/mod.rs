//! The stdio channel: one child process, shared by all remote clients, many calls at once.
//!
//! The workers of `dispatch` call [`StdioChannel::request`] and [`StdioChannel::notify`]; `cli`
//! starts and stops it; `ops` reads [`StdioChannel::status`] and [`StdioStats`].
//!
//! ```text
//! worker -> gate (state) -> ids rewritten (rewrite) -> frame (stdin) -> child
//! worker <- mailbox <- ids restored (rewrite) <- whose is it (inbox, calls) <- line (lines)
//! ```
//!
//! - Clients count their requests from 0 or 1 and share the child, so it sees ids and progress
//!   tokens of ours; the clients get theirs back, byte for byte. Nothing else is touched.
//! - An older server is initialized once. The first `initialize` of a client is forwarded, all
//!   others get its answer, and a restarted child is brought to the same state before it serves
//!   (mcp.md, section 9, choice B).
//! - A child serves one era. Servers of both protocols decide by the first message which one
//!   they speak on this process, so clients of the older one get a second child if the first
//!   serves the modern one (mcp.md, section 9).
//! - Nothing waits without a bound, and one slow call delays no other.
//! - The child's end is never ours: its calls fail at once, and it is started again.

mod calls;
mod child;
mod inbox;
pub mod lines;
mod mailbox;
pub mod rewrite;
mod server;
mod state;
mod stdin;
mod supervisor;
mod throttle;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::info;

pub use self::child::StartError;

use self::rewrite::Outgoing;
use self::server::{Server, answer};
use super::{Answer, Bounds, CallError, Receipt};
use crate::launcher::Launcher;
use crate::observed::Catalog;
use crate::stats::{Counter, Gauge};
use crate::unpoisoned::Unpoisoned;
use crate::wire::{
    ChannelName, Failure, FailureKind, FailureSource, Headers, MESSAGE_MAX, Message, jsonrpc,
};

/// The child ended, or closed its output, before it answered.
const CHILD_GONE: Failure = Failure::new(FailureSource::TransportClosed, FailureKind::Eof);

/// There is no child to write to.
const PIPE_CLOSED: Failure = Failure::new(FailureSource::TransportClosed, FailureKind::ClosedPipe);

/// How long the child may take no byte while there is one for it. A full pipe for this long means
/// that it has stopped reading: it is ended and started again (B-10).
pub const STDIN_STALL: Duration = Duration::from_secs(30);

/// How long the child may take to answer `initialize` before it counts as hung. Long, because a
/// package runner may have to download the server first.
pub const INITIALIZE_MAX: Duration = Duration::from_secs(120);

/// How long a child that answers other things may be silent on `server/discover` before it counts
/// as one of the older protocol (M-18).
pub const DISCOVER_MAX: Duration = Duration::from_secs(5);

/// The same for a child that has not answered anything yet: it may still be starting.
pub const DISCOVER_MAX_FRESH: Duration = Duration::from_secs(30);

/// A child that was asked something, and has never answered anything for this long, is not up.
pub const ANSWER_DUE: Duration = Duration::from_secs(5);

/// How long a child that nobody has asked anything has to run before it counts as up: after a
/// good start, and after failures.
///
/// The tunnel does not ask by itself. There is no question that harms no server: `ping` before
/// `initialize` ends servers of the Python SDK up to 1.6, though MCP allows it, and whatever comes
/// first, `ping` or `server/discover`, decides for good which era a server of SDKs for both
/// serves on this process. So the first client's first message comes first.
pub const SETTLE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The pause before a restart: the first, and the longest. It doubles in between.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// How long a silent child counts as one after its last call was given up: nobody asks it by
/// itself, so its silence must not outlast the traffic by more.
pub const SILENCE: Duration = Duration::from_secs(60);

/// A child that ran this long, and answered, is restarted after the shortest pause.
pub const PROVEN: Duration = Duration::from_secs(60);

/// A call waits for a restart that is due this soon, and fails at once otherwise.
pub const DOWN_WAIT: Duration = Duration::from_secs(5);

/// How long a child may run on after it closed its output or its input.
pub const CLOSED_WAIT: Duration = Duration::from_secs(2);

/// How long a worker still waits for the answer to a call that its client has cancelled. Servers
/// may answer such a call or not.
pub const WITHDRAWN_WAIT: Duration = Duration::from_secs(2);

/// Further time for the threads to end after the grace period of a stop. Only a child that even
/// `SIGKILL` does not end (it hangs in the kernel) uses it up.
const STOP_SLACK: Duration = Duration::from_secs(1);

/// The limits of a channel. Tests shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest line that the child may write, in bytes. See [`MESSAGE_MAX`].
    pub line: usize,
    /// See [`STDIN_STALL`].
    pub stdin_stall: Duration,
    /// See [`INITIALIZE_MAX`].
    pub initialize: Duration,
    /// See [`DISCOVER_MAX`].
    pub discover: Duration,
    /// See [`DISCOVER_MAX_FRESH`].
    pub discover_fresh: Duration,
    /// See [`ANSWER_DUE`].
    pub answer_due: Duration,
    /// See [`SETTLE`].
    pub settle: (Duration, Duration),
    /// See [`BACKOFF`].
    pub backoff: (Duration, Duration),
    /// See [`SILENCE`].
    pub silence: Duration,
    /// See [`PROVEN`].
    pub proven: Duration,
    /// See [`DOWN_WAIT`].
    pub down_wait: Duration,
    /// See [`CLOSED_WAIT`].
    pub closed_wait: Duration,
    /// See [`WITHDRAWN_WAIT`].
    pub withdrawn: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: MESSAGE_MAX,
            stdin_stall: STDIN_STALL,
            initialize: INITIALIZE_MAX,
            discover: DISCOVER_MAX,
            discover_fresh: DISCOVER_MAX_FRESH,
            answer_due: ANSWER_DUE,
            settle: SETTLE,
            backoff: BACKOFF,
            silence: SILENCE,
            proven: PROVEN,
            down_wait: DOWN_WAIT,
            closed_wait: CLOSED_WAIT,
            withdrawn: WITHDRAWN_WAIT,
        }
    }
}

/// What a channel is made of.
#[derive(Debug, Clone)]
pub struct StdioConfig {
    /// The channel's name, for the log.
    pub channel: ChannelName,
    /// Who starts the child.
    pub launcher: Arc<Launcher>,
    /// The index of the command there.
    pub command: usize,
    /// The command, for messages: the program, looked up on `PATH` unless it has a slash, and its
    /// arguments.
    pub argv: Vec<String>,
    /// The limits.
    pub limits: Limits,
}

/// Whether the channel serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StdioState {
    /// The child runs, and it is not known to serve: it was started a moment ago, or it does not
    /// answer, or it was restarted and is not yet in the state that its clients rely on.
    Starting {
        /// When it was started.
        since: Instant,
    },
    /// The child has answered, or it runs and nobody has asked it anything (see [`SETTLE`]).
    Up {
        /// Since when.
        since: Instant,
    },
    /// The child runs, and has let the time of several calls in a row pass without a word.
    Silent {
        /// How many.
        calls: u32,
    },
    /// No child serves.
    Down {
        /// Why, in words.
        reason: String,
        /// How long until the next one is started; `None` if that is not decided yet.
        next_try_in: Option<Duration>,
    },
}

impl StdioState {
    /// One line for the operator if the channel does not serve.
    pub fn complaint(&self) -> Option<String> {
        match self {
            Self::Up { .. } => None,
            Self::Starting { since } => Some(format!(
                "child was started {} s ago and has not answered yet",
                since.elapsed().as_secs()
            )),
            Self::Silent { calls } => Some(format!("child let its last {calls} calls time out")),
            Self::Down { reason, next_try_in: Some(wait) } => {
                Some(format!("{reason}; restart in {:.0} s", wait.as_secs_f32().ceil()))
            }
            Self::Down { reason, next_try_in: None } => Some(reason.clone()),
        }
    }
}

/// The channel at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdioStatus {
    /// Whether it serves.
    pub state: StdioState,
    /// The process id of the child, if one runs.
    pub pid: Option<i32>,
    /// How often the child was restarted.
    pub restarts: u64,
}

/// What happened on a channel.
#[derive(Debug, Default)]
pub struct StdioStats {
    /// Requests of remote clients that have no answer yet.
    pub in_flight: Gauge,
    /// Children started, the first one included.
    pub starts: Counter,
    /// Starts that failed.
    pub start_failures: Counter,
    /// Calls that the child's end left without an answer.
    pub lost_calls: Counter,
    /// Times that the child stopped reading.
    pub stalls: Counter,
    /// Lines on stdout that are no message.
    pub stray_lines: Counter,
    /// Lines on stdout over [`Limits::line`].
    pub oversized_lines: Counter,
    /// Answers that nobody waited for any more.
    pub late_responses: Counter,
    /// Requests of the child that were answered here.
    pub server_requests: Counter,
    /// Notifications of the child for a call that is over.
    pub dropped_stranger: Counter,
    /// Notifications of the child that could not be attributed to one call.
    pub dropped_unattributable: Counter,
    /// Notifications of the child for which a worker was too slow.
    pub dropped_overflow: Counter,
    /// Cancels and answers to the child for which it was too slow.
    pub dropped_urgent: Counter,
    /// Notifications of remote clients that the child is not to see.
    pub swallowed: Counter,
    /// Messages of remote clients that could not be forwarded safely.
    pub refused: Counter,
    /// Lines on stderr that were too many for the log.
    pub stderr_held_back: Counter,
}

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

    /// Forwards a request and waits for its answer. Notifications that belong to it are handed
    /// to `on_notification` in order, before the answer; while that works, the child goes on. When
    /// it says that nobody waits any more, the call ends.
    ///
    /// Of the headers of the remote client only the session counts (M-27): with it and the
    /// request's id a later `notifications/cancelled` finds the call.
    ///
    /// # Errors
    /// If there is no answer within the bounds, or the child failed. A child that has a part of
    /// the request is then told to cancel it (B-11).
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

    /// Forwards a notification, and returns once it is written to the child or needs not be.
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
                    // It is over already, or another client's (M-11).
                    self.stats.swallowed.inc();
                }
            }
            // The child has had its one `initialized` from us. The next two answer to requests
            // of the server, all of which were refused, and so does a response.
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

    /// What the server has said of itself.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What happened so far.
    pub fn stats(&self) -> &StdioStats {
        &self.stats
    }

    /// Ends the child as M-24 says: its input is closed, then `SIGTERM`, then `SIGKILL`, all
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

    /// The server for a client of the older protocol, if it is not the first. It is started by
    /// the first `initialize` that the first server could not take any more.
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

//! Probes HTTP servers while no traffic shows their state (forwarding-81, forwarding-228,
//! forwarding-229).
//!
//! One thread for all channels. A server that has not answered yet, failed last, or gave a call an
//! answer that is not MCP gets a real `initialize`, with growing pauses. For a server that answers
//! but has had no traffic for a while, a connection is enough, so that quiet servers do not collect
//! sessions.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::mcp::{Bounds, CallError, HttpBinding, HttpHop};
use crate::net::{Cancel, NetErrorKind, client};
use crate::wire::{CLIENT_NAME, Failure, FailureKind, FailureSource, Headers, Message, jsonrpc};

/// How long one probe may take (forwarding-81).
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// The pause after the first failed probe; doubled each time (forwarding-84).
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between failed probes while the port refuses connections (forwarding-84).
const PAUSE_MAX_STARTUP: Duration = Duration::from_secs(1);
/// The longest pause between failed probes, which bounds how late a returning server is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often the state of a server that answers is checked, which bounds how late a call's failure
/// is followed up.
const LOOK: Duration = Duration::from_secs(1);
/// How long a server that answers may be quiet before it is probed.
const QUIET: Duration = Duration::from_secs(15);

struct Watched {
    binding: Arc<HttpBinding>,
    hop: HttpHop,
    next_at: Instant,
    pause: Duration,
    /// True if a probe has found anything other than a refused connection (forwarding-84).
    settled: bool,
}

/// Probes until `stop`. `settled` is dropped once the state of every server is known, good or bad
/// (forwarding-83).
pub fn run(bindings: &[Arc<HttpBinding>], stop: &Cancel, settled: Sender<()>) {
    let mut settled = Some(settled);
    let mut watched: Vec<Watched> = bindings
        .iter()
        .map(|binding| Watched {
            binding: Arc::clone(binding),
            hop: binding.discovery_hop(stop.clone()),
            next_at: Instant::now(),
            pause: PAUSE_FIRST,
            settled: false,
        })
        .collect();
    loop {
        for server in &mut watched {
            if server.next_at <= Instant::now() {
                server.look(stop);
            }
        }
        if watched.iter().all(|server| server.settled) {
            settled.take();
        }
        let Some(next_at) = watched.iter().map(|server| server.next_at).min() else { return };
        let _ = stop.channel().recv_deadline(next_at);
        if stop.is_cancelled() {
            return;
        }
    }
}

impl Watched {
    fn look(&mut self, stop: &Cancel) {
        let state = &self.binding.server().state;
        let answering = state.check().is_ok() && !state.is_doubted();
        let quiet_at = state.seen_at().map_or_else(Instant::now, |seen| seen + QUIET);
        if answering && quiet_at > Instant::now() {
            // Real traffic has shown enough.
            self.next_at = Instant::now() + LOOK;
            return;
        }
        if answering {
            let (config, limit) = (self.binding.client(), Instant::now() + PROBE_LIMIT);
            match client::connect(config, self.binding.url(), limit, stop) {
                Ok(()) => state.reached(),
                Err(error) if error.kind == NetErrorKind::Cancelled => {}
                Err(error) => state.unreachable(&error),
            }
        } else {
            self.settled |= self.initialize(stop);
        }
        if state.check().is_ok() {
            self.pause = PAUSE_FIRST;
            self.next_at = Instant::now() + LOOK;
        } else {
            self.next_at = Instant::now() + self.pause;
            let longest = if self.settled { PAUSE_MAX } else { PAUSE_MAX_STARTUP };
            self.pause = (self.pause * 2).min(longest);
        }
    }

    /// Begins a session of the tunnel's own and ends it at once. False if the connection is
    /// refused.
    fn initialize(&self, stop: &Cancel) -> bool {
        let text = jsonrpc::initialize(format_args!("\"{CLIENT_NAME}-probe\""));
        let message = Message::parse(text).expect("the probe is a message");
        let bounds = || Bounds { limit: Instant::now() + PROBE_LIMIT, cancel: stop.clone() };
        let answered = self
            .hop
            .request(&message, &Headers::new(), &bounds(), &mut |_| ControlFlow::Continue(()));
        self.hop.settle();
        match answered {
            Ok(answer) => {
                if let Some(session) = answer.headers.session_id() {
                    let mut headers = Headers::new();
                    headers.set("Mcp-Session-Id", session);
                    // A server that refuses to end sessions is alive all the same.
                    let _ = self.hop.terminate(&headers, &bounds());
                }
                true
            }
            Err(CallError::TimedOut) => {
                let state = &self.binding.server().state;
                state.timed_out(&format!(
                    "{} has not answered `initialize` within {} s",
                    state.origin(),
                    PROBE_LIMIT.as_secs()
                ));
                true
            }
            Err(CallError::Failed(failure, _)) => {
                self.judge(&failure);
                match failure.kind {
                    FailureKind::ConnectionRefused => false,
                    // The socket's file does not exist yet.
                    FailureKind::Dial => self.binding.client().unix_socket.is_none(),
                    _ => true,
                }
            }
            Err(_) => true,
        }
    }

    /// Distinguishes a web server without MCP at that path, or one that admits nobody, from a
    /// server that only asks for authorization.
    fn judge(&self, failure: &Failure) {
        let state = &self.binding.server().state;
        let with = match failure.upstream_status {
            Some(401) => return state.asked_for_authorization(),
            // The server is busy, so it is there.
            Some(429) => return state.reached(),
            Some(status @ 500..) => return state.failed(status),
            Some(status @ (404 | 405 | 410)) => {
                format!("status {status}: there is no MCP server at the path of its URL")
            }
            Some(status @ 300..) => format!("status {status}"),
            _ if failure.source == FailureSource::Protocol => "what is not MCP".to_owned(),
            // The exchange has recorded the fault.
            _ => return,
        };
        state.strange(&format!("{} answers `initialize` with {with}", state.origin()));
    }
}

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
//! - Nothing waits without a bound, and one slow call delays no other.
//! - The child's end is never ours: its calls fail at once, and it is started again.

mod calls;
mod child;
mod inbox;
mod lines;
mod mailbox;
mod rewrite;
mod state;
mod stdin;
mod supervisor;
mod throttle;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

pub use self::child::StartError;

use self::calls::{Call, CallKind};
use self::inbox::Inbox;
use self::mailbox::{Mailbox, Next, Outcome};
use self::rewrite::Outgoing;
use self::state::{Gate, Handshake, State, Wish};
use self::stdin::{Frame, Stdin};
use super::{Answer, Bounds, CallError, MESSAGE_MAX, Receipt};
use crate::stats::{Counter, Gauge};
use crate::wire::failure::{INTERNAL_ERROR, error_json};
use crate::wire::{
    ChannelName, Failure, FailureKind, FailureSource, Headers, Message, MessageKind, RpcId,
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
    /// The program, looked up on `PATH` unless it has a slash, and its arguments.
    pub argv: Vec<String>,
    /// Variables of our own environment that the child must not see (B-18).
    pub remove_env: Vec<String>,
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
    /// Requests of remote clients that the child has not answered.
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
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    stopped: Receiver<()>,
}

/// What the threads of a channel have in common.
struct Shared {
    config: StdioConfig,
    stats: StdioStats,
    state: Mutex<State>,
    nudge: Sender<()>,
}

/// A request on its way.
struct Ticket {
    number: u64,
    mailbox: Arc<Mailbox>,
    stdin: Arc<Stdin>,
}

impl StdioChannel {
    /// Starts the child and the threads that serve it.
    ///
    /// # Errors
    /// If the command cannot be started. Later failures to start are tried again.
    pub fn start(config: StdioConfig) -> Result<Arc<Self>, StartError> {
        let (nudge, nudged) = bounded(1);
        let shared = Arc::new(Shared {
            config,
            stats: StdioStats::default(),
            state: Mutex::new(State::new()),
            nudge,
        });
        let (started, first) = bounded(1);
        let (done, stopped) = bounded::<()>(0);
        let supervisor = child::thread("stdio-supervise", {
            let shared = shared.clone();
            Box::new(move || {
                // Disconnects when this thread ends.
                let _done = done;
                supervisor::run(&shared, &nudged, &started);
            })
        });
        let supervisor = supervisor.map_err(|error| StartError::of(&shared.config, error))?;
        first.recv().expect("the supervisor reports the first start")?;
        Ok(Arc::new(Self { shared, supervisor: Mutex::new(Some(supervisor)), stopped }))
    }

    /// Forwards a request and waits for its answer. Notifications that belong to it are handed
    /// to `on_notification` in order, before the answer; while that works, the child goes on. When it
    /// says that nobody waits any more, the call ends.
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
        let MessageKind::Request { id, method } = message.kind() else {
            return Err(NOT_A_REQUEST.into());
        };
        let _counted = self.shared.stats.in_flight.hold();
        let Some(outgoing) = Outgoing::of(message) else {
            self.shared.stats.refused.inc();
            let text = "Invalid Request: a member name is ambiguous or no Unicode text";
            return Ok(answer(200, error_json(Some(id), INVALID_REQUEST, text, None)));
        };
        let kind = match method.as_str() {
            "initialize" => CallKind::Initialize,
            "subscriptions/listen" => CallKind::Listen,
            _ if outgoing.task => CallKind::Task,
            _ => CallKind::Plain,
        };
        let wish = Wish {
            initialize: (kind == CallKind::Initialize).then_some(id),
            modern_request: outgoing.modern,
        };
        // A frame of which a child took no byte before its end goes to the next child. That is
        // no replay: nobody has seen it (M-6).
        loop {
            let queue = |state: &mut State| {
                let number = state.number();
                let deadline = Instant::now() + self.shared.config.limits.initialize;
                let live = state.live.as_mut()?;
                let mailbox = Arc::new(Mailbox::new());
                live.calls.add(
                    number,
                    Call {
                        session: command.session_id().map(str::to_owned),
                        id: id.clone(),
                        token: outgoing.token.map(str::to_owned),
                        kind,
                        modern: outgoing.modern,
                        mailbox: mailbox.clone(),
                    },
                );
                match kind {
                    CallKind::Initialize => {
                        live.begin_initialize(number, message, false, deadline);
                    }
                    _ => {
                        let bytes = outgoing.request(number);
                        live.ask(number, bytes);
                    }
                }
                Some(Ticket { number, mailbox, stdin: live.stdin.clone() })
            };
            let ticket = match self.pass(wish, bounds, queue)? {
                Passed::Queued(ticket) => ticket,
                Passed::Answered(json) => return Ok(answer(200, json)),
            };
            ticket.stdin.pump();
            if kind == CallKind::Initialize {
                // The supervisor watches how long it takes.
                self.shared.look();
            }
            match self.follow(&ticket, id, bounds, on_notification)? {
                Some((json, error_code)) => {
                    return Ok(answer(rewrite::status(outgoing.modern, error_code), json));
                }
                None => continue,
            }
        }
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
        let taken = Receipt { status: 200, headers: Headers::new() };
        let method = message.method().unwrap_or_default();
        match method {
            "notifications/cancelled" => {
                self.forward_cancel(message, command.session_id());
                return Ok(taken);
            }
            // The child has had its one `initialized` from us. The other two answer to requests
            // of the server, all of which were refused. A response answers one of those too.
            "notifications/initialized"
            | "notifications/progress"
            | "notifications/roots/list_changed"
            | "" => {
                self.shared.stats.swallowed.inc();
                return Ok(taken);
            }
            _ => {}
        }
        let Some(bytes) = rewrite::notification(message.text()) else {
            self.shared.stats.refused.inc();
            return Ok(Receipt { status: 400, headers: Headers::new() });
        };
        let wish = Wish { initialize: None, modern_request: false };
        loop {
            let queue = |state: &mut State| {
                let number = state.number();
                let live = state.live.as_mut()?;
                let mailbox = Arc::new(Mailbox::new());
                live.stdin.push(Frame {
                    number,
                    bytes: bytes.clone(),
                    written: Some(mailbox.clone()),
                });
                Some(Ticket { number, mailbox, stdin: live.stdin.clone() })
            };
            let Passed::Queued(ticket) = self.pass(wish, bounds, queue)? else {
                return Ok(taken);
            };
            ticket.stdin.pump();
            let given_up = match ticket.mailbox.next(bounds.limit, &bounds.cancel) {
                Next::Outcome(Outcome::Lost(failure)) => return Err(failure.into()),
                Next::Outcome(Outcome::Unsent) => continue,
                Next::TimedOut => CallError::TimedOut,
                Next::Cancelled => CallError::Cancelled,
                Next::Outcome(_) | Next::Note(_) | Next::Withdrawn => return Ok(taken),
            };
            ticket.stdin.take_back(ticket.number);
            return Err(given_up);
        }
    }

    /// The channel at this moment.
    pub fn status(&self) -> StdioStatus {
        let state = self.shared.lock();
        StdioStatus {
            state: state.summary(&self.shared.config.limits, Instant::now()),
            pid: state.live.as_ref().map(|live| live.pid.as_raw_pid()),
            restarts: self.shared.stats.starts.get().saturating_sub(1),
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> &StdioStats {
        &self.shared.stats
    }

    /// Ends the child as M-24 says: its input is closed, then `SIGTERM`, then `SIGKILL`, all
    /// within `grace`, and to its whole process group. Calls that are open fail; nothing is
    /// started again. Returns when the threads have ended.
    pub fn stop(&self, grace: Duration) {
        self.shared.lock().stopping.get_or_insert(grace);
        self.shared.lock().bump();
        self.shared.look();
        let _ = self.stopped.recv_timeout(grace + STOP_SLACK);
        let supervisor = self.supervisor.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(supervisor) = supervisor.filter(JoinHandle::is_finished) {
            let _ = supervisor.join();
        }
    }

    /// Waits until a message may pass, and queues it in the same moment.
    fn pass(
        &self,
        wish: Wish<'_>,
        bounds: &Bounds,
        queue: impl Fn(&mut State) -> Option<Ticket>,
    ) -> Result<Passed, CallError> {
        loop {
            let now = Instant::now();
            let changed = {
                let mut state = self.shared.lock();
                if bounds.cancel.is_cancelled() {
                    return Err(CallError::Cancelled);
                }
                if now >= bounds.limit {
                    return Err(CallError::TimedOut);
                }
                match state.gate(wish, &self.shared.config.limits, now) {
                    Gate::Refused(error) => return Err(error),
                    Gate::Answered(json) => return Ok(Passed::Answered(json)),
                    Gate::Wait(changed) => changed,
                    Gate::Go => match queue(&mut state) {
                        Some(ticket) => return Ok(Passed::Queued(ticket)),
                        None => return Err(PIPE_CLOSED.into()),
                    },
                }
            };
            // The supervisor may have to ask the child something first.
            self.shared.look();
            crossbeam_channel::select! {
                recv(changed) -> _ => {}
                recv(bounds.cancel.channel()) -> _ => {}
                recv(crossbeam_channel::at(bounds.limit)) -> _ => {}
            }
        }
    }

    /// Waits for the answer to a request. `None` if the child took no byte of it.
    fn follow(
        &self,
        ticket: &Ticket,
        id: &RpcId,
        bounds: &Bounds,
        on_notification: &mut dyn FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<Option<(String, Option<i64>)>, CallError> {
        loop {
            let given_up = match ticket.mailbox.next(bounds.limit, &bounds.cancel) {
                Next::Note(note) => match on_notification(answer(200, note)) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => CallError::Unwanted,
                },
                Next::Outcome(Outcome::Answer { json, error_code }) => {
                    return Ok(Some((json, error_code)));
                }
                Next::Outcome(Outcome::Lost(failure)) => return Err(failure.into()),
                Next::Outcome(Outcome::Unsent) => return Ok(None),
                Next::Outcome(Outcome::Written) => continue,
                Next::Withdrawn => {
                    self.shared.give_up(ticket, false);
                    // The client waits for no answer, the control plane does (M-69).
                    let json = error_json(Some(id), INTERNAL_ERROR, "Request cancelled", None);
                    return Ok(Some((json, None)));
                }
                Next::TimedOut => CallError::TimedOut,
                Next::Cancelled => CallError::Cancelled,
            };
            self.shared.give_up(ticket, true);
            return Err(given_up);
        }
    }

    /// A remote client cancels a call: it overtakes what waits for the child (B-2), under the id
    /// that the child knows. A cancel that names no open call is of no use to anyone (M-11).
    fn forward_cancel(&self, message: &Message, session: Option<&str>) {
        let withdrawn_at = Instant::now() + self.shared.config.limits.withdrawn;
        let mut state = self.shared.lock();
        let own = state.number();
        let named = rewrite::cancelled_id(message.text());
        let found = state.live.as_ref().zip(named).and_then(|(live, id)| {
            let (number, call) = live.calls.named_by_client(session, &id)?;
            Some((live.stdin.clone(), number, call.kind, call.mailbox.clone()))
        });
        let Some((stdin, number, kind, mailbox)) = found else {
            self.shared.stats.swallowed.inc();
            return;
        };
        match kind {
            CallKind::Initialize | CallKind::Task => self.shared.stats.swallowed.inc(),
            _ if stdin.take_back(number) => mailbox.withdraw(Instant::now()),
            _ => {
                let bytes = rewrite::cancelled(message.text(), number);
                if !stdin.push_urgent(Frame { number: own, bytes, written: None }) {
                    self.shared.stats.dropped_urgent.inc();
                }
                mailbox.withdraw(withdrawn_at);
            }
        }
        drop(state);
        stdin.pump();
    }
}

impl Drop for StdioChannel {
    fn drop(&mut self) {
        // Nobody is left to wait for it.
        self.shared.lock().stopping.get_or_insert(Duration::ZERO);
        self.shared.look();
    }
}

/// How a message passed the gate.
enum Passed {
    Queued(Ticket),
    Answered(String),
}

/// JSON-RPC "invalid request".
const INVALID_REQUEST: i64 = -32600;

/// A caller's mistake: a request is due here.
const NOT_A_REQUEST: Failure = Failure::new(FailureSource::ClientInternal, FailureKind::Unknown);

fn answer(status: u16, json: String) -> Answer {
    Answer { status, headers: Headers::new(), json }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Has the supervisor look at the state again.
    fn look(&self) {
        // A full channel means that it will look anyway.
        let _ = self.nudge.try_send(());
    }

    fn inbox(&self) -> Inbox<'_> {
        Inbox::new(self)
    }

    /// Writes what waits for the child, as far as it takes it.
    fn pump(&self) {
        let stdin = self.lock().live.as_ref().map(|live| live.stdin.clone());
        if let Some(stdin) = stdin {
            stdin.pump();
        }
    }

    /// A worker waits no longer. If the child has the request, it is told (B-11), except where
    /// MCP forbids it (M-21); its answer will be dropped (M-11).
    fn give_up(&self, ticket: &Ticket, tell: bool) {
        let mut state = self.lock();
        let own = state.number();
        let Some(live) = &mut state.live else { return };
        let Some(call) = live.calls.give_up(ticket.number, Instant::now()) else { return };
        if ticket.stdin.take_back(ticket.number) {
            live.calls.answer(ticket.number);
            if live.is_initialize(ticket.number) {
                live.handshake = Handshake::Open;
                state.bump();
            }
            return;
        }
        if tell && matches!(call.kind, CallKind::Plain | CallKind::Listen) {
            let bytes = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\
                 \"requestId\":{},\"reason\":\"the caller waits no longer\"}}}}\n",
                ticket.number
            );
            let frame = Frame { number: own, bytes: bytes.into_bytes(), written: None };
            if !live.stdin.push_urgent(frame) {
                self.stats.dropped_urgent.inc();
            }
        }
        drop(state);
        ticket.stdin.pump();
    }

    fn lose_calls(&self) {
        let lost = self.lock().lose_calls();
        self.stats.lost_calls.add(lost);
    }

    /// The child closed its output: no answer can come any more.
    fn output_closed(&self) {
        let wait = self.config.limits.closed_wait;
        self.lock().end_child("child closed its standard output", wait, wait);
        self.lose_calls();
        self.look();
    }

    /// The child closed its input: it may answer what it has, but takes nothing more.
    fn input_broken(&self) {
        let wait = self.config.limits.closed_wait;
        self.lock().end_child("child closed its standard input", wait, wait);
        self.look();
    }

    /// Whether the child may be busy with its own start, so that it need not read yet.
    fn is_starting(&self) -> bool {
        self.lock().live.as_ref().is_some_and(|live| {
            live.answered_at.is_none() && live.born.elapsed() < self.config.limits.initialize
        })
    }

    /// The child has stopped reading.
    fn input_stalled(&self) {
        self.stats.stalls.inc();
        let stall = self.config.limits.stdin_stall;
        let reason = format!("child has not read its standard input for {stall:?}");
        self.lock().end_child(&reason, Duration::ZERO, self.config.limits.closed_wait);
        self.look();
    }

    /// The child has ended.
    fn exited(&self) {
        if let Some(live) = &mut self.lock().live {
            live.exited = true;
        }
        self.look();
    }
}

//! One child that is kept running: the way of a message to it and of its answer back.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::calls::{Call, CallKind};
use super::child::{self, StartError};
use super::inbox::Inbox;
use super::mailbox::{Mailbox, Next, Outcome};
use super::rewrite::{self, Outgoing};
use super::state::{Gate, Handshake, Live, State, Wish};
use super::stdin::{Frame, Stdin};
use super::{PIPE_CLOSED, StdioConfig, StdioState, StdioStats, supervisor};
use crate::mcp::{Answer, Bounds, CallError};
use crate::unpoisoned::Unpoisoned;
use crate::wire::{
    Failure, FailureKind, FailureSource, Headers, Message, MessageKind, RpcId, jsonrpc,
};

/// One child that is kept running, with its threads.
pub(super) struct Server {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    stopped: Receiver<()>,
}

/// What the threads of a server have in common.
pub(super) struct Shared {
    pub config: StdioConfig,
    pub stats: Arc<StdioStats>,
    state: Mutex<State>,
    nudge: Sender<()>,
}

/// A request on its way.
struct Ticket {
    number: u64,
    mailbox: Arc<Mailbox>,
    stdin: Arc<Stdin>,
}

impl Server {
    /// Starts the child and its threads. Later failures to start are tried again.
    pub fn start(config: StdioConfig, stats: Arc<StdioStats>) -> Result<Self, StartError> {
        let (nudge, nudged) = bounded(1);
        let shared = Arc::new(Shared { config, stats, state: Mutex::new(State::new()), nudge });
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
        Ok(Self { shared, supervisor: Mutex::new(Some(supervisor)), stopped })
    }

    /// See [`super::StdioChannel::request`].
    pub fn request(
        &self,
        message: &Message,
        outgoing: &Outgoing<'_>,
        session: Option<&str>,
        bounds: &Bounds,
        on_notification: &mut dyn FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<Answer, CallError> {
        let MessageKind::Request { id, method } = message.kind() else {
            return Err(NOT_A_REQUEST.into());
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
            let number = self.shared.lock().number();
            let mailbox = Arc::new(Mailbox::new());
            // The text may be long: made outside the lock.
            let bytes = match kind {
                CallKind::Initialize => Vec::new(),
                _ => outgoing.request(number),
            };
            let queue = |state: &mut State| {
                let deadline = Instant::now() + self.shared.config.limits.initialize;
                let live = state.live.as_mut()?;
                live.calls.add(
                    number,
                    Call {
                        session: session.map(str::to_owned),
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
                    _ => live.ask(number, bytes),
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

    /// Writes a notification to the child.
    pub fn notify(&self, message: &Message, bounds: &Bounds) -> Result<(), CallError> {
        let Some(bytes) = rewrite::notification(message.text()) else {
            self.shared.stats.refused.inc();
            return Ok(());
        };
        let wish = Wish { initialize: None, modern_request: false };
        loop {
            let mailbox = Arc::new(Mailbox::new());
            let frame = (bytes.clone(), Some(mailbox.clone()));
            let queue = |state: &mut State| {
                let number = state.number();
                let (bytes, written) = frame;
                let live = state.live.as_mut()?;
                live.stdin.push(Frame { number, bytes, written });
                Some(Ticket { number, mailbox, stdin: live.stdin.clone() })
            };
            let Passed::Queued(ticket) = self.pass(wish, bounds, queue)? else {
                return Ok(());
            };
            ticket.stdin.pump();
            let given_up = match ticket.mailbox.next(bounds.limit, &bounds.cancel) {
                Next::Outcome(Outcome::Lost(failure)) => return Err(failure.into()),
                Next::Outcome(Outcome::Unsent) => continue,
                Next::TimedOut => CallError::TimedOut,
                Next::Cancelled => CallError::Cancelled,
                Next::Outcome(_) | Next::Note(_) | Next::Withdrawn => return Ok(()),
            };
            ticket.stdin.take_back(ticket.number);
            return Err(given_up);
        }
    }

    /// Whether it serves, and the process id of the child, if one runs.
    pub fn status(&self) -> (StdioState, Option<i32>) {
        let state = self.shared.lock();
        let pid = state.live.as_ref().map(|live| live.pid);
        (state.summary(&self.shared.config.limits, Instant::now()), pid)
    }

    /// Whether the child serves clients of the modern protocol and none of the older one.
    pub fn is_modern(&self) -> bool {
        let state = self.shared.lock();
        state.stopping.is_none() && state.live.as_ref().is_some_and(Live::takes_no_response)
    }

    /// Has the child end within `grace` (M-24).
    pub fn begin_stop(&self, grace: Duration) {
        let mut state = self.shared.lock();
        state.stopping.get_or_insert(grace);
        state.bump();
        drop(state);
        self.shared.look();
    }

    /// Waits until the child and the threads have ended.
    pub fn end_stop(&self, until: Instant) {
        let _ = self.stopped.recv_deadline(until);
        let supervisor = self.supervisor.lock().unpoisoned().take();
        if let Some(supervisor) = supervisor.filter(JoinHandle::is_finished) {
            let _ = supervisor.join();
        }
    }

    /// Waits until a message may pass, and queues it in the same moment.
    fn pass(
        &self,
        wish: Wish<'_>,
        bounds: &Bounds,
        queue: impl FnOnce(&mut State) -> Option<Ticket>,
    ) -> Result<Passed, CallError> {
        loop {
            let now = Instant::now();
            if bounds.cancel.is_cancelled() {
                return Err(CallError::Cancelled);
            }
            if now >= bounds.limit {
                return Err(CallError::TimedOut);
            }
            let mut state = self.shared.lock();
            let changed = match state.gate(wish, &self.shared.config.limits, now) {
                Gate::Refused(error) => return Err(error),
                Gate::Answered(json) => return Ok(Passed::Answered(json)),
                Gate::Wait(changed) => changed,
                Gate::Go => {
                    return queue(&mut state).map(Passed::Queued).ok_or(PIPE_CLOSED.into());
                }
            };
            drop(state);
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
        let begun = Instant::now();
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
                    return Ok(Some((jsonrpc::cancelled(id), None)));
                }
                Next::TimedOut => {
                    if let Some(live) = &mut self.shared.lock().live {
                        live.not_heard(begun, Instant::now());
                    }
                    CallError::TimedOut
                }
                Next::Cancelled => CallError::Cancelled,
            };
            self.shared.give_up(ticket, true);
            return Err(given_up);
        }
    }

    /// A remote client cancels a call: it overtakes what waits for the child (B-2), under the id
    /// that the child knows. False if it names no call that is open here.
    pub fn forward_cancel(&self, message: &Message, session: Option<&str>) -> bool {
        let withdrawn_at = Instant::now() + self.shared.config.limits.withdrawn;
        let mut state = self.shared.lock();
        let own = state.number();
        let named = rewrite::cancelled_id(message.text());
        let found = state.live.as_ref().zip(named).and_then(|(live, id)| {
            let (number, call) = live.calls.named_by_client(session, &id)?;
            Some((live.stdin.clone(), number, call.kind, call.mailbox.clone()))
        });
        let Some((stdin, number, kind, mailbox)) = found else { return false };
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
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody is left to wait for it.
        self.begin_stop(Duration::ZERO);
    }
}

/// How a message passed the gate.
enum Passed {
    Queued(Ticket),
    Answered(String),
}

/// A caller's mistake: a request is due here.
const NOT_A_REQUEST: Failure = Failure::new(FailureSource::ClientInternal, FailureKind::Unknown);

pub(super) fn answer(status: u16, json: String) -> Answer {
    Answer { status, headers: Headers::new(), json }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unpoisoned()
    }

    /// Has the supervisor look at the state again.
    pub fn look(&self) {
        // A full channel means that it will look anyway.
        let _ = self.nudge.try_send(());
    }

    pub fn inbox(&self) -> Inbox<'_> {
        Inbox::new(self)
    }

    /// Writes what waits for the child, as far as it takes it.
    pub fn pump(&self) {
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
            let text = jsonrpc::cancel(ticket.number, "the caller waits no longer");
            let frame = Frame { number: own, bytes: rewrite::line(&text), written: None };
            if !live.stdin.push_urgent(frame) {
                self.stats.dropped_urgent.inc();
            }
        }
        drop(state);
        ticket.stdin.pump();
    }

    pub fn lose_calls(&self) {
        let lost = self.lock().lose_calls();
        self.stats.lost_calls.add(lost);
    }

    /// The child closed its output: no answer can come any more.
    pub fn output_closed(&self) {
        let wait = self.config.limits.closed_wait;
        self.lock().end_child("child closed its standard output", wait, wait);
        self.lose_calls();
        self.look();
    }

    /// The child closed its input: it may answer what it has, but takes nothing more.
    pub fn input_broken(&self) {
        let wait = self.config.limits.closed_wait;
        self.lock().end_child("child closed its standard input", wait, wait);
        self.look();
    }

    /// Whether the child may be busy with its own start, so that it need not read yet.
    pub fn is_starting(&self) -> bool {
        self.lock().live.as_ref().is_some_and(|live| {
            live.answered_at.is_none() && live.born.elapsed() < self.config.limits.initialize
        })
    }

    /// The child has stopped reading.
    pub fn input_stalled(&self) {
        self.stats.stalls.inc();
        let stall = self.config.limits.stdin_stall;
        let reason = format!("child has not read its standard input for {stall:?}");
        self.lock().end_child(&reason, Duration::ZERO, self.config.limits.closed_wait);
        self.look();
    }

    /// The child has ended.
    pub fn exited(&self) {
        if let Some(live) = &mut self.lock().live {
            live.exited = true;
        }
    }
}

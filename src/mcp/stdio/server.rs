//! One child that is kept running, and the path of a message to it and of the answer back.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::calls::{Call, CallKind};
use super::child::{self, StartError};
use super::limits::StdioConfig;
use super::mailbox::{Mailbox, Next, Outcome};
use super::rewrite::{self, Outgoing};
use super::shared::Shared;
use super::state::{Gate, Handshake, Live, PIPE_CLOSED, State, Wish};
use super::status::{StdioState, StdioStats};
use super::supervisor;
use crate::mcp::{Answer, Bounds, CallError};
use crate::unpoisoned::Unpoisoned;
use crate::wire::{
    Failure, FailureKind, FailureSource, Headers, Message, MessageKind, RpcId, jsonrpc,
};

/// An error of the caller: the message must be a request.
const NOT_A_REQUEST: Failure = Failure::new(FailureSource::ClientInternal, FailureKind::Unknown);

/// One child that is kept running, with its threads.
pub(super) struct Server {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    stopped: Receiver<()>,
}

/// How a message passed the gate.
enum Passed<'a> {
    /// It may be queued while this lock is held.
    Go(MutexGuard<'a, State>),
    /// It is answered already.
    Answered(String),
}

impl Server {
    /// Starts the child and its threads. Later failures to start are tried again.
    pub fn start(config: StdioConfig, stats: Arc<StdioStats>) -> Result<Self, StartError> {
        let (shared, nudged) = Shared::new(config, stats);
        let shared = Arc::new(shared);
        let (started, first) = bounded(1);
        let (done, stopped) = bounded::<()>(0);
        let supervisor = child::thread("stdio-supervise", {
            let shared = shared.clone();
            move || {
                // Disconnects when this thread ends.
                let _done = done;
                supervisor::run(&shared, &nudged, &started);
            }
        });
        let supervisor = supervisor.map_err(|error| StartError::of(&shared.config.argv, error))?;
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
        // A frame of which the child read no byte before its end goes to the next child. This is
        // not a replay: no server has seen it (mcp-6).
        loop {
            let number = self.shared.number();
            let call = Call {
                session: session.map(str::to_owned),
                id: id.clone(),
                token: outgoing.token.map(str::to_owned),
                kind: CallKind::of(method, outgoing.task),
                modern: outgoing.modern,
                mailbox: Arc::new(Mailbox::of_request()),
            };
            let mailbox = call.mailbox.clone();
            if let Some(json) = self.send(number, call, message, outgoing, bounds)? {
                return Ok(answer(200, json));
            }
            let outcome = self.follow(number, &mailbox, id, bounds, on_notification)?;
            if let Some((json, error_code)) = outcome {
                return Ok(answer(rewrite::status(outgoing.modern, error_code), json));
            }
        }
    }

    /// Sends a request to the child under the id `number`, as soon as it may pass. Returns its
    /// answer if it need not be sent.
    fn send(
        &self,
        number: u64,
        call: Call,
        message: &Message,
        outgoing: &Outgoing<'_>,
        bounds: &Bounds,
    ) -> Result<Option<String>, CallError> {
        let initialize = (call.kind == CallKind::Initialize).then_some(&call.id);
        let wish = Wish { initialize, modern_request: call.modern };
        // Made outside the lock, since the text may be long.
        let bytes = initialize.is_none().then(|| outgoing.request(number));
        let mut state = match self.pass(wish, bounds)? {
            Passed::Go(state) => state,
            Passed::Answered(json) => return Ok(Some(json)),
        };
        let live = state.live.as_mut().ok_or(PIPE_CLOSED)?;
        let (stdin, sender) = (live.stdin.clone(), Some(call.mailbox.clone()));
        live.calls.add(number, call);
        let is_initialize = bytes.is_none();
        match bytes {
            Some(bytes) => live.ask(bytes, sender),
            None => {
                let deadline = Instant::now() + self.shared.config.limits.initialize;
                live.begin_initialize(number, message, sender, deadline);
            }
        }
        drop(state);
        stdin.pump();
        if is_initialize {
            // The supervisor watches how long it takes.
            self.shared.look();
        }
        Ok(None)
    }

    /// Waits for the answer to a request: the message, and its error code if it is an error. `None`
    /// if the child read no byte of the request.
    fn follow(
        &self,
        number: u64,
        mailbox: &Arc<Mailbox>,
        id: &RpcId,
        bounds: &Bounds,
        on_notification: &mut dyn FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<Option<(String, Option<i64>)>, CallError> {
        let begun = Instant::now();
        let given_up = loop {
            match mailbox.next(bounds.limit, &bounds.cancel) {
                Next::Note(note) => {
                    if on_notification(answer(200, note)).is_break() {
                        break CallError::Unwanted;
                    }
                }
                Next::Outcome(Outcome::Answer { json, error_code }) => {
                    return Ok(Some((json, error_code)));
                }
                Next::Outcome(Outcome::Lost(failure)) => return Err(failure.into()),
                Next::Outcome(Outcome::Unsent) => return Ok(None),
                Next::Outcome(Outcome::Written) => {}
                Next::Withdrawn => {
                    self.give_up(number, false);
                    return Ok(Some((jsonrpc::cancelled(id), None)));
                }
                Next::TimedOut => {
                    if let Some(live) = &mut self.shared.lock().live {
                        live.not_heard(begun, Instant::now());
                    }
                    break CallError::TimedOut;
                }
                Next::Cancelled => break CallError::Cancelled,
            }
        };
        self.give_up(number, true);
        Err(given_up)
    }

    /// Gives up a request because its worker waits no longer. If the child has the request, it gets
    /// a cancel (forwarding-211), except where MCP forbids one (mcp-21); its answer will be dropped
    /// (mcp-11).
    fn give_up(&self, number: u64, tell: bool) {
        let mut state = self.shared.lock();
        let Some(live) = &mut state.live else { return };
        let Some(call) = live.calls.give_up(number, Instant::now()) else { return };
        let stdin = live.stdin.clone();
        if stdin.take_back(&call.mailbox) {
            live.calls.answer(number);
            if live.is_initialize(number) {
                live.handshake = Handshake::Open;
                state.bump();
            }
            return;
        }
        drop(state);
        if tell && matches!(call.kind, CallKind::Plain | CallKind::Listen) {
            let cancel = jsonrpc::cancel(number, "the caller waits no longer");
            self.shared.send_urgent(&stdin, rewrite::line(&cancel));
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
            let mailbox = Arc::new(Mailbox::of_notification());
            let Passed::Go(state) = self.pass(wish, bounds)? else { return Ok(()) };
            let stdin = state.live.as_ref().ok_or(PIPE_CLOSED)?.stdin.clone();
            stdin.push(bytes.clone(), Some(mailbox.clone()));
            drop(state);
            stdin.pump();
            let given_up = match mailbox.next(bounds.limit, &bounds.cancel) {
                Next::Outcome(Outcome::Lost(failure)) => return Err(failure.into()),
                Next::Outcome(Outcome::Unsent) => continue,
                Next::TimedOut => CallError::TimedOut,
                Next::Cancelled => CallError::Cancelled,
                Next::Outcome(_) | Next::Note(_) | Next::Withdrawn => return Ok(()),
            };
            stdin.take_back(&mailbox);
            return Err(given_up);
        }
    }

    /// Cancels a call for its remote client. The cancel overtakes the frames that wait for the
    /// child (stdio-202), and carries the id that the child knows. False if it names no call that
    /// is open here.
    pub fn forward_cancel(&self, message: &Message, session: Option<&str>) -> bool {
        let state = self.shared.lock();
        let named = rewrite::cancelled_id(message.text());
        let Some((live, id)) = state.live.as_ref().zip(named) else { return false };
        let Some((number, call)) = live.calls.named_by_client(session, &id) else { return false };
        let (stdin, call) = (live.stdin.clone(), call.clone());
        drop(state);
        match call.kind {
            CallKind::Initialize | CallKind::Task => self.shared.stats.swallowed.inc(),
            _ if stdin.take_back(&call.mailbox) => call.mailbox.withdraw(Instant::now()),
            _ => {
                self.shared.send_urgent(&stdin, rewrite::cancelled(message.text(), number));
                call.mailbox.withdraw(Instant::now() + self.shared.config.limits.withdrawn);
            }
        }
        true
    }

    /// The state of the channel, and the process id of the child, if one runs.
    pub fn status(&self) -> (StdioState, Option<i32>) {
        let state = self.shared.lock();
        let pid = state.live.as_ref().map(|live| live.pid);
        (state.summary(&self.shared.config.limits, Instant::now()), pid)
    }

    /// True if the child serves clients of the modern protocol and none of the older one.
    pub fn is_modern(&self) -> bool {
        let state = self.shared.lock();
        state.stopping.is_none() && state.live.as_ref().is_some_and(Live::takes_no_response)
    }

    /// Makes the child end within `grace` (mcp-24).
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

    /// Waits until a message may pass. The caller must queue it before it releases the lock.
    fn pass(&self, wish: Wish<'_>, bounds: &Bounds) -> Result<Passed<'_>, CallError> {
        loop {
            let now = Instant::now();
            if bounds.cancel.is_cancelled() {
                return Err(CallError::Cancelled);
            }
            if now >= bounds.limit {
                return Err(CallError::TimedOut);
            }
            let mut state = self.shared.lock();
            let changed = match state.gate(wish, &self.shared.config.limits, now)? {
                Gate::Go => return Ok(Passed::Go(state)),
                Gate::Answered(json) => return Ok(Passed::Answered(json)),
                Gate::Wait(changed) => changed,
            };
            drop(state);
            // The supervisor may have to send the child a request first.
            self.shared.look();
            crossbeam_channel::select! {
                recv(changed) -> _ => {}
                recv(bounds.cancel.channel()) -> _ => {}
                recv(crossbeam_channel::at(bounds.limit)) -> _ => {}
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody waits for it any more.
        self.begin_stop(Duration::ZERO);
    }
}

/// An answer or notification of the child; it has no headers.
pub(super) fn answer(status: u16, json: String) -> Answer {
    Answer { status, headers: Headers::new(), json }
}

//! The state of one server, behind one lock: the child, its open calls, its handshake and its era.
//! It decides which message may pass.
//!
//! Nothing here waits, reads or writes: frames are only put into the queue of [`Stdin`]. `server`,
//! `reader`, `child` and `supervisor` change it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::calls::Calls;
use super::limits::Limits;
use super::mailbox::{CHILD_GONE, Mailbox, Outcome};
use super::rewrite::{self, Outgoing};
use super::status::StdioState;
use super::stdin::Stdin;
use crate::mcp::CallError;
use crate::wire::json::Members;
use crate::wire::{Failure, FailureKind, FailureSource, Message, RpcId, jsonrpc};

/// There is no child to write to.
pub(super) const PIPE_CLOSED: Failure =
    Failure::new(FailureSource::TransportClosed, FailureKind::ClosedPipe);

/// A server: the running child, or the reason why there is none.
pub(super) struct State {
    /// The running child.
    pub live: Option<Live>,
    /// The reason why there is none.
    pub down: Down,
    /// The handshake that is repeated with a fresh child (stdio-205).
    pub remembered: Option<Remembered>,
    /// The grace period, once the channel is to stop.
    pub stopping: Option<Duration>,
    /// The number of children in a row that ended before they counted as up.
    pub failures: u32,
    /// True if the last child ended when it was asked for its era: the next one counts as older.
    pub assume_legacy: bool,
    changed: (Sender<()>, Receiver<()>),
}

/// The reason why no child runs.
pub(super) struct Down {
    /// In words, for the operator.
    pub reason: String,
    /// The time of the next start; `None` if there will be none.
    pub next_try: Option<Instant>,
}

/// A successful `initialize`.
pub(super) struct Remembered {
    /// As the remote client sent it.
    pub request: Message,
    /// As the child answered it.
    pub answer: String,
}

/// A child counts as silent after this many calls in a row without any answer: one or two may be
/// slow.
const SILENT_CALLS: u32 = 3;

/// One child process.
pub(super) struct Live {
    pub pid: i32,
    pub born: Instant,
    pub stdin: Arc<Stdin>,
    pub calls: Calls,
    pub handshake: Handshake,
    pub era: Era,
    /// The time of its first request.
    pub asked_at: Option<Instant>,
    /// The time of its first answer.
    pub answered_at: Option<Instant>,
    /// The time of its last answer.
    heard_at: Option<Instant>,
    /// Calls in a row that timed out while the child answered nothing at all.
    silent_calls: u32,
    /// The time at which the last of them was given up.
    silent_at: Option<Instant>,
    /// Set once its end has begun.
    pub ending: Option<Ending>,
    /// True if it has ended but its threads still run.
    pub exited: bool,
}

/// The progress of the one `initialize` of the process (mcp-17).
pub(super) enum Handshake {
    /// None was sent, or it was refused.
    Open,
    /// Sent and not answered.
    Pending {
        number: u64,
        /// The time at which the child counts as hung.
        deadline: Instant,
        request: Message,
        /// True if it is the tunnel's own, to a restarted child.
        replay: bool,
    },
    /// Answered with success, and `notifications/initialized` was sent.
    Done,
}

/// How the child answered an `initialize`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Initialize {
    /// With success.
    Done,
    /// With an error, for the client to see.
    Refused,
    /// With an error to the tunnel's own request; no client sees it.
    ReplayRefused,
}

/// The era of the child: does it speak the protocol of 2026-07-28 and later (mcp-18, mcp-19)?
#[derive(Default)]
pub(super) struct Era {
    /// Once known, it holds for the life of the process.
    pub modern: Option<bool>,
    /// A client's request waits for the answer.
    pub wanted: bool,
    /// The id of `server/discover`: kept, since a late answer counts too.
    pub probe: Option<u64>,
    /// The time from which silence means that the child is older.
    pub deadline: Option<Instant>,
}

/// The steps towards the end of a child (mcp-24). Its input is closed already.
pub(super) struct Ending {
    pub reason: String,
    pub term_at: Instant,
    pub kill_at: Instant,
    pub step: Step,
}

/// The last step that was taken to end a child.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Closed,
    Terminated,
    Killed,
}

/// The properties of a message that decide whether it may pass.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    /// Its id, if it is an `initialize`.
    pub initialize: Option<&'a RpcId>,
    /// True for a request with the metadata of the modern protocol.
    pub modern_request: bool,
}

/// The decision on whether a message may pass.
pub(super) enum Gate {
    /// Now, before the lock is released.
    Go,
    /// Not yet: check again when this disconnects.
    Wait(Receiver<()>),
    /// It need not pass, since this answers it.
    Answered(String),
}

impl State {
    pub fn new() -> Self {
        Self {
            live: None,
            down: Down { reason: "child not started".to_owned(), next_try: None },
            remembered: None,
            stopping: None,
            failures: 0,
            assume_legacy: false,
            changed: bounded(0),
        }
    }

    /// Wakes every worker that waits to pass.
    pub fn bump(&mut self) {
        self.changed = bounded(0);
    }

    /// Decides whether a message may be written to the child at this moment.
    ///
    /// # Errors
    /// If it may pass neither now nor soon.
    pub fn gate(
        &mut self,
        wish: Wish<'_>,
        limits: &Limits,
        now: Instant,
    ) -> Result<Gate, CallError> {
        let wait = Gate::Wait(self.changed.1.clone());
        let live = match &mut self.live {
            _ if self.stopping.is_some() => return Err(PIPE_CLOSED.into()),
            None if self.down.next_try.is_some_and(|at| at <= now + limits.down_wait) => {
                return Ok(wait);
            }
            None => return Err(PIPE_CLOSED.into()),
            Some(live) => live,
        };
        if live.ending.is_some() || live.exited {
            return Ok(wait);
        }
        match (&live.handshake, wish.initialize, &self.remembered) {
            (Handshake::Pending { .. }, _, _) => return Ok(wait),
            (Handshake::Done, Some(id), Some(remembered)) => {
                // The remembered answer has a result, so it can be restored.
                let root = Members::of(&remembered.answer).ok();
                let answer = root.and_then(|root| rewrite::restore_response(&root, id, false));
                return Ok(Gate::Answered(answer.unwrap_or_default()));
            }
            _ => {}
        }
        match live.era.modern {
            _ if !wish.modern_request => Ok(Gate::Go),
            Some(true) => Ok(Gate::Go),
            Some(false) => Err(CallError::OlderServer),
            None => {
                live.era.wanted = true;
                Ok(wait)
            }
        }
    }

    /// Installs a fresh child. If clients were initialized on an earlier one, it is initialized in
    /// the same way, under the id `number`, before anything else is written (stdio-205).
    pub fn install(&mut self, pid: i32, stdin: Arc<Stdin>, limits: &Limits, number: u64) {
        let now = Instant::now();
        let mut live = Live {
            pid,
            born: now,
            stdin,
            calls: Calls::default(),
            handshake: Handshake::Open,
            era: Era { modern: self.assume_legacy.then_some(false), ..Era::default() },
            asked_at: None,
            heard_at: None,
            silent_calls: 0,
            silent_at: None,
            answered_at: None,
            ending: None,
            exited: false,
        };
        if let Some(remembered) = &self.remembered {
            live.begin_initialize(number, &remembered.request, None, now + limits.initialize);
        }
        self.live = Some(live);
        self.bump();
    }

    /// Starts the end of the child: its input is closed now, `SIGTERM` follows after `patience`,
    /// `SIGKILL` a while later.
    pub fn end_child(&mut self, reason: &str, patience: Duration, kill_after: Duration) {
        let Some(live) = &mut self.live else { return };
        if live.ending.is_some() {
            return;
        }
        let term_at = Instant::now() + patience;
        live.ending = Some(Ending {
            reason: reason.to_owned(),
            term_at,
            kill_at: term_at + kill_after,
            step: Step::Closed,
        });
        live.stdin.close();
        self.bump();
    }

    /// Fails all calls, because no answer can come any more (mcp-25). A call of which the child has
    /// read no byte may be tried with the next child. Returns the number of lost calls.
    pub fn lose_calls(&mut self) -> usize {
        let Some(live) = &mut self.live else { return 0 };
        let begun = live.stdin.abandon();
        let calls = live.calls.take_all().into_values();
        let lost = calls.filter(|call| call.mailbox.finish(Outcome::Lost(CHILD_GONE))).count();
        if let Some(begun) = begun {
            begun.finish(Outcome::Lost(CHILD_GONE));
        }
        lost
    }

    /// Records the answer to the pending `initialize`.
    pub fn initialized(&mut self, text: &str, success: bool) -> Initialize {
        let Some(live) = &mut self.live else { return Initialize::Refused };
        let Handshake::Pending { request, replay, .. } =
            std::mem::replace(&mut live.handshake, Handshake::Open)
        else {
            return Initialize::Refused;
        };
        if success {
            live.handshake = Handshake::Done;
            self.remembered = Some(Remembered { request, answer: text.to_owned() });
            // Sent at once, whatever the client does next: other sessions share the child, and it
            // serves nobody before this (mcp-17). The notifications that clients send are dropped.
            live.stdin.push(rewrite::line(jsonrpc::INITIALIZED), None);
        } else if replay {
            // The child runs but refuses: from now on clients get its refusals themselves.
            self.remembered = None;
        }
        self.bump();
        match (success, replay) {
            (true, _) => Initialize::Done,
            (false, true) => Initialize::ReplayRefused,
            (false, false) => Initialize::Refused,
        }
    }

    /// Settles the era of the child.
    pub fn settle_era(&mut self, modern: bool) {
        if let Some(live) = &mut self.live {
            live.era.modern = Some(modern);
            live.era.deadline = None;
            self.bump();
        }
    }

    /// The state that the operator sees.
    pub fn summary(&self, limits: &Limits, now: Instant) -> StdioState {
        let Some(live) = &self.live else {
            let next_try_in = self.down.next_try.map(|at| at.saturating_duration_since(now));
            return StdioState::Down { reason: self.down.reason.clone(), next_try_in };
        };
        if let Some(ending) = &live.ending {
            return StdioState::Down { reason: ending.reason.clone(), next_try_in: None };
        }
        let silence_ends = live.silent_at.map(|at| at + limits.silence);
        if live.silent_calls >= SILENT_CALLS && silence_ends.is_some_and(|end| now < end) {
            return StdioState::Silent { calls: live.silent_calls };
        }
        let (settle, after_failure) = limits.settle;
        let settled = live.born + if self.failures == 0 { settle } else { after_failure };
        let due = live.asked_at.map(|asked| asked + limits.answer_due);
        let up = match live.answered_at {
            _ if matches!(live.handshake, Handshake::Pending { replay: true, .. }) => None,
            Some(answered) => Some(answered),
            None if !live.calls.is_empty() && due.is_some_and(|due| due <= now) => None,
            None => Some(settled).filter(|settled| *settled <= now),
        };
        match up {
            Some(since) => StdioState::Up { since },
            None => StdioState::Starting { since: live.born },
        }
    }
}

impl Live {
    /// Queues an `initialize`; nothing else passes until it is answered. Without a sender it is
    /// the tunnel's own, to a restarted child.
    pub fn begin_initialize(
        &mut self,
        number: u64,
        request: &Message,
        sender: Option<Arc<Mailbox>>,
        deadline: Instant,
    ) {
        // It was checked before, when its client sent it.
        let Some(outgoing) = Outgoing::of(request) else { return };
        let (request, replay) = (request.clone(), sender.is_none());
        self.ask(outgoing.initialize(number), sender);
        self.handshake = Handshake::Pending { number, deadline, request, replay };
    }

    /// True if this is the number of the pending `initialize`.
    pub fn is_initialize(&self, number: u64) -> bool {
        matches!(&self.handshake, Handshake::Pending { number: pending, .. } if *pending == number)
    }

    /// True if no JSON-RPC response may be written to it (mcp-22).
    pub fn takes_no_response(&self) -> bool {
        self.era.modern == Some(true) && matches!(self.handshake, Handshake::Open)
    }

    /// Queues a request and records that the child has a request.
    pub fn ask(&mut self, bytes: Vec<u8>, sender: Option<Arc<Mailbox>>) {
        self.asked_at.get_or_insert_with(Instant::now);
        self.stdin.push(bytes, sender);
    }

    /// Records that a call sent to the child at `begun` has timed out.
    pub fn not_heard(&mut self, begun: Instant, now: Instant) {
        if self.heard_at.is_none_or(|heard| heard < begun) {
            self.silent_calls = self.silent_calls.saturating_add(1);
            self.silent_at = Some(now);
        }
    }

    /// Records that the child has answered. After its first answer, it gets less time for
    /// `server/discover`, since its silence means more. Returns true for the first answer.
    pub fn heard(&mut self, discover: Duration, now: Instant) -> bool {
        self.heard_at = Some(now);
        self.silent_calls = 0;
        if self.answered_at.is_some() {
            return false;
        }
        self.answered_at = Some(now);
        if let Some(deadline) = &mut self.era.deadline {
            *deadline = now + discover;
        }
        true
    }
}

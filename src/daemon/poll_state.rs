//! The observations of the poll loops, for readiness, the metrics page, the watchdog and the log.
//!
//! A loop reports each step to the observer from [`PollState::observer`], and others read the
//! counters. Nothing here decides what a loop does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::component::Component;
use crate::control_plane::access::NO_REQUEST_ID;
use crate::control_plane::{PollError, PollEvent, PollObserver};
use crate::net::{Cause, NetErrorKind};
use crate::stats::{Counter, TimeHistogram};
use crate::unpoisoned::Unpoisoned;
use crate::wire::Envelope;

/// The polls are logged as the control plane's, whoever keeps the account of them.
const LOG: &str = Component::ControlPlane.target();

/// How long a repeated failure is only counted before it is logged again.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// How long the service must hold the first poll before it counts as accepted.
const HELD: Duration = Duration::from_millis(500);

/// Several daemons share the commands of one tunnel, and a stdio server lives in each.
pub const TOO_MANY_DAEMONS: &str = "daemons poll this tunnel, and each has an MCP server process of its own: a session's calls \
     reach servers that do not know it; stop all daemons but one, or give each its own tunnel id";

/// The explanation if the tunnel document was served but polls are refused.
const READ_BUT_NOT_USE: &str = "; the same key may read this tunnel, so id and address are right: \
    its principal lacks the Tunnels Use permission";

/// The class of a failed poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The limit passed.
    Timeout,
    /// No connection was made.
    Unreachable,
    /// The TLS handshake failed.
    Tls,
    /// The connection broke.
    Connection,
    /// The service refuses the key, which only an operator can change (wire-73).
    KeyRefused,
    /// The service asks for fewer requests.
    RateLimited,
    /// The service reports an error of its own.
    ServerError,
    /// A status that the protocol does not define.
    UnexpectedStatus,
    /// An answer that does not follow the protocol.
    BadAnswer,
}

impl FailureClass {
    /// All classes, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Unreachable,
        Self::Tls,
        Self::Connection,
        Self::KeyRefused,
        Self::RateLimited,
        Self::ServerError,
        Self::UnexpectedStatus,
        Self::BadAnswer,
    ];

    /// The stable word for metrics and scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Connection => "connection",
            Self::KeyRefused => "key_refused",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::UnexpectedStatus => "unexpected_status",
            Self::BadAnswer => "bad_answer",
        }
    }

    fn of(error: &PollError) -> Self {
        match error {
            PollError::Net(error) => match error.kind {
                NetErrorKind::TimedOut => Self::Timeout,
                NetErrorKind::Dns
                | NetErrorKind::Refused
                | NetErrorKind::NetworkUnreachable
                | NetErrorKind::HostUnreachable
                | NetErrorKind::Dial => Self::Unreachable,
                NetErrorKind::Tls => Self::Tls,
                NetErrorKind::NotHttp => Self::BadAnswer,
                _ => Self::Connection,
            },
            PollError::Status(error, _) if error.is_refusal() => Self::KeyRefused,
            PollError::Status(error, _) => match error.status {
                429 => Self::RateLimited,
                500.. => Self::ServerError,
                _ => Self::UnexpectedStatus,
            },
            PollError::Body(_) => Self::BadAnswer,
        }
    }
}

/// The observations of the poll loops.
#[derive(Debug, Default)]
pub struct PollState {
    inner: Mutex<Inner>,
    loops: Mutex<Vec<Step>>,
    vouched: AtomicBool,
    classes: [Counter; FailureClass::ALL.len()],
    daemons: AtomicUsize,
    /// Polls sent.
    pub cycles: Counter,
    /// Failed polls that timed out.
    pub errors_timeout: Counter,
    /// Failed polls that were cancelled.
    pub errors_cancelled: Counter,
    /// All other failed polls.
    pub errors_other: Counter,
    /// Commands in poll answers, including unusable ones.
    pub polled: Counter,
    /// Commands handed to the workers.
    pub enqueued: Counter,
    /// Commands that could not be used.
    pub dropped_invalid: Counter,
    /// Commands still open when the process ended.
    pub dropped_stopping: Counter,
    /// The duration of successful polls, including the wait at the service.
    pub latency_ok: TimeHistogram,
    /// The duration of failed polls.
    pub latency_error: TimeHistogram,
    /// The time from the service's `created_at` to the receipt.
    pub age: TimeHistogram,
}

#[derive(Debug, Default)]
struct Inner {
    last_success: Option<(Instant, SystemTime)>,
    failing: Option<Failing>,
    began: Option<Instant>,
    last_error: Option<LastError>,
    logged: Option<Logged>,
}

/// The last step of one loop.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It has not begun: an MCP server may have to be there first.
    Made,
    /// It waits for room for commands.
    Waits(Instant),
    /// It began or ended a poll.
    Polls(Instant),
}

/// The failure that was logged last, and how often it has occurred since without being logged.
#[derive(Debug)]
struct Logged {
    line: String,
    at: Instant,
    repeated: u64,
}

/// The latest failed poll. It is kept when polls succeed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The time of the failure.
    pub at: SystemTime,
    /// Its class.
    pub class: FailureClass,
    /// The error in one line, without secrets.
    pub line: String,
}

/// Polls that fail, from the first one after a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The time of the first failure.
    pub since: Instant,
    /// The latest error, in one line.
    pub line: String,
    /// The class of the latest error.
    pub class: FailureClass,
    /// The cause, if an operator should look elsewhere than its class suggests.
    pub cause: Option<Cause>,
}

impl PollState {
    /// The end of the last good poll, on both clocks.
    pub fn last_success(&self) -> Option<(Instant, SystemTime)> {
        self.lock().last_success
    }

    /// The fault, if the last poll failed.
    pub fn failing(&self) -> Option<Failing> {
        self.lock().failing.clone()
    }

    /// The latest failed poll.
    pub fn last_error(&self) -> Option<LastError> {
        self.lock().last_error.clone()
    }

    /// The number of failed polls, by class.
    pub fn errors_by_class(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FailureClass::ALL
            .map(FailureClass::as_str)
            .into_iter()
            .zip(self.classes.each_ref().map(Counter::get))
    }

    /// The time since the last step of the loop that has been still for longest. A loop that waits
    /// for room takes no steps, which is not a fault while the room is `taken` or another loop
    /// polls for it.
    pub fn since_step(&self, taken: bool) -> Option<Duration> {
        let loops = self.loops();
        let polled = |step: &Step| match step {
            Step::Polls(at) => Some(*at),
            Step::Made | Step::Waits(_) => None,
        };
        let waits = |step: &Step| match step {
            Step::Waits(at) => Some(*at),
            Step::Made | Step::Polls(_) => None,
        };
        let longest = loops.iter().filter_map(polled).min();
        let longest = match longest {
            None if !taken => loops.iter().filter_map(waits).max(),
            longest => longest,
        };
        longest.map(|at| at.elapsed())
    }

    /// Records that the service has answered another request for this tunnel with this key.
    pub fn vouch(&self) {
        self.vouched.store(true, Ordering::Relaxed);
    }

    /// True if the service holds the very first poll open (as it does while there is nothing to do)
    /// and is known to accept key and tunnel: a refused poll would be back by now.
    pub fn is_first_poll_held(&self) -> bool {
        let inner = self.lock();
        inner.last_success.is_none()
            && inner.failing.is_none()
            && inner.began.is_some_and(|began| began.elapsed() >= HELD)
            && self.vouched.load(Ordering::Relaxed)
    }

    /// The number of daemons that poll this tunnel, including this one; 0 if the service does not
    /// report it.
    pub fn daemons(&self) -> usize {
        self.daemons.load(Ordering::Relaxed)
    }

    /// Records the number of daemons that the service reports; warns if a change matters.
    fn saw_daemons(&self, count: usize, must_be_alone: bool) {
        let before = self.daemons.swap(count, Ordering::Relaxed);
        if !must_be_alone || before == count {
            return;
        }
        if count > 1 {
            log::warn!(target: LOG, "{count} {TOO_MANY_DAEMONS}");
        } else if before > 1 {
            log::info!(target: LOG, "this daemon polls its tunnel alone again");
        }
    }

    /// True if no poll is made because all room for commands is taken.
    pub fn is_waiting_for_room(&self) -> bool {
        self.loops().iter().all(|step| matches!(step, Step::Waits(_)))
    }

    fn loops(&self) -> MutexGuard<'_, Vec<Step>> {
        self.loops.lock().unpoisoned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unpoisoned()
    }

    /// `Some` if a failure is to be logged now, with the number of times it went unlogged before.
    fn is_news(&self, line: &str) -> Option<u64> {
        let mut inner = self.lock();
        let known = inner.logged.as_mut().filter(|logged| logged.line == line);
        let repeated = match known {
            Some(logged) if logged.at.elapsed() < LOG_AGAIN => {
                logged.repeated += 1;
                return None;
            }
            Some(logged) => logged.repeated,
            None => 0,
        };
        inner.logged = Some(Logged { line: line.to_owned(), at: Instant::now(), repeated: 0 });
        Some(repeated)
    }

    /// The observer for the steps of a new loop. `origin` is the service that it polls;
    /// `must_be_alone` is true if no other daemon could take the commands.
    pub fn observer(self: &Arc<Self>, origin: &str, must_be_alone: bool) -> PollObserver {
        let number = {
            let mut loops = self.loops();
            loops.push(Step::Made);
            loops.len() - 1
        };
        let (state, origin) = (Arc::clone(self), origin.to_owned());
        Box::new(move |event| {
            let step = match event {
                PollEvent::WaitsForRoom => Step::Waits(Instant::now()),
                _ => Step::Polls(Instant::now()),
            };
            state.loops()[number] = step;
            match event {
                PollEvent::WaitsForRoom => {}
                PollEvent::Begins => {
                    state.cycles.inc();
                    state.lock().began = Some(Instant::now());
                }
                PollEvent::Daemons(count) => state.saw_daemons(count, must_be_alone),
                PollEvent::Succeeded(took) => state.succeeded(took),
                PollEvent::Received(envelope, limit) => state.received(envelope, limit),
                PollEvent::HandedOver(taken, lost) => {
                    state.enqueued.add(taken as u64);
                    state.dropped_stopping.add(lost as u64);
                }
                PollEvent::Failed { error, took, retry_in } => {
                    state.latency_error.observe(took);
                    state.failed(error, &origin, retry_in);
                }
            }
        })
    }

    fn succeeded(&self, took: Duration) {
        self.latency_ok.observe(took);
        let mut inner = self.lock();
        inner.last_success = Some((Instant::now(), SystemTime::now()));
        inner.failing = None;
        if inner.logged.take().is_some() {
            drop(inner);
            log::info!(target: LOG, "poller recovered; polling operational");
        }
    }

    fn received(&self, envelope: &Envelope, limit: usize) {
        let total = envelope.commands.len() + envelope.rejected.len();
        self.polled.add(total as u64);
        if total > limit {
            log::error!(target: LOG, limit, total; "the service sent more commands than asked for");
        }
        for rejected in &envelope.rejected {
            self.dropped_invalid.inc();
            let id = rejected.request_id.as_deref().unwrap_or("-");
            log::warn!(target: LOG, request_id = id; "control-plane command dropped: {rejected}");
        }
        let now = SystemTime::now();
        for at in envelope.commands.iter().filter_map(|command| command.created_at) {
            if let Ok(age) = now.duration_since(at) {
                self.age.observe(age);
            }
        }
    }

    fn failed(&self, error: &PollError, origin: &str, retry_in: Duration) {
        let class = FailureClass::of(error);
        let (mut line, mut cause, mut request_id) = (String::new(), None, NO_REQUEST_ID);
        let counter = match error {
            PollError::Net(error) => {
                line = format!("{origin}: {error}");
                cause = error.cause;
                match error.kind {
                    NetErrorKind::TimedOut => &self.errors_timeout,
                    NetErrorKind::Cancelled => &self.errors_cancelled,
                    _ => &self.errors_other,
                }
            }
            PollError::Status(error, _) => {
                line = error.to_string();
                request_id = error.request_id.as_deref().unwrap_or(NO_REQUEST_ID);
                &self.errors_other
            }
            PollError::Body(text) => {
                line.clone_from(text);
                &self.errors_other
            }
        };
        counter.inc();
        self.classes[class as usize].inc();
        if class == FailureClass::KeyRefused && self.vouched.load(Ordering::Relaxed) {
            line.push_str(READ_BUT_NOT_USE);
        }
        self.note(&line, class, cause);
        if let Some(repeated) = self.is_news(&line) {
            log::warn!(
                target: LOG,
                retry_in_ms = retry_in.as_millis() as u64, repeated, tunnel_request_id = request_id;
                "poll failed; backing off: {line}"
            );
        }
    }

    fn note(&self, line: &str, class: FailureClass, cause: Option<Cause>) {
        let (line, at) = (line.to_owned(), SystemTime::now());
        let mut inner = self.lock();
        inner.last_error = Some(LastError { at, class, line: line.clone() });
        let since = inner.failing.as_ref().map_or_else(Instant::now, |failing| failing.since);
        inner.failing = Some(Failing { since, line, class, cause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
    }

    fn since(steps: &[Step], taken: bool) -> Option<u64> {
        let state = PollState { loops: Mutex::new(steps.to_vec()), ..PollState::default() };
        state.since_step(taken).map(|since| since.as_secs())
    }

    #[test] // operations-204
    fn one_loop_that_stands_still_is_seen_beside_others_that_move() {
        let (stuck, moving) = (Step::Polls(ago(500)), Step::Polls(ago(1)));
        assert_eq!(since(&[moving, stuck, Step::Waits(ago(900))], false), Some(500));
        assert_eq!(since(&[Step::Made, moving, Step::Waits(ago(900))], false), Some(1));
        assert_eq!(since(&[Step::Made], false), None);
    }

    #[test] // operations-204
    fn a_wait_for_room_is_a_standstill_only_if_the_room_is_there() {
        let waiting = [Step::Waits(ago(900)), Step::Waits(ago(500))];
        assert_eq!(since(&waiting, true), None);
        assert_eq!(since(&waiting, false), Some(500));
    }
}

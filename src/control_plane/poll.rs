//! The poll loop (W-38 to W-46): one long poll at a time, for ever, until the process stops.
//!
//! Several loops may run beside each other, one for each poll that is to be in flight. To the
//! service that is what several daemons are (W-46).

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, Method};

use super::access::{Access, NO_REQUEST_ID, daemons};
use super::error_body::StatusError;
use super::failure::FailureClass;
use super::retry::{Backoff, CAP, retry_after};
use crate::net::client::BodyError;
use crate::net::{Cancel, Cause, Client, NetError, NetErrorKind};
use crate::stats::{Counter, TimeHistogram};
use crate::unpoisoned::Unpoisoned;
use crate::wire::{ChannelName, Command, Envelope};

/// Most commands asked for at once (W-38).
const BATCH_MAX: usize = 25;

/// Longest poll answer that is read, in bytes (W-22): far above 25 commands of full size.
const BODY_MAX: usize = 256 * 1024 * 1024;

/// How long a poll that is given up listens on for an answer that is on its way: what was handed
/// out must not be lost.
const LINGER: Duration = Duration::from_millis(250);

/// How long the same failure is only counted before it is logged again.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// How long the service must have held the first poll for it to count as accepted.
const HELD: Duration = Duration::from_millis(500);

/// The wait asked for by a poll that follows a failed one: its success is news that must not
/// take a whole long poll to arrive.
const WAIT_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Several daemons share the commands of one tunnel, and a stdio server lives in each.
pub const TOO_MANY_DAEMONS: &str = "daemons poll this tunnel, and each has an MCP server process of its own: a session's calls \
     reach servers that do not know it; stop all daemons but one, or give each its own tunnel id";

/// What it means if the tunnel document was given out and polls are refused.
const READ_BUT_NOT_USE: &str = "; the same key may read this tunnel, so id and address are right: \
    its principal lacks the Tunnels Use permission";

/// Where commands go. `dispatch` has the one that counts.
pub trait Sink: Send {
    /// How many commands to ask for, 1 to `most`; waits until one fits. The room is kept for
    /// them. `None` once the process stops.
    fn wait_for_room(&mut self, most: usize, stop: &Cancel) -> Option<usize>;
    /// The poll is over, with these commands. If they are more than were asked for, this waits
    /// until there is room for the rest. Room that was kept and is not filled is free again.
    /// Returns how many were taken, which is all unless the process ends first.
    fn poll_over(&mut self, commands: Vec<Command>) -> usize;
}

/// What the poll loops have seen; `ops` reads it.
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
    /// Failed polls that were given up.
    pub errors_cancelled: Counter,
    /// All other failed polls.
    pub errors_other: Counter,
    /// Commands in poll answers, unusable ones included.
    pub polled: Counter,
    /// Commands handed to the workers.
    pub enqueued: Counter,
    /// Commands that could not be used.
    pub dropped_invalid: Counter,
    /// Commands still in hand when the process ended.
    pub dropped_stopping: Counter,
    /// Time of successful polls, the wait at the service included.
    pub latency_ok: TimeHistogram,
    /// Time of failed polls.
    pub latency_error: TimeHistogram,
    /// From the service's `created_at` to the receipt.
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

/// What one loop did last.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It has not begun: an MCP server may have to be there first.
    Made,
    /// It waits for room for commands.
    Waits(Instant),
    /// It began or ended a poll.
    Polls(Instant),
}

/// The failure that was logged last, and how often it was only counted since.
#[derive(Debug)]
struct Logged {
    line: String,
    at: Instant,
    repeated: u64,
}

/// The latest failed poll. It is kept when polls succeed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When it failed.
    pub at: SystemTime,
    /// What it was.
    pub class: FailureClass,
    /// In one line, without secrets.
    pub line: String,
}

/// Polls that fail, from the first one after a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// When the first of them failed.
    pub since: Instant,
    /// The latest error, in one line.
    pub line: String,
    /// What the latest error was.
    pub class: FailureClass,
    /// Where an operator should look for its cause, if that is not where its class suggests.
    pub cause: Option<Cause>,
}

impl PollState {
    /// When the last good poll ended, on both clocks.
    pub fn last_success(&self) -> Option<(Instant, SystemTime)> {
        self.lock().last_success
    }

    /// What is wrong, if the last poll failed.
    pub fn failing(&self) -> Option<Failing> {
        self.lock().failing.clone()
    }

    /// The latest failed poll.
    pub fn last_error(&self) -> Option<LastError> {
        self.lock().last_error.clone()
    }

    /// How many polls failed, by class.
    pub fn errors_by_class(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FailureClass::ALL
            .map(FailureClass::as_str)
            .into_iter()
            .zip(self.classes.each_ref().map(Counter::get))
    }

    /// How long ago the loop that stands still longest took its last step. A loop that waits for
    /// room takes none, which is no fault while the room is `taken` or another loop polls for it.
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

    /// The service has answered another request for this tunnel with this key.
    pub fn vouch(&self) {
        self.vouched.store(true, Ordering::Relaxed);
    }

    /// Whether the service holds the very first poll open, as it does while there is nothing to
    /// do, and is known to accept key and tunnel: a poll that it refused would be back by now.
    pub fn is_first_poll_held(&self) -> bool {
        let inner = self.lock();
        inner.last_success.is_none()
            && inner.failing.is_none()
            && inner.began.is_some_and(|began| began.elapsed() >= HELD)
            && self.vouched.load(Ordering::Relaxed)
    }

    /// How many daemons poll this tunnel, this one included; 0 if the service does not say.
    pub fn daemons(&self) -> usize {
        self.daemons.load(Ordering::Relaxed)
    }

    /// The service says how many daemons there are; warns when that changes and matters.
    fn saw_daemons(&self, count: usize, must_be_alone: bool) {
        let before = self.daemons.swap(count, Ordering::Relaxed);
        if !must_be_alone || before == count {
            return;
        }
        if count > 1 {
            log::warn!("{count} {TOO_MANY_DAEMONS}");
        } else if before > 1 {
            log::info!("this daemon polls its tunnel alone again");
        }
    }

    fn begins(&self) {
        self.cycles.inc();
        self.lock().began = Some(Instant::now());
    }

    /// Whether no poll is made because all room for commands is taken.
    pub fn is_waiting_for_room(&self) -> bool {
        self.loops().iter().all(|step| matches!(step, Step::Waits(_)))
    }

    /// A place for a loop.
    fn enrol(&self) -> usize {
        let mut loops = self.loops();
        loops.push(Step::Made);
        loops.len() - 1
    }

    fn loops(&self) -> std::sync::MutexGuard<'_, Vec<Step>> {
        self.loops.lock().unpoisoned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unpoisoned()
    }

    fn succeeded(&self) {
        let mut inner = self.lock();
        inner.last_success = Some((Instant::now(), SystemTime::now()));
        inner.failing = None;
    }

    fn failed(&self, line: &str, class: FailureClass, cause: Option<Cause>) {
        self.classes[class as usize].inc();
        let mut inner = self.lock();
        inner.last_error = Some(LastError { at: SystemTime::now(), class, line: line.to_owned() });
        let since = inner.failing.as_ref().map_or_else(Instant::now, |failing| failing.since);
        inner.failing = Some(Failing { since, line: line.to_owned(), class, cause });
    }

    /// Whether a failure is to be logged now, and if so, how often it was left out before.
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

    /// Whether this success ends failures that were logged.
    fn is_recovery(&self) -> bool {
        self.lock().logged.take().is_some()
    }
}

/// One poll loop.
pub struct Poller<S> {
    access: Arc<Access>,
    client: Client,
    stop: Cancel,
    sink: S,
    channels: Vec<ChannelName>,
    state: Arc<PollState>,
    /// Its place among the loops.
    number: usize,
    backoff: Backoff,
}

enum PollError {
    Net(NetError),
    Status(StatusError, Option<Duration>),
    Body(String),
}

impl PollError {
    fn class(&self) -> FailureClass {
        match self {
            Self::Net(error) => FailureClass::of_net(error),
            Self::Status(error, _) => FailureClass::of_status(error.status),
            Self::Body(_) => FailureClass::BadAnswer,
        }
    }

    fn cause(&self) -> Option<Cause> {
        match self {
            Self::Net(error) => error.cause,
            Self::Status(..) | Self::Body(_) => None,
        }
    }
}

impl<S: Sink> Poller<S> {
    /// `channels` are the poll channels, empty for "no filter" (W-40). `stop` ends the loop.
    pub fn new(
        access: Arc<Access>,
        channels: Vec<ChannelName>,
        sink: S,
        state: Arc<PollState>,
        stop: Cancel,
    ) -> Self {
        let client = access.client(stop.clone(), Some(LINGER));
        let backoff = Backoff::default();
        let number = state.enrol();
        Self { access, client, stop, sink, channels, state, number, backoff }
    }

    /// Polls until the process stops. Commands that were handed out by then are still taken.
    pub fn run(mut self) {
        while let Some(limit) = self.wait_for_room() {
            self.state.begins();
            let began = Instant::now();
            let polled = self.poll(limit);
            self.step(Step::Polls);
            match polled {
                Ok(envelope) => {
                    self.state.latency_ok.observe(began.elapsed());
                    self.state.succeeded();
                    if self.state.is_recovery() {
                        log::info!("poller recovered; polling operational");
                    }
                    self.backoff.reset();
                    self.hand_over(envelope, limit);
                }
                Err(_) if self.stop.is_cancelled() => return,
                Err(error) => {
                    self.sink.poll_over(Vec::new());
                    self.state.latency_error.observe(began.elapsed());
                    let wait = self.failed(error);
                    // Woken early only by the stop, which the loop's head sees.
                    let _ = self.stop.channel().recv_timeout(wait);
                }
            }
        }
    }

    fn wait_for_room(&mut self) -> Option<usize> {
        self.step(Step::Waits);
        let room = self.sink.wait_for_room(BATCH_MAX, &self.stop);
        self.step(Step::Polls);
        room
    }

    fn step(&self, step: fn(Instant) -> Step) {
        self.state.loops()[self.number] = step(Instant::now());
    }

    fn poll(&self, limit: usize) -> Result<Envelope, PollError> {
        let mut query: Vec<String> = self.channels.iter().map(|c| format!("channel={c}")).collect();
        query.sort();
        query.push(format!("limit={limit}"));
        let wait = match self.state.failing() {
            None => self.access.poll_timeout,
            Some(_) => self.access.poll_timeout.min(WAIT_AFTER_FAILURE),
        };
        let wait_ms = wait.as_millis().max(1);
        query.push(format!("timeout_ms={wait_ms}"));
        let url = self.access.url(&format!("/poll?{}", query.join("&")));
        let send =
            || self.access.send(&self.client, Method::GET, &url, HeaderMap::new(), None, None);
        let reply = match send() {
            // The pooled connection was dead before the service could see the request (W-19).
            Err(error)
                if error.reused
                    && matches!(
                        error.kind,
                        NetErrorKind::Eof | NetErrorKind::Reset | NetErrorKind::BrokenPipe
                    ) =>
            {
                send()
            }
            other => other,
        }
        .map_err(PollError::Net)?;
        if let Some(count) = daemons(&reply) {
            self.state.saw_daemons(count, self.access.has_proc_affinity());
        }
        match reply.status.as_u16() {
            204 => {
                reply.drain();
                Ok(Envelope::default())
            }
            200 => {
                let received_at = reply.received_at;
                let body = reply.bytes(BODY_MAX).map_err(|error| match error {
                    BodyError::Net(error) => PollError::Net(error),
                    BodyError::TooLarge => {
                        PollError::Body(format!("the poll answer is over {BODY_MAX} bytes"))
                    }
                })?;
                // One command with bytes that are no text must not cost its neighbours (W-49).
                let text = String::from_utf8(body)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
                // serde_json's text may quote the payload; where it stands is enough.
                Envelope::parse(&text, received_at).map_err(|error| {
                    PollError::Body(format!(
                        "the poll answer is no command envelope (line {} column {})",
                        error.line(),
                        error.column()
                    ))
                })
            }
            _ => {
                let asked =
                    reply.header("retry-after").and_then(|v| retry_after(v, SystemTime::now()));
                Err(PollError::Status(StatusError::read(reply), asked))
            }
        }
    }

    fn hand_over(&mut self, envelope: Envelope, limit: usize) {
        let total = envelope.commands.len() + envelope.rejected.len();
        self.state.polled.add(total as u64);
        if total > limit {
            log::error!(limit, total; "the service sent more commands than asked for");
        }
        for rejected in &envelope.rejected {
            self.state.dropped_invalid.inc();
            let id = rejected.request_id.as_deref().unwrap_or("-");
            log::warn!(request_id = id; "control-plane command dropped: {rejected}");
        }
        // A command may wait for room, which is not part of its age.
        let now = SystemTime::now();
        for at in envelope.commands.iter().filter_map(|command| command.created_at) {
            if let Ok(age) = now.duration_since(at) {
                self.state.age.observe(age);
            }
        }
        let usable = envelope.commands.len();
        let taken = self.sink.poll_over(envelope.commands);
        self.state.enqueued.add(taken as u64);
        self.state.dropped_stopping.add((usable - taken) as u64);
    }

    /// Counts and logs a failed poll; returns how long to wait.
    fn failed(&mut self, error: PollError) -> Duration {
        let (mut line, mut asked) = match &error {
            PollError::Net(error) => (format!("{}: {error}", self.access.origin()), None),
            PollError::Status(error, asked) => (error.to_string(), *asked),
            PollError::Body(line) => (line.clone(), None),
        };
        match &error {
            PollError::Net(error) if error.kind == NetErrorKind::TimedOut => {
                self.state.errors_timeout.inc();
            }
            PollError::Net(error) if error.kind == NetErrorKind::Cancelled => {
                self.state.errors_cancelled.inc();
            }
            _ => self.state.errors_other.inc(),
        }
        if error.class() == FailureClass::KeyRefused {
            // Only an operator can mend this: knock as seldom as the backoff ever does (D-9).
            asked = Some(asked.map_or(CAP, |asked| asked.max(CAP)));
            if self.state.vouched.load(Ordering::Relaxed) {
                line.push_str(READ_BUT_NOT_USE);
            }
        }
        self.state.failed(&line, error.class(), error.cause());
        let wait = self.backoff.next(asked);
        let request_id = match &error {
            PollError::Status(StatusError { request_id: Some(id), .. }, _) => id.as_str(),
            _ => NO_REQUEST_ID,
        };
        if let Some(repeated) = self.state.is_news(&line) {
            log::warn!(
                retry_in_ms = wait.as_millis() as u64, repeated, tunnel_request_id = request_id;
                "poll failed; backing off: {line}"
            );
        }
        wait
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

    #[test] // ops W-4
    fn one_loop_that_stands_still_is_seen_beside_others_that_move() {
        let (stuck, moving) = (Step::Polls(ago(500)), Step::Polls(ago(1)));
        assert_eq!(since(&[moving, stuck, Step::Waits(ago(900))], false), Some(500));
        assert_eq!(since(&[Step::Made, moving, Step::Waits(ago(900))], false), Some(1));
        assert_eq!(since(&[Step::Made], false), None);
    }

    #[test] // ops W-4
    fn a_wait_for_room_is_a_standstill_only_if_the_room_is_there() {
        let waiting = [Step::Waits(ago(900)), Step::Waits(ago(500))];
        assert_eq!(since(&waiting, true), None);
        assert_eq!(since(&waiting, false), Some(500));
    }
}

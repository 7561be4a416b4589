//! The poll loop (wire-38 to wire-46): one long poll at a time, for ever, until the process stops.
//!
//! Several loops may run beside each other, one for each poll that is to be in flight. To the
//! service that is what several daemons are (wire-46).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, Method, Uri};

use super::access::{Access, daemons};
use super::error_body::StatusError;
use super::retry::{Backoff, CAP, retry_after};
use crate::net::client::BodyError;
use crate::net::{Cancel, Client, NetError, NetErrorKind, Reply};
use crate::wire::{ChannelName, Command, Envelope};

/// Most commands asked for at once (wire-38).
const BATCH_MAX: usize = 25;

/// Longest poll answer that is read, in bytes (wire-22): far above 25 commands of full size.
const BODY_MAX: usize = 256 * 1024 * 1024;

/// How long a poll that is given up listens on for an answer that is on its way: what was handed
/// out must not be lost.
const LINGER: Duration = Duration::from_millis(250);

/// The wait asked for by a poll that follows a failed one: its success is news that must not
/// take a whole long poll to arrive.
const WAIT_AFTER_FAILURE: Duration = Duration::from_secs(1);

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

/// What one poll loop does and meets.
#[derive(Debug)]
pub enum PollEvent<'a> {
    /// It waits for room for commands.
    WaitsForRoom,
    /// It polls.
    Begins,
    /// The service says how many daemons poll this tunnel.
    Daemons(usize),
    /// The poll has ended well, after so long.
    Succeeded(Duration),
    /// The answer to a poll for so many commands at most, before they are handed over.
    Received(&'a Envelope, usize),
    /// So many commands were handed over, and so many could not be: the process ends.
    HandedOver(usize, usize),
    /// The poll has failed.
    Failed {
        /// Why.
        error: &'a PollError,
        /// How long it took.
        took: Duration,
        /// How long the loop waits now.
        retry_in: Duration,
    },
}

/// Told of each event as it happens; it must not wait.
pub type PollObserver = Box<dyn Fn(PollEvent<'_>) + Send>;

/// Why a poll failed.
#[derive(Debug)]
pub enum PollError {
    /// No whole answer came.
    Net(NetError),
    /// The service refused, and how long it asks to be left alone.
    Status(StatusError, Option<Duration>),
    /// The answer is no command envelope.
    Body(String),
}

impl PollError {
    /// The shortest wait that the error asks for.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            // Only an operator can change this: knock as seldom as the backoff ever does
            // (wire-209).
            Self::Status(error, asked) if error.is_refusal() => {
                Some(asked.map_or(CAP, |asked| asked.max(CAP)))
            }
            Self::Status(_, asked) => *asked,
            Self::Net(_) | Self::Body(_) => None,
        }
    }
}

/// One poll loop.
pub struct Poller<S> {
    access: Arc<Access>,
    client: Client,
    stop: Cancel,
    sink: S,
    channels: Vec<ChannelName>,
    observe: PollObserver,
    backoff: Backoff,
    has_failed: bool,
}

impl<S: Sink> Poller<S> {
    /// `channels` are the poll channels, empty for "no filter" (wire-40). `stop` ends the loop.
    pub fn new(
        access: Arc<Access>,
        channels: Vec<ChannelName>,
        sink: S,
        observe: PollObserver,
        stop: Cancel,
    ) -> Self {
        let client = access.client(stop.clone(), Some(LINGER));
        let backoff = Backoff::default();
        Self { access, client, stop, sink, channels, observe, backoff, has_failed: false }
    }

    /// Polls until the process stops. Commands that were handed out by then are still taken.
    pub fn run(mut self) {
        while let Some(limit) = self.wait_for_room() {
            (self.observe)(PollEvent::Begins);
            let began = Instant::now();
            let polled = self.poll(limit);
            let took = began.elapsed();
            self.has_failed = polled.is_err();
            match polled {
                Ok(envelope) => {
                    (self.observe)(PollEvent::Succeeded(took));
                    self.backoff.reset();
                    self.hand_over(envelope, limit);
                }
                Err(_) if self.stop.is_cancelled() => return,
                Err(error) => {
                    self.sink.poll_over(Vec::new());
                    let retry_in = self.backoff.next(error.retry_after());
                    (self.observe)(PollEvent::Failed { error: &error, took, retry_in });
                    // Woken early only by the stop, which the loop's head sees.
                    let _ = self.stop.channel().recv_timeout(retry_in);
                }
            }
        }
    }

    fn wait_for_room(&mut self) -> Option<usize> {
        (self.observe)(PollEvent::WaitsForRoom);
        self.sink.wait_for_room(BATCH_MAX, &self.stop)
    }

    fn poll(&self, limit: usize) -> Result<Envelope, PollError> {
        let url = self.url(limit);
        let send =
            || self.access.send(&self.client, Method::GET, &url, HeaderMap::new(), None, None);
        let reply = match send() {
            // The pooled connection was dead before the service could see the request (wire-19).
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
            (self.observe)(PollEvent::Daemons(count));
        }
        read(reply)
    }

    fn url(&self, limit: usize) -> Uri {
        let mut query: Vec<String> = self.channels.iter().map(|c| format!("channel={c}")).collect();
        query.sort();
        let wait = match self.has_failed {
            false => self.access.poll_timeout,
            true => self.access.poll_timeout.min(WAIT_AFTER_FAILURE),
        };
        query.push(format!("limit={limit}"));
        query.push(format!("timeout_ms={}", wait.as_millis().max(1)));
        self.access.url(&format!("/poll?{}", query.join("&")))
    }

    fn hand_over(&mut self, envelope: Envelope, limit: usize) {
        (self.observe)(PollEvent::Received(&envelope, limit));
        let usable = envelope.commands.len();
        let taken = self.sink.poll_over(envelope.commands);
        (self.observe)(PollEvent::HandedOver(taken, usable - taken));
    }
}

/// Reads the answer to a poll (wire-41).
fn read(reply: Reply) -> Result<Envelope, PollError> {
    match reply.status.as_u16() {
        204 => {
            reply.drain();
            return Ok(Envelope::default());
        }
        200 => {}
        _ => {
            let asked = reply.header("retry-after").and_then(|v| retry_after(v, SystemTime::now()));
            return Err(PollError::Status(StatusError::read(reply), asked));
        }
    }
    let received_at = reply.received_at;
    let body = reply.bytes(BODY_MAX).map_err(|error| match error {
        BodyError::Net(error) => PollError::Net(error),
        BodyError::TooLarge => PollError::Body(format!("the poll answer is over {BODY_MAX} bytes")),
    })?;
    // One command with bytes that are no text must not cost its neighbours (wire-49).
    let text = String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Envelope::parse(&text, received_at).map_err(|error| {
        // serde_json's text may quote the payload; where it stands is enough.
        let (line, column) = (error.line(), error.column());
        let what = "the poll answer is no command envelope";
        PollError::Body(format!("{what} (line {line} column {column})"))
    })
}

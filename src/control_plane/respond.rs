//! Response POSTs (wire-59 to wire-73): each answer with its shard token, retried within the
//! deadline as far as that cannot do harm.
//!
//! An attempt that never wrote a byte (lookup, connect, proxy, TLS) was none to the service. It is
//! repeated until the service can be reached again, so that a restart or a network that is away
//! for a while loses no answer. Only attempts that may have arrived count against [`ATTEMPTS`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, HeaderValue, Method, Uri};

use super::access::Access;
use super::error_body::StatusError;
use super::retry::{Backoff, retry_after};
use crate::net::client::header_value;
use crate::net::{Cancel, Client, NetError, NetErrorKind, Reply};
use crate::stats::{Counter, TimeHistogram};
use crate::wire::{Command, Response};

/// Attempts for one answer that may have reached the service, in all (wire-69).
const ATTEMPTS: u32 = 3;

/// How long the final answer of a call is kept for a service that cannot be reached, if its
/// deadline is not earlier. A worker is held meanwhile; after so long nobody waits any more.
pub const UNREACHED_MAX: Duration = Duration::from_secs(600);

/// What became of an answer.
#[derive(Debug)]
pub enum Delivery {
    /// The service has it.
    Delivered,
    /// The service no longer waits for it: answered already, or gone. Nothing more is to be done
    /// (wire-64).
    Gone,
    /// It was not delivered, and no attempt is left. The text is for the log.
    Failed(String),
    /// The command's deadline passed first (wire-57).
    DeadlinePassed,
    /// The process ends.
    Cancelled,
}

/// Counts of all responders; `ops` reads it.
#[derive(Debug, Default)]
pub struct RespondStats {
    /// Answers that the service took.
    pub delivered: Counter,
    /// Answers that nobody waited for any more.
    pub gone: Counter,
    /// Answers that could not be delivered.
    pub failed: Counter,
    /// Attempts after the first.
    pub retries: Counter,
    /// From the first attempt of a final answer to its delivery.
    pub latency: TimeHistogram,
}

/// Posts answers; one for each worker.
pub struct Responder {
    access: Arc<Access>,
    client: Client,
    cancel: Cancel,
    url: Uri,
    stats: Arc<RespondStats>,
}

enum Attempt {
    Done(Delivery),
    Again(String, Option<Duration>),
}

impl Responder {
    /// `cancel` ends a post in any phase.
    pub fn new(access: Arc<Access>, stats: Arc<RespondStats>, cancel: Cancel) -> Self {
        let client = access.client(cancel.clone(), None);
        let url = access.url("/response");
        Self { access, client, cancel, url, stats }
    }

    /// Posts one answer to a command. While the service cannot be reached it is tried again
    /// until `patience`, and never after the command's deadline.
    pub fn post(&self, command: &Command, response: &Response, patience: Instant) -> Delivery {
        let began = Instant::now();
        let is_final = response.resp_type.is_final();
        let delivery = self.attempts(command, response, patience);
        match &delivery {
            Delivery::Delivered => self.stats.delivered.inc(),
            Delivery::Gone => self.stats.gone.inc(),
            Delivery::Failed(_) => self.stats.failed.inc(),
            Delivery::DeadlinePassed | Delivery::Cancelled => {}
        }
        if is_final && matches!(delivery, Delivery::Delivered) {
            self.stats.latency.observe(began.elapsed());
        }
        delivery
    }

    fn attempts(&self, command: &Command, response: &Response, patience: Instant) -> Delivery {
        let body = response.to_body(command.request_id.as_str(), command.channel.as_str());
        let Some(headers) = step_one_headers(command) else {
            return Delivery::Failed("the shard token cannot be sent as a header".to_owned());
        };
        let passed_by = |at: Instant| command.deadline.is_some_and(|deadline| deadline <= at);
        let mut backoff = Backoff::default();
        let (mut arrived, mut unreached) = (0, 0_u32);
        loop {
            if passed_by(Instant::now()) {
                return Delivery::DeadlinePassed;
            }
            let sent = self.send(headers.clone(), &body, command.deadline);
            let may_have_arrived = sent.as_ref().map_or_else(|error| error.wrote, |_| true);
            let (line, asked) = match judge(sent, response.resp_type.is_final()) {
                Attempt::Done(delivery) => {
                    if unreached > 0 && matches!(delivery, Delivery::Delivered) {
                        log::info!(request_id:% = command.request_id, unreached;
                            "the control plane can be reached again: response POST delivered");
                    }
                    return delivery;
                }
                Attempt::Again(line, asked) => (line, asked),
            };
            let is_last = if may_have_arrived {
                arrived += 1;
                arrived == ATTEMPTS
            } else {
                unreached = unreached.saturating_add(1);
                patience <= Instant::now()
            };
            if is_last && !passed_by(Instant::now()) {
                return Delivery::Failed(line);
            }
            let wait = backoff.next(asked);
            if passed_by(Instant::now() + wait) {
                // No attempt could follow the wait (wire-72).
                return Delivery::DeadlinePassed;
            }
            // The first line says that the service is away, and another one that it is back.
            let known = !may_have_arrived && unreached > 1;
            let level = if known { log::Level::Debug } else { log::Level::Info };
            log::log!(
                level, request_id:% = command.request_id, retry_in_ms = wait.as_millis() as u64;
                "response POST failed; trying again: {line}"
            );
            let _ = self.cancel.channel().recv_timeout(wait);
            if self.cancel.is_cancelled() {
                return Delivery::Cancelled;
            }
            self.stats.retries.inc();
        }
    }

    fn send(
        &self,
        headers: HeaderMap,
        body: &str,
        deadline: Option<Instant>,
    ) -> Result<Reply, NetError> {
        let body = Some(body.as_bytes());
        self.access.send(&self.client, Method::POST, &self.url, headers, body, deadline)
    }
}

/// The headers that depend on the command (wire-7, step 1).
fn step_one_headers(command: &Command) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    if let Some(id) = command.client_request_id().and_then(header_value) {
        headers.insert("x-client-request-id", id);
    }
    let mut token = header_value(command.shard_token.as_str())?;
    token.set_sensitive(true);
    headers.insert("x-tunnel-shard-token", token);
    Some(headers)
}

/// The table of wire-68.
fn judge(sent: Result<Reply, NetError>, is_final: bool) -> Attempt {
    match sent {
        Ok(reply) => judge_status(reply, is_final),
        Err(error) if error.kind == NetErrorKind::Cancelled => Attempt::Done(Delivery::Cancelled),
        Err(error) if is_final || !error.wrote => Attempt::Again(error.to_string(), None),
        Err(error) => Attempt::Done(Delivery::Failed(error.to_string())),
    }
}

/// Its rows for a status.
fn judge_status(reply: Reply, is_final: bool) -> Attempt {
    let status = reply.status.as_u16();
    match status {
        200 => {
            reply.drain();
            return Attempt::Done(Delivery::Delivered);
        }
        404 => {
            reply.drain();
            return Attempt::Done(Delivery::Gone);
        }
        _ => {}
    }
    let asked = reply.header("retry-after").and_then(|v| retry_after(v, SystemTime::now()));
    let line = StatusError::read(reply).with_request_id();
    // A notification may have been passed on although the status says otherwise.
    let again = if is_final { matches!(status, 408 | 429 | 502..=504) } else { status == 429 };
    if again { Attempt::Again(line, asked) } else { Attempt::Done(Delivery::Failed(line)) }
}

//! The way of one message over HTTP, from top to bottom: POST, then the answer as JSON or as a
//! stream of events, or the reason why there is none.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::Method;

use super::body::{self, Media};
use super::{HttpBinding, headers};
use crate::mcp::classify::{of_net, protocol};
use crate::mcp::headers::RequestHeaders;
use crate::mcp::{Answer, Bounds, CallError, Receipt};
use crate::net::client::BodyError;
use crate::net::{Cancel, Client, NetError, Outgoing, Reply};
use crate::observed::ServerState;
use crate::wire::{
    Era, Failure, FailureKind as Kind, FailureSource, Headers, MESSAGE_MAX, Message, RpcId, jsonrpc,
};

/// Most bytes of a failed answer's body that are looked at (forwarding-35).
const ERROR_BODY_MAX: usize = 102_400;

/// How long the tunnel's own messages to a server may take: answers to its requests, and late
/// cancels. They are courtesy, and a worker waits for them.
const COURTESY_LIMIT: Duration = Duration::from_secs(2);

/// One thread's way to an HTTP server.
pub struct HttpHop {
    pub(super) binding: Arc<HttpBinding>,
    /// Ends every exchange.
    cancel: Cancel,
    line: RefCell<Line>,
    /// Its requests are the tunnel's own.
    discovers: bool,
    /// The stream of the last answer, whose end may not have arrived yet.
    pub(super) open: RefCell<Option<Reply>>,
}

/// The connections of a hop, and what ends the exchange on them.
struct Line {
    client: Client,
    cancel: Cancel,
    /// Whether `cancel` ends this exchange alone. Without a file descriptor left for that, it
    /// ends all.
    is_own: bool,
}

impl Line {
    fn new(binding: &HttpBinding, all: &Cancel) -> Self {
        let own = all.child().ok();
        let is_own = own.is_some();
        let cancel = own.unwrap_or_else(|| all.clone());
        Self { client: Client::new(binding.client.clone(), cancel.clone()), cancel, is_own }
    }
}

/// A request that waits for its answer.
pub(super) struct Call<'a> {
    pub id: &'a RpcId,
    pub era: Era,
    /// What all messages that belong to it are sent with.
    pub headers: RequestHeaders,
    pub bounds: &'a Bounds,
    /// Whether a message can cancel it: an `initialize` must not be cancelled, and a stateless
    /// server takes the end of the connection for a cancel (mcp-21, mcp-38).
    is_cancellable: bool,
}

impl HttpHop {
    pub(super) fn new(binding: Arc<HttpBinding>, cancel: Cancel, discovers: bool) -> Self {
        let line = RefCell::new(Line::new(&binding, &cancel));
        Self { binding, cancel, line, discovers, open: RefCell::new(None) }
    }

    /// Sends a request and waits for its answer. Notifications before it are given away in
    /// order; when `on_notification` says that nobody waits any more, the call ends.
    ///
    /// # Errors
    /// If there is no answer of MCP within the bounds. The server is told if it still works on it.
    pub fn request(
        &self,
        message: &Message,
        command: &Headers,
        bounds: &Bounds,
        on_notification: &mut dyn FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<Answer, CallError> {
        let Some(id) = message.id() else {
            return Err(protocol(Kind::InvalidProtocolResponse).into());
        };
        let call = Call {
            id,
            era: message.era(),
            headers: headers::for_message(message, command, &self.binding.fixed(self.discovers)),
            bounds,
            is_cancellable: message.era() == Era::Legacy && message.method() != Some("initialize"),
        };
        let begun = self.begin(&call, command);
        let answered = self.exchange(&call, message, command, on_notification);
        if begun.is_some_and(|cancel| self.end(&cancel)) && answered.is_err() {
            return Ok(withdrawn(id));
        }
        self.observe(message, &answered);
        match answered {
            // A server that was never reached has nothing to stop.
            Err(CallError::TimedOut) if self.line.borrow().client.wrote() => {
                self.cancel(&call, "the time for the answer has passed");
            }
            Err(CallError::Unwanted) => self.cancel(&call, "nobody waits for the answer any more"),
            _ => {}
        }
        answered
    }

    /// Posts a request and reads what comes back.
    fn exchange(
        &self,
        call: &Call<'_>,
        message: &Message,
        command: &Headers,
        on_notification: &mut dyn FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<Answer, CallError> {
        let reply =
            self.send(Method::POST, call.headers.clone(), message.text(), call.bounds.limit)?;
        self.seen_session(command, &reply);
        let status = reply.status.as_u16();
        let mut headers = headers::received(&reply.headers);
        if !reply.status.is_success() {
            return match refusal(call.id, reply) {
                Ok(json) => {
                    headers.set("Content-Type", "application/json");
                    Ok(Answer { status, headers, json })
                }
                Err(kind) => Err(CallError::Failed(Failure::of_answer(status, kind), headers)),
            };
        }
        if !self.discovers {
            self.state().reached();
        }
        let answered = match Media::of(&headers) {
            Media::Json => self.body(call, reply),
            Media::Events => self.stream(call, reply, &mut |json| {
                on_notification(Answer { status, headers: headers.clone(), json })
            }),
            Media::Other => {
                reply.drain();
                Err(Failure::of_answer(status, Kind::NonProtocolResponse).into())
            }
        };
        match answered {
            Ok(json) => Ok(Answer { status, headers, json }),
            // What the server said of itself and of the session is passed on (forwarding-41).
            Err(CallError::Failed(failure, _)) => Err(CallError::Failed(failure, headers)),
            Err(other) => Err(other),
        }
    }

    /// The answer in a body that is one message.
    fn body(&self, call: &Call<'_>, reply: Reply) -> Result<String, CallError> {
        let body = reply.bytes(MESSAGE_MAX).map_err(|error| match error {
            BodyError::TooLarge => protocol(Kind::ResponseBodyTooLarge).into(),
            BodyError::Net(error) => self.failed(&error),
        })?;
        body::answer(call.id, body).map_err(|kind| protocol(kind).into())
    }

    /// Delivers a notification.
    ///
    /// # Errors
    /// If the server did not take it within the bounds.
    pub fn notify(
        &self,
        message: &Message,
        command: &Headers,
        bounds: &Bounds,
    ) -> Result<Receipt, CallError> {
        let fixed = self.binding.fixed(self.discovers);
        let headers = headers::for_message(message, command, &fixed);
        let reply = self.send(Method::POST, headers, message.text(), bounds.limit)?;
        self.seen_session(command, &reply);
        let receipt = receipt(reply);
        self.state().answered_with(receipt.status);
        if !(200..300).contains(&receipt.status) {
            let failure = Failure::of_answer(receipt.status, Kind::InvalidMcpError);
            return Err(CallError::Failed(failure, receipt.headers));
        }
        // The server knows, and need not answer any more: some never do (mcp-69).
        if let (Some(session), Some(id)) = (command.session_id(), message.cancelled_id()) {
            self.binding.calls.cancel(session, &id);
        }
        Ok(receipt)
    }

    /// Ends the session that the command's headers name (forwarding-54). Any status is an answer.
    ///
    /// # Errors
    /// If there was none within the bounds.
    pub fn terminate(&self, command: &Headers, bounds: &Bounds) -> Result<Receipt, CallError> {
        let headers = headers::for_termination(command, &self.binding.fixed(false));
        let reply = self.send(Method::DELETE, headers, "", bounds.limit)?;
        self.state().reached();
        Ok(receipt(reply))
    }

    /// Gives the connection of the last answer back to the pool if its stream has ended by now,
    /// and closes it otherwise. To be called once the answer is on its way: the end of a stream
    /// comes a moment after the answer.
    pub fn settle(&self) {
        self.open.take();
    }

    /// Sends one HTTP request, of which only a POST has a body, and waits for the head of its answer.
    pub(super) fn send(
        &self,
        method: Method,
        headers: RequestHeaders,
        text: &str,
        limit: Instant,
    ) -> Result<Reply, CallError> {
        let body = (method == Method::POST).then_some(text.as_bytes());
        let RequestHeaders { open: headers, secret: secrets } = headers;
        let request = Outgoing { method, uri: &self.binding.url, headers, secrets, body, limit };
        self.line.borrow().client.send(&request).map_err(|error| self.failed(&error))
    }

    /// Lets a cancel of the call's session end it. Without a session, nothing tells whose id it
    /// is.
    fn begin(&self, call: &Call<'_>, command: &Headers) -> Option<Cancel> {
        let line = self.line.borrow();
        let session = command.session_id().filter(|_| call.is_cancellable && line.is_own)?;
        self.binding.calls.begin(session, call.id, &line.cancel);
        Some(line.cancel.clone())
    }

    /// The call that began with `cancel` is over; returns whether it was cancelled.
    fn end(&self, cancel: &Cancel) -> bool {
        self.binding.calls.end(cancel);
        let cancelled = cancel.is_cancelled() && !self.cancel.is_cancelled();
        if cancelled {
            self.line.replace(Line::new(&self.binding, &self.cancel));
        }
        cancelled
    }

    /// What ends the exchange of this hop.
    pub(super) fn switch(&self) -> Cancel {
        self.line.borrow().cancel.clone()
    }

    /// Answers a request of the server's: nothing of the tunnel protocol could carry it to the
    /// remote client (forwarding-203, mcp-10). The call goes on whatever becomes of the answer.
    pub(super) fn answer_server(&self, call: &Call<'_>, id: &RpcId, method: &str) {
        if call.era == Era::Modern {
            // A stateless server sends no requests, and no response may be posted to it (mcp-32).
            log::warn!(channel:% = self.state().name(); "request from a stateless MCP server ignored");
            return;
        }
        self.courtesy(&jsonrpc::answer_to_server(id, method), call);
    }

    /// Tells the server that nobody waits any more (forwarding-211, mcp-38).
    fn cancel(&self, call: &Call<'_>, reason: &str) {
        if call.is_cancellable {
            self.courtesy(&jsonrpc::cancel(call.id, reason), call);
        }
    }

    fn courtesy(&self, text: &str, call: &Call<'_>) {
        let limit = Instant::now() + COURTESY_LIMIT;
        match self.send(Method::POST, call.headers.clone(), text, limit) {
            Ok(reply) => reply.drain(),
            Err(error) => log::debug!(
                channel:% = self.state().name();
                "a message of the tunnel's own did not reach the MCP server: {error:?}"
            ),
        }
    }

    /// What has been observed of the server.
    fn state(&self) -> &ServerState {
        &self.binding.server.state
    }

    /// Notes what the outcome of a request shows of the server.
    fn observe(&self, message: &Message, answered: &Result<Answer, CallError>) {
        match answered {
            Ok(answer) => {
                self.state().answered();
                self.binding.server.catalog.learn(message, &answer.json);
            }
            Err(_) if self.discovers => {}
            Err(CallError::Failed(failure, _)) => match failure.upstream_status {
                Some(status) if status >= 300 => self.state().answered_with(status),
                _ if failure.source == FailureSource::Protocol => self.state().doubted(),
                _ => {}
            },
            Err(_) => {}
        }
    }

    /// Notes what an answer shows of the session that the message belongs to.
    fn seen_session(&self, command: &Headers, reply: &Reply) {
        let (status, named) = (reply.status.as_u16(), reply.header("mcp-session-id"));
        self.binding.server.seen_session(command.session_id(), status, named);
    }

    /// The report of a failed exchange.
    fn failed(&self, error: &NetError) -> CallError {
        let report = of_net(error);
        if matches!(report, CallError::Failed(..)) {
            self.state().unreachable(error);
        }
        report
    }
}

/// The server's own error in an answer that is no success, or why there is none (forwarding-35,
/// forwarding-36).
fn refusal(id: &RpcId, reply: Reply) -> Result<String, Kind> {
    match reply.bytes(ERROR_BODY_MAX) {
        Ok(body) => body::error(id, body),
        Err(BodyError::TooLarge) => Err(Kind::ResponseBodyTooLarge),
        Err(BodyError::Net(_)) => Err(Kind::ResponseBodyUnreadable),
    }
}

fn receipt(reply: Reply) -> Receipt {
    let (status, headers) = (reply.status.as_u16(), headers::received(&reply.headers));
    reply.drain();
    Receipt { status, headers }
}

/// The answer to a call that its session has cancelled (mcp-69).
fn withdrawn(id: &RpcId) -> Answer {
    Answer { status: 200, headers: Headers::json(), json: jsonrpc::cancelled(id) }
}

//! One forwarding thread: it owns a command from the lane to the last posted answer
//! (forwarding.md, sections 3 to 11).

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::{Action, Consumer};
use super::record::{Dropped, Observer, Outcome, Summary};
use crate::control_plane::respond::UNREACHED_MAX;
use crate::control_plane::{Delivery, Responder};
use crate::mcp::{Answer, Binding, Bounds, CallError, HttpHop, Receipt, StdioChannel};
use crate::net::Cancel;
use crate::oauth::{self, Discovery};
use crate::wire::{
    CLIENT_VERSION, ChannelName, Command, CommandKind, Failure, FailureKind, FailureSource,
    Headers, Message, MessageKind, Response, ResponseType, RpcId, json, jsonrpc,
};

/// Posted when the process ends before the server has answered (forwarding-216).
const STOPPING: Failure =
    Failure::new(FailureSource::ClientInternal, FailureKind::ConnectionClosed);
/// Posted when the connection's time to live passes (forwarding-214).
const TTL_PASSED: Failure = Failure::new(FailureSource::Timeout, FailureKind::Timeout);

/// Acknowledges a message that need not be forwarded.
const ACCEPTED: Response = Response {
    resp_type: ResponseType::NotifyAck,
    resp_code: 202,
    resp_headers: Headers::new(),
    resp_json: None,
};

/// One thread's way to a server.
pub(super) enum Hop {
    Http(Box<HttpHop>),
    Stdio(Arc<StdioChannel>),
}

impl Hop {
    pub(super) fn new(binding: &Binding, abandon: &Cancel) -> Self {
        match binding {
            Binding::Http(binding) => Self::Http(Box::new(binding.hop(abandon.clone()))),
            Binding::Stdio(channel) => Self::Stdio(Arc::clone(channel)),
        }
    }
}

pub(super) struct Worker {
    pub(super) hops: HashMap<ChannelName, Hop>,
    pub(super) discovery: Option<Arc<Discovery>>,
    pub(super) responder: Responder,
    pub(super) observer: Observer,
    /// How the command in hand goes.
    pub(super) summary: RefCell<Summary>,
    pub(super) ttl: Duration,
    pub(super) abandon: Cancel,
}

impl Worker {
    /// Works until the producers are gone and nothing is left in the lanes for this thread.
    pub(super) fn run(&self, consumer: &Consumer) {
        while let Some(job) = consumer.next() {
            let command = &job.command;
            let hop = self.hops.get(&command.channel);
            let queued = command.received_at.elapsed();
            let is_served = hop.is_some();
            self.summary.replace(Summary { queued, is_served, ..Summary::default() });
            taken(command, queued);
            if let Some(response) = self.response(job.action, command, hop) {
                self.post_final(command, &response);
            }
            (self.observer)(command, &self.summary.borrow());
            if let Some(Hop::Http(hop)) = hop {
                hop.settle();
            }
        }
    }

    /// The final answer, once it is there; none if it is too late for one.
    fn response(&self, action: Action, command: &Command, hop: Option<&Hop>) -> Option<Response> {
        if passed(command.deadline) {
            self.dropped(command, Dropped::DeadlineQueued);
            return None;
        }
        if action != Action::Forward {
            self.summary.borrow_mut().outcome = Outcome::Withdrawn;
            return withdrawn(command);
        }
        let Some(hop) = hop else { return Some(self.unsupported_channel(command)) };
        let bounds = Bounds { limit: self.limit(command), cancel: self.abandon.clone() };
        match &command.kind {
            CommandKind::JsonRpc(message) => self.json_rpc(hop, command, message, &bounds),
            CommandKind::SessionTermination => self.terminate(hop, command, &bounds),
            CommandKind::OauthDiscovery if command.channel.is_main() => {
                self.discover(command, &bounds)
            }
            CommandKind::OauthDiscovery => Some(self.unsupported_channel(command)),
        }
    }

    /// The earlier of the command's deadline and the connection's time to live (forwarding-9,
    /// forwarding-26).
    fn limit(&self, command: &Command) -> Instant {
        let ttl = Instant::now() + self.ttl;
        command.deadline.map_or(ttl, |deadline| deadline.min(ttl))
    }

    fn json_rpc(
        &self,
        hop: &Hop,
        command: &Command,
        message: &Message,
        bounds: &Bounds,
    ) -> Option<Response> {
        match message.kind() {
            MessageKind::Request { id, .. } => {
                let answered = self.request(hop, command, message, bounds);
                self.request_response(command, id, answered)
            }
            MessageKind::Notification { .. } => {
                let delivered = self.at_server(bounds, || match hop {
                    Hop::Http(hop) => hop.notify(message, &command.headers, bounds),
                    Hop::Stdio(channel) => channel.notify(message, &command.headers, bounds),
                });
                self.receipt_response(command, ResponseType::NotifyAck, delivered)
            }
            // Every request of the server was answered on the spot: nobody waits for this one,
            // but the remote client waits for a word that it arrived (forwarding-204).
            MessageKind::Response { .. } => Some(ACCEPTED),
        }
    }

    /// One exchange with the server; none begins once exchanges are to end.
    fn at_server<T>(
        &self,
        bounds: &Bounds,
        exchange: impl FnOnce() -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        if bounds.cancel.is_cancelled() {
            return Err(CallError::Cancelled);
        }
        self.timed(exchange)
    }

    fn timed<T>(&self, exchange: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let outcome = exchange();
        self.summary.borrow_mut().server = Some(began.elapsed());
        outcome
    }

    fn request(
        &self,
        hop: &Hop,
        command: &Command,
        message: &Message,
        bounds: &Bounds,
    ) -> Result<Answer, CallError> {
        let mut lost = false;
        let mut on_notification = |answer: Answer| {
            // After one lost notification the later ones would tell a story with a gap (wire-65).
            if lost {
                return ControlFlow::Continue(());
            }
            match self.post_notification(command, answer, bounds.limit) {
                Delivery::Delivered => ControlFlow::Continue(()),
                Delivery::Gone => ControlFlow::Break(()),
                Delivery::Failed(_) | Delivery::DeadlinePassed | Delivery::Cancelled => {
                    lost = true;
                    ControlFlow::Continue(())
                }
            }
        };
        self.at_server(bounds, || match hop {
            Hop::Http(hop) => hop.request(message, &command.headers, bounds, &mut on_notification),
            Hop::Stdio(channel) => {
                channel.request(message, &command.headers, bounds, &mut on_notification)
            }
        })
    }

    fn request_response(
        &self,
        command: &Command,
        id: &RpcId,
        answered: Result<Answer, CallError>,
    ) -> Option<Response> {
        let (resp_code, mut resp_headers, json) = match answered {
            Ok(answer) => (answer.status, answer.headers, answer.json),
            Err(CallError::OlderServer) => {
                // A code of the stateless era here would be taken for the server's own (mcp-52).
                let text = "this MCP server speaks a protocol revision with sessions: initialize";
                (400, Headers::new(), jsonrpc::error(Some(id), jsonrpc::INTERNAL_ERROR, text))
            }
            Err(error) => {
                let (failure, headers) = self.failure(command, error)?;
                (failure.resp_code(), headers, failure.to_json(Some(id)))
            }
        };
        // What is posted is one message, however it came, except that a stream stays one
        // (forwarding-41).
        if !resp_headers.get("Content-Type").is_some_and(starts_with_event_stream) {
            resp_headers.set("Content-Type", "application/json");
        }
        let resp_type = ResponseType::JsonRpcResponse;
        Some(Response { resp_type, resp_code, resp_headers, resp_json: Some(json) })
    }

    /// The final word for a notification or a session's end: a status (forwarding-20,
    /// forwarding-224).
    fn receipt_response(
        &self,
        command: &Command,
        resp_type: ResponseType,
        outcome: Result<Receipt, CallError>,
    ) -> Option<Response> {
        let (resp_code, resp_headers) = match outcome {
            Ok(receipt) => (receipt.status, receipt.headers),
            Err(CallError::OlderServer) => (400, Headers::new()),
            Err(error) => {
                let (failure, headers) = self.failure(command, error)?;
                (failure.resp_code(), headers)
            }
        };
        Some(Response { resp_type, resp_code, resp_headers, resp_json: None })
    }

    fn terminate(&self, hop: &Hop, command: &Command, bounds: &Bounds) -> Option<Response> {
        let ended = self.at_server(bounds, || match hop {
            Hop::Http(hop) => hop.terminate(&command.headers, bounds),
            // A child has no sessions to end (forwarding-56).
            Hop::Stdio(_) => Ok(Receipt { status: 405, headers: Headers::new() }),
        });
        self.receipt_response(command, ResponseType::SessionTermination, ended)
    }

    /// Fetches the server's OAuth metadata.
    fn discover(&self, command: &Command, bounds: &Bounds) -> Option<Response> {
        let found = match &self.discovery {
            Some(discovery) => self.timed(|| discovery.answer(bounds.limit, &bounds.cancel)),
            None => Err("the MCP server is a command, which has no URL".to_owned()),
        };
        match found {
            Ok(response) => Some(response),
            Err(_) if passed(command.deadline) => {
                self.dropped(command, Dropped::DeadlineServer);
                None
            }
            Err(why) => {
                self.summary.borrow_mut().outcome = Outcome::Failed;
                log::info!(request_id:% = command.request_id;
                    "no OAuth metadata to pass on: {why}");
                Some(oauth::command::unreadable())
            }
        }
    }

    /// What to report for a call without an answer; nothing if its deadline has passed, after
    /// which no answer may be posted (wire-57, forwarding-10).
    fn failure(&self, command: &Command, error: CallError) -> Option<(Failure, Headers)> {
        let (failure, headers) = match error {
            CallError::TimedOut if passed(command.deadline) => {
                self.dropped(command, Dropped::DeadlineServer);
                return None;
            }
            CallError::TimedOut => (TTL_PASSED, Headers::new()),
            CallError::Unwanted => {
                self.dropped(command, Dropped::Gone);
                return None;
            }
            CallError::Failed(failure, headers) => (failure, headers),
            CallError::Cancelled | CallError::OlderServer => (STOPPING, Headers::new()),
        };
        self.summary.borrow_mut().failed(&failure);
        let status = failure.upstream_status.map_or("none".to_owned(), |s| s.to_string());
        log::info!(
            request_id:% = command.request_id,
            channel:% = command.channel,
            failure_source = failure.source.as_str(),
            transport_error_kind = failure.kind.as_str(),
            upstream_response_received = failure.upstream_response_received(),
            upstream_status = status.as_str(),
            tunnel_client_version = CLIENT_VERSION;
            "no answer of the MCP server"
        );
        Some((failure, headers))
    }

    /// A command for a channel that is not served here; never one for another (forwarding-14,
    /// wire-54).
    fn unsupported_channel(&self, command: &Command) -> Response {
        log::error!(channel:% = command.channel, request_id:% = command.request_id;
            "command for a channel that is not served here");
        self.summary.borrow_mut().outcome = Outcome::UnsupportedChannel;
        let (resp_type, resp_json) = match &command.kind {
            CommandKind::JsonRpc(message) if message.method().is_some() => {
                let shown = json::quote(command.channel.as_str());
                let text = format!("Bad Request: unsupported channel {shown}");
                let error = jsonrpc::error(message.id(), jsonrpc::INTERNAL_ERROR, &text);
                (ResponseType::JsonRpcResponse, Some(error))
            }
            CommandKind::JsonRpc(_) => (ResponseType::NotifyAck, None),
            CommandKind::SessionTermination => (ResponseType::SessionTermination, None),
            CommandKind::OauthDiscovery => {
                return oauth::command::unsupported_channel(&command.channel);
            }
        };
        Response { resp_type, resp_code: 400, resp_headers: Headers::new(), resp_json }
    }

    /// Posts a notification before the answer; it is a part of the call, and has no more time
    /// than that.
    fn post_notification(&self, command: &Command, answer: Answer, limit: Instant) -> Delivery {
        let mut resp_headers = answer.headers;
        if !resp_headers.has("Content-Type") {
            resp_headers.set("Content-Type", "text/event-stream");
        }
        let response = Response {
            resp_type: ResponseType::JsonRpcNotify,
            resp_code: answer.status,
            resp_headers,
            resp_json: Some(answer.json),
        };
        self.summary.borrow_mut().posting(&response);
        let delivery = self.responder.post(command, &response, limit);
        if let Delivery::Failed(line) = &delivery {
            log::info!(request_id:% = command.request_id;
                "a notification was not delivered; later ones of this call are left out: {line}");
        }
        delivery
    }

    fn post_final(&self, command: &Command, response: &Response) {
        self.summary.borrow_mut().posting(response);
        match self.responder.post(command, response, Instant::now() + UNREACHED_MAX) {
            Delivery::Delivered => {}
            Delivery::Gone => self.dropped(command, Dropped::Gone),
            Delivery::Failed(line) => {
                self.summary.borrow_mut().dropped(Dropped::PostFailed);
                let bytes = response.resp_json.as_ref().map_or(0, String::len);
                log::warn!(request_id:% = command.request_id, bytes;
                    "an answer could not be delivered: {line}");
            }
            Delivery::DeadlinePassed => self.dropped(command, Dropped::DeadlinePost),
            Delivery::Cancelled => self.dropped(command, Dropped::Stopping),
        }
    }

    fn dropped(&self, command: &Command, reason: Dropped) {
        self.summary.borrow_mut().dropped(reason);
        let (level, line) = match reason {
            // Another client may have answered it, which is worth a look (wire-64). So may an
            // earlier attempt of ours whose receipt was lost: the control plane does not say.
            Dropped::Gone => {
                (log::Level::Warn, "the control plane waits no longer for an answer, or has it")
            }
            Dropped::Stopping => (log::Level::Warn, "no answer was posted before the end"),
            _ => (log::Level::Info, "dropping command whose response deadline has passed"),
        };
        log::log!(
            level,
            request_id:% = command.request_id,
            channel:% = command.channel,
            reason = reason.as_str();
            "{line}"
        );
    }
}

/// What is posted for a call that was cancelled while it waited, and for its cancel (stdio-202).
/// The client waits for neither any more, but the control plane does.
fn withdrawn(command: &Command) -> Option<Response> {
    let message = command.message()?;
    let MessageKind::Request { id, .. } = message.kind() else { return Some(ACCEPTED) };
    Some(Response {
        resp_type: ResponseType::JsonRpcResponse,
        resp_code: 200,
        resp_headers: Headers::json(),
        resp_json: Some(jsonrpc::cancelled_unstarted(id)),
    })
}

/// Logs the ids under which the other parties know the command, to follow it from log to log.
fn taken(command: &Command, waited: Duration) {
    let rpc_id = command.message().and_then(Message::id).map(RpcId::as_json);
    log::debug!(
        request_id:% = command.request_id,
        cmd_request_id = command.client_request_id().unwrap_or("-"),
        rpc_request_id = rpc_id.unwrap_or("-"),
        channel:% = command.channel,
        queued_ms = waited.as_millis() as u64;
        "command taken by a worker"
    );
}

fn passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

fn starts_with_event_stream(value: &str) -> bool {
    let prefix = "text/event-stream";
    value.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

//! The MCP client's side: `/v1/mcp/{tunnel_id}` and `/v1/mcp/{tunnel_id}/{channel}`
//! (relay.md, 3).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crate::httpd::Stream;
use crate::wire::failure::FailureSource;
use crate::wire::json::{self, Members};
use crate::wire::jsonrpc::INVALID_REQUEST;
use crate::wire::message::NotAMessage;
use crate::wire::time::rfc3339;
use crate::wire::{ChannelName, Era, Headers, Message, MessageKind, RpcId, TunnelId};

use super::Relay;
use super::budget::Reserved;
use super::call::{Answer, Call, Failure, Item, Kind};
use super::discovery::{base_url, metadata_url};
use super::edge::{self, Accepts};
use super::ids::request_id;
use super::keys::{Key, Role, Waiting, bearer};
use super::reply::{BAD_CHANNEL, BAD_TUNNEL_ID, DRAINING, Problem, Reply, Visit};
use super::tunnel::{Queued, Refused, Tunnel, Withdraw};

/// Largest MCP request, in bytes: a 16 MiB string argument with every byte escaped in two.
pub const MAX_REQUEST: usize = 32 * 1024 * 1024;
/// Deepest nesting of a message, which readers behind us may parse by recursion.
const MAX_DEPTH: usize = 128;
/// How often a waiting thread looks whether its client is still there.
pub(super) const CLIENT_CHECK: Duration = Duration::from_secs(1);
/// Methods that are streams rather than calls, and how long they may last.
const LONG_METHOD: &str = "subscriptions/listen";
const STREAM_MAX: Duration = Duration::from_secs(600);
/// Waiting clients of one connector key.
const WAITING_PER_KEY: usize = 64;

const METHODS: &str = "POST, DELETE, OPTIONS";

/// Serves one request of an MCP client.
pub fn serve(relay: &Relay, visit: Visit<'_>, id: &str, channel: Option<&str>) {
    let refuse = |visit: Visit<'_>, problem: Problem| {
        relay.stats.mcp_requests.inc(("none", problem.status, problem.code));
        visit.reply(problem.envelope());
    };
    let Ok(id) = id.parse::<TunnelId>() else { return refuse(visit, BAD_TUNNEL_ID) };
    if visit.exchange.head().method == "OPTIONS" {
        let reply = preflight(&visit, METHODS);
        return visit.reply(reply);
    }
    let Some(access) = authenticate(relay, &visit, &id) else {
        relay.stats.auth_failures.inc("connector");
        return refuse(visit, BAD_CONNECTOR_KEY);
    };
    let Ok(channel) = channel.unwrap_or_default().parse::<ChannelName>() else {
        return refuse(visit, BAD_CHANNEL);
    };
    let waiting = access.key.as_ref().map(|key| key.wait(WAITING_PER_KEY));
    if let Some(None) = waiting {
        relay.stats.rate_limited.inc("connector");
        return refuse(visit, TOO_MANY_WAITING);
    }
    let door = Door { relay, access, channel, _waiting: waiting.flatten() };
    match visit.exchange.head().method.as_str() {
        "POST" => door.post(visit),
        "DELETE" => door.terminate(visit),
        _ => {
            relay.stats.mcp_requests.inc(("none", 405, ""));
            visit.reply(NOT_HERE.envelope().with("Allow", METHODS.to_owned()));
        }
    }
}

/// The answer to the preflight of a browser. It carries no key, and what it asks for is what it
/// gets: authentication decides later. The origin is allowed, or we were not here.
pub(super) fn preflight(visit: &Visit<'_>, methods: &str) -> Reply {
    let headers = visit.header("Access-Control-Request-Headers").unwrap_or("Content-Type");
    Reply::empty(204)
        .with("Access-Control-Allow-Methods", methods.to_owned())
        .with("Access-Control-Allow-Headers", headers.to_owned())
        .with("Access-Control-Max-Age", "600".to_owned())
}

/// A client that was let in.
struct Access {
    tunnel: Arc<Tunnel>,
    key: Option<Arc<Key>>,
    /// Whether `Authorization` was our key, so that it goes no further.
    consumed: bool,
}

/// Lets a client in (relay.md, 4.3). An unknown tunnel and a bad key look the same (R-49).
fn authenticate(relay: &Relay, visit: &Visit<'_>, id: &TunnelId) -> Option<Access> {
    let headers = &visit.exchange.head().headers;
    let authorization = bearer(headers.values("Authorization"));
    let by_bearer = authorization
        .and_then(|text| relay.keys.find(text))
        .filter(|key| key.role == Role::Connector);
    let ours = authorization.is_some_and(|text| text.starts_with("mt_"));
    let by_header = match headers.values("X-Tunnel-Connector-Key") {
        [text] => relay.keys.find(text),
        _ => None,
    };
    let consumed = by_bearer.is_some() || ours;
    let key = by_header.or(by_bearer).filter(|key| key.allows(Role::Connector, id));
    let tunnel = relay.tunnel(id)?;
    let open = !tunnel.guarded.load(Ordering::Relaxed);
    (open || key.is_some()).then_some(Access { tunnel, key, consumed })
}

/// One request that was let in.
struct Door<'r> {
    relay: &'r Relay,
    access: Access,
    channel: ChannelName,
    _waiting: Option<Waiting>,
}

/// What the answer to a message depends on.
struct Asked {
    kind: Kind,
    id: Option<RpcId>,
    era: Era,
    accepts: Accepts,
    /// Whether an event stream may be opened before anything is known.
    may_commit: bool,
    budget: Duration,
    started: Instant,
}

impl Door<'_> {
    fn refuse(&self, visit: Visit<'_>, kind: Kind, problem: &Problem, reply: Reply) {
        self.relay.stats.mcp_requests.inc((kind.as_str(), problem.status, problem.code));
        visit.reply(reply);
    }

    fn post(self, mut visit: Visit<'_>) {
        let started = Instant::now();
        let refuse = |visit: Visit<'_>, problem: Problem| {
            self.refuse(visit, Kind::Request, &problem, problem.envelope());
        };
        let media = visit.header("Content-Type").and_then(|value| value.split(';').next());
        if !media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
            return refuse(visit, NOT_JSON_TYPE);
        }
        let Some(accepts) = Accepts::of(&visit.exchange.head().headers) else {
            return refuse(visit, NOT_ACCEPTABLE);
        };
        if self.relay.is_draining() {
            return refuse(visit, DRAINING);
        }
        let (body, reserved) = match visit.read_body(MAX_REQUEST, &self.relay.request_memory) {
            Ok(read) => read,
            Err(unread) => return refuse(visit, unread.problem()),
        };
        let message = match read_message(body) {
            Ok(message) => message,
            Err(problem) if problem.code.is_empty() => {
                return self.refuse(visit, Kind::Request, &problem, problem.rpc_reply(None));
            }
            Err(problem) => return refuse(visit, problem),
        };
        let (kind, id, method) = match message.kind() {
            MessageKind::Request { id, method } => {
                (Kind::Request, Some(id.clone()), method.clone())
            }
            MessageKind::Notification { method } => (Kind::Notification, None, method.clone()),
            MessageKind::Response { .. } => (Kind::Response, None, String::new()),
        };
        let era = match edge::era_of(&message, &visit.exchange.head().headers) {
            Ok(era) => era,
            Err(problem) => {
                return self.refuse(visit, kind, &problem, problem.rpc_reply(id.as_ref()));
            }
        };
        match (kind, era) {
            (Kind::Response, era) => {
                let takes = self.access.tunnel.takes_responses.load(Ordering::Relaxed);
                if era == Era::Modern || !takes {
                    let problem = RESPONSE_REFUSED;
                    return self.refuse(visit, kind, &problem, problem.rpc_reply(None));
                }
            }
            // Without a session the id cannot be tied to another POST (M-70).
            (Kind::Notification, Era::Modern) if method == "notifications/cancelled" => {
                self.relay.stats.mcp_requests.inc((kind.as_str(), 202, ""));
                return visit.reply(Reply::empty(202));
            }
            _ => {}
        }
        let is_stream = method == LONG_METHOD;
        let asked = Asked {
            kind,
            id,
            era,
            accepts,
            may_commit: kind == Kind::Request && accepts.events && method != "initialize",
            budget: if is_stream { STREAM_MAX } else { self.relay.times.response_timeout },
            started,
        };
        self.exchange(visit, asked, Some((message.into_text(), reserved)), is_stream);
    }

    fn terminate(self, visit: Visit<'_>) {
        let started = Instant::now();
        let problem = match visit.exchange.head().headers.session_id() {
            None => Some(NO_SESSION),
            Some(_) if self.relay.is_draining() => Some(DRAINING),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return self.refuse(visit, Kind::Termination, &problem, problem.envelope());
        }
        let asked = Asked {
            kind: Kind::Termination,
            id: None,
            era: Era::Legacy,
            accepts: Accepts { json: true, events: false },
            may_commit: false,
            budget: self.relay.times.response_timeout,
            started,
        };
        self.exchange(visit, asked, None, false);
    }

    /// Queues the command and waits for what comes back.
    fn exchange(
        self,
        visit: Visit<'_>,
        asked: Asked,
        payload: Option<(String, Reserved)>,
        is_stream: bool,
    ) {
        let relay = self.relay;
        let tunnel = &self.access.tunnel;
        let headers = &visit.exchange.head().headers;
        let has_session = headers.session_id().is_some();
        let wants_notify = asked.kind == Kind::Request && asked.accepts.events;
        let (id, channel) = (relay.ids.random(), self.channel.clone());
        let probe = visit.exchange.probe();
        let call = Arc::new(Call::new(id, channel, wants_notify, is_stream, probe));
        let headers = edge::command_headers(headers, !self.access.consumed);
        let token = relay.ids.shard_token(&tunnel.tag, &call.id);
        let command_type = if payload.is_some() { "jsonrpc" } else { "session_termination" };
        let text = command_text(&call, &token, command_type, asked.budget, &headers);
        let (payload, reserved) = match payload {
            Some((text, reserved)) => (text.into_bytes(), Some(reserved)),
            None => (Vec::new(), None),
        };
        let command = Queued::new(call.clone(), [text.into_bytes(), payload], reserved);
        let queued = tunnel.enqueue(command, relay.times.client_last_seen, relay.is_warming_up());
        if let Err(refused) = queued {
            let problem = refusal(refused, has_session || asked.era == Era::Modern);
            if matches!(refused, Refused::QueueFull | Refused::TooManyStreams) {
                relay.stats.rate_limited.inc("connector");
            }
            let reply = failure_reply(&problem, asked.kind, asked.id.as_ref());
            return self.refuse(visit, asked.kind, &problem, reply);
        }
        let _waiting = relay.stats.waiting.hold();
        // Only the server of `main` has metadata here (R-43).
        let metadata_url = self
            .channel
            .is_main()
            .then(|| metadata_url(&base_url(relay, visit.exchange.head()), &tunnel.id));
        let waiter = Waiter { relay, tunnel, call: &call, asked: &asked, metadata_url };
        let (status, code) = waiter.run(visit);
        relay.stats.mcp_requests.inc((asked.kind.as_str(), status, code));
        relay.stats.request_time.observe(asked.started.elapsed());
    }
}

/// Reads the one JSON-RPC message of a body. A problem without a code is answered as JSON-RPC.
fn read_message(body: Vec<u8>) -> Result<Message, Problem> {
    let text = String::from_utf8(body).map_err(|_| NOT_JSON)?;
    let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
    let text = if trimmed.len() == text.len() { text } else { trimmed.to_owned() };
    let is_array = text.starts_with('[');
    let message = Message::parse(text).map_err(|e| match e {
        NotAMessage::NotAnObject if is_array => BATCH,
        NotAMessage::NotJson | NotAMessage::NotAnObject => NOT_JSON,
        NotAMessage::Version | NotAMessage::Id | NotAMessage::Shape => NOT_A_MESSAGE,
    })?;
    if json::deeper_than(message.text(), MAX_DEPTH) {
        return Err(TOO_DEEP);
    }
    let null_id = matches!(message.kind(), MessageKind::Notification { .. })
        && Members::of(message.text()).is_ok_and(|members| members.has("id"));
    if null_id { Err(NULL_ID) } else { Ok(message) }
}

/// A command as the poll answer has it, up to its payload; the closing brace is the poll's.
pub(super) fn command_text(
    call: &Call,
    token: &str,
    command_type: &str,
    budget: Duration,
    headers: &Headers,
) -> String {
    let headers = serde_json::to_string(headers).expect("strings always serialize");
    let payload = if command_type == "jsonrpc" { ",\"jsonrpc\":" } else { "" };
    format!(
        "{{\"request_id\":\"{}\",\"shard_token\":\"{token}\",\"command_type\":\"{command_type}\",\
         \"channel\":\"{}\",\"created_at\":\"{}\",\"response_timeout\":\"{}ms\",\
         \"headers\":{headers}{payload}",
        request_id(&call.id),
        call.channel,
        rfc3339(SystemTime::now()),
        budget.as_millis(),
    )
}

/// The thread of a client that waits for its answer.
struct Waiter<'a> {
    relay: &'a Relay,
    tunnel: &'a Tunnel,
    call: &'a Call,
    asked: &'a Asked,
    /// Where a challenge sends the client for the server's metadata.
    metadata_url: Option<String>,
}

/// What the waiter writes to: an answer that is not begun, or an event stream.
enum Out<'c> {
    Fresh(Visit<'c>),
    Events(Stream<'c>),
}

/// The label of an answer that came from behind the tunnel, or of a client that has gone.
const NO_CODE: &str = "";
/// The status under which a lost client is counted, as other servers do; it is never sent.
const CLIENT_GONE: u16 = 499;

impl Waiter<'_> {
    /// Waits, and answers: status and code for the books.
    fn run(&self, visit: Visit<'_>) -> (u16, &'static str) {
        let times = &self.relay.times;
        let mut out = Out::Fresh(visit);
        let mut quiet_until = self.asked.started + times.sse_commit_after;
        loop {
            let deadline = match self.call.handed_at() {
                None => self.call.enqueued_at + times.pickup_timeout,
                Some(at) => at + self.asked.budget + times.deliver_grace,
            };
            let now = Instant::now();
            let mut wake = deadline.min(now + CLIENT_CHECK);
            if self.asked.may_commit {
                wake = wake.min(quiet_until);
            }
            match self.call.next(wake) {
                Some(Item::Notify(message)) => {
                    quiet_until = Instant::now() + times.sse_keepalive;
                    match self.event(out, message.json()) {
                        Some(open) => out = open,
                        None => return self.client_gone(),
                    }
                    continue;
                }
                Some(Item::Answer(answer)) => return self.answer(out, *answer),
                Some(Item::Failed(Failure::ClientGone)) => return (CLIENT_GONE, NO_CODE),
                Some(Item::Failed(failure)) => return self.fail(out, &failure_problem(failure)),
                None => {}
            }
            let gone = match &out {
                Out::Fresh(visit) => visit.exchange.client_gone(),
                Out::Events(stream) => stream.client_gone(),
            };
            if gone {
                return self.client_gone();
            }
            let now = Instant::now();
            if now >= deadline {
                let handed = self.call.handed_at().is_some();
                let (why, problem) = match handed {
                    false => (Withdraw::NotPickedUp, NOT_PICKED_UP),
                    true => (Withdraw::Late, TIMED_OUT),
                };
                if self.tunnel.withdraw(self.call, why) {
                    return self.fail(out, &problem);
                }
                // It has just been picked up, put back, or answered: look again.
                continue;
            }
            if self.asked.may_commit && now >= quiet_until {
                quiet_until = now + times.sse_keepalive;
                match self.comment(out) {
                    Some(open) => out = open,
                    None => return self.client_gone(),
                }
            }
        }
    }

    fn client_gone(&self) -> (u16, &'static str) {
        self.tunnel.withdraw(self.call, Withdraw::ClientGone);
        (CLIENT_GONE, NO_CODE)
    }

    fn open<'c>(&self, out: Out<'c>, headers: &Headers) -> Option<Stream<'c>> {
        match out {
            Out::Events(stream) => Some(stream),
            Out::Fresh(visit) => {
                let mut fields = edge::answer_headers(headers, self.metadata_url.as_deref());
                fields.push(("Content-Type", "text/event-stream".to_owned()));
                fields.push(("Cache-Control", "no-cache".to_owned()));
                fields.push(("X-Accel-Buffering", "no".to_owned()));
                visit.stream(200, &fields).ok()
            }
        }
    }

    fn event<'c>(&self, out: Out<'c>, message: &str) -> Option<Out<'c>> {
        let mut stream = self.open(out, &Headers::new())?;
        stream.send(event_text(message).as_bytes()).ok()?;
        Some(Out::Events(stream))
    }

    fn comment<'c>(&self, out: Out<'c>) -> Option<Out<'c>> {
        let mut stream = self.open(out, &Headers::new())?;
        stream.send(b": waiting\n\n").ok()?;
        Some(Out::Events(stream))
    }

    /// Passes on what a daemon posted.
    fn answer(&self, out: Out<'_>, answer: Answer) -> (u16, &'static str) {
        if !self.asked.kind.fits(answer.resp_type) {
            return self.fail(out, &MISFIT);
        }
        let headers = edge::answer_headers(&answer.resp_headers, self.metadata_url.as_deref());
        let Some(piece) = &answer.resp_json else {
            return self.answer_without_body(out, &answer, headers);
        };
        let message = piece.json();
        count_failure(self.relay, message);
        let status = match self.asked.era {
            Era::Modern => edge::modern_status(answer.resp_code, message),
            Era::Legacy => edge::status_with_body(answer.resp_code),
        };
        let accepted = matches!(self.asked.kind, Kind::Notification | Kind::Response);
        if accepted && (200..300).contains(&status) {
            // A notification has no result.
            return self.fail(out, &MISFIT);
        }
        let as_events = match &out {
            Out::Events(_) => true,
            Out::Fresh(_) if !self.asked.accepts.events || accepted => false,
            // A status other than 200 tells the client something, and events would lose it.
            Out::Fresh(_) => !self.asked.accepts.json || (status == 200 && is_events(&answer)),
        };
        if as_events {
            if let Some(stream) = self.open(out, &answer.resp_headers) {
                let _ = stream.finish(event_text(message).as_bytes());
            }
        } else if let Out::Fresh(visit) = out {
            let mut headers = headers;
            headers.push(("Content-Type", "application/json".to_owned()));
            let _ = visit.reply_parts(status, &headers, &[message.as_bytes()]);
        }
        (status, NO_CODE)
    }

    /// The end of something that has no JSON answer: a notification, a session.
    fn answer_without_body(
        &self,
        out: Out<'_>,
        answer: &Answer,
        headers: Vec<(&'static str, String)>,
    ) -> (u16, &'static str) {
        let status = edge::edge_status(answer.resp_code);
        let status = match self.asked.kind {
            Kind::Request => return self.fail(out, &MISFIT),
            Kind::Termination => status,
            Kind::Notification | Kind::Response if (200..300).contains(&status) => 202,
            Kind::Notification | Kind::Response => {
                if let Out::Fresh(visit) = out {
                    visit.reply(Problem { status, ..NOT_ACCEPTED }.rpc_reply(None));
                }
                return (status, NO_CODE);
            }
        };
        if let Out::Fresh(visit) = out {
            visit.reply(Reply { status, headers, body: String::new() });
        }
        (status, NO_CODE)
    }

    /// Says what the relay has to say instead.
    fn fail(&self, out: Out<'_>, problem: &Problem) -> (u16, &'static str) {
        match out {
            Out::Fresh(visit) => {
                visit.reply(failure_reply(problem, self.asked.kind, self.asked.id.as_ref()));
            }
            Out::Events(stream) => {
                let text = problem.rpc_text(self.asked.id.as_ref());
                let _ = stream.finish(event_text(&text).as_bytes());
            }
        }
        (problem.status, problem.code)
    }
}

/// A message for which nothing came back: as JSON-RPC where the client expects that.
fn failure_reply(problem: &Problem, kind: Kind, id: Option<&RpcId>) -> Reply {
    match (kind, id) {
        (Kind::Request, id @ Some(_)) => problem.rpc_reply(id),
        _ => problem.envelope(),
    }
}

/// One server-sent event. The message is one line, for a JSON string holds no line break.
fn event_text(message: &str) -> String {
    format!("event: message\ndata: {}\n\n", json::compact(message))
}

fn is_events(answer: &Answer) -> bool {
    let media = answer.resp_headers.get("Content-Type").and_then(|value| value.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Counts the provenance that a daemon gives with an error of its own making.
fn count_failure(relay: &Relay, message: &str) {
    /// Errors that daemons make are short.
    const LONGEST: usize = 4 * 1024;
    if message.len() > LONGEST || !message.contains("\"tunnel_failure\"") {
        return;
    }
    let path = ["error", "data", "tunnel_failure", "source"];
    let source = path.into_iter().try_fold(message, json::member).and_then(json::string);
    if let Some(source) = source {
        let word = FailureSource::from_word(&source).map_or("other", FailureSource::as_str);
        relay.stats.tunnel_failures.inc(word);
    }
}

/// Why a command was not queued, as the client is told. Where a 404 would be taken for the end of
/// a session, or for an unknown method, the status is 503 (relay.md, 3.7; M-52).
pub(super) fn refusal(refused: Refused, not_404: bool) -> Problem {
    let problem = match refused {
        Refused::NotSeen => {
            Problem::new(404, "tunnel_client_not_seen", "no tunnel daemon has connected yet")
        }
        Refused::NotConnected => {
            Problem::new(404, "tunnel_client_not_connected", "no tunnel daemon is connected")
        }
        Refused::QueueFull => {
            Problem::new(429, "tunnel_queue_full", "too many commands wait in this tunnel")
                .retry_after(1)
        }
        Refused::TooManyStreams => {
            Problem::new(429, "rate_limit_exceeded", "too many long streams in this tunnel")
                .retry_after(5)
        }
        Refused::Draining => DRAINING,
        Refused::Closed => DELETED,
    };
    match (refused, not_404) {
        (Refused::NotSeen | Refused::NotConnected, true) => {
            Problem { status: 503, ..problem }.retry_after(2)
        }
        _ => problem,
    }
}

fn failure_problem(failure: Failure) -> Problem {
    match failure {
        Failure::Undecodable => BAD_RESPONSE,
        Failure::TooLarge => RESPONSE_TOO_LARGE,
        Failure::DrainedQueued => DRAINING,
        Failure::DrainedHanded => DRAINING.maybe_delivered(),
        Failure::Deleted => DELETED.maybe_delivered(),
        Failure::ClientGone => TIMED_OUT,
    }
}

const BAD_CONNECTOR_KEY: Problem = Problem::new(
    401,
    "tunnel_use_forbidden",
    "the connector key is missing or not valid for this tunnel",
);
const TOO_MANY_WAITING: Problem =
    Problem::new(429, "rate_limit_exceeded", "too many requests wait under this key")
        .retry_after(1);
const NOT_HERE: Problem = Problem::new(405, "", "this path takes POST and DELETE");
const NOT_JSON_TYPE: Problem = Problem::new(415, "", "`Content-Type` must be application/json");
const NOT_ACCEPTABLE: Problem =
    Problem::new(406, "", "`Accept` must allow application/json or text/event-stream");
const NO_SESSION: Problem =
    Problem::new(400, "missing_mcp_session_id", "DELETE needs an `Mcp-Session-Id`");
const NOT_JSON: Problem =
    Problem::new(400, "invalid_json_payload", "the body is not one JSON object");
const TOO_DEEP: Problem =
    Problem::new(400, "invalid_json_payload", "the body is nested more than 128 levels deep");
const BATCH: Problem =
    Problem::new(400, "", "a batch cannot pass the tunnel; send one message per request")
        .rpc(INVALID_REQUEST);
const NOT_A_MESSAGE: Problem =
    Problem::new(400, "", "the body is not a JSON-RPC 2.0 message").rpc(INVALID_REQUEST);
const NULL_ID: Problem = Problem::new(400, "", "`id` must not be null").rpc(INVALID_REQUEST);
const RESPONSE_REFUSED: Problem =
    Problem::new(400, "", "this tunnel takes requests and notifications, not responses")
        .rpc(INVALID_REQUEST);
const NOT_PICKED_UP: Problem = Problem::new(
    503,
    "tunnel_client_not_connected",
    "no tunnel daemon picked the command up; it was not executed",
)
.retry_after(1);
const TIMED_OUT: Problem = Problem::new(
    504,
    "response_timeout",
    "the tunnel daemon did not answer in time; the command may have been executed",
)
.maybe_delivered();
const BAD_RESPONSE: Problem =
    Problem::new(502, "invalid_tunnel_response", "the tunnel daemon's response is malformed")
        .maybe_delivered();
const MISFIT: Problem = Problem::new(
    502,
    "invalid_tunnel_response",
    "the tunnel daemon's response does not fit the request",
)
.maybe_delivered();
const RESPONSE_TOO_LARGE: Problem = Problem::new(
    502,
    "response_body_too_large",
    "the tunnel daemon's response is larger than the relay accepts",
)
.maybe_delivered();
const NOT_ACCEPTED: Problem =
    Problem::new(502, "", "the MCP server did not accept the message").maybe_delivered();
const DELETED: Problem = Problem::new(404, "", "the tunnel was deleted");

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, (u16, i64, &'static str)> {
        let result = read_message(text.as_bytes().to_vec());
        result.map(Message::into_text).map_err(|p| (p.status, p.rpc_code, p.code))
    }

    #[test] // R-28
    fn a_message_is_kept_as_it_is_but_for_outer_white_space() {
        let text =
            r#"{"jsonrpc":"2.0", "id":1.0,"method":"m","params":{"b":1e400,"a":"😀","a":2}}"#;
        assert_eq!(read(&format!(" \r\n{text}\n\t")).as_deref(), Ok(text));
    }

    #[test] // R-36
    fn what_is_no_single_message_is_refused() {
        let rpc = Err((400, INVALID_REQUEST, ""));
        assert_eq!(read(r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#), rpc);
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#), rpc);
        assert_eq!(read(r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#), rpc);
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#), rpc);
        for bad in ["", "{", "7", "\"x\"", "null", "{} {}"] {
            assert_eq!(read(bad).unwrap_err().2, "invalid_json_payload", "{bad}");
        }
        assert!(read_message(vec![b'"', 0xff, b'"']).is_err());
        let deep = |n: usize| {
            let nested = format!("{}{}", "[".repeat(n), "]".repeat(n));
            read(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{nested}}}"#))
        };
        assert!(deep(MAX_DEPTH - 1).is_ok());
        assert_eq!(deep(MAX_DEPTH).unwrap_err().2, "invalid_json_payload");
        assert_eq!(deep(1_000_000).unwrap_err().2, "invalid_json_payload");
    }

    #[test] // R-37, M-52
    fn a_missing_daemon_is_a_404_only_where_that_cannot_be_misread() {
        assert_eq!(refusal(Refused::NotSeen, false).status, 404);
        let problem = refusal(Refused::NotConnected, true);
        assert_eq!((problem.status, problem.retry_after), (503, Some(2)));
        assert_eq!(refusal(Refused::QueueFull, true).status, 429);
    }

    #[test]
    fn an_event_is_one_line_of_data() {
        assert_eq!(event_text("{\n \"a\": 1\n}"), "event: message\ndata: {\"a\":1}\n\n");
    }
}

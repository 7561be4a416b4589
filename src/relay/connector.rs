//! Requests of MCP clients: `/v1/mcp/{tunnel_id}` and `/v1/mcp/{tunnel_id}/{channel}`
//! (relay.md, 3). A client is let in here, and its message is checked and queued; `waiter` then
//! waits for the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::wire::json::{self, Members};
use crate::wire::message::NotAMessage;
use crate::wire::{ChannelName, Era, Message, MessageKind, TunnelId};

use super::Relay;
use super::budget::Reserved;
use super::call::{Call, Kind};
use super::discovery::{base_url, metadata_url};
use super::edge::{self, Accepts};
use super::keys::{Key, Role, Waiting, bearer};
use super::problems::{
    BAD_CONNECTOR_KEY, BATCH, NO_SESSION, NOT_A_MESSAGE, NOT_ACCEPTABLE, NOT_HERE, NOT_JSON,
    NOT_JSON_TYPE, NULL_ID, RESPONSE_REFUSED, TOO_DEEP, TOO_MANY_WAITING, refusal,
};
use super::reply::{BAD_CHANNEL, BAD_TUNNEL_ID, DRAINING, Problem, Reply, Visit};
use super::tunnel::{Queued, Refused, Tunnel, command_text};
use super::waiter::{Expected, Waiter, failure_reply};

/// Largest MCP request, in bytes: a 16 MiB string argument with every byte escaped in two.
pub const MAX_REQUEST: usize = 32 * 1024 * 1024;
/// Deepest nesting of a message, because programs behind us may parse it by recursion.
const MAX_DEPTH: usize = 128;
/// The method that is a stream rather than a call, and how long it may last.
const LONG_METHOD: &str = "subscriptions/listen";
const STREAM_MAX: Duration = Duration::from_secs(600);
/// Most clients that wait under one connector key.
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
        let reply = visit.preflight(METHODS);
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
    let admitted = Admitted { relay, access, channel, _waiting: waiting.flatten() };
    match visit.exchange.head().method.as_str() {
        "POST" => admitted.post(visit),
        "DELETE" => admitted.terminate(visit),
        _ => {
            relay.stats.mcp_requests.inc(("none", 405, ""));
            visit.reply(NOT_HERE.envelope().with("Allow", METHODS.to_owned()));
        }
    }
}

/// A client that was let in.
struct Access {
    tunnel: Arc<Tunnel>,
    key: Option<Arc<Key>>,
    /// True if `Authorization` holds a key of ours, which is not passed on.
    consumed: bool,
}

/// Checks the client's key (relay.md, 4.3). An unknown tunnel and a bad key look the same
/// (relay-49).
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

/// A request of a client that was let in.
struct Admitted<'r> {
    relay: &'r Relay,
    access: Access,
    channel: ChannelName,
    _waiting: Option<Waiting>,
}

impl Admitted<'_> {
    fn refuse(&self, visit: Visit<'_>, kind: Kind, problem: &Problem, reply: Reply) {
        self.relay.stats.mcp_requests.inc((kind.as_str(), problem.status, problem.code));
        visit.reply(reply);
    }

    /// Checks all of a message that can be checked before its body is read.
    fn check_head(&self, visit: &Visit<'_>) -> Result<Accepts, Problem> {
        let media = visit.header("Content-Type").and_then(|value| value.split(';').next());
        if !media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
            return Err(NOT_JSON_TYPE);
        }
        let accepts = Accepts::of(&visit.exchange.head().headers).ok_or(NOT_ACCEPTABLE)?;
        if self.relay.is_draining() { Err(DRAINING) } else { Ok(accepts) }
    }

    /// A message of the client.
    fn post(self, mut visit: Visit<'_>) {
        let started = Instant::now();
        let refuse = |visit: Visit<'_>, problem: Problem| {
            self.refuse(visit, Kind::Request, &problem, problem.envelope());
        };
        let accepts = match self.check_head(&visit) {
            Ok(accepts) => accepts,
            Err(problem) => return refuse(visit, problem),
        };
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
            // Without a session the id cannot be tied to another POST (mcp-70).
            (Kind::Notification, Era::Modern) if method == "notifications/cancelled" => {
                self.relay.stats.mcp_requests.inc((kind.as_str(), 202, ""));
                return visit.reply(Reply::empty(202));
            }
            _ => {}
        }
        let is_stream = method == LONG_METHOD;
        let expected = Expected {
            kind,
            id,
            era,
            accepts,
            may_commit: kind == Kind::Request && accepts.events && method != "initialize",
            budget: if is_stream { STREAM_MAX } else { self.relay.times.response_timeout },
            started,
        };
        self.exchange(visit, expected, Some((message.into_text(), reserved)), is_stream);
    }

    /// The client ends its session.
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
        let expected = Expected {
            kind: Kind::Termination,
            id: None,
            era: Era::Legacy,
            accepts: Accepts { json: true, events: false },
            may_commit: false,
            budget: self.relay.times.response_timeout,
            started,
        };
        self.exchange(visit, expected, None, false);
    }

    /// Queues the command and waits for its answer.
    fn exchange(
        self,
        visit: Visit<'_>,
        expected: Expected,
        payload: Option<(String, Reserved)>,
        is_stream: bool,
    ) {
        let relay = self.relay;
        let tunnel = &self.access.tunnel;
        let headers = &visit.exchange.head().headers;
        let has_session = headers.session_id().is_some();
        let wants_notify = expected.kind == Kind::Request && expected.accepts.events;
        let (id, channel) = (relay.ids.random(), self.channel.clone());
        let probe = visit.exchange.probe();
        let call = Arc::new(Call::new(id, channel, wants_notify, is_stream, probe));
        let headers = edge::command_headers(headers, !self.access.consumed);
        let token = relay.ids.shard_token(&tunnel.tag, &call.id);
        let command_type = if payload.is_some() { "jsonrpc" } else { "session_termination" };
        let text = command_text(&call, &token, command_type, expected.budget, &headers);
        let (payload, reserved) = match payload {
            Some((text, reserved)) => (text.into_bytes(), Some(reserved)),
            None => (Vec::new(), None),
        };
        let command = Queued::new(call.clone(), [text.into_bytes(), payload], reserved);
        let queued = tunnel.enqueue(command, relay.times.client_last_seen, relay.is_warming_up());
        if let Err(refused) = queued {
            let problem = refusal(refused, has_session || expected.era == Era::Modern);
            if matches!(refused, Refused::QueueFull | Refused::TooManyStreams) {
                relay.stats.rate_limited.inc("connector");
            }
            let reply = failure_reply(&problem, expected.kind, expected.id.as_ref());
            return self.refuse(visit, expected.kind, &problem, reply);
        }
        let _waiting = relay.stats.waiting.hold();
        // Only the server of channel `main` has metadata here (relay-43).
        let metadata_url = self
            .channel
            .is_main()
            .then(|| metadata_url(&base_url(relay, visit.exchange.head()), &tunnel.id));
        let waiter = Waiter { relay, tunnel, call: &call, expected: &expected, metadata_url };
        let (status, code) = waiter.run(visit);
        relay.stats.mcp_requests.inc((expected.kind.as_str(), status, code));
        relay.stats.request_time.observe(expected.started.elapsed());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::INVALID_REQUEST;

    fn read(text: &str) -> Result<String, (u16, i64, &'static str)> {
        let result = read_message(text.as_bytes().to_vec());
        result.map(Message::into_text).map_err(|p| (p.status, p.rpc_code, p.code))
    }

    #[test] // relay-28
    fn a_message_is_kept_as_it_is_but_for_outer_white_space() {
        let text =
            r#"{"jsonrpc":"2.0", "id":1.0,"method":"m","params":{"b":1e400,"a":"😀","a":2}}"#;
        assert_eq!(read(&format!(" \r\n{text}\n\t")).as_deref(), Ok(text));
    }

    #[test] // relay-36
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
}

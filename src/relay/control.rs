//! Requests of daemons: poll, response, metadata (relay.md, 1.3 to 1.5).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::wire::json::{self, Members};
use crate::wire::server_info::ServerInfo;
use crate::wire::{ChannelName, Headers, MESSAGE_MAX, ResponseType, TunnelId};

use super::Relay;
use super::budget::Reserved;
use super::call::{Answer, Call, Failure, Item, Piece, Pushed};
use super::ids::request_id;
use super::keys::{Key, Role, bearer};
use super::reply::{BAD_CHANNEL, BAD_TUNNEL_ID, DRAINING, Problem, Reply, Unread, Visit};
use super::tunnel::{Filter, Polled, Queued, Tunnel};

/// How many daemons poll the tunnel: our addition to the contract, in the answers to polls and in
/// the tunnel document. A client that does not know it ignores it (wire-10).
const DAEMONS: &str = "X-Tunnel-Daemons";
/// Largest response body, in bytes: the largest message that a daemon takes from an MCP server, and
/// its envelope.
pub const MAX_RESPONSE: usize = MESSAGE_MAX + 1024 * 1024;
/// Most commands in one poll answer.
const MAX_LIMIT: usize = 25;
/// Longest poll: below the idle limits of common proxies.
const POLL_WAIT_MAX: Duration = Duration::from_secs(55);
const POLL_WAIT_DEFAULT: Duration = Duration::from_secs(15);
/// Most polls that wait under one key.
const POLLS_PER_KEY: usize = 64;
/// How long a response POST waits for a slow MCP client to take earlier notifications.
const NOTIFY_PATIENCE: Duration = Duration::from_secs(1);

const UNAUTHORIZED: Problem = Problem::new(
    401,
    "tunnel_use_forbidden",
    "the runtime key is missing or not valid for this tunnel",
);

/// The tunnel and the key of a daemon's request. An unknown tunnel and a bad key look the same
/// (relay-49).
fn authorize(
    relay: &Relay,
    visit: &Visit<'_>,
    id: &str,
) -> Result<(Arc<Tunnel>, Arc<Key>), Problem> {
    let id: TunnelId = id.parse().map_err(|_| BAD_TUNNEL_ID)?;
    let key = bearer(visit.exchange.head().headers.values("Authorization"))
        .and_then(|text| relay.keys.find(text))
        .filter(|key| key.allows(Role::Runtime, &id));
    match (key, relay.tunnel(&id)) {
        (Some(key), Some(tunnel)) => Ok((tunnel, key)),
        _ => {
            relay.stats.auth_failures.inc("control");
            Err(UNAUTHORIZED)
        }
    }
}

/// `GET /v1/tunnels/{tunnel_id}/poll`
pub fn poll(relay: &Relay, mut visit: Visit<'_>, id: &str) {
    let result = authorize(relay, &visit, id).and_then(|(tunnel, key)| {
        let query = PollQuery::read(&visit.exchange.query())?;
        let place = key.wait(POLLS_PER_KEY).ok_or(TOO_MANY_POLLS)?;
        if relay.is_draining() {
            return Err(DRAINING);
        }
        Ok((tunnel, key, query, place))
    });
    let (tunnel, key, query, _place) = match result {
        Ok(ready) => ready,
        Err(problem) => {
            relay.stats.polls.inc("refused");
            return visit.reply(problem.envelope());
        }
    };
    let affinity = has_proc_affinity(relay, &visit);
    let instance = visit.header("X-Tunnel-Client-Instance-Id").unwrap_or_default().to_owned();
    if visit.header("X-Tunnel-Client-Closing") == Some("1") {
        // The daemon is ending, so it must not get another command.
        tunnel.daemon_leaves();
        tunnel.daemons().leaves(&instance);
        relay.stats.polls.inc("empty");
        return visit.reply(Reply::empty(204));
    }
    let ours = visit.header("X-Tunnel-Client-Name") == Some("mcp-tunnel");
    tunnel.takes_responses.store(ours, Ordering::Relaxed);

    let probe = visit.exchange.probe();
    let last_seen = relay.times.client_last_seen;
    let number = tunnel.daemons().poll_begins(&instance, affinity, probe.clone());
    warn_of_several_daemons(&tunnel, last_seen);
    let polled = tunnel.poll(query.filter, query.limit, query.wait, probe, &key.id);
    tunnel.daemons().poll_ends(number);
    visit.common.push((DAEMONS, tunnel.daemons().count(last_seen).to_string()));
    let result = match polled {
        Polled::Commands(commands) => hand_over(relay, visit, &tunnel, commands),
        Polled::Nothing => {
            if !visit.exchange.client_gone() {
                tunnel.saw_daemon();
            }
            visit.reply(Reply::empty(204));
            "empty"
        }
        Polled::TooMany => {
            relay.stats.rate_limited.inc("control");
            visit.reply(TOO_MANY_POLLS.envelope());
            "refused"
        }
        Polled::Revoked => {
            visit.reply(UNAUTHORIZED.envelope());
            "refused"
        }
    };
    relay.stats.polls.inc(result);
}

fn warn_of_several_daemons(tunnel: &Tunnel, last_seen: Duration) {
    if tunnel.daemons().is_news(last_seen) {
        log::warn!(
            "several daemons poll a tunnel whose MCP server lives inside its daemon: its sessions \
             break; stop all but one tunnel={}",
            tunnel.id
        );
    }
}

/// True if the daemon that polls declares that a server keeps state in its process.
fn has_proc_affinity(relay: &Relay, visit: &Visit<'_>) -> bool {
    let Some(info) = visit.header("X-Tunnel-MCP-Server-Info") else { return false };
    let info = ServerInfo::from_header(info);
    if info.is_none() {
        relay.stats.bad_server_info.inc();
    }
    info.is_some_and(|info| info.has_proc_affinity())
}

/// Writes the commands. They are put back only if certainly no byte of them was sent
/// (relay.md, 2.2).
fn hand_over(
    relay: &Relay,
    visit: Visit<'_>,
    tunnel: &Tunnel,
    commands: Vec<Queued>,
) -> &'static str {
    if visit.exchange.client_gone() {
        tunnel.put_back(commands);
        return "gone";
    }
    let headers = [("Content-Type", "application/json".to_owned())];
    let mut parts: Vec<&[u8]> = Vec::with_capacity(3 * commands.len() + 1);
    for (i, command) in commands.iter().enumerate() {
        parts.push(if i == 0 { b"{\"commands\":[" } else { b"}," });
        parts.extend(command.text.iter().map(Vec::as_slice));
    }
    parts.push(b"}]}");
    match visit.reply_parts(200, &headers, &parts) {
        Ok(()) => "commands",
        Err(e) if e.accepted == 0 => {
            tunnel.put_back(commands);
            "gone"
        }
        Err(_) => {
            relay.stats.uncertain.add(commands.len() as u64);
            "gone"
        }
    }
}

/// The parameters of a poll.
struct PollQuery {
    limit: usize,
    wait: Duration,
    filter: Filter,
}

impl PollQuery {
    fn read(parameters: &[(String, String)]) -> Result<Self, Problem> {
        let mut query = Self { limit: 1, wait: POLL_WAIT_DEFAULT, filter: Filter::default() };
        for (name, value) in parameters {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
                    query.limit = limit.ok_or(BAD_LIMIT)?;
                }
                "timeout_ms" => {
                    let ms = value.parse().ok().filter(|ms| *ms >= 1).ok_or(BAD_TIMEOUT)?;
                    query.wait = Duration::from_millis(ms).min(POLL_WAIT_MAX);
                }
                "channel" => {
                    let channel: ChannelName = value.parse().map_err(|_| BAD_CHANNEL)?;
                    if !query.filter.0.contains(&channel) {
                        query.filter.0.push(channel);
                    }
                }
                _ => {}
            }
        }
        Ok(query)
    }
}

/// `POST /v1/tunnels/{tunnel_id}/response`
pub fn respond(relay: &Relay, mut visit: Visit<'_>, id: &str) {
    let (resp_type, result) = take_response(relay, &mut visit, id);
    let (label, reply) = match result {
        Ok(label) => (label, Reply::json(200, r#"{"status":"ok"}"#.to_owned())),
        Err((label, problem)) => (label, problem.envelope()),
    };
    relay.stats.responses.inc((resp_type, label));
    visit.reply(reply);
}

type Outcome = Result<&'static str, (&'static str, Problem)>;

/// Accepts a response. Returns the type that it claims, and the outcome.
fn take_response(relay: &Relay, visit: &mut Visit<'_>, id: &str) -> (&'static str, Outcome) {
    const UNKNOWN: &str = "unknown";
    let invalid = |problem: Problem| (UNKNOWN, Err(("invalid", problem)));
    let tunnel = match authorize(relay, visit, id) {
        Ok((tunnel, _)) => tunnel,
        Err(problem) => return invalid(problem),
    };
    // The token is checked before a byte of the body is read.
    let token = match visit.exchange.head().headers.values("X-Tunnel-Shard-Token") {
        [token] => relay.ids.open_token(token),
        _ => None,
    };
    let Some((tag, key)) = token else { return invalid(BAD_TOKEN) };
    if tag != tunnel.tag {
        return (UNKNOWN, Err(("mismatch", WRONG_TUNNEL)));
    }
    let Some(call) = tunnel.handed(&key) else {
        return (UNKNOWN, Err(("not_found", NOT_PENDING)));
    };
    // The client has left: the daemon should not send more (relay-20).
    if call.probe.client_gone() {
        tunnel.settle(&key, Item::Failed(Failure::ClientGone));
        return (UNKNOWN, Err(("not_found", NOT_PENDING)));
    }
    let (body, reserved) = match visit.read_body(MAX_RESPONSE, &relay.response_memory) {
        Ok(read) => read,
        Err(unread) => {
            if unread == Unread::TooLarge {
                tunnel.settle(&key, Item::Failed(Failure::TooLarge));
            }
            return invalid(unread.problem());
        }
    };
    let posted = match Posted::read(body, reserved, &call) {
        Ok(posted) => posted,
        Err(problem) => {
            // Daemons do not retry after a 400, so the client would wait in vain.
            if problem.code != BAD_CHANNEL.code && problem != UNKNOWN_TYPE {
                tunnel.settle(&key, Item::Failed(Failure::Undecodable));
            }
            return invalid(problem);
        }
    };
    let resp_type = posted.resp_type;
    let outcome = match posted.into_answer() {
        Ok(answer) => match tunnel.settle(&key, Item::Answer(Box::new(answer))) {
            true => Ok("settled"),
            false => Err(("not_found", NOT_PENDING)),
        },
        Err(message) => match call.push_notify(message, NOTIFY_PATIENCE) {
            Pushed::Accepted => {
                tunnel.saw_daemon();
                Ok("notify")
            }
            Pushed::Full => Err(("invalid", NOTIFY_FULL)),
            Pushed::Ended => Err(("not_found", NOT_PENDING)),
        },
    };
    (resp_type.as_str(), outcome)
}

/// A decoded response body.
struct Posted {
    resp_type: ResponseType,
    resp_code: i64,
    resp_headers: Headers,
    resp_json: Option<Piece>,
}

impl Posted {
    fn read(body: Vec<u8>, reserved: Reserved, call: &Call) -> Result<Self, Problem> {
        let text = String::from_utf8(body).map_err(|_| UNDECODABLE)?;
        let members = Members::of(&text).map_err(|_| UNDECODABLE)?;
        let present = |name: &str| members.get(name).filter(|value| *value != "null");
        let named = present("request_id").and_then(json::string);
        if named.as_deref() != Some(&request_id(&call.id)) {
            return Err(UNDECODABLE);
        }
        let resp_code = present("resp_code").and_then(|code| code.parse().ok());
        let resp_code = resp_code.ok_or(UNDECODABLE)?;
        if let Some(channel) = present("channel") {
            let channel = json::string(channel).and_then(|c| c.parse::<ChannelName>().ok());
            if channel.as_ref() != Some(&call.channel) {
                return Err(BAD_CHANNEL);
            }
        }
        let resp_type = match present("resp_type") {
            None => ResponseType::JsonRpcResponse,
            Some(word) => {
                json::string(word).and_then(|w| ResponseType::from_word(&w)).ok_or(UNKNOWN_TYPE)?
            }
        };
        let resp_headers = match present("resp_headers") {
            None => Headers::new(),
            Some(headers) => serde_json::from_str(headers).map_err(|_| UNDECODABLE)?,
        };
        let range = match present("resp_json") {
            Some(value) if !value.starts_with('{') => return Err(UNDECODABLE),
            value => value.map(|value| json::span(&text, value)),
        };
        let needs_json = resp_type == ResponseType::JsonRpcNotify;
        if needs_json && range.is_none() {
            return Err(UNDECODABLE);
        }
        drop(members);
        let resp_json = range.map(|range| Piece::new(text, range, reserved));
        Ok(Self { resp_type, resp_code, resp_headers, resp_json })
    }

    /// The answer; or, if it is not final, the notification.
    fn into_answer(self) -> Result<Answer, Piece> {
        let Self { resp_type, resp_code, resp_headers, resp_json } = self;
        match resp_json {
            Some(message) if !resp_type.is_final() => Err(message),
            resp_json => Ok(Answer { resp_type, resp_code, resp_headers, resp_json }),
        }
    }
}

/// `GET /v1/tunnels/{tunnel_id}` for a daemon: the facts that it may know about its tunnel.
pub fn metadata(relay: &Relay, visit: Visit<'_>, id: &str) {
    let reply = match authorize(relay, &visit, id) {
        Ok((tunnel, _)) => {
            let record = tunnel.record();
            Reply::json(
                200,
                format!(
                    "{{\"id\":\"{}\",\"name\":{},\"description\":{}}}",
                    tunnel.id,
                    json::quote(&record.name),
                    json::quote(&record.description)
                ),
            )
            .with(DAEMONS, tunnel.daemons().count(relay.times.client_last_seen).to_string())
        }
        // A key that is one, but not for this: the operator has to look at permissions.
        Err(problem) if problem == UNAUTHORIZED && relay.key_of(&visit).is_some() => {
            FORBIDDEN.envelope()
        }
        Err(problem) => problem.envelope(),
    };
    visit.reply(reply);
}

/// `GET /v1/tunnels/{tunnel_id}/cloudflare/runtime`: there is never one (relay-10).
pub fn no_managed_runtime(relay: &Relay, visit: Visit<'_>, id: &str) {
    let reply = match authorize(relay, &visit, id) {
        Ok(_) => NO_RUNTIME.envelope(),
        Err(problem) => problem.envelope(),
    };
    visit.reply(reply.with("Cache-Control", "no-store".to_owned()));
}

const BAD_LIMIT: Problem = Problem::new(400, "", "`limit` must be an integer from 1 to 25");
const BAD_TIMEOUT: Problem = Problem::new(400, "", "`timeout_ms` must be an integer above 0");
const TOO_MANY_POLLS: Problem =
    Problem::new(429, "rate_limit_exceeded", "too many polls wait already").retry_after(5);
const BAD_TOKEN: Problem =
    Problem::new(400, "", "`X-Tunnel-Shard-Token` is missing or not one of this relay");
const WRONG_TUNNEL: Problem =
    Problem::new(401, "tunnel_request_mismatch", "the request belongs to another tunnel");
const NOT_PENDING: Problem =
    Problem::new(404, "pending_request_not_found", "the request is unknown or has ended");
const UNDECODABLE: Problem =
    Problem::new(400, "invalid_json_payload", "the response is not what the contract says");
const UNKNOWN_TYPE: Problem = Problem::new(400, "", "`resp_type` is unknown");
const NOTIFY_FULL: Problem =
    Problem::new(429, "rate_limit_exceeded", "the MCP client has not taken earlier messages")
        .retry_after(1);
const FORBIDDEN: Problem =
    Problem::new(403, "tunnel_use_forbidden", "the key is not valid for this tunnel");
const NO_RUNTIME: Problem =
    Problem::new(404, "", "this relay has no managed runtime for the tunnel");

#[cfg(test)]
mod tests {
    use super::*;

    fn query(query: &str) -> Result<(usize, u128, usize), u16> {
        let query =
            PollQuery::read(&crate::httpd::head::parse_query(query)).map_err(|p| p.status)?;
        Ok((query.limit, query.wait.as_millis(), query.filter.0.len()))
    }

    #[test] // relay-2
    fn a_poll_is_bounded_whatever_it_asks() {
        assert_eq!(query(""), Ok((1, 15_000, 0)));
        assert_eq!(query("limit=25&timeout_ms=999999&x=y"), Ok((25, 55_000, 0)));
        assert_eq!(query("channel=a&channel=%20A&channel=b"), Ok((1, 15_000, 2)));
        for bad in [
            "limit=0",
            "limit=26",
            "limit=x",
            "limit=",
            "limit=-1",
            "timeout_ms=0",
            "timeout_ms=x",
            "timeout_ms=1.5",
            "channel=a+b",
        ] {
            assert_eq!(query(bad), Err(400), "{bad}");
        }
    }
}

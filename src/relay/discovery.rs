//! Serves the OAuth metadata of the server behind a tunnel to MCP clients (relay.md, 1.6). The
//! daemon fetches it, `resource` becomes the tunnel's own URL, and everything else stays the same.
//!
//! Anybody may ask, because a client asks before it has a token. Answers are therefore cached, and
//! only one client of a tunnel at a time makes its daemon fetch.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::httpd::Head;
use crate::wire::json::{self, Members};
use crate::wire::{ChannelName, Headers, ResponseType, TunnelId};

use super::Relay;
use super::call::{CLIENT_CHECK, Call, Failure, Item, Piece};
use super::problems::refusal;
use super::reply::{BAD_TUNNEL_ID, DRAINING, Problem, Reply, Visit};
use super::tunnel::{Queued, Refused, Tunnel, Withdraw, command_text};

/// How long the daemon may take to answer, including the wait for a poll. Clients wait as long
/// for such a request.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest document, in bytes. The daemon accepts no larger one.
const DOCUMENT_MAX: usize = 1_048_576;

const METHODS: &str = "GET, OPTIONS";

/// The URL at which clients reach the relay.
pub fn base_url(relay: &Relay, head: &Head) -> String {
    if let Some(url) = &relay.public_url {
        return url.clone();
    }
    // On a Unix socket any `Host` is let in, but only a name may get into a header.
    let is_name =
        |host: &&str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    let host = head.host.as_deref().filter(is_name).filter(|host| !host.is_empty());
    format!("http://{}", host.unwrap_or("localhost"))
}

/// The URL of the metadata of a tunnel's server.
pub fn metadata_url(base: &str, id: &TunnelId) -> String {
    format!("{base}/.well-known/oauth-protected-resource/v1/mcp/{id}")
}

/// `GET /.well-known/oauth-protected-resource/v1/mcp/{tunnel_id}`
pub fn serve(relay: &Relay, visit: Visit<'_>, id: &str) {
    let reply = match visit.exchange.head().method.as_str() {
        "GET" => match document(relay, &visit, id) {
            Ok(text) => Reply::json(200, text),
            Err(problem) => problem.envelope(),
        },
        "OPTIONS" => {
            let reply = visit.preflight(METHODS);
            return visit.reply(reply);
        }
        _ => NO_METHOD.envelope().with("Allow", METHODS.to_owned()),
    };
    relay.stats.mcp_requests.inc(("discovery", reply.status, ""));
    visit.reply(reply);
}

fn document(relay: &Relay, visit: &Visit<'_>, id: &str) -> Result<String, Problem> {
    let id: TunnelId = id.parse().map_err(|_| BAD_TUNNEL_ID)?;
    if relay.is_draining() {
        return Err(DRAINING);
    }
    // An unknown tunnel looks like one whose server needs no OAuth.
    let tunnel = relay.tunnel(&id).ok_or(NO_METADATA)?;
    let piece = tunnel.metadata.get(|| fetch(relay, &tunnel, visit))?.ok_or(NO_METADATA)?;
    let resource = format!("{}/v1/mcp/{id}", base_url(relay, visit.exchange.head()));
    with_resource(piece.json(), &resource).ok_or(NO_METADATA)
}

/// Asks the daemon for the metadata; `None` if its server has none.
fn fetch(relay: &Relay, tunnel: &Tunnel, visit: &Visit<'_>) -> Result<Option<Piece>, Problem> {
    let probe = visit.exchange.probe();
    let call = Arc::new(Call::new(relay.ids.random(), ChannelName::main(), false, false, probe));
    let token = relay.ids.shard_token(&tunnel.tag, &call.id);
    // It carries no header of the client (relay-42).
    let text = command_text(&call, &token, "oauth_discovery", DISCOVERY_TIMEOUT, &Headers::new());
    let command = Queued::new(call.clone(), [text.into_bytes(), Vec::new()], None);
    tunnel.enqueue(command, relay.times.client_last_seen, relay.is_warming_up()).map_err(
        |refused| match refused {
            Refused::NotSeen | Refused::NotConnected | Refused::Closed => NO_METADATA,
            refused => refusal(refused, false),
        },
    )?;
    let deadline = call.enqueued_at + DISCOVERY_TIMEOUT;
    loop {
        match call.next(deadline.min(Instant::now() + CLIENT_CHECK)) {
            Some(Item::Answer(answer)) => {
                let fits = answer.resp_type == ResponseType::OauthDiscovery;
                return Ok(answer.resp_json.filter(|piece| fits && is_metadata(piece.json())));
            }
            Some(Item::Failed(Failure::DrainedQueued | Failure::DrainedHanded)) => {
                return Err(DRAINING);
            }
            Some(Item::Failed(Failure::ClientGone | Failure::Deleted)) => return Err(NO_METADATA),
            Some(Item::Failed(_)) => return Ok(None),
            Some(Item::Notify(_)) => continue,
            None => {}
        }
        if visit.exchange.client_gone() {
            tunnel.withdraw(&call, Withdraw::ClientGone);
            return Err(NO_METADATA);
        }
        let late = [Withdraw::NotPickedUp, Withdraw::Late];
        if Instant::now() >= deadline && late.iter().any(|why| tunnel.withdraw(&call, *why)) {
            return Ok(None);
        }
    }
}

/// True if a daemon's answer is metadata: it posts an error object if it found none.
fn is_metadata(text: &str) -> bool {
    text.len() <= DOCUMENT_MAX && with_resource(text, "").is_some()
}

/// The document with another `resource`; `None` if it has none.
fn with_resource(text: &str, resource: &str) -> Option<String> {
    let members = Members::of(text).ok()?;
    members.get("resource").and_then(json::string)?;
    let quoted = json::quote(resource);
    let edits = members.spans("resource").into_iter().map(|at| (at, Cow::from(&quoted)));
    Some(json::splice(text, edits.collect()))
}

const NO_METADATA: Problem = Problem::new(404, "", "no OAuth metadata");
const NO_METHOD: Problem = Problem::new(405, "", "this path takes GET");

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // relay-42
    fn only_resource_changes_and_a_document_without_it_is_no_metadata() {
        let text = r#"{ "scopes_supported":["a"], "resource" : "http://10.0.0.1/mcp", "x":1e400}"#;
        assert_eq!(
            with_resource(text, "https://r/v1/mcp/t").unwrap(),
            r#"{ "scopes_supported":["a"], "resource" : "https://r/v1/mcp/t", "x":1e400}"#
        );
        for none in [r#"{"error":{"code":"x"}}"#, r#"{"resource":7}"#, "[]"] {
            assert!(!is_metadata(none), "{none}");
        }
    }
}

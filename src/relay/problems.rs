//! The problems that an MCP client is told about: why its message was refused, or why no answer
//! came back (relay.md, 3.5 and 3.7).

use crate::wire::jsonrpc::INVALID_REQUEST;

use super::call::Failure;
use super::reply::{DRAINING, Problem};
use super::tunnel::Refused;

/// The problem for a command that was not queued. With `not_404`, a client would take a 404 for
/// the end of its session or for an unknown method, so it gets a 503 (relay.md, 3.7; mcp-52).
pub fn refusal(refused: Refused, not_404: bool) -> Problem {
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

/// The problem for a call that ended without an answer.
pub fn failure_problem(failure: Failure) -> Problem {
    match failure {
        Failure::Undecodable => BAD_RESPONSE,
        Failure::TooLarge => RESPONSE_TOO_LARGE,
        Failure::DrainedQueued => DRAINING,
        Failure::DrainedHanded => DRAINING.maybe_delivered(),
        Failure::Deleted => DELETED.maybe_delivered(),
        Failure::ClientGone => TIMED_OUT,
    }
}

pub const BAD_CONNECTOR_KEY: Problem = Problem::new(
    401,
    "tunnel_use_forbidden",
    "the connector key is missing or not valid for this tunnel",
);
pub const TOO_MANY_WAITING: Problem =
    Problem::new(429, "rate_limit_exceeded", "too many requests wait under this key")
        .retry_after(1);
pub const NOT_HERE: Problem = Problem::new(405, "", "this path takes POST and DELETE");
pub const NOT_JSON_TYPE: Problem = Problem::new(415, "", "`Content-Type` must be application/json");
pub const NOT_ACCEPTABLE: Problem =
    Problem::new(406, "", "`Accept` must allow application/json or text/event-stream");
pub const NO_SESSION: Problem =
    Problem::new(400, "missing_mcp_session_id", "DELETE needs an `Mcp-Session-Id`");
pub const NOT_JSON: Problem =
    Problem::new(400, "invalid_json_payload", "the body is not one JSON object");
pub const TOO_DEEP: Problem =
    Problem::new(400, "invalid_json_payload", "the body is nested more than 128 levels deep");
pub const BATCH: Problem =
    Problem::new(400, "", "a batch cannot pass the tunnel; send one message per request")
        .rpc(INVALID_REQUEST);
pub const NOT_A_MESSAGE: Problem =
    Problem::new(400, "", "the body is not a JSON-RPC 2.0 message").rpc(INVALID_REQUEST);
pub const NULL_ID: Problem = Problem::new(400, "", "`id` must not be null").rpc(INVALID_REQUEST);
pub const RESPONSE_REFUSED: Problem =
    Problem::new(400, "", "this tunnel takes requests and notifications, not responses")
        .rpc(INVALID_REQUEST);
pub const NOT_PICKED_UP: Problem = Problem::new(
    503,
    "tunnel_client_not_connected",
    "no tunnel daemon picked the command up; it was not executed",
)
.retry_after(1);
pub const TIMED_OUT: Problem = Problem::new(
    504,
    "response_timeout",
    "the tunnel daemon did not answer in time; the command may have been executed",
)
.maybe_delivered();
pub const BAD_RESPONSE: Problem =
    Problem::new(502, "invalid_tunnel_response", "the tunnel daemon's response is malformed")
        .maybe_delivered();
pub const MISFIT: Problem = Problem::new(
    502,
    "invalid_tunnel_response",
    "the tunnel daemon's response does not fit the request",
)
.maybe_delivered();
pub const RESPONSE_TOO_LARGE: Problem = Problem::new(
    502,
    "response_body_too_large",
    "the tunnel daemon's response is larger than the relay accepts",
)
.maybe_delivered();
pub const NOT_ACCEPTED: Problem =
    Problem::new(502, "", "the MCP server did not accept the message").maybe_delivered();
pub const DELETED: Problem = Problem::new(404, "", "the tunnel was deleted");

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // relay-37, mcp-52
    fn a_missing_daemon_is_a_404_only_where_that_cannot_be_misread() {
        assert_eq!(refusal(Refused::NotSeen, false).status, 404);
        let problem = refusal(Refused::NotConnected, true);
        assert_eq!((problem.status, problem.retry_after), (503, Some(2)));
        assert_eq!(refusal(Refused::QueueFull, true).status, 429);
    }
}

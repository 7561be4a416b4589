//! The thread of an MCP client that waits for the answer to its message, and what it writes: one
//! answer, or an event stream (relay.md, 3.4 to 3.6).

use std::time::{Duration, Instant};

use crate::httpd::Stream;
use crate::wire::failure::FailureSource;
use crate::wire::json;
use crate::wire::{Era, Headers, RpcId};

use super::Relay;
use super::call::{Answer, CLIENT_CHECK, Call, Failure, Item, Kind};
use super::edge::{self, Accepts};
use super::problems::{MISFIT, NOT_ACCEPTED, NOT_PICKED_UP, TIMED_OUT, failure_problem};
use super::reply::{Problem, Reply, Visit};
use super::tunnel::{Tunnel, Withdraw};

/// The properties of a message that its answer depends on.
pub struct Expected {
    /// The kind of message that was sent.
    pub kind: Kind,
    /// The id of a request.
    pub id: Option<RpcId>,
    /// Which rules the client follows.
    pub era: Era,
    /// The media types that the client accepts.
    pub accepts: Accepts,
    /// True if an event stream may be opened before there is an answer.
    pub may_commit: bool,
    /// How long the daemon may take.
    pub budget: Duration,
    /// When the message arrived.
    pub started: Instant,
}

/// A thread that waits for the answer to a client's message.
pub struct Waiter<'a> {
    pub relay: &'a Relay,
    pub tunnel: &'a Tunnel,
    pub call: &'a Call,
    pub expected: &'a Expected,
    /// The URL of the server's metadata, which a challenge names.
    pub metadata_url: Option<String>,
}

/// The answer: not begun yet, or an open event stream.
enum Out<'c> {
    Fresh(Visit<'c>),
    Events(Stream<'c>),
}

/// The metrics label of an answer from behind the tunnel, or of a client that has gone.
const NO_CODE: &str = "";
/// The status under which a lost client is counted, as in other servers. It is never sent.
const CLIENT_GONE: u16 = 499;

impl Waiter<'_> {
    /// Waits and answers. Returns the status and code for the metrics.
    pub fn run(&self, visit: Visit<'_>) -> (u16, &'static str) {
        let times = &self.relay.times;
        let mut out = Out::Fresh(visit);
        let mut quiet_until = self.expected.started + times.sse_commit_after;
        loop {
            let deadline = match self.call.handed_at() {
                None => self.call.enqueued_at + times.pickup_timeout,
                Some(at) => at + self.expected.budget + times.deliver_grace,
            };
            let now = Instant::now();
            let mut wake = deadline.min(now + CLIENT_CHECK);
            if self.expected.may_commit {
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
                // The command has just been picked up, put back, or answered: check again.
                continue;
            }
            if self.expected.may_commit && now >= quiet_until {
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

    /// Passes on the answer that a daemon posted.
    fn answer(&self, out: Out<'_>, answer: Answer) -> (u16, &'static str) {
        if !self.expected.kind.fits(answer.resp_type) {
            return self.fail(out, &MISFIT);
        }
        let headers = edge::answer_headers(&answer.resp_headers, self.metadata_url.as_deref());
        let Some(piece) = &answer.resp_json else {
            return self.answer_without_body(out, &answer, headers);
        };
        let message = piece.json();
        count_failure(self.relay, message);
        let status = match self.expected.era {
            Era::Modern => edge::modern_status(answer.resp_code, message),
            Era::Legacy => edge::status_with_body(answer.resp_code),
        };
        let accepted = matches!(self.expected.kind, Kind::Notification | Kind::Response);
        if accepted && (200..300).contains(&status) {
            // A notification has no result.
            return self.fail(out, &MISFIT);
        }
        let as_events = match &out {
            Out::Events(_) => true,
            Out::Fresh(_) if !self.expected.accepts.events || accepted => false,
            // An event stream always has status 200, and the client needs any other status.
            Out::Fresh(_) => !self.expected.accepts.json || (status == 200 && is_events(&answer)),
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

    /// Answers a message that has no JSON answer: a notification, the end of a session.
    fn answer_without_body(
        &self,
        out: Out<'_>,
        answer: &Answer,
        headers: Vec<(&'static str, String)>,
    ) -> (u16, &'static str) {
        let status = edge::edge_status(answer.resp_code);
        let status = match self.expected.kind {
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

    /// Answers with a problem.
    fn fail(&self, out: Out<'_>, problem: &Problem) -> (u16, &'static str) {
        match out {
            Out::Fresh(visit) => {
                visit.reply(failure_reply(problem, self.expected.kind, self.expected.id.as_ref()));
            }
            Out::Events(stream) => {
                let text = problem.rpc_text(self.expected.id.as_ref());
                let _ = stream.finish(event_text(&text).as_bytes());
            }
        }
        (problem.status, problem.code)
    }
}

/// The reply for a message without an answer: JSON-RPC if the client sent a request.
pub fn failure_reply(problem: &Problem, kind: Kind, id: Option<&RpcId>) -> Reply {
    match (kind, id) {
        (Kind::Request, id @ Some(_)) => problem.rpc_reply(id),
        _ => problem.envelope(),
    }
}

/// One server-sent event. The message is made one line: a JSON string holds no line break.
fn event_text(message: &str) -> String {
    format!("event: message\ndata: {}\n\n", json::compact(message))
}

fn is_events(answer: &Answer) -> bool {
    let media = answer.resp_headers.get("Content-Type").and_then(|value| value.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Counts the source of a failure that a daemon names in an error of its own.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_data() {
        assert_eq!(event_text("{\n \"a\": 1\n}"), "event: message\ndata: {\"a\":1}\n\n");
    }
}

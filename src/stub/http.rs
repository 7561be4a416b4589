//! The stub over Streamable HTTP at `/mcp` (mcp.md, sections 3 and 4).
//!
//! JSON answers, except for a `slow` call whose caller gave a progress token and takes an event
//! stream. No GET stream: the stub sends nothing of its own accord.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender};

use super::answer::{self, Answer, Identity};
use super::server::{self, MESSAGE_MAX, Outcome};
use super::tools::SlowCall;
use crate::httpd::{Exchange, Head};
use crate::unpoisoned::Unpoisoned;
use crate::wire::message::{Message, NotAMessage, RpcId};
use crate::wire::{Era, era, jsonrpc};

/// Most sessions at once. The oldest one makes room, and its client starts a new one.
const SESSIONS_MAX: usize = 1_000;

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The server behind all connections.
pub struct Endpoint {
    identity: Identity,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Ids of the sessions, oldest first.
    sessions: VecDeque<String>,
    /// The slow calls of sessions that run: dropping a sender cancels its call.
    running: Vec<(String, RpcId, Sender<()>)>,
}

impl Endpoint {
    /// A server without sessions.
    pub fn new(identity: Identity) -> Self {
        Self { identity, state: Mutex::default() }
    }

    /// Serves one request.
    pub fn answer(&self, exchange: Exchange<'_>) {
        let head = exchange.head();
        let sent = if head.path != "/mcp" {
            refuse(exchange, 404, "the stub serves /mcp")
        } else if !head.headers.get("Origin").is_none_or(is_local_origin) {
            refuse(exchange, 403, "the stub answers to pages of this host only")
        } else {
            match head.method.as_str() {
                "POST" => self.post(exchange),
                "DELETE" => self.delete(exchange),
                _ => exchange.respond(405, &[("Allow", "POST, DELETE")], b""),
            }
        };
        // A client that has gone needs no answer.
        let _ = sent;
    }

    fn post(&self, mut exchange: Exchange<'_>) -> Sent {
        if let Err((status, why)) = check_types(exchange.head()) {
            return refuse(exchange, status, why);
        }
        let body = match exchange.read_body(MESSAGE_MAX) {
            Ok(body) => body,
            Err(e) => {
                let status = e.status();
                return refuse(exchange, status, &e.to_string());
            }
        };
        let message = match String::from_utf8(body).map_err(|_| NotAMessage::NotJson) {
            Ok(text) => Message::parse(text),
            Err(e) => Err(e),
        };
        let message = match message {
            Ok(message) => message,
            Err(why) => {
                let code = match why {
                    NotAMessage::NotJson => jsonrpc::PARSE_ERROR,
                    _ => jsonrpc::INVALID_REQUEST,
                };
                return send(exchange, &answer::error(None, code, &why.to_string(), None, 400));
            }
        };
        match message.era() {
            Era::Modern => self.modern(exchange, &message),
            Era::Legacy => self.legacy(exchange, &message),
        }
    }

    fn modern(&self, exchange: Exchange<'_>, message: &Message) -> Sent {
        if let Err(why) = check_headers(exchange.head(), message) {
            let error = answer::error(message.id(), jsonrpc::HEADER_MISMATCH, &why, None, 400);
            return send(exchange, &error);
        }
        match server::serve(&self.identity, message, false) {
            // Without a session it is unknown whose request it names (mcp-70).
            Outcome::Accepted | Outcome::Cancel(_) => exchange.respond(202, &[], b""),
            Outcome::Answer(answer) => send(exchange, &answer),
            Outcome::Slow(call) => {
                let (_running, cancelled) = crossbeam_channel::bounded(0);
                run(exchange, &call, &cancelled, Era::Modern)
            }
        }
    }

    fn legacy(&self, exchange: Exchange<'_>, message: &Message) -> Sent {
        let version = exchange.head().headers.get("MCP-Protocol-Version");
        if let Some(version) = version
            && !server::LEGACY_VERSIONS.contains(&version)
        {
            return refuse(exchange, 400, "MCP-Protocol-Version names no version of the stub");
        }
        if message.method() == Some("initialize") && message.id().is_some() {
            let Outcome::Answer(answer) = server::serve(&self.identity, message, false) else {
                return refuse(exchange, 500, "initialize has no answer");
            };
            let session = self.begin_session();
            let headers = [JSON, ("Mcp-Session-Id", session.as_str())];
            return exchange.respond(200, &headers, answer.text.as_bytes());
        }
        let session = match self.session(exchange.head()) {
            Ok(session) => session,
            Err((status, why)) => return refuse(exchange, status, why),
        };
        match server::serve(&self.identity, message, true) {
            Outcome::Accepted => exchange.respond(202, &[], b""),
            Outcome::Cancel(id) => {
                let is_it = |of: &String, running: &RpcId| *of == session && running.same_as(&id);
                self.state().running.retain(|(of, running, _)| !is_it(of, running));
                exchange.respond(202, &[], b"")
            }
            Outcome::Answer(Answer { text, .. }) => send(exchange, &Answer { text, status: 200 }),
            Outcome::Slow(call) => {
                let (cancel, cancelled) = crossbeam_channel::bounded(0);
                self.state().running.push((session.clone(), call.id.clone(), cancel));
                let sent = run(exchange, &call, &cancelled, Era::Legacy);
                self.state().running.retain(|(of, id, _)| !(*of == session && *id == call.id));
                sent
            }
        }
    }

    fn delete(&self, exchange: Exchange<'_>) -> Sent {
        match self.session(exchange.head()) {
            Ok(session) => {
                let mut state = self.state();
                state.sessions.retain(|known| *known != session);
                state.running.retain(|(of, ..)| *of != session);
                drop(state);
                exchange.respond(204, &[], b"")
            }
            Err((status, why)) => refuse(exchange, status, why),
        }
    }

    fn begin_session(&self) -> String {
        let id = crate::random::instance_id().expect("the system has random numbers");
        let mut state = self.state();
        if state.sessions.len() >= SESSIONS_MAX {
            state.sessions.pop_front();
        }
        state.sessions.push_back(id.clone());
        id
    }

    fn session(&self, head: &Head) -> Result<String, (u16, &'static str)> {
        let id = head.headers.session_id().ok_or((400, "Mcp-Session-Id is missing"))?;
        let known = self.state().sessions.iter().rev().any(|known| known == id);
        if known { Ok(id.to_owned()) } else { Err((404, "there is no such session")) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unpoisoned()
    }
}

type Sent = Result<(), crate::httpd::WriteError>;

/// Runs a slow call on the connection's own thread.
fn run(exchange: Exchange<'_>, call: &SlowCall, cancelled: &Receiver<()>, era: Era) -> Sent {
    let takes_events =
        exchange.head().headers.values("Accept").iter().any(|accept| {
            accept.split(',').any(|kind| kind.trim().starts_with("text/event-stream"))
        });
    let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
    if !(call.reports() && takes_events) {
        let mut step = |_| match exchange.client_gone() && era == Era::Modern {
            true => Err(gone()),
            false => Ok(()),
        };
        return match call.run(cancelled, &mut step) {
            Ok(Some(answer)) => send(exchange, &answer),
            // The protocol leaves open what a cancelled caller that still waits gets (mcp-69).
            Ok(None) => {
                let why = "the call was cancelled";
                send(
                    exchange,
                    &answer::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, why, None, 200),
                )
            }
            Err(_) => exchange.respond(500, &[], b""),
        };
    }
    let headers = [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-cache"),
        ("X-Accel-Buffering", "no"),
    ];
    let mut stream = exchange.stream(200, &headers)?;
    let answer = call.run(cancelled, &mut |notification: Option<String>| {
        // In the modern era a client that has gone has cancelled; in the legacy era it has not.
        if stream.client_gone() {
            return if era == Era::Modern { Err(gone()) } else { Ok(()) };
        }
        let text = notification.unwrap_or_default();
        let sent = stream.send(event(&text).as_bytes());
        if era == Era::Modern { sent.map_err(|e| e.cause) } else { Ok(()) }
    });
    match answer {
        Ok(Some(answer)) => stream.finish(event(&answer.text).as_bytes()),
        Ok(None) => stream.finish(b""),
        Err(_) => Ok(()),
    }
}

fn event(text: &str) -> String {
    format!("event: message\ndata: {text}\n\n")
}

fn send(exchange: Exchange<'_>, answer: &Answer) -> Sent {
    exchange.respond(answer.status, &[JSON], answer.text.as_bytes())
}

fn refuse(exchange: Exchange<'_>, status: u16, why: &str) -> Sent {
    let body = format!("{why}\n");
    exchange.respond(status, &[("Content-Type", "text/plain")], body.as_bytes())
}

/// A page of this host may use the stub; one of another host may not (DNS rebinding).
fn is_local_origin(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn check_types(head: &Head) -> Result<(), (u16, &'static str)> {
    let content = head.headers.get("Content-Type").unwrap_or("");
    if !content.to_ascii_lowercase().starts_with("application/json") {
        return Err((415, "a message is sent as application/json"));
    }
    let accept = head.headers.values("Accept").join(",").to_ascii_lowercase();
    let known = ["application/json", "text/event-stream", "application/*", "*/*"];
    if !accept.is_empty() && !known.iter().any(|kind| accept.contains(kind)) {
        return Err((406, "the stub answers in application/json or text/event-stream"));
    }
    Ok(())
}

/// The headers of a modern request must say what its body says (mcp.md, section 4).
fn check_headers(head: &Head, message: &Message) -> Result<(), String> {
    let version = message.version().map(Cow::Borrowed);
    let mut expected = vec![("MCP-Protocol-Version", version)];
    if message.id().is_some() {
        expected.push(("Mcp-Method", message.method().map(Cow::Borrowed)));
    }
    if message.method() == Some("tools/call") {
        expected.push(("Mcp-Name", message.name()));
    }
    for (name, in_body) in expected {
        let Some(in_body) = in_body else { continue };
        let header =
            head.headers.get(name).ok_or_else(|| format!("the header {name} is missing"))?;
        if era::from_header(header).as_deref() != Some(in_body.as_ref()) {
            return Err(format!("the header {name} differs from the body"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::httpd::{Bind, Limits, Running, Server};
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn start() -> Running {
        let identity = Identity { name: "stub".to_owned(), version: "1".to_owned() };
        let endpoint = Endpoint::new(identity);
        let bind = Bind::Tcp("127.0.0.1:0".parse().unwrap());
        let server = Server::bind(&bind, Limits::with_connections(8)).unwrap();
        server.serve("stub", move |exchange| endpoint.answer(exchange)).unwrap()
    }

    /// Sends a request and returns its connection.
    fn send(running: &Running, method: &str, headers: &str, body: &str) -> TcpStream {
        let Bind::Tcp(address) = running.local() else { panic!("not TCP") };
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "{method} /mcp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    fn ask(running: &Running, method: &str, headers: &str, body: &str) -> String {
        let mut answer = String::new();
        send(running, method, headers, body).read_to_string(&mut answer).unwrap();
        answer
    }

    fn begin(running: &Running) -> String {
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
        let answer = ask(running, "POST", "", body);
        let line = answer.lines().find(|l| l.starts_with("Mcp-Session-Id")).unwrap();
        format!("{line}\r\n")
    }

    const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

    #[test] // mcp-44, mcp-45
    fn a_session_begins_with_initialize_and_ends_with_delete() {
        let running = start();
        assert!(ask(&running, "POST", "", LIST).starts_with("HTTP/1.1 400"));
        assert!(ask(&running, "POST", "Mcp-Session-Id: x\r\n", LIST).starts_with("HTTP/1.1 404"));
        let session = begin(&running);
        assert!(ask(&running, "POST", &session, LIST).contains(r#""name":"echo""#));
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert!(ask(&running, "POST", &session, notification).starts_with("HTTP/1.1 202"));
        assert!(ask(&running, "GET", &session, "").starts_with("HTTP/1.1 405"));
        assert!(ask(&running, "DELETE", &session, "").starts_with("HTTP/1.1 204"));
        assert!(ask(&running, "POST", &session, LIST).starts_with("HTTP/1.1 404"));
    }

    fn slow(steps: u32, delay_ms: u32) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":"s","method":"tools/call","params":{{"name":"slow","arguments":{{"steps":{steps},"delay_ms":{delay_ms}}},"_meta":{{"progressToken":7}}}}}}"#
        )
    }

    #[test]
    fn a_slow_call_streams_its_progress_to_those_who_take_events() {
        let running = start();
        let session = begin(&running);
        let events = format!("{session}Accept: application/json, text/event-stream\r\n");
        let answer = ask(&running, "POST", &events, &slow(2, 0));
        assert!(answer.contains("Content-Type: text/event-stream"));
        assert_eq!(answer.matches("data: ").count(), 3, "{answer}");
        let json = format!("{session}Accept: application/json\r\n");
        let answer = ask(&running, "POST", &json, &slow(2, 0));
        assert!(answer.contains("Content-Type: application/json"));
        assert!(answer.contains("2 steps"));
    }

    #[test] // mcp-38
    fn a_cancelled_notification_ends_the_stream_of_its_call_in_its_session_only() {
        let running = start();
        let (session, other) = (begin(&running), begin(&running));
        let events = format!("{session}Accept: text/event-stream\r\n");
        let mut call = send(&running, "POST", &events, &slow(10_000, 60_000));
        let mut head = [0; 12];
        call.read_exact(&mut head).unwrap();
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s"}}"#;
        assert!(ask(&running, "POST", &other, cancel).starts_with("HTTP/1.1 202"));
        assert!(ask(&running, "POST", &session, cancel).starts_with("HTTP/1.1 202"));
        let mut rest = String::new();
        call.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("result"), "{rest}");
    }

    #[test] // mcp-29, mcp-49
    fn a_modern_request_needs_headers_that_agree_with_its_body() {
        let running = start();
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
        let good = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n";
        let answer = ask(&running, "POST", &format!("{good}Mcp-Name: echo\r\n"), body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(!answer.contains("Mcp-Session-Id"));
        let wrapped = format!("{good}Mcp-Name: =?base64?ZWNobw==?=\r\n");
        assert!(ask(&running, "POST", &wrapped, body).starts_with("HTTP/1.1 200"));
        for headers in ["", good, &format!("{good}Mcp-Name: Echo\r\n")] {
            let answer = ask(&running, "POST", headers, body);
            assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("-32020"), "{answer}");
        }
    }

    #[test]
    fn pages_of_other_hosts_and_other_types_are_refused() {
        let running = start();
        let answer = ask(&running, "POST", "Origin: https://evil.example\r\n", LIST);
        assert!(answer.starts_with("HTTP/1.1 403"));
        let answer = ask(&running, "POST", "Accept: text/html\r\n", LIST);
        assert!(answer.starts_with("HTTP/1.1 406"));
        assert!(ask(&running, "POST", "", "[]").contains("-32600"));
        assert!(is_local_origin("http://localhost:3000") && is_local_origin("http://[::1]:1"));
        assert!(!is_local_origin("http://localhost.evil.example"));
    }
}

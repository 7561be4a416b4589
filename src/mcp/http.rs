//! A private MCP server behind Streamable HTTP (forwarding.md, section 9; mcp.md, M-28 to M-41).
//!
//! Each message is one POST with its own answer: JSON, or a stream of events that ends with it.

mod stream;

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ureq::http::{Method, Uri};

use super::classify::{of_net, protocol};
use super::headers::{self, RequestHeaders};
use super::{Answer, Bounds, CallError, Receipt};
use crate::net::client::{self, BodyError, ClientConfig};
use crate::net::{
    Cancel, Client, Ledger, NetError, NetErrorKind, Outgoing, Proxy, Reply, SecretHeaders, Tls,
};
use crate::observed::{Catalog, ServerState, Sessions};
use crate::unpoisoned::Unpoisoned;
use crate::wire::{
    ChannelName, Era, Failure, FailureKind as Kind, FailureSource, Headers, MESSAGE_MAX, Message,
    MessageKind, RpcId, jsonrpc,
};

/// Bytes of a failed answer's body that are looked at (F-35).
const ERROR_BODY_MAX: usize = 102_400;

/// How long a connection to the server may lie idle and still be used: below the 5 s after
/// which the usual servers (Node, uvicorn) close. A message must never meet a closing server,
/// since it can not be sent again.
const IDLE: Duration = Duration::from_secs(3);

/// How long an answer to a server's own request, or a late cancel, may take: they are courtesy,
/// and a worker waits for them.
const COURTESY_LIMIT: Duration = Duration::from_secs(2);

/// Headers of the operator's for one server: they go to its URL alone (F-46).
#[derive(Debug, Clone, Default)]
pub struct FixedHeaders {
    /// With every request.
    pub always: SecretHeaders,
    /// With those that the tunnel makes itself to find out about the server; they beat the
    /// others (F-47).
    pub discovery: SecretHeaders,
}

/// How a server is reached.
#[derive(Debug, Clone, Default)]
pub struct HttpWay {
    /// Whom to believe and who we are; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// A unix socket to connect to instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// A proxy to go through.
    pub proxy: Option<Proxy>,
    /// Where exchanges are noted.
    pub ledger: Ledger,
}

/// The pattern of a path, for metrics: what is configured may hold a secret.
pub fn route(path: &str) -> &'static str {
    if path.starts_with("/.well-known/") { "/.well-known" } else { "/{mcp}" }
}

/// One HTTP server and the channel that it serves; shared by all workers.
pub struct HttpBinding {
    url: Uri,
    client: ClientConfig,
    fixed: Mutex<FixedHeaders>,
    state: Arc<ServerState>,
    catalog: Catalog,
    sessions: Sessions,
    /// The calls of sessions that wait for their answers, at most one of each worker.
    running: Mutex<Vec<Running>>,
}

/// A call that a cancel of its session can end.
struct Running {
    session: String,
    id: RpcId,
    cancel: Cancel,
}

impl fmt::Debug for HttpBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpBinding({})", self.state.name())
    }
}

impl HttpBinding {
    /// A server at `url`, reached by `way`; `fixed` headers go with the requests to it.
    pub fn new(channel: ChannelName, url: Uri, way: HttpWay, fixed: FixedHeaders) -> Arc<Self> {
        let HttpWay { tls, unix_socket, proxy, ledger } = way;
        let client = ClientConfig {
            tls,
            unix_socket,
            proxy,
            idle: IDLE,
            linger: None,
            secrets_keep_path: true,
            ledger,
        };
        let state = Arc::new(ServerState::new(channel));
        let sessions = Sessions::default();
        Arc::new(Self {
            url,
            client,
            fixed: Mutex::new(fixed),
            state,
            catalog: Catalog::default(),
            sessions,
            running: Mutex::default(),
        })
    }

    /// Whether the server answers.
    pub fn state(&self) -> &Arc<ServerState> {
        &self.state
    }

    /// What the server has said of itself.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Scheme, host and port, for log lines.
    pub fn origin(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or("http");
        let host = self.url.host().unwrap_or_default();
        match self.url.port_u16() {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }

    /// Connects and nothing more: a server that takes connections is taken to be there.
    pub fn connect(&self, limit: Instant, cancel: &Cancel) {
        match client::connect(&self.client, &self.url, limit, cancel) {
            Ok(()) => self.state.reached(),
            Err(error) if error.kind == NetErrorKind::Cancelled => {}
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &NetError) {
        self.state.failed(&format!("{}: {error}", self.origin()));
    }

    /// The way to this server for one thread; `cancel` ends its exchanges.
    pub fn hop(self: &Arc<Self>, cancel: Cancel) -> HttpHop {
        let client = RefCell::new(self.revocable_client(&cancel));
        let binding = Arc::clone(self);
        HttpHop { binding, cancel, client, discovers: false, open: RefCell::new(None) }
    }

    /// The way for requests that the tunnel makes itself, to find out about the server.
    pub fn discovery_hop(self: &Arc<Self>, cancel: Cancel) -> HttpHop {
        let mut hop = self.hop(cancel);
        hop.discovers = true;
        hop
    }

    /// The endpoint.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// A client for questions of the tunnel's own on any path of the server's origin: there the
    /// operator's headers go along (F-47).
    pub fn question_client(&self, cancel: Cancel) -> Client {
        Client::new(ClientConfig { secrets_keep_path: false, ..self.client.clone() }, cancel)
    }

    /// The headers of such a question.
    pub fn question_headers(&self) -> RequestHeaders {
        let fixed = self.fixed();
        let operators: SecretHeaders =
            fixed.always.iter().chain(&fixed.discovery).cloned().collect();
        headers::for_question(&operators)
    }

    /// Sends other fixed headers from the next request on.
    pub fn renew(&self, fixed: FixedHeaders) {
        *self.fixed() = fixed;
    }

    fn fixed(&self) -> MutexGuard<'_, FixedHeaders> {
        self.fixed.lock().unpoisoned()
    }

    /// Whether connections go to a unix socket.
    pub fn is_unix(&self) -> bool {
        self.client.unix_socket.is_some()
    }

    /// A client whose exchange can be ended alone. Without a descriptor for that (`None`) it ends
    /// with all others.
    fn revocable_client(&self, cancel: &Cancel) -> (Client, Option<Cancel>) {
        let alone = cancel.child().ok();
        let cancel = alone.clone().unwrap_or_else(|| cancel.clone());
        (Client::new(self.client.clone(), cancel), alone)
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unpoisoned()
    }

    /// Ends the wait for an answer that a session has given up.
    fn withdraw(&self, session: &str, id: &RpcId) {
        let running = self.running();
        let named = |call: &&Running| call.session == session && call.id.same_as(id);
        if let Some(call) = running.iter().find(named) {
            call.cancel.cancel();
        }
    }
}

/// One thread's way to an HTTP server.
pub struct HttpHop {
    binding: Arc<HttpBinding>,
    cancel: Cancel,
    /// With the switch that ends its exchange alone.
    client: RefCell<(Client, Option<Cancel>)>,
    /// Its requests are the tunnel's own.
    discovers: bool,
    /// The stream of the last answer, whose end may not have arrived yet.
    open: RefCell<Option<Reply>>,
}

/// What an exchange with the server is for: the id that is waited for, and what all its
/// requests share.
struct Exchange<'a> {
    id: &'a RpcId,
    headers: RequestHeaders,
    bounds: &'a Bounds,
    modern: bool,
}

impl HttpHop {
    fn fixed(&self) -> SecretHeaders {
        let fixed = self.binding.fixed();
        let mut headers = fixed.always.clone();
        if self.discovers {
            // Of one name the last counts.
            headers.extend_from_slice(&fixed.discovery);
        }
        headers
    }

    /// The server's state cell.
    pub fn state(&self) -> &ServerState {
        &self.binding.state
    }

    /// Sends a request and waits for its answer. Notifications before it are given away in
    /// order; when one is told that nobody waits any more, the call ends.
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
        let exchange = Exchange {
            id,
            headers: headers::for_message(message, command, &self.fixed()),
            bounds,
            modern: message.era() == Era::Modern,
        };
        let call = self.begin(message, command, exchange.modern);
        let answered =
            self.post(message.text(), exchange.headers.clone(), bounds.limit).and_then(|reply| {
                self.seen_session(command, &reply);
                self.answer(&exchange, reply, on_notification)
            });
        if call.is_some_and(|call| self.end(&call)) && answered.is_err() {
            return Ok(withdrawn(id));
        }
        match &answered {
            Ok(answer) => self.binding.catalog.learn(message, &answer.json),
            // A server that was never reached has nothing to stop.
            Err(CallError::TimedOut) if self.client.borrow().0.wrote() => {
                self.cancel(message, &exchange, "the time for the answer has passed");
            }
            Err(CallError::Unwanted) => {
                self.cancel(message, &exchange, "nobody waits for the answer any more");
            }
            _ => {}
        }
        answered
    }

    /// Makes a call one that a cancel of its session can end. `initialize` is never cancelled
    /// (M-21), and without a session nothing says whose id it is.
    fn begin(&self, message: &Message, command: &Headers, modern: bool) -> Option<Cancel> {
        let cancel = self.client.borrow().1.clone()?;
        let session = command.get("Mcp-Session-Id").filter(|_| !modern)?.to_owned();
        let id = message.id().filter(|_| message.method() != Some("initialize"))?.clone();
        self.binding.running().push(Running { session, id, cancel: cancel.clone() });
        Some(cancel)
    }

    /// What ends the exchange of this hop: a cancel of its call, or the end of all.
    fn switch(&self) -> Cancel {
        self.client.borrow().1.clone().unwrap_or_else(|| self.cancel.clone())
    }

    /// The call of `cancel` is over; returns whether it was withdrawn.
    fn end(&self, cancel: &Cancel) -> bool {
        self.binding.running().retain(|call| !call.cancel.is(cancel));
        let withdrawn = cancel.is_cancelled() && !self.cancel.is_cancelled();
        if withdrawn {
            self.client.replace(self.binding.revocable_client(&self.cancel));
        }
        withdrawn
    }

    /// Gives the connection of the last answer back to the pool if its stream has ended by now,
    /// and closes it otherwise. To be called once the answer is on its way: the end of a stream
    /// comes a moment after the answer.
    pub fn settle(&self) {
        self.open.take();
    }

    /// Delivers a notification.
    pub fn notify(
        &self,
        message: &Message,
        command: &Headers,
        bounds: &Bounds,
    ) -> Result<Receipt, CallError> {
        let headers = headers::for_message(message, command, &self.fixed());
        let reply = self.post(message.text(), headers, bounds.limit)?;
        self.seen_session(command, &reply);
        let status = reply.status.as_u16();
        self.seen(status);
        let received = headers::received(&reply.headers);
        reply.drain();
        if !(200..300).contains(&status) {
            let failure = Failure::of_answer(status, Kind::InvalidMcpError);
            return Err(CallError::Failed(failure, received));
        }
        // The server knows, and need not answer any more: some never do (M-69).
        if let (Some(session), Some(id)) = (command.get("Mcp-Session-Id"), message.cancelled_id()) {
            self.binding.withdraw(session, &id);
        }
        Ok(Receipt { status, headers: received })
    }

    /// Ends the session that the command's headers name (F-54). Any status is an answer.
    pub fn terminate(&self, command: &Headers, bounds: &Bounds) -> Result<Receipt, CallError> {
        let headers = headers::for_termination(command, &self.binding.fixed().always);
        let reply = self.send(Method::DELETE, headers, None, bounds.limit)?;
        self.binding.state.reached();
        let receipt =
            Receipt { status: reply.status.as_u16(), headers: headers::received(&reply.headers) };
        reply.drain();
        Ok(receipt)
    }

    fn post(
        &self,
        text: &str,
        headers: RequestHeaders,
        limit: Instant,
    ) -> Result<Reply, CallError> {
        self.send(Method::POST, headers, Some(text.as_bytes()), limit)
    }

    fn send(
        &self,
        method: Method,
        headers: RequestHeaders,
        body: Option<&[u8]>,
        limit: Instant,
    ) -> Result<Reply, CallError> {
        let RequestHeaders { open: headers, secret: secrets } = headers;
        self.client
            .borrow()
            .0
            .send(&Outgoing { method, uri: &self.binding.url, headers, secrets, body, limit })
            .map_err(|error| self.failed(&error))
    }

    /// What an answer tells of the session that the message belongs to.
    fn seen_session(&self, command: &Headers, reply: &Reply) {
        let (name, status) = (self.state().name(), reply.status.as_u16());
        let (asked, named) = (command.session_id(), reply.header("mcp-session-id"));
        self.binding.sessions.answered(name, asked, status, named);
    }

    /// What a status without a message of MCP tells of the server. Of the tunnel's own requests
    /// the probe judges that.
    fn seen(&self, status: u16) {
        let state = &self.binding.state;
        match status {
            500.. => {
                let origin = self.binding.origin();
                state.failed(&format!("{origin} answers with status {status}"));
            }
            401 => state.asked_for_authorization(),
            _ if self.discovers => {}
            // Also said of a session that has ended: the probe finds out.
            404 | 405 => state.doubted(),
            _ => state.reached(),
        }
    }

    fn failed(&self, error: &NetError) -> CallError {
        let report = of_net(error);
        if matches!(report, CallError::Failed(..)) {
            self.binding.failed(error);
        }
        report
    }

    fn answer(
        &self,
        exchange: &Exchange<'_>,
        reply: Reply,
        on_notification: &mut dyn FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<Answer, CallError> {
        let status = reply.status.as_u16();
        let received = headers::received(&reply.headers);
        if !(200..300).contains(&status) {
            let refused = refusal(exchange.id, status, received, reply);
            match refused {
                // An MCP error is the server's own word, whatever its status.
                Ok(_) => self.binding.state.answered(),
                Err(_) => self.seen(status),
            }
            return refused;
        }
        self.seen(status);
        let answered = match media_type(&received).as_str() {
            "text/event-stream" => self.stream(exchange, status, &received, reply, on_notification),
            media if is_json(media) => self.body(exchange, reply).map(|json| Answer {
                status,
                headers: received.clone(),
                json,
            }),
            _ => {
                reply.drain();
                Err(Failure::of_answer(status, Kind::NonProtocolResponse).into())
            }
        };
        match &answered {
            Ok(_) => self.binding.state.answered(),
            Err(CallError::Failed(failure, _))
                if !self.discovers && failure.source == FailureSource::Protocol =>
            {
                self.binding.state.doubted();
            }
            Err(_) => {}
        }
        answered.map_err(|error| match error {
            // What the server said of itself and of the session is said on (F-41).
            CallError::Failed(failure, _) => CallError::Failed(failure, received),
            other => other,
        })
    }

    /// The answer in a body that is one message.
    fn body(&self, exchange: &Exchange<'_>, reply: Reply) -> Result<String, CallError> {
        let body = reply.bytes(MESSAGE_MAX).map_err(|error| match error {
            BodyError::TooLarge => protocol(Kind::ResponseBodyTooLarge).into(),
            BodyError::Net(error) => self.failed(&error),
        })?;
        terminal(exchange.id, &body).map_err(CallError::from)
    }

    /// Answers a request of the server's: nothing of this protocol could carry it to the remote
    /// client (B-3, M-10). The call goes on whatever becomes of the answer.
    fn answer_server(&self, exchange: &Exchange<'_>, id: &RpcId, method: &str) {
        if exchange.modern {
            // A stateless server sends no requests, and no response may be posted to it (M-32).
            log::warn!(channel:% = self.state().name(); "request from a stateless MCP server ignored");
            return;
        }
        self.courtesy(&jsonrpc::answer_to_server(id, method), exchange);
    }

    /// Tells the server that nobody waits any more (B-11, M-38). A stateless server sees the
    /// closed stream instead.
    fn cancel(&self, message: &Message, exchange: &Exchange<'_>, reason: &str) {
        if exchange.modern || message.method() == Some("initialize") {
            return;
        }
        self.courtesy(&jsonrpc::cancel(exchange.id, reason), exchange);
    }

    fn courtesy(&self, text: &str, exchange: &Exchange<'_>) {
        let limit = Instant::now() + COURTESY_LIMIT;
        match self.post(text, exchange.headers.clone(), limit) {
            Ok(reply) => reply.drain(),
            Err(error) => log::debug!(
                channel:% = self.state().name();
                "a message of the tunnel's own did not reach the MCP server: {error:?}"
            ),
        }
    }
}

/// The answer to a request that the server refused: its own MCP error, or a report (F-35, F-36).
fn refusal(
    id: &RpcId,
    status: u16,
    mut received: Headers,
    reply: Reply,
) -> Result<Answer, CallError> {
    let kind = match reply.bytes(ERROR_BODY_MAX) {
        Err(BodyError::TooLarge) => Kind::ResponseBodyTooLarge,
        Err(BodyError::Net(_)) => Kind::ResponseBodyUnreadable,
        Ok(body) => match mcp_error(id, &body) {
            Ok(json) => {
                received.set("Content-Type", "application/json");
                return Ok(Answer { status, headers: received, json });
            }
            Err(kind) => kind,
        },
    };
    Err(CallError::Failed(Failure::of_answer(status, kind), received))
}

/// A body that is a valid MCP error for `id` (F-35), as text with the id restored.
fn mcp_error(id: &RpcId, body: &[u8]) -> Result<String, Kind> {
    use crate::wire::json::Members;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Kind::ResponseBodyMissing);
    }
    let text = std::str::from_utf8(body).map_err(|_| Kind::MalformedJson)?;
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Err(Kind::MalformedJson);
    }
    let message = Message::parse(text).map_err(|_| Kind::InvalidMcpError)?;
    let members = Members::of(text).map_err(|_| Kind::InvalidMcpError)?;
    let error = members.get("error").and_then(|error| Members::of(error).ok());
    let complete = error.is_some_and(|error| {
        error.get("code").is_some_and(|code| code.parse::<i64>().is_ok())
            && error.get("message").is_some_and(|text| text.starts_with('"'))
    });
    let pure = !members.has("method") && !members.has("result");
    let same = message.id().is_some_and(|theirs| theirs.same_as(id));
    if complete && pure && same { Ok(with_id(id, message)) } else { Err(Kind::InvalidMcpError) }
}

/// The answer to `id` in a JSON body.
fn terminal(id: &RpcId, body: &[u8]) -> Result<String, Failure> {
    let text = std::str::from_utf8(body).map_err(|_| protocol(Kind::MalformedJson))?;
    if text.trim().is_empty() {
        return Err(protocol(Kind::ResponseBodyMissing));
    }
    let message = Message::parse(text.trim()).map_err(|error| match error {
        crate::wire::message::NotAMessage::NotJson => protocol(Kind::MalformedJson),
        _ => protocol(Kind::InvalidProtocolResponse),
    })?;
    restored(id, message)
}

/// The text of a response to `id`, with the id as the remote client spelt it (M-1).
fn restored(id: &RpcId, message: Message) -> Result<String, Failure> {
    match message.kind() {
        MessageKind::Response { id: Some(theirs), .. } if theirs.same_as(id) => {
            Ok(with_id(id, message))
        }
        _ => Err(protocol(Kind::InvalidProtocolResponse)),
    }
}

fn with_id(id: &RpcId, message: Message) -> String {
    if message.id() == Some(id) { message.into_text() } else { message.text_with_id(id.as_json()) }
}

/// The media type in lower case, without parameters.
fn media_type(headers: &Headers) -> String {
    let value = headers.get("Content-Type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `application/json` and its kin (B-23).
fn is_json(media: &str) -> bool {
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// The answer to a call that its session has cancelled.
fn withdrawn(id: &RpcId) -> Answer {
    let mut headers = Headers::new();
    headers.set("Content-Type", "application/json");
    Answer { status: 200, headers, json: jsonrpc::cancelled(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RpcId {
        RpcId::from_json(text).unwrap()
    }

    #[test] // F-35
    fn an_error_body_is_an_mcp_error_or_says_why_not() {
        let judge = |body: &str| mcp_error(&id("7"), body.as_bytes());
        let good =
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32003,"message":"m","x":1e400},"y":2}"#;
        assert_eq!(judge(good).as_deref(), Ok(good));
        for (body, kind) in [
            ("", Kind::ResponseBodyMissing),
            (" \n", Kind::ResponseBodyMissing),
            ("<html>", Kind::MalformedJson),
            ("data: {}", Kind::MalformedJson),
            ("{}", Kind::InvalidMcpError),
            ("[]", Kind::InvalidMcpError),
            (r#"{"jsonrpc":"2.0","id":8,"error":{"code":1,"message":"m"}}"#, Kind::InvalidMcpError),
            (
                r#"{"jsonrpc":"2.0","id":"7","error":{"code":1,"message":"m"}}"#,
                Kind::InvalidMcpError,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":1.5,"message":"m"}}"#,
                Kind::InvalidMcpError,
            ),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":1}}"#, Kind::InvalidMcpError),
            (
                r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":1,"message":"m"}}"#,
                Kind::InvalidMcpError,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"x","error":{"code":1,"message":"m"}}"#,
                Kind::InvalidMcpError,
            ),
        ] {
            assert_eq!(judge(body), Err(kind), "{body}");
        }
    }

    #[test] // M-1
    fn the_id_goes_back_as_the_client_spelt_it() {
        let answer = terminal(&id("1.0"), br#"{"jsonrpc":"2.0","id":1,"result":{"n":1e400}}"#);
        assert_eq!(answer.unwrap(), r#"{"jsonrpc":"2.0","id":1.0,"result":{"n":1e400}}"#);
    }

    #[test] // F-21, F-32
    fn a_body_that_is_no_answer_to_this_request_is_a_protocol_failure() {
        for (body, kind) in [
            ("", Kind::ResponseBodyMissing),
            ("{", Kind::MalformedJson),
            ("[]", Kind::InvalidProtocolResponse),
            (r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, Kind::InvalidProtocolResponse),
            (r#"{"jsonrpc":"2.0","method":"n"}"#, Kind::InvalidProtocolResponse),
        ] {
            let failure = terminal(&id("1"), body.as_bytes()).unwrap_err();
            assert_eq!((failure.kind, failure.resp_code()), (kind, 502), "{body}");
        }
    }

    #[test] // B-23
    fn json_has_many_spellings() {
        let media = |value: &str| {
            let mut headers = Headers::new();
            headers.append("content-type", value);
            media_type(&headers)
        };
        assert!(is_json(&media("Application/JSON; charset=utf-8")));
        assert!(is_json(&media("application/problem+json")));
        assert!(!is_json(&media("text/html")));
    }
}

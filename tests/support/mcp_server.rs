//! A Streamable HTTP MCP server whose every answer a test can script. Unscripted, it is a legacy
//! server without tools that answers whatever it is asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::value::RawValue;

use super::PATIENCE;
use super::http::{Answer, Request, Server};

#[derive(Default)]
struct State {
    once: HashMap<String, VecDeque<Answer>>,
    always: HashMap<String, Answer>,
    requests: VecDeque<(String, Request)>,
    count: HashMap<String, usize>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Requests are told apart by their kind: the JSON-RPC method of a POST (`tools/call`), else the
/// HTTP method (`GET`, `DELETE`, or `POST` for a body that names none). Those of the tunnel's OAuth
/// discovery have kinds of their own: `challenge POST` and `challenge GET` at the endpoint, and the
/// path of everything under `/.well-known/`, which does not exist unless scripted. In the body of an answer
/// `$ID` stands for the id of the request, as it was written.
pub struct McpServer {
    shared: Arc<Shared>,
    server: Server,
}

impl McpServer {
    pub fn start() -> McpServer {
        McpServer::start_on(0)
    }

    /// On a given port: a server that comes back where it was.
    pub fn start_on(port: u16) -> McpServer {
        let shared = Arc::<Shared>::default();
        let handler = shared.clone();
        let server = Server::start_on(port, move |request, _| handler.answer(request));
        McpServer { shared, server }
    }

    /// The MCP endpoint.
    pub fn url(&self) -> String {
        format!("{}/mcp", self.server.url())
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The next request of this kind gets this answer; several wait in line.
    pub fn on(&self, kind: &str, answer: Answer) {
        let mut state = self.shared.state.lock().unwrap();
        state.once.entry(kind.to_owned()).or_default().push_back(answer);
    }

    /// Every request of this kind gets this answer; [`Self::on`] goes first.
    pub fn always(&self, kind: &str, answer: Answer) {
        self.shared.state.lock().unwrap().always.insert(kind.to_owned(), answer);
    }

    /// Waits for the next request of this kind; others stay where they are.
    pub fn next(&self, kind: &str) -> Request {
        let end = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(at) = state.requests.iter().position(|(k, _)| k == kind) {
                return state.requests.remove(at).unwrap().1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("the MCP server waited {PATIENCE:?} in vain for {kind}");
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// How many requests of this kind have come since the start.
    pub fn count(&self, kind: &str) -> usize {
        self.shared.state.lock().unwrap().count.get(kind).copied().unwrap_or(0)
    }
}

impl Shared {
    fn answer(&self, request: Request) -> Answer {
        let (kind, id) = kind_and_id(&request);
        let mut state = self.state.lock().unwrap();
        *state.count.entry(kind.clone()).or_default() += 1;
        let scripted = state.once.get_mut(&kind).and_then(VecDeque::pop_front);
        let answer = scripted
            .or_else(|| state.always.get(&kind).cloned())
            .unwrap_or_else(|| unscripted(&kind, id.is_some()));
        state.requests.push_back((kind, request));
        self.changed.notify_all();
        answer.fill("$ID", id.as_deref().unwrap_or("null"))
    }
}

fn kind_and_id(request: &Request) -> (String, Option<String>) {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        method: Option<String>,
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    if request.body.is_empty() && request.header("Accept") == Some("application/json") {
        return match request.path().starts_with("/.well-known/") {
            true => (request.path().to_owned(), None),
            false => (format!("challenge {}", request.method), None),
        };
    }
    match serde_json::from_slice::<Message>(&request.body) {
        Ok(message) => (
            message.method.unwrap_or(request.method.clone()),
            message.id.map(|id| id.get().to_owned()),
        ),
        Err(_) => (request.method.clone(), None),
    }
}

fn unscripted(kind: &str, is_request: bool) -> Answer {
    let result = |result: &str| {
        Answer::json(200, format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#))
    };
    match kind {
        "GET" | "challenge GET" => Answer::status(405),
        "challenge POST" => Answer::status(400),
        kind if kind.starts_with('/') => Answer::json(404, r#"{"error":"not found"}"#),
        "DELETE" => Answer::status(204),
        "initialize" => result(
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"scripted","version":"1.0.0"}}"#,
        ),
        "server/discover" => Answer::json(
            200,
            r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32601,"message":"Method not found"}}"#,
        ),
        "tools/list" => result(r#"{"tools":[]}"#),
        _ if is_request => result("{}"),
        _ => Answer::status(202),
    }
}

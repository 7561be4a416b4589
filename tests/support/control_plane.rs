//! A control plane whose every answer a test can script. Unscripted, it hands out the commands
//! that were pushed, answers an idle poll with 204 when its time is over, and takes every response.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use serde_json::value::RawValue;

use super::PATIENCE;
use super::http::{Answer, Peer, Request, Server};

pub const TUNNEL_ID: &str = "tunnel_0123456789abcdefghijklmnopqrstuv";
pub const API_KEY: &str = "test-runtime-key-of-32-characters-or-more";

/// One command in the making; [`Command::text`] is what the poll answer holds. Members are raw
/// JSON text, so a test can send what no encoder would.
#[derive(Clone)]
pub struct Command {
    members: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

impl Command {
    /// A `jsonrpc` command that carries `message` as it is.
    pub fn jsonrpc(request_id: &str, message: &str) -> Command {
        Command::of("jsonrpc", request_id).member("jsonrpc", message)
    }

    /// A `jsonrpc` command with a request; `id` and `params` are JSON text.
    pub fn call(request_id: &str, id: &str, method: &str, params: &str) -> Command {
        let message =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        Command::jsonrpc(request_id, &message)
    }

    pub fn termination(request_id: &str, session: &str) -> Command {
        Command::of("session_termination", request_id).header("Mcp-Session-Id", session)
    }

    pub fn of(command_type: &str, request_id: &str) -> Command {
        let text = |value: &str| Value::from(value).to_string();
        Command { members: Vec::new(), headers: Vec::new() }
            .member("request_id", &text(request_id))
            .member("shard_token", &text(&format!("shard-of-{request_id}")))
            .member("command_type", &text(command_type))
            .member("channel", r#""main""#)
            .member("created_at", r#""2026-02-03T04:05:06Z""#)
            .member("response_timeout", r#""60s""#)
    }

    /// Sets a member to JSON text, in the place of an earlier one of that name.
    pub fn member(mut self, name: &str, json: &str) -> Command {
        match self.members.iter_mut().find(|(n, _)| n == name) {
            Some(member) => member.1 = json.to_owned(),
            None => self.members.push((name.to_owned(), json.to_owned())),
        }
        self
    }

    pub fn without(mut self, name: &str) -> Command {
        self.members.retain(|(n, _)| n != name);
        self
    }

    /// Adds one value of one header; values of one name are kept together.
    pub fn header(mut self, name: &str, value: &str) -> Command {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn response_timeout(self, timeout: &str) -> Command {
        self.member("response_timeout", &Value::from(timeout).to_string())
    }

    pub fn channel(self, channel: &str) -> Command {
        self.member("channel", &Value::from(channel).to_string())
    }

    pub fn text(&self) -> String {
        let mut headers: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, value) in &self.headers {
            match headers.iter_mut().find(|(n, _)| n == name) {
                Some(header) => header.1.push(value),
                None => headers.push((name, vec![value])),
            }
        }
        let mut members: Vec<String> =
            self.members.iter().map(|(n, v)| format!("{}:{v}", Value::from(n.as_str()))).collect();
        if !headers.is_empty() {
            let headers: serde_json::Map<String, Value> =
                headers.into_iter().map(|(n, v)| (n.to_owned(), Value::from(v))).collect();
            members.push(format!(r#""headers":{}"#, Value::from(headers)));
        }
        format!("{{{}}}", members.join(","))
    }
}

impl From<Command> for String {
    fn from(command: Command) -> String {
        command.text()
    }
}

/// One response POST of the daemon.
#[derive(Clone, Debug)]
pub struct Posted(pub Request);

impl Posted {
    pub fn json(&self) -> Value {
        self.0.json()
    }

    fn text_member(&self, name: &str) -> String {
        let body = self.json();
        body[name].as_str().unwrap_or_else(|| panic!("a text {name} in {body}")).to_owned()
    }

    pub fn request_id(&self) -> String {
        self.text_member("request_id")
    }

    pub fn resp_type(&self) -> String {
        self.text_member("resp_type")
    }

    pub fn resp_code(&self) -> u64 {
        self.json()["resp_code"].as_u64().expect("a resp_code")
    }

    pub fn shard_token(&self) -> Option<&str> {
        self.0.header("X-Tunnel-Shard-Token")
    }

    /// The text of `resp_json`, byte for byte.
    pub fn resp_json(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            resp_json: &'a RawValue,
        }
        let body: Body = serde_json::from_slice(&self.0.body).expect("a body with resp_json");
        body.resp_json.get().to_owned()
    }

    /// `resp_json`, decoded.
    pub fn message(&self) -> Value {
        self.json()["resp_json"].clone()
    }

    /// `error.data.tunnel_failure` of `resp_json`; `null` when there is none.
    pub fn tunnel_failure(&self) -> Value {
        self.message()["error"]["data"]["tunnel_failure"].clone()
    }
}

#[derive(Default)]
struct State {
    commands: VecDeque<Vec<String>>,
    poll_script: VecDeque<Answer>,
    every_poll: Option<Answer>,
    response_script: VecDeque<Answer>,
    every_response: Option<Answer>,
    metadata: Option<Answer>,
    polls: VecDeque<Request>,
    responses: VecDeque<Posted>,
    others: VecDeque<Request>,
    stopped: bool,
}

impl State {
    fn scripted_poll(&mut self) -> Option<Answer> {
        self.poll_script.pop_front().or(self.every_poll.clone())
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub struct ControlPlane {
    shared: Arc<Shared>,
    server: Option<Server>,
}

impl ControlPlane {
    pub fn start() -> ControlPlane {
        ControlPlane::start_on(0)
    }

    /// On a given port: a control plane that comes back where it was.
    pub fn start_on(port: u16) -> ControlPlane {
        let shared = Arc::<Shared>::default();
        let handler = shared.clone();
        let server = Server::start_on(port, move |request, peer| handler.answer(request, peer));
        ControlPlane { shared, server: Some(server) }
    }

    pub fn url(&self) -> String {
        self.server().url()
    }

    pub fn port(&self) -> u16 {
        self.server().port()
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Queues one command: a [`Command`], or any text for the place of one.
    pub fn push(&self, command: impl Into<String>) {
        self.push_batch([command]);
    }

    /// Queues commands for one poll answer, whatever `limit` that poll asks for.
    pub fn push_batch<C: Into<String>>(&self, commands: impl IntoIterator<Item = C>) {
        let batch = commands.into_iter().map(Into::into).collect();
        self.change(|state| state.commands.push_back(batch));
    }

    /// The next poll that has no other answer waiting gets this one.
    pub fn on_poll(&self, answer: Answer) {
        self.change(|state| state.poll_script.push_back(answer));
    }

    /// Every poll from now on gets this one (`None`: as unscripted again). [`Self::on_poll`] goes
    /// first.
    pub fn every_poll(&self, answer: Option<Answer>) {
        self.change(|state| state.every_poll = answer);
    }

    pub fn on_response(&self, answer: Answer) {
        self.change(|state| state.response_script.push_back(answer));
    }

    pub fn every_response(&self, answer: Option<Answer>) {
        self.change(|state| state.every_response = answer);
    }

    /// What the metadata request gets.
    pub fn on_metadata(&self, answer: Answer) {
        self.change(|state| state.metadata = Some(answer));
    }

    /// The next poll, in order of arrival.
    pub fn next_poll(&self) -> Request {
        self.next("a poll", |state| state.polls.pop_front())
    }

    /// The next response POST, in order of arrival.
    pub fn next_response(&self) -> Posted {
        self.next("a response", |state| state.responses.pop_front())
    }

    /// The next response POST for one command; those for others stay where they are.
    pub fn next_response_for(&self, request_id: &str) -> Posted {
        self.next(&format!("a response for {request_id}"), |state| {
            let mine = |posted: &Posted| posted.json()["request_id"] == request_id;
            let at = state.responses.iter().position(mine)?;
            state.responses.remove(at)
        })
    }

    /// The next request that is neither poll nor response: metadata, or one that should not be.
    pub fn next_other(&self) -> Request {
        self.next("another request", |state| state.others.pop_front())
    }

    /// How many responses have come in that no one has taken yet. To show that a command is not
    /// answered, await the answer of a later one, then ask this.
    pub fn responses_waiting(&self) -> usize {
        self.shared.state.lock().unwrap().responses.len()
    }

    pub fn polls_waiting(&self) -> usize {
        self.shared.state.lock().unwrap().polls.len()
    }

    pub fn others_waiting(&self) -> usize {
        self.shared.state.lock().unwrap().others.len()
    }

    /// Commands that no poll has taken yet.
    pub fn commands_waiting(&self) -> usize {
        self.shared.state.lock().unwrap().commands.iter().map(Vec::len).sum()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }

    fn next<T>(&self, what: &str, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(found) = take(&mut state) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("the control plane waited {PATIENCE:?} in vain for {what}");
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.change(|state| state.stopped = true);
        self.server = None;
    }
}

impl Shared {
    fn answer(&self, request: Request, peer: &Peer) -> Answer {
        let mut state = self.state.lock().unwrap();
        if request.path().ends_with("/poll") {
            state.polls.push_back(request.clone());
            self.changed.notify_all();
            drop(state);
            return self.answer_poll(&request, peer);
        }
        let answer = if request.path().ends_with("/response") {
            state.responses.push_back(Posted(request));
            let scripted = state.response_script.pop_front().or(state.every_response.clone());
            scripted.unwrap_or_else(|| Answer::json(200, r#"{"status":"ok"}"#))
        } else {
            state.others.push_back(request);
            let tunnel = format!(r#"{{"id":"{TUNNEL_ID}","name":"test","description":""}}"#);
            state.metadata.clone().unwrap_or_else(|| Answer::json(200, tunnel))
        };
        self.changed.notify_all();
        answer
    }

    fn answer_poll(&self, request: &Request, peer: &Peer) -> Answer {
        let number = |name, default| {
            request.query(name).first().and_then(|v| v.parse().ok()).unwrap_or(default)
        };
        let limit = number("limit", 1) as usize;
        let end = Instant::now() + Duration::from_millis(number("timeout_ms", 15_000));
        loop {
            if let Some(answer) = self.state.lock().unwrap().scripted_poll() {
                return answer;
            }
            // A client that has gone away must not take commands with it.
            let gone = peer.is_gone();
            let mut state = self.state.lock().unwrap();
            if gone || state.stopped {
                return Answer::status(204).close();
            }
            if let Some(answer) = state.scripted_poll() {
                return answer;
            }
            let mut commands = state.commands.pop_front().unwrap_or_default();
            if commands.len() == 1 {
                while commands.len() < limit && state.commands.front().is_some_and(|b| b.len() == 1)
                {
                    commands.extend(state.commands.pop_front().unwrap());
                }
            }
            if !commands.is_empty() {
                return Answer::json(200, format!(r#"{{"commands":[{}]}}"#, commands.join(",")));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::status(204);
            }
            let look_again = left.min(Duration::from_millis(200));
            drop(self.changed.wait_timeout(state, look_again).unwrap());
        }
    }
}

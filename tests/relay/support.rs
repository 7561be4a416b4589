//! A running relay, and the least HTTP client that can show what is on the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::programs;

/// Far beyond any wait here; a test that needs it has failed.
pub const BOUND: Duration = Duration::from_secs(30);

/// Open to every local client.
pub const A: &str = "tunnel_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Open as well.
pub const B: &str = "tunnel_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
/// With a connector key.
pub const C: &str = "tunnel_cccccccccccccccccccccccccccccccc";
/// Does not exist.
pub const NOWHERE: &str = "tunnel_00000000000000000000000000000000";
pub const KEY_A: &str = "runtime-key-of-tunnel-a-0123456789abcdef";
pub const KEY_B: &str = "runtime-key-of-tunnel-b-0123456789abcdef";
pub const KEY_C: &str = "runtime-key-of-tunnel-c-0123456789abcdef";
pub const CONNECTOR: &str = "connector-key-of-tunnel-c-0123456789abcdef";
pub const ADMIN: &str = "admin-key-0123456789abcdef0123456789abcdef";

/// The relay's process.
pub struct Relay {
    child: Child,
    pub address: String,
    pub log: JoinHandle<String>,
}

impl Relay {
    /// A relay with the three tunnels, without warm-up, and more options.
    pub fn start(options: &[&str]) -> Self {
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--warm-up", "0s"];
        args.extend(["--tunnel-id", A, "--runtime-key", "env:KEY_A"]);
        args.extend(["--tunnel-id", B, "--runtime-key", "env:KEY_B"]);
        args.extend(["--tunnel-id", C, "--runtime-key", "env:KEY_C", "--name", "guarded"]);
        args.extend(["--connector-key", "env:CONNECTOR", "--admin-key", "env:ADMIN"]);
        args.extend(options);
        Self::start_with(&args)
    }

    /// A relay with just these arguments.
    pub fn start_with(args: &[&str]) -> Self {
        let mut child = command(args).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("mcp-tunnel-relay: listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { child, address, log }
    }

    pub fn connect(&self) -> Conn {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        Conn { stream: BufReader::new(stream) }
    }

    /// One request on a connection of its own.
    pub fn send(&self, request: &Request) -> Answer {
        let mut conn = self.connect();
        conn.write(&self.address, request);
        conn.read()
    }

    /// One request in the background.
    pub fn send_later(&self, request: Request) -> JoinHandle<Answer> {
        let mut conn = self.connect();
        let address = self.address.clone();
        thread::spawn(move || {
            conn.write(&address, &request);
            conn.read()
        })
    }

    /// One request whose answer nobody has read yet.
    pub fn begin(&self, request: &Request) -> Conn {
        let mut conn = self.connect();
        conn.write(&self.address, request);
        conn
    }

    /// The value of a metric, 0 if it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.send(&Request::new("GET", "/metrics")).text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has a value.
    pub fn wait_metric(&self, name: &str, value: u64) {
        wait_until(&format!("{name} to be {value}"), || self.metric(name) == value);
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits for the end of the process: its status and what it logged.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let (done, ended) = mpsc::channel();
        let id = self.child.id();
        thread::spawn(move || {
            if ended.recv_timeout(BOUND).is_err() {
                let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            }
        });
        let status = self.child.wait().unwrap();
        let _ = done.send(());
        let log = std::mem::replace(&mut self.log, thread::spawn(String::new));
        (status, log.join().unwrap())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The relay's command line with all keys in its environment.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(programs::relay());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, key) in [
        ("KEY_A", KEY_A),
        ("KEY_B", KEY_B),
        ("KEY_C", KEY_C),
        ("CONNECTOR", CONNECTOR),
        ("ADMIN", ADMIN),
    ] {
        command.env(name, key);
    }
    command
}

/// Waits for a state, with a bound.
pub fn wait_until(what: &str, state: impl Fn() -> bool) {
    let end = Instant::now() + BOUND;
    while !state() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A request as it goes on the wire.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, headers: Vec::new(), body: None }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a header.
    pub fn but(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.with(name, value)
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub fn bearer(self, key: &str) -> Self {
        self.but("Authorization", &format!("Bearer {key}"))
    }

    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub fn bytes(&self, address: &str) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            text.push_str(&format!("Host: {address}\r\n"));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(self.body.as_deref().unwrap_or_default());
        text.into_bytes()
    }
}

/// An MCP message for a tunnel, as a client of the legacy era sends it.
pub fn mcp(tunnel: &str, body: &str) -> Request {
    Request::new("POST", &format!("/v1/mcp/{tunnel}"))
        .with("Content-Type", "application/json")
        .with("Accept", "application/json, text/event-stream")
        .body(body)
}

/// A JSON-RPC request.
pub fn rpc(id: &str, method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)
}

pub fn poll(tunnel: &str, key: &str, query: &str) -> Request {
    Request::new("GET", &format!("/v1/tunnels/{tunnel}/poll?{query}")).bearer(key)
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.text()))
    }

    /// `error.code` of the control plane's envelope.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// `error.data.tunnel_error` of a JSON-RPC error that the relay made.
    pub fn tunnel_error(&self) -> Value {
        self.json()["error"]["data"]["tunnel_error"].clone()
    }
}

/// One connection.
pub struct Conn {
    pub stream: BufReader<TcpStream>,
}

impl Conn {
    pub fn write(&mut self, address: &str, request: &Request) {
        self.stream.get_mut().write_all(&request.bytes(address)).unwrap();
    }

    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Status and header fields; 0 if the server has closed instead.
    pub fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let first = self.line();
        if first.is_empty() {
            return (0, Vec::new());
        }
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        (status, headers)
    }

    /// The next chunk of a chunked answer; empty at its end.
    pub fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        chunk
    }

    pub fn read(&mut self) -> Answer {
        let (status, headers) = self.head();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if answer.header("Transfer-Encoding").is_some() {
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break;
                }
                answer.body.extend(chunk);
            }
        } else if let Some(length) = answer.header("Content-Length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut answer.body).unwrap();
        }
        answer
    }

    /// Whether the server has closed and sent nothing more.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// A scripted daemon of one tunnel.
pub struct Daemon<'r> {
    pub relay: &'r Relay,
    pub tunnel: &'static str,
    pub key: &'static str,
}

impl<'r> Daemon<'r> {
    /// The daemon of tunnel A, which has polled once.
    pub fn of_a(relay: &'r Relay) -> Self {
        let daemon = Self { relay, tunnel: A, key: KEY_A };
        daemon.show_up();
        daemon
    }

    /// The daemon of tunnel B, which has polled once.
    pub fn of_b(relay: &'r Relay) -> Self {
        let daemon = Self { relay, tunnel: B, key: KEY_B };
        daemon.show_up();
        daemon
    }

    fn show_up(&self) {
        assert_eq!(self.poll_raw("timeout_ms=1").status, 204);
    }

    pub fn poll_raw(&self, query: &str) -> Answer {
        self.relay.send(&poll(self.tunnel, self.key, query))
    }

    /// Polls until at least one command comes.
    pub fn take(&self, query: &str) -> Vec<Value> {
        let answer = self.poll_raw(&format!("timeout_ms=20000&{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let document = answer.json();
        document["commands"].as_array().unwrap().clone()
    }

    pub fn take_one(&self) -> Value {
        let mut commands = self.take("limit=1");
        assert_eq!(commands.len(), 1);
        commands.remove(0)
    }

    /// Whether no command comes for a moment.
    pub fn finds_nothing(&self) -> bool {
        self.poll_raw("timeout_ms=50&limit=25").status == 204
    }

    /// The request of a response POST.
    pub fn response(&self, command: &Value, body: String) -> Request {
        Request::new("POST", &format!("/v1/tunnels/{}/response", self.tunnel))
            .bearer(self.key)
            .with("Content-Type", "application/json")
            .with("X-Tunnel-Shard-Token", command["shard_token"].as_str().unwrap())
            .body(body)
    }

    /// Posts a response made of these members (which begin with a comma), and the request id.
    pub fn post(&self, command: &Value, members: &str) -> Answer {
        let body = format!(r#"{{"request_id":{}{members}}}"#, command["request_id"]);
        self.relay.send(&self.response(command, body))
    }

    /// Answers a request with this JSON text.
    pub fn answer(&self, command: &Value, json: &str) -> Answer {
        self.post(command, &format!(r#","resp_code":200,"resp_json":{json}"#))
    }

    /// Answers a request with a result that is its own id.
    pub fn answer_id(&self, command: &Value) -> Answer {
        let id = &command["jsonrpc"]["id"];
        self.answer(command, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"was":{id}}}}}"#))
    }

    /// Posts a message before the answer.
    pub fn notify(&self, command: &Value, json: &str) -> Answer {
        let members = r#","resp_code":200,"resp_type":"jsonrpc_notify","resp_json":"#;
        self.post(command, &format!("{members}{json}"))
    }
}

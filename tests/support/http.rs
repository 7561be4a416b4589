//! A raw HTTP/1.1 server whose answers are scripts of bytes, gates, cuts and resets, and a GET.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Gate, PATIENCE};

/// One request as it came in: names, order and bytes are the client's own.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// `HTTP/1.1`
    pub version: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When its last byte was read.
    pub at: Instant,
    /// Which connection of the server it came by; equal for requests that reused one.
    pub connection: u64,
}

impl Request {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).first().copied()
    }

    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, v)| v.as_str()).collect()
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// The names of all headers in lower case, sorted.
    pub fn header_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.headers.iter().map(|(n, _)| n.to_ascii_lowercase()).collect();
        names.sort();
        names
    }

    /// All values of a query parameter, in order, as sent.
    pub fn query(&self, name: &str) -> Vec<&str> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(n, _)| *n == name)
            .map(|(_, v)| v)
            .collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("a body of JSON, not {error}: {:?}", self.text()))
    }
}

#[derive(Clone)]
enum Step {
    Head,
    Send(Vec<u8>),
    Wait(Gate),
    Pause(Duration),
    UntilPeerCloses(Gate),
    OncePeerEnds(Gate),
    Close,
    Reset,
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length,
    Chunked,
    Raw,
}

/// What the server does with one request: a list of steps, run in order.
///
/// The head is sent before the first byte of the body, at [`Answer::head`], or at the end,
/// whichever comes first. An answer that ends without a cut keeps the connection alive.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    steps: Vec<Step>,
}

impl Answer {
    pub fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), framing: Framing::Length, steps: Vec::new() }
    }

    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer::status(status).header("Content-Type", "application/json").body(body)
    }

    /// An event stream, in chunks; it ends after the last step.
    pub fn sse() -> Answer {
        Answer::status(200).header("Content-Type", "text/event-stream").chunked()
    }

    /// Bytes for the wire that are not framed, status line and all.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
        Answer { framing: Framing::Raw, ..Answer::status(0).body(bytes) }
    }

    /// Takes the request and says nothing until the client gives up; then `gone` opens.
    pub fn silence(gone: &Gate) -> Answer {
        Answer { framing: Framing::Raw, ..Answer::status(0).until_peer_closes(gone) }
    }

    /// Resets the connection (RST) instead of an answer.
    pub fn reset_at_once() -> Answer {
        Answer { framing: Framing::Raw, ..Answer::status(0).reset() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Each piece of the body becomes one chunk.
    pub fn chunked(mut self) -> Answer {
        self.framing = Framing::Chunked;
        self
    }

    /// Sends the head now, though no byte of the body is there yet.
    pub fn head(self) -> Answer {
        self.step(Step::Head)
    }

    pub fn body(self, bytes: impl Into<Vec<u8>>) -> Answer {
        self.step(Step::Send(bytes.into()))
    }

    /// One `message` event with `data` in one line.
    pub fn event(self, data: &str) -> Answer {
        self.body(format!("event: message\ndata: {data}\n\n"))
    }

    /// Waits for the test to open `gate`.
    pub fn wait(self, gate: &Gate) -> Answer {
        self.step(Step::Wait(gate.clone()))
    }

    /// Time passes: for a slow peer, never to await a state.
    pub fn pause(self, time: Duration) -> Answer {
        self.step(Step::Pause(time))
    }

    /// Waits until the client closes its side, then opens `gone`.
    pub fn until_peer_closes(self, gone: &Gate) -> Answer {
        self.step(Step::UntilPeerCloses(gone.clone()))
    }

    /// Waits until the client has ended its side, opens `ended`, and goes on with the answer.
    pub fn once_peer_ends(self, ended: &Gate) -> Answer {
        self.step(Step::OncePeerEnds(ended.clone()))
    }

    /// Closes the connection here, though the answer may not be whole.
    pub fn close(self) -> Answer {
        self.step(Step::Close)
    }

    /// Resets the connection (RST) here.
    pub fn reset(self) -> Answer {
        self.step(Step::Reset)
    }

    /// Puts `text` in the place of each `mark` in the body.
    pub fn fill(mut self, mark: &str, text: &str) -> Answer {
        for step in &mut self.steps {
            if let Step::Send(bytes) = step
                && let Ok(body) = std::str::from_utf8(bytes)
                && body.contains(mark)
            {
                *bytes = body.replace(mark, text).into_bytes();
            }
        }
        self
    }

    /// Head and body, for a server that is none of ours. Only what is sent counts.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        for step in &self.steps {
            if let Step::Send(body) = step {
                bytes.extend(body);
            }
        }
        bytes
    }

    fn step(mut self, step: Step) -> Answer {
        self.steps.push(step);
        self
    }

    fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::Length if self.status != 204 => {
                let sent = |step: &Step| if let Step::Send(b) = step { b.len() } else { 0 };
                let length: usize = self.steps.iter().map(sent).sum();
                head.push_str(&format!("Content-Length: {length}\r\n"));
            }
            _ => {}
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Runs the steps.
    fn run(&self, peer: &Peer) -> After {
        let mut head = (self.framing != Framing::Raw).then(|| self.head_bytes());
        for step in &self.steps {
            let ok = match step {
                Step::Head => head.take().is_none_or(|head| peer.send(&head)),
                Step::Send(bytes) => {
                    let mut out = head.take().unwrap_or_default();
                    if self.framing == Framing::Chunked {
                        out.extend(format!("{:x}\r\n", bytes.len()).bytes());
                        out.extend(bytes);
                        out.extend(b"\r\n");
                    } else {
                        out.extend(bytes);
                    }
                    peer.send(&out)
                }
                Step::Wait(gate) => gate.opens_within(PATIENCE),
                Step::Pause(time) => {
                    std::thread::sleep(*time);
                    true
                }
                Step::UntilPeerCloses(gone) => {
                    peer.until_closed();
                    gone.open();
                    false
                }
                Step::OncePeerEnds(ended) => {
                    peer.until_closed();
                    ended.open();
                    true
                }
                Step::Close => false,
                Step::Reset => {
                    let _ = rustix::net::sockopt::set_socket_linger(
                        peer.stream.as_fd(),
                        Some(Duration::ZERO),
                    );
                    return After::Reset;
                }
            };
            if !ok {
                return After::Close;
            }
        }
        let mut end = head.take().unwrap_or_default();
        if self.framing == Framing::Chunked {
            end.extend(b"0\r\n\r\n");
        }
        let says_close = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
        };
        let keep = peer.send(&end) && !self.headers.iter().any(says_close);
        if keep { After::Keep } else { After::Close }
    }
}

/// What becomes of a connection after an answer.
enum After {
    Keep,
    Close,
    /// Closed by dropping it, for a shutdown would say goodbye first.
    Reset,
}

/// The other end of one connection, for a handler that waits before it answers.
pub struct Peer {
    stream: TcpStream,
    stopped: Arc<AtomicBool>,
}

impl Peer {
    fn send(&self, bytes: &[u8]) -> bool {
        (&self.stream).write_all(bytes).is_ok()
    }

    /// True when the client has closed or reset its side, or the server has stopped.
    pub fn is_gone(&self) -> bool {
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(1)));
        let gone = match self.stream.peek(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
        };
        let _ = self.stream.set_read_timeout(None);
        gone || self.stopped.load(Ordering::Relaxed)
    }

    fn until_closed(&self) {
        let mut rest = [0; 4096];
        while matches!((&self.stream).read(&mut rest), Ok(count) if count > 0) {}
    }
}

type Handler = dyn Fn(Request, &Peer) -> Answer + Send + Sync;

/// A server on a loopback port of the kernel's choice; one thread a connection. It stops, and
/// every connection ends, when it is dropped.
pub struct Server {
    port: u16,
    stopped: Arc<AtomicBool>,
    open: Arc<Mutex<HashMap<u64, TcpStream>>>,
    handler: Arc<Handler>,
    refusing: Arc<AtomicBool>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    pub fn start(handler: impl Fn(Request, &Peer) -> Answer + Send + Sync + 'static) -> Server {
        Server::start_on(0, handler)
    }

    /// On a given port, for a peer that comes back where it was.
    pub fn start_on(
        port: u16,
        handler: impl Fn(Request, &Peer) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = bind(port);
        let server = Server {
            port: listener.local_addr().unwrap().port(),
            stopped: Arc::default(),
            open: Arc::default(),
            handler: Arc::new(handler),
            refusing: Arc::default(),
            listening: Mutex::default(),
        };
        server.listen(listener);
        server
    }

    fn listen(&self, listener: TcpListener) {
        let (stopped, open) = (self.stopped.clone(), self.open.clone());
        let (handler, refusing) = (self.handler.clone(), self.refusing.clone());
        refusing.store(false, Ordering::Relaxed);
        let thread = std::thread::spawn(move || {
            static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
            for stream in listener.incoming() {
                if refusing.load(Ordering::Relaxed) {
                    // Whoever has connected is still served: a reset would be another fault.
                    let _ = listener.set_nonblocking(true);
                }
                let stream = match stream {
                    Ok(stream) => stream,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                    Err(_) => continue,
                };
                let _ = stream.set_nonblocking(false);
                let _ = stream.set_nodelay(true);
                let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
                open.lock().unwrap().insert(number, stream.try_clone().unwrap());
                let (handler, open) = (handler.clone(), open.clone());
                let peer = Peer { stream, stopped: stopped.clone() };
                std::thread::spawn(move || {
                    serve(&peer, number, &*handler);
                    open.lock().unwrap().remove(&number);
                });
            }
        });
        *self.listening.lock().unwrap() = Some(thread);
    }

    /// From now on new connections are refused; those that stand go on.
    pub fn refuse(&self) {
        if let Some(thread) = self.listening.lock().unwrap().take() {
            self.refusing.store(true, Ordering::Relaxed);
            let _ = TcpStream::connect(("127.0.0.1", self.port));
            let _ = thread.join();
        }
    }

    /// Takes connections again.
    pub fn accept(&self) {
        self.listen(bind(self.port));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many connections are open now.
    pub fn connections(&self) -> usize {
        self.open.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.refuse();
        for stream in self.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn bind(port: u16) -> TcpListener {
    super::eventually("the port to be free", || TcpListener::bind(("127.0.0.1", port)).ok())
}

fn serve(peer: &Peer, connection: u64, handler: &Handler) {
    let mut reader = BufReader::new(&peer.stream);
    while let Some(request) = read_request(&mut reader, connection) {
        let last = request.header("Connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        match handler(request, peer).run(peer) {
            After::Keep if !last => {}
            After::Reset => return,
            _ => break,
        }
    }
    let _ = peer.stream.shutdown(Shutdown::Both);
}

/// Reads one request; `None` when the connection ended or what came is not HTTP.
fn read_request(reader: &mut impl BufRead, connection: u64) -> Option<Request> {
    let first = read_line(reader)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let version = words.next()?.to_owned();
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let at = Instant::now();
    let mut request =
        Request { method, target, version, headers, body: Vec::new(), at, connection };
    if request.header("Transfer-Encoding").is_some() {
        loop {
            let size = usize::from_str_radix(read_line(reader)?.trim(), 16).ok()?;
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk).ok()?;
            request.body.extend(chunk);
            read_line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("Content-Length") {
        request.body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut request.body).ok()?;
    }
    request.at = Instant::now();
    Some(request)
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A port where connections hang: its listener takes none, and its backlog is full.
pub struct BlackHole {
    port: u16,
    _listener: TcpListener,
    _backlog: Vec<TcpStream>,
}

impl BlackHole {
    pub fn new() -> BlackHole {
        BlackHole::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub fn at(address: SocketAddr) -> BlackHole {
        use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let listener = socket(family, SocketType::STREAM, None).unwrap();
        bind(&listener, &address).unwrap();
        listen(&listener, 0).unwrap();
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().unwrap();
        let hangs = Duration::from_millis(50);
        let connect = || TcpStream::connect_timeout(&address, hangs).ok();
        let backlog = std::iter::from_fn(connect).collect();
        BlackHole { port: address.port(), _listener: listener, _backlog: backlog }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Status and body of `GET url`, or `None` while nobody answers there.
pub fn get(url: &str) -> Option<(u16, String)> {
    let (host, path) = url.strip_prefix("http://")?.split_once('/').unwrap_or((&url[7..], ""));
    let mut stream = TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

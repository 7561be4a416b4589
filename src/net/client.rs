//! HTTP/1.1 exchanges for one thread, with its own connections and limits.
//!
//! A [`Client`] sends a request, follows redirects on the same origin, and returns a [`Reply`]
//! whose body is still to be read. `control_plane`, `mcp`, `oauth` and `doctor` call it.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ureq::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};

use super::cancel::Cancel;
use super::error::{Fault, NetError, NetErrorKind};
use super::head::{SecretHeaders, SecretSlot};
use super::ledger::{Ledger, Tap};
use super::origin::Origin;
use super::proxy::Proxy;
use super::tls::Tls;
use super::transport::{Dialer, INPUT_BUFFER, NoResolver, Trace};

/// Headers that frame a request and name its host. ureq writes them; if an operator set them too,
/// the request would have them twice.
const FRAMING: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Redirects followed for one request (wire.md, section 1).
const REDIRECTS_MAX: usize = 10;

/// How many bytes of an unwanted body are read so that its connection can be used again. For a
/// longer body the connection is closed instead.
const DRAIN_MAX: u64 = 64 * 1024;

/// How long to wait for the rest of an unwanted body. A peer that is slow here must not hold up the
/// next message.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// The limit that ureq gets in place of "none": nothing here waits for ever.
const LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How a client connects, and what it does with its connections.
#[derive(Debug, Clone, Default)]
pub struct ClientConfig {
    /// TLS of the hop; `None` if it never speaks TLS.
    pub tls: Option<Tls>,
    /// A unix socket that every connection goes to instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// The proxy that every connection goes through, unless there is a unix socket.
    pub proxy: Option<Proxy>,
    /// How long a connection may lie idle before it is no longer trusted to be alive.
    pub idle: Duration,
    /// How long a cancelled exchange still waits for an answer that is on its way. The close of our
    /// side tells the peer to hand out nothing more.
    pub linger: Option<Duration>,
    /// True if secret headers are left out when a redirect leads to another path on the same
    /// origin.
    pub secrets_keep_path: bool,
    /// The ledger of its exchanges.
    pub ledger: Ledger,
}

/// A client with connections of its own, for one thread. Another thread ends its exchange through
/// the [`Cancel`] that the client was made with.
pub struct Client {
    agent: ureq::Agent,
    trace: Arc<Trace>,
    secrets: SecretSlot,
    /// The proxy that gets whole `http` URLs.
    forward: Option<Proxy>,
    secrets_keep_path: bool,
    ledger: Ledger,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: Method,
    /// Scheme, host, path.
    pub uri: &'a Uri,
    /// The headers that are not secret. Those of [`FRAMING`] are left out.
    pub headers: HeaderMap,
    /// The secret headers, with the same exception; `headers` has none of their names.
    pub secrets: SecretHeaders,
    /// The body; without one there is no `Content-Length` either.
    pub body: Option<&'a [u8]>,
    /// When to give up. It covers everything from the lookup to the last byte of the answer's body.
    pub limit: Instant,
}

/// An answer whose body is still on the wire.
pub struct Reply {
    /// Its status; no status is an error here.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The moment at which its headers had arrived.
    pub received_at: Instant,
    body: ureq::BodyReader<'static>,
    trace: Arc<Trace>,
    /// Writes it to the log, if raw logging is on.
    tap: Option<Box<dyn Tap>>,
}

/// The reason why a body could not be read whole.
#[derive(Debug)]
pub enum BodyError {
    /// It is longer than the given limit.
    TooLarge,
    /// The connection failed.
    Net(NetError),
}

/// Connects to the host of `uri`, makes the TLS handshake if there is one, and closes again.
///
/// # Errors
/// If there is no connection within `limit`.
pub fn connect(
    config: &ClientConfig,
    uri: &Uri,
    limit: Instant,
    cancel: &Cancel,
) -> Result<(), NetError> {
    dialer(config.clone(), cancel.clone())
        .open(uri, Some(limit))
        .map(drop)
        .map_err(|error| NetError::of_io(error, false, false))
}

fn dialer(config: ClientConfig, cancel: Cancel) -> Dialer {
    Dialer {
        tls: config.tls,
        unix_socket: config.unix_socket,
        proxy: config.proxy,
        linger: config.linger,
        cancel,
        trace: Arc::default(),
        secrets: SecretSlot::default(),
    }
}

impl Client {
    /// A client without connections.
    pub fn new(config: ClientConfig, cancel: Cancel) -> Self {
        let (idle, secrets_keep_path) = (config.idle, config.secrets_keep_path);
        let ledger = config.ledger.clone();
        let forward = config.proxy.clone().filter(|_| config.unix_socket.is_none());
        let dialer = dialer(config, cancel);
        let (trace, secrets) = (Arc::clone(&dialer.trace), dialer.secrets.clone());
        let ureq_config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent("")
            .accept("")
            .accept_encoding("")
            .max_response_header_size(INPUT_BUFFER)
            .max_idle_connections(2)
            .max_idle_connections_per_host(1)
            .max_idle_age(idle)
            .build();
        let agent = ureq::Agent::with_parts(ureq_config, dialer, NoResolver);
        Self { agent, trace, secrets, forward, secrets_keep_path, ledger }
    }

    /// Sends a request and waits for the headers of its answer. Redirects on the same origin are
    /// followed (wire-21): 307 and 308 with method and body, 301 to 303 for GET alone. Any other
    /// redirect is returned as the answer.
    ///
    /// # Errors
    /// If there is no answer. A status is never an error.
    pub fn send(&self, request: &Outgoing<'_>) -> Result<Reply, NetError> {
        let mut target = request.uri.clone();
        for _ in 0..REDIRECTS_MAX {
            let astray = self.secrets_keep_path && path(&target) != path(request.uri);
            let reply = self.send_once(request, &target, astray)?;
            match same_origin_redirect(&request.method, &target, &reply) {
                None => return Ok(reply),
                Some(next) => {
                    reply.drain();
                    target = next;
                }
            }
        }
        let why = format!("more than {REDIRECTS_MAX} redirects");
        Err(NetError::of_io(Fault::new(NetErrorKind::NotHttp, why).into(), true, false))
    }

    /// True if a byte of the last request was handed to a connection.
    pub fn wrote(&self) -> bool {
        self.trace.wrote.load(Ordering::SeqCst)
    }

    fn send_once(
        &self,
        request: &Outgoing<'_>,
        target: &Uri,
        without_secrets: bool,
    ) -> Result<Reply, NetError> {
        let began = Instant::now();
        let sent = self.exchange(request, target, without_secrets);
        let ended = sent.as_ref().map(|reply| reply.status).map_err(|error| error.kind);
        let body = request.body.map_or(0, <[u8]>::len);
        self.ledger.note(&request.method, target.path(), body, began.elapsed(), ended);
        sent
    }

    fn exchange(
        &self,
        request: &Outgoing<'_>,
        target: &Uri,
        without_secrets: bool,
    ) -> Result<Reply, NetError> {
        self.trace.wrote.store(false, Ordering::SeqCst);
        self.trace.dialled.store(false, Ordering::SeqCst);
        let mut headers = request.headers.clone();
        FRAMING.iter().for_each(|name| drop(headers.remove(name)));
        let wanted = |(name, _): &&(HeaderName, _)| !without_secrets && !FRAMING.contains(name);
        let secrets: SecretHeaders = request.secrets.iter().filter(wanted).cloned().collect();
        let head = (&request.method, target, &headers);
        let mut tap = self.ledger.raw.and_then(|log| log(head, &secrets, request.body));
        let mut builder = Request::builder().method(request.method.clone()).uri(target.clone());
        if let Some(all) = builder.headers_mut() {
            *all = headers;
        }
        let left = request.limit.saturating_duration_since(Instant::now()).min(LIMIT_MAX);
        let offer = self.secrets.offer(secrets);
        let answered = match request.body {
            Some(body) => self.run(builder.body(body), left),
            None => self.run(builder.body(()), left),
        };
        drop(offer);
        let wrote = self.wrote();
        let reused = !self.trace.dialled.load(Ordering::SeqCst);
        let response = answered
            .map_err(|error| NetError { reused, ..NetError::of_ureq(error, wrote, false) })?;
        let received_at = Instant::now();
        if let Some(refusal) = self.refusal_of_proxy(response.status(), target) {
            return Err(NetError { reused, ..NetError::of_io(refusal.into(), wrote, true) });
        }
        let (head, body) = response.into_parts();
        if let Some(tap) = &mut tap {
            tap.head(head.status, &head.headers);
        }
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            received_at,
            body: body.into_reader(),
            trace: Arc::clone(&self.trace),
            tap,
        })
    }

    /// The fault if this answer came from a proxy that gets whole URLs, and not from the target.
    fn refusal_of_proxy(&self, status: StatusCode, target: &Uri) -> Option<Fault> {
        let is_its_own = status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && target.scheme_str() == Some("http");
        let proxy = self.forward.as_ref().filter(|_| is_its_own)?;
        Some(proxy.refusal(status.as_u16(), target.host().unwrap_or_default()))
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: Result<Request<B>, ureq::http::Error>,
        left: Duration,
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        let request = self.agent.configure_request(request?).timeout_global(Some(left)).build();
        self.agent.run(request)
    }
}

impl Reply {
    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads the body to its end, at most `max` bytes.
    ///
    /// # Errors
    /// If it is longer, or breaks off.
    pub fn bytes(mut self, max: usize) -> Result<Vec<u8>, BodyError> {
        let declared = self.header("content-length").and_then(|text| text.parse::<usize>().ok());
        if declared.is_some_and(|declared| declared > max) {
            return Err(BodyError::TooLarge);
        }
        let mut bytes = Vec::with_capacity(declared.unwrap_or(0));
        // One byte more than allowed tells "full" from "too long".
        match (&mut self.body).take(max as u64 + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() > max => Err(BodyError::TooLarge),
            Ok(_) => {
                if let Some(tap) = &mut self.tap {
                    tap.body(&bytes);
                }
                Ok(bytes)
            }
            Err(error) => Err(BodyError::Net(NetError::of_io(error, true, true))),
        }
    }

    /// Reads bytes that have arrived; waits for the first one. 0 means the end.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, NetError> {
        let read = self.body.read(buf).map_err(|error| NetError::of_io(error, true, true))?;
        match &mut self.tap {
            Some(tap) if read == 0 => tap.end(),
            Some(tap) => tap.piece(&buf[..read]),
            None => {}
        }
        Ok(read)
    }

    /// Reads bytes that have arrived, without waiting: `None` if there are none, 0 at the end.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn read_arrived(&mut self, buf: &mut [u8]) -> Result<Option<usize>, NetError> {
        let trace = Arc::clone(&self.trace);
        match trace.hurried(Instant::now(), || self.read(buf)) {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind == NetErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a short rest and discards it, so that the connection can be used again.
    pub fn drain(mut self) {
        self.drain_until(Instant::now() + DRAIN_TIME);
    }

    fn drain_until(&mut self, until: Instant) {
        let mut rest = (&mut self.body).take(DRAIN_MAX);
        let _ = self.trace.hurried(until, || io::copy(&mut rest, &mut io::sink()));
    }
}

impl Drop for Reply {
    /// Reads the rest of the body if it has arrived, so that the connection can be used again.
    /// Otherwise the connection is closed.
    fn drop(&mut self) {
        self.drain_until(Instant::now());
    }
}

/// The path without trailing slashes, which name no other resource.
fn path(uri: &Uri) -> &str {
    uri.path().trim_end_matches('/')
}

fn same_origin_redirect(method: &Method, from: &Uri, reply: &Reply) -> Option<Uri> {
    let follow = match reply.status.as_u16() {
        307 | 308 => true,
        301..=303 => method == Method::GET,
        _ => false,
    };
    if !follow {
        return None;
    }
    let location = reply.headers.get(header::LOCATION).and_then(|l| l.to_str().ok())?;
    resolve(from, location).filter(|next| Origin::of(next) == Origin::of(from))
}

/// Resolves a `Location` against `from` (RFC 3986, section 5.2). Dot segments are not resolved: a
/// redirect with dot segments is returned as the answer.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    if location.is_empty() || location.contains("/../") || location.contains("/./") {
        return None;
    }
    let authority = format!("{}://{}", from.scheme_str()?, from.authority()?);
    let text = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", from.scheme_str()?)
    } else if location.starts_with('/') {
        format!("{authority}{location}")
    } else if location.starts_with('?') {
        format!("{authority}{}{location}", from.path())
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{authority}{folder}/{location}")
    };
    text.parse().ok()
}

/// Text as a header value, if it can be one.
pub fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

/// True if text can be a header value: it has no control character but tab, and bytes of 0x80 and
/// above are allowed (RFC 9110, section 5.5). This check makes no copy, so it suits secrets.
pub fn can_be_header(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test] // wire-21
    fn a_location_is_resolved_on_its_own_origin() {
        let from: Uri = "http://h:8080/a/b?x=1".parse().unwrap();
        let to = |location| resolve(&from, location).unwrap().to_string();
        assert_eq!(to("/c?y"), "http://h:8080/c?y");
        assert_eq!(to("c"), "http://h:8080/a/c");
        assert_eq!(to("?z"), "http://h:8080/a/b?z");
        assert_eq!(to("https://h/c#f"), "https://h/c");
        assert_eq!(to("//other/c"), "http://other/c");
        assert!(resolve(&from, "").is_none());
    }

    /// Answers one connection with `answer` and returns the request.
    fn serve(answer: &'static str) -> (Uri, std::thread::JoinHandle<String>) {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/x?y=1", listener.local_addr().unwrap()).parse().unwrap();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let read = socket.read(&mut asked).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked[..read].to_vec()).unwrap()
        });
        (uri, server)
    }

    fn client() -> Client {
        let config = ClientConfig {
            tls: None,
            unix_socket: None,
            proxy: None,
            idle: Duration::from_secs(1),
            linger: None,
            secrets_keep_path: false,
            ledger: Ledger::default(),
        };
        Client::new(config, Cancel::new().unwrap())
    }

    fn outgoing<'a>(method: Method, uri: &'a Uri, body: Option<&'a [u8]>) -> Outgoing<'a> {
        let limit = Instant::now() + Duration::from_secs(10);
        let mut headers = HeaderMap::new();
        headers.append("x-many", "1".parse().unwrap());
        headers.append("x-many", "2".parse().unwrap());
        Outgoing { method, uri, headers, secrets: Vec::new(), body, limit }
    }

    #[test] // wire-7
    fn a_request_carries_the_given_headers_and_no_others() {
        let (uri, server) = serve("HTTP/1.1 418 Teapot\r\ncontent-length: 2\r\n\r\nhi");
        let reply = client().send(&outgoing(Method::POST, &uri, Some(b"body"))).unwrap();
        assert_eq!(reply.status, 418);
        assert_eq!(reply.bytes(2).unwrap(), b"hi");
        let asked = server.join().unwrap();
        let (head, body) = asked.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines.remove(0), "POST /x?y=1 HTTP/1.1");
        lines.sort();
        let host = format!("host: {}", uri.authority().unwrap());
        assert_eq!(lines, ["content-length: 4", host.as_str(), "x-many: 1", "x-many: 2"]);
        assert_eq!(body, "body");
    }

    #[test] // forwarding-46
    fn what_frames_a_request_is_never_the_operators() {
        let (uri, server) = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let mut request = outgoing(Method::POST, &uri, Some(b"body"));
        for (name, value) in [("host", "other"), ("content-length", "0"), ("x-site", "s")] {
            let value = Secret::new(value.to_owned());
            request.secrets.push((HeaderName::from_static(name), value));
        }
        request.headers.insert("transfer-encoding", "chunked".parse().unwrap());
        assert_eq!(client().send(&request).unwrap().status, 200);
        let asked = server.join().unwrap();
        let (head, body) = asked.split_once("\r\n\r\n").unwrap();
        let count = |name: &str| head.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!((count("host:"), count("content-length:"), count("x-site:")), (1, 1, 1));
        assert!(!head.contains("other") && !head.contains("chunked"), "{head}");
        assert_eq!(body, "body");
    }

    #[test]
    fn a_body_over_the_limit_is_not_read() {
        let (uri, server) = serve("HTTP/1.1 200 OK\r\n\r\n0123456789");
        let reply = client().send(&outgoing(Method::GET, &uri, None)).unwrap();
        assert!(matches!(reply.bytes(9), Err(BodyError::TooLarge)));
        server.join().unwrap();
    }

    #[test] // forwarding-58
    fn an_answer_that_breaks_off_is_told_from_none() {
        let (uri, server) = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
        let reply = client().send(&outgoing(Method::GET, &uri, None)).unwrap();
        let Err(BodyError::Net(error)) = reply.bytes(100) else { panic!() };
        assert_eq!(error.kind, NetErrorKind::UnexpectedEof);
        server.join().unwrap();

        let (uri, server) = serve("");
        let error = client().send(&outgoing(Method::GET, &uri, None)).err().unwrap();
        assert_eq!((error.kind, error.wrote, error.reused), (NetErrorKind::Eof, true, false));
        server.join().unwrap();

        let error = client().send(&outgoing(Method::GET, &uri, None)).err().unwrap();
        assert_eq!((error.kind, error.wrote), (NetErrorKind::Refused, false));
    }

    #[test] // forwarding-227
    fn what_has_arrived_is_read_without_waiting_for_more() {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let (go_on, told) = crossbeam_channel::bounded::<()>(0);
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            assert!(socket.read(&mut [0; 4096]).unwrap() > 0);
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            socket.write_all(head).unwrap();
            told.recv().unwrap();
            socket.write_all(b"2\r\nab\r\n0\r\n\r\n").unwrap();
        });
        let mut reply = client().send(&outgoing(Method::GET, &uri, None)).unwrap();
        let mut buf = [0; 8];
        assert_eq!(reply.read_arrived(&mut buf).unwrap(), None);
        go_on.send(()).unwrap();
        assert_eq!(reply.read(&mut buf).unwrap(), 2);
        server.join().unwrap();
        assert_eq!(reply.read(&mut buf).unwrap(), 0);
        assert_eq!(reply.read_arrived(&mut buf).unwrap(), Some(0));
    }

    #[test] // forwarding-59
    fn a_reset_inside_an_answer_is_told_from_its_end() {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            assert!(socket.read(&mut [0; 4096]).unwrap() > 0);
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").unwrap();
            let linger = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(&socket, linger).unwrap();
        });
        let reply = client().send(&outgoing(Method::GET, &uri, None)).unwrap();
        server.join().unwrap();
        let Err(BodyError::Net(error)) = reply.bytes(100) else { panic!() };
        assert_eq!(error.kind, NetErrorKind::Reset);
    }

    #[test]
    fn a_header_value_has_no_line_breaks() {
        for (text, can_be) in [("a\tb é", true), ("", true), ("a\r\nb", false), ("a\x7f", false)] {
            assert_eq!(can_be_header(text), can_be, "{text:?}");
            assert_eq!(header_value(text).is_some(), can_be, "{text:?}");
        }
    }
}

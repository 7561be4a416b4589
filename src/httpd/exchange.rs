//! One request and its answer, as a handler sees them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::MIN_RATE;
use super::chunked::Decoder;
use super::connection::{Connection, Handle, Peer, WriteError};
use super::head::{self, Framing, Head};

/// The initial buffer of a body, in bytes. It grows with the bytes that have arrived, never with an
/// announced length.
const BODY_STEP: usize = 256 * 1024;

/// One request. Answering consumes it; if it is dropped unanswered, the client gets a 500.
pub struct Exchange<'c> {
    connection: &'c mut Connection,
    head: Head,
    peer: &'c Peer,
}

/// The reason why a body could not be read.
#[derive(Debug)]
pub enum BodyError {
    /// It is longer than the route allows.
    TooLarge,
    /// Its chunks are malformed.
    Malformed,
    /// The client sent it more slowly than the limits allow.
    TooSlow,
    /// The connection ended inside it.
    Broken(io::Error),
}

impl BodyError {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Malformed | Self::Broken(_) => 400,
            Self::TooSlow => 408,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the body is too large"),
            Self::Malformed => f.write_str("the chunked body is malformed"),
            Self::TooSlow => f.write_str("the body came too slowly"),
            Self::Broken(cause) => write!(f, "the body broke off: {cause}"),
        }
    }
}

impl std::error::Error for BodyError {}

/// Tells any thread whether the client of an exchange is still there.
#[derive(Debug, Clone)]
pub struct Probe(Arc<Handle>);

impl Probe {
    /// True if the client has closed or reset its side. Never waits.
    pub fn client_gone(&self) -> bool {
        self.0.socket.peer_gone()
    }
}

impl<'c> Exchange<'c> {
    pub(super) fn new(connection: &'c mut Connection, head: Head, peer: &'c Peer) -> Self {
        Self { connection, head, peer }
    }

    /// The request line and header fields.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The parameters of the query, in order.
    pub fn query(&self) -> Vec<(String, String)> {
        head::parse_query(&self.head.query)
    }

    /// The client.
    pub fn peer(&self) -> &Peer {
        self.peer
    }

    /// A handle to ask whether the client is still there.
    pub fn probe(&self) -> Probe {
        Probe(self.connection.handle.clone())
    }

    /// True if the client has closed or reset its side. Never waits.
    pub fn client_gone(&self) -> bool {
        self.connection.handle.socket.peer_gone()
    }

    /// Reads the whole body of at most `limit` bytes; sends `100 Continue` first if the client
    /// waits for it. A second call finds an empty body.
    ///
    /// # Errors
    /// See [`BodyError`]. The connection ends after the answer then.
    pub fn read_body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        if !self.connection.body_left {
            return Ok(Vec::new());
        }
        let result = self.read_body_now(limit);
        match &result {
            Ok(_) => self.connection.body_left = false,
            Err(_) => self.connection.close = true,
        }
        result
    }

    fn read_body_now(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        if let Framing::Length(length) = self.head.framing
            && length > limit as u64
        {
            return Err(BodyError::TooLarge);
        }
        if self.head.expects_continue && self.connection.buffered().is_empty() {
            self.connection
                .write(&[b"HTTP/1.1 100 Continue\r\n\r\n"])
                .map_err(|e| BodyError::Broken(e.cause))?;
        }
        let begun = Instant::now();
        let grace = self.connection.limits.transfer_grace;
        let due = |got: usize| begun + grace + Duration::from_secs(got as u64 / MIN_RATE);
        let mut body = Vec::new();
        match self.head.framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| BodyError::TooLarge)?;
                self.connection.take_buffered(&mut body, length);
                while body.len() < length {
                    let got = body.len();
                    let step = (length - got).min(BODY_STEP.max(got));
                    body.resize(got + step, 0);
                    let read = self.connection.read(&mut body[got..], due(got));
                    body.truncate(got + read.as_ref().copied().unwrap_or(0));
                    check(read)?;
                }
            }
            Framing::Chunked => {
                let mut decoder = Decoder::default();
                loop {
                    let used = decoder.push(self.connection.buffered(), &mut body, limit).map_err(
                        |refusal| match refusal.status {
                            413 => BodyError::TooLarge,
                            _ => BodyError::Malformed,
                        },
                    )?;
                    self.connection.use_buffered(used);
                    if decoder.is_done() {
                        break;
                    }
                    self.connection.compact();
                    let deadline = due(body.len());
                    check(self.connection.fill(BODY_STEP, deadline))?;
                }
            }
        }
        Ok(body)
    }

    /// Answers with a body of known length, in one write if the kernel takes it. Fields that
    /// could break the framing (a line break in a value) are left out; `Content-Length`, `Date`
    /// and `Connection` are added here.
    ///
    /// # Errors
    /// If the client did not take the whole answer.
    pub fn respond(
        self,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), WriteError> {
        self.respond_parts(status, headers, &[body])
    }

    /// Like [`Exchange::respond`], with a body in several pieces that need not be joined.
    ///
    /// # Errors
    /// If the client did not take the whole answer.
    pub fn respond_parts(
        mut self,
        status: u16,
        headers: &[(&str, &str)],
        body: &[&[u8]],
    ) -> Result<(), WriteError> {
        let mut head = self.start(status, headers);
        let has_body = may_have_body(status);
        if has_body {
            let length: usize = body.iter().map(|part| part.len()).sum();
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        let mut parts = vec![head.as_bytes()];
        if has_body && self.head.method != "HEAD" {
            parts.extend_from_slice(body);
        }
        let result = self.connection.write(&parts);
        self.connection.close |= result.is_err();
        result
    }

    /// Begins an answer of unknown length. Each piece is sent at once.
    ///
    /// # Errors
    /// If the client did not take the head of the answer.
    pub fn stream(
        mut self,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Result<Stream<'c>, WriteError> {
        let mut head = self.start(status, headers);
        let chunked = self.head.speaks_chunked;
        if chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else {
            self.connection.close = true;
        }
        head.push_str("\r\n");
        // The answer is incomplete until `finish`, and only a close can show that to the client.
        let close = std::mem::replace(&mut self.connection.close, true);
        self.connection.write(&[head.as_bytes()])?;
        let silent = self.head.method == "HEAD";
        Ok(Stream { connection: self.connection, chunked, silent, close })
    }

    fn start(&mut self, status: u16, headers: &[(&str, &str)]) -> String {
        self.connection.answered = true;
        // An unread body does not cost the connection if it has arrived already.
        if let Framing::Length(length) = self.head.framing
            && self.connection.body_left
            && length <= self.connection.buffered().len() as u64
        {
            self.connection.use_buffered(length as usize);
            self.connection.body_left = false;
        }
        let reason = ureq::http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("");
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mut head = String::with_capacity(256);
        head.push_str(&format!("HTTP/1.1 {status} {reason}\r\nDate: {date}\r\n"));
        for (name, value) in headers.iter().filter(|(name, value)| is_field(name, value)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.connection.close || self.connection.body_left {
            head.push_str("Connection: close\r\n");
        }
        head
    }
}

/// A response that has no body has no `Content-Length` either (RFC 9110, section 8.6).
fn may_have_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// True if a header field can be sent without changing the meaning of the bytes after it
/// (relay-41).
fn is_field(name: &str, value: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty()
        && name.bytes().all(token)
        && !value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f)
}

fn check(read: io::Result<usize>) -> Result<(), BodyError> {
    match read {
        Ok(0) => Err(BodyError::Broken(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::TimedOut => Err(BodyError::TooSlow),
        Err(e) => Err(BodyError::Broken(e)),
    }
}

/// An answer of unknown length. Dropped before [`Stream::finish`], it ends with the connection,
/// which tells the client that it is incomplete.
pub struct Stream<'c> {
    connection: &'c mut Connection,
    chunked: bool,
    silent: bool,
    close: bool,
}

impl Stream<'_> {
    /// Sends one piece at once.
    ///
    /// # Errors
    /// If the client did not take it. The stream is then useless.
    pub fn send(&mut self, piece: &[u8]) -> Result<(), WriteError> {
        self.put(piece, b"")
    }

    /// Sends the last piece (which may be empty) and ends the answer.
    ///
    /// # Errors
    /// If the client did not take it.
    pub fn finish(mut self, piece: &[u8]) -> Result<(), WriteError> {
        self.put(piece, b"0\r\n\r\n")?;
        self.connection.close = self.close;
        Ok(())
    }

    /// True if the client has closed or reset its side. Never waits.
    pub fn client_gone(&self) -> bool {
        self.connection.handle.socket.peer_gone()
    }

    fn put(&mut self, piece: &[u8], end: &[u8]) -> Result<(), WriteError> {
        if self.silent {
            return Ok(());
        }
        match (self.chunked, piece.is_empty()) {
            (true, true) => self.connection.write(&[end]),
            (true, false) => {
                let size = format!("{:x}\r\n", piece.len());
                self.connection.write(&[size.as_bytes(), piece, b"\r\n", end])
            }
            (false, _) => self.connection.write(&[piece]),
        }
    }
}

//! The seam to ureq: our sockets in, its HTTP out.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::cancel::Cancel;
use super::dial;
use super::error::Fault;
use super::stream::Stream;
use super::tls::Trust;

/// Bytes read at once; the head of an answer must fit in as well.
pub(super) const INPUT_BUFFER: usize = 64 * 1024;

/// Bytes written at once.
const OUTPUT_BUFFER: usize = 32 * 1024;

/// How long TLS may take to be agreed on (wire.md, section 1).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the connections of one client.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) trust: Option<Trust>,
    pub(super) unix_socket: Option<PathBuf>,
    pub(super) linger: Option<Duration>,
    pub(super) cancel: Cancel,
    pub(super) trace: Arc<Trace>,
}

/// What the last request of a client came to on its connection.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// A byte of it was handed to the connection.
    pub(super) wrote: AtomicBool,
    /// Its connection was made for it, not taken from the pool.
    pub(super) dialled: AtomicBool,
    /// Whoever reads the body waits no longer than until then, and may come back later.
    pub(super) hurry_until: Mutex<Option<Instant>>,
}

impl Trace {
    pub(super) fn hurry_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.hurry_until.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Connector for Dialer {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        self.open(details.uri, limit(details.timeout))
            .map(Some)
            .map_err(|error| timeout_or(error, details.timeout.reason))
    }
}

impl Dialer {
    /// Connects to where `uri` points.
    pub(super) fn open(&self, uri: &Uri, limit: Option<Instant>) -> io::Result<Connection> {
        self.trace.dialled.store(true, Ordering::SeqCst);
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let mut stream = match &self.unix_socket {
            Some(path) => dial::unix(path, limit, &self.cancel)?,
            None => dial::tcp(host, port, limit, &self.cancel)?,
        };
        let mut stream = if tls {
            let trust = self
                .trust
                .as_ref()
                .ok_or_else(|| Fault::Tls("this hop was set up without TLS".to_owned()))?;
            stream.limit = dial::earlier(limit, HANDSHAKE_TIMEOUT);
            Layered::Tls(Box::new(trust.handshake(host, stream)?))
        } else {
            Layered::Plain(stream)
        };
        stream.socket().linger = self.linger;
        Ok(Connection {
            stream,
            buffers: LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER),
            held: Vec::new(),
            lively: false,
            trace: Arc::clone(&self.trace),
        })
    }
}

/// Leaves the lookup to the dialer, which can be cancelled.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

enum Layered {
    Plain(Stream),
    Tls(Box<StreamOwned<ClientConnection, Stream>>),
}

impl Layered {
    fn socket(&mut self) -> &mut Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_mut(),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

/// One connection in ureq's pool.
pub(super) struct Connection {
    stream: Layered,
    buffers: LazyBuffers,
    /// The head of a request, held back so that head and short body leave in one write.
    held: Vec<u8>,
    /// Bytes were read since it was last asked whether it is open: it was a moment ago.
    lively: bool,
    trace: Arc<Trace>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    fn send_held(&mut self, reason: Timeout) -> Result<(), ureq::Error> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.trace.wrote.store(true, Ordering::SeqCst);
        let sent = self.stream.write_all(&self.held);
        self.held.clear();
        sent.map_err(|error| timeout_or(error, reason))
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.socket().limit = limit(timeout);
        if self.held.len() + amount <= OUTPUT_BUFFER {
            self.held.extend_from_slice(&self.buffers.output()[..amount]);
            return Ok(());
        }
        self.send_held(timeout.reason)?;
        self.trace.wrote.store(true, Ordering::SeqCst);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| timeout_or(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let own = limit(timeout);
        self.stream.socket().limit = match *self.trace.hurry_until() {
            Some(until) => Some(own.map_or(until, |own| own.min(until))),
            None => own,
        };
        self.send_held(timeout.reason)?;
        let input = self.buffers.input_append_buf();
        if input.is_empty() {
            // A read of nothing would pass for the end of the stream.
            return Err(ureq::Error::LargeResponseHeader(INPUT_BUFFER, INPUT_BUFFER));
        }
        let read = self.stream.read(input).map_err(|error| timeout_or(error, timeout.reason))?;
        self.buffers.input_appended(read);
        self.lively = read > 0;
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        // ureq asks when an answer has ended and again before the next request: once is enough.
        if std::mem::take(&mut self.lively) {
            return true;
        }
        self.stream.socket().is_idle()
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Layered::Tls(_))
    }
}

fn limit(timeout: NextTimeout) -> Option<Instant> {
    (!timeout.after.is_not_happening()).then(|| Instant::now() + *timeout.after)
}

fn timeout_or(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            ureq::Error::Io(Fault::Cut(error).into())
        }
        _ => ureq::Error::Io(error),
    }
}

//! The seam to ureq: our sockets in, its HTTP out.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
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
use super::head::{Held, SecretHeaders};
use super::proxy::Proxy;
use super::stream::Stream;
use super::tls::{Tls, tls_fault};

use crate::unpoisoned::Unpoisoned;

/// Bytes read at once; the head of an answer must fit in as well.
pub(super) const INPUT_BUFFER: usize = 64 * 1024;

/// Bytes written at once.
const OUTPUT_BUFFER: usize = 32 * 1024;

/// How long TLS may take to be agreed on (wire.md, section 1).
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the connections of one client.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) tls: Option<Tls>,
    pub(super) unix_socket: Option<PathBuf>,
    pub(super) proxy: Option<Proxy>,
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
    /// What its connection adds to its head.
    pub(super) secrets: Mutex<SecretHeaders>,
}

impl Trace {
    pub(super) fn hurry_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.hurry_until.lock().unpoisoned()
    }

    pub(super) fn secrets(&self) -> MutexGuard<'_, SecretHeaders> {
        self.secrets.lock().unpoisoned()
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
        let proxy = self.proxy.as_ref().filter(|_| self.unix_socket.is_none());
        let mut stream = match (&self.unix_socket, proxy) {
            (Some(path), _) => Layered::Plain(dial::unix(path, limit, &self.cancel)?),
            (None, Some(proxy)) => proxy.open(limit, &self.cancel)?,
            (None, None) => Layered::Plain(dial::tcp(host, port, limit, &self.cancel)?),
        };
        if tls {
            let own = self
                .tls
                .as_ref()
                .ok_or_else(|| Fault::Tls("this hop was set up without TLS".to_owned()))?;
            if let Some(proxy) = proxy {
                proxy.connect(&mut stream, host, port, limit)?;
            }
            stream.socket().limit = dial::earlier(limit, HANDSHAKE_TIMEOUT);
            stream = own.handshake(host, stream).map_err(|error| match proxy {
                Some(proxy) => Fault::InTunnel(proxy.url().to_owned(), error).into(),
                None => error,
            })?;
        }
        stream.socket().linger = self.linger;
        let forward = proxy.filter(|_| !tls).map(|proxy| {
            let authority = uri.authority().map_or(host, |authority| authority.as_str());
            (proxy.clone(), format!("http://{authority}"))
        });
        Ok(Connection {
            stream,
            buffers: LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER),
            held: Held::default(),
            forward,
            head_due: true,
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

/// A socket and the layers of TLS around it: none, the target's, or the proxy's with perhaps the
/// target's inside.
pub(super) enum Layered {
    Plain(Stream),
    Tls(Box<Agreed>),
}

/// TLS as it was agreed on.
pub(super) struct Agreed {
    pub(super) stream: StreamOwned<ClientConnection, Layered>,
    pub(super) hop: Tls,
    /// What the hop was like at that time.
    pub(super) config: Arc<ClientConfig>,
}

impl Layered {
    pub(super) fn socket(&mut self) -> &mut Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(agreed) => agreed.stream.sock.socket(),
        }
    }

    /// Whether it was made with the certificates that are in use now.
    fn is_up_to_date(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(agreed) => {
                agreed.hop.uses(&agreed.config) && agreed.stream.sock.is_up_to_date()
            }
        }
    }
}

/// A refusal may come after the handshake: TLS 1.3 judges our certificate then.
fn later(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidData => tls_fault(error),
        _ => error,
    }
}

impl Read for Layered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(agreed) => agreed.stream.read(buf).map_err(later),
        }
    }
}

impl Write for Layered {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(agreed) => agreed.stream.write(buf).map_err(later),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(agreed) => agreed.stream.flush().map_err(later),
        }
    }
}

/// One connection in ureq's pool.
pub(super) struct Connection {
    stream: Layered,
    buffers: LazyBuffers,
    /// The head of a request, held back so that head and short body leave in one write.
    held: Held,
    /// The proxy that is asked for whole URLs, and the origin to put before each path.
    forward: Option<(Proxy, String)>,
    /// The next bytes begin a request.
    head_due: bool,
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
        if self.held.bytes().is_empty() {
            return Ok(());
        }
        self.trace.wrote.store(true, Ordering::SeqCst);
        let sent = self.stream.write_all(self.held.bytes()).and_then(|()| self.stream.flush());
        self.held.wipe();
        sent.map_err(|error| timeout_or(error, reason))
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.socket().limit = limit(timeout);
        let output = &self.buffers.output()[..amount];
        if std::mem::take(&mut self.head_due) {
            self.held.push_head(output, self.forward.as_ref(), &self.trace.secrets());
        } else if self.held.bytes().len() + amount <= OUTPUT_BUFFER {
            self.held.push(output);
        } else {
            self.send_held(timeout.reason)?;
            self.trace.wrote.store(true, Ordering::SeqCst);
            let output = &self.buffers.output()[..amount];
            let sent = self.stream.write_all(output).and_then(|()| self.stream.flush());
            sent.map_err(|error| timeout_or(error, timeout.reason))?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let own = limit(timeout);
        self.stream.socket().limit = match *self.trace.hurry_until() {
            Some(until) => Some(own.map_or(until, |own| own.min(until))),
            None => own,
        };
        self.send_held(timeout.reason)?;
        self.head_due = true;
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
        // After a reload the next request is made as who we are now.
        if !self.stream.is_up_to_date() {
            return false;
        }
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

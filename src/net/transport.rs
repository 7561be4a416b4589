//! The connection to ureq, which does HTTP over our sockets. [`super::client`] calls it.
//!
//! This is the only module that uses the unversioned part of ureq's API.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::cancel::Cancel;
use super::dial;
use super::error::{Fault, NetErrorKind};
use super::head::{Held, SecretSlot};
use super::proxy::Proxy;
use super::tls::{Layered, Tls};
use crate::unpoisoned::Unpoisoned;

/// Size of the input buffer in bytes; the head of an answer must fit in.
pub(super) const INPUT_BUFFER: usize = 64 * 1024;

/// Size of the output buffer in bytes.
const OUTPUT_BUFFER: usize = 32 * 1024;

/// Makes the connections of one client.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) tls: Option<Tls>,
    pub(super) unix_socket: Option<PathBuf>,
    pub(super) proxy: Option<Proxy>,
    pub(super) linger: Option<Duration>,
    pub(super) cancel: Cancel,
    pub(super) trace: Arc<Trace>,
    pub(super) secrets: SecretSlot,
}

/// The state of the request under way that a client and its connections share. It holds no text:
/// the secrets of a request travel in [`SecretSlot`].
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// True if a byte of it was handed to the connection.
    pub(super) wrote: AtomicBool,
    /// True if its connection was made for it, not taken from the pool.
    pub(super) dialled: AtomicBool,
    /// The moment until which a read of the body waits; the reader may come back later.
    hurry_until: Mutex<Option<Instant>>,
}

impl Trace {
    /// Runs `read` with an earlier limit than that of the exchange.
    pub(super) fn hurried<T>(&self, until: Instant, read: impl FnOnce() -> T) -> T {
        *self.hurry_until.lock().unpoisoned() = Some(until);
        let result = read();
        *self.hurry_until.lock().unpoisoned() = None;
        result
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
    /// Connects to the target of `uri`.
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
            let none = || Fault::new(NetErrorKind::Tls, "this hop was set up without TLS");
            let own = self.tls.as_ref().ok_or_else(none)?;
            if let Some(proxy) = proxy {
                proxy.connect(&mut stream, host, port, limit)?;
            }
            stream = own.handshake(host, stream, limit).map_err(|error| match proxy {
                None => error,
                Some(proxy) => {
                    let url = proxy.url();
                    let way = format!("through the proxy {url}, which may open TLS itself");
                    Fault::of(error).at(&way).into()
                }
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
            secrets: self.secrets.clone(),
        })
    }
}

/// Resolves nothing: the dialer looks up names itself, so that a lookup can be cancelled.
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

/// One connection in ureq's pool.
pub(super) struct Connection {
    stream: Layered,
    buffers: LazyBuffers,
    /// The head of a request, held back so that head and a short body leave in one write.
    held: Held,
    /// A proxy that gets whole URLs, and the origin to put before each path.
    forward: Option<(Proxy, String)>,
    /// True if the next bytes begin a request.
    head_due: bool,
    /// True if bytes were read since ureq last asked whether the connection is open: it was open a
    /// moment ago.
    lively: bool,
    trace: Arc<Trace>,
    secrets: SecretSlot,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    fn send_held(&mut self) -> io::Result<()> {
        if self.held.bytes().is_empty() {
            return Ok(());
        }
        self.trace.wrote.store(true, Ordering::SeqCst);
        let sent = self.stream.write_all(self.held.bytes()).and_then(|()| self.stream.flush());
        self.held.wipe();
        sent
    }

    /// Takes the next bytes of a request. The head is held back until its body comes; a body that
    /// is too long to hold is sent directly.
    fn take(&mut self, amount: usize) -> io::Result<()> {
        let output = &self.buffers.output()[..amount];
        if std::mem::take(&mut self.head_due) {
            let secrets = self.secrets.take();
            let (origin, credentials) = match &self.forward {
                Some((proxy, origin)) => (Some(origin.as_str()), proxy.credentials()),
                None => (None, None),
            };
            self.held.push_head(output, origin, credentials.into_iter().chain(&secrets));
        } else if self.held.bytes().len() + amount <= OUTPUT_BUFFER {
            self.held.push(output);
        } else {
            self.send_held()?;
            self.trace.wrote.store(true, Ordering::SeqCst);
            self.stream.write_all(&self.buffers.output()[..amount])?;
            self.stream.flush()?;
        }
        Ok(())
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.socket().limit = limit(timeout);
        self.take(amount).map_err(|error| timeout_or(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let own = limit(timeout);
        let hurry = *self.trace.hurry_until.lock().unpoisoned();
        self.stream.socket().limit = own.into_iter().chain(hurry).min();
        self.send_held().map_err(|error| timeout_or(error, timeout.reason))?;
        self.head_due = true;
        let input = self.buffers.input_append_buf();
        if input.is_empty() {
            // A read into an empty buffer would look like the end of the stream.
            return Err(ureq::Error::LargeResponseHeader(INPUT_BUFFER, INPUT_BUFFER));
        }
        let read = self.stream.read(input).map_err(|error| timeout_or(error, timeout.reason))?;
        self.buffers.input_appended(read);
        self.lively = read > 0;
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        // After a reload, the next request uses the new certificates.
        if !self.stream.is_up_to_date() {
            return false;
        }
        // ureq asks when an answer has ended, and again before the next request.
        if std::mem::take(&mut self.lively) {
            return true;
        }
        self.stream.socket().is_idle()
    }

    fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }
}

fn limit(timeout: NextTimeout) -> Option<Instant> {
    (!timeout.after.is_not_happening()).then(|| Instant::now() + *timeout.after)
}

fn timeout_or(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            // As a `Fault`, since ureq would take the bare error for the end of the answer.
            ureq::Error::Io(Fault::of(error).into())
        }
        _ => ureq::Error::Io(error),
    }
}

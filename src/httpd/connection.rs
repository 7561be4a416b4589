//! One connection: its socket with deadlines, its read buffer, and the state that other threads may
//! see. [`super::server`] makes connections, [`super::exchange`] reads bodies and writes answers.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::head::{self, Head, Refusal};
use super::{Limits, MAX_HEAD, MIN_RATE};

/// Bytes read at once while waiting for a head: most requests fit, with their body.
const HEAD_READ: usize = 4 * 1024;
/// A larger buffer is freed between requests, since there are many idle connections.
const KEEP_BUFFER: usize = 16 * 1024;
/// The limits in time and bytes for reading on after an answer that was sent before the request
/// ended. If input were unread at the close, the kernel would reset the connection and the client
/// would lose the answer.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 96 * 1024 * 1024;

/// A connected stream, TCP or Unix.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.set_read_timeout(Some(time)),
            Self::Unix(s) => s.set_read_timeout(Some(time)),
        }
    }

    pub fn set_write_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.set_write_timeout(Some(time)),
            Self::Unix(s) => s.set_write_timeout(Some(time)),
        }
    }

    pub fn shutdown(&self, how: Shutdown) {
        // This fails only if the peer is gone already.
        let _ = match self {
            Self::Tcp(s) => s.shutdown(how),
            Self::Unix(s) => s.shutdown(how),
        };
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => (&mut &*s).read(buffer),
            Self::Unix(s) => (&mut &*s).read(buffer),
        }
    }

    fn write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => (&mut &*s).write_vectored(parts),
            Self::Unix(s) => (&mut &*s).write_vectored(parts),
        }
    }

    /// True if the peer has closed or reset its side, or if we have closed ours. Never waits.
    pub fn peer_gone(&self) -> bool {
        let flags = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut set = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut set, Some(&now)).is_ok() && set[0].revents().intersects(flags)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(s) => s.as_fd(),
            Self::Unix(s) => s.as_fd(),
        }
    }
}

/// The client of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A client of the Unix socket.
    Unix,
}

impl Peer {
    /// True if the client is on this host.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix => true,
        }
    }
}

/// The reason why an answer could not be sent.
#[derive(Debug)]
pub struct WriteError {
    /// The number of bytes of this answer, or of this piece of a stream, that the operating system
    /// had accepted. If it is 0, the client has certainly seen nothing of the answer.
    pub accepted: usize,
    /// The error of the operating system.
    pub cause: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer broke off after {} bytes: {}", self.accepted, self.cause)
    }
}

impl std::error::Error for WriteError {}

/// The part of a connection that other threads may touch.
#[derive(Debug)]
pub struct Handle {
    pub socket: Socket,
    state: AtomicU8,
}

/// Between requests, or in the head of one.
const WAITING: u8 = 0;
/// A request is being served.
const BUSY: u8 = 1;
/// Closed by the server while waiting.
const EVICTED: u8 = 2;

impl Handle {
    pub fn new(socket: Socket) -> Self {
        Self { socket, state: AtomicU8::new(WAITING) }
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Closes the connection unless a request is being served on it. Either this step or that of
    /// [`Connection::next_request`] succeeds, so a request that was accepted is never cut off.
    pub fn evict(&self) -> bool {
        let evicted = self.step(WAITING, EVICTED);
        if evicted {
            self.socket.shutdown(Shutdown::Both);
        }
        evicted
    }
}

/// The next event on a connection.
pub enum Next {
    Request(Box<Head>),
    Refused(Refusal),
    Closed,
}

/// A connection, owned by its own thread.
pub struct Connection {
    pub handle: Arc<Handle>,
    pub limits: Arc<Limits>,
    /// `buffer[at..]` holds the bytes that were read and are not used yet.
    buffer: Vec<u8>,
    at: usize,
    read_timeout: Duration,
    /// True if an answer to the current request was started.
    pub answered: bool,
    /// True if the connection ends after the current answer.
    pub close: bool,
    /// True if the body of the current request was not read to its end.
    pub body_left: bool,
}

impl Connection {
    pub fn new(handle: Arc<Handle>, limits: Arc<Limits>) -> io::Result<Self> {
        handle.socket.set_write_timeout(limits.transfer_grace)?;
        Ok(Self {
            handle,
            limits,
            buffer: Vec::new(),
            at: 0,
            read_timeout: Duration::ZERO,
            answered: false,
            close: false,
            body_left: false,
        })
    }

    /// Waits for the head of the next request. On a fresh connection (`first`) the time limit for
    /// the head runs from the start, since a client connects to send a request.
    pub fn next_request(&mut self, first: bool) -> Next {
        let mut deadline = None;
        let mut seen = self.at;
        if self.buffer.capacity() > KEEP_BUFFER && self.at == self.buffer.len() {
            self.buffer = Vec::new();
            (self.at, seen) = (0, 0);
        }
        loop {
            // Empty lines before a request are ignored (RFC 9112, section 2.2).
            while matches!(self.buffer.get(self.at), Some(b'\r' | b'\n')) {
                self.at += 1;
            }
            // A head ends with a line, so it cannot be complete without a new line end.
            let unseen = &self.buffer[seen.max(self.at)..];
            if unseen.contains(&b'\n') || self.buffer.len() - self.at >= MAX_HEAD {
                match head::parse(&self.buffer[self.at..]) {
                    Ok(Some((head, length))) => {
                        self.at += length;
                        if !self.handle.step(WAITING, BUSY) {
                            return Next::Closed;
                        }
                        (self.answered, self.close) = (false, !head.keep_alive);
                        self.body_left = head.framing != head::Framing::Length(0);
                        return Next::Request(Box::new(head));
                    }
                    Ok(None) => {}
                    Err(refusal) => return Next::Refused(refusal),
                }
            } else if self.buffer.len() - self.at > super::MAX_REQUEST_LINE
                && !self.buffer[self.at..].contains(&b'\n')
            {
                let reason = "the request line is too long";
                return Next::Refused(Refusal { status: 414, reason });
            }
            if self.at > 0 {
                self.buffer.drain(..self.at);
                self.at = 0;
            }
            seen = self.buffer.len();
            let resting = self.buffer.is_empty() && !first;
            let until = match resting {
                true => Instant::now() + self.limits.idle_timeout,
                false => {
                    *deadline.get_or_insert_with(|| Instant::now() + self.limits.header_timeout)
                }
            };
            match self.fill(HEAD_READ, until) {
                Ok(0) | Err(_) => return Next::Closed,
                Ok(_) => {}
            }
        }
    }

    /// Goes back to waiting; false if the connection was closed meanwhile.
    pub fn rest(&self) -> bool {
        self.handle.step(BUSY, WAITING)
    }

    /// Takes up to `limit` of the bytes that were read with the head.
    pub fn take_buffered(&mut self, out: &mut Vec<u8>, limit: usize) {
        let take = (self.buffer.len() - self.at).min(limit);
        out.extend_from_slice(&self.buffer[self.at..self.at + take]);
        self.at += take;
    }

    /// The bytes that were read and are not used yet; `use_buffered` marks some as used.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    pub fn use_buffered(&mut self, count: usize) {
        self.at += count;
    }

    /// Reads more into the buffer: the number of bytes, 0 at the end of the stream.
    pub fn fill(&mut self, at_most: usize, deadline: Instant) -> io::Result<usize> {
        let used = self.buffer.len();
        self.buffer.resize(used + at_most, 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read(&mut buffer[used..], deadline);
        buffer.truncate(used + result.as_ref().copied().unwrap_or(0));
        self.buffer = buffer;
        result
    }

    /// Drops the bytes that were used, so that a long chunked body does not pile up.
    pub fn compact(&mut self) {
        self.buffer.drain(..self.at);
        self.at = 0;
    }

    /// Reads some bytes past the buffer before the deadline.
    pub fn read(&mut self, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Setting the option costs a system call, so a value that is nearly right is kept, for
            // instance between the idle waits of one connection.
            if left.abs_diff(self.read_timeout) > left / 16 {
                self.handle.socket.set_read_timeout(left)?;
                self.read_timeout = left;
            }
            match self.handle.socket.read(into) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Writes all parts, in one system call if the kernel takes them.
    pub fn write(&self, parts: &[&[u8]]) -> Result<(), WriteError> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        let mut accepted = 0;
        let mut begun = None;
        while accepted < total {
            match self.handle.socket.write_vectored(rest) {
                Ok(0) => {
                    return Err(WriteError { accepted, cause: io::ErrorKind::WriteZero.into() });
                }
                Ok(count) => {
                    accepted += count;
                    IoSlice::advance_slices(&mut rest, count);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // One cause is the send timeout: it passed without room for one byte.
                Err(cause) => return Err(WriteError { accepted, cause }),
            }
            if accepted < total {
                let begun = *begun.get_or_insert_with(Instant::now);
                let due =
                    self.limits.transfer_grace + Duration::from_secs(accepted as u64 / MIN_RATE);
                if begun.elapsed() > due {
                    return Err(WriteError { accepted, cause: io::ErrorKind::TimedOut.into() });
                }
            }
        }
        Ok(())
    }

    /// Closes our side and goes on reading for a moment, so that the client gets the answer before
    /// the connection ends.
    pub fn linger(&mut self) {
        self.handle.socket.shutdown(Shutdown::Write);
        let deadline = Instant::now() + LINGER_TIME;
        let mut scrap = vec![0; 64 * 1024];
        let mut seen = 0;
        while seen < LINGER_BYTES {
            match self.read(&mut scrap, deadline) {
                Ok(0) | Err(_) => break,
                Ok(count) => seen += count,
            }
        }
    }
}

//! The listener, its accept thread, and the registry of open connections.
//!
//! It decides which connections get a thread and which are closed to make room.
//! [`super::connection`] does the reading.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;

use super::Limits;
use super::connection::{Connection, Handle, Next, Peer, Socket};
use super::exchange::Exchange;
use super::head::Refusal;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// An address; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A path. A stale socket there is replaced; anything else is left alone.
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(false)?;
                // Answers are written whole, so waiting for more would only delay them.
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                Ok((Socket::Unix(stream), Peer::Unix))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A server that is bound but does not serve yet.
pub struct Server {
    listener: Listener,
    bound: Bind,
    limits: Limits,
}

impl Server {
    /// Binds the address. Clients can connect from now on and are served by [`Server::serve`].
    ///
    /// # Errors
    /// The error of the operating system. For a path, also if it is not a socket or if another
    /// process listens on it.
    pub fn bind(bind: &Bind, limits: Limits) -> io::Result<Self> {
        let (listener, bound) = match bind {
            Bind::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let bound = Bind::Tcp(listener.local_addr()?);
                (Listener::Tcp(listener), bound)
            }
            Bind::Unix(path) => {
                remove_stale_socket(path)?;
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                (Listener::Unix(listener), bind.clone())
            }
        };
        Ok(Self { listener, bound, limits })
    }

    /// The address that the server listens on, with the port that the kernel chose.
    pub fn local(&self) -> &Bind {
        &self.bound
    }

    /// Serves until [`Running::stop`]. `name` (at most 8 bytes) begins the names of the threads.
    ///
    /// # Errors
    /// If the process has no descriptor or thread left.
    pub fn serve<H>(self, name: &str, handler: H) -> io::Result<Running>
    where
        H: Fn(Exchange<'_>) + Send + Sync + 'static,
    {
        let shared = Arc::new(Shared {
            limits: Arc::new(self.limits),
            handler: Box::new(handler),
            stop: Cancel::new()?,
            registry: Mutex::default(),
            closed: Condvar::new(),
            thread_name: format!("{name}-conn"),
        });
        let acceptor = {
            let (shared, listener) = (shared.clone(), self.listener);
            thread::Builder::new()
                .name(format!("{name}-accept"))
                .stack_size(128 * 1024)
                .spawn(move || shared.accept_all(&listener))?
        };
        Ok(Running { shared, acceptor: Some(acceptor), bound: self.bound })
    }
}

/// Removes a socket that nobody listens on, so that the path can be bound.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let refuse =
        |kind, text: &str| Err(io::Error::new(kind, format!("{}: {text}", path.display())));
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if !meta.file_type().is_socket() => {
            refuse(io::ErrorKind::AlreadyExists, "the path exists and is no socket")
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => refuse(io::ErrorKind::AddrInUse, "another process listens on this socket"),
            Err(_) => std::fs::remove_file(path),
        },
    }
}

type Handler = Box<dyn Fn(Exchange<'_>) + Send + Sync>;

/// State that all threads of one server share.
struct Shared {
    limits: Arc<Limits>,
    handler: Handler,
    stop: Cancel,
    registry: Mutex<Registry>,
    /// Notified when a connection leaves the registry.
    closed: Condvar,
    thread_name: String,
}

/// The connections by age.
#[derive(Default)]
struct Registry {
    open: BTreeMap<u64, Arc<Handle>>,
    next: u64,
}

/// How long the accept thread waits for the thread of an evicted connection to end.
const ROOM_WAIT: Duration = Duration::from_millis(250);
/// The pause after the process has run out of descriptors or threads.
const EXHAUSTED_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unpoisoned()
    }

    fn accept_all(self: Arc<Self>, listener: &Listener) {
        loop {
            let mut set = [
                PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.stop.fd(), PollFlags::IN),
            ];
            if poll(&mut set, None).is_err() {
                continue; // Interrupted by a signal.
            }
            if self.stop.is_cancelled() {
                return;
            }
            let result = match listener.accept() {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
                Err(e) => Err(e),
            };
            if let Err(e) = result {
                log::warn!("a connection could not be accepted: {e}");
                evict_oldest(&self.registry());
                let mut set = [PollFd::from_borrowed_fd(self.stop.fd(), PollFlags::IN)];
                let _ = poll(&mut set, Some(&EXHAUSTED_PAUSE));
            }
        }
    }

    /// Gives a connection its thread, if there is room or room can be made.
    fn admit(self: &Arc<Self>, socket: Socket, peer: Peer) -> io::Result<()> {
        let handle = Arc::new(Handle::new(socket));
        let number = {
            let mut registry = self.registry();
            if registry.open.len() >= self.limits.connections {
                if evict_oldest(&registry) {
                    let full =
                        |registry: &mut Registry| registry.open.len() >= self.limits.connections;
                    let waited = self.closed.wait_timeout_while(registry, ROOM_WAIT, full);
                    registry = waited.unpoisoned().0;
                }
                if registry.open.len() >= self.limits.connections {
                    drop(registry);
                    refuse_for_lack_of_room(&handle);
                    return Ok(());
                }
            }
            registry.next += 1;
            let number = registry.next;
            registry.open.insert(number, handle.clone());
            number
        };
        // Moved into the thread, or dropped if no thread starts.
        let slot = Slot { shared: self.clone(), number };
        thread::Builder::new()
            .name(self.thread_name.clone())
            .stack_size(self.limits.stack_bytes)
            .spawn(move || {
                let slot = slot;
                slot.shared.serve_one(handle, &peer);
            })
            .map(|_| ())
    }

    fn serve_one(&self, handle: Arc<Handle>, peer: &Peer) {
        let Ok(mut connection) = Connection::new(handle, self.limits.clone()) else { return };
        let mut first = true;
        loop {
            match connection.next_request(first) {
                Next::Request(head) => {
                    connection.close |= self.stop.is_cancelled();
                    (self.handler)(Exchange::new(&mut connection, *head, peer));
                }
                Next::Refused(refusal) => return refuse(&mut connection, refusal),
                Next::Closed => return,
            }
            if !connection.answered {
                let sorry = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\
                    Connection: close\r\n\r\n";
                let _ = connection.write(&[sorry]);
                return;
            }
            if connection.body_left {
                return connection.linger();
            }
            if connection.close || !connection.rest() || self.stop.is_cancelled() {
                return;
            }
            first = false;
        }
    }
}

/// Answers a request that could not be read, and ends its connection.
fn refuse(connection: &mut Connection, refusal: Refusal) {
    let body = format!("{refusal}\n");
    let head = format!(
        "HTTP/1.1 {} {refusal}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        refusal.status,
        body.len(),
    );
    if connection.write(&[head.as_bytes(), body.as_bytes()]).is_ok() {
        connection.linger();
    }
}

/// Closes the oldest connection that serves no request; false if every connection serves one.
fn evict_oldest(registry: &Registry) -> bool {
    registry.open.values().any(|handle| handle.evict())
}

/// Tells a client that there is no room, unless that would have to wait for the client.
fn refuse_for_lack_of_room(handle: &Handle) {
    let full = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n\
        Connection: close\r\n\r\n";
    let _ = rustix::net::send(
        &handle.socket,
        full,
        rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL,
    );
    handle.socket.shutdown(Shutdown::Write);
}

/// A connection's entry in the registry, removed when its thread ends, even by a panic.
struct Slot {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.registry().open.remove(&self.number);
        self.shared.closed.notify_all();
    }
}

/// A server that serves.
pub struct Running {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    bound: Bind,
}

impl Running {
    /// The address that the server listens on, with the port that the kernel chose.
    pub fn local(&self) -> &Bind {
        &self.bound
    }

    /// The number of connections at this moment.
    pub fn connections(&self) -> usize {
        self.shared.registry().open.len()
    }

    /// Returns a counter of connections that the caller may keep.
    pub fn connection_count(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || shared.registry().open.len()
    }

    /// Ends the listener at once, closes connections that wait for a request, gives running
    /// requests up to `grace`, then shuts their sockets. Returns the number of threads that are
    /// still in their handler: 0, unless a handler waits for something other than its client.
    pub fn stop(mut self, grace: Duration) -> usize {
        self.stop_now(grace)
    }

    fn stop_now(&mut self, grace: Duration) -> usize {
        let Some(acceptor) = self.acceptor.take() else { return 0 };
        self.shared.stop.cancel();
        // This fails only if the thread has panicked, and then it has ended as well.
        let _ = acceptor.join();
        if let Bind::Unix(path) = &self.bound {
            // This fails if something else has removed the socket; then there is nothing to do.
            let _ = std::fs::remove_file(path);
        }
        for handle in self.shared.registry().open.values() {
            handle.evict();
        }
        if self.wait_until_empty(grace) > 0 {
            for handle in self.shared.registry().open.values() {
                handle.socket.shutdown(Shutdown::Both);
            }
        }
        /// The time for threads whose sockets are shut: they only need to be scheduled.
        const LAST_WAIT: Duration = Duration::from_secs(1);
        self.wait_until_empty(LAST_WAIT)
    }

    fn wait_until_empty(&self, time: Duration) -> usize {
        let registry = self.shared.registry();
        let waited = self
            .shared
            .closed
            .wait_timeout_while(registry, time, |registry| !registry.open.is_empty());
        waited.unpoisoned().0.open.len()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_now(Duration::ZERO);
    }
}

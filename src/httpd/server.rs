//! The listener, its accept thread, and the book of connections.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;

use super::Limits;
use super::connection::{Link, Next, Shared, Socket};
use super::exchange::Exchange;

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

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A client of the Unix socket.
    Unix,
}

impl Peer {
    /// Whether the client is on this host.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix => true,
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

/// A bound server that does not serve yet.
pub struct Server {
    listener: Listener,
    bound: Bind,
    limits: Limits,
}

impl Server {
    /// Binds the address. Clients can connect from now on and are served by [`Server::serve`].
    ///
    /// # Errors
    /// What the operating system says; for a path also if it is no socket or has an owner.
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

    /// Where it listens, with the port that the kernel chose.
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
        let hall = Arc::new(Hall {
            limits: Arc::new(self.limits),
            handler: Box::new(handler),
            stop: Cancel::new()?,
            stopping: AtomicBool::new(false),
            book: Mutex::default(),
            left: Condvar::new(),
            thread_name: format!("{name}-conn"),
        });
        let acceptor = {
            let hall = hall.clone();
            let listener = self.listener;
            thread::Builder::new()
                .name(format!("{name}-accept"))
                .stack_size(128 * 1024)
                .spawn(move || hall.accept_all(&listener))?
        };
        Ok(Running { hall, acceptor: Some(acceptor), bound: self.bound })
    }
}

/// Makes way for a bind: removes a socket that nobody listens on.
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

/// What all threads of one server share.
struct Hall {
    limits: Arc<Limits>,
    handler: Handler,
    stop: Cancel,
    stopping: AtomicBool,
    book: Mutex<Book>,
    /// Notified whenever a connection has left the book.
    left: Condvar,
    thread_name: String,
}

/// The connections by age.
#[derive(Default)]
struct Book {
    open: BTreeMap<u64, Arc<Shared>>,
    next: u64,
}

/// How long the accept thread waits for an evicted connection's thread to end.
const ROOM_WAIT: Duration = Duration::from_millis(250);
/// How long it pauses when the process has run out of descriptors or threads.
const EXHAUSTED_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Hall {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unpoisoned()
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
                evict_oldest(&self.book());
                let mut set = [PollFd::from_borrowed_fd(self.stop.fd(), PollFlags::IN)];
                let _ = poll(&mut set, Some(&EXHAUSTED_PAUSE));
            }
        }
    }

    /// Gives a connection its thread, if there is room or can be made.
    fn admit(self: &Arc<Self>, socket: Socket, peer: Peer) -> io::Result<()> {
        let shared = Arc::new(Shared::new(socket));
        let number = {
            let mut book = self.book();
            if book.open.len() >= self.limits.connections {
                if evict_oldest(&book) {
                    let full = |book: &mut Book| book.open.len() >= self.limits.connections;
                    let waited = self.left.wait_timeout_while(book, ROOM_WAIT, full);
                    book = waited.unpoisoned().0;
                }
                if book.open.len() >= self.limits.connections {
                    drop(book);
                    refuse_politely(&shared);
                    return Ok(());
                }
            }
            book.next += 1;
            let number = book.next;
            book.open.insert(number, shared.clone());
            number
        };
        let seat = Seat { hall: self.clone(), number };
        thread::Builder::new()
            .name(self.thread_name.clone())
            .stack_size(self.limits.stack_bytes)
            .spawn(move || {
                let seat = seat;
                seat.hall.serve_one(shared, &peer);
            })
            .map(|_| ())
    }

    fn serve_one(&self, shared: Arc<Shared>, peer: &Peer) {
        let Ok(mut link) = Link::new(shared, self.limits.clone()) else { return };
        let mut first = true;
        loop {
            match link.next_request(first) {
                Next::Request(head) => {
                    link.close |= self.stopping.load(Ordering::SeqCst);
                    (self.handler)(Exchange::new(&mut link, *head, peer));
                }
                Next::Refused(refusal) => {
                    let body = format!("{refusal}\n");
                    let head = format!(
                        "HTTP/1.1 {} {refusal}\r\nContent-Type: text/plain\r\n\
                         Content-Length: {}\r\nConnection: close\r\n\r\n",
                        refusal.status,
                        body.len(),
                    );
                    if link.write(&[head.as_bytes(), body.as_bytes()]).is_ok() {
                        link.linger();
                    }
                    return;
                }
                Next::Closed => return,
            }
            if !link.answered {
                let sorry = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\
                    Connection: close\r\n\r\n";
                let _ = link.write(&[sorry]);
                return;
            }
            if link.body_left {
                return link.linger();
            }
            if link.close || !link.rest() || self.stopping.load(Ordering::SeqCst) {
                return;
            }
            first = false;
        }
    }
}

/// Closes the oldest connection that serves no request; false if all do.
fn evict_oldest(book: &Book) -> bool {
    book.open.values().any(|shared| shared.evict())
}

/// Tells a client that there is no room, if that is possible without waiting for it.
fn refuse_politely(shared: &Shared) {
    let full = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n\
        Connection: close\r\n\r\n";
    let _ = rustix::net::send(
        &shared.socket,
        full,
        rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL,
    );
    shared.socket.shutdown(Shutdown::Write);
}

/// A connection's place in the book, given back when its thread ends, in whatever way.
struct Seat {
    hall: Arc<Hall>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hall.book().open.remove(&self.number);
        self.hall.left.notify_all();
    }
}

/// A serving server.
pub struct Running {
    hall: Arc<Hall>,
    acceptor: Option<JoinHandle<()>>,
    bound: Bind,
}

impl Running {
    /// Where it listens, with the port that the kernel chose.
    pub fn local(&self) -> &Bind {
        &self.bound
    }

    /// Connections at this moment.
    pub fn connections(&self) -> usize {
        self.hall.book().open.len()
    }

    /// A view of the number of connections that outlives the borrow.
    pub fn connection_count(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let hall = self.hall.clone();
        move || hall.book().open.len()
    }

    /// Ends the listener at once, closes connections that wait for a request, gives running
    /// requests up to `grace`, then shuts their sockets. Returns how many threads were still in
    /// their handler at the end: 0 unless a handler waits for something other than its client.
    pub fn stop(mut self, grace: Duration) -> usize {
        self.stop_now(grace)
    }

    fn stop_now(&mut self, grace: Duration) -> usize {
        let Some(acceptor) = self.acceptor.take() else { return 0 };
        self.hall.stopping.store(true, Ordering::SeqCst);
        self.hall.stop.cancel();
        // It fails only if the thread has panicked, and then it is gone as well.
        let _ = acceptor.join();
        if let Bind::Unix(path) = &self.bound {
            // Somebody else may have removed it; then there is nothing to do.
            let _ = std::fs::remove_file(path);
        }
        for shared in self.hall.book().open.values() {
            shared.evict();
        }
        if self.wait_until_empty(grace) > 0 {
            for shared in self.hall.book().open.values() {
                shared.socket.shutdown(Shutdown::Both);
            }
        }
        /// A thread whose socket is shut needs only to be scheduled.
        const LAST_WAIT: Duration = Duration::from_secs(1);
        self.wait_until_empty(LAST_WAIT)
    }

    fn wait_until_empty(&self, time: Duration) -> usize {
        let book = self.hall.book();
        let waited = self.hall.left.wait_timeout_while(book, time, |book| !book.open.is_empty());
        waited.unpoisoned().0.open.len()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_now(Duration::ZERO);
    }
}

//! One connected socket. Each read and write has a limit, and can be cancelled from another thread.
//!
//! No other module of `net` waits for the peer of a connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cancel::Cancel;
use super::error::{Fault, NetErrorKind};

/// The socket, non-blocking.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket whose reads and writes end at [`Stream::limit`], or when they are cancelled.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    cancel: Cancel,
    /// When a wait ends with `TimedOut`; `None` waits as long as it takes.
    pub(super) limit: Option<Instant>,
    /// How long to go on listening, after a cancel, for an answer that is already on its way.
    pub(super) linger: Option<Duration>,
    half_closed: bool,
    /// Bytes went out since the last read. Their answer is not here yet, so a read waits first.
    sent: bool,
}

impl Stream {
    /// Takes a connected, non-blocking socket.
    pub(super) fn new(socket: Socket, cancel: Cancel) -> Self {
        Self { socket, cancel, limit: None, linger: None, half_closed: false, sent: false }
    }

    /// Whether an idle connection can carry another request: there is nothing to read, not even its
    /// end.
    pub(super) fn is_idle(&self) -> bool {
        let mut byte = [0];
        let peeked = match &self.socket {
            Socket::Tcp(socket) => socket.peek(&mut byte),
            Socket::Unix(socket) => {
                let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
                rustix::net::recv(socket, &mut byte, flags)
                    .map(|(read, _)| read)
                    .map_err(io::Error::from)
            }
        };
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn wait(&mut self, what: PollFlags) -> io::Result<()> {
        if !self.half_closed {
            let waited = wait_for(self.socket.as_fd(), what, self.limit, &self.cancel);
            match (waited, self.linger) {
                (Err(error), Some(_)) if what == PollFlags::IN && is_cancelled(&error) => {}
                (waited, _) => return waited,
            }
            // From here on the peer sees the end of our side, and hands out nothing more. What it
            // handed out before can still be read.
            self.half_closed = true;
            let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
        }
        let until = self.linger.and_then(|linger| Instant::now().checked_add(linger));
        let mut set = [PollFd::from_borrowed_fd(self.socket.as_fd(), what)];
        match poll(&mut set, timespec_until(until)?.as_ref()) {
            // After a signal, the caller tries again and comes back here.
            Ok(1..) | Err(rustix::io::Errno::INTR) => Ok(()),
            Ok(_) => Err(Fault::cancelled().into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

fn is_cancelled(error: &io::Error) -> bool {
    let fault: Option<&Fault> = error.get_ref().and_then(|inner| inner.downcast_ref());
    fault.is_some_and(|fault| fault.kind == NetErrorKind::Cancelled)
}

/// Waits until `fd` is ready.
///
/// # Errors
/// `TimedOut` if the limit passes, or [`Fault`] if the wait is cancelled.
pub(super) fn wait_for(
    fd: BorrowedFd<'_>,
    what: PollFlags,
    limit: Option<Instant>,
    cancel: &Cancel,
) -> io::Result<()> {
    loop {
        let timeout = timespec_until(limit)?;
        let mut set = [
            PollFd::from_borrowed_fd(fd, what),
            PollFd::from_borrowed_fd(cancel.fd(), PollFlags::IN),
        ];
        match poll(&mut set, timeout.as_ref()) {
            // Bytes that have arrived count, even after a cancel.
            Ok(_) if !set[0].revents().is_empty() => return Ok(()),
            Ok(_) if !set[1].revents().is_empty() => return Err(Fault::cancelled().into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The earlier of `limit` and `most` from now.
pub(super) fn earlier(limit: Option<Instant>, most: Duration) -> Option<Instant> {
    let own = Instant::now() + most;
    Some(limit.map_or(own, |limit| limit.min(own)))
}

/// The time left, in the form that `poll` takes; an error if nothing is left.
pub(super) fn timespec_until(limit: Option<Instant>) -> io::Result<Option<Timespec>> {
    let Some(limit) = limit else { return Ok(None) };
    let left = limit.saturating_duration_since(Instant::now());
    if left == Duration::ZERO {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(Timespec::try_from(left).ok())
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.sent) {
            self.wait(PollFlags::IN)?;
        }
        loop {
            let result = match &mut self.socket {
                Socket::Tcp(socket) => socket.read(buf),
                Socket::Unix(socket) => socket.read(buf),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sent = true;
        loop {
            let result = match &mut self.socket {
                Socket::Tcp(socket) => socket.write(buf),
                Socket::Unix(socket) => socket.write(buf),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn pair() -> (Stream, UnixStream, Cancel) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let cancel = Cancel::new().unwrap();
        (Stream::new(Socket::Unix(ours), cancel.clone()), theirs, cancel)
    }

    #[test]
    fn a_read_ends_at_its_limit() {
        let (mut stream, _theirs, _) = pair();
        stream.limit = Some(Instant::now() + Duration::from_millis(5));
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_read_ends_when_it_is_cancelled() {
        let (mut stream, _theirs, cancel) = pair();
        let reader = thread::spawn(move || stream.read(&mut [0]).unwrap_err());
        cancel.cancel();
        let error = reader.join().unwrap();
        assert_eq!(Fault::of(error).kind, NetErrorKind::Cancelled);
    }

    #[test]
    fn an_answer_on_its_way_is_read_after_a_cancel() {
        let (mut stream, mut theirs, cancel) = pair();
        stream.linger = Some(Duration::from_secs(10));
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        cancel.cancel();
        // The end of their side is the sign that the reader lingers.
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        theirs.write_all(b"answer").unwrap();
        drop(theirs);
        assert_eq!(reader.join().unwrap().unwrap(), "answer");
    }

    #[test]
    fn a_write_into_a_full_socket_ends_at_its_limit() {
        let (mut stream, _theirs, _) = pair();
        stream.limit = Some(Instant::now() + Duration::from_millis(5));
        let error = stream.write_all(&vec![0; 8 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_connection_with_something_to_read_is_not_idle() {
        let (stream, mut theirs, _) = pair();
        assert!(stream.is_idle());
        theirs.write_all(b"x").unwrap();
        assert!(!stream.is_idle());
        let (stream, theirs, _) = pair();
        drop(theirs);
        assert!(!stream.is_idle());
    }
}

//! One connected socket. Each read and write has a time limit and can be cancelled from another
//! thread.
//!
//! It is the only module of `net` that waits for the peer of a connection.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::cancel::Cancel;
use super::error::{Fault, NetErrorKind};

/// A socket whose reads and writes end at [`Stream::limit`], or when they are cancelled.
#[derive(Debug)]
pub(super) struct Stream {
    /// TCP or unix, non-blocking.
    socket: OwnedFd,
    cancel: Cancel,
    /// The moment at which a wait ends with `TimedOut`; `None` means no limit.
    pub(super) limit: Option<Instant>,
    /// How long to go on reading, after a cancel, for an answer that is already on its way.
    pub(super) linger: Option<Duration>,
    half_closed: bool,
    /// True if bytes were sent since the last read. The answer cannot be here yet, so a read waits
    /// first.
    sent: bool,
}

impl Stream {
    /// Takes a connected, non-blocking socket.
    pub(super) fn new(socket: OwnedFd, cancel: Cancel) -> Self {
        Self { socket, cancel, limit: None, linger: None, half_closed: false, sent: false }
    }

    /// True if an idle connection can carry another request: there is nothing to read, not even its
    /// end.
    pub(super) fn is_idle(&self) -> bool {
        let mut byte = [0];
        recv(&self.socket, &mut byte, RecvFlags::PEEK) == Err(Errno::AGAIN)
    }

    /// Repeats a call that would block once the socket is ready.
    fn repeat(
        &mut self,
        ready: PollFlags,
        mut call: impl FnMut(&OwnedFd) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match call(&self.socket) {
                Err(Errno::AGAIN) => self.wait(ready)?,
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn wait(&mut self, what: PollFlags) -> io::Result<()> {
        if !self.half_closed {
            let waited = wait_for(self.socket.as_fd(), what, self.limit, &self.cancel);
            match (waited, self.linger) {
                (Err(error), Some(_)) if what == PollFlags::IN && is_cancelled(&error) => {}
                (waited, _) => return waited,
            }
            // From here on the peer sees the end of our side and hands out nothing more. Anything
            // that it handed out before can still be read.
            self.half_closed = true;
            let _ = shutdown(&self.socket, Shutdown::Write);
        }
        let until = self.linger.and_then(|linger| Instant::now().checked_add(linger));
        let mut set = [PollFd::from_borrowed_fd(self.socket.as_fd(), what)];
        match poll(&mut set, timespec_until(until)?.as_ref()) {
            // After a signal, the caller tries again and comes back here.
            Ok(1..) | Err(Errno::INTR) => Ok(()),
            Ok(_) => Err(Fault::cancelled().into()),
            Err(error) => Err(error.into()),
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
            // Bytes that have arrived are read even after a cancel.
            Ok(_) if !set[0].revents().is_empty() => return Ok(()),
            Ok(_) if !set[1].revents().is_empty() => return Err(Fault::cancelled().into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The earlier of `limit` and `most` from now.
pub(super) fn earlier(limit: Option<Instant>, most: Duration) -> Option<Instant> {
    let own = Instant::now() + most;
    Some(limit.map_or(own, |limit| limit.min(own)))
}

/// The time left, in the form that `poll` takes; an error if none is left.
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
        self.repeat(PollFlags::IN, |socket| {
            recv(socket, &mut *buf, RecvFlags::empty()).map(|(read, _)| read)
        })
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sent = true;
        self.repeat(PollFlags::OUT, |socket| send(socket, buf, SendFlags::NOSIGNAL))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::thread;

    fn pair() -> (Stream, UnixStream, Cancel) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let cancel = Cancel::new().unwrap();
        (Stream::new(ours.into(), cancel.clone()), theirs, cancel)
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

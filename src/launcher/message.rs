//! The messages between the daemon and its launcher: three numbers a datagram. Both sides of
//! `launcher` use it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Bytes of a message.
const SIZE: usize = 12;

/// A child comes with the daemon's ends of three pipes: standard input, output and error.
const PIPES: usize = 3;

/// From the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Start the command of this index; the child is to have this number.
    Start { child: u32, command: u32 },
    /// Send SIGTERM to the child and its group.
    Terminate { child: u32 },
    /// Send SIGKILL to the child and its group.
    Kill { child: u32 },
}

/// From the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The child runs; its pipes come with this.
    Started { child: u32, pid: i32 },
    /// The system refused, with this error number.
    Failed { child: u32, errno: i32 },
    /// The child has ended and is reaped; its wait status.
    Ended { child: u32, status: i32 },
}

impl Request {
    /// As it is sent.
    pub fn words(self) -> [u32; 3] {
        match self {
            Self::Start { child, command } => [1, child, command],
            Self::Terminate { child } => [2, child, 0],
            Self::Kill { child } => [3, child, 0],
        }
    }

    /// As it was sent; `None` if the daemon never says this.
    pub fn of(words: [u32; 3]) -> Option<Self> {
        match words {
            [1, child, command] => Some(Self::Start { child, command }),
            [2, child, 0] => Some(Self::Terminate { child }),
            [3, child, 0] => Some(Self::Kill { child }),
            _ => None,
        }
    }
}

impl Event {
    /// As it is sent.
    pub fn words(self) -> [u32; 3] {
        match self {
            Self::Started { child, pid } => [1, child, pid.cast_unsigned()],
            Self::Failed { child, errno } => [2, child, errno.cast_unsigned()],
            Self::Ended { child, status } => [3, child, status.cast_unsigned()],
        }
    }

    /// As it was sent; `None` if the launcher never says this.
    pub fn of(words: [u32; 3]) -> Option<Self> {
        match words {
            [1, child, pid] => Some(Self::Started { child, pid: pid.cast_signed() }),
            [2, child, errno] => Some(Self::Failed { child, errno: errno.cast_signed() }),
            [3, child, status] => Some(Self::Ended { child, status: status.cast_signed() }),
            _ => None,
        }
    }
}

/// Sends one message, with a child's pipes or without.
pub(super) fn send(socket: impl AsFd, words: [u32; 3], pipes: &[OwnedFd]) -> io::Result<()> {
    let mut bytes = [0; SIZE];
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    let pipes: Vec<BorrowedFd<'_>> = pipes.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(PIPES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !pipes.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&pipes)) {
        return Err(io::Error::other("a child has three pipes"));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// Waits for one message and what came with it. `None` at the end of the other side.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Option<([u32; 3], Vec<OwnedFd>)>> {
    let mut bytes = [0; SIZE];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(PIPES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut pipes = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            pipes.extend(some);
        }
    }
    match received.bytes {
        0 => Ok(None),
        SIZE => {
            let word = |at: usize| {
                u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            Ok(Some(([word(0), word(4), word(8)], pipes)))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        for request in [
            Request::Start { child: 7, command: 1 },
            Request::Terminate { child: u32::MAX },
            Request::Kill { child: 0 },
        ] {
            assert_eq!(Request::of(request.words()), Some(request));
        }
        for event in [
            Event::Started { child: 7, pid: 4_194_303 },
            Event::Failed { child: 7, errno: 2 },
            Event::Ended { child: 7, status: -1 },
        ] {
            assert_eq!(Event::of(event.words()), Some(event));
        }
        assert_eq!(Request::of([4, 0, 0]), None);
        assert_eq!(Event::of([0, 0, 0]), None);
    }
}

//! Reads a pipe of the child until its end, or until the child is gone.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::net::Cancel;

/// How much is read at once, in bytes: the capacity of a pipe.
const READ_CHUNK: usize = 64 * 1024;

/// The maximum number of bytes that are still read after the child is gone: a full pipe of the
/// largest usual size. More can only come from a process that left the child's group.
const DRAIN_MAX: usize = 1024 * 1024;

/// Passes on all bytes until the pipe ends. Once the child is `gone`, it reads only the bytes that
/// are already in the pipe: a process that left the child's group may hold the other end open for
/// ever.
pub(super) fn read(pipe: &OwnedFd, gone: &Cancel, mut each: impl FnMut(&[u8])) {
    let mut buffer = vec![0; READ_CHUNK];
    let mut drained = 0;
    while drained <= DRAIN_MAX {
        let mut set = [
            PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(gone.fd(), PollFlags::IN),
        ];
        // If the wait fails, so does the read.
        let _ = poll(&mut set, None);
        match rustix::io::read(pipe, &mut buffer[..]) {
            Ok(0) => return,
            Ok(n) => {
                each(&buffer[..n]);
                if gone.is_cancelled() {
                    drained += n;
                }
            }
            Err(Errno::AGAIN) if gone.is_cancelled() => return,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

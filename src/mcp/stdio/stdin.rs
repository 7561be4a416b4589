//! The child's standard input: whole frames, one after another, never two at once (mcp-13).
//!
//! The pipe does not block. A worker writes its frame itself; the writer thread waits for the pipe
//! and writes what did not fit. Both write under the lock of the queue, so frames keep their
//! order. Two rules bound the queue: a worker has at most one frame in it and takes it back when
//! it gives up, and urgent frames have limits of their own.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::mailbox::{Mailbox, Outcome};
use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;

/// The maximum number of urgent frames (cancels, answers to the child) in the queue. No caller
/// waits for them, so nothing else bounds them. If there are more, the child does not read.
const URGENT_MAX: usize = 1024;

/// The maximum size of all urgent frames, in bytes.
const URGENT_BYTES: usize = 1024 * 1024;

/// The maximum number of bytes that are written before the lock is released: a few times the
/// capacity of a pipe. A worker leaves the rest to the writer thread.
const WRITE_MAX: usize = 256 * 1024;

/// One message for the child.
struct Frame {
    /// The line, including its end.
    bytes: Vec<u8>,
    /// The mailbox of the worker that waits for it, if one does.
    sender: Option<Arc<Mailbox>>,
    urgent: bool,
}

/// The reason why the writer thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriterEnd {
    /// [`Stdin::close`] was called.
    Closed,
    /// The child closed its end.
    Broken,
    /// The child read no byte for too long.
    Stalled,
}

/// The write end of the pipe and the frames that wait for it.
pub(super) struct Stdin {
    queue: Mutex<Queue>,
    work: Condvar,
    closed: Cancel,
    stall: Duration,
}

struct Queue {
    /// `None` once closed.
    pipe: Option<Arc<OwnedFd>>,
    /// The child closed its end.
    broken: bool,
    /// In the order in which the child gets them.
    frames: VecDeque<Frame>,
    /// How much of the first frame is written, in bytes.
    begun: usize,
    /// The time since which every attempt to write has found the pipe full.
    full_since: Option<Instant>,
}

impl Stdin {
    /// Takes the write end of the pipe, which must not block, and a fresh switch. `stall` is how
    /// long the child may read no byte while there is one for it.
    pub fn new(pipe: OwnedFd, closed: Cancel, stall: Duration) -> Self {
        let queue = Queue {
            pipe: Some(Arc::new(pipe)),
            broken: false,
            frames: VecDeque::new(),
            begun: 0,
            full_since: None,
        };
        Self { queue: Mutex::new(queue), work: Condvar::new(), closed, stall }
    }

    /// Adds a frame at the end; [`Stdin::pump`] writes it. Its mailbox learns when it is written,
    /// or that it never will be.
    pub fn push(&self, bytes: Vec<u8>, sender: Option<Arc<Mailbox>>) {
        self.lock().frames.push_back(Frame { bytes, sender, urgent: false });
    }

    /// Adds a frame that overtakes all but earlier urgent ones and the one that is half written.
    /// Returns false if there is no room.
    #[must_use]
    pub fn push_urgent(&self, bytes: Vec<u8>) -> bool {
        let mut queue = self.lock();
        let begun = queue.begun_frames();
        let earlier = queue.frames.iter().skip(begun).take_while(|frame| frame.urgent);
        let (count, size) =
            earlier.fold((0, 0), |(n, size), frame| (n + 1, size + frame.bytes.len()));
        if count >= URGENT_MAX || size + bytes.len() > URGENT_BYTES {
            return false;
        }
        queue.frames.insert(begun + count, Frame { bytes, sender: None, urgent: true });
        true
    }

    /// Removes a frame of which no byte is written yet. Returns true if there was one.
    pub fn take_back(&self, sender: &Arc<Mailbox>) -> bool {
        let mut queue = self.lock();
        let begun = queue.begun_frames();
        let is_its = |frame: &Frame| frame.sender.as_ref().is_some_and(|s| Arc::ptr_eq(s, sender));
        let place = queue.frames.iter().skip(begun).position(is_its);
        place.and_then(|at| queue.frames.remove(begun + at)).is_some()
    }

    /// Writes as much as the pipe takes, without waiting.
    pub fn pump(&self) {
        let mut queue = self.lock();
        queue.write();
        if !queue.frames.is_empty() {
            self.work.notify_one();
        }
    }

    /// Closes the pipe, which is how a child is asked to end (mcp-24).
    pub fn close(&self) {
        self.lock().pipe = None;
        self.closed.cancel();
        self.work.notify_one();
    }

    /// Clears the queue once the child is gone, and informs the senders whose frames were never
    /// begun. Returns the sender of the frame that was written in part.
    pub fn abandon(&self) -> Option<Arc<Mailbox>> {
        let mut queue = self.lock();
        let begun = queue.begun_frames();
        queue.begun = 0;
        for sender in queue.frames.drain(begun..).filter_map(|frame| frame.sender) {
            sender.finish(Outcome::Unsent);
        }
        queue.frames.pop_front()?.sender
    }

    /// The writer thread: waits for the pipe on behalf of everyone. When the child has read no byte
    /// for too long, `excused` decides whether it gets the same time again.
    pub fn run(&self, excused: impl Fn() -> bool) -> WriterEnd {
        loop {
            let mut queue = self.lock();
            let pipe = loop {
                match &queue.pipe {
                    None => return WriterEnd::Closed,
                    Some(_) if queue.broken => return WriterEnd::Broken,
                    Some(pipe) if !queue.frames.is_empty() => break pipe.clone(),
                    Some(_) => queue = self.work.wait(queue).unpoisoned(),
                }
            };
            let waited = queue.full_since.map_or(Duration::ZERO, |since| since.elapsed());
            drop(queue);
            self.wait_for_room(&pipe, self.stall.saturating_sub(waited));
            // The pipe closes with its last owner, which must not be this thread by accident.
            drop(pipe);
            let mut queue = self.lock();
            queue.write();
            if queue.full_since.is_none_or(|since| since.elapsed() < self.stall) {
                continue;
            }
            drop(queue);
            if !excused() {
                return WriterEnd::Stalled;
            }
            self.lock().full_since = Some(Instant::now());
        }
    }

    /// Waits until the pipe may have room, is closed, or `timeout` has passed. An attempt to write
    /// shows which.
    fn wait_for_room(&self, pipe: &OwnedFd, timeout: Duration) {
        let timeout = timeout.try_into().expect("a stall limit of minutes fits a timespec");
        let mut set = [
            PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::OUT),
            PollFd::from_borrowed_fd(self.closed.fd(), PollFlags::IN),
        ];
        let _ = poll(&mut set, Some(&timeout));
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unpoisoned()
    }
}

impl Queue {
    /// The number of frames that are written in part: one or none, always the first.
    fn begun_frames(&self) -> usize {
        usize::from(self.begun > 0)
    }

    /// Writes until nothing is left, the pipe is full or broken, or [`WRITE_MAX`] is reached.
    fn write(&mut self) {
        let mut budget = WRITE_MAX;
        while budget > 0 && !self.broken {
            let (Some(pipe), Some(frame)) = (&self.pipe, self.frames.front()) else { return };
            let rest = &frame.bytes[self.begun..];
            match rustix::io::write(pipe, &rest[..rest.len().min(budget)]) {
                Ok(written) => {
                    self.full_since = None;
                    budget -= written;
                    self.begun += written;
                    if self.begun == frame.bytes.len() {
                        self.begun = 0;
                        if let Some(sender) = self.frames.pop_front().and_then(|f| f.sender) {
                            sender.written();
                        }
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.full_since.get_or_insert_with(Instant::now);
                    return;
                }
                Err(_) => self.broken = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;
    use crate::mcp::stdio::mailbox::{CHILD_GONE, Next};

    fn pipe(stall: Duration) -> (Arc<Stdin>, File) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&write, true).unwrap();
        (Arc::new(Stdin::new(write, Cancel::new().unwrap(), stall)), File::from(read))
    }

    fn push(stdin: &Stdin, bytes: impl Into<Vec<u8>>) -> Arc<Mailbox> {
        let sender = Arc::new(Mailbox::of_notification());
        stdin.push(bytes.into(), Some(sender.clone()));
        sender
    }

    fn outcome(sender: &Mailbox) -> Next {
        sender.next(Instant::now() + LONG, &Cancel::new().unwrap())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test] // mcp-13
    fn frames_of_many_callers_never_interleave() {
        let (stdin, mut read) = pipe(LONG);
        let writer = thread::spawn({
            let stdin = stdin.clone();
            move || stdin.run(|| false)
        });
        let callers: Vec<_> = (0..8_u8)
            .map(|caller| {
                let stdin = stdin.clone();
                thread::spawn(move || {
                    for n in 0..20 {
                        let mut bytes = vec![b'a' + caller; 1 + 9_973 * n];
                        bytes.push(b'\n');
                        stdin.push(bytes, None);
                        stdin.pump();
                    }
                })
            })
            .collect();
        let expected: usize = (0..20).map(|n| 2 + 9_973 * n).sum::<usize>() * 8;
        let mut all = vec![0; expected];
        read.read_exact(&mut all).unwrap();
        for line in all.split(|b| *b == b'\n') {
            assert!(line.windows(2).all(|pair| pair[0] == pair[1]));
        }
        for caller in callers {
            caller.join().unwrap();
        }
        stdin.close();
        assert_eq!(writer.join().unwrap(), WriterEnd::Closed);
        assert_eq!(read.read(&mut [0]).unwrap(), 0, "the pipe is closed");
    }

    #[test] // stdio-202
    fn an_urgent_frame_overtakes_all_that_has_not_begun() {
        let (stdin, mut read) = pipe(LONG);
        let first = push(&stdin, vec![b'1'; 100_000]);
        stdin.pump();
        push(&stdin, "2");
        let third = push(&stdin, "3");
        assert!(stdin.push_urgent("4".into()) && stdin.push_urgent("5".into()));
        assert!(!stdin.take_back(&first), "the child has a part of it");
        assert!(stdin.take_back(&third));
        assert!(!stdin.take_back(&third));
        let writer = thread::spawn({
            let stdin = stdin.clone();
            move || stdin.run(|| false)
        });
        let mut all = vec![0; 100_003];
        read.read_exact(&mut all).unwrap();
        assert_eq!(&all[99_999..], b"1452");
        stdin.close();
        writer.join().unwrap();
    }

    #[test] // stdio-210
    fn a_child_that_takes_no_byte_is_stalled() {
        let (stdin, _read) = pipe(Duration::from_millis(20));
        let begun = push(&stdin, vec![b'1'; 100_000]);
        let unsent = push(&stdin, "2");
        stdin.pump();
        assert_eq!(stdin.run(|| false), WriterEnd::Stalled);
        assert!(stdin.abandon().is_some_and(|sender| Arc::ptr_eq(&sender, &begun)));
        assert_eq!(outcome(&unsent), Next::Outcome(Outcome::Unsent));
    }

    #[test] // stdio-210
    fn a_child_that_is_excused_gets_as_much_time_again() {
        let (stdin, _read) = pipe(Duration::from_millis(20));
        push(&stdin, vec![b'1'; 100_000]);
        let excuses = AtomicU32::new(0);
        let started = Instant::now();
        let end = stdin.run(|| excuses.fetch_add(1, Ordering::Relaxed) < 2);
        assert_eq!((end, excuses.into_inner()), (WriterEnd::Stalled, 3));
        assert!(started.elapsed() >= Duration::from_millis(60));
    }

    #[test]
    fn a_child_that_closed_its_input_breaks_the_pipe() {
        let (stdin, read) = pipe(LONG);
        drop(read);
        let unsent = push(&stdin, "1");
        assert_eq!(stdin.run(|| false), WriterEnd::Broken);
        assert!(stdin.abandon().is_none());
        assert_eq!(outcome(&unsent), Next::Outcome(Outcome::Unsent));
    }

    #[test]
    fn a_notification_is_done_when_it_is_written_and_a_request_is_not() {
        let (stdin, _read) = pipe(LONG);
        let request = Arc::new(Mailbox::of_request());
        stdin.push(b"1".to_vec(), Some(request.clone()));
        let notification = push(&stdin, "2");
        stdin.pump();
        assert_eq!(outcome(&notification), Next::Outcome(Outcome::Written));
        assert!(request.finish(Outcome::Lost(CHILD_GONE)));
    }

    #[test]
    fn the_urgent_lane_is_bounded() {
        let (stdin, _read) = pipe(LONG);
        for _ in 0..URGENT_MAX {
            assert!(stdin.push_urgent("x".into()));
        }
        assert!(!stdin.push_urgent("x".into()));
        let (stdin, _read) = pipe(LONG);
        assert!(stdin.push_urgent(vec![0; URGENT_BYTES]));
        assert!(!stdin.push_urgent("x".into()));
    }
}

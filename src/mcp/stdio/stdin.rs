//! The child's standard input: whole frames, one after another, never two at once (M-13).
//!
//! A caller writes its frame itself if the pipe has room and nobody else is writing; whatever is
//! left over is the writer thread's, the only one who waits for the pipe. The queue is bounded
//! by its users: a caller has at most one frame here and takes it back when it gives up, and the
//! urgent lane has limits of its own.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::CHILD_GONE;
use super::mailbox::{Mailbox, Outcome};
use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;

/// Most frames in the urgent lane (cancels, answers to the child): they have no caller who waits
/// and so bounds them. More of them means that the child does not read.
const URGENT_MAX: usize = 1024;

/// Most bytes in the urgent lane.
const URGENT_BYTES: usize = 1024 * 1024;

/// Frames that a caller writes before it leaves the rest to the writer thread, so that no worker
/// is kept busy with the frames of others.
const CALLER_FRAMES: usize = 8;

/// One message for the child.
#[derive(Debug)]
pub(super) struct Frame {
    /// Its name in this queue: of a request, the id that the child sees.
    pub number: u64,
    /// The line, with its end.
    pub bytes: Vec<u8>,
    /// Who waits until it is written.
    pub written: Option<Arc<Mailbox>>,
}

/// Why the writer thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriterEnd {
    /// [`Stdin::close`] was called.
    Closed,
    /// The child closed its end.
    Broken,
    /// The child took no byte for too long.
    Stalled,
}

/// The write end of the pipe and what waits for it.
pub(super) struct Stdin {
    queue: Mutex<Queue>,
    work: Condvar,
    closed: Cancel,
    stall: Duration,
}

struct Queue {
    /// `None` once closed.
    pipe: Option<Arc<OwnedFd>>,
    /// The frame whose turn it is, and how much of it the child has.
    current: Option<(Frame, usize)>,
    urgent: VecDeque<Frame>,
    urgent_bytes: usize,
    normal: VecDeque<Frame>,
    /// Someone is in `write` with the frame whose turn it is.
    busy: bool,
    broken: bool,
    /// Since when the pipe has been full at every look.
    full_since: Option<Instant>,
}

/// How an attempt to write ended.
#[derive(PartialEq, Eq)]
enum Pumped {
    /// Nothing is left, or someone else is at it.
    Done,
    /// The pipe is full.
    Full,
    /// The child closed its end.
    Broken,
    /// The caller has done its share.
    Enough,
}

impl Stdin {
    /// Takes the write end of the pipe, which must not block. `stall` is the longest time that
    /// the child may take no byte while there is one for it.
    pub fn new(pipe: OwnedFd, stall: Duration) -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::new(Queue {
                pipe: Some(Arc::new(pipe)),
                current: None,
                urgent: VecDeque::new(),
                urgent_bytes: 0,
                normal: VecDeque::new(),
                busy: false,
                broken: false,
                full_since: None,
            }),
            work: Condvar::new(),
            closed: Cancel::new()?,
            stall,
        })
    }

    /// Adds a frame at the end. [`Stdin::pump`] gets it on its way.
    pub fn push(&self, frame: Frame) {
        self.lock().normal.push_back(frame);
    }

    /// Adds a frame that overtakes all but the one that is being written and earlier urgent
    /// ones. Says whether there was room.
    #[must_use]
    pub fn push_urgent(&self, frame: Frame) -> bool {
        let mut queue = self.lock();
        if queue.urgent.len() >= URGENT_MAX || queue.urgent_bytes + frame.bytes.len() > URGENT_BYTES
        {
            return false;
        }
        queue.urgent_bytes += frame.bytes.len();
        queue.urgent.push_back(frame);
        true
    }

    /// Removes a frame of which the child has no byte yet. Says whether there was one.
    pub fn take_back(&self, number: u64) -> bool {
        let mut queue = self.lock();
        if !queue.busy && matches!(&queue.current, Some((frame, 0)) if frame.number == number) {
            queue.current = None;
            return true;
        }
        let place = queue.normal.iter().position(|frame| frame.number == number);
        place.and_then(|at| queue.normal.remove(at)).is_some()
    }

    /// Writes what the pipe takes, without waiting for it.
    pub fn pump(&self) {
        self.write(CALLER_FRAMES);
    }

    /// Closes the pipe, which is how a child is asked to end (M-24).
    pub fn close(&self) {
        self.lock().pipe = None;
        self.closed.cancel();
        self.work.notify_all();
    }

    /// What was never written, once the child is gone: the numbers of the frames of which it has
    /// no byte. Those who wait for a frame are told.
    pub fn abandon(&self) -> Vec<u64> {
        let mut queue = self.lock();
        let mut frames: Vec<_> = queue.current.take().into_iter().collect();
        frames.extend(queue.normal.drain(..).map(|frame| (frame, 0)));
        queue.urgent.clear();
        for (frame, end) in &frames {
            settle(frame, *end);
        }
        frames.into_iter().filter(|(_, end)| *end == 0).map(|(frame, _)| frame.number).collect()
    }

    /// The writer thread: waits for the pipe on behalf of everyone. When the child took no byte
    /// for too long, `excused` says whether it is to have as much time again.
    pub fn run(&self, excused: impl Fn() -> bool) -> WriterEnd {
        loop {
            let mut queue = self.lock();
            while queue.pipe.is_some() && !queue.broken && (queue.busy || queue.is_empty()) {
                queue = self.work.wait(queue).unpoisoned();
            }
            if queue.pipe.is_none() {
                return WriterEnd::Closed;
            }
            drop(queue);
            match self.write(usize::MAX) {
                Pumped::Broken => return WriterEnd::Broken,
                Pumped::Full if !self.wait_for_room() => {
                    if !excused() {
                        return WriterEnd::Stalled;
                    }
                    self.lock().full_since = None;
                }
                Pumped::Full | Pumped::Done | Pumped::Enough => {}
            }
        }
    }

    /// Waits until the pipe may have room again, or is closed. False if it had none for `stall`.
    fn wait_for_room(&self) -> bool {
        let (pipe, since) = {
            let queue = self.lock();
            match (&queue.pipe, queue.full_since) {
                (Some(pipe), Some(since)) => (pipe.clone(), since),
                _ => return true,
            }
        };
        let left = self.stall.saturating_sub(since.elapsed());
        let timeout = left.try_into().expect("a stall limit of minutes fits a timespec");
        let mut set = [
            PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::OUT),
            PollFd::from_borrowed_fd(self.closed.fd(), PollFlags::IN),
        ];
        // An interrupted wait is one that may have room; the next look tells.
        !matches!(poll(&mut set, Some(&timeout)), Ok(0))
    }

    fn write(&self, most: usize) -> Pumped {
        let mut queue = self.lock();
        if queue.busy {
            return Pumped::Done;
        }
        for _ in 0..most {
            if queue.broken {
                return Pumped::Broken;
            }
            let Some(pipe) = queue.pipe.clone() else { return Pumped::Done };
            let Some((frame, start)) = queue.next() else { return Pumped::Done };
            queue.busy = true;
            drop(queue);
            let (end, result) = write_some(&pipe, &frame.bytes, start);
            // The pipe closes with its last owner, which must not be this one by accident.
            drop(pipe);
            queue = self.lock();
            queue.busy = false;
            if end > start {
                queue.full_since = None;
            }
            match result {
                Ok(()) => {
                    if let Some(written) = &frame.written {
                        written.finish(Outcome::Written);
                    }
                }
                Err(_) if queue.pipe.is_none() => {
                    settle(&frame, end);
                    return Pumped::Done;
                }
                Err(error) => {
                    queue.current = Some((frame, end));
                    self.work.notify_one();
                    if error == Errno::AGAIN {
                        queue.full_since.get_or_insert_with(Instant::now);
                        return Pumped::Full;
                    }
                    queue.broken = true;
                    return Pumped::Broken;
                }
            }
        }
        self.work.notify_one();
        Pumped::Enough
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unpoisoned()
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.current.is_none() && self.urgent.is_empty() && self.normal.is_empty()
    }

    fn next(&mut self) -> Option<(Frame, usize)> {
        if let Some(current) = self.current.take() {
            // An untouched frame has no claim to its turn before an urgent one.
            match current {
                (frame, 0) if !self.urgent.is_empty() => self.normal.push_front(frame),
                current => return Some(current),
            }
        }
        if let Some(frame) = self.urgent.pop_front() {
            self.urgent_bytes -= frame.bytes.len();
            return Some((frame, 0));
        }
        self.normal.pop_front().map(|frame| (frame, 0))
    }
}

/// Tells whoever waits for a frame that it will not be written any further.
fn settle(frame: &Frame, end: usize) {
    let outcome = match end {
        0 => Outcome::Unsent,
        _ => Outcome::Lost(CHILD_GONE),
    };
    if let Some(written) = &frame.written {
        written.finish(outcome);
    }
}

/// Writes from `at` until the end or until the pipe takes no more. Returns how far it came.
fn write_some(pipe: &OwnedFd, bytes: &[u8], mut at: usize) -> (usize, Result<(), Errno>) {
    while at < bytes.len() {
        match rustix::io::write(pipe, &bytes[at..]) {
            Ok(n) => at += n,
            Err(Errno::INTR) => {}
            Err(error) => return (at, Err(error)),
        }
    }
    (at, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::thread;

    use super::*;

    fn pipe(stall: Duration) -> (Arc<Stdin>, File) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&write, true).unwrap();
        (Arc::new(Stdin::new(write, stall).unwrap()), File::from(read))
    }

    fn frame(number: u64, bytes: impl Into<Vec<u8>>) -> Frame {
        Frame { number, bytes: bytes.into(), written: None }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test] // M-13
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
                        stdin.push(frame(0, bytes));
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

    #[test] // B-2
    fn an_urgent_frame_overtakes_all_that_has_not_begun() {
        let (stdin, mut read) = pipe(LONG);
        stdin.push(frame(1, vec![b'1'; 100_000]));
        stdin.pump();
        stdin.push(frame(2, "2"));
        stdin.push(frame(3, "3"));
        assert!(stdin.push_urgent(frame(4, "4")));
        assert!(!stdin.take_back(1), "the child has a part of it");
        assert!(stdin.take_back(3));
        assert!(!stdin.take_back(3));
        let writer = thread::spawn({
            let stdin = stdin.clone();
            move || stdin.run(|| false)
        });
        let mut all = vec![0; 100_002];
        read.read_exact(&mut all).unwrap();
        assert_eq!(&all[99_999..], b"142");
        stdin.close();
        writer.join().unwrap();
    }

    #[test] // B-10
    fn a_child_that_takes_no_byte_is_stalled() {
        let (stdin, _read) = pipe(Duration::from_millis(20));
        let written = Arc::new(Mailbox::new());
        stdin.push(frame(1, vec![b'1'; 100_000]));
        stdin.push(Frame { written: Some(written.clone()), ..frame(2, "2") });
        stdin.pump();
        assert_eq!(stdin.run(|| false), WriterEnd::Stalled);
        assert_eq!(stdin.abandon(), [2], "of the first one the child has a part");
        let cancel = Cancel::new().unwrap();
        let next = written.next(Instant::now() + LONG, &cancel);
        assert_eq!(next, super::super::mailbox::Next::Outcome(Outcome::Unsent));
    }

    #[test]
    fn a_child_that_closed_its_input_breaks_the_pipe() {
        let (stdin, read) = pipe(LONG);
        drop(read);
        stdin.push(frame(1, "1"));
        assert_eq!(stdin.run(|| false), WriterEnd::Broken);
        assert_eq!(stdin.abandon(), [1]);
    }

    #[test]
    fn the_urgent_lane_is_bounded() {
        let (stdin, _read) = pipe(LONG);
        for n in 0..URGENT_MAX as u64 {
            assert!(stdin.push_urgent(frame(n, "x")));
        }
        assert!(!stdin.push_urgent(frame(0, "x")));
        let (stdin, _read) = pipe(LONG);
        assert!(stdin.push_urgent(frame(0, vec![0; URGENT_BYTES])));
        assert!(!stdin.push_urgent(frame(0, "x")));
    }
}

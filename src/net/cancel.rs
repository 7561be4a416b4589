//! One way to wake a thread that waits for a socket, a pipe or a channel. Every room that waits
//! takes a [`Cancel`]; this module depends on none of them.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{EventfdFlags, eventfd};

use crate::unpoisoned::Unpoisoned;

/// A switch that is thrown once and for good. It wakes every thread that waits on it.
///
/// A wait on file descriptors adds [`Cancel::fd`] to its poll set: it becomes and stays readable. A
/// wait on channels adds [`Cancel::channel`] to its select: it disconnects.
#[derive(Clone)]
pub struct Cancel(Arc<Inner>);

struct Inner {
    cancelled: AtomicBool,
    event: OwnedFd,
    receiver: Receiver<()>,
    sender: Mutex<Option<Sender<()>>>,
    /// The switches made by [`Cancel::child`]. Those that are no longer in use are removed when the
    /// next one is made.
    children: Mutex<Vec<Weak<Inner>>>,
}

impl Cancel {
    /// A switch that is not thrown yet.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (sender, receiver) = crossbeam_channel::bounded(0);
        Ok(Self(Arc::new(Inner {
            cancelled: AtomicBool::new(false),
            event,
            receiver,
            sender: Mutex::new(Some(sender)),
            children: Mutex::default(),
        })))
    }

    /// A switch that is thrown with this one, and can also be thrown alone.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub fn child(&self) -> io::Result<Self> {
        let child = Self::new()?;
        let mut children = self.children();
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child.0));
        // Checked under the lock: a cancel either finds the child in the list or is seen here.
        if self.is_cancelled() {
            child.cancel();
        }
        drop(children);
        Ok(child)
    }

    /// True if both are the same switch.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Inner>>> {
        self.0.children.lock().unpoisoned()
    }

    /// Throws the switch: it wakes every thread that waits on it, and later waits end at once.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        // It fails only if the counter is full, and then the descriptor is readable anyway.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
        drop(self.0.sender.lock().unpoisoned().take());
        for child in self.children().drain(..).filter_map(|child| child.upgrade()) {
            Self(child).cancel();
        }
    }

    /// True if the switch was thrown.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Readable once the switch is thrown, and from then on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }

    /// Disconnected once the switch is thrown; nothing is ever sent on it.
    pub fn channel(&self) -> &Receiver<()> {
        &self.0.receiver
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_child_is_cancelled_alone_or_with_its_parent() {
        let parent = Cancel::new().unwrap();
        let (alone, together) = (parent.child().unwrap(), parent.child().unwrap());
        alone.cancel();
        assert!(alone.is_cancelled() && !parent.is_cancelled() && !together.is_cancelled());
        parent.cancel();
        assert!(together.is_cancelled());
        assert!(parent.child().unwrap().is_cancelled());
    }

    #[test]
    fn a_cancel_wakes_waits_on_channels_and_descriptors() {
        let cancel = Cancel::new().unwrap();
        let waiting = cancel.clone();
        let thread = thread::spawn(move || {
            assert!(waiting.channel().recv().is_err());
            let mut set = [rustix::event::PollFd::from_borrowed_fd(
                waiting.fd(),
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut set, None).unwrap()
        });
        cancel.cancel();
        cancel.cancel();
        assert_eq!(thread.join().unwrap(), 1);
        assert!(cancel.is_cancelled());
    }
}

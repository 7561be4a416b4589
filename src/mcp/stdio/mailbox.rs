//! The mailbox in which one worker waits for the outcome of its message: notifications, then the
//! answer. The child's reader fills it and never blocks on it. It is bounded, but the answer always
//! fits.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::mcp::backlog::Backlog;
use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;
use crate::wire::{Failure, FailureKind, FailureSource};

/// The child ended, or closed its output, before it answered.
pub(super) const CHILD_GONE: Failure =
    Failure::new(FailureSource::TransportClosed, FailureKind::Eof);

/// The outcome of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The child's answer, with the client's own id.
    Answer {
        /// The whole message.
        json: String,
        /// Its `error.code`, if it is an error.
        error_code: Option<i64>,
    },
    /// There will be no answer.
    Lost(Failure),
    /// The child is gone without having read a byte of the frame.
    Unsent,
    /// The whole frame is written. A notification waits for nothing more.
    Written,
}

/// The result of a wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A notification; more may follow.
    Note(String),
    /// The end.
    Outcome(Outcome),
    /// The client cancelled its call, and the child has not answered since.
    Withdrawn,
    /// The limit passed.
    TimedOut,
    /// The worker was cancelled.
    Cancelled,
}

/// The mailbox of one message.
#[derive(Debug)]
pub(super) struct Mailbox {
    slot: Mutex<Slot>,
    ring: Sender<()>,
    bell: Receiver<()>,
    /// True if nothing follows once the message is written.
    until_written: bool,
}

#[derive(Debug)]
struct Slot {
    notes: Backlog,
    outcome: Option<Outcome>,
    withdrawn_at: Option<Instant>,
}

impl Mailbox {
    /// For a request: its worker waits for the answer.
    pub fn of_request() -> Self {
        Self::new(false)
    }

    /// For a notification: its worker waits until it is written.
    pub fn of_notification() -> Self {
        Self::new(true)
    }

    fn new(until_written: bool) -> Self {
        let (ring, bell) = bounded(1);
        let slot = Slot { notes: Backlog::new(), outcome: None, withdrawn_at: None };
        Self { slot: Mutex::new(slot), ring, bell, until_written }
    }

    /// Adds a notification; `token` is its progress token, if it is progress. Returns how many
    /// notifications were dropped to make room.
    pub fn note(&self, text: String, token: Option<String>) -> u64 {
        let dropped = self.lock().notes.push(text, token);
        self.wake();
        dropped
    }

    /// Sets the outcome. If one is set already, drops the new one and returns false.
    pub fn finish(&self, outcome: Outcome) -> bool {
        let mut slot = self.lock();
        if slot.outcome.is_some() {
            return false;
        }
        slot.outcome = Some(outcome);
        drop(slot);
        self.wake();
        true
    }

    /// Records that the whole message is written.
    pub fn written(&self) {
        if self.until_written {
            self.finish(Outcome::Written);
        }
    }

    /// Records that the client cancelled: if the child has not answered by `at`, the worker stops
    /// waiting.
    pub fn withdraw(&self, at: Instant) {
        self.lock().withdrawn_at.get_or_insert(at);
        self.wake();
    }

    /// Waits for the next item: notifications in order, then the outcome. After `limit` only an
    /// outcome that is already there is handed out.
    pub fn next(&self, limit: Instant, cancel: &Cancel) -> Next {
        loop {
            let until = {
                let mut slot = self.lock();
                if Instant::now() >= limit {
                    slot.notes = Backlog::new();
                }
                if let Some(note) = slot.notes.pop() {
                    return Next::Note(note);
                }
                if let Some(outcome) = slot.outcome.take() {
                    return Next::Outcome(outcome);
                }
                if cancel.is_cancelled() {
                    return Next::Cancelled;
                }
                let now = Instant::now();
                if now >= limit {
                    return Next::TimedOut;
                }
                if slot.withdrawn_at.is_some_and(|at| now >= at) {
                    return Next::Withdrawn;
                }
                slot.withdrawn_at.map_or(limit, |at| at.min(limit))
            };
            crossbeam_channel::select! {
                recv(self.bell) -> _ => {}
                recv(cancel.channel()) -> _ => {}
                recv(crossbeam_channel::at(until)) -> _ => {}
            }
            self.lock().notes.caught_up();
        }
    }

    fn wake(&self) {
        // A full channel means that a wake-up is already on its way.
        let _ = self.ring.try_send(());
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unpoisoned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drain(mailbox: &Mailbox) -> Vec<String> {
        let cancel = Cancel::new().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        mailbox.finish(Outcome::Written);
        let mut notes = Vec::new();
        while let Next::Note(note) = mailbox.next(limit, &cancel) {
            notes.push(note);
        }
        notes
    }

    #[test] // mcp-5
    fn notifications_come_before_the_answer() {
        let mailbox = Mailbox::of_request();
        mailbox.note("a".to_owned(), Some("1".to_owned()));
        mailbox.note("b".to_owned(), None);
        assert_eq!(drain(&mailbox), ["a", "b"]);
    }

    #[test]
    fn after_the_limit_an_answer_that_is_there_is_still_handed_out() {
        let mailbox = Mailbox::of_request();
        let cancel = Cancel::new().unwrap();
        let past = Instant::now();
        mailbox.note("late".to_owned(), None);
        assert_eq!(mailbox.next(past, &cancel), Next::TimedOut);
        mailbox.finish(Outcome::Unsent);
        mailbox.finish(Outcome::Written);
        assert_eq!(mailbox.next(past, &cancel), Next::Outcome(Outcome::Unsent));
    }

    #[test]
    fn a_wait_ends_by_limit_cancel_or_withdrawal() {
        let mailbox = Mailbox::of_request();
        let cancel = Cancel::new().unwrap();
        let far = Instant::now() + Duration::from_secs(60);
        mailbox.withdraw(Instant::now());
        assert_eq!(mailbox.next(far, &cancel), Next::Withdrawn);
        cancel.cancel();
        assert_eq!(mailbox.next(far, &cancel), Next::Cancelled);
    }
}

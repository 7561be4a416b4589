//! Where one worker waits for what the child says to its call. The child's reader fills it and
//! never blocks on it; it is bounded, and the answer always fits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::mcp::backlog::BEHIND;
use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;
use crate::wire::Failure;

/// Most notifications that wait for one worker. A worker that posts each of them is slower than
/// a child that writes them; beyond this, progress gives way.
const NOTES_MAX: usize = 256;

/// Most bytes of such notifications. A single larger one passes when nothing else waits.
const NOTES_BYTES: usize = 1024 * 1024;

/// How what the worker waits for came out.
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
    /// The child took no byte of the frame, and is gone.
    Unsent,
    /// The frame was written whole; only notifications wait for this.
    Written,
}

/// What a wait ended with.
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
    /// The worker was told to give up.
    Cancelled,
}

/// One call's mailbox.
#[derive(Debug)]
pub(super) struct Mailbox {
    slot: Mutex<Slot>,
    ring: Sender<()>,
    bell: Receiver<()>,
}

#[derive(Debug)]
struct Slot {
    /// When the worker last had posted all that was there.
    caught_up: Instant,
    notes: VecDeque<Note>,
    bytes: usize,
    outcome: Option<Outcome>,
    withdrawn_at: Option<Instant>,
}

#[derive(Debug)]
struct Note {
    text: String,
    progress: bool,
}

impl Slot {
    /// The next notification; progress that was overtaken by later progress while the worker was
    /// behind is passed over (B-27).
    fn next_note(&mut self) -> Option<String> {
        let behind = self.caught_up.elapsed() > BEHIND;
        loop {
            let note = self.notes.pop_front()?;
            self.bytes -= note.text.len();
            if !(behind && note.progress && self.notes.iter().any(|later| later.progress)) {
                return Some(note.text);
            }
        }
    }
}

impl Mailbox {
    pub fn new() -> Self {
        let (ring, bell) = bounded(1);
        let slot = Slot {
            caught_up: Instant::now(),
            notes: VecDeque::new(),
            bytes: 0,
            outcome: None,
            withdrawn_at: None,
        };
        Self { slot: Mutex::new(slot), ring, bell }
    }

    /// Adds a notification. When there is no room, the oldest progress goes: a later one says
    /// more, and all progress of a mailbox is of one token (B-27). Returns how many were dropped.
    pub fn note(&self, text: String, progress: bool) -> u64 {
        let mut slot = self.lock();
        let mut dropped = 0;
        while !slot.notes.is_empty()
            && (slot.notes.len() >= NOTES_MAX || slot.bytes + text.len() > NOTES_BYTES)
        {
            dropped += 1;
            match slot.notes.iter().position(|note| note.progress) {
                Some(oldest) => {
                    let note = slot.notes.remove(oldest).expect("the position was just found");
                    slot.bytes -= note.text.len();
                }
                None => return dropped,
            }
        }
        slot.bytes += text.len();
        slot.notes.push_back(Note { text, progress });
        drop(slot);
        self.wake();
        dropped
    }

    /// Says how it came out; the first word counts.
    pub fn finish(&self, outcome: Outcome) {
        self.lock().outcome.get_or_insert(outcome);
        self.wake();
    }

    /// The client cancelled: if the child has not answered by then, stop waiting.
    pub fn withdraw(&self, at: Instant) {
        self.lock().withdrawn_at.get_or_insert(at);
        self.wake();
    }

    /// Waits for what comes next: notifications in order, then the outcome. After `limit` only
    /// an outcome that is already there is handed out.
    pub fn next(&self, limit: Instant, cancel: &Cancel) -> Next {
        loop {
            let until = {
                let mut slot = self.lock();
                if Instant::now() >= limit {
                    slot.notes.clear();
                    slot.bytes = 0;
                }
                if let Some(note) = slot.next_note() {
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
            self.lock().caught_up = Instant::now();
        }
    }

    fn wake(&self) {
        // A full channel means that a wake-up is on its way already.
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

    #[test] // M-5
    fn notifications_come_before_the_answer() {
        let mailbox = Mailbox::new();
        mailbox.note("a".to_owned(), true);
        mailbox.note("b".to_owned(), false);
        assert_eq!(drain(&mailbox), ["a", "b"]);
    }

    #[test] // B-27
    fn a_worker_that_is_behind_skips_progress_that_later_progress_overtook() {
        let mailbox = Mailbox::new();
        for (text, progress) in [("1", true), ("log", false), ("2", true), ("3", true)] {
            mailbox.note(text.to_owned(), progress);
        }
        mailbox.lock().caught_up -= BEHIND * 2;
        assert_eq!(drain(&mailbox), ["log", "3"]);
    }

    #[test] // B-27
    fn a_full_mailbox_keeps_the_latest_progress_and_all_else_that_came_first() {
        let mailbox = Mailbox::new();
        mailbox.note("log".to_owned(), false);
        let mut dropped = 0;
        for n in 0..NOTES_MAX + 10 {
            dropped += mailbox.note(n.to_string(), true);
        }
        let notes = drain(&mailbox);
        assert_eq!(dropped, 11);
        assert_eq!(notes.len(), NOTES_MAX);
        assert_eq!(notes[0], "log");
        assert_eq!(notes[1], "11");
        assert_eq!(notes[NOTES_MAX - 1], (NOTES_MAX + 9).to_string());
    }

    #[test]
    fn a_mailbox_is_bounded_in_bytes_and_one_large_notification_passes() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.note("x".repeat(2 * NOTES_BYTES), false), 0);
        assert_eq!(mailbox.note("y".to_owned(), false), 1);
        assert_eq!(drain(&mailbox).len(), 1);
    }

    #[test]
    fn after_the_limit_an_answer_that_is_there_is_still_handed_out() {
        let mailbox = Mailbox::new();
        let cancel = Cancel::new().unwrap();
        let past = Instant::now();
        mailbox.note("late".to_owned(), false);
        assert_eq!(mailbox.next(past, &cancel), Next::TimedOut);
        mailbox.finish(Outcome::Unsent);
        mailbox.finish(Outcome::Written);
        assert_eq!(mailbox.next(past, &cancel), Next::Outcome(Outcome::Unsent));
    }

    #[test]
    fn a_wait_ends_by_limit_cancel_or_withdrawal() {
        let mailbox = Mailbox::new();
        let cancel = Cancel::new().unwrap();
        let far = Instant::now() + Duration::from_secs(60);
        mailbox.withdraw(Instant::now());
        assert_eq!(mailbox.next(far, &cancel), Next::Withdrawn);
        cancel.cancel();
        assert_eq!(mailbox.next(far, &cancel), Next::Cancelled);
    }
}

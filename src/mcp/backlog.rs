//! Notifications of one call that have arrived and are not posted yet. `http` and `stdio` fill it
//! and empty it; it never waits.
//!
//! The control plane may be slower than the MCP server. While it is, the server must not be held
//! up for every step of a progress bar, and posting old steps must not use up the time of the
//! answer. So a call that has fallen behind posts only the latest progress of each token, and all
//! other notifications in order (forwarding-227).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::wire::Message;

/// How long a call may be busy posting notifications, without having caught up with its server,
/// before it leaves out old progress: the most that old progress may cost the answer.
const BEHIND: Duration = Duration::from_secs(1);

/// Most notifications that wait.
const NOTES_MAX: usize = 256;

/// Most bytes of notifications that wait; a single larger one passes.
const BYTES_MAX: usize = 1024 * 1024;

/// The notifications, oldest first.
#[derive(Debug)]
pub(super) struct Backlog {
    notes: VecDeque<Note>,
    bytes: usize,
    /// When everything that had arrived was last posted.
    caught_up: Instant,
}

#[derive(Debug)]
struct Note {
    text: String,
    /// The progress token, as JSON text, if it is progress.
    token: Option<String>,
}

impl Backlog {
    pub fn new() -> Self {
        Self { notes: VecDeque::new(), bytes: 0, caught_up: Instant::now() }
    }

    /// Whether no other notification fits. A call over HTTP then leaves the rest in the socket.
    pub fn is_full(&self) -> bool {
        self.notes.len() >= NOTES_MAX || self.bytes >= BYTES_MAX
    }

    /// Adds a notification; `token` is its progress token as JSON text, if it is progress. If the
    /// backlog is full, the oldest progress makes room, because later progress says more; without
    /// any progress the new notification is dropped. Returns how many were dropped.
    pub fn push(&mut self, text: String, token: Option<String>) -> u64 {
        let mut dropped = 0;
        while self.is_full() {
            dropped += 1;
            let oldest = self.notes.iter().position(|note| note.token.is_some());
            let Some(note) = oldest.and_then(|at| self.notes.remove(at)) else { return dropped };
            self.bytes -= note.text.len();
        }
        self.bytes += text.len();
        self.notes.push_back(Note { text, token });
        dropped
    }

    /// The oldest notification. A call that is behind skips progress that later progress of the
    /// same token has overtaken.
    pub fn pop(&mut self) -> Option<String> {
        let behind = self.caught_up.elapsed() > BEHIND;
        loop {
            let note = self.notes.pop_front()?;
            self.bytes -= note.text.len();
            let overtaken =
                note.token.is_some() && self.notes.iter().any(|later| later.token == note.token);
            if !(behind && overtaken) {
                return Some(note.text);
            }
        }
    }

    /// Whether no notification waits.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Everything that had arrived is posted, and the call has waited for more.
    pub fn caught_up(&mut self) {
        self.caught_up = Instant::now();
    }
}

/// The token of a progress notification, as JSON text.
pub(super) fn progress_token(message: &Message) -> Option<String> {
    if message.method() != Some("notifications/progress") {
        return None;
    }
    message.param("progressToken").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut backlog: Backlog) -> Vec<String> {
        std::iter::from_fn(|| backlog.pop()).collect()
    }

    fn behind(mut backlog: Backlog) -> Backlog {
        backlog.caught_up -= BEHIND * 2;
        backlog
    }

    fn mixed() -> Backlog {
        let mut backlog = Backlog::new();
        for (text, token) in [
            ("a1", Some("1")),
            ("b1", Some("\"1\"")),
            ("a2", Some("1")),
            ("log", None),
            ("a3", Some("1")),
            ("log", None),
        ] {
            assert_eq!(backlog.push(text.to_owned(), token.map(str::to_owned)), 0);
        }
        backlog
    }

    #[test] // forwarding-227
    fn a_call_that_is_behind_posts_the_latest_progress_and_all_else_in_its_order() {
        assert_eq!(drain(behind(mixed())), ["b1", "log", "a3", "log"]);
    }

    #[test] // forwarding-22
    fn a_call_that_keeps_up_posts_everything() {
        assert_eq!(drain(mixed()).len(), 6);
    }

    #[test] // forwarding-227
    fn progress_without_a_token_is_like_any_other_notification() {
        let token = |text: &str| progress_token(&Message::parse(text).unwrap());
        let progress =
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"1"}}"#;
        assert_eq!(token(progress).as_deref(), Some("\"1\""));
        assert_eq!(token(&progress.replace("/progress", "/message")), None);
        let bare = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
        let mut backlog = Backlog::new();
        backlog.push(bare.to_owned(), token(bare));
        backlog.push(bare.to_owned(), token(bare));
        assert_eq!(drain(behind(backlog)).len(), 2);
    }

    #[test] // forwarding-227
    fn a_full_backlog_keeps_the_latest_progress_and_all_else_that_came_first() {
        let mut backlog = Backlog::new();
        backlog.push("log".to_owned(), None);
        let mut dropped = 0;
        for n in 0..NOTES_MAX + 10 {
            dropped += backlog.push(n.to_string(), Some("1".to_owned()));
        }
        let notes = drain(backlog);
        assert_eq!((dropped, notes.len()), (11, NOTES_MAX));
        assert_eq!((notes[0].as_str(), notes[1].as_str()), ("log", "11"));
        assert_eq!(notes[NOTES_MAX - 1], (NOTES_MAX + 9).to_string());
    }

    #[test] // forwarding-227
    fn it_is_full_by_number_or_by_bytes() {
        let mut backlog = Backlog::new();
        for n in 0..NOTES_MAX {
            assert!(!backlog.is_full(), "{n}");
            backlog.push("{}".to_owned(), None);
        }
        assert!(backlog.is_full());
        let mut backlog = Backlog::new();
        backlog.push("x".repeat(2 * BYTES_MAX), None);
        assert!(backlog.is_full());
        assert_eq!(backlog.push("y".to_owned(), None), 1, "nothing in it gives way");
        backlog.pop();
        assert!(!backlog.is_full() && backlog.is_empty());
    }
}

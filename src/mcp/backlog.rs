//! Notifications of one call that have arrived and are not posted yet.
//!
//! The control plane may be slower than the MCP server. Then the server must not be held up for
//! every step of a progress bar, nor may the posting of old steps use up the time of the answer:
//! of the progress of one token only the latest waits, all else keeps its place (B-27).

use std::collections::VecDeque;

use crate::wire::json::Members;

/// Most notifications that wait. A call that has more to say waits with them in the socket.
const NOTES_MAX: usize = 256;

/// Most bytes of notifications that wait; a single larger one passes.
const BYTES_MAX: usize = 1024 * 1024;

/// The notifications, oldest first.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    notes: VecDeque<Note>,
    bytes: usize,
}

#[derive(Debug)]
struct Note {
    text: String,
    /// The token, as JSON text, if it is progress.
    token: Option<String>,
}

impl Backlog {
    /// Whether another notification may be taken in.
    pub fn has_room(&self) -> bool {
        self.notes.len() < NOTES_MAX && self.bytes < BYTES_MAX
    }

    /// Takes in a notification; an earlier progress of the same token gives way to it.
    pub fn push(&mut self, method: &str, text: String) {
        let token = if method == "notifications/progress" { token(&text) } else { None };
        if token.is_some()
            && let Some(older) = self.notes.iter().position(|note| note.token == token)
            && let Some(older) = self.notes.remove(older)
        {
            self.bytes -= older.text.len();
        }
        self.bytes += text.len();
        self.notes.push_back(Note { text, token });
    }

    /// The oldest notification.
    pub fn pop(&mut self) -> Option<String> {
        let note = self.notes.pop_front()?;
        self.bytes -= note.text.len();
        Some(note.text)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }
}

fn token(progress: &str) -> Option<String> {
    let params = Members::of(progress).ok()?.get("params")?;
    Members::of(params).ok()?.get("progressToken").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(token: &str, step: u32) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#
        )
    }

    fn drain(mut backlog: Backlog) -> Vec<String> {
        std::iter::from_fn(|| backlog.pop()).collect()
    }

    #[test] // B-27
    fn the_latest_progress_of_a_token_waits_and_all_else_keeps_its_place() {
        let mut backlog = Backlog::default();
        for (token, step) in [("1", 1), ("\"1\"", 1), ("1", 2)] {
            backlog.push("notifications/progress", progress(token, step));
        }
        backlog.push("notifications/message", "log".to_owned());
        backlog.push("notifications/progress", progress("1", 3));
        backlog.push("notifications/message", "log".to_owned());
        let expected = [&progress("\"1\"", 1), "log", &progress("1", 3), "log"].map(str::to_owned);
        assert_eq!(drain(backlog), expected);
    }

    #[test] // B-27
    fn progress_without_a_token_is_like_any_other_notification() {
        let mut backlog = Backlog::default();
        backlog.push("notifications/progress", "{}".to_owned());
        backlog.push("notifications/progress", "{}".to_owned());
        assert_eq!(drain(backlog).len(), 2);
    }

    #[test] // B-27
    fn it_is_full_by_number_or_by_bytes() {
        let mut backlog = Backlog::default();
        for n in 0..NOTES_MAX {
            assert!(backlog.has_room(), "{n}");
            backlog.push("n", "{}".to_owned());
        }
        assert!(!backlog.has_room());
        let mut backlog = Backlog::default();
        backlog.push("n", "x".repeat(BYTES_MAX));
        assert!(!backlog.has_room());
        backlog.pop();
        assert!(backlog.has_room() && backlog.is_empty());
    }
}

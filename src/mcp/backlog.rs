//! Notifications of one call that have arrived and are not posted yet.
//!
//! The control plane may be slower than the MCP server. While it is, the server must not be held
//! up for every step of a progress bar, nor may the posting of old steps use up the time of the
//! answer: of the progress of one token only the latest is posted, all else in its order (B-27).

use std::collections::VecDeque;
use std::time::Duration;

use crate::wire::json::Members;

/// How long a call may be busy posting notifications, without having caught up with its server,
/// before it leaves out old progress: what old progress may cost the answer, at most.
pub(super) const BEHIND: Duration = Duration::from_secs(1);

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

    /// Takes in a notification.
    pub fn push(&mut self, method: &str, text: String) {
        let token = if method == "notifications/progress" { token(&text) } else { None };
        self.bytes += text.len();
        self.notes.push_back(Note { text, token });
    }

    /// The oldest notification; if the call is `behind`, progress that later progress of the same
    /// token has overtaken is passed over.
    pub fn pop(&mut self, behind: bool) -> Option<String> {
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

    fn drain(mut backlog: Backlog, behind: bool) -> Vec<String> {
        std::iter::from_fn(|| backlog.pop(behind)).collect()
    }

    fn mixed() -> Backlog {
        let mut backlog = Backlog::default();
        for (token, step) in [("1", 1), ("\"1\"", 1), ("1", 2)] {
            backlog.push("notifications/progress", progress(token, step));
        }
        backlog.push("notifications/message", "log".to_owned());
        backlog.push("notifications/progress", progress("1", 3));
        backlog.push("notifications/message", "log".to_owned());
        backlog
    }

    #[test] // B-27
    fn a_call_that_is_behind_posts_the_latest_progress_and_all_else_in_its_order() {
        let expected = [&progress("\"1\"", 1), "log", &progress("1", 3), "log"];
        assert_eq!(drain(mixed(), true), expected.map(str::to_owned));
    }

    #[test] // F-22
    fn a_call_that_keeps_up_posts_everything() {
        assert_eq!(drain(mixed(), false).len(), 6);
    }

    #[test] // B-27
    fn progress_without_a_token_is_like_any_other_notification() {
        let mut backlog = Backlog::default();
        backlog.push("notifications/progress", "{}".to_owned());
        backlog.push("notifications/progress", "{}".to_owned());
        assert_eq!(drain(backlog, true).len(), 2);
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
        backlog.pop(false);
        assert!(backlog.has_room() && backlog.is_empty());
    }
}

//! What became of a command, told once when it is over. The worker fills it in; the daemon makes
//! the audit trail, the page and the counts of it.
//!
//! It never holds a payload.

use std::sync::Arc;
use std::time::Duration;

use crate::wire::{Command, Failure, FailureKind, FailureSource, Response};

/// Why a command got no final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Its deadline passed before a worker took it.
    DeadlineQueued,
    /// Its deadline passed at the MCP server.
    DeadlineServer,
    /// Its deadline passed while its answer was posted.
    DeadlinePost,
    /// Its answer could not be delivered.
    PostFailed,
    /// The service no longer waited for the answer.
    Gone,
    /// The process ended.
    Stopping,
}

impl Dropped {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeadlineQueued => "deadline_queued",
            Self::DeadlineServer => "deadline_server",
            Self::DeadlinePost => "deadline_post",
            Self::PostFailed => "post_failed",
            Self::Gone => "gone",
            Self::Stopping => "stopping",
        }
    }
}

/// How a command ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer of the server was delivered.
    #[default]
    Answered,
    /// A failure of the private hop was reported.
    Failed,
    /// It was cancelled before it started, or it is the cancel that did this.
    Withdrawn,
    /// Its channel is not served here.
    UnsupportedChannel,
    /// No final answer was delivered.
    Dropped(Dropped),
}

/// How one command went.
#[derive(Debug, Default)]
pub struct Summary {
    /// How it ended.
    pub outcome: Outcome,
    /// The failure of the private hop that was found, delivered or not.
    pub failure: Option<(FailureSource, FailureKind)>,
    /// Whether its channel is served here.
    pub is_served: bool,
    /// The status that was posted; 0 if none was.
    pub status: u16,
    /// Bytes of all messages that were posted for it.
    pub bytes_out: u64,
    /// From its receipt to a worker.
    pub queued: Duration,
    /// At the MCP server, if it went there.
    pub server: Option<Duration>,
}

impl Summary {
    /// The private hop failed.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.failure = Some((failure.source, failure.kind));
        self.outcome = Outcome::Failed;
    }

    /// It was dropped: whatever was found before has not reached anyone.
    pub(super) fn dropped(&mut self, reason: Dropped) {
        self.outcome = Outcome::Dropped(reason);
        self.status = 0;
    }

    /// A notification or the final answer is about to be posted.
    pub(super) fn posting(&mut self, response: &Response) {
        self.bytes_out += response.resp_json.as_ref().map_or(0, |json| json.len() as u64);
        if response.resp_type.is_final() {
            self.status = response.resp_code;
        }
    }
}

/// Told of each command that is over, by the worker. It must not wait for anything but a local
/// file.
pub type Observer = Arc<dyn Fn(&Command, &Summary) + Send + Sync>;

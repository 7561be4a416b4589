//! What an operator sees of a channel: whether it serves, and what happened on it. The channel
//! writes it, `ops` reads it.

use std::time::{Duration, Instant};

use crate::stats::{Counter, Gauge};

/// Whether the channel serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StdioState {
    /// The child runs and is not known to serve: it was started a moment ago, it does not answer,
    /// or it was restarted and is not yet in the state that its clients rely on.
    Starting {
        /// When it was started.
        since: Instant,
    },
    /// The child has answered, or it runs and nobody has asked it anything (see
    /// [`Limits::settle`](super::Limits::settle)).
    Up {
        /// Since when.
        since: Instant,
    },
    /// The child runs, and several calls in a row have timed out without a word from it.
    Silent {
        /// How many.
        calls: u32,
    },
    /// No child serves.
    Down {
        /// Why, in words.
        reason: String,
        /// How long until the next one is started; `None` if that is not decided yet.
        next_try_in: Option<Duration>,
    },
}

impl StdioState {
    /// One line for the operator if the channel does not serve.
    pub fn complaint(&self) -> Option<String> {
        match self {
            Self::Up { .. } => None,
            Self::Starting { since } => Some(format!(
                "child was started {} s ago and has not answered yet",
                since.elapsed().as_secs()
            )),
            Self::Silent { calls } => Some(format!("child let its last {calls} calls time out")),
            Self::Down { reason, next_try_in: Some(wait) } => {
                Some(format!("{reason}; restart in {:.0} s", wait.as_secs_f32().ceil()))
            }
            Self::Down { reason, next_try_in: None } => Some(reason.clone()),
        }
    }
}

/// The channel at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdioStatus {
    /// Whether it serves.
    pub state: StdioState,
    /// The process id of the child, if one runs.
    pub pid: Option<i32>,
    /// How often the child was restarted.
    pub restarts: u64,
}

/// The counters of a channel.
#[derive(Debug, Default)]
pub struct StdioStats {
    /// Requests of remote clients that have no answer yet.
    pub in_flight: Gauge,
    /// Children started, the first one included.
    pub starts: Counter,
    /// Starts that failed.
    pub start_failures: Counter,
    /// Calls that got no answer because the child ended.
    pub lost_calls: Counter,
    /// Times that the child stopped reading.
    pub stalls: Counter,
    /// Lines on stdout that are no message.
    pub stray_lines: Counter,
    /// Lines on stdout over [`Limits::line`](super::Limits::line).
    pub oversized_lines: Counter,
    /// Answers that came too late: nobody waited for them any more.
    pub late_responses: Counter,
    /// Requests of the child that were answered here.
    pub server_requests: Counter,
    /// Notifications of the child for a call that is over.
    pub dropped_stranger: Counter,
    /// Notifications of the child that could not be attributed to one call.
    pub dropped_unattributable: Counter,
    /// Notifications of the child that were dropped because a worker was too slow.
    pub dropped_overflow: Counter,
    /// Cancels and answers to the child that were dropped because it reads too slowly.
    pub dropped_urgent: Counter,
    /// Notifications of remote clients that must not reach the child.
    pub swallowed: Counter,
    /// Messages of remote clients that could not be forwarded safely.
    pub refused: Counter,
    /// Lines on stderr that were left out of the log because there were too many.
    pub stderr_held_back: Counter,
}

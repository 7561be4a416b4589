//! The status of a channel for the operator: its state and its counters. The channel writes them
//! and `ops` reads them.

use std::time::{Duration, Instant};

use crate::stats::{Counter, Gauge};

/// The state of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StdioState {
    /// The child runs and is not known to serve: it was started a moment ago, it does not answer,
    /// or it was restarted and is not yet in the state that its clients rely on.
    Starting {
        /// The time of its start.
        since: Instant,
    },
    /// The child has answered, or it runs and has had no request (see
    /// [`Limits::settle`](super::Limits::settle)).
    Up {
        /// The time since which it serves.
        since: Instant,
    },
    /// The child runs, but several calls in a row have timed out without any output from it.
    Silent {
        /// The number of such calls.
        calls: u32,
    },
    /// No child serves.
    Down {
        /// The reason, in words.
        reason: String,
        /// The time until the next one is started; `None` if that is not decided yet.
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
    /// Its state.
    pub state: StdioState,
    /// The process id of the child, if one runs.
    pub pid: Option<i32>,
    /// The number of restarts.
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
    /// The number of times that the child stopped reading.
    pub stalls: Counter,
    /// Lines on stdout that are not messages.
    pub stray_lines: Counter,
    /// Lines on stdout over [`Limits::line`](super::Limits::line).
    pub oversized_lines: Counter,
    /// Answers that came too late, when nobody waited for them any more.
    pub late_responses: Counter,
    /// Requests of the child that the tunnel answered.
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

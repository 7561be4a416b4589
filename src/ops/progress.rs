//! The verdict on the daemon's progress: `daemon` fills in the times, `/livez`, the metrics and the
//! watchdog ask for the verdict.

use std::time::Duration;

/// How long after its limit a poll may still be counted as progress.
const POLL_SLACK: Duration = Duration::from_secs(90);
/// How long posting the last answers of a command may take after its limit: ten minutes for a
/// control plane that cannot be reached, three attempts with the longest waits that it can ask
/// for, and notifications before them.
const POST_SLACK: Duration = Duration::from_secs(1_200);

/// The times that distinguish progress from a standstill.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// How long ago a poll loop last began or ended a poll, of the loop that has been still for
    /// longest; `None` if no poll has begun.
    pub since_poll_step: Option<Duration>,
    /// How long one poll may take.
    pub poll_limit: Duration,
    /// True if polls are due: the daemon is not stopping, and there is room for commands.
    pub polls_due: bool,
    /// How long a worker has held the oldest command.
    pub oldest_in_hand: Duration,
    /// How long a call may take (`mcp.connection_max_ttl`).
    pub call_limit: Duration,
}

impl Progress {
    /// Says what has stopped making progress, if anything has. Then only a restart helps.
    pub fn standstill(&self) -> Option<String> {
        let poll = self
            .since_poll_step
            .filter(|since| self.polls_due && *since > self.poll_limit.saturating_add(POLL_SLACK));
        if let Some(since) = poll {
            return Some(format!("a poll loop has taken no step for {} s", since.as_secs()));
        }
        let limit = self.call_limit.saturating_add(POST_SLACK);
        (self.oldest_in_hand > limit)
            .then(|| format!("a command has been in hand for {} s", self.oldest_in_hand.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Progress = Progress {
        since_poll_step: Some(Duration::from_secs(30)),
        poll_limit: Duration::from_secs(35),
        polls_due: true,
        oldest_in_hand: Duration::from_secs(5),
        call_limit: Duration::from_secs(60),
    };

    #[test]
    fn polls_and_commands_over_their_limits_are_a_standstill() {
        let hours = Duration::from_secs(7_200);
        assert_eq!(FINE.standstill(), None);
        assert_eq!(Progress { since_poll_step: None, ..FINE }.standstill(), None);
        let poll = Progress { since_poll_step: Some(hours), ..FINE };
        assert!(poll.standstill().unwrap().contains("7200 s"));
        assert_eq!(Progress { polls_due: false, ..poll }.standstill(), None);
        assert!(Progress { oldest_in_hand: hours, ..FINE }.standstill().is_some());
        let patient = Progress { oldest_in_hand: hours, call_limit: hours, ..FINE };
        assert_eq!(patient.standstill(), None);
        let endless = Progress { poll_limit: Duration::MAX, call_limit: Duration::MAX, ..poll };
        assert_eq!(endless.standstill(), None);
    }
}

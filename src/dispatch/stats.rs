//! What the workers count; `ops` reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::stats::{Counter, Gauge, TimeHistogram};
use crate::unpoisoned::Unpoisoned;

/// Series of the end-to-end latency that are kept apart. Labels come from fixed sets and from
/// statuses; a server that answers with ever new statuses ends in one common series.
const SERIES_MAX: usize = 512;

/// JSON-RPC methods that are named in metrics; all others are `other` (B-30).
pub const KNOWN_METHODS: [&str; 28] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
    "elicitation/create",
    "notifications/tasks/status",
];

/// The name under which a method is counted.
pub fn method_label(method: &str) -> &'static str {
    KNOWN_METHODS.iter().find(|known| **known == method).copied().unwrap_or("other")
}

/// Labels of one end-to-end latency series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatencyLabels {
    /// `call`, `notification`, `session_termination` or `oauth_discovery`.
    pub kind: &'static str,
    /// The method, for JSON-RPC.
    pub method: Option<&'static str>,
    /// The channel, which is a configured one.
    pub channel: String,
    /// The status posted.
    pub status: u16,
    /// `poll_to_response` or `enqueue_to_response`.
    pub latency_type: &'static str,
}

/// Labels of failures of the private hop.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailureLabels {
    /// The channel, which is a configured one.
    pub channel: String,
    /// Where it arose.
    pub source: &'static str,
    /// What it is.
    pub kind: &'static str,
}

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
    /// All reasons, for metrics.
    pub const ALL: [Self; 6] = [
        Self::DeadlineQueued,
        Self::DeadlineServer,
        Self::DeadlinePost,
        Self::PostFailed,
        Self::Gone,
        Self::Stopping,
    ];

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

/// All counts of the workers.
#[derive(Debug, Default)]
pub struct DispatchStats {
    /// Workers with a command in hand.
    pub busy: Gauge,
    in_hand: Mutex<Vec<Instant>>,
    /// From the receipt to the moment a worker took the command.
    pub queued: TimeHistogram,
    /// At the MCP server.
    pub server: TimeHistogram,
    /// Final answers delivered.
    pub answered: Counter,
    /// Calls whose connection's time to live passed (B-14).
    pub ttl_expired: Counter,
    /// Commands for a channel that is not served, by type: `jsonrpc`, `session_termination`,
    /// `oauth_discovery`.
    pub unsupported_channel: [Counter; 3],
    dropped: [Counter; Dropped::ALL.len()],
    failures: Mutex<BTreeMap<FailureLabels, u64>>,
    latency: Mutex<BTreeMap<LatencyLabels, Arc<TimeHistogram>>>,
}

/// A command in a worker's hand, given back on drop.
#[derive(Debug)]
pub struct InHand<'a> {
    stats: &'a DispatchStats,
    since: Instant,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut in_hand = lock(&self.stats.in_hand);
        // Two of the same moment are as good as each other.
        if let Some(at) = in_hand.iter().position(|since| *since == self.since) {
            in_hand.swap_remove(at);
        }
    }
}

impl DispatchStats {
    /// A worker has taken a command, until the returned guard is dropped.
    pub fn take_in_hand(&self) -> InHand<'_> {
        let since = Instant::now();
        lock(&self.in_hand).push(since);
        InHand { stats: self, since }
    }

    /// Commands in the hands of workers, and how long the oldest has been there.
    pub fn in_hand(&self) -> (usize, Duration) {
        let in_hand = lock(&self.in_hand);
        let oldest = in_hand.iter().min().map(Instant::elapsed);
        (in_hand.len(), oldest.unwrap_or_default())
    }

    /// Counts a command without a final answer.
    pub fn drop_for(&self, reason: Dropped) {
        self.dropped[reason as usize].inc();
    }

    /// Commands without a final answer, by reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].get()
    }

    /// Counts a failure of the private hop.
    pub fn fail(&self, labels: FailureLabels) {
        *lock(&self.failures).entry(labels).or_default() += 1;
    }

    /// Failures of the private hop, and how many there were.
    pub fn failures(&self) -> Vec<(FailureLabels, u64)> {
        lock(&self.failures).iter().map(|(labels, count)| (labels.clone(), *count)).collect()
    }

    /// Counts the time of an answered command (F-90).
    pub fn observe_latency(&self, labels: LatencyLabels, time: Duration) {
        let mut series = lock(&self.latency);
        let labels = if series.len() < SERIES_MAX || series.contains_key(&labels) {
            labels
        } else {
            LatencyLabels { method: labels.method.map(|_| "other"), status: 0, ..labels }
        };
        series.entry(labels).or_default().observe(time);
    }

    /// All end-to-end latency series.
    pub fn latency(&self) -> Vec<(LatencyLabels, Arc<TimeHistogram>)> {
        lock(&self.latency).iter().map(|(labels, times)| (labels.clone(), times.clone())).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unpoisoned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // B-30
    fn a_method_of_a_remote_party_is_no_label() {
        assert_eq!(method_label("tools/call"), "tools/call");
        assert_eq!(method_label("x".repeat(1000).as_str()), "other");
    }

    #[test] // B-30, W-9
    fn series_are_bounded() {
        let stats = DispatchStats::default();
        for status in 0..2000 {
            let labels = LatencyLabels {
                kind: "call",
                method: Some("ping"),
                channel: "main".to_owned(),
                status,
                latency_type: "poll_to_response",
            };
            stats.observe_latency(labels, Duration::ZERO);
        }
        assert_eq!(stats.latency().len(), SERIES_MAX + 1);
    }
}

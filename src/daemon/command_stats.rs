//! Counts finished commands, from their records. The metrics page and the status read them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::command_record::CommandRecord;
use crate::dispatch::record::{Dropped, Outcome};
use crate::stats::{Counter, TimeHistogram};
use crate::unpoisoned::Unpoisoned;
use crate::wire::FailureSource;

/// The maximum number of separate series of the end-to-end latency. Labels come from fixed sets and
/// from statuses; beyond the maximum, new statuses share one series.
const SERIES_MAX: usize = 512;

/// Why a command got no final answer: all reasons, in the order of the type.
pub const REASONS: [Dropped; 6] = [
    Dropped::DeadlineQueued,
    Dropped::DeadlineServer,
    Dropped::DeadlinePost,
    Dropped::PostFailed,
    Dropped::Gone,
    Dropped::Stopping,
];

/// JSON-RPC methods that are named in metrics; all others are `other` (forwarding-230).
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
    /// The posted status.
    pub status: u16,
    /// `poll_to_response` or `enqueue_to_response`.
    pub latency_type: &'static str,
}

/// Labels of failures of the private hop.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailureLabels {
    /// The channel, which is a configured one.
    pub channel: String,
    /// Its source.
    pub source: &'static str,
    /// Its kind.
    pub kind: &'static str,
}

/// All counts of finished commands.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// The time from the receipt until a worker took the command.
    pub queued: TimeHistogram,
    /// The time at the MCP server.
    pub server: TimeHistogram,
    /// Delivered final answers.
    pub answered: Counter,
    /// Calls that outlived the time to live of their connection (forwarding-214).
    pub ttl_expired: Counter,
    /// Commands for a channel that is not served, by type: `jsonrpc`, `session_termination`,
    /// `oauth_discovery`.
    pub unsupported_channel: [Counter; 3],
    dropped: [Counter; REASONS.len()],
    failures: Mutex<BTreeMap<FailureLabels, u64>>,
    latency: Mutex<BTreeMap<LatencyLabels, Arc<TimeHistogram>>>,
}

impl CommandStats {
    /// Counts a finished command.
    pub fn count(&self, record: &CommandRecord) {
        self.queued.observe(record.queued);
        if let Some(time) = record.server {
            self.server.observe(time);
        }
        if let Some((source, kind)) = record.failure {
            if source == FailureSource::Timeout {
                self.ttl_expired.inc();
            }
            let (source, kind) = (source.as_str(), kind.as_str());
            let labels = FailureLabels { channel: record.channel.clone(), source, kind };
            *lock(&self.failures).entry(labels).or_default() += 1;
        }
        if record.outcome == Outcome::UnsupportedChannel {
            let types = ["jsonrpc", "session_termination", "oauth_discovery"];
            let index = types.iter().position(|known| *known == record.kind);
            self.unsupported_channel[index.unwrap_or_default()].inc();
        }
        match record.outcome {
            Outcome::Dropped(reason) => self.dropped[reason as usize].inc(),
            _ => {
                self.answered.inc();
                self.count_latency(record);
            }
        }
    }

    fn count_latency(&self, record: &CommandRecord) {
        let is_message = record.kind == "jsonrpc";
        let labels = |latency_type| LatencyLabels {
            kind: match (is_message, record.is_call) {
                (true, true) => "call",
                (true, false) => "notification",
                (false, _) => record.kind,
            },
            method: is_message.then(|| record.method.as_deref().map_or("other", method_label)),
            // An unserved channel's name is the remote side's text (forwarding-230).
            channel: if record.is_served { record.channel.clone() } else { "other".to_owned() },
            status: record.status,
            latency_type,
        };
        self.observe_latency(labels("poll_to_response"), record.took);
        if let Some(age) = record.age {
            self.observe_latency(labels("enqueue_to_response"), age);
        }
    }

    /// Commands without a final answer, by reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].get()
    }

    /// The failures of the private hop and their counts.
    pub fn failures(&self) -> Vec<(FailureLabels, u64)> {
        lock(&self.failures).iter().map(|(labels, count)| (labels.clone(), *count)).collect()
    }

    /// Counts the time of an answered command (forwarding-90).
    fn observe_latency(&self, labels: LatencyLabels, time: Duration) {
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

    #[test] // forwarding-230
    fn a_method_of_a_remote_party_is_no_label() {
        assert_eq!(method_label("tools/call"), "tools/call");
        assert_eq!(method_label("x".repeat(1000).as_str()), "other");
    }

    #[test] // forwarding-230, operations-209
    fn series_are_bounded() {
        let stats = CommandStats::default();
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

//! The counters of the relay. Labels have a fixed set of values: nothing from a request becomes
//! one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::stats::{Counter, Gauge, TimeHistogram};
use crate::unpoisoned::Unpoisoned;

/// Counters that differ in their labels.
#[derive(Debug)]
pub struct Labelled<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for Labelled<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Copy> Labelled<K> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, u64>> {
        self.0.lock().unpoisoned()
    }

    /// Adds one.
    pub fn inc(&self, labels: K) {
        *self.lock().entry(labels).or_default() += 1;
    }

    /// All counts, ordered by labels.
    pub fn all(&self) -> Vec<(K, u64)> {
        self.lock().iter().map(|(labels, count)| (*labels, *count)).collect()
    }
}

/// The counters of one relay. Calls balance (relay-57): accepted is the sum of settled,
/// undelivered, expired, abandoned, dropped, queued and handed.
#[derive(Debug, Default)]
pub struct Stats {
    /// Answers to MCP clients: kind, status, error code.
    pub mcp_requests: Labelled<(&'static str, u16, &'static str)>,
    /// Polls by result.
    pub polls: Labelled<&'static str>,
    /// Response POSTs by type and result.
    pub responses: Labelled<(&'static str, &'static str)>,
    /// Failures that daemons reported, by source.
    pub tunnel_failures: Labelled<&'static str>,
    /// Refused credentials by plane.
    pub auth_failures: Labelled<&'static str>,
    /// Refused for too many at once, by plane.
    pub rate_limited: Labelled<&'static str>,
    /// Calls that were queued.
    pub accepted: Counter,
    /// Calls that a daemon's response ended.
    pub settled: Counter,
    /// Calls that no daemon picked up.
    pub undelivered: Counter,
    /// Calls without an answer in time.
    pub expired: Counter,
    /// Calls whose client left, or that were given up, after a daemon had them.
    pub abandoned: Counter,
    /// Calls whose client left, or that were given up, before a daemon had them.
    pub dropped: Counter,
    /// Commands that were put back because no byte of them was sent.
    pub requeued: Counter,
    /// Poll answers that broke off in the middle.
    pub uncertain: Counter,
    /// Requests from foreign origins or for foreign hosts.
    pub origin_rejected: Counter,
    /// Server-info headers that broke a rule.
    pub bad_server_info: Counter,
    /// Commands in lanes.
    pub queued: Gauge,
    /// Commands that a daemon has.
    pub handed: Gauge,
    /// Polls that wait.
    pub parked: Gauge,
    /// MCP clients that wait.
    pub waiting: Gauge,
    /// From the accepted request to its answer.
    pub request_time: TimeHistogram,
    /// From the queue to a daemon.
    pub queue_time: TimeHistogram,
    /// From a daemon to its final response.
    pub handed_time: TimeHistogram,
}

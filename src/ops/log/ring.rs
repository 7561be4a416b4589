//! The newest records, for `/api/logs`, its stream and the support archive.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use super::line::Line;
use crate::record_kind::RecordKind;
use crate::stats::Counter;
use crate::unpoisoned::Unpoisoned;

/// Most bytes of all records together (operations-222): a flood of long lines drops old lines and
/// does not take more memory.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// One record, as the JSON object that `/api/logs` shows.
#[derive(Debug, Clone)]
pub struct LogEvent {
    /// Counts from 1 and never repeats.
    pub seq: u64,
    /// When it was logged.
    pub at: SystemTime,
    /// The subject of the record; `None` for an ordinary one.
    pub kind: Option<RecordKind>,
    /// The object.
    pub json: String,
}

/// The records that a reader of the log stream gets at once.
#[derive(Debug)]
pub struct Batch {
    /// New records, the oldest first; empty if none came in time.
    pub events: Vec<LogEvent>,
    /// How many records after the last one seen were dropped before these.
    pub missed: u64,
    /// The process is ending: no more records will come.
    pub closed: bool,
}

/// The newest records, up to a number and a size.
#[derive(Debug)]
pub struct LogRing {
    capacity: usize,
    inner: Mutex<Inner>,
    more: Condvar,
    missed: Counter,
}

#[derive(Debug, Default)]
struct Inner {
    last_seq: u64,
    bytes: usize,
    events: VecDeque<LogEvent>,
    closed: bool,
}

impl LogRing {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default(), more: Condvar::new(), missed: Counter::new() }
    }

    pub(super) fn add(&self, line: &Line, at: SystemTime) {
        if self.capacity == 0 {
            return;
        }
        let mut inner = self.lock();
        inner.last_seq += 1;
        let seq = inner.last_seq;
        let event = LogEvent { seq, at, kind: line.kind, json: line.event(seq) };
        inner.bytes += event.json.len();
        inner.events.push_back(event);
        while inner.events.len() > self.capacity || inner.bytes > BYTES_MAX {
            let Some(oldest) = inner.events.pop_front() else { break };
            inner.bytes -= oldest.json.len();
        }
        drop(inner);
        self.more.notify_all();
    }

    /// Most records kept.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The newest `limit` records, the oldest first.
    pub fn newest(&self, limit: usize) -> Vec<LogEvent> {
        let inner = self.lock();
        let skip = inner.events.len().saturating_sub(limit);
        inner.events.iter().skip(skip).cloned().collect()
    }

    /// The number of the newest record, 0 if there is none.
    pub fn last_seq(&self) -> u64 {
        self.lock().last_seq
    }

    /// Waits up to `wait` for records after number `seen`; returns at most `limit` of them.
    pub fn after(&self, seen: u64, wait: Duration, limit: usize) -> Batch {
        let quiet = |inner: &mut Inner| inner.last_seq <= seen && !inner.closed;
        let waited = self.more.wait_timeout_while(self.lock(), wait, quiet);
        let inner = waited.unpoisoned().0;
        let events: Vec<LogEvent> =
            inner.events.iter().filter(|event| event.seq > seen).take(limit).cloned().collect();
        let missed = events.first().map_or(0, |first| first.seq - seen - 1);
        self.missed.add(missed);
        Batch { events, missed, closed: inner.closed }
    }

    /// How many records were dropped before [`LogRing::after`] could return them.
    pub(super) fn missed(&self) -> u64 {
        self.missed.get()
    }

    /// Ends every wait, now and from now on.
    pub fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unpoisoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(ring: &LogRing, text: &str) {
        ring.add(&Line::notice(text.to_owned()), SystemTime::now());
    }

    #[test] // operations-131
    fn a_full_ring_loses_the_oldest_and_says_so() {
        let ring = LogRing::new(3);
        for text in ["a", "b", "c", "d", "e"] {
            add(&ring, text);
        }
        let kept = ring.newest(10);
        assert_eq!(kept.iter().map(|e| e.seq).collect::<Vec<_>>(), [3, 4, 5]);
        let batch = ring.after(1, Duration::ZERO, 2);
        assert_eq!((batch.missed, batch.events.len()), (1, 2));
        assert_eq!(ring.after(5, Duration::ZERO, 2).events.len(), 0);
        ring.close();
        assert!(ring.after(5, Duration::from_secs(60), 2).closed);
    }

    #[test] // operations-222
    fn long_records_do_not_take_more_memory_than_their_share() {
        let ring = LogRing::new(100_000);
        for _ in 0..6_000 {
            add(&ring, &"x".repeat(1_900));
        }
        assert!(ring.lock().bytes <= BYTES_MAX);
        assert!(ring.newest(usize::MAX).len() > 1_000);
    }
}

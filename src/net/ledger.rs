//! Statistics of the exchanges of one hop: duration, size and outcome. The room that makes a
//! [`Ledger`] may also ask for whole messages, for the log.
//!
//! The only value here that comes from a peer is its status, and unregistered statuses share one
//! entry, so the number of entries is bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::http::{HeaderMap, Method, StatusCode, Uri};

use super::error::NetErrorKind;
use super::head::SecretHeaders;
use crate::stats::{SizeHistogram, TimeHistogram};
use crate::unpoisoned::Unpoisoned;

/// The outcome of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// With an answer of this status; `None` for an unregistered one.
    Status(Option<u16>),
    /// Without an answer; the word of [`NetErrorKind::word`].
    Error(&'static str),
}

/// The exchanges that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The method.
    pub method: &'static str,
    /// The path as a pattern, without the ids in it.
    pub route: &'static str,
    /// Their outcome.
    pub ending: Ending,
}

/// The exchanges of one [`Key`].
#[derive(Debug, Default)]
pub struct Exchanges {
    /// Time from the start of the lookup to the headers of the answer, or to the failure.
    pub duration: TimeHistogram,
    /// Size of the request's body.
    pub body_size: SizeHistogram,
}

/// Maps a path to its pattern.
pub type Route = fn(&str) -> &'static str;

/// Logs a request that is about to be sent: its head, the secrets that go into it, and its body.
/// `None` if the answer is not to be logged.
pub type RawLog =
    fn((&Method, &Uri, &HeaderMap), &SecretHeaders, Option<&[u8]>) -> Option<Box<dyn Tap>>;

/// Logs the answer of one exchange. It gets copies and never touches the data itself.
pub trait Tap: Send {
    /// Its status and headers.
    fn head(&mut self, status: StatusCode, headers: &HeaderMap);
    /// Its body, if it was read whole.
    fn body(&mut self, body: &[u8]);
    /// One piece of a streamed body.
    fn piece(&mut self, piece: &[u8]);
    /// The end of a stream.
    fn end(&mut self);
}

/// The statistics of one hop, shared by all its clients.
#[derive(Clone)]
pub struct Ledger {
    route: Route,
    pub(super) raw: Option<RawLog>,
    notes: Arc<Mutex<BTreeMap<Key, Arc<Exchanges>>>>,
}

impl Default for Ledger {
    /// A ledger that nobody reads.
    fn default() -> Self {
        Self::new(|_| "other", None)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// An empty ledger for a hop whose paths have these patterns. Whole messages go to `raw`, if
    /// there is one.
    pub fn new(route: Route, raw: Option<RawLog>) -> Self {
        Self { route, raw, notes: Arc::default() }
    }

    /// All exchanges so far.
    pub fn all(&self) -> Vec<(Key, Arc<Exchanges>)> {
        self.lock().iter().map(|(key, exchanges)| (*key, Arc::clone(exchanges))).collect()
    }

    pub(super) fn note(
        &self,
        method: &Method,
        path: &str,
        body: usize,
        took: Duration,
        ended: Result<StatusCode, NetErrorKind>,
    ) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::DELETE => "DELETE",
            _ => "_OTHER",
        };
        let ending = match ended {
            Ok(status) => Ending::Status(status.canonical_reason().map(|_| status.as_u16())),
            Err(kind) => Ending::Error(kind.word()),
        };
        let key = Key { method, route: (self.route)(path), ending };
        let exchanges = Arc::clone(self.lock().entry(key).or_default());
        exchanges.duration.observe(took);
        exchanges.body_size.observe(body as u64);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Arc<Exchanges>>> {
        self.notes.lock().unpoisoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // operations-209
    fn the_number_of_notes_is_bounded_whatever_a_peer_answers() {
        let ledger = Ledger::new(|_| "/{mcp}", None);
        for status in 100..1_000 {
            let status = StatusCode::from_u16(status).unwrap();
            let path = format!("/{status}");
            ledger.note(&Method::POST, &path, 7, Duration::ZERO, Ok(status));
        }
        ledger.note(&Method::PATCH, "/", 0, Duration::ZERO, Err(NetErrorKind::Refused));
        let all = ledger.all();
        assert!(all.len() < 70, "{}", all.len());
        assert!(all.iter().all(|(key, _)| key.route == "/{mcp}"));
        let unknown = all.iter().find(|(key, _)| key.ending == Ending::Status(None)).unwrap();
        assert!(unknown.1.duration.snapshot().count() > 800);
        let refused = Key { method: "_OTHER", route: "/{mcp}", ending: Ending::Error("refused") };
        assert!(all.iter().any(|(key, _)| *key == refused));
    }
}

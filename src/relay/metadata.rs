//! The OAuth metadata of the server behind one tunnel, kept for a while.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::unpoisoned::Unpoisoned;

use super::call::Piece;

/// How long metadata is kept.
const FOUND_FOR: Duration = Duration::from_secs(60);
/// How long it is remembered that there is none.
const MISSED_FOR: Duration = Duration::from_secs(15);

/// The last answer to a request for metadata.
#[derive(Debug, Default)]
pub struct MetadataCache(Mutex<Option<Entry>>);

#[derive(Debug)]
struct Entry {
    until: Instant,
    /// `None`: the server has no metadata.
    document: Option<Arc<Piece>>,
}

impl MetadataCache {
    /// The metadata, from the cache or by `fetch`; `None` if there is none. An error is not kept.
    ///
    /// The lock is held while `fetch` runs, so that only one client of a tunnel asks its daemon.
    pub fn get<E>(
        &self,
        fetch: impl FnOnce() -> Result<Option<Piece>, E>,
    ) -> Result<Option<Arc<Piece>>, E> {
        let mut cached = self.0.lock().unpoisoned();
        if let Some(entry) = cached.as_ref().filter(|entry| Instant::now() < entry.until) {
            return Ok(entry.document.clone());
        }
        let document = fetch()?.map(Arc::new);
        let time = if document.is_some() { FOUND_FOR } else { MISSED_FOR };
        *cached = Some(Entry { until: Instant::now() + time, document: document.clone() });
        Ok(document)
    }
}

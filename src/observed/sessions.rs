//! The sessions of a server that went through this daemon. A session that the server does not know
//! and that never began here points to a second daemon or a restart. Only hashes are kept.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::unpoisoned::Unpoisoned;
use crate::wire::ChannelName;

/// The maximum number of sessions that are kept; the oldest are dropped first.
const MOST: usize = 4096;
/// How often the warning is repeated.
const WARN_AGAIN: Duration = Duration::from_secs(600);
/// The status by which a server says that it does not know a session (mcp-33).
const UNKNOWN_SESSION: u16 = 404;

/// The sessions of one server.
#[derive(Debug, Default)]
pub struct Sessions {
    inner: Mutex<Inner>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashSet<u64>,
    /// The same, in the order of arrival.
    order: VecDeque<u64>,
    warned: Option<Instant>,
}

impl Sessions {
    /// Records an answer with `status` to a message of the session `asked`. The answer named the
    /// session `named`.
    pub fn answered(
        &self,
        channel: &ChannelName,
        asked: Option<&str>,
        status: u16,
        named: Option<&str>,
    ) {
        if let Some(session) = named {
            self.remember(session);
        }
        let Some(session) = asked else { return };
        if status != UNKNOWN_SESSION {
            self.remember(session);
        } else if self.is_stray(session) {
            log::warn!(
                channel:% = channel;
                "the MCP server does not know a session that never began in this daemon: another \
                 daemon serves the same tunnel id with a server of its own, or daemon and server \
                 were restarted; a client has to begin a new session"
            );
        }
    }

    fn remember(&self, session: &str) {
        let hash = self.hasher.hash_one(session);
        let mut inner = self.lock();
        if inner.known.insert(hash) {
            inner.order.push_back(hash);
            if inner.order.len() > MOST
                && let Some(oldest) = inner.order.pop_front()
            {
                inner.known.remove(&oldest);
            }
        }
    }

    /// True if the server refused a session that was never seen here, and the warning is due.
    fn is_stray(&self, session: &str) -> bool {
        let hash = self.hasher.hash_one(session);
        let mut inner = self.lock();
        let stray = !inner.known.contains(&hash)
            && inner.warned.is_none_or(|warned| warned.elapsed() >= WARN_AGAIN);
        if stray {
            inner.warned = Some(Instant::now());
        }
        stray
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unpoisoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_a_bound() {
        let sessions = Sessions::default();
        for number in 0..=MOST {
            sessions.remember(&number.to_string());
            sessions.remember(&number.to_string());
        }
        let inner = sessions.lock();
        assert_eq!((inner.known.len(), inner.order.len()), (MOST, MOST));
        drop(inner);
        assert!(sessions.is_stray("0"));
    }

    #[test]
    fn a_session_that_ended_here_is_no_stray() {
        let sessions = Sessions::default();
        sessions.remember("ours");
        assert!(!sessions.is_stray("ours"));
        assert!(sessions.is_stray("theirs"));
        assert!(!sessions.is_stray("others"), "it is said once");
    }
}

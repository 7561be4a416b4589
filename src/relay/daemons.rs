//! The daemons that poll a tunnel, distinguished by their instance ids (wire-4).
//!
//! Commands are distributed among all of them. That works for daemons in front of one server, but
//! breaks the sessions of servers that live inside their daemons. Those daemons declare
//! `proc_affinity`, and two of them are a conflict that is reported everywhere (relay.md, 2.5).

use std::time::{Duration, Instant};

use crate::httpd::Probe;

/// Most daemons of one tunnel that are distinguished.
const MOST: usize = 16;
/// Longest instance id that is distinguished, in bytes. Ours have 32.
const INSTANCE_MAX: usize = 128;
/// How often one tunnel's conflict is logged.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// The daemons of one tunnel.
#[derive(Debug, Default)]
pub struct Daemons {
    known: Vec<Daemon>,
    next_poll: u64,
    logged: Option<Instant>,
}

#[derive(Debug)]
struct Daemon {
    instance: String,
    /// True if one of its servers keeps state in its process.
    affinity: bool,
    /// When its last poll ended.
    seen: Instant,
    /// Its polls that wait, each with its number.
    polls: Vec<(u64, Probe)>,
}

impl Daemon {
    fn is_there(&self, last_seen: Duration) -> bool {
        match self.polls.as_slice() {
            [] => self.seen.elapsed() < last_seen,
            polls => polls.iter().any(|(_, probe)| !probe.client_gone()),
        }
    }
}

impl Daemons {
    /// A poll begins. Returns its number for [`Daemons::poll_ends`].
    pub fn poll_begins(&mut self, instance: &str, affinity: bool, probe: Probe) -> u64 {
        self.next_poll += 1;
        if instance.len() > INSTANCE_MAX {
            return self.next_poll;
        }
        let place = self.known.iter().position(|known| known.instance == instance);
        let place = place.unwrap_or_else(|| {
            if self.known.len() == MOST {
                self.known.remove(0);
            }
            let seen = Instant::now();
            let instance = instance.to_owned();
            self.known.push(Daemon { instance, affinity, seen, polls: Vec::new() });
            self.known.len() - 1
        });
        self.known[place].affinity = affinity;
        self.known[place].polls.push((self.next_poll, probe));
        self.next_poll
    }

    /// A poll was answered, or its daemon has hung up.
    pub fn poll_ends(&mut self, number: u64) {
        let waits = |known: &Daemon| known.polls.iter().position(|(poll, _)| *poll == number);
        let found = self.known.iter().enumerate().find_map(|(i, known)| Some((i, waits(known)?)));
        let Some((daemon, poll)) = found else { return };
        let (_, probe) = self.known[daemon].polls.remove(poll);
        if !probe.client_gone() {
            self.known[daemon].seen = Instant::now();
        } else if self.known[daemon].polls.is_empty() {
            self.known.remove(daemon);
        }
    }

    /// A daemon announces its end.
    pub fn leaves(&mut self, instance: &str) {
        self.known.retain(|known| known.instance != instance);
    }

    /// The number of daemons that wait for commands, or did so within `last_seen`.
    pub fn count(&mut self, last_seen: Duration) -> usize {
        self.known.retain(|known| known.is_there(last_seen));
        self.known.len()
    }

    /// True if several daemons poll although their servers keep state in their processes.
    pub fn conflict(&mut self, last_seen: Duration) -> bool {
        self.count(last_seen) > 1 && self.known.iter().any(|known| known.affinity)
    }

    /// True if a conflict should be logged now.
    pub fn is_news(&mut self, last_seen: Duration) -> bool {
        let news = self.conflict(last_seen)
            && self.logged.is_none_or(|logged| logged.elapsed() >= LOG_AGAIN);
        if news {
            self.logged = Some(Instant::now());
        }
        news
    }
}

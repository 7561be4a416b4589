//! The data that the threads of one server share: its state, its counters, the next id, and the
//! channel that wakes the supervisor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::limits::StdioConfig;
use super::state::State;
use super::status::StdioStats;
use super::stdin::Stdin;
use crate::unpoisoned::Unpoisoned;

/// The data that the threads of a server share.
pub(super) struct Shared {
    pub config: StdioConfig,
    pub stats: Arc<StdioStats>,
    state: Mutex<State>,
    last_number: AtomicU64,
    nudge: Sender<()>,
}

impl Shared {
    /// The data of a server without a child, and the receiver that wakes its supervisor.
    pub fn new(config: StdioConfig, stats: Arc<StdioStats>) -> (Self, Receiver<()>) {
        let (nudge, nudged) = bounded(1);
        let (state, last_number) = (Mutex::new(State::new()), AtomicU64::new(0));
        (Self { config, stats, state, last_number, nudge }, nudged)
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unpoisoned()
    }

    /// The next id for the child: never used before, and exact in a double.
    pub fn number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes the supervisor check the state again.
    pub fn look(&self) {
        // A full channel means that it will check anyway.
        let _ = self.nudge.try_send(());
    }

    /// Writes the waiting frames, as far as the child reads them.
    pub fn pump(&self) {
        let stdin = self.lock().live.as_ref().map(|live| live.stdin.clone());
        if let Some(stdin) = stdin {
            stdin.pump();
        }
    }

    /// Writes a cancel or an answer to the child, ahead of the frames that wait.
    pub fn send_urgent(&self, stdin: &Stdin, bytes: Vec<u8>) {
        if !stdin.push_urgent(bytes) {
            self.stats.dropped_urgent.inc();
        }
        stdin.pump();
    }

    /// Starts the end of the child; it may run on for `patience`.
    pub fn end_child(&self, reason: &str, patience: Duration) {
        self.lock().end_child(reason, patience, self.config.limits.closed_wait);
        self.look();
    }

    /// Fails every open call.
    pub fn lose_calls(&self) {
        let lost = self.lock().lose_calls();
        self.stats.lost_calls.add(lost as u64);
    }
}

//! Whether an MCP server answers, as far as is known: from probes and from real traffic alike.
//! Nothing latches (B-28).

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crate::wire::ChannelName;

/// The cell that a channel writes and `ops` reads.
#[derive(Debug)]
pub struct ServerState {
    name: ChannelName,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    answering: bool,
    reason: String,
    seen_at: Option<Instant>,
}

impl ServerState {
    /// A channel whose server has not answered yet.
    pub fn new(name: ChannelName) -> Self {
        let inner =
            Inner { answering: false, reason: "has not answered yet".to_owned(), seen_at: None };
        Self { name, inner: Mutex::new(inner) }
    }

    /// The channel.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The server answered, with whatever.
    pub fn answered(&self) {
        let mut inner = self.lock();
        if !inner.answering {
            log::info!(channel:% = self.name; "MCP server answers");
        }
        inner.answering = true;
        inner.seen_at = Some(Instant::now());
    }

    /// The server does not answer, and why: one line, without secrets.
    pub fn failed(&self, reason: &str) {
        let mut inner = self.lock();
        if inner.answering || inner.reason != reason {
            log::warn!(channel:% = self.name; "MCP server does not answer: {reason}");
        }
        inner.answering = false;
        reason.clone_into(&mut inner.reason);
    }

    /// `Ok` while the server answers, else the reason in one line.
    pub fn check(&self) -> Result<(), String> {
        let inner = self.lock();
        if inner.answering { Ok(()) } else { Err(inner.reason.clone()) }
    }

    /// When the server was last seen to answer.
    pub fn seen_at(&self) -> Option<Instant> {
        self.lock().seen_at
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // B-28
    fn a_state_goes_up_and_down_and_up_again() {
        let state = ServerState::new(ChannelName::main());
        assert!(state.check().is_err());
        state.answered();
        assert_eq!(state.check(), Ok(()));
        state.failed("connection refused");
        assert_eq!(state.check(), Err("connection refused".to_owned()));
        state.answered();
        assert_eq!(state.check(), Ok(()));
    }
}

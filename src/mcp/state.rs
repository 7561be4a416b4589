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
    now: Now,
    seen_at: Option<Instant>,
    doubted: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Now {
    Answers,
    /// It does not answer.
    Away(String),
    /// Something answers that is no MCP server for us.
    Strange(String),
}

impl ServerState {
    /// A channel whose server has not answered yet.
    pub fn new(name: ChannelName) -> Self {
        let now = Now::Away("has not answered yet".to_owned());
        Self { name, inner: Mutex::new(Inner { now, seen_at: None, doubted: false }) }
    }

    /// The channel.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The server answered, and spoke MCP.
    pub fn answered(&self) {
        let mut inner = self.lock();
        inner.doubted = false;
        self.is_well(&mut inner);
    }

    /// Something is there. Whether it is an MCP server, this does not tell.
    pub fn reached(&self) {
        let mut inner = self.lock();
        match inner.now {
            Now::Strange(_) => inner.seen_at = Some(Instant::now()),
            Now::Answers | Now::Away(_) => self.is_well(&mut inner),
        }
    }

    /// Something is there, and a call met what no MCP server says: worth a question.
    pub fn doubted(&self) {
        self.reached();
        self.lock().doubted = true;
    }

    /// Whether the server has been doubted since it last answered.
    pub fn is_doubted(&self) -> bool {
        self.lock().doubted
    }

    /// Something answers that is no MCP server for us, and how that shows: one line, without
    /// secrets.
    pub fn strange(&self, reason: &str) {
        let mut inner = self.lock();
        inner.doubted = false;
        inner.seen_at = Some(Instant::now());
        let now = Now::Strange(reason.to_owned());
        if inner.now != now {
            log::warn!(channel:% = self.name; "MCP server can not be used: {reason}");
        }
        inner.now = now;
    }

    /// The server does not answer, and why: one line, without secrets.
    pub fn failed(&self, reason: &str) {
        let mut inner = self.lock();
        let now = Now::Away(reason.to_owned());
        if inner.now != now {
            log::warn!(channel:% = self.name; "MCP server does not answer: {reason}");
        }
        inner.now = now;
    }

    /// `Ok` while the server answers, else the reason in one line.
    pub fn check(&self) -> Result<(), String> {
        match &self.lock().now {
            Now::Answers => Ok(()),
            Now::Away(reason) | Now::Strange(reason) => Err(reason.clone()),
        }
    }

    /// When the server was last seen to answer.
    pub fn seen_at(&self) -> Option<Instant> {
        self.lock().seen_at
    }

    fn is_well(&self, inner: &mut Inner) {
        if inner.now != Now::Answers {
            log::info!(channel:% = self.name; "MCP server answers");
        }
        inner.now = Now::Answers;
        inner.seen_at = Some(Instant::now());
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
        state.reached();
        assert_eq!(state.check(), Ok(()));
    }

    #[test] // B-28
    fn only_an_answer_of_mcp_shows_that_a_strange_server_is_one_after_all() {
        let state = ServerState::new(ChannelName::main());
        state.doubted();
        assert!(state.check().is_ok() && state.is_doubted());
        state.strange("status 404");
        state.reached();
        assert!(state.check().is_err() && !state.is_doubted());
        state.answered();
        assert!(state.check().is_ok() && !state.is_doubted());
    }
}

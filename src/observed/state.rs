//! Whether an MCP server answers, as far as is known: from probes and from real traffic alike.
//! Nothing latches (B-28).

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crate::unpoisoned::Unpoisoned;
use crate::wire::ChannelName;

/// Whether the server of one channel answers.
#[derive(Debug)]
pub struct ServerState {
    name: ChannelName,
    origin: String,
    inner: Mutex<Inner>,
}

/// What was found of a server last (operations.md, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet.
    Pending,
    /// It answers.
    Ok,
    /// It answers, and asks for authorization.
    AuthRequired,
    /// It takes connections and lets the time pass.
    Timeout,
    /// Something answers that is no MCP server for us.
    Strange,
    /// It does not answer.
    Failed,
}

impl Found {
    /// The stable word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ok => "ok",
            Self::AuthRequired => "auth-required",
            Self::Timeout => "timeout",
            Self::Strange | Self::Failed => "failed",
        }
    }

    fn is_answer(self) -> bool {
        matches!(self, Self::Ok | Self::AuthRequired)
    }
}

#[derive(Debug)]
struct Inner {
    found: Found,
    reason: String,
    seen_at: Option<Instant>,
    /// A call has met what no MCP server says.
    doubted: bool,
}

impl ServerState {
    /// A channel whose server, at `origin`, has not answered yet.
    pub fn new(name: ChannelName, origin: String) -> Self {
        let inner = Inner {
            found: Found::Pending,
            reason: "has not answered yet".to_owned(),
            seen_at: None,
            doubted: false,
        };
        Self { name, origin, inner: Mutex::new(inner) }
    }

    /// The channel.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Scheme, host and port of the server, for log lines.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The server answered, and spoke MCP.
    pub fn answered(&self) {
        self.rise(&mut self.lock(), Found::Ok);
    }

    /// A call got an answer with this status and without a message of MCP.
    pub fn answered_with(&self, status: u16) {
        match status {
            500.. => self.failed(status),
            // It wants the authorization of the client, not ours.
            401 => self.asked_for_authorization(),
            // Also said of a session that has ended: the probe finds out.
            404 | 405 => self.doubted(),
            _ => self.reached(),
        }
    }

    /// The server answered that it asks for authorization.
    pub fn asked_for_authorization(&self) {
        self.rise(&mut self.lock(), Found::AuthRequired);
    }

    /// Something is there. Whether it is an MCP server, this does not tell.
    pub fn reached(&self) {
        let mut inner = self.lock();
        match inner.found {
            Found::Strange => inner.seen_at = Some(Instant::now()),
            found => self.rise(&mut inner, if found.is_answer() { found } else { Found::Ok }),
        }
    }

    /// Something is there, and a call met what no MCP server says: worth a question.
    pub fn doubted(&self) {
        self.reached();
        self.lock().doubted = true;
    }

    /// Whether the server has been doubted since it was last asked.
    pub fn is_doubted(&self) -> bool {
        self.lock().doubted
    }

    /// Something answers that is no MCP server for us, and how that shows: one line, without
    /// secrets.
    pub fn strange(&self, reason: &str) {
        self.down(Found::Strange, reason);
        let mut inner = self.lock();
        (inner.seen_at, inner.doubted) = (Some(Instant::now()), false);
    }

    /// The server answers with a status that says that it cannot.
    pub fn failed(&self, status: u16) {
        self.down(Found::Failed, &format!("{} answers with status {status}", self.origin));
    }

    /// No exchange with the server comes about, and why: one line, without secrets.
    pub fn unreachable(&self, why: &dyn Display) {
        self.down(Found::Failed, &format!("{}: {why}", self.origin));
    }

    /// The server lets the time pass; the reason is one line, without secrets.
    pub fn timed_out(&self, reason: &str) {
        self.down(Found::Timeout, reason);
    }

    fn rise(&self, inner: &mut Inner, found: Found) {
        if !inner.found.is_answer() {
            log::info!(channel:% = self.name; "MCP server answers");
        }
        (inner.found, inner.seen_at, inner.doubted) = (found, Some(Instant::now()), false);
    }

    fn down(&self, found: Found, reason: &str) {
        let mut inner = self.lock();
        if inner.found.is_answer() || inner.reason != reason {
            let what = if found == Found::Strange { "cannot be used" } else { "does not answer" };
            log::warn!(channel:% = self.name; "MCP server {what}: {reason}");
        }
        inner.found = found;
        reason.clone_into(&mut inner.reason);
    }

    /// `Ok` while the server answers, else the reason in one line.
    pub fn check(&self) -> Result<(), String> {
        let inner = self.lock();
        if inner.found.is_answer() { Ok(()) } else { Err(inner.reason.clone()) }
    }

    /// What was found last.
    pub fn found(&self) -> Found {
        self.lock().found
    }

    /// When the server was last seen to answer.
    pub fn seen_at(&self) -> Option<Instant> {
        self.lock().seen_at
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unpoisoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerState {
        ServerState::new(ChannelName::main(), "http://h".to_owned())
    }

    #[test] // B-28
    fn a_state_goes_up_and_down_and_up_again() {
        let state = server();
        assert!(state.check().is_err());
        assert_eq!(state.found(), Found::Pending);
        state.asked_for_authorization();
        state.reached();
        assert_eq!((state.check(), state.found()), (Ok(()), Found::AuthRequired));
        state.timed_out("has not answered");
        assert_eq!((state.check().is_err(), state.found()), (true, Found::Timeout));
        state.reached();
        assert_eq!((state.check(), state.found()), (Ok(()), Found::Ok));
        state.unreachable(&"connection refused");
        assert_eq!(state.check(), Err("http://h: connection refused".to_owned()));
        state.answered();
        assert_eq!(state.check(), Ok(()));
    }

    #[test] // B-28
    fn only_an_answer_of_mcp_shows_that_a_strange_server_is_one_after_all() {
        let state = server();
        state.doubted();
        assert!(state.check().is_ok() && state.is_doubted());
        state.strange("status 404");
        state.reached();
        assert!(state.check().is_err() && !state.is_doubted());
        state.answered();
        assert!(state.check().is_ok() && !state.is_doubted());
    }
}

//! The state of an MCP server, as far as it is known from probes and from real traffic. No state is
//! final (forwarding-228).

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crate::unpoisoned::Unpoisoned;
use crate::wire::ChannelName;

/// The state of the server of one channel.
#[derive(Debug)]
pub struct ServerState {
    name: ChannelName,
    origin: String,
    inner: Mutex<Inner>,
}

/// The last finding about a server (operations.md, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet.
    Pending,
    /// It answers.
    Ok,
    /// It answers, and asks for authorization.
    AuthRequired,
    /// It takes connections but does not answer in time.
    Timeout,
    /// Something answers that is not an MCP server for us.
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
    /// True if a call met an answer that no MCP server gives.
    doubted: bool,
}

impl ServerState {
    /// A channel whose server at `origin` has not answered yet.
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

    /// Records that the server answered, and spoke MCP.
    pub fn answered(&self) {
        self.rise(&mut self.lock(), Found::Ok);
    }

    /// Records that a call got an answer with this status and without an MCP message.
    pub fn answered_with(&self, status: u16) {
        match status {
            500.. => self.failed(status),
            // It asks for the client's authorization, not ours.
            401 => self.asked_for_authorization(),
            // A server also answers this for a session that has ended; the probe finds out which it
            // is.
            404 | 405 => self.doubted(),
            _ => self.reached(),
        }
    }

    /// Records that the server asks for authorization.
    pub fn asked_for_authorization(&self) {
        self.rise(&mut self.lock(), Found::AuthRequired);
    }

    /// Records that something answers, which need not be an MCP server.
    pub fn reached(&self) {
        let mut inner = self.lock();
        match inner.found {
            Found::Strange => inner.seen_at = Some(Instant::now()),
            found => self.rise(&mut inner, if found.is_answer() { found } else { Found::Ok }),
        }
    }

    /// Records that something answers, but a call met an answer that no MCP server gives. A probe
    /// should follow.
    pub fn doubted(&self) {
        self.reached();
        self.lock().doubted = true;
    }

    /// True if the server has come into doubt since the last probe.
    pub fn is_doubted(&self) -> bool {
        self.lock().doubted
    }

    /// Records that something answers that is not an MCP server for us, and the reason in one line
    /// without secrets.
    pub fn strange(&self, reason: &str) {
        self.down(Found::Strange, reason);
        let mut inner = self.lock();
        (inner.seen_at, inner.doubted) = (Some(Instant::now()), false);
    }

    /// Records that the server answers with a status that means that it cannot serve.
    pub fn failed(&self, status: u16) {
        self.down(Found::Failed, &format!("{} answers with status {status}", self.origin));
    }

    /// Records that no exchange with the server succeeds, and the reason in one line without
    /// secrets.
    pub fn unreachable(&self, why: &dyn Display) {
        self.down(Found::Failed, &format!("{}: {why}", self.origin));
    }

    /// Records that the server does not answer in time, and the reason in one line without secrets.
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

    /// `Ok` while the server answers, otherwise the reason in one line.
    pub fn check(&self) -> Result<(), String> {
        let inner = self.lock();
        if inner.found.is_answer() { Ok(()) } else { Err(inner.reason.clone()) }
    }

    /// The last finding.
    pub fn found(&self) -> Found {
        self.lock().found
    }

    /// The time of the server's last answer.
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

    #[test] // forwarding-228
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

    #[test] // forwarding-228
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

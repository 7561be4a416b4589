//! The private hop: one message to the MCP server, its answer back.
//!
//! `dispatch` calls it with a command's payload, its headers and a time limit; it calls `wire`,
//! `net` and `launcher`. It never retries a message (forwarding-43, mcp-6) and never lets one
//! channel stand in for another.

mod backlog;
pub mod classify;
pub mod headers;
pub mod http;
pub mod sse;
pub mod stdio;

use std::sync::Arc;
use std::time::Instant;

use crate::net::Cancel;
use crate::wire::{Failure, Headers};

pub use http::{FixedHeaders, HttpBinding, HttpHop};
pub use stdio::StdioChannel;

/// Who serves a channel.
#[derive(Clone)]
pub enum Binding {
    /// A server behind Streamable HTTP.
    Http(Arc<HttpBinding>),
    /// A child process.
    Stdio(Arc<StdioChannel>),
}

/// One answer of an MCP server, or one notification before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; over stdio the one that stands for the message (mcp-53).
    pub status: u16,
    /// Headers, unfiltered; none over stdio.
    pub headers: Headers,
    /// The JSON-RPC message as text.
    pub json: String,
}

/// A delivered notification, or an ended session: a status and headers, no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The HTTP status; 200 over stdio.
    pub status: u16,
    /// Headers, unfiltered.
    pub headers: Headers,
}

/// Until when a call may go on, and who may end it.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The earlier of the command's deadline and the connection's time to live.
    pub limit: Instant,
    /// Ends the call in any phase.
    pub cancel: Cancel,
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    /// The limit passed; the caller knows which one.
    TimedOut,
    /// The process ends.
    Cancelled,
    /// A notification found that nobody waits for the answer any more: the server was told to
    /// stop.
    Unwanted,
    /// It failed. Headers are those of the answer that was no MCP answer, if there was one.
    Failed(Failure, Headers),
    /// A request of the stateless protocol for a server that keeps sessions (mcp-20).
    OlderServer,
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure, Headers::new())
    }
}

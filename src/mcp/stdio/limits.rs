//! The configuration of a channel and its time limits.

use std::sync::Arc;
use std::time::Duration;

use crate::launcher::Launcher;
use crate::wire::{ChannelName, MESSAGE_MAX};

/// The configuration of a channel.
#[derive(Debug, Clone)]
pub struct StdioConfig {
    /// The channel's name, for the log.
    pub channel: ChannelName,
    /// The process that starts the child.
    pub launcher: Arc<Launcher>,
    /// The index of the command there.
    pub command: usize,
    /// The command, for messages: the program, looked up on `PATH` unless it has a slash, and its
    /// arguments.
    pub argv: Vec<String>,
    /// The limits.
    pub limits: Limits,
}

/// The limits of a channel; the default is what ships. Tests shorten them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest line that the child may write, in bytes. See [`MESSAGE_MAX`].
    pub line: usize,
    /// How long the child may read no byte while there is one for it. A pipe that is full for this
    /// long means that the child has stopped reading: it is ended and started again (stdio-210).
    pub stdin_stall: Duration,
    /// How long the child may take to answer `initialize` before it counts as hung. Long, because
    /// a package runner may have to download the server first.
    pub initialize: Duration,
    /// How long a child that answers other requests may be silent on `server/discover` before it
    /// counts as one of the older protocol (mcp-18).
    pub discover: Duration,
    /// The same for a child that has not answered anything yet: it may still be starting.
    pub discover_fresh: Duration,
    /// A child that was sent a request and has never answered anything for this long is not up.
    pub answer_due: Duration,
    /// How long a child must run without any request before it counts as up: after a good start,
    /// and after failures.
    ///
    /// The tunnel sends no request of its own to test it. No request is harmless to every server:
    /// `ping` before `initialize` ends servers of the Python SDK up to 1.6, though MCP allows it,
    /// and the first message, whether `ping` or `server/discover`, decides for good which era a
    /// server of an SDK for both serves on this process. So the first message is a client's.
    pub settle: (Duration, Duration),
    /// The pause before a restart: the first, and the longest. It doubles in between.
    pub backoff: (Duration, Duration),
    /// How long a child counts as silent after its last call timed out. The tunnel sends it no
    /// requests of its own, so the verdict must not outlast the traffic for longer.
    pub silence: Duration,
    /// A child that ran this long, and answered, is restarted after the shortest pause.
    pub proven: Duration,
    /// A call waits for a restart that is due within this time, and fails at once otherwise.
    pub down_wait: Duration,
    /// How long a child may run on after it closed its output or its input.
    pub closed_wait: Duration,
    /// How long a worker still waits for the answer to a call that its client has cancelled.
    /// Servers may answer such a call or not.
    pub withdrawn: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: MESSAGE_MAX,
            stdin_stall: Duration::from_secs(30),
            initialize: Duration::from_secs(120),
            discover: Duration::from_secs(5),
            discover_fresh: Duration::from_secs(30),
            answer_due: Duration::from_secs(5),
            settle: (Duration::from_secs(1), Duration::from_secs(10)),
            backoff: (Duration::from_millis(200), Duration::from_secs(30)),
            silence: Duration::from_secs(60),
            proven: Duration::from_secs(60),
            down_wait: Duration::from_secs(5),
            closed_wait: Duration::from_secs(2),
            withdrawn: Duration::from_secs(2),
        }
    }
}

//! The record of a command that is over, as the audit trail, the page, the counts and the log have
//! it.
//!
//! A record says what was asked for and how it went. It never holds a payload.

use std::time::{Duration, SystemTime};

use crate::dispatch::record::{Outcome, Summary};
use crate::wire::{Command, CommandKind, FailureKind, FailureSource, Message, MessageKind};

/// Longest id, method or tool name that is kept, in bytes: they are the remote side's text.
const NAME_MAX: usize = 128;

/// One command that is over.
#[derive(Debug)]
pub struct CommandRecord {
    /// When it was over.
    pub at: SystemTime,
    /// The control plane's id of it.
    pub request_id: String,
    /// The channel that it was for.
    pub channel: String,
    /// `jsonrpc`, `session_termination` or `oauth_discovery`.
    pub kind: &'static str,
    /// The method of a request or notification.
    pub method: Option<String>,
    /// The tool of a `tools/call`.
    pub tool: Option<String>,
    /// Whether it was a request.
    pub is_call: bool,
    /// Whether its channel is served here.
    pub is_served: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The failure of the private hop that was found, delivered or not.
    pub failure: Option<(FailureSource, FailureKind)>,
    /// The status that was posted; 0 if none was.
    pub status: u16,
    /// Bytes of the message that came.
    pub bytes_in: u64,
    /// Bytes of all messages that were posted for it.
    pub bytes_out: u64,
    /// From its receipt to a worker.
    pub queued: Duration,
    /// At the MCP server, if it went there.
    pub server: Option<Duration>,
    /// From its receipt to its end.
    pub took: Duration,
    /// From the service's acceptance to its end, if the service named its date.
    pub age: Option<Duration>,
}

impl CommandRecord {
    /// The record of `command`, which is over now.
    pub fn new(command: &Command, summary: &Summary) -> Self {
        let kind = match &command.kind {
            CommandKind::JsonRpc(_) => "jsonrpc",
            CommandKind::SessionTermination => "session_termination",
            CommandKind::OauthDiscovery => "oauth_discovery",
        };
        let message = command.message();
        let now = SystemTime::now();
        Self {
            at: now,
            request_id: cut(command.request_id.as_str()),
            channel: command.channel.as_str().to_owned(),
            kind,
            method: message.and_then(Message::method).map(cut),
            tool: message.and_then(tool),
            is_call: matches!(message.map(Message::kind), Some(MessageKind::Request { .. })),
            is_served: summary.is_served,
            outcome: summary.outcome,
            failure: summary.failure,
            status: summary.status,
            bytes_in: message.map_or(0, |message| message.text().len() as u64),
            bytes_out: summary.bytes_out,
            queued: summary.queued,
            server: summary.server,
            took: command.received_at.elapsed(),
            age: command.created_at.and_then(|at| now.duration_since(at).ok()),
        }
    }

    /// The word for how it ended, in logs and on the page.
    pub fn outcome(&self) -> &'static str {
        match self.outcome {
            Outcome::Answered => "answered",
            Outcome::Failed => "failed",
            Outcome::Withdrawn => "withdrawn",
            Outcome::UnsupportedChannel => "unsupported_channel",
            Outcome::Dropped(reason) => reason.as_str(),
        }
    }

    /// Logs that the command is over, with the time of each phase.
    pub fn log(&self) {
        log::debug!(
            request_id = self.request_id.as_str(),
            outcome = self.outcome(),
            resp_code = self.status,
            queued_ms = self.queued.as_millis() as u64,
            mcp_ms = self.server.unwrap_or_default().as_millis() as u64,
            took_ms = self.took.as_millis() as u64;
            "command is over"
        );
    }
}

/// The name of the called tool.
fn tool(message: &Message) -> Option<String> {
    let name = message.name().filter(|_| message.method() == Some("tools/call"))?;
    Some(cut(&name))
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(NAME_MAX)).rev().find(|i| text.is_char_boundary(*i));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_is_named_and_nothing_else_of_the_payload() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call",
            "params":{"arguments":{"name":"secret"},"name":"échó"}}"#;
        let tool = |text: &str| tool(&Message::parse(text).unwrap());
        assert_eq!(tool(text).as_deref(), Some("échó"));
        assert_eq!(tool(&text.replace("tools/call", "prompts/get")), None);
        assert_eq!(tool(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#), None);
        assert!(cut(&"é".repeat(500)).len() <= NAME_MAX);
    }
}

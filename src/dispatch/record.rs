//! The record of a command that is over: told once, for the audit trail, the page and the counts.
//!
//! A record says what was asked for and how it went. It never holds a payload.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::wire::{
    Command, CommandKind, Failure, FailureKind, FailureSource, Message, MessageKind, Response,
};

/// Longest id, method or tool name that is kept, in bytes: they are the remote side's text.
const NAME_MAX: usize = 128;

/// Why a command got no final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Its deadline passed before a worker took it.
    DeadlineQueued,
    /// Its deadline passed at the MCP server.
    DeadlineServer,
    /// Its deadline passed while its answer was posted.
    DeadlinePost,
    /// Its answer could not be delivered.
    PostFailed,
    /// The service no longer waited for the answer.
    Gone,
    /// The process ended.
    Stopping,
}

impl Dropped {
    /// All reasons, for metrics.
    pub const ALL: [Self; 6] = [
        Self::DeadlineQueued,
        Self::DeadlineServer,
        Self::DeadlinePost,
        Self::PostFailed,
        Self::Gone,
        Self::Stopping,
    ];

    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeadlineQueued => "deadline_queued",
            Self::DeadlineServer => "deadline_server",
            Self::DeadlinePost => "deadline_post",
            Self::PostFailed => "post_failed",
            Self::Gone => "gone",
            Self::Stopping => "stopping",
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer of the server was delivered.
    Answered,
    /// A failure of the private hop was reported.
    Failed,
    /// It was cancelled before it started, or it is the cancel that did this.
    Withdrawn,
    /// Its channel is not served here.
    UnsupportedChannel,
    /// No final answer was delivered.
    Dropped(Dropped),
}

impl Outcome {
    /// The word in logs and on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
            Self::UnsupportedChannel => "unsupported_channel",
            Self::Dropped(reason) => reason.as_str(),
        }
    }
}

/// One command that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Told of each command that is over, by the worker. It must not wait for anything but a local
/// file.
pub type Observer = Arc<dyn Fn(CommandRecord) + Send + Sync>;

/// A worker's notes on the command that it has in hand.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Account>);

#[derive(Debug, Default)]
struct Account {
    outcome: Option<Outcome>,
    failure: Option<(FailureSource, FailureKind)>,
    is_served: bool,
    status: u16,
    bytes_out: u64,
    queued: Duration,
    server: Option<Duration>,
}

impl Notes {
    /// A command was taken, after so long a wait.
    pub(super) fn begin(&self, queued: Duration, is_served: bool) {
        *self.0.borrow_mut() = Account { queued, is_served, ..Account::default() };
    }

    /// So long was spent at the server.
    pub(super) fn at_server(&self, time: Duration) {
        self.0.borrow_mut().server = Some(time);
    }

    /// The first word on how it went is the one that counts.
    pub(super) fn outcome(&self, outcome: Outcome) {
        self.0.borrow_mut().outcome.get_or_insert(outcome);
    }

    /// The private hop failed.
    pub(super) fn failed(&self, failure: &Failure) {
        self.0.borrow_mut().failure = Some((failure.source, failure.kind));
        self.outcome(Outcome::Failed);
    }

    /// It was dropped: whatever was found before has not reached anyone.
    pub(super) fn dropped(&self, reason: Dropped) {
        let mut account = self.0.borrow_mut();
        account.outcome = Some(Outcome::Dropped(reason));
        account.status = 0;
    }

    /// A notification or the final answer is about to be posted.
    pub(super) fn posting(&self, response: &Response) {
        let mut account = self.0.borrow_mut();
        account.bytes_out += response.resp_json.as_ref().map_or(0, |json| json.len() as u64);
        if response.resp_type.is_final() {
            account.status = response.resp_code;
        }
    }

    /// The command is over.
    pub(super) fn record(&self, command: &Command) -> CommandRecord {
        let account = self.0.borrow();
        let (kind, message) = match &command.kind {
            CommandKind::JsonRpc(message) => ("jsonrpc", Some(message)),
            CommandKind::SessionTermination => ("session_termination", None),
            CommandKind::OauthDiscovery => ("oauth_discovery", None),
        };
        let method = message.and_then(|message| message.method());
        let kind_of_message = message.map(Message::kind);
        let now = SystemTime::now();
        let tool = message.and_then(tool);
        CommandRecord {
            at: now,
            request_id: cut(command.request_id.as_str()),
            channel: command.channel.as_str().to_owned(),
            kind,
            method: method.map(cut),
            tool,
            is_call: matches!(kind_of_message, Some(MessageKind::Request { .. })),
            is_served: account.is_served,
            outcome: account.outcome.unwrap_or(Outcome::Answered),
            failure: account.failure,
            status: account.status,
            bytes_in: message.map_or(0, |message| message.text().len() as u64),
            bytes_out: account.bytes_out,
            queued: account.queued,
            server: account.server,
            took: command.received_at.elapsed(),
            age: command.created_at.and_then(|at| now.duration_since(at).ok()),
        }
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

//! What became of each command, told once, when it is over: for the audit trail and the page.
//!
//! A record says who asked for what and how it went. It never holds a payload.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::wire::{Command, CommandKind, Message, Response};

/// Longest id, method or tool name that is kept, in bytes: they are the remote side's text.
const NAME_MAX: usize = 128;

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
    /// `answered`, `failed` (a failure of the private hop was reported), `withdrawn`,
    /// `unsupported_channel`, or why no final answer was delivered (see [`super::stats::Dropped`]).
    pub outcome: &'static str,
    /// The status that was posted; 0 if none was.
    pub status: u16,
    /// Bytes of the message that came.
    pub bytes_in: u64,
    /// Bytes of all messages that were posted for it.
    pub bytes_out: u64,
    /// From its receipt to a worker.
    pub queued: Duration,
    /// At the MCP server.
    pub server: Duration,
    /// From its receipt to its end.
    pub took: Duration,
}

/// Who is told. It is called by the worker and must not wait for anything but a local file.
pub type Observer = Arc<dyn Fn(CommandRecord) + Send + Sync>;

/// What a worker notes while it has a command.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Account>);

#[derive(Debug, Default)]
struct Account {
    outcome: Option<&'static str>,
    status: u16,
    bytes_out: u64,
    queued: Duration,
    server: Duration,
}

impl Notes {
    /// A command was taken, after so long a wait.
    pub(super) fn begin(&self, queued: Duration) {
        *self.0.borrow_mut() = Account { queued, ..Account::default() };
    }

    /// So long was spent at the server.
    pub(super) fn at_server(&self, time: Duration) {
        self.0.borrow_mut().server += time;
    }

    /// The first word on how it went is the one that counts.
    pub(super) fn outcome(&self, word: &'static str) {
        self.0.borrow_mut().outcome.get_or_insert(word);
    }

    /// It was dropped: whatever was found before has not reached anyone.
    pub(super) fn dropped(&self, word: &'static str) {
        let mut account = self.0.borrow_mut();
        account.outcome = Some(word);
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
        let tool = message.and_then(tool);
        CommandRecord {
            at: SystemTime::now(),
            request_id: cut(command.request_id.as_str()),
            channel: command.channel.as_str().to_owned(),
            kind,
            method: method.map(cut),
            tool,
            outcome: account.outcome.unwrap_or("answered"),
            status: account.status,
            bytes_in: message.map_or(0, |message| message.text().len() as u64),
            bytes_out: account.bytes_out,
            queued: account.queued,
            server: account.server,
            took: command.received_at.elapsed(),
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

//! Commands as the poll hands them out (wire-48 to wire-56).

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use super::headers::Headers;
use super::ids::{ChannelName, RequestId, ShardToken};
use super::json;
use super::message::{Message, MessageKind};
use super::time::parse_rfc3339;

/// One command of the control plane.
#[derive(Debug)]
pub struct Command {
    /// The control plane's id for the command.
    pub request_id: RequestId,
    /// The token that every answer must carry.
    pub shard_token: ShardToken,
    /// The channel that the command is for.
    pub channel: ChannelName,
    /// The time at which the control plane accepted it, by the control plane's clock.
    pub created_at: Option<SystemTime>,
    /// Headers of the remote client.
    pub headers: Headers,
    /// The moment at which the headers of the poll answer had arrived (wire-42).
    pub received_at: Instant,
    /// The moment after which no answer is of use (wire-56).
    pub deadline: Option<Instant>,
    /// The request itself.
    pub kind: CommandKind,
}

/// The types of command (wire-50).
#[derive(Debug)]
pub enum CommandKind {
    /// Deliver one JSON-RPC message.
    JsonRpc(Message),
    /// End the session that the headers name.
    SessionTermination,
    /// Fetch the OAuth metadata of the server.
    OauthDiscovery,
}

impl Command {
    /// The JSON-RPC message to deliver, if it asks for that.
    pub fn message(&self) -> Option<&Message> {
        match &self.kind {
            CommandKind::JsonRpc(message) => Some(message),
            CommandKind::SessionTermination | CommandKind::OauthDiscovery => None,
        }
    }

    /// The session that the command belongs to.
    pub fn session_id(&self) -> Option<&str> {
        self.headers.session_id()
    }

    /// The `X-Request-Id` of the remote client.
    pub fn client_request_id(&self) -> Option<&str> {
        self.headers.get("X-Request-Id")
    }
}

/// A command that could not be used. The others of the same poll answer still can (wire-49). It is
/// logged, and nothing is posted for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The command's id, if it could be read.
    pub request_id: Option<String>,
    /// The fault, in words.
    pub reason: String,
    /// True if this program does not know the command's type.
    pub unknown_type: bool,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The content of one poll answer, in order.
#[derive(Debug, Default)]
pub struct Envelope {
    /// Usable commands.
    pub commands: Vec<Command>,
    /// Commands that cannot be used.
    pub rejected: Vec<Rejected>,
}

impl Envelope {
    /// Reads the body of a poll answer (wire-48). `received_at` is the moment of wire-42.
    ///
    /// # Errors
    /// If the document is not one JSON object or `null`, or its `commands` is not an array: the
    /// whole answer is then a poll error.
    pub fn parse(body: &str, received_at: Instant) -> Result<Self, serde_json::Error> {
        let mut envelope = Self::default();
        if body.trim() == "null" {
            return Ok(envelope);
        }
        let document = json::Members::of(body)?;
        let commands = document.get("commands").filter(|list| *list != "null").unwrap_or("[]");
        for text in json::elements(commands)? {
            match command(text.get(), received_at) {
                Ok(command) => envelope.commands.push(command),
                Err(rejected) => envelope.rejected.push(rejected),
            }
        }
        Ok(envelope)
    }
}

fn command(text: &str, received_at: Instant) -> Result<Command, Rejected> {
    let fields = Fields::of(text)?;
    let command_type = fields.command_type()?;
    let request_id =
        RequestId::new(fields.text("request_id")?).map_err(|e| fields.reject(e.to_string()))?;
    let shard_token =
        ShardToken::new(fields.text("shard_token")?).map_err(|e| fields.reject(e.to_string()))?;
    let channel = fields.channel()?;
    let created_at = fields.created_at()?;
    let headers = fields.headers()?;
    let kind = match command_type.as_str() {
        "jsonrpc" => CommandKind::JsonRpc(fields.message()?),
        "session_termination" if headers.session_id().is_none() => {
            return Err(fields.reject("a session termination without `Mcp-Session-Id`"));
        }
        "session_termination" => CommandKind::SessionTermination,
        _ => CommandKind::OauthDiscovery,
    };
    let deadline = fields
        .present("response_timeout")
        .and_then(json::string)
        .and_then(|text| parse_timeout(&text))
        .and_then(|timeout| received_at.checked_add(timeout));
    Ok(Command {
        request_id,
        shard_token,
        channel,
        created_at,
        headers,
        received_at,
        deadline,
        kind,
    })
}

/// The members of one command and the checks on each (wire-49).
struct Fields<'a> {
    members: json::Members<'a>,
    /// The command's id, if it could be read, for [`Rejected`].
    request_id: Option<String>,
}

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Result<Self, Rejected> {
        let members = json::Members::of(text).map_err(|_| Rejected {
            request_id: None,
            reason: "the command is not a JSON object".to_owned(),
            unknown_type: false,
        })?;
        let request_id = members.get("request_id").and_then(json::string);
        let request_id = request_id.filter(|id| !id.is_empty()).map(Cow::into_owned);
        Ok(Self { members, request_id })
    }

    fn reject(&self, reason: impl Into<String>) -> Rejected {
        Rejected { request_id: self.request_id.clone(), reason: reason.into(), unknown_type: false }
    }

    /// The value of a member that is not `null`.
    fn present(&self, name: &str) -> Option<&'a str> {
        self.members.get(name).filter(|value| *value != "null")
    }

    /// A member that must be a non-empty string.
    fn text(&self, name: &str) -> Result<String, Rejected> {
        let value =
            self.present(name).ok_or_else(|| self.reject(format!("`{name}` is missing")))?;
        match json::string(value) {
            Some(text) if !text.is_empty() => Ok(text.into_owned()),
            Some(_) => Err(self.reject(format!("`{name}` is empty"))),
            None => Err(self.reject(format!("`{name}` is not a string"))),
        }
    }

    fn command_type(&self) -> Result<String, Rejected> {
        let name = self.text("command_type")?;
        if matches!(name.as_str(), "jsonrpc" | "session_termination" | "oauth_discovery") {
            return Ok(name);
        }
        // The type is the peer's text, so only its beginning is shown.
        let shown: String = name.chars().take(64).collect();
        let reason = format!("unknown command type {}", json::quote(&shown));
        Err(Rejected { unknown_type: true, ..self.reject(reason) })
    }

    fn channel(&self) -> Result<ChannelName, Rejected> {
        let Some(value) = self.present("channel") else { return Ok(ChannelName::main()) };
        json::string(value)
            .ok_or_else(|| self.reject("`channel` is not a string"))?
            .parse()
            .map_err(|e| self.reject(format!("`channel`: {e}")))
    }

    fn created_at(&self) -> Result<Option<SystemTime>, Rejected> {
        let Some(value) = self.present("created_at") else { return Ok(None) };
        let date = json::string(value).and_then(|text| parse_rfc3339(&text));
        date.map(Some).ok_or_else(|| self.reject("`created_at` is not an RFC 3339 date"))
    }

    fn headers(&self) -> Result<Headers, Rejected> {
        let Some(value) = self.present("headers") else { return Ok(Headers::new()) };
        serde_json::from_str(value)
            .map_err(|_| self.reject("`headers` is not an object of string arrays"))
    }

    fn message(&self) -> Result<Message, Rejected> {
        let text = self.present("jsonrpc").ok_or_else(|| self.reject("`jsonrpc` is missing"))?;
        let message = Message::parse(text)
            .map_err(|e| self.reject(format!("`jsonrpc` is no message: {e}")))?;
        if let MessageKind::Response { id: None, .. } = message.kind() {
            return Err(self.reject("`jsonrpc` has neither a method nor an id"));
        }
        Ok(message)
    }
}

/// A `response_timeout` (wire-55): digits and one unit, the whole at most 2^63-1 nanoseconds.
/// Anything else means that there is no deadline.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return None;
    }
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let ns = number.parse::<u64>().ok()?.checked_mul(unit_ns)?;
    (ns <= i64::MAX as u64).then(|| Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Envelope {
        Envelope::parse(body, Instant::now()).unwrap()
    }

    fn one(command: &str) -> Result<Command, Rejected> {
        let mut envelope = parse(&format!(r#"{{"commands":[{command}]}}"#));
        match envelope.rejected.pop() {
            Some(rejected) => Err(rejected),
            None => Ok(envelope.commands.pop().unwrap()),
        }
    }

    #[test] // wire-48
    fn an_envelope_without_commands_holds_none() {
        for body in ["{}", "null", r#"{"commands":null,"x":1}"#, r#"{"commands":[]}"#] {
            let envelope = parse(body);
            assert!(envelope.commands.is_empty() && envelope.rejected.is_empty(), "{body}");
        }
        for body in
            ["", "x", "{} {}", r#"{"commands":{}}"#, r#"{"commands":1}"#, "[]1", "[]", "[[]]"]
        {
            assert!(Envelope::parse(body, Instant::now()).is_err(), "{body}");
        }
    }

    #[test] // wire-49
    fn one_bad_command_never_harms_its_neighbours() {
        let good = r#"{"request_id":"a","shard_token":"t","command_type":"jsonrpc","jsonrpc":{"jsonrpc":"2.0","id":1,"method":"m"}}"#;
        let envelope = parse(&format!(r#"{{"commands":[7,{good},{{"request_id":"b"}},{good}]}}"#));
        assert_eq!(envelope.commands.len(), 2);
        assert_eq!(envelope.rejected.len(), 2);
        assert_eq!(envelope.rejected[1].request_id.as_deref(), Some("b"));
    }

    #[test] // wire-49
    fn every_field_is_checked_as_the_table_says() {
        let with = |extra: &str| {
            one(&format!(
                r#"{{"request_id":"a","shard_token":"t","command_type":"jsonrpc","jsonrpc":{{"jsonrpc":"2.0","id":1,"method":"m"}}{extra}}}"#
            ))
        };
        assert!(with("").unwrap().deadline.is_none());
        assert_eq!(with("").unwrap().channel, ChannelName::main());
        for bad in [
            r#","request_id":"""#,
            r#","request_id":5"#,
            r#","shard_token":null"#,
            r#","shard_token":"""#,
            r#","command_type":null"#,
            r#","command_type":7"#,
            r#","channel":7"#,
            r#","channel":"a b""#,
            r#","created_at":"yesterday""#,
            r#","created_at":5"#,
            r#","headers":[]"#,
            r#","headers":{"a":"b"}"#,
            r#","jsonrpc":null"#,
            r#","jsonrpc":[]"#,
            r#","jsonrpc":{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#,
            r#","jsonrpc":"x""#,
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
        for good in [
            r#","channel":null"#,
            r#","channel":" MAIN ""#,
            r#","created_at":null"#,
            r#","headers":null"#,
            r#","response_timeout":30"#,
            r#","response_timeout":"1d""#,
            r#","response_timeout":{}"#,
            r#","unknown":{"x":1}"#,
        ] {
            let command = with(good).unwrap();
            assert!(command.deadline.is_none(), "{good}");
        }
        assert!(with(r#","response_timeout":"45s""#).unwrap().deadline.is_some());
    }

    #[test] // wire-50
    fn types_have_their_own_demands() {
        let common = r#""request_id":"a","shard_token":"t""#;
        let unknown = one(&format!(r#"{{{common},"command_type":"reboot"}}"#)).unwrap_err();
        assert!(unknown.unknown_type);
        assert_eq!(unknown.request_id.as_deref(), Some("a"));
        let end = |headers: &str| {
            one(&format!(
                r#"{{{common},"command_type":"session_termination","headers":{headers}}}"#
            ))
        };
        assert!(end(r#"{"mcp-SESSION-id":["","s"]}"#).is_ok());
        assert!(end(r#"{"mcp-session-id":[""]}"#).is_err());
        assert!(end("{}").is_err());
        assert!(one(&format!(r#"{{{common},"command_type":"oauth_discovery"}}"#)).is_ok());
    }

    #[test] // wire-52
    fn the_payload_is_carried_as_text() {
        let text = r#"{"jsonrpc":"2.0", "id":1.0,"method":"m","params":{"z":1e400,"a":"\u00e9"},"x":[1,1.0]}"#;
        let command = one(&format!(
            r#"{{"request_id":"a","shard_token":"t","command_type":"jsonrpc","jsonrpc":{text}}}"#
        ))
        .unwrap();
        let CommandKind::JsonRpc(message) = command.kind else { panic!() };
        assert_eq!(message.text(), text);
    }

    #[test] // wire-55
    fn a_timeout_is_digits_and_one_unit() {
        for (text, ns) in [
            ("30s", 30_000_000_000),
            ("4500ms", 4_500_000_000),
            ("0s", 0),
            ("0h", 0),
            ("007s", 7_000_000_000),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
            ("9223372036s", 9_223_372_036_000_000_000),
            ("2562047h", 9_223_369_200_000_000_000),
        ] {
            assert_eq!(parse_timeout(text), Some(Duration::from_nanos(ns)), "{text}");
        }
        for text in [
            "9223372036854775808ns",
            "9223372037s",
            "2562048h",
            "4.5s",
            "1m30s",
            "-1s",
            "-0s",
            "+1s",
            "0",
            "1e3s",
            "1d",
            "1µs",
            "1S",
            " 1s",
            "1s ",
            "1s\n",
            "",
            "s",
            "99999999999999999999999999s",
        ] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }

    #[test] // wire-56
    fn the_deadline_counts_from_the_receipt() {
        let received_at = Instant::now();
        let body = r#"{"commands":[{"request_id":"a","shard_token":"t","command_type":"oauth_discovery","response_timeout":"2s","created_at":"2001-01-01T00:00:00Z"}]}"#;
        let envelope = Envelope::parse(body, received_at).unwrap();
        assert_eq!(envelope.commands[0].deadline, Some(received_at + Duration::from_secs(2)));
    }
}

//! The commands that are handed out, and the MCP server in this process that serves some of them.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ledger::{Issued, Kind};
use crate::random::Random;
use crate::support::http::Answer;
use crate::support::{Command, Gate, Request};

/// Remote clients; all count their requests from 0.
const SESSIONS: usize = 8;

/// Served in this process, by [`answer`].
pub const SCRIPTED: &str = "main";
/// The built-in server over HTTP, which is restarted now and then.
pub const STUB: &str = "stub";
/// The built-in server over stdio, which is killed and stopped now and then.
pub const CHILD: &str = "child";
/// A stdio server that misbehaves by itself.
pub const WILD: &str = "wild";
/// Served by nobody.
const NOWHERE: &str = "nowhere";

/// Makes commands.
pub struct Traffic {
    random: Random,
    number: u64,
    ids: [u64; SESSIONS],
    /// Calls that may still run: channel, session, id.
    cancellable: VecDeque<(&'static str, String, String)>,
}

impl Traffic {
    pub fn new(seed: u64) -> Traffic {
        Traffic {
            random: Random::new(seed),
            number: 0,
            ids: [0; SESSIONS],
            cancellable: VecDeque::new(),
        }
    }

    /// Text in the place of a command that is none.
    pub fn malformed(&mut self) -> String {
        let texts = [
            "7",
            "null",
            r#"{"request_id":"bad"}"#,
            r#"{"request_id":"bad","shard_token":"s","command_type":"reboot"}"#,
            r#"{"request_id":"bad","shard_token":"s","command_type":"jsonrpc","jsonrpc":[]}"#,
            r#"{"request_id":"bad","shard_token":"s","command_type":"session_termination"}"#,
        ];
        self.random.pick(&texts).to_owned()
    }

    pub fn command(&mut self) -> Issued {
        self.number += 1;
        let request_id = format!("r{}", self.number);
        let session = self.random.below(SESSIONS as u64) as usize;
        let channel =
            self.random.weighted(&[(10, SCRIPTED), (5, STUB), (8, CHILD), (1, WILD), (1, NOWHERE)]);
        let what = self.random.weighted(&[
            (80, "call"),
            (10, "notification"),
            (6, "cancel"),
            (2, "termination"),
            (1, "response"),
            (1, "discovery"),
        ]);
        let (command, kind) = match what {
            "call" => self.call(&request_id, channel, session),
            "cancel" => self.cancel(&request_id),
            "termination" => (
                Command::termination(&request_id, &format!("s{session}")).channel(channel),
                Kind::Termination,
            ),
            "discovery" => (Command::of("oauth_discovery", &request_id), Kind::Discovery),
            "response" => {
                let message = r#"{"jsonrpc":"2.0","id":"never asked","result":{}}"#;
                (Command::jsonrpc(&request_id, message).channel(channel), Kind::Receipt)
            }
            _ => {
                let method = self.random.pick(&["notifications/initialized", "notifications/x"]);
                let message = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
                let kind = if channel == NOWHERE { Kind::Misdirected } else { Kind::Receipt };
                let command = Command::jsonrpc(&request_id, &message).channel(channel);
                (command.header("Mcp-Session-Id", &format!("s{session}")), kind)
            }
        };
        let (command, timeout) = self.time_limit(command);
        let text = self.dated(command).text();
        let channel = serde_json::from_str::<Value>(&text).unwrap()["channel"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Issued { request_id, channel, kind, timeout, text }
    }

    fn time_limit(&mut self, command: Command) -> (Command, Option<Duration>) {
        let (text, limit) = self.random.weighted(&[
            (30, ("", None)),
            (50, ("300s", Some(300_000))),
            (5, ("no time", None)),
            (5, ("2s", Some(2_000))),
            (6, ("300ms", Some(300))),
            (3, ("20ms", Some(20))),
            (1, ("0s", Some(0))),
        ]);
        let command = match text {
            "" => command.without("response_timeout"),
            text => command.response_timeout(text),
        };
        (command, limit.map(Duration::from_millis))
    }

    /// The control plane's clock jumps: nothing may hang on it.
    fn dated(&mut self, command: Command) -> Command {
        let dates =
            ["1970-01-01T00:00:00Z", "2999-12-31T23:59:59.999Z", "2026-02-03T04:05:06+14:00"];
        match self.random.below(5) {
            0 => command.without("created_at"),
            1 => command.member("created_at", &json!(self.random.pick(&dates)).to_string()),
            _ => command,
        }
    }

    fn call(&mut self, request_id: &str, channel: &'static str, session: usize) -> (Command, Kind) {
        let number = self.ids[session];
        self.ids[session] += 1;
        let id = match number % 4 {
            0 => format!("\"{number}\""),
            1 => format!("{number}.0"),
            _ => number.to_string(),
        };
        let echo = format!("<{request_id}>");
        let (method, params, echo) = match channel {
            SCRIPTED => {
                let behave = self.random.weighted(&[
                    (30, "json"),
                    (20, "events"),
                    (10, "slow"),
                    (5, "error"),
                    (4, "late"),
                    (4, "cut"),
                    (4, "reset"),
                    (4, "fail"),
                    (3, "html"),
                    (3, "big"),
                    (2, "stranger"),
                    (2, "silent"),
                ]);
                let wait = self.random.below(300);
                let params =
                    json!({ "behave": behave, "text": echo, "wait": wait, "token": request_id });
                ("tools/call", params, Some(echo))
            }
            WILD => {
                let steps = self.random.weighted(&[
                    (8, r#"[["answer"]]"#),
                    (4, r#"[["raw", "{not json}"], ["raw", ""], ["answer"]]"#),
                    (3, r#"[["stderr", 300], ["answer"]]"#),
                    (3, r#"[["big", 2000000]]"#),
                    (2, r#"[["hold"]]"#),
                    (2, r#"[["release"], ["answer"]]"#),
                    (1, r#"[["raw", "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"roots/list\"}"], ["answer"]]"#),
                    (1, r#"[["exit", 3]]"#),
                    (1, r#"[["close_stdout"]]"#),
                    (1, r#"[["stop_reading"]]"#),
                ]);
                let steps: Value = serde_json::from_str(steps).unwrap();
                ("do", json!({ "steps": steps }), None)
            }
            _ => self.tool(request_id, echo),
        };
        let session = format!("s{session}");
        let slow = params["name"] == "slow";
        if slow || self.random.one_in(10) {
            self.cancellable.push_back((channel, session.clone(), id.clone()));
            self.cancellable.truncate(20);
        }
        let command = Command::call(request_id, &id, method, &params.to_string()).channel(channel);
        let command = command.header("Mcp-Session-Id", &session).header("X-Request-Id", request_id);
        (command, Kind::Call { id, echo })
    }

    /// A call of the built-in server, most of them complete in themselves.
    fn tool(&mut self, request_id: &str, echo: String) -> (&'static str, Value, Option<String>) {
        if self.random.one_in(20) {
            let params = json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": { "name": "soak", "version": "1" },
            });
            return ("initialize", params, None);
        }
        let (name, arguments, echo) = match self.random.below(10) {
            0..5 => ("echo", json!({ "text": echo }), Some(echo)),
            // More than a pipe holds.
            5 => ("echo", json!({ "text": echo.clone() + &"x".repeat(100_000) }), Some(echo)),
            6 => ("big", json!({ "bytes": 1 + self.random.below(3_000_000) }), None),
            7 => ("nothing", json!({}), None),
            _ => {
                let delay = self.random.below(200);
                ("slow", json!({ "steps": self.random.below(6), "delay_ms": delay }), None)
            }
        };
        let mut meta = json!({ "progressToken": request_id });
        if !self.random.one_in(4) {
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        ("tools/call", json!({ "name": name, "arguments": arguments, "_meta": meta }), echo)
    }

    fn cancel(&mut self, request_id: &str) -> (Command, Kind) {
        let nobody = || (CHILD, "s0".to_owned(), "\"nobody's\"".to_owned());
        let (channel, session, id) = self.cancellable.pop_front().unwrap_or_else(nobody);
        let message = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"soak"}}}}"#
        );
        let command = Command::jsonrpc(request_id, &message).channel(channel);
        let kind = if channel == NOWHERE { Kind::Misdirected } else { Kind::Receipt };
        (command.header("Mcp-Session-Id", &session), kind)
    }
}

/// The scripted MCP server.
pub fn answer(request: &Request) -> Answer {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        method: Option<String>,
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        params: Option<Params>,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Params {
        behave: String,
        text: String,
        token: String,
        wait: u64,
    }
    // OAuth discovery.
    if request.path().starts_with("/.well-known/")
        || request.body.is_empty() && request.method == "POST"
    {
        return Answer::status(404);
    }
    if request.method != "POST" {
        return Answer::status(204);
    }
    let message: Message = serde_json::from_slice(&request.body).expect("a message");
    let (Some(id), Some(_)) = (message.id, message.method) else { return Answer::status(202) };
    let params = message.params.unwrap_or_default();
    let wait = Duration::from_millis(params.wait);
    let result = |text: &str| {
        let result = json!({ "content": [{ "type": "text", "text": text }] });
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
    };
    let progress = |step: usize| {
        let params = json!({ "progressToken": params.token, "progress": step });
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#)
    };
    let error =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32003,"message":"no"}}}}"#);
    match params.behave.as_str() {
        "events" => {
            let events = (1..4).fold(Answer::sse(), |events, step| events.event(&progress(step)));
            events.pause(wait / 4).event(&result(&params.text))
        }
        "slow" => Answer::json(200, result(&params.text)[..20].to_owned())
            .pause(wait)
            .body(result(&params.text)[20..].to_owned()),
        "late" => Answer::status(200)
            .header("Content-Type", "application/json")
            .pause(wait + Duration::from_secs(1))
            .body(result(&params.text)),
        "error" => Answer::json(400, error),
        "cut" => Answer::sse().event(&progress(1)).close(),
        "reset" => Answer::reset_at_once(),
        "fail" => Answer::status(500).body("out of order"),
        "html" => Answer::status(200).header("Content-Type", "text/html").body("<p>hello</p>"),
        "big" => Answer::json(200, result(&params.text.repeat(200_000))),
        "stranger" => Answer::json(200, r#"{"jsonrpc":"2.0","id":"stranger","result":{}}"#),
        "silent" => Answer::silence(&Gate::new()),
        _ => Answer::json(200, result(&params.text)),
    }
}

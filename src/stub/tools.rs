//! The stub's tools.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::{Number, Value, json};

use super::answer::{self, Answer, Identity};
use crate::wire::json::{self as text, Members};
use crate::wire::{Era, Message, RpcId};

/// Largest text that `big` makes, in bytes: more than any client takes.
const BIG_MAX: u64 = 64 * 1024 * 1024;

/// Most steps of `slow`, and its longest step, so that a forgotten call ends one day.
const SLOW_STEPS_MAX: u64 = 10_000;
const SLOW_DELAY_MAX_MS: u64 = 60_000;

/// Instructions that a client may give its model about this server.
pub const INSTRUCTIONS: &str =
    "A test server. `echo` returns its text, `add` adds, `slow` reports progress, `big` is long.";

/// The `tools` member of `tools/list`.
pub const LIST: &str = concat!(
    r#"[{"name":"echo","description":"Returns the text it is given.","inputSchema":{"#,
    r#""type":"object","properties":{"text":{"type":"string"},"input":{"type":"string","#,
    r#""description":"The same, by another name."}}}},"#,
    r#"{"name":"uppercase","description":"Returns the text in capitals.","inputSchema":{"#,
    r#""type":"object","properties":{"input":{"type":"string"}},"required":["input"]}},"#,
    r#"{"name":"add","description":"Adds two numbers.","inputSchema":{"type":"object","#,
    r#""properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}},"#,
    r#"{"name":"slow","description":"Takes `steps` times `delay_ms` and reports its progress.","#,
    r#""inputSchema":{"type":"object","properties":{"#,
    r#""steps":{"type":"integer","minimum":1,"maximum":10000,"default":5},"#,
    r#""delay_ms":{"type":"integer","minimum":0,"maximum":60000,"default":200}}}},"#,
    r#"{"name":"big","description":"Returns a text of so many bytes.","inputSchema":{"#,
    r#""type":"object","properties":{"bytes":{"type":"integer","minimum":0,"#,
    r#""maximum":67108864}},"required":["bytes"]}},"#,
    r#"{"name":"server_info","description":"Says what this server is.","inputSchema":{"#,
    r#""type":"object"}}]"#,
);

const NAMES: [&str; 6] = ["echo", "uppercase", "add", "slow", "big", "server_info"];

/// The outcome of a `tools/call`.
pub enum Called {
    /// The members of its result.
    Done(Vec<(&'static str, String)>),
    /// A call that takes time.
    Slow(SlowCall),
    /// The call makes no sense: for instance, there is no such tool.
    Refused(String),
}

/// A call of `slow` under way.
#[derive(Debug)]
pub struct SlowCall {
    /// The request.
    pub id: RpcId,
    era: Era,
    /// The progress token, as JSON text.
    token: Option<String>,
    steps: u64,
    delay: Duration,
}

/// Calls a tool.
pub fn call(identity: &Identity, request: &Message, id: &RpcId) -> Called {
    let name = request.name();
    let Some(name) = name else {
        return Called::Refused("`params.name` is missing: which tool?".to_owned());
    };
    let arguments = request.param("arguments").unwrap_or("{}");
    let Ok(arguments) = Members::of(arguments) else {
        return Called::Refused("`params.arguments` is not an object".to_owned());
    };
    let done = match name.as_ref() {
        "echo" => string(&arguments, &["text", "input"])
            .map(|said| texts(&said, Some(json!({ "echoed": said })))),
        "uppercase" => string(&arguments, &["input", "text"]).map(|said| {
            let said = said.to_uppercase();
            texts(&said, Some(json!({ "uppercase": said })))
        }),
        "add" => add(&arguments).map(|sum| texts(&sum.to_string(), Some(json!({ "sum": sum })))),
        "big" => integer(&arguments, "bytes", None, BIG_MAX)
            .map(|bytes| texts(&"x".repeat(usize::try_from(bytes).unwrap_or(0)), None)),
        "slow" => match slow(&arguments) {
            Ok((steps, delay)) => {
                let token = request.meta("progressToken").map(str::to_owned);
                return Called::Slow(SlowCall {
                    id: id.clone(),
                    era: request.era(),
                    token,
                    steps,
                    delay,
                });
            }
            Err(why) => Err(why),
        },
        "server_info" => Ok(server_info(identity)),
        other => return Called::Refused(format!("the stub has no tool `{other}`")),
    };
    Called::Done(done.unwrap_or_else(|why| failed(&why)))
}

impl SlowCall {
    /// True if the caller wants progress notifications.
    pub fn reports(&self) -> bool {
        self.token.is_some()
    }

    /// Waits step by step and returns the answer; `None` if `cancelled` disconnects meanwhile.
    /// `on_step` is called after each step, with the progress notification if one is wanted.
    ///
    /// # Errors
    /// Those of `on_step`, which end the call.
    pub fn run(
        &self,
        cancelled: &Receiver<()>,
        on_step: &mut dyn FnMut(Option<String>) -> io::Result<()>,
    ) -> io::Result<Option<Answer>> {
        for step in 1..=self.steps {
            if cancelled.recv_timeout(self.delay) == Err(RecvTimeoutError::Disconnected) {
                return Ok(None);
            }
            on_step(self.token.as_ref().map(|token| {
                let steps = self.steps;
                format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step},"total":{steps},"message":"step {step} of {steps}"}}}}"#
                )
            }))?;
        }
        let said = format!("{} steps of {} ms done", self.steps, self.delay.as_millis());
        Ok(Some(answer::result(&self.id, self.era, &texts(&said, None))))
    }

    /// The answer if too many slow calls run already.
    pub fn refuse(&self) -> Answer {
        let why = "too many slow calls run already; try again later";
        answer::result(&self.id, self.era, &failed(why))
    }
}

fn texts(said: &str, structured: Option<Value>) -> Vec<(&'static str, String)> {
    let content = format!(r#"[{{"type":"text","text":{}}}]"#, text::quote(said));
    let mut members = vec![("content", content)];
    members.extend(structured.map(|value| ("structuredContent", value.to_string())));
    members
}

fn failed(why: &str) -> Vec<(&'static str, String)> {
    let mut members = texts(why, None);
    members.push(("isError", "true".to_owned()));
    members
}

fn string<'a>(arguments: &Members<'a>, names: &[&str]) -> Result<Cow<'a, str>, String> {
    let value = names.iter().find_map(|name| arguments.get(name));
    value.and_then(text::string).ok_or_else(|| format!("`{}` must be a text", names[0]))
}

fn integer(
    arguments: &Members<'_>,
    name: &str,
    default: Option<u64>,
    max: u64,
) -> Result<u64, String> {
    let value = match arguments.get(name) {
        None => default,
        Some(value) => value.parse().ok(),
    };
    value
        .filter(|value| *value <= max)
        .ok_or_else(|| format!("`{name}` must be a whole number from 0 to {max}"))
}

fn slow(arguments: &Members<'_>) -> Result<(u64, Duration), String> {
    let steps = integer(arguments, "steps", Some(5), SLOW_STEPS_MAX)?;
    let delay = integer(arguments, "delay_ms", Some(200), SLOW_DELAY_MAX_MS)?;
    Ok((steps, Duration::from_millis(delay)))
}

fn add(arguments: &Members<'_>) -> Result<Number, String> {
    let number = |name| {
        let value =
            arguments.get(name).and_then(|value| serde_json::from_str::<Number>(value).ok());
        value.ok_or_else(|| format!("`{name}` must be a number"))
    };
    let (a, b) = (number("a")?, number("b")?);
    let whole = a.as_i64().zip(b.as_i64()).and_then(|(a, b)| a.checked_add(b)).map(Number::from);
    let real = || Number::from_f64(a.as_f64()? + b.as_f64()?);
    whole.or_else(real).ok_or_else(|| "the sum is not a number that JSON can write".to_owned())
}

fn server_info(identity: &Identity) -> Vec<(&'static str, String)> {
    let structured = json!({
        "name": identity.name,
        "version": identity.version,
        "available_tools": NAMES,
        "sample_prompts": ["Echo the word hello.", "Add 19 and 23.", "Take five slow steps."],
    });
    let said = format!("{} {} has the tools {}", identity.name, identity.version, NAMES.join(", "));
    texts(&said, Some(structured))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(name: &str, arguments: &str) -> String {
        let request = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
        );
        let identity = Identity { name: "stub".to_owned(), version: "1".to_owned() };
        let id = RpcId::from_json("1").unwrap();
        match call(&identity, &Message::parse(request).unwrap(), &id) {
            Called::Done(members) => answer::result(&id, Era::Legacy, &members).text,
            Called::Slow(_) => "slow".to_owned(),
            Called::Refused(why) => format!("refused: {why}"),
        }
    }

    #[test]
    fn tools_do_what_their_names_say() {
        assert!(done("echo", r#"{"text":"a\nb\u00e9"}"#).contains(r#""text":"a\nbé""#));
        assert!(done("echo", r#"{"input":"x"}"#).contains(r#""echoed":"x""#));
        assert!(done("uppercase", r#"{"input":"é"}"#).contains(r#""uppercase":"É""#));
        assert!(done("add", r#"{"a":19,"b":23}"#).contains(r#""text":"42""#));
        assert!(done("add", r#"{"a":0.5,"b":1}"#).contains(r#""sum":1.5"#));
        assert!(done("add", r#"{"a":9223372036854775807,"b":1}"#).contains("9.22337"));
        assert!(done("big", r#"{"bytes":100000}"#).len() > 100_000);
        assert!(done("server_info", "{}").contains(r#""available_tools":["echo""#));
    }

    #[test]
    fn bad_arguments_are_a_tool_error_and_a_wrong_name_is_refused() {
        for (name, arguments) in [
            ("echo", "{}"),
            ("echo", r#"{"text":1}"#),
            ("add", r#"{"a":"1","b":2}"#),
            ("big", r#"{"bytes":-1}"#),
            ("big", r#"{"bytes":67108865}"#),
            ("slow", r#"{"steps":1.5}"#),
        ] {
            let text = done(name, arguments);
            assert!(text.contains(r#""isError":true"#), "{name} {arguments}: {text}");
        }
        assert!(done("none", "{}").starts_with("refused"));
        assert!(done("echo", "[]").starts_with("refused"));
    }

    #[test]
    fn the_list_names_every_tool() {
        let tools: Value = serde_json::from_str(LIST).unwrap();
        let names: Vec<_> =
            tools.as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
        assert_eq!(names, NAMES);
        assert!(tools.as_array().unwrap().iter().all(|t| t["inputSchema"]["type"] == "object"));
    }

    #[test]
    fn a_slow_call_reports_with_the_token_it_was_given_until_cancelled() {
        let call = SlowCall {
            id: RpcId::from_json("7").unwrap(),
            era: Era::Legacy,
            token: Some("\"t\"".to_owned()),
            steps: 3,
            delay: Duration::ZERO,
        };
        let (sender, cancelled) = crossbeam_channel::bounded(0);
        let mut seen = Vec::new();
        let answer = call.run(&cancelled, &mut |text| {
            seen.extend(text);
            Ok(())
        });
        assert!(answer.unwrap().unwrap().text.contains("3 steps"));
        assert_eq!(seen.len(), 3);
        assert!(seen[2].contains(r#""progressToken":"t","progress":3,"total":3"#));
        drop(sender);
        assert_eq!(call.run(&cancelled, &mut |_| Ok(())).unwrap(), None);
    }
}

//! The stub's MCP server, without a transport: one message in, what is due for it out.
//!
//! It speaks both eras (mcp.md, section 0): a request that names its protocol version in `_meta`
//! is modern and is judged alone; all others belong to a session that began with `initialize`.

use super::tools::{self, Called, SlowCall};
use crate::wire::json::{self, Members};
use crate::wire::message::{Message, MessageKind, RpcId};

/// Revisions with a handshake that the stub knows, newest first.
pub const LEGACY_VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Revisions without a handshake that the stub knows.
pub const MODERN_VERSIONS: [&str; 1] = ["2026-07-28"];

/// How long a client may keep what `server/discover` and `tools/list` say: nothing changes while
/// the stub runs.
const CACHE_MS: u64 = 3_600_000;

/// Longest message that the stub reads, in bytes: what is longer no client of a test server sends.
pub const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// Where a modern request names its protocol version, in `params._meta`.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// JSON-RPC and MCP error codes that the stub uses.
pub mod code {
    pub const PARSE: i64 = -32700;
    pub const INVALID_REQUEST: i64 = -32600;
    pub const METHOD_NOT_FOUND: i64 = -32601;
    pub const INVALID_PARAMS: i64 = -32602;
    pub const INTERNAL: i64 = -32603;
    pub const HEADER_MISMATCH: i64 = -32020;
    pub const UNSUPPORTED_VERSION: i64 = -32022;
}

/// What the server calls itself.
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: String,
    pub version: String,
}

/// Whether a message needs a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Bound to a session that `initialize` began.
    Legacy,
    /// Complete in itself.
    Modern,
}

/// One response, and the HTTP status that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub status: u16,
}

/// What is due for a message.
#[derive(Debug)]
pub enum Outcome {
    /// A notification or a response: nothing.
    Accepted,
    /// A notification that cancels this request.
    Cancel(RpcId),
    /// A request that is answered.
    Answer(Answer),
    /// A request that takes its time.
    Slow(SlowCall),
}

/// The era of a message, told by its own text.
pub fn era(message: &Message) -> Era {
    match meta(message.text(), META_VERSION) {
        Some(_) => Era::Modern,
        None => Era::Legacy,
    }
}

/// One member of `params._meta`, as JSON text.
pub fn meta<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let meta = param(text, "_meta")?;
    Members::of(meta).ok()?.get(name)
}

/// One member of `params`, as JSON text.
pub fn param<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let params = Members::of(text).ok()?.get("params")?;
    Members::of(params).ok()?.get(name)
}

/// Serves one message. `in_session` says whether `initialize` came before.
pub fn serve(identity: &Identity, message: &Message, in_session: bool) -> Outcome {
    let text = message.text();
    let (id, method) = match message.kind() {
        MessageKind::Request { id, method } => (id, method.as_str()),
        MessageKind::Notification { method } if method == "notifications/cancelled" => {
            return match param(text, "requestId").and_then(RpcId::from_json) {
                Some(id) => Outcome::Cancel(id),
                None => Outcome::Accepted,
            };
        }
        MessageKind::Notification { .. } | MessageKind::Response { .. } => {
            return Outcome::Accepted;
        }
    };
    let era = era(message);
    if era == Era::Modern {
        if let Some(refusal) = refuse_modern(text, id) {
            return Outcome::Answer(refusal);
        }
    } else if !in_session && !matches!(method, "initialize" | "ping") {
        let why = "this session has not begun: send `initialize` first";
        return Outcome::Answer(error(Some(id), code::INVALID_REQUEST, why, None, 400));
    }
    match (method, era) {
        ("initialize", Era::Legacy) => Outcome::Answer(initialize(identity, text, id)),
        ("ping", Era::Legacy) => Outcome::Answer(result(id, era, &[])),
        ("server/discover", Era::Modern) => Outcome::Answer(discover(identity, id)),
        ("tools/list", _) => {
            let cache = [("ttlMs", CACHE_MS.to_string()), ("cacheScope", json::quote("public"))];
            let mut members = vec![("tools", tools::LIST.to_owned())];
            members.extend(cache.into_iter().filter(|_| era == Era::Modern));
            Outcome::Answer(result(id, era, &members))
        }
        ("tools/call", _) => match tools::call(identity, text, id, era) {
            Called::Done(members) => Outcome::Answer(result(id, era, &members)),
            Called::Slow(call) => Outcome::Slow(call),
            Called::Refused(why) => {
                Outcome::Answer(error(Some(id), code::INVALID_PARAMS, &why, None, 200))
            }
        },
        _ => {
            let status = if era == Era::Modern { 404 } else { 200 };
            let why = format!("the stub has no method `{method}`");
            Outcome::Answer(error(Some(id), code::METHOD_NOT_FOUND, &why, None, status))
        }
    }
}

/// The response of a request: the members of `result`, each with its JSON text.
pub fn result(id: &RpcId, era: Era, members: &[(&str, String)]) -> Answer {
    let kind = (era == Era::Modern).then(|| ("resultType", json::quote("complete")));
    let members: Vec<String> = kind
        .iter()
        .chain(members)
        .map(|(name, value)| format!("{}:{value}", json::quote(name)))
        .collect();
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{}}}}}"#, members.join(","));
    Answer { text, status: 200 }
}

/// The error response of a request, or of something whose id could not be read.
pub fn error(id: Option<&RpcId>, code: i64, why: &str, data: Option<&str>, status: u16) -> Answer {
    let id = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
    let data = data.map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
    let why = json::quote(why);
    let text =
        format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":{code},"message":{why}{data}}}}}"#);
    Answer { text, status }
}

fn refuse_modern(text: &str, id: &RpcId) -> Option<Answer> {
    let version = meta(text, META_VERSION).and_then(json::string);
    let Some(version) = version else {
        let why = format!("`_meta` has no text `{META_VERSION}`");
        return Some(error(Some(id), code::INVALID_PARAMS, &why, None, 400));
    };
    if !MODERN_VERSIONS.contains(&version.as_ref()) {
        let supported = list(&MODERN_VERSIONS);
        let requested = json::quote(&version);
        let data = format!(r#"{{"supported":{supported},"requested":{requested}}}"#);
        let why = "the stub does not speak this protocol version";
        return Some(error(Some(id), code::UNSUPPORTED_VERSION, why, Some(&data), 400));
    }
    if meta(text, META_CAPABILITIES).is_none() {
        let why = format!("`_meta` has no `{META_CAPABILITIES}`");
        return Some(error(Some(id), code::INVALID_PARAMS, &why, None, 400));
    }
    None
}

fn initialize(identity: &Identity, text: &str, id: &RpcId) -> Answer {
    let wanted = param(text, "protocolVersion").and_then(json::string);
    let version = wanted
        .as_deref()
        .filter(|wanted| LEGACY_VERSIONS.contains(wanted))
        .unwrap_or(LEGACY_VERSIONS[0]);
    result(
        id,
        Era::Legacy,
        &[
            ("protocolVersion", json::quote(version)),
            ("capabilities", r#"{"tools":{}}"#.to_owned()),
            ("serverInfo", server_info(identity)),
            ("instructions", json::quote(tools::INSTRUCTIONS)),
        ],
    )
}

fn discover(identity: &Identity, id: &RpcId) -> Answer {
    let meta = format!(r#"{{"io.modelcontextprotocol/serverInfo":{}}}"#, server_info(identity));
    result(
        id,
        Era::Modern,
        &[
            ("supportedVersions", list(&MODERN_VERSIONS)),
            ("capabilities", r#"{"tools":{}}"#.to_owned()),
            ("instructions", json::quote(tools::INSTRUCTIONS)),
            ("ttlMs", CACHE_MS.to_string()),
            ("cacheScope", json::quote("public")),
            ("_meta", meta),
        ],
    )
}

fn server_info(identity: &Identity) -> String {
    let Identity { name, version } = identity;
    format!(r#"{{"name":{},"version":{}}}"#, json::quote(name), json::quote(version))
}

/// A JSON array of texts.
pub fn list(texts: &[&str]) -> String {
    serde_json::Value::from(texts.to_vec()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { name: "stub".to_owned(), version: "1".to_owned() }
    }

    fn ask(text: &str, in_session: bool) -> Answer {
        match serve(&identity(), &Message::parse(text).unwrap(), in_session) {
            Outcome::Answer(answer) => {
                assert!(Message::parse(answer.text.clone()).is_ok(), "{}", answer.text);
                answer
            }
            other => panic!("{other:?}"),
        }
    }

    fn modern(method: &str, version: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":"a","method":"{method}","params":{{"_meta":{{"{META_VERSION}":"{version}","{META_CAPABILITIES}":{{}}}}}}}}"#
        )
    }

    #[test]
    fn initialize_agrees_on_a_known_version_and_offers_the_newest_otherwise() {
        let ask = |version| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1.0,"method":"initialize","params":{{"protocolVersion":"{version}"}}}}"#
            );
            super::tests::ask(&text, false)
        };
        let answer = ask("2024-11-05");
        assert!(answer.text.contains(r#""id":1.0,"result":{"protocolVersion":"2024-11-05""#));
        assert!(ask("1999-01-01").text.contains(r#""protocolVersion":"2025-11-25""#));
    }

    #[test]
    fn a_legacy_request_before_initialize_is_refused() {
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        assert!(ask(list, false).text.contains("-32600"));
        assert!(ask(list, true).text.contains(r#""tools":[{"name":"echo""#));
        assert!(ask(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, false).text.contains("{}"));
    }

    #[test] // mcp.md section 4
    fn a_modern_request_stands_alone_and_its_errors_have_their_status() {
        let answer = ask(&modern("server/discover", "2026-07-28"), false);
        assert!(answer.text.contains(r#""resultType":"complete""#), "{}", answer.text);
        assert!(answer.text.contains(r#""supportedVersions":["2026-07-28"]"#));
        let answer = ask(&modern("tools/list", "2026-07-28"), false);
        assert!(answer.text.contains(r#""cacheScope":"public""#));
        let answer = ask(&modern("tools/list", "2031-01-01"), false);
        assert_eq!(answer.status, 400);
        assert!(answer.text.contains(r#""requested":"2031-01-01""#));
        let answer = ask(&modern("nothing", "2026-07-28"), false);
        assert_eq!(answer.status, 404);
        assert!(answer.text.contains("-32601"));
        let lacking = modern("tools/list", "2026-07-28").replace("clientCapabilities", "x");
        assert_eq!(ask(&lacking, false).status, 400);
    }

    #[test] // M-7
    fn a_notification_is_not_answered() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","method":"no/such"}"#,
            r#"{"jsonrpc":"2.0","id":9,"result":{}}"#,
        ] {
            let outcome = serve(&identity(), &Message::parse(text).unwrap(), true);
            assert!(matches!(outcome, Outcome::Accepted), "{text}");
        }
        let text =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#;
        let outcome = serve(&identity(), &Message::parse(text).unwrap(), true);
        assert!(matches!(outcome, Outcome::Cancel(id) if id.as_json() == "\"x\""));
    }
}

//! The stub's MCP server without a transport: one message in, its outcome out.
//!
//! It speaks both eras (mcp.md, section 0): a request that names its protocol version in `_meta`
//! is modern and independent; all others belong to a session that began with `initialize`.

use super::answer::{Answer, Identity, error, list, result};
use super::tools::{self, Called, SlowCall};
use crate::wire::era::{Era, META_CAPABILITIES, META_SERVER, META_VERSION};
use crate::wire::message::{Message, MessageKind, RpcId};
use crate::wire::{json, jsonrpc};

/// Revisions with a handshake that the stub knows, newest first.
pub const LEGACY_VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Revisions without a handshake that the stub knows.
pub const MODERN_VERSIONS: [&str; 1] = ["2026-07-28"];

/// How long a client may cache the answers to `server/discover` and `tools/list`, in milliseconds:
/// nothing changes while the stub runs.
const CACHE_MS: u64 = 3_600_000;

/// Longest message that the stub reads, in bytes. No client of a test server sends a longer one.
pub const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// The outcome of one message.
#[derive(Debug)]
pub enum Outcome {
    /// A notification or a response: there is nothing to answer.
    Accepted,
    /// A notification that cancels this request.
    Cancel(RpcId),
    /// A request with its answer.
    Answer(Answer),
    /// A request that takes time.
    Slow(SlowCall),
}

/// Serves one message. `in_session` says whether `initialize` came before it.
pub fn serve(identity: &Identity, message: &Message, in_session: bool) -> Outcome {
    let (id, method) = match message.kind() {
        MessageKind::Request { id, method } => (id, method.as_str()),
        MessageKind::Notification { .. } | MessageKind::Response { .. } => {
            return message.cancelled_id().map_or(Outcome::Accepted, Outcome::Cancel);
        }
    };
    let era = message.era();
    if era == Era::Modern {
        if let Some(refusal) = refuse_modern(message, id) {
            return Outcome::Answer(refusal);
        }
    } else if !in_session && !matches!(method, "initialize" | "ping") {
        let why = "this session has not begun: send `initialize` first";
        return Outcome::Answer(error(Some(id), jsonrpc::INVALID_REQUEST, why, None, 400));
    }
    match (method, era) {
        ("initialize", Era::Legacy) => Outcome::Answer(initialize(identity, message, id)),
        ("ping", Era::Legacy) => Outcome::Answer(result(id, era, &[])),
        ("server/discover", Era::Modern) => Outcome::Answer(discover(identity, id)),
        ("tools/list", _) => {
            let cache = [("ttlMs", CACHE_MS.to_string()), ("cacheScope", json::quote("public"))];
            let mut members = vec![("tools", tools::LIST.to_owned())];
            members.extend(cache.into_iter().filter(|_| era == Era::Modern));
            Outcome::Answer(result(id, era, &members))
        }
        ("tools/call", _) => match tools::call(identity, message, id) {
            Called::Done(members) => Outcome::Answer(result(id, era, &members)),
            Called::Slow(call) => Outcome::Slow(call),
            Called::Refused(why) => {
                Outcome::Answer(error(Some(id), jsonrpc::INVALID_PARAMS, &why, None, 200))
            }
        },
        _ => {
            let status = if era == Era::Modern { 404 } else { 200 };
            let why = format!("the stub has no method `{method}`");
            Outcome::Answer(error(Some(id), jsonrpc::METHOD_NOT_FOUND, &why, None, status))
        }
    }
}

fn refuse_modern(message: &Message, id: &RpcId) -> Option<Answer> {
    let Some(version) = message.version() else {
        let why = format!("`_meta` has no text `{META_VERSION}`");
        return Some(error(Some(id), jsonrpc::INVALID_PARAMS, &why, None, 400));
    };
    if !MODERN_VERSIONS.contains(&version) {
        let supported = list(&MODERN_VERSIONS);
        let requested = json::quote(version);
        let data = format!(r#"{{"supported":{supported},"requested":{requested}}}"#);
        let why = "the stub does not speak this protocol version";
        return Some(error(Some(id), jsonrpc::UNSUPPORTED_VERSION, why, Some(&data), 400));
    }
    if message.meta(META_CAPABILITIES).is_none() {
        let why = format!("`_meta` has no `{META_CAPABILITIES}`");
        return Some(error(Some(id), jsonrpc::INVALID_PARAMS, &why, None, 400));
    }
    None
}

fn initialize(identity: &Identity, message: &Message, id: &RpcId) -> Answer {
    let wanted = message.param("protocolVersion").and_then(json::string);
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
    let meta = format!(r#"{{"{META_SERVER}":{}}}"#, server_info(identity));
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

    #[test] // mcp.md section 4, forwarding-124
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

    #[test] // mcp-7
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

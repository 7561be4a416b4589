//! The rules for MCP clients that depend only on the request and the answer:
//! statuses, header lists, what the client accepts, and the two eras of MCP (relay.md, 3;
//! mcp.md, 4, 5 and 8).

use crate::wire::challenge::with_resource_metadata;
use crate::wire::era::{self, Era, META_CAPABILITIES};
use crate::wire::json;
use crate::wire::jsonrpc::{HEADER_MISMATCH, INVALID_PARAMS};
use crate::wire::response::forwarded_headers;
use crate::wire::{Headers, Message, MessageKind};

use super::reply::Problem;

/// Longest header value that goes back to a client, in bytes.
const MAX_VALUE: usize = 8 * 1024;

/// The status that a client sees for a daemon's `resp_code` (relay-34).
pub fn edge_status(resp_code: i64) -> u16 {
    match resp_code {
        200..=208
        | 226
        | 300..=305
        | 307
        | 308
        | 400..=418
        | 421..=426
        | 428
        | 429
        | 431
        | 451
        | 500..=508
        | 510
        | 511 => resp_code as u16,
        200..=299 => 200,
        _ => 502,
    }
}

/// The status of an answer with a body: some statuses cannot carry one.
pub fn status_with_body(resp_code: i64) -> u16 {
    match edge_status(resp_code) {
        204 | 205 => 200,
        304 => 502,
        status => status,
    }
}

/// The status of an error that a server on stdio gave to a request of the modern era (mcp-53): it
/// had no way to give one itself.
pub fn modern_status(resp_code: i64, message: &str) -> u16 {
    /// Errors are short. A longer message is a result and need not be parsed.
    const LONGEST_ERROR: usize = 64 * 1024;
    let code = || json::member(json::member(message, "error")?, "code")?.parse().ok();
    match resp_code {
        200 if message.len() <= LONGEST_ERROR => {
            code().and_then(era::status_of_error).unwrap_or(200)
        }
        other => status_with_body(other),
    }
}

/// Request headers that the relay does not pass on (relay-40): those of this hop, of proxies before
/// it, and of the browser.
const STOPPED: [&str; 33] = [
    "accept-encoding",
    "cdn-loop",
    "client-ip",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "fastly-client-ip",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
];
const STOPPED_PREFIXES: [&str; 8] =
    ["cf-", "sec-", "x-amz-", "x-amzn-", "x-azure-", "x-envoy-", "x-forwarded-", "x-tunnel-"];

/// The headers of a request that are passed on to the MCP server. `Authorization` is one of them
/// with `keep_authorization`, which is false if it held a key of the relay.
pub fn command_headers(headers: &Headers, keep_authorization: bool) -> Headers {
    let nominated = headers.nominated_by_connection();
    let mut kept = Headers::new();
    for (name, values) in headers.iter() {
        let lower = name.to_ascii_lowercase();
        let stopped = STOPPED.binary_search(&lower.as_str()).is_ok()
            || STOPPED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
            || nominated.contains(&lower)
            || (lower == "authorization" && !keep_authorization);
        for value in values.iter().filter(|value| !stopped && !value.is_empty()) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// The headers of a daemon's answer that are passed on to the client (relay-41), whatever it sent.
/// `Content-Type` is not among them: the relay knows what it sends. The URL of the
/// server's metadata in a challenge is replaced by `metadata_url`, if there is one (relay-43).
pub fn answer_headers(
    headers: &Headers,
    metadata_url: Option<&str>,
) -> Vec<(&'static str, String)> {
    let kept = forwarded_headers(headers);
    let harmless = |value: &&String| {
        value.len() <= MAX_VALUE && !value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0))
    };
    crate::wire::response::FORWARDED_RESPONSE_HEADERS
        .into_iter()
        .filter(|name| *name != "Content-Type")
        .flat_map(|name| {
            kept.values(name).iter().filter(harmless).map(move |value| match metadata_url {
                Some(url) if name == "Www-Authenticate" => {
                    (name, with_resource_metadata(value, url).into_owned())
                }
                _ => (name, value.clone()),
            })
        })
        .collect()
}

/// The media types that a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// `application/json`.
    pub json: bool,
    /// `text/event-stream`.
    pub events: bool,
}

impl Accepts {
    /// Reads `Accept`. Without it only JSON is accepted. `None` if it names neither type nor a
    /// wildcard (mcp-61).
    pub fn of(headers: &Headers) -> Option<Self> {
        if !headers.has("Accept") {
            return Some(Self { json: true, events: false });
        }
        let mut accepts = Self { json: false, events: false };
        for range in headers.values("Accept").iter().flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let excluded = parts.any(|p| {
                p.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0)
            });
            if excluded {
                continue;
            }
            match media.as_str() {
                "application/json" => accepts.json = true,
                "text/event-stream" => accepts.events = true,
                "application/*" | "*/*" | "*" => accepts.json = true,
                "text/*" => accepts.events = true,
                _ => {}
            }
        }
        (accepts.json || accepts.events).then_some(accepts)
    }
}

/// Classifies a message, and checks what the relay must check of a modern request because it
/// reads bodies (mcp-49, mcp-50). It never judges whether a version exists (mcp-51).
///
/// # Errors
/// The answer to a modern request that is incomplete or contradicts itself.
pub fn era_of(message: &Message, headers: &Headers) -> Result<Era, Problem> {
    let version = message.version();
    let announced = headers.get("Mcp-Protocol-Version");
    let MessageKind::Request { method, .. } = message.kind() else {
        let modern = announced.is_some_and(era::is_modern) || version.is_some();
        return Ok(if modern { Era::Modern } else { Era::Legacy });
    };
    let Some(version) = version else {
        let legacy = method == "initialize" || headers.session_id().is_some();
        if !legacy && announced.is_some_and(era::is_modern) {
            return Err(INCOMPLETE_META);
        }
        return Ok(Era::Legacy);
    };
    if message.meta(META_CAPABILITIES).is_none() {
        return Err(INCOMPLETE_META);
    }
    let one = |name: &str| match headers.values(name) {
        [value] => Some(value.clone()),
        _ => None,
    };
    let same = one("Mcp-Protocol-Version").as_deref() == Some(version)
        && one("Mcp-Method").as_deref() == Some(method);
    if !same {
        return Err(MISMATCH);
    }
    if era::named_member(method).is_none() {
        return Ok(Era::Modern);
    }
    let in_body = message.name();
    let in_header = match headers.values("Mcp-Name") {
        [] => None,
        [value] => Some(era::from_header(value).ok_or(MISMATCH)?),
        _ => return Err(MISMATCH),
    };
    if in_body.as_deref() == in_header.as_deref() { Ok(Era::Modern) } else { Err(MISMATCH) }
}

const INCOMPLETE_META: Problem =
    Problem::new(400, "", "`params._meta` lacks the protocol version or the client capabilities")
        .rpc(INVALID_PARAMS);
const MISMATCH: Problem = Problem::new(
    400,
    "",
    "the headers MCP-Protocol-Version, Mcp-Method and Mcp-Name do not agree with the body",
)
.rpc(HEADER_MISMATCH);

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, *value);
        }
        headers
    }

    #[test] // relay-34
    fn every_code_has_its_status() {
        let ours: Vec<i64> = (200..=208)
            .chain([226])
            .chain(300..=305)
            .chain([307, 308])
            .chain(400..=418)
            .chain(421..=426)
            .chain([428, 429, 431, 451])
            .chain(500..=508)
            .chain([510, 511])
            .collect();
        for code in -1..=700 {
            let expected = match code {
                code if ours.contains(&code) => code,
                200..=299 => 200,
                _ => 502,
            };
            assert_eq!(i64::from(edge_status(code)), expected, "{code}");
        }
        assert_eq!([204, 205, 304].map(status_with_body), [200, 200, 502]);
        assert_eq!([i64::MIN, i64::MAX].map(edge_status), [502, 502]);
    }

    #[test] // mcp-53
    fn an_error_from_stdio_gets_its_status_in_the_modern_era() {
        let error = |code: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":""}}}}"#)
        };
        for (code, status) in
            [("-32601", 404), ("-32020", 400), ("-32021", 400), ("-32022", 400), ("-32602", 200)]
        {
            assert_eq!(modern_status(200, &error(code)), status, "{code}");
        }
        assert_eq!(modern_status(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), 200);
        assert_eq!(modern_status(503, &error("-32601")), 503);
    }

    #[test] // relay-40
    fn request_headers_of_this_hop_stop_here() {
        assert!(STOPPED.is_sorted());
        let kept = command_headers(
            &headers(&[
                ("Cookie", "a"),
                ("X-Forwarded-For", "a"),
                ("X-Tunnel-Shard-Token", "a"),
                ("Sec-Fetch-Mode", "a"),
                ("Connection", "X-Hop"),
                ("X-Hop", "a"),
                ("X-Request-Id", "a"),
                ("Host", "a"),
                ("Authorization", "Bearer t"),
                ("Mcp-Session-Id", "s"),
                ("Mcp-Param-X", "1"),
                ("Mcp-Param-X", "2"),
                ("X-Empty", ""),
                ("Accept", "application/json"),
            ]),
            true,
        );
        let names: Vec<&str> = kept.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Authorization", "Mcp-Session-Id", "Mcp-Param-X", "Accept"]);
        assert_eq!(kept.values("Mcp-Param-X"), ["1", "2"]);
        assert!(!command_headers(&headers(&[("Authorization", "x")]), false).has("Authorization"));
    }

    #[test] // relay-41
    fn only_listed_answer_headers_with_harmless_values_go_back() {
        let long = "a".repeat(MAX_VALUE + 1);
        let given = headers(&[
            ("Content-Type", "text/html"),
            ("Set-Cookie", "a"),
            ("Mcp-Session-Id", "s"),
            ("Mcp-Protocol-Version", "a\r\nX: b"),
            ("Www-Authenticate", &long),
            ("Last-Event-Id", "7"),
            ("Access-Control-Expose-Headers", "a\0"),
        ]);
        let sent = answer_headers(&given, None);
        assert_eq!(sent, [("Last-Event-Id", "7".to_owned()), ("Mcp-Session-Id", "s".to_owned())]);
    }

    #[test] // relay-43
    fn a_challenge_points_to_the_metadata_at_the_relay() {
        let challenge = r#"Bearer realm="x", resource_metadata="http://10.0.0.1/private""#;
        let given = headers(&[("Www-Authenticate", challenge), ("Mcp-Session-Id", "s")]);
        let sent = |url| answer_headers(&given, url).remove(1).1;
        assert_eq!(
            sent(Some("https://r/m")),
            r#"Bearer realm="x", resource_metadata="https://r/m""#
        );
        assert_eq!(sent(None), challenge);
    }

    #[test] // mcp-61
    fn accept_is_read_as_it_is_meant() {
        let of =
            |value: &str| Accepts::of(&headers(&[("Accept", value)])).map(|a| (a.json, a.events));
        assert_eq!(of("application/json, text/event-stream"), Some((true, true)));
        assert_eq!(of("Application/JSON;q=0.9"), Some((true, false)));
        assert_eq!(of("text/event-stream"), Some((false, true)));
        assert_eq!(of("*/*"), Some((true, false)));
        assert_eq!(of("text/html"), None);
        assert_eq!(of("application/json;q=0"), None);
        assert_eq!(Accepts::of(&Headers::new()).map(|a| (a.json, a.events)), Some((true, false)));
    }

    fn judged(body: &str, fields: &[(&str, &str)]) -> Result<Era, i64> {
        era_of(&Message::parse(body).unwrap(), &headers(fields)).map_err(|p| p.rpc_code)
    }

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    #[test] // mcp-49, mcp-50, mcp-51
    fn a_modern_request_must_agree_with_its_headers() {
        let list =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{META}}}}}"#);
        let version = ("MCP-Protocol-Version", "2026-07-28");
        let method = ("Mcp-Method", "tools/list");
        assert_eq!(judged(&list, &[version, method]), Ok(Era::Modern));
        for fields in [
            &[version][..],
            &[method],
            &[version, ("Mcp-Method", "tools/List")],
            &[("MCP-Protocol-Version", "2025-11-25"), method],
            &[version, method, method],
        ] {
            assert_eq!(judged(&list, fields), Err(HEADER_MISMATCH), "{fields:?}");
        }
        let unknown = list.replace("2026-07-28", "2199-01-01");
        let fields = [("MCP-Protocol-Version", "2199-01-01"), method];
        assert_eq!(judged(&unknown, &fields), Ok(Era::Modern));
        let bare = list.replace(r#","io.modelcontextprotocol/clientCapabilities":{}"#, "");
        assert_eq!(judged(&bare, &[version, method]), Err(INVALID_PARAMS));
        let none = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        assert_eq!(judged(none, &[version, method]), Err(INVALID_PARAMS));
    }

    #[test] // mcp-49
    fn a_name_is_decoded_before_it_is_compared() {
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"zeiß",{META}}}}}"#
        );
        let with = |name: &str| {
            let version = ("MCP-Protocol-Version", "2026-07-28");
            judged(&call, &[version, ("Mcp-Method", "tools/call"), ("Mcp-Name", name)])
        };
        assert_eq!(with("=?base64?emVpw58=?="), Ok(Era::Modern));
        for bad in ["zeiß", "=?base64?emVpw58?=", "=?base64?%?=", "other", "=?BASE64?emVpw58=?="] {
            assert_eq!(with(bad), Err(HEADER_MISMATCH), "{bad}");
        }
    }

    #[test]
    fn legacy_messages_are_told_by_what_they_lack() {
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let start = r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#;
        assert_eq!(judged(list, &[]), Ok(Era::Legacy));
        assert_eq!(judged(list, &[("MCP-Protocol-Version", "2025-11-25")]), Ok(Era::Legacy));
        assert_eq!(judged(list, &[("MCP-Protocol-Version", "zzzz-zz-zz")]), Ok(Era::Legacy));
        assert_eq!(judged(start, &[("MCP-Protocol-Version", "2026-07-28")]), Ok(Era::Legacy));
        let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
        assert_eq!(judged(note, &[("MCP-Protocol-Version", "2026-07-28")]), Ok(Era::Modern));
        assert_eq!(judged(note, &[]), Ok(Era::Legacy));
    }
}

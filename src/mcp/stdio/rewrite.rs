//! Replaces ids, progress tokens and subscription ids on the way to the child and restores them on
//! the way back. All other text stays unchanged (mcp.md, section 9).
//!
//! Pure functions of text, for `server` and `reader`. Several remote clients share the child, and
//! each of them counts its requests from 0 or 1, so the child sees numbers of ours instead.

use std::borrow::Cow;
use std::ops::Range;

use crate::wire::era::{self, Era, META_SUBSCRIPTION};
use crate::wire::json::{self, Members};
use crate::wire::{Message, RpcId};

/// A request of a remote client, with the ranges that are replaced before it is written to the
/// child.
#[derive(Debug)]
pub struct Outgoing<'a> {
    text: &'a str,
    ids: Vec<Range<usize>>,
    tokens: Vec<Range<usize>>,
    capabilities: Vec<Range<usize>>,
    /// The client's own progress token, as JSON text.
    pub token: Option<&'a str>,
    /// True if it carries the metadata of MCP 2026-07-28 and later.
    pub modern: bool,
    /// True if it asks for a task, which is not cancelled like other requests (mcp-21).
    pub task: bool,
}

impl<'a> Outgoing<'a> {
    /// Finds everything that must be replaced. Duplicate members are all replaced, and the last one
    /// counts, as in most JSON parsers. `None` if the child might read an id or a token where this
    /// code sees none: see `names_clearly`.
    pub fn of(message: &'a Message) -> Option<Self> {
        let text = message.text();
        let mut found = Self {
            text,
            ids: Vec::new(),
            tokens: Vec::new(),
            capabilities: Vec::new(),
            token: None,
            modern: message.era() == Era::Modern,
            task: false,
        };
        let root = clear_root(text)?;
        found.ids = root.spans("id");
        for params in root.values("params").filter(|params| params.starts_with('{')) {
            let params = Members::of(params).ok()?;
            names_clearly(&params, &["_meta"])?;
            found.task |= params.has("task");
            found.capabilities.extend(params.values("capabilities").map(|v| json::span(text, v)));
            for meta in params.values("_meta").filter(|meta| meta.starts_with('{')) {
                let meta = Members::of(meta).ok()?;
                names_clearly(&meta, &["progressToken"])?;
                for token in meta.values("progressToken") {
                    if RpcId::from_json(token).is_some() {
                        found.token = Some(token);
                        found.tokens.push(json::span(text, token));
                    }
                }
            }
        }
        Some(found)
    }

    /// One line for the child, with `number` as the request's id and progress token.
    pub fn request(&self, number: u64) -> Vec<u8> {
        let number = number.to_string();
        let edits = self.ids.iter().chain(&self.tokens).cloned();
        self.line(edits.map(|range| (range, Cow::Borrowed(number.as_str()))).collect())
    }

    /// As [`Outgoing::request`], for an `initialize`: its client capabilities become `{}`.
    ///
    /// A capability is a promise to answer requests of the server. The tunnel protocol carries no
    /// answer of a remote client back to the child, and a shared child's request could not be tied
    /// to one client anyway, so no such promise can be kept (mcp-66).
    pub fn initialize(&self, number: u64) -> Vec<u8> {
        let number = number.to_string();
        let numbers = self.ids.iter().chain(&self.tokens).cloned();
        let numbers = numbers.map(|range| (range, Cow::Borrowed(number.as_str())));
        let empty = self.capabilities.iter().cloned().map(|range| (range, Cow::Borrowed("{}")));
        self.line(numbers.chain(empty).collect())
    }

    fn line(&self, edits: Vec<(Range<usize>, Cow<'_, str>)>) -> Vec<u8> {
        line(&json::splice(self.text, edits))
    }
}

/// A JSON text as one line, which stdio requires (mcp-13).
pub fn line(text: &str) -> Vec<u8> {
    let mut bytes = json::compact(text).into_owned().into_bytes();
    bytes.push(b'\n');
    bytes
}

/// The members of a message; `None` if JSON parsers differ on one that matters here.
fn clear_root(text: &str) -> Option<Members<'_>> {
    let root = Members::of(text).ok()?;
    names_clearly(&root, &["id", "method", "params"])?;
    // A parser that takes the first of two duplicates must see the same method as this code.
    (root.values("method").count() == 1).then_some(root)
}

/// A notification of a remote client as a line for the child, unchanged. `None` as in
/// [`Outgoing::of`].
pub fn notification(text: &str) -> Option<Vec<u8>> {
    clear_root(text)?;
    Some(line(text))
}

/// `None` if a member's name equals one of `names` except for letter case. Some JSON parsers (Go's
/// `encoding/json`) take `ID` for `id`, so a client that adds an `ID` of its own could make the
/// child answer under the number of another client's call.
fn names_clearly(object: &Members<'_>, names: &[&str]) -> Option<()> {
    let fold = |c: char| match c {
        // The only two letters beyond ASCII that such parsers fold into ASCII.
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    let alike =
        |key: &str, name: &str| key != name && key.chars().map(fold).eq(name.chars().map(fold));
    let unclear = object.iter().any(|(key, _)| names.iter().any(|name| alike(key, name)));
    (!unclear).then_some(())
}

/// The request that a remote `notifications/cancelled` names; `None` if it names none, or the
/// child might read another one.
pub fn cancelled_id(text: &str) -> Option<RpcId> {
    let root = clear_root(text)?;
    for params in root.values("params") {
        names_clearly(&Members::of(params).ok()?, &["requestId"])?;
    }
    RpcId::from_json(at(&root, &["params", "requestId"]).last()?)
}

/// A remote `notifications/cancelled` with the id that the child knows (mcp-21).
pub fn cancelled(text: &str, number: u64) -> Vec<u8> {
    let found = Members::of(text).map(|root| at(&root, &["params", "requestId"]));
    line(&replace(text, &found.unwrap_or_default(), &number.to_string()))
}

/// How a notification of the child names its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A call, by its progress token.
    Token(u64),
    /// A `subscriptions/listen` call.
    Subscription(u64),
    /// The end of a `subscriptions/listen` call.
    End(u64),
    /// A call in a way that cannot be one of ours.
    Stranger,
    /// It names none: it has no field for that.
    Nobody,
}

/// A notification of the child, and the range in which it names its call.
#[derive(Debug)]
pub struct Incoming<'a> {
    text: &'a str,
    /// The call that it names.
    pub names: Names,
    places: Vec<&'a str>,
}

impl<'a> Incoming<'a> {
    /// Finds the call that a notification names. Among duplicates the last one counts.
    pub fn of(method: &str, root: &Members<'a>) -> Self {
        let (path, name, unnamed): (&[_], fn(u64) -> Names, _) = match method {
            "notifications/progress" => {
                (&["params", "progressToken"], Names::Token, Names::Stranger)
            }
            "notifications/cancelled" => (&["params", "requestId"], Names::End, Names::Stranger),
            _ => (&["params", "_meta", META_SUBSCRIPTION], Names::Subscription, Names::Nobody),
        };
        let places = at(root, path);
        let names = match places.last() {
            Some(place) => number(place).map_or(Names::Stranger, name),
            None => unnamed,
        };
        Self { text: root.text(), names, places }
    }

    /// Its text with the client's own token or id put back (mcp-1, mcp-23).
    pub fn restored(&self, id: &RpcId, token: Option<&str>) -> String {
        let own = match self.names {
            Names::Token(_) => token.unwrap_or("null"),
            Names::Subscription(_) | Names::End(_) => id.as_json(),
            Names::Stranger | Names::Nobody => return self.text.to_owned(),
        };
        replace(self.text, &self.places, own)
    }
}

/// A response of the child with the client's own id put back (mcp-1), and with the subscription id
/// too where `listen` says that it is the closing result of a subscription (mcp-23). `None` if it
/// has neither a result nor an error.
pub fn restore_response(root: &Members<'_>, id: &RpcId, listen: bool) -> Option<String> {
    if !root.has("result") && !root.has("error") {
        return None;
    }
    let mut places: Vec<_> = root.values("id").collect();
    if listen {
        places.extend(at(root, &["result", "_meta", META_SUBSCRIPTION]));
    }
    Some(replace(root.text(), &places, id.as_json()))
}

/// True if a response has a result.
pub fn has_result(root: &Members<'_>) -> bool {
    root.has("result") && !root.has("error")
}

/// The id or token that the child sent back, if it can be one of our numbers. A child may write `7`
/// as `7.0`; a string is never one of ours.
pub fn number(json: &str) -> Option<u64> {
    /// Integers below this are exact in a double, which JSON parsers of other languages use.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    json.parse().ok().or_else(|| {
        let double: f64 = json.parse().ok()?;
        ((0.0..EXACT).contains(&double) && double.fract() == 0.0).then_some(double as u64)
    })
}

/// True if the child's answer to `server/discover` shows the modern protocol (mcp-18). Any other
/// error or result comes from an older server.
pub fn discover_answer_is_modern(root: &Members<'_>, error_code: Option<i64>) -> bool {
    match error_code {
        Some(code) => era::is_modern_error(code),
        None => !at(root, &["result", "supportedVersions"]).is_empty(),
    }
}

/// The HTTP status of an answer that came over stdio (mcp-53, mcp.md section 5).
pub fn status(modern: bool, error_code: Option<i64>) -> u16 {
    error_code.filter(|_| modern).and_then(era::status_of_error).unwrap_or(200)
}

/// Every value at a path of member names, duplicates included.
fn at<'a>(root: &Members<'a>, path: &[&str]) -> Vec<&'a str> {
    let Some((name, rest)) = path.split_first() else { return vec![root.text()] };
    let values = root.values(name);
    if rest.is_empty() {
        return values.collect();
    }
    values
        .filter_map(|value| Members::of(value).ok())
        .flat_map(|object| at(&object, rest))
        .collect()
}

/// The text with each of these pieces of it replaced.
fn replace(text: &str, places: &[&str], new: &str) -> String {
    let edits = places.iter().map(|old| (json::span(text, old), Cow::Borrowed(new)));
    json::splice(text, edits.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(text).unwrap()
    }

    fn text(line: Vec<u8>) -> String {
        String::from_utf8(line).unwrap()
    }

    fn root(text: &str) -> Members<'_> {
        Members::of(text).unwrap()
    }

    fn read<'a>(method: &str, text: &'a str) -> Incoming<'a> {
        Incoming::of(method, &root(text))
    }

    fn id(json: &str) -> RpcId {
        RpcId::from_json(json).unwrap()
    }

    #[test] // mcp-3, mcp-13, mcp-63
    fn a_request_changes_in_id_and_token_only() {
        let message = message(
            "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\n \"method\":\"tools/call\",\"params\":{\"_meta\":{\"progressToken\":1,\"x\":1e400},\
             \"arguments\":{\"id\":\"a\",\"progressToken\":1,\"n\":12345678901234567890}}}",
        );
        let outgoing = Outgoing::of(&message).unwrap();
        assert_eq!(outgoing.token, Some("1"));
        assert!(!outgoing.modern && !outgoing.task);
        assert_eq!(
            text(outgoing.request(77)),
            "{\"jsonrpc\":\"2.0\",\"id\":77,\"method\":\"tools/call\",\"params\":{\"_meta\":{\"progressToken\":77,\"x\":1e400},\
             \"arguments\":{\"id\":\"a\",\"progressToken\":1,\"n\":12345678901234567890}}}\n"
        );
    }

    #[test]
    fn duplicates_are_all_replaced_and_the_last_token_counts() {
        let message = message(
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m","params":{"_meta":{"progressToken":"p","progressToken":{}}},"params":{"_meta":{"progressToken":"q"}}}"#,
        );
        let outgoing = Outgoing::of(&message).unwrap();
        assert_eq!(outgoing.token, Some("\"q\""));
        assert_eq!(
            text(outgoing.request(5)).trim_end(),
            r#"{"jsonrpc":"2.0","id":5,"id":5,"method":"m","params":{"_meta":{"progressToken":5,"progressToken":{}}},"params":{"_meta":{"progressToken":5}}}"#
        );
    }

    #[test] // mcp-63
    fn what_some_readers_take_for_an_id_or_token_is_not_forwarded() {
        for odd in [
            r#""ID":7"#,
            r#""Method":"x""#,
            r#""method":"x""#,
            r#""Params":{"_meta":{"progressToken":7}}"#,
            r#""param\u017f":{}"#,
            r#""params":{"_META":{"progressToken":7}}"#,
            r#""params":{"_meta":{"ProgressTo\u212aen":7}}"#,
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"m",{odd}}}"#);
            assert!(Outgoing::of(&message(&text)).is_none(), "{odd}");
        }
        // A name that is not valid text hides none of them.
        for odd in [
            r#""params":{"\ud800":1,"_meta":{"progressToken":7}}"#,
            r#""params":{"_meta":{"\ud800":1,"progressToken":7}}"#,
        ] {
            let message = message(&format!(r#"{{"jsonrpc":"2.0","id":0,"method":"m",{odd}}}"#));
            let outgoing = Outgoing::of(&message).unwrap();
            assert_eq!(outgoing.token, Some("7"));
            assert!(text(outgoing.request(5)).contains(r#""progressToken":5"#), "{odd}");
        }
        let arguments = r#"{"jsonrpc":"2.0","id":0,"method":"m","params":{"arguments":{"ID":7}}}"#;
        assert!(Outgoing::of(&message(arguments)).is_some());
        let cancel =
            r#"{"method":"notifications/cancelled","params":{"requestId":1,"RequestID":2}}"#;
        assert_eq!(cancelled_id(cancel), None);
        assert_eq!(notification(r#"{"method":"x","Method":"notifications/cancelled"}"#), None);
        assert_eq!(notification(r#"{"method":"x"}"#).unwrap(), b"{\"method\":\"x\"}\n");
    }

    #[test] // mcp-66
    fn an_initialize_promises_nothing_for_the_client() {
        let message = message(
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"roots":{"listChanged":true}},"clientInfo":{"name":"c","capabilities":1}}}"#,
        );
        assert_eq!(
            text(Outgoing::of(&message).unwrap().initialize(9)).trim_end(),
            r#"{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","capabilities":1}}}"#
        );
    }

    #[test]
    fn era_and_task_are_seen() {
        let modern = message(
            r#"{"jsonrpc":"2.0","id":0,"method":"m","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"task":{"ttl":1}}}"#,
        );
        let outgoing = Outgoing::of(&modern).unwrap();
        assert!(outgoing.modern && outgoing.task);
        for odd in [r#""params":[1]"#, r#""params":7"#, r#""params":{"_meta":[]}"#] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"m",{odd}}}"#);
            assert!(!Outgoing::of(&message(&text)).unwrap().modern, "{odd}");
        }
    }

    #[test] // mcp-1, mcp-3
    fn a_response_gets_its_id_back_byte_for_byte() {
        let child = r#"{"result":{"id":7,"n":1.0,"x":1e400},"jsonrpc":"2.0","id":7}"#;
        for original in [r#""\u00e9""#, "1.50", "12345678901234567890", "-0"] {
            let restored = restore_response(&root(child), &id(original), false).unwrap();
            let wanted = format!(
                r#"{{"result":{{"id":7,"n":1.0,"x":1e400}},"jsonrpc":"2.0","id":{original}}}"#
            );
            assert_eq!(restored, wanted);
        }
        assert_eq!(restore_response(&root(r#"{"jsonrpc":"2.0","id":7}"#), &id("1"), false), None);
    }

    #[test] // mcp-23
    fn the_closing_result_of_a_subscription_gets_its_subscription_id_back() {
        let child = r#"{"jsonrpc":"2.0","id":7,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#;
        assert_eq!(
            restore_response(&root(child), &id("\"s\""), true).unwrap(),
            r#"{"jsonrpc":"2.0","id":"s","result":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}"#
        );
        assert!(restore_response(&root(child), &id("\"s\""), false).unwrap().contains(r#"Id":7"#));
    }

    #[test] // mcp-23, mcp-63
    fn notifications_name_their_call_and_are_restored() {
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7.0,"progress":0.10}}"#;
        let incoming = read("notifications/progress", progress);
        assert_eq!(incoming.names, Names::Token(7));
        assert_eq!(
            incoming.restored(&id("1"), Some("\"tok\"")),
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"tok","progress":0.10}}"#
        );
        let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":8}}}"#;
        let incoming = read("notifications/resources/updated", updated);
        assert_eq!(incoming.names, Names::Subscription(8));
        assert!(incoming.restored(&id("\"l\""), None).contains(r#"Id":"l""#));
        let end =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":8}}"#;
        let incoming = read("notifications/cancelled", end);
        assert_eq!(incoming.names, Names::End(8));
        assert!(incoming.restored(&id("3"), None).contains("Id\":3"));
    }

    #[test]
    fn what_cannot_be_ours_is_a_stranger() {
        for token in [r#""7""#, "-1", "7.5", "1e400", "null", "{}", "[7]"] {
            let text = format!(r#"{{"params":{{"progressToken":{token}}}}}"#);
            assert_eq!(read("notifications/progress", &text).names, Names::Stranger, "{token}");
        }
        assert_eq!(["NaN", "inf"].map(number), [None; 2], "though both are read as doubles");
        assert_eq!(read("notifications/progress", "{}").names, Names::Stranger);
        assert_eq!(read("notifications/message", r#"{"params":{"data":1}}"#).names, Names::Nobody);
    }

    #[test] // mcp-21
    fn a_cancel_names_the_id_that_the_child_knows() {
        let text = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a","reason":"requestId"}}"#;
        assert_eq!(cancelled_id(text), Some(id("\"a\"")));
        assert_eq!(
            String::from_utf8(cancelled(text, 12)).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":12,\"reason\":\"requestId\"}}\n"
        );
        assert_eq!(cancelled_id(r#"{"method":"m","params":{"requestId":null}}"#), None);
    }

    #[test] // mcp-18
    fn the_era_hangs_on_no_single_code() {
        let result = r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"]}}"#;
        assert!(discover_answer_is_modern(&root(result), None));
        assert!(!discover_answer_is_modern(&root(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None));
        for (code, modern) in
            [(-32022, true), (-32021, true), (-32020, true), (-32601, false), (-32602, false)]
        {
            assert_eq!(discover_answer_is_modern(&root("{}"), Some(code)), modern, "{code}");
        }
    }

    #[test] // mcp-53
    fn the_status_depends_on_the_era() {
        assert_eq!(status(true, None), 200);
        assert_eq!(status(true, Some(-32601)), 404);
        assert_eq!(status(true, Some(-32022)), 400);
        assert_eq!(status(true, Some(-32602)), 200);
        assert_eq!(status(false, Some(-32601)), 200);
    }
}

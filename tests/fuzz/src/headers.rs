//! Header rules: what belongs to another hop stays there, both ways.

use mcp_tunnel::mcp::headers;
use mcp_tunnel::wire::response::{FORWARDED_RESPONSE_HEADERS, ResponseBody, forwarded_headers};
use mcp_tunnel::wire::{Era, Headers, Message, Response, ResponseType};

/// Set by the tunnel itself, whatever the command says of them.
const OWN: [&str; 3] = ["accept", "content-type", "user-agent"];

const HOP: [&str; 10] = [
    "connection",
    "content-length",
    "cookie",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
];

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Headers, and behind a line break a message.
    let (text, message) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(given) = serde_json::from_str::<Headers>(text) else { return };
    let printed = serde_json::to_string(&given).unwrap();
    assert_eq!(serde_json::from_str::<Headers>(&printed).unwrap(), given);

    let nominated = given.nominated_by_connection();
    let kept = forwarded_headers(&given);
    assert_eq!(forwarded_headers(&kept), kept);
    for (name, values) in kept.iter() {
        assert!(FORWARDED_RESPONSE_HEADERS.contains(&name));
        assert!(!nominated.contains(&name.to_ascii_lowercase()));
        assert!(!values.is_empty() && values.iter().all(|value| !value.is_empty()));
    }

    let fallback = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let message = Message::parse(message)
        .unwrap_or_else(|_| Message::parse(fallback).expect("it is a message"));
    let sent = headers::for_message(&message, &given, &[]);
    let modern = message.era() == Era::Modern;
    for name in sent.open.keys().map(|name| name.as_str()) {
        assert!(!HOP.contains(&name), "{name}");
        let own = OWN.contains(&name) || (modern && name.starts_with("mcp-"));
        assert!(own || !nominated.iter().any(|n| n == name), "{name}");
        assert!(own || given.has(name), "{name}");
    }
    for name in OWN {
        assert!(sent.open.contains_key(name), "{name}");
    }
    assert!(!modern || !sent.open.contains_key("mcp-session-id"));
    let _ = headers::for_termination(&given, &[]);
    let _ = headers::for_resumption(&sent, text);
    let received = headers::received(&sent.open);
    assert_eq!(received.has("accept"), sent.open.contains_key("accept"));

    let response = Response {
        resp_type: ResponseType::JsonRpcResponse,
        resp_code: 200,
        resp_headers: given,
        resp_json: Some(message.text().to_owned()),
    };
    let body: ResponseBody = serde_json::from_str(&response.to_body(text, "main")).unwrap();
    assert_eq!(body.request_id.as_deref(), Some(text));
    assert_eq!(body.resp_json.unwrap().get(), message.text().trim());
    assert_eq!(body.resp_headers, kept);
}

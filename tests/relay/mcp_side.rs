//! relay-28 to relay-41, and what mcp.md asks of the relay's endpoint.

use serde_json::{Value, json};

use crate::support::*;

/// The `data:` lines of an event stream.
fn events(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
}

fn json_only(request: Request) -> Request {
    request.but("Accept", "application/json")
}

const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":N}}"#;

#[test] // relay-28
fn a_message_reaches_the_daemon_byte_for_byte() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let body = r#"{"method":"m",  "id" : 1.0,"params":{"z":1e400,"a":12345678901234567890,"a":2,"😀":"\u00e9é"},"jsonrpc":"2.0","x":[ ]}"#;
    let mut client = relay.begin(&mcp(A, &format!("\n {body}\t")));
    let text = daemon.poll_raw("timeout_ms=20000").text();
    assert!(text.ends_with(&format!(r#","jsonrpc":{body}}}]}}"#)), "{text}");
    let command = serde_json::from_str::<Value>(&text.replace("1e400", "0")).unwrap();
    let result = r#"{"result":{"z":1e400, "b":"\u00e9😀"},"jsonrpc":"2.0", "id":1.0}"#;
    assert_eq!(daemon.answer(&command["commands"][0], result).status, 200);
    assert_eq!(client.read().text(), result);
}

#[test] // relay-29
fn without_events_the_answer_is_one_json_object() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    for request in [mcp(A, &rpc("1", "m")).without("Accept"), json_only(mcp(A, &rpc("1", "m")))] {
        let client = relay.send_later(request);
        let command = daemon.take_one();
        assert_eq!(daemon.notify(&command, &PROGRESS.replace('N', "1")).status, 200);
        assert_eq!(daemon.answer_id(&command).status, 200);
        let answer = client.join().unwrap();
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        assert_eq!(answer.json()["result"]["was"], 1);
    }
    let neither = relay.send(&mcp(A, &rpc("1", "m")).but("Accept", "text/html"));
    assert_eq!(neither.status, 406);
}

#[test] // relay-30, mcp-54, mcp-46, mcp-55
fn with_events_notifications_come_in_order_before_the_answer() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let mut client = relay.begin(&mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    for n in 0..20 {
        let note = PROGRESS.replace('N', &n.to_string());
        assert_eq!(daemon.notify(&command, &note).status, 200);
    }
    assert_eq!(
        daemon.answer(&command, "{\n \"jsonrpc\": \"2.0\", \"id\": 1, \"result\": {}\n}").status,
        200
    );
    let answer = client.read();
    assert_eq!(answer.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(answer.header("Cache-Control"), Some("no-cache"));
    assert_eq!(answer.header("X-Accel-Buffering"), Some("no"));
    let text = answer.text();
    let seen = events(&text);
    let mut expected: Vec<String> =
        (0..20).map(|n| PROGRESS.replace('N', &n.to_string())).collect();
    expected.push(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned());
    assert_eq!(seen, expected);
    assert!(!text.contains("\nid:"), "{text}");
    // The connection is usable for the next request.
    client.write(&relay.address, &Request::new("GET", "/healthz"));
    assert_eq!(client.read().status, 200);
}

#[test] // relay-30
fn each_notification_is_sent_at_once() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let mut client = relay.begin(&mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    for n in ["1", "2"] {
        let note = PROGRESS.replace('N', n);
        assert_eq!(daemon.notify(&command, &note).status, 200);
        if n == "1" {
            assert_eq!(client.head().0, 200);
        }
        let event = String::from_utf8(client.chunk()).unwrap();
        assert_eq!(event, format!("event: message\ndata: {note}\n\n"));
    }
}

#[test] // relay.md 3.2
fn a_server_that_answered_by_events_is_passed_on_as_events() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let streamed = r#","resp_code":200,"resp_headers":{"content-type":["text/event-stream; charset=utf-8"],"Mcp-Session-Id":["s"]},"resp_json":{"id":1}"#;
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    daemon.post(&daemon.take_one(), streamed);
    let answer = client.join().unwrap();
    assert_eq!(answer.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(answer.header("Mcp-Session-Id"), Some("s"));
    assert_eq!(events(&answer.text()), [r#"{"id":1}"#]);
    let client = relay.send_later(json_only(mcp(A, &rpc("1", "m"))));
    daemon.post(&daemon.take_one(), streamed);
    let answer = client.join().unwrap();
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let client = relay.send_later(mcp(A, &rpc("1", "m")).but("Accept", "text/event-stream"));
    daemon.answer_id(&daemon.take_one());
    let answer = client.join().unwrap();
    assert_eq!(answer.header("Content-Type"), Some("text/event-stream"));
}

#[test] // relay-31
fn a_long_call_shows_signs_of_life_and_initialize_waits_for_its_status() {
    let relay = Relay::start(&["--sse-commit-after", "50ms", "--sse-keepalive", "50ms"]);
    let daemon = Daemon::of_a(&relay);
    let mut client = relay.begin(&mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    assert_eq!(client.head().0, 200);
    for _ in 0..3 {
        let comment = String::from_utf8(client.chunk()).unwrap();
        assert!(comment.starts_with(':') && comment.ends_with("\n\n"), "{comment:?}");
    }
    assert_eq!(daemon.answer_id(&command).status, 200);
    let event = loop {
        let chunk = String::from_utf8(client.chunk()).unwrap();
        if !chunk.starts_with(':') {
            break chunk;
        }
    };
    assert_eq!(events(&event), [r#"{"jsonrpc":"2.0","id":1,"result":{"was":1}}"#]);
    assert!(client.chunk().is_empty());

    let mut start = relay.begin(&mcp(A, &rpc("1", "initialize")));
    let start_command = daemon.take_one();
    let mut other = relay.begin(&mcp(A, &rpc("2", "m")));
    let other_command = daemon.take_one();
    // The later call is committed long after the commit time of the first has passed.
    assert_eq!(other.head().0, 200);
    daemon.post(&start_command, r#","resp_code":401,"resp_json":{"id":1}"#);
    assert_eq!(start.read().status, 401);
    daemon.post(&other_command, r#","resp_code":401,"resp_json":{"id":2,"error":{}}"#);
    let rest = loop {
        let chunk = String::from_utf8(other.chunk()).unwrap();
        if !chunk.starts_with(':') {
            break chunk;
        }
    };
    assert_eq!(events(&rest), [r#"{"id":2,"error":{}}"#]);
}

#[test] // relay.md 3.2
fn a_deadline_in_an_open_stream_is_its_last_event() {
    let relay = Relay::start(&["--response-timeout", "200ms", "--deliver-grace", "0s"]);
    let daemon = Daemon::of_a(&relay);
    let mut client = relay.begin(&mcp(A, &rpc("\"q\"", "m")));
    let command = daemon.take_one();
    daemon.notify(&command, &PROGRESS.replace('N', "1"));
    let text = client.read().text();
    let seen = events(&text);
    assert_eq!(seen.len(), 2);
    let last: Value = serde_json::from_str(seen[1]).unwrap();
    assert_eq!((&last["id"], &last["error"]["code"]), (&json!("q"), &json!(-32603)));
    assert_eq!(last["error"]["data"]["tunnel_error"]["status"], 504);
}

#[test] // relay-32, mcp-42
fn a_notification_gets_202_once_it_is_delivered() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let send = |members: &str| {
        let client = relay.send_later(mcp(A, note));
        let command = daemon.take_one();
        assert_eq!(daemon.post(&command, members).status, 200);
        client.join().unwrap()
    };
    for code in [200, 202, 204] {
        let answer = send(&format!(r#","resp_code":{code},"resp_type":"notify_ack""#));
        assert_eq!((answer.status, answer.body.len()), (202, 0), "{code}");
    }
    let failed = send(r#","resp_code":404,"resp_type":"notify_ack""#);
    assert_eq!((failed.status, failed.json()["error"]["code"].as_i64()), (404, Some(-32603)));
    assert!(failed.json().get("id").is_none());
    let error = send(r#","resp_code":400,"resp_json":{"jsonrpc":"2.0","error":{"code":-32603}}"#);
    assert_eq!((error.status, error.json()["error"]["code"].as_i64()), (400, Some(-32603)));
    let misfit = send(r#","resp_code":200,"resp_json":{}"#);
    assert_eq!(misfit.status, 502);
}

#[test] // relay-33, mcp-45
fn get_is_refused_and_delete_ends_a_session() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let get = relay
        .send(&Request::new("GET", &format!("/v1/mcp/{A}")).with("Accept", "text/event-stream"));
    assert_eq!((get.status, get.header("Allow")), (405, Some("POST, DELETE, OPTIONS")));
    let delete = Request::new("DELETE", &format!("/v1/mcp/{A}"));
    let refused = relay.send(&delete);
    assert_eq!((refused.status, refused.code().as_str()), (400, "missing_mcp_session_id"));
    for code in [204, 404, 405] {
        let client = relay.send_later(delete.clone().with("mcp-session-id", "s-1"));
        let command = daemon.take_one();
        assert_eq!(command["command_type"], "session_termination");
        assert!(command.get("jsonrpc").is_none());
        daemon.post(
            &command,
            &format!(r#","resp_code":{code},"resp_type":"session_termination_response""#),
        );
        assert_eq!(client.join().unwrap().status, code);
    }
}

#[test] // relay-34
fn statuses_are_mapped_as_the_table_says() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    for (code, status) in [
        (103, 502),
        (200, 200),
        (299, 200),
        (204, 200),
        (404, 404),
        (499, 502),
        (599, 502),
        (600, 502),
        (-7, 502),
        (304, 502),
        (429, 429),
    ] {
        let client = relay.send_later(json_only(mcp(A, &rpc("1", "m"))));
        let command = daemon.take_one();
        daemon.post(&command, &format!(r#","resp_code":{code},"resp_json":{{"id":1}}"#));
        let answer = client.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (status, r#"{"id":1}"#), "{code}");
    }
}

#[test] // relay-35
fn errors_of_the_server_and_of_the_daemon_pass_unchanged() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let failure = r#""data":{"tunnel_failure":{"version":9,"source":"connect","x": 1.0}}"#;
    for error in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32003,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32004,"message":"m","data":{"supported":["a"]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"m"}}"#,
        &format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32603,"message":"m",{failure}}}}}"#),
    ] {
        let client = relay.send_later(mcp(A, &rpc("1", "m")));
        let command = daemon.take_one();
        daemon.post(&command, &format!(r#","resp_code":502,"resp_json":{error}"#));
        let answer = client.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (502, error));
    }
    assert_eq!(relay.metric(r#"relay_tunnel_failures_total{source="connect"}"#), 1);
}

#[test] // relay-36, mcp-57
fn what_is_no_single_message_is_refused_and_never_queued() {
    let relay = Relay::start(&[]);
    let _daemon = Daemon::of_a(&relay);
    for (body, code) in [
        (r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#, Some(-32600)),
        (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, Some(-32600)),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Some(-32600)),
        (r#"{"jsonrpc":"2.0"}"#, Some(-32600)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m"} x"#, None),
        ("nonsense", None),
        ("", None),
    ] {
        let answer = relay.send(&mcp(A, body));
        assert_eq!(answer.status, 400, "{body}");
        match code {
            Some(code) => assert_eq!(answer.json()["error"]["code"], code, "{body}"),
            None => assert_eq!(answer.code(), "invalid_json_payload", "{body}"),
        }
    }
    let typed = mcp(A, &rpc("1", "m")).but("Content-Type", "text/plain");
    assert_eq!(relay.send(&typed).status, 415);
    assert_eq!(relay.metric("relay_accepted_total"), 0);
}

#[test] // relay-36, forwarding-204
fn a_response_of_the_client_passes_to_a_daemon_that_acknowledges_it() {
    let relay = Relay::start(&[]);
    let ours = poll(A, KEY_A, "timeout_ms=1").with("X-Tunnel-Client-Name", "mcp-tunnel");
    assert_eq!(relay.send(&ours).status, 204);
    let body = r#"{"jsonrpc":"2.0","id":5,"result":{"roots":[]}}"#;
    let client = relay.send_later(mcp(A, body));
    let held = poll(A, KEY_A, "timeout_ms=20000").with("X-Tunnel-Client-Name", "mcp-tunnel");
    let command = relay.send(&held).json()["commands"][0].clone();
    assert_eq!(command["jsonrpc"]["result"], json!({"roots": []}));
    let daemon = Daemon { relay: &relay, tunnel: A, key: KEY_A };
    daemon.post(&command, r#","resp_code":202,"resp_type":"notify_ack""#);
    assert_eq!(client.join().unwrap().status, 202);
    let modern = mcp(A, body).with("MCP-Protocol-Version", "2026-07-28");
    assert_eq!(relay.send(&modern).status, 400);
}

#[test] // relay-37, mcp-52
fn a_tunnel_without_daemon_says_so_at_once() {
    let relay = Relay::start(&[]);
    let answer = relay.send(&mcp(A, &rpc("1", "m")));
    assert_eq!((answer.status, answer.json()["id"].as_i64()), (404, Some(1)));
    assert_eq!(answer.tunnel_error()["code"], "tunnel_client_not_seen");
    let in_session = relay.send(&mcp(A, &rpc("1", "m")).with("Mcp-Session-Id", "s"));
    assert_eq!((in_session.status, in_session.header("Retry-After")), (503, Some("2")));
    assert_eq!(relay.send(&modern_list()).status, 503);
    let note = relay.send(&mcp(A, r#"{"jsonrpc":"2.0","method":"n"}"#));
    assert_eq!((note.status, note.code().as_str()), (404, "tunnel_client_not_seen"));
}

#[test] // relay-38
fn a_daemon_that_has_stopped_is_missed_after_a_while_or_at_once_if_it_says_so() {
    let relay = Relay::start(&["--client-last-seen", "300ms", "--pickup-timeout", "50ms"]);
    let daemon = Daemon::of_a(&relay);
    let code = || relay.send(&mcp(A, &rpc("1", "m"))).tunnel_error()["code"].clone();
    wait_until("the daemon to be missed", || {
        let answer = relay.send(&mcp(A, &rpc("1", "m")));
        answer.status == 404 && answer.tunnel_error()["code"] == "tunnel_client_not_connected"
    });
    // A parked poll whose socket is closed is no daemon either.
    let parked = relay.begin(&poll(A, KEY_A, "timeout_ms=20000"));
    relay.wait_metric("relay_parked_polls", 1);
    drop(parked);
    wait_until("the parked daemon to be missed", || {
        relay.send(&mcp(A, &rpc("1", "m"))).status == 404
    });

    let relay_long = Relay::start(&["--client-last-seen", "10m"]);
    let leaving = poll(A, KEY_A, "timeout_ms=1").with("X-Tunnel-Client-Closing", "1");
    assert_eq!(relay_long.send(&leaving).status, 204);
    let answer = relay_long.send(&mcp(A, &rpc("1", "m")));
    assert_eq!(answer.tunnel_error()["code"], "tunnel_client_not_connected");
    assert_eq!(daemon.poll_raw("timeout_ms=1").status, 204);
    assert_eq!(code(), "tunnel_client_not_connected");
}

#[test] // relay-39
fn a_daemon_that_works_is_not_missed_though_it_does_not_poll() {
    let relay = Relay::start(&["--client-last-seen", "1ms"]);
    let parked = relay.send_later(poll(A, KEY_A, "timeout_ms=20000"));
    relay.wait_metric("relay_parked_polls", 1);
    let first = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = parked.join().unwrap().json()["commands"][0].clone();
    let second = relay.send_later(mcp(A, &rpc("2", "m")));
    relay.wait_metric("relay_queued_commands", 1);
    let daemon = Daemon { relay: &relay, tunnel: A, key: KEY_A };
    daemon.answer_id(&daemon.take_one());
    daemon.answer_id(&command);
    assert_eq!((first.join().unwrap().status, second.join().unwrap().status), (200, 200));
}

#[test] // relay-40
fn only_headers_meant_for_the_server_reach_the_daemon() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let request = mcp(A, &rpc("1", "m"))
        .with("Cookie", "a=b")
        .with("X-Forwarded-For", "10.0.0.1")
        .with("X-Tunnel-Shard-Token", "forged")
        .with("Connection", "keep-alive, X-Hop")
        .with("X-Hop", "1")
        .with("Sec-Fetch-Site", "none")
        .with("User-Agent", "test")
        .with("Authorization", "Bearer of-the-server")
        .with("MCP-Session-ID", "s")
        .with("Mcp-Param-X", "1")
        .with("Mcp-Param-X", "2")
        .with("X-Custom", "kept");
    let client = relay.begin(&request);
    let command = daemon.take_one();
    let expected = json!({
        "Accept": ["application/json, text/event-stream"],
        "Authorization": ["Bearer of-the-server"],
        "Mcp-Session-Id": ["s"],
        "Mcp-Param-X": ["1", "2"],
        "X-Custom": ["kept"],
    });
    assert_eq!(command["headers"], expected);
    drop(client);
}

#[test] // relay-41
fn only_listed_headers_with_harmless_values_reach_the_client() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    let members = r#","resp_code":200,"resp_json":{},"resp_headers":{"Mcp-Session-Id":["s"],"WWW-Authenticate":["Bearer","Basic"],"Mcp-Protocol-Version":["1\r\nX-Evil: 1"],"Last-Event-Id":["7"],"Set-Cookie":["a=b"],"Content-Type":["text/html"],"Connection":["last-event-id"],"Content-Length":["0"]}"#;
    assert_eq!(daemon.post(&command, members).status, 200);
    let answer = client.join().unwrap();
    let known =
        ["Date", "X-Request-Id", "X-Content-Type-Options", "Content-Length", "Content-Type"];
    let passed: Vec<(&str, &str)> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| !known.contains(name))
        .collect();
    assert_eq!(
        passed,
        [("Mcp-Session-Id", "s"), ("Www-Authenticate", "Bearer"), ("Www-Authenticate", "Basic")]
    );
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
}

/// A request of the modern era that agrees with its headers.
fn modern_list() -> Request {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    mcp(A, body).with("MCP-Protocol-Version", "2026-07-28").with("Mcp-Method", "tools/list")
}

#[test] // mcp-49, mcp-50
fn a_modern_request_that_contradicts_itself_is_not_queued() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    for request in [
        modern_list().without("Mcp-Method"),
        modern_list().but("Mcp-Method", "tools/call"),
        modern_list().but("MCP-Protocol-Version", "2025-11-25"),
    ] {
        let answer = relay.send(&request);
        assert_eq!((answer.status, answer.json()["id"].as_i64()), (400, Some(1)));
        assert_eq!(answer.json()["error"]["code"], -32020);
    }
    let bare = mcp(A, &rpc("1", "tools/list")).with("MCP-Protocol-Version", "2026-07-28");
    assert_eq!(relay.send(&bare).json()["error"]["code"], -32602);
    assert!(daemon.finds_nothing());
    let client = relay.send_later(modern_list());
    let command = daemon.take_one();
    assert_eq!(command["headers"]["Mcp-Method"], json!(["tools/list"]));
    daemon.answer_id(&command);
    assert_eq!(client.join().unwrap().status, 200);
}

#[test] // mcp-53
fn an_error_from_stdio_gets_the_status_of_its_era() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"m"}}"#;
    for (request, status) in [(modern_list(), 404), (mcp(A, &rpc("1", "tools/list")), 200)] {
        let client = relay.send_later(request);
        daemon.answer(&daemon.take_one(), error);
        let answer = client.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (status, error));
    }
}

#[test] // mcp-70
fn a_modern_cancel_by_message_is_accepted_and_cancels_nothing() {
    let relay = Relay::start(&[]);
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let answer = relay.send(&mcp(A, body).with("MCP-Protocol-Version", "2026-07-28"));
    assert_eq!((answer.status, relay.metric("relay_accepted_total")), (202, 0));
}

#[test] // mcp-12
fn sixteen_mebibytes_pass_in_both_directions() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let text = "é\\n".repeat(4 * 1024 * 1024);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":"{text}"}}"#);
    let client = relay.send_later(mcp(A, &body));
    let polled = daemon.poll_raw("timeout_ms=20000");
    assert!(polled.text().ends_with(&format!("{body}}}]}}")));
    let result = format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{text}"}}"#);
    let command = polled.json()["commands"][0].clone();
    assert_eq!(daemon.answer(&command, &result).status, 200);
    assert!(client.join().unwrap().text() == result);
}

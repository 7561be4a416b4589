//! What a poll hands out, and what becomes of it (wire-3, wire-49 to wire-54).

use serde_json::json;

use crate::call;
use crate::support::{Answer, Command, ControlPlane, McpServer, Tunnel, between, eventually};

/// What one command may be without being of any use.
fn bad_commands() -> Vec<String> {
    let good = || call("bad");
    let long = format!("\"{}\"", "x".repeat(65));
    let mut bad: Vec<String> =
        ["7", "\"x\"", "[]", "null", "{}", "[{}]"].map(String::from).to_vec();
    for (name, values) in [
        ("command_type", vec!["null", "7", "\"\""]),
        ("request_id", vec!["null", "5", "\"\"", "[\"r\"]"]),
        ("shard_token", vec!["null", "5", "\"\"", r#""a\u0000b""#, r#""a\r\nX-Injected: 1""#]),
        ("channel", vec!["7", "\"a b\"", "\"\u{fc}\"", "[]", long.as_str()]),
        ("created_at", vec!["5", "\"yesterday\"", "\"2026-02-03 04:05\"", "\"\""]),
        ("headers", vec!["[]", "\"x\"", r#"{"A":"b"}"#, r#"{"A":[1]}"#]),
        (
            "jsonrpc",
            vec![
                "null",
                "[]",
                "\"x\"",
                r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call"}]"#,
                r#"{"id":1,"method":"tools/call"}"#,
                r#"{"jsonrpc":"1.0","id":1,"method":"tools/call"}"#,
                r#"{"jsonrpc":"2.0"}"#,
                r#"{"jsonrpc":"2.0","id":null}"#,
                r#"{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}"#,
                r#"{"jsonrpc":"2.0","id":{},"method":"tools/call"}"#,
                r#"{"jsonrpc":"2.0","id":[1],"method":"tools/call"}"#,
                r#"{"jsonrpc":"2.0","id":true,"method":"tools/call"}"#,
            ],
        ),
    ] {
        bad.extend(values.into_iter().map(|value| good().member(name, value).text()));
    }
    for name in ["command_type", "request_id", "shard_token", "jsonrpc"] {
        bad.push(good().without(name).text());
    }
    bad.push(Command::of("session_termination", "bad").text());
    bad.push(Command::termination("bad", "").text());
    bad
}

#[test] // wire-49, wire-50, wire-66, wire-203, wire-204, wire-218
fn one_bad_command_never_harms_its_neighbours() {
    let (control_plane, server, tunnel) = between();
    let bad = bad_commands();
    let count = bad.len();
    let mut batch = vec![call("first").text()];
    batch.extend(bad);
    batch.push(call("last").text());
    control_plane.push_batch(batch);
    for id in ["first", "last"] {
        assert_eq!(control_plane.next_response_for(id).resp_code(), 200);
    }
    assert_eq!(server.count("tools/call"), 2);
    assert_eq!(control_plane.responses_waiting(), 0);
    let dropped = r#"commands_queue_drops_total{drop_reason="invalid_command_type"}"#;
    assert_eq!(tunnel.metric(dropped), count as f64);
    // The log is written beside the work.
    let said = eventually("a line for each", || {
        let said = tunnel.program.stderr();
        let told = said.lines().filter(|l| l.contains("WARN") && l.contains("command dropped"));
        (told.count() == count).then_some(said)
    });
    assert!(!said.contains("shard-of") && !said.contains("Injected"), "a credential in: {said}");
}

#[test] // wire-3, wire-49, wire-54, wire-204, wire-214
fn what_may_be_absent_is_absent_without_harm() {
    let (control_plane, _server, _tunnel) = between();
    let good = [
        call("r").without("channel"),
        call("r").member("channel", "null"),
        call("r").member("channel", "\"\""),
        call("r").member("channel", "\" MAIN \""),
        call("r").without("created_at"),
        call("r").member("created_at", "null"),
        call("r").member("created_at", "\"2026-02-03T04:05:06.123456789+05:30\""),
        call("r").member("headers", "null"),
        call("r").member("headers", "{}"),
        call("r").member("headers", r#"{"X-Empty":[],"X-Null":null}"#),
        call("r").without("response_timeout"),
        call("r").member("surprise", r#"{"commands":[{}]}"#),
    ];
    let count = good.len();
    control_plane.push_batch(
        good.into_iter().enumerate().map(|(n, c)| c.member("request_id", &format!("\"r{n}\""))),
    );
    for n in 0..count {
        let answer = control_plane.next_response_for(&format!("r{n}"));
        assert_eq!(answer.json()["channel"], "main", "{n}");
        assert_eq!(answer.resp_code(), 200, "{n}");
    }
}

#[test] // wire-50, wire-213
fn an_unknown_type_is_told_with_its_id_and_never_guessed() {
    let (control_plane, server, tunnel) = between();
    control_plane.push_batch([
        Command::of("reboot\u{1b}[1m\nnow", "r1")
            .member("jsonrpc", r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
            .header("Mcp-Session-Id", "s1"),
        Command::of("JSONRPC", "r2")
            .member("jsonrpc", r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#),
        call("r3"),
    ]);
    assert_eq!(control_plane.next_response().request_id(), "r3");
    for (kind, id) in [("reboot", "r1"), ("JSONRPC", "r2")] {
        let line = tunnel.program.stderr_line(kind, |line| line.contains(kind));
        assert!(line.contains("WARN") && line.contains(&format!("request_id={id}")), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    assert_eq!((server.count("tools/call"), server.count("DELETE")), (1, 0));
    assert_eq!(control_plane.responses_waiting(), 0);
}

#[test] // wire-51, wire-60
fn a_message_without_an_id_is_a_notification_and_one_without_a_method_a_response() {
    let (control_plane, server, _tunnel) = between();
    control_plane.push_batch([
        Command::jsonrpc("n1", r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#),
        Command::jsonrpc("n2", r#"{"jsonrpc":"2.0","method":"notifications/x","id":null}"#),
        Command::jsonrpc("a1", r#"{"jsonrpc":"2.0","id":7,"result":{}}"#),
        Command::jsonrpc("a2", r#"{"jsonrpc":"2.0","id":"7","error":{"code":1,"message":"m"}}"#),
    ]);
    for id in ["n1", "n2", "a1", "a2"] {
        let answer = control_plane.next_response_for(id);
        assert_eq!((answer.resp_type().as_str(), answer.resp_code()), ("notify_ack", 202), "{id}");
        assert!(answer.json().get("resp_json").is_none(), "{id}");
    }
    assert_eq!(server.count("notifications/x"), 2);
    assert_eq!(server.count("POST"), 0, "no server waits for these responses");
}

#[test] // wire-52, wire-67, wire-216
fn payloads_pass_as_the_text_they_are() {
    let (control_plane, server, _tunnel) = between();
    for id in ["12345678901234567890", "1.50", "-0", "1e400", r#""a\u0062\/""#, r#""""#] {
        let sent = format!(
            r#"{{ "method":"tools/call","x":[1, 1.0],"jsonrpc":"2.0" , "id":{id},"params":{{"z":1e400,"a":0.10,"a":"\u00e9<&>\u2028","n":123456789012345678901234567890}}}}"#
        );
        let result = r#"{"x":"<&>","jsonrpc":"2.0", "id":$ID,"result":{"z":1e400,"a":1.0,"a":2,"u":"\ud83d\ude00é"}}"#;
        server.on("tools/call", Answer::json(200, result));
        control_plane.push(Command::jsonrpc("r1", &sent));
        assert_eq!(control_plane.next_response().resp_json(), result.replace("$ID", id));
        assert_eq!(server.next("tools/call").text(), sent);
    }
}

#[test] // wire-53
fn headers_keep_their_values_in_order_whatever_the_case_of_their_names() {
    let (control_plane, server, _tunnel) = between();
    let headers = r#"{"x-multi":["b","a, c"],"X-MULTI":["d"],"mcp-session-id":["","s-1"],"MCP-Session-Id":["s-2"],"X-None":[]}"#;
    control_plane.push(call("r1").member("headers", headers));
    control_plane.next_response();
    let request = server.next("tools/call");
    assert_eq!(request.header_values("X-Multi"), ["b", "a, c", "d"]);
    assert_eq!(request.header("X-None"), None);
    // The session that ends is the first that is named.
    control_plane.push(Command::of("session_termination", "r2").member("headers", headers));
    assert_eq!(control_plane.next_response().resp_type(), "session_termination_response");
    let ended = server.next("DELETE");
    assert!(ended.header_values("Mcp-Session-Id").contains(&"s-1"), "{:?}", ended.headers);
}

#[test] // wire-54
fn a_command_goes_to_its_own_channel_and_the_answer_names_it() {
    let (control_plane, main, side) =
        (ControlPlane::start(), McpServer::start(), McpServer::start());
    let servers = format!("{}\nchannel=side,url={}", main.url(), side.url());
    let _tunnel = Tunnel::to(&control_plane.url()).http(&servers).start();
    control_plane.push(call("r1").channel("SIDE"));
    let answer = control_plane.next_response();
    assert_eq!(answer.json()["channel"], "side");
    assert_eq!((main.count("tools/call"), side.count("tools/call")), (0, 1));
}

#[test] // wire-54
fn a_command_for_a_channel_that_is_not_served_is_answered_and_not_passed_to_main() {
    let (control_plane, server, _tunnel) = between();
    control_plane.push_batch([
        call("r1").channel("other"),
        Command::jsonrpc("r2", r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).channel("other"),
        Command::termination("r3", "s1").channel("harpoon"),
        call("r4"),
    ]);
    let error = |channel: &str| json!({"code": -32603, "message": format!("Bad Request: unsupported channel \"{channel}\"")});
    let answer = control_plane.next_response_for("r1");
    assert_eq!((answer.resp_code(), answer.resp_type().as_str()), (400, "jsonrpc_response"));
    assert_eq!(answer.json()["channel"], "other");
    assert_eq!(answer.message(), json!({"jsonrpc": "2.0", "id": 1, "error": error("other")}));
    let answer = control_plane.next_response_for("r2");
    assert_eq!((answer.resp_code(), answer.resp_type().as_str()), (400, "jsonrpc_response"));
    assert_eq!(answer.message(), json!({"jsonrpc": "2.0", "error": error("other")}));
    let answer = control_plane.next_response_for("r3");
    assert_eq!(
        answer.json(),
        json!({"request_id": "r3", "channel": "harpoon", "resp_code": 400,
               "resp_type": "session_termination_response"})
    );
    control_plane.next_response_for("r4");
    assert_eq!((server.count("tools/call"), server.count("notifications/x")), (1, 0));
    assert_eq!(server.count("DELETE"), 0);
}

#[test] // wire-50, wire-60, wire-205
fn oauth_discovery_is_answered() {
    let (control_plane, _server, _tunnel) = between();
    control_plane.push(Command::of("oauth_discovery", "r1"));
    let answer = control_plane.next_response();
    assert_eq!(answer.resp_type(), "oauth_discovery_response");
    assert!(answer.message().is_object(), "{}", answer.0.text());
    assert!(answer.resp_code() >= 200);
}

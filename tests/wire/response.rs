//! What a response POST says (wire-59 to wire-67).

use serde_json::{Value, json};

use crate::support::{
    Answer, Command, ControlPlane, Gate, McpServer, Tunnel, between, each_at_once,
};
use crate::{call, held};

const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;

#[test] // wire-59, wire-60
fn each_kind_of_response_has_its_shape() {
    let (control_plane, server, _tunnel) = between();
    let plain = |status| Answer::status(status);
    let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{"tools":[]}}"#;
    server.on("tools/call", Answer::json(200, result));
    control_plane.push(call("r1"));
    assert_eq!(
        control_plane.next_response().json(),
        json!({
            "request_id": "r1", "channel": "main", "resp_code": 200,
            "resp_type": "jsonrpc_response",
            "resp_headers": {"Content-Type": ["application/json"]},
            "resp_json": {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}},
        })
    );
    for status in [200, 202, 204] {
        server.on("notifications/x", plain(status));
        let message = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
        control_plane.push(Command::jsonrpc("r2", message));
        assert_eq!(
            control_plane.next_response().json(),
            json!({"request_id": "r2", "channel": "main", "resp_code": status, "resp_type": "notify_ack"})
        );
    }
    for status in [200, 204, 404, 405] {
        server.on("DELETE", plain(status));
        control_plane.push(Command::termination("r3", "s1"));
        assert_eq!(
            control_plane.next_response().json(),
            json!({
                "request_id": "r3", "channel": "main", "resp_code": status,
                "resp_type": "session_termination_response",
            })
        );
    }
    control_plane.push(Command::of("oauth_discovery", "r4"));
    let answer = control_plane.next_response();
    let body = answer.json();
    let mut names: Vec<&String> = body.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        ["channel", "request_id", "resp_code", "resp_headers", "resp_json", "resp_type"]
    );
    assert_eq!(body["resp_type"], "oauth_discovery_response");
}

#[test] // wire-60, wire-63
fn notifications_come_in_order_before_the_one_result_with_the_same_token() {
    let (control_plane, server, _tunnel) = between();
    let mut stream = Answer::sse();
    for n in 0..20 {
        stream = stream.event(&PROGRESS.replace(":1}", &format!(":{n}}}")));
    }
    let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#;
    server.on("tools/call", stream.event(result));
    control_plane.push(call("r1").channel("main").header("X-Request-Id", "remote-1"));
    for n in 0..21 {
        let answer = control_plane.next_response();
        let last = n == 20;
        let kind = if last { "jsonrpc_response" } else { "jsonrpc_notify" };
        assert_eq!((answer.resp_type().as_str(), answer.resp_code()), (kind, 200));
        assert_eq!(answer.request_id(), "r1");
        assert_eq!(answer.shard_token(), Some("shard-of-r1"));
        assert_eq!(answer.0.header("X-Client-Request-Id"), Some("remote-1"));
        assert_eq!(answer.json()["channel"], "main");
        assert_eq!(answer.json()["resp_headers"], json!({"Content-Type": ["text/event-stream"]}));
        if !last {
            assert_eq!(answer.message()["params"]["progress"], n);
        }
    }
}

#[test] // wire-61, wire-207
fn only_listed_headers_travel_in_the_listed_spelling() {
    let (control_plane, server, _tunnel) = between();
    let soup = |answer: Answer| {
        answer
            .header("mcp-session-id", "s1")
            .header("MCP-Protocol-Version", "2025-11-25")
            .header("WWW-Authenticate", "Bearer realm=\"a\", Basic")
            .header("www-authenticate", "Negotiate")
            .header("Last-Event-ID", "7")
            .header("access-control-expose-headers", "")
            .header("Access-Control-Expose-Headers", "Mcp-Session-Id")
            .header("Set-Cookie", "secret=1")
            .header("X-Anything", "1")
            .header("Date", "Tue, 03 Feb 2026 04:05:06 GMT")
            .header("Server", "scripted")
    };
    let expected = |content_type: &str| {
        json!({
            "Access-Control-Expose-Headers": ["Mcp-Session-Id"],
            "Content-Type": [content_type],
            "Last-Event-Id": ["7"],
            "Mcp-Protocol-Version": ["2025-11-25"],
            "Mcp-Session-Id": ["s1"],
            "Www-Authenticate": ["Bearer realm=\"a\", Basic", "Negotiate"],
        })
    };
    let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#;
    server.on("tools/call", soup(Answer::json(200, result)));
    control_plane.push(call("r1"));
    assert_eq!(control_plane.next_response().json()["resp_headers"], expected("application/json"));

    server.on("tools/call", soup(Answer::sse()).event(PROGRESS).event(result));
    control_plane.push(call("r2"));
    for _ in 0..2 {
        let answer = control_plane.next_response();
        assert_eq!(answer.json()["resp_headers"], expected("text/event-stream"));
    }

    server.on("notifications/x", soup(Answer::status(202).header("Content-Type", "text/plain")));
    control_plane.push(Command::jsonrpc("r3", r#"{"jsonrpc":"2.0","method":"notifications/x"}"#));
    assert_eq!(control_plane.next_response().json()["resp_headers"], expected("text/plain"));

    server.on("DELETE", soup(Answer::status(204).header("Content-Type", "text/plain")));
    control_plane.push(Command::termination("r4", "s1"));
    assert_eq!(control_plane.next_response().json()["resp_headers"], expected("text/plain"));
}

#[test] // wire-61
fn a_header_that_the_connection_field_names_stays_on_its_hop() {
    let (control_plane, server, _tunnel) = between();
    let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#;
    server.on(
        "tools/call",
        Answer::json(200, result)
            .header("Connection", "keep-alive, \tMCP-SESSION-ID")
            .header("connection", "content-type")
            .header("Mcp-Session-Id", "s1")
            .header("Mcp-Protocol-Version", "2025-11-25"),
    );
    control_plane.push(call("r1"));
    let headers = control_plane.next_response().json()["resp_headers"].clone();
    assert_eq!(headers, json!({"Mcp-Protocol-Version": ["2025-11-25"]}));
}

#[test] // wire-62
fn an_error_of_the_server_passes_with_its_status_and_every_member() {
    let (control_plane, server, _tunnel) = between();
    for (status, code) in [(200, -32003), (404, -32004), (400, -32600), (500, 42)] {
        let error = format!(
            r#"{{"jsonrpc":"2.0","id":$ID,"error":{{"code":{code},"message":"m","data":{{"n":1.50}},"x":1}}}}"#
        );
        server.on("tools/call", Answer::json(status, error.as_str()));
        control_plane.push(call("r1"));
        let answer = control_plane.next_response();
        assert_eq!(answer.resp_code(), u64::from(status));
        assert_eq!(answer.resp_json(), error.replace("$ID", "1"));
    }
}

#[test] // wire-62
fn an_error_that_had_to_be_made_up_says_where_the_way_broke_and_nothing_of_the_target() {
    let server = McpServer::start();
    let refused = "http://127.0.0.1:9/secret-path?token=hush";
    each_at_once(
        [
            (
                Answer::status(418).body("hush"),
                json!({"source": "target_http", "upstream_status": 418}),
            ),
            (
                Answer::status(500).body("hush"),
                json!({"source": "target_http", "upstream_status": 500}),
            ),
            (
                Answer::json(200, "hush"),
                json!({"source": "protocol", "transport_error_kind": "malformed_json"}),
            ),
            (Answer::reset_at_once(), json!({"source": "transport_closed"})),
            (Answer::status(599), json!({"source": "target_http", "upstream_status": 599})),
        ],
        |(answer, expected)| {
            let (control_plane, server) = (ControlPlane::start(), McpServer::start());
            server.on("tools/call", answer);
            let _tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
            control_plane.push(call("r1"));
            let answer = control_plane.next_response();
            let failure = answer.tunnel_failure();
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&failure[name], value, "{failure}");
            }
            let from_target = failure["source"] == "target_http";
            assert_eq!(failure["upstream_status"].is_number(), from_target, "{failure}");
            assert_eq!(answer.message()["error"]["code"], -32603);
            let status = if from_target { failure["upstream_status"].clone() } else { json!(502) };
            assert_eq!(Value::from(answer.resp_code()), status);
            assert_eq!(failure["version"], 1);
            assert!(!answer.0.text().contains("hush"), "{}", answer.0.text());
            let headers = json!({"Content-Type": ["application/json"]});
            assert_eq!(answer.json()["resp_headers"], headers);
        },
    );
    drop(server);
    let control_plane = ControlPlane::start();
    let _tunnel = Tunnel::to(&control_plane.url()).http(refused).start();
    control_plane.push(call("r1"));
    let answer = control_plane.next_response();
    assert_eq!(answer.message()["error"]["message"], "Bad Gateway");
    assert_eq!(
        answer.tunnel_failure(),
        json!({"version": 1, "source": "connect", "upstream_response_received": false,
               "transport_error_kind": "connection_refused"})
    );
}

#[test] // wire-64
fn a_404_means_that_nobody_waits_any_more_and_is_not_repeated() {
    let (control_plane, server, tunnel) = between();
    control_plane.on_response(Answer::status(404));
    control_plane.push(call("r1"));
    tunnel.wait_metric("mcp_tunnel_responses_gone_total", 1.0);
    tunnel
        .program
        .stderr_line("the warning", |l| l.contains("WARN") && l.contains("waits no longer"));
    control_plane.push(call("r2"));
    for id in ["r1", "r2"] {
        assert_eq!(control_plane.next_response().request_id(), id);
    }
    assert_eq!(server.count("tools/call"), 2);
}

#[test] // wire-64
fn the_body_of_an_ok_is_not_looked_at() {
    let (control_plane, _server, tunnel) = between();
    for answer in [
        Answer::json(200, r#"{"status":"error"}"#),
        Answer::status(200),
        Answer::status(200).header("Content-Type", "text/html").body("<html>"),
        Answer::json(200, vec![b'x'; 200_000]),
        Answer::json(200, "{").chunked().close(),
    ] {
        control_plane.on_response(answer);
        control_plane.push(call("r1"));
        assert_eq!(control_plane.next_response().request_id(), "r1");
    }
    tunnel.wait_metric("mcp_tunnel_responses_delivered_total", 5.0);
    assert_eq!(tunnel.metric("mcp_tunnel_response_retries_total"), 0.0);
}

#[test] // wire-65
fn after_a_lost_notification_only_the_result_follows() {
    let (control_plane, server, _tunnel) = between();
    control_plane.on_response(Answer::json(200, "{}"));
    control_plane.on_response(Answer::status(500));
    let mut stream = Answer::sse();
    for n in 1..=5 {
        stream = stream.event(&PROGRESS.replace(":1}", &format!(":{n}}}")));
    }
    server.on("tools/call", stream.event(r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#));
    control_plane.push(call("r1"));
    for n in 1..=2 {
        assert_eq!(control_plane.next_response().message()["params"]["progress"], n);
    }
    let last = control_plane.next_response();
    assert_eq!((last.resp_type().as_str(), last.resp_code()), ("jsonrpc_response", 200));
}

#[test] // wire-64, wire-68
fn a_404_to_a_notification_ends_a_call_that_nobody_waits_for() {
    let (control_plane, server, tunnel) = between();
    let gone = Gate::new();
    control_plane.on_response(Answer::status(404));
    server.on("tools/call", Answer::sse().event(PROGRESS).until_peer_closes(&gone));
    control_plane.push(call("r1"));
    assert_eq!(control_plane.next_response().resp_type(), "jsonrpc_notify");
    gone.wait("the call to be ended");
    tunnel.wait_metric(r#"mcp_tunnel_commands_unanswered_total{reason="gone"}"#, 1.0);
    control_plane.push(call("r2"));
    assert_eq!(control_plane.next_response().request_id(), "r2");
}

#[test] // wire-63
fn commands_finish_in_any_order() {
    let (control_plane, server, _tunnel) = between();
    let gate = Gate::new();
    server.on("tools/call", held(&gate));
    control_plane.push(call("slow"));
    server.next("tools/call");
    control_plane.push(call("quick"));
    assert_eq!(control_plane.next_response().request_id(), "quick");
    gate.open();
    assert_eq!(control_plane.next_response().request_id(), "slow");
}

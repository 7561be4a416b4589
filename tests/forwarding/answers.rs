//! What the server answers with, in one body, and what of it is posted.

use serde_json::json;

use super::support::{Answer, Command};
use super::{RESULT, Stand, call, expect_failure, notification, result};

#[test] // forwarding-33, forwarding-43, mcp-28
fn a_call_is_one_post_of_the_message_as_it_is() {
    let stand = Stand::start();
    let message =
        "{ \"jsonrpc\": \"2.0\",\n \"id\": 1, \"x\": [1.0, 1e400],\n\"method\": \"tools/call\"}";
    stand.server.on("tools/call", result());
    stand.control_plane.push(Command::jsonrpc("r1", message));
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
    let post = stand.server.next("tools/call");
    assert_eq!((post.method.as_str(), post.target.as_str()), ("POST", "/mcp"));
    assert_eq!(post.text(), message);
    assert_eq!(post.header_values("Content-Type"), ["application/json"]);
    assert_eq!(post.header_values("Accept"), ["application/json, text/event-stream"]);
    assert_eq!(post.header_values("Mcp-Session-Id"), [""; 0]);
    assert_eq!(post.header_values("Mcp-Protocol-Version"), [""; 0]);
    assert_eq!(stand.server.count("tools/call"), 1);
    assert_eq!(stand.server.count("GET"), 0);
}

#[test] // forwarding-21, forwarding-23, forwarding-28, forwarding-36, mcp-1, mcp-2, mcp-3,
// forwarding-221
fn ids_and_payloads_arrive_as_they_were_sent() {
    let stand = Stand::start();
    for id in ["12345678901234567890", "1.0", "-0", "1e400", r#""\u00e9""#, r#""1""#] {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"b\":1.0,\"a\":1e400,\"a\":\"\\u003c&\"}},\"x\":[1]}}"
        );
        stand.server.on("strange/method", Answer::json(200, body.clone()));
        let posted =
            stand.answer(Command::call("r1", id, "strange/method", r#"{"_meta":{"y":1}}"#));
        assert_eq!(posted.resp_json(), body);
        let sent = stand.server.next("strange/method");
        assert!(sent.text().contains(&format!(r#""id":{id},"#)), "{}", sent.text());
    }
    // The server may spell the id in its own way.
    let body = r#"{"jsonrpc":"2.0","id":"\u0061","result":{}}"#;
    stand.server.on("strange/method", Answer::json(200, body));
    let posted = stand.answer(Command::call("r1", r#""a""#, "strange/method", "{}"));
    assert_eq!(posted.resp_json(), r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
}

#[test] // forwarding-36, forwarding-223
fn json_is_taken_in_every_spelling_and_nothing_else_for_an_answer() {
    let stand = Stand::start();
    for media in
        ["application/json", "Application/JSON ; charset=utf-8", "application/problem+json"]
    {
        let answer = Answer::status(200).header("Content-Type", media).body(RESULT);
        let posted = stand.call(answer);
        assert_eq!((posted.resp_code(), posted.resp_json().as_str()), (200, RESULT), "{media}");
        assert_eq!(posted.json()["resp_headers"]["Content-Type"], json!(["application/json"]));
    }
    for answer in [
        Answer::status(202),
        Answer::status(204),
        Answer::status(200).body(RESULT),
        Answer::status(200).header("Content-Type", "text/html").body("<p>Hello!</p>"),
        Answer::status(201).header("Content-Type", "application/jsonp").body(RESULT),
    ] {
        let posted = stand.call(answer);
        expect_failure(&posted, "protocol", "non_protocol_response", 502);
        assert_eq!(posted.json()["resp_headers"]["Content-Type"], json!(["application/json"]));
    }
}

#[test] // forwarding-21, forwarding-30, forwarding-31, forwarding-32, forwarding-36, forwarding-61
fn a_body_that_is_no_answer_to_the_request_is_a_failure_of_the_protocol() {
    let stand = Stand::start();
    let bodies = [
        ("", "response_body_missing"),
        (" \n", "response_body_missing"),
        ("{\"jsonrpc\":\"2.0\",", "malformed_json"),
        ("{} {}", "malformed_json"),
        ("null", "invalid_protocol_response"),
        (r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#, "invalid_protocol_response"),
        (r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, "invalid_protocol_response"),
        (r#"{"jsonrpc":"2.0","id":"1","result":{}}"#, "invalid_protocol_response"),
        (r#"{"jsonrpc":"2.0","result":{}}"#, "invalid_protocol_response"),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#,
            "invalid_protocol_response",
        ),
        (r#"{"jsonrpc":"1.0","id":1,"result":{}}"#, "invalid_protocol_response"),
        (r#"{"JSONRPC":"2.0","id":1,"result":{}}"#, "invalid_protocol_response"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#, "invalid_protocol_response"),
        (r#"{"jsonrpc":"2.0","method":"notifications/message"}"#, "invalid_protocol_response"),
    ];
    for (body, kind) in bodies {
        let posted = stand.call(Answer::json(200, body));
        assert_eq!(posted.message()["id"], 1, "{body}");
        assert_eq!(super::failure(&posted), ("protocol".into(), kind.into(), 502), "{body}");
    }
}

#[test] // forwarding-29, forwarding-35, forwarding-36, forwarding-42, forwarding-43, forwarding-93,
// mcp-33, mcp-34
fn an_mcp_error_in_a_refused_answer_is_passed_on_as_it_is() {
    let stand = Stand::start();
    for status in [302, 400, 401, 403, 404, 405, 429, 500, 503, 600] {
        let error = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1, \"error\":{{\"code\":-32003,\"message\":\"m{status}\",\"data\":1.50,\"more\":1}},\"x\":2}}"
        );
        let answer = Answer::status(status)
            .header("Content-Type", "text/plain")
            .header("Mcp-Session-Id", "s1")
            .header("WWW-Authenticate", "Bearer resource_metadata=\"x\"")
            .body(error.clone());
        stand.server.on("tools/call", answer);
        let posted = stand.answer(call("r1").header("Mcp-Session-Id", "s1"));
        assert_eq!(posted.resp_type(), "jsonrpc_response");
        assert_eq!((posted.resp_code(), posted.resp_json()), (u64::from(status), error));
        assert_eq!(
            posted.json()["resp_headers"],
            json!({
                "Content-Type": ["application/json"],
                "Mcp-Session-Id": ["s1"],
                "Www-Authenticate": ["Bearer resource_metadata=\"x\""],
            })
        );
    }
    assert_eq!(stand.server.count("tools/call"), 10, "each was sent once");
    assert!(stand.server.count("initialize") <= 1, "nobody but the probe initializes");
}

#[test] // forwarding-35, forwarding-36, forwarding-57, forwarding-58, forwarding-59, forwarding-60,
// forwarding-61, forwarding-62, forwarding-63, mcp-9
fn what_is_no_mcp_error_is_reported_by_status_and_kind() {
    let stand = Stand::start();
    let error = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{members}}}"#);
    let good = r#""error":{"code":-32003,"message":"m"}"#;
    let bodies = [
        (String::new(), "response_body_missing"),
        ("the server is on fire".into(), "malformed_json"),
        ("<html></html>".into(), "malformed_json"),
        (format!("data: {}\n\n", error(good)), "malformed_json"),
        ("{}".into(), "invalid_mcp_error"),
        (format!("[{}]", error(good)), "invalid_mcp_error"),
        (error(good).replace("2.0", "1.0"), "invalid_mcp_error"),
        (error(good).replace("\"id\":1", "\"id\":2"), "invalid_mcp_error"),
        (error(good).replace("\"id\":1", "\"id\":\"1\""), "invalid_mcp_error"),
        (error(&format!("{good},\"result\":null")), "invalid_mcp_error"),
        (error(&format!("{good},\"method\":null")), "invalid_mcp_error"),
        (error(r#""error":{"code":1.5,"message":"m"}"#), "invalid_mcp_error"),
        (error(r#""error":{"code":"1","message":"m"}"#), "invalid_mcp_error"),
        (error(r#""error":{"code":1}"#), "invalid_mcp_error"),
        (error(r#""error":{"code":1,"message":null}"#), "invalid_mcp_error"),
        (error(r#""result":{}"#), "invalid_mcp_error"),
    ];
    for (body, kind) in bodies {
        let posted = stand.call(Answer::status(503).body(body.clone()));
        let expected = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "error": {
                "code": -32603,
                "message": "Service Unavailable",
                "data": { "tunnel_failure": {
                    "version": 1,
                    "source": "target_http",
                    "transport_error_kind": kind,
                    "upstream_response_received": true,
                    "upstream_status": 503,
                }},
            },
        });
        assert_eq!((posted.resp_code(), posted.message()), (503, expected), "{body}");
    }
    for (status, source, code, message) in [
        (302, "protocol", 302, "Found"),
        (404, "target_http", 404, "Not Found"),
        (599, "target_http", 599, "MCP transport error"),
        (600, "protocol", 600, "MCP transport error"),
    ] {
        let posted = stand.call(Answer::status(status).body("?"));
        expect_failure(&posted, source, "malformed_json", code);
        assert_eq!(posted.message()["error"]["message"], message);
        assert_eq!(posted.tunnel_failure()["upstream_response_received"], true);
        let told = posted.tunnel_failure()["upstream_status"].as_u64();
        assert_eq!(told, (source == "target_http").then_some(u64::from(status)));
    }
}

#[test] // forwarding-35
fn a_body_of_an_error_that_breaks_off_is_unreadable() {
    let stand = Stand::start();
    let answer = Answer::raw("HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\n{\"jsonrpc\"").close();
    let posted = stand.call(answer);
    expect_failure(&posted, "target_http", "response_body_unreadable", 500);
}

#[test] // forwarding-6, forwarding-18, forwarding-19, forwarding-20, forwarding-37, forwarding-41,
// forwarding-224, mcp-7
fn a_notification_is_acknowledged_with_the_status_whatever_it_is() {
    let stand = Stand::start();
    let method = "notifications/message";
    for status in [200, 202, 204, 302, 400, 404, 500] {
        let answer = Answer::status(status).header("Mcp-Session-Id", "s").body("ignored");
        stand.server.on(method, if status == 204 { Answer::status(204) } else { answer });
        let posted = stand.answer(notification("n1", method));
        assert_eq!(posted.resp_type(), "notify_ack");
        assert_eq!(posted.resp_code(), u64::from(status));
        let body = posted.json();
        assert!(body.get("resp_json").is_none(), "{body}");
        if status != 204 {
            assert_eq!(body["resp_headers"], json!({"Mcp-Session-Id": ["s"]}));
        }
    }
    stand.server.on(method, Answer::reset_at_once());
    let posted = stand.answer(notification("n1", method));
    assert_eq!((posted.resp_type().as_str(), posted.resp_code()), ("notify_ack", 502));
    let body = posted.json();
    assert!(body.get("resp_json").is_none() && body.get("resp_headers").is_none(), "{body}");
}

#[test] // forwarding-40, forwarding-41
fn only_listed_headers_of_an_answer_travel() {
    let stand = Stand::start();
    let answer = result()
        .header("access-control-expose-headers", "a")
        .header("LAST-EVENT-ID", "7")
        .header("MCP-Protocol-Version", "2025-06-18")
        .header("mcp-session-id", "")
        .header("WWW-Authenticate", "Bearer")
        .header("www-authenticate", "Basic")
        .header("Set-Cookie", "secret=1")
        .header("Server", "nginx");
    let posted = stand.call(answer);
    assert_eq!(
        posted.json()["resp_headers"],
        json!({
            "Access-Control-Expose-Headers": ["a"],
            "Content-Type": ["application/json"],
            "Last-Event-Id": ["7"],
            "Mcp-Protocol-Version": ["2025-06-18"],
            "Www-Authenticate": ["Bearer", "Basic"],
        })
    );
    let answer = result()
        .header("Mcp-Session-Id", "s")
        .header("Last-Event-Id", "7")
        .header("Connection", "x-hop, \tmcp-session-id")
        .header("Connection", "Last-Event-ID");
    let posted = stand.call(answer);
    assert_eq!(posted.json()["resp_headers"], json!({"Content-Type": ["application/json"]}));
}

#[test] // forwarding-44, forwarding-212
fn a_failure_ends_no_session() {
    let stand = Stand::start();
    for answer in [
        Answer::status(500).body("<html>"),
        Answer::json(200, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#),
        Answer::status(200).header("Content-Type", "text/html").body("<p>"),
        Answer::sse().event("{}"),
        Answer::sse().header("Mcp-Session-Id", "s1").event("[]").reset(),
        result(),
    ] {
        stand.call(answer.header("Mcp-Session-Id", "s1"));
    }
    assert_eq!(stand.server.count("DELETE"), 0);
}

#[test] // forwarding-232
fn a_connection_is_used_again_after_every_answer_that_was_read() {
    let stand = Stand::with(|s| s.env("MCP_MAX_CONCURRENT_REQUESTS", "1"));
    stand.call(result());
    let first = stand.server.next("tools/call").connection;
    for answer in [
        Answer::status(500).body("<html>".repeat(100)),
        Answer::json(200, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#),
        Answer::status(200).header("Content-Type", "text/html").body("<p>"),
        result().chunked(),
        result(),
    ] {
        stand.call(answer);
        assert_eq!(stand.server.next("tools/call").connection, first);
    }
}

#[test] // forwarding-43, mcp-6
fn a_connection_that_the_server_closed_between_calls_costs_none() {
    let stand = Stand::with(|s| s.env("MCP_MAX_CONCURRENT_REQUESTS", "1"));
    for call in 1..=5 {
        let posted = stand.call(result().close());
        assert_eq!(posted.resp_code(), 200, "call {call}");
        assert_eq!(stand.server.count("tools/call"), call);
    }
}

#[test] // forwarding-43, mcp-6
fn a_connection_that_ends_under_a_call_costs_the_call_and_not_a_second_one() {
    let stand = Stand::with(|s| s.env("MCP_MAX_CONCURRENT_REQUESTS", "1"));
    // The first call leaves a connection behind, the second finds it and its end.
    stand.call(result());
    let posted = stand.call(Answer::reset_at_once());
    assert_eq!(posted.resp_code(), 502);
    assert_eq!(posted.tunnel_failure()["source"], "transport_closed");
    assert_eq!(stand.server.count("tools/call"), 2);
    assert_eq!(stand.call(result()).resp_code(), 200);
}

#[test] // forwarding-15, forwarding-21, forwarding-204
fn an_answer_of_the_remote_client_is_acknowledged_and_goes_nowhere() {
    let stand = Stand::start();
    let answer = r#"{"jsonrpc":"2.0","id":"server-1","result":{"roots":[]}}"#;
    let posted = stand.answer(Command::jsonrpc("r1", answer));
    assert_eq!((posted.resp_type().as_str(), posted.resp_code()), ("notify_ack", 202));
    assert_eq!(stand.server.count("POST"), 0);
}

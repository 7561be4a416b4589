//! Answers that come as a stream of events.

use std::time::Duration;

use serde_json::json;

use super::support::{Answer, Command, Gate, eventually};
use super::{RESULT, Stand, call, expect_failure, modern_call, result};

const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1.0}}"#;

fn progress(step: u32) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"t","progress":{step}}}}}"#
    )
}

#[test] // forwarding-21, forwarding-22, forwarding-23, forwarding-41, mcp-5, mcp-28
fn notifications_are_posted_in_order_and_the_answer_last() {
    let stand = Stand::start();
    let answer = Answer::sse()
        .header("Mcp-Session-Id", "s1")
        .event(&progress(1))
        .event(NOTE)
        .event(&progress(2))
        .event(RESULT)
        .event(NOTE)
        .event(r#"{"jsonrpc":"2.0","id":1,"result":{"second":true}}"#);
    stand.server.on("tools/call", answer);
    stand.control_plane.push(call("r1"));
    let headers = json!({"Content-Type": ["text/event-stream"], "Mcp-Session-Id": ["s1"]});
    for expected in [&progress(1), NOTE, &progress(2), RESULT] {
        let posted = stand.control_plane.next_response();
        assert_eq!(posted.resp_json(), expected);
        let kind = if expected == RESULT { "jsonrpc_response" } else { "jsonrpc_notify" };
        assert_eq!((posted.resp_type().as_str(), posted.resp_code()), (kind, 200));
        assert_eq!(posted.request_id(), "r1");
        assert_eq!(posted.shard_token(), Some("shard-of-r1"));
        assert_eq!(posted.json()["resp_headers"], headers);
    }
    // What follows the answer is nobody's.
    assert_eq!(stand.call(result()).resp_json(), RESULT);
}

#[test] // forwarding-22, forwarding-227
fn a_notification_is_posted_before_the_stream_goes_on() {
    let stand = Stand::start();
    let gate = Gate::new();
    let answer = Answer::sse().event(&progress(1)).wait(&gate).event(RESULT);
    stand.server.on("tools/call", answer);
    stand.control_plane.push(call("r1"));
    assert_eq!(stand.control_plane.next_response().resp_json(), progress(1));
    gate.open();
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
}

#[test] // forwarding-38, mcp-35, mcp-36
fn a_stream_is_read_in_every_dialect() {
    let stand = Stand::start();
    let e_acute = r#"{"jsonrpc":"2.0","id":1,"result":{"e":"é"}}"#;
    let (head, tail) = e_acute.split_at(e_acute.find('é').unwrap());
    let (first, second) = (&tail.as_bytes()[..1], &tail.as_bytes()[1..]);
    let plain = |text: String| Answer::sse().body(text);
    for (answer, expected) in [
        (plain(format!("data: {RESULT}\n\n")), RESULT),
        (plain(format!("data:{RESULT}\r\n\r\n")), RESULT),
        (plain(format!("event: message\rdata: {RESULT}\r\r")), RESULT),
        (plain(format!("\u{feff}data: {RESULT}\n\n")), RESULT),
        (plain(format!(": ping\n\n:\nfoo: bar\nnonsense\ndata: {RESULT}  \n\n")), RESULT),
        (plain(format!("event: other\ndata: garbage\n\ndata: {RESULT}\n\n")), RESULT),
        (plain(format!("id: 1\nretry: 1\ndata:\n\ndata: {RESULT}\n\n")), RESULT),
        // The last event of a stream that ends without its blank line.
        (plain(format!("data: {RESULT}")), RESULT),
        (
            Answer::sse()
                .body(format!("data: {head}"))
                .body(first)
                .body([second, b"\n"].concat())
                .body("\n"),
            e_acute,
        ),
    ] {
        assert_eq!(stand.call(answer).resp_json(), expected);
    }
    let pretty =
        Answer::sse().body("data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{}}\n\n");
    let posted = stand.call(pretty);
    assert_eq!(posted.message(), serde_json::from_str::<serde_json::Value>(RESULT).unwrap());
}

#[test] // forwarding-21, forwarding-30, forwarding-32, forwarding-38, forwarding-41, forwarding-61,
// stdio-206
fn what_is_no_mcp_in_a_stream_fails_the_call() {
    let stand = Stand::start();
    for event in [
        "garbage",
        "[]",
        "{}",
        r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
        r#"{"jsonrpc":"2.0","id":2,"result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#,
    ] {
        let answer = Answer::sse().header("Mcp-Session-Id", "s1").event(NOTE).event(event);
        stand.server.on("tools/call", answer.event(RESULT));
        stand.control_plane.push(call("r1"));
        assert_eq!(stand.control_plane.next_response().resp_json(), NOTE);
        let posted = stand.control_plane.next_response();
        expect_failure(&posted, "protocol", "invalid_protocol_response", 502);
        assert_eq!(posted.json()["resp_headers"]["Content-Type"], json!(["text/event-stream"]));
        assert_eq!(posted.json()["resp_headers"]["Mcp-Session-Id"], json!(["s1"]));
    }
}

#[test] // forwarding-21, forwarding-39, forwarding-58, forwarding-222, mcp-37
fn a_stream_that_ends_without_the_answer_is_a_failure() {
    let stand = Stand::start();
    for (answer, kind) in [
        (Answer::sse(), "unexpected_eof"),
        (Answer::sse().event(NOTE), "unexpected_eof"),
        (Answer::sse().event(NOTE).close(), "unexpected_eof"),
        (Answer::sse().event(NOTE).reset(), "connection_reset"),
        (
            Answer::raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {NOTE}\n\n"
            ))
            .close(),
            "unexpected_eof",
        ),
    ] {
        stand.server.on("tools/call", answer);
        stand.control_plane.push(call("r1"));
        let mut posted = stand.control_plane.next_response();
        while posted.resp_type() == "jsonrpc_notify" {
            posted = stand.control_plane.next_response();
        }
        expect_failure(&posted, "transport_closed", kind, 502);
    }
    assert_eq!(stand.server.count("GET"), 0, "nothing to resume at");
    assert_eq!(stand.server.count("tools/call"), 5, "nothing was asked twice");
}

/// An event with an id, in a stream that asks to be taken up again at once.
fn marked(stream: Answer, id: &str, data: &str) -> Answer {
    stream.body(format!("id: {id}\nretry: 1\ndata: {data}\n\n"))
}

#[test] // forwarding-39, mcp-6, mcp-36, mcp-37
fn a_broken_stream_is_taken_up_at_the_last_event() {
    let stand = Stand::with(|settings| settings.env("MCP_EXTRA_HEADERS", "X-Site: s"));
    let first = marked(Answer::sse().header("Mcp-Session-Id", "s1"), "e1", "");
    stand.server.on("tools/call", marked(first, "e2", NOTE).close());
    stand.server.on("GET", Answer::sse().body("id: e3\ndata:\n\n").reset());
    let rest = Answer::sse().header("Mcp-Session-Id", "other");
    stand.server.on("GET", marked(rest, "e4", RESULT));
    let command = call("r1").header("Mcp-Session-Id", "s0").header("Authorization", "Bearer c");
    stand.control_plane.push(command.header("Accept", "application/json, text/event-stream"));
    assert_eq!(stand.control_plane.next_response().resp_json(), NOTE);
    let posted = stand.control_plane.next_response();
    assert_eq!((posted.resp_code(), posted.resp_json().as_str()), (200, RESULT));
    assert_eq!(posted.json()["resp_headers"]["Mcp-Session-Id"], json!(["s1"]));
    for last_id in ["e2", "e3"] {
        let get = stand.server.next("GET");
        assert_eq!(get.target, "/mcp");
        assert_eq!(get.header_values("Last-Event-ID"), [last_id]);
        assert_eq!(get.header_values("Mcp-Session-Id"), ["s0"]);
        assert_eq!(get.header_values("Authorization"), ["Bearer c"]);
        assert_eq!(get.header_values("X-Site"), ["s"]);
        assert_eq!(get.header_values("Accept"), ["text/event-stream"]);
        assert_eq!(get.header_values("Content-Type"), [""; 0]);
    }
    assert_eq!(stand.server.count("tools/call"), 1, "the call is not made again");
}

#[test] // forwarding-39
fn a_stream_that_brings_nothing_new_is_asked_for_five_times() {
    let stand = Stand::start();
    stand.server.on("tools/call", marked(Answer::sse(), "e1", NOTE).close());
    stand.server.always("GET", Answer::sse().close());
    stand.control_plane.push(call("r1"));
    assert_eq!(stand.control_plane.next_response().resp_json(), NOTE);
    let posted = stand.control_plane.next_response();
    expect_failure(&posted, "transport_closed", "unexpected_eof", 502);
    assert_eq!(stand.server.count("GET"), 5);
}

#[test] // forwarding-39
fn a_server_that_has_no_stream_to_take_up_ends_the_call() {
    let stand = Stand::start();
    for refusal in [Answer::status(405), Answer::status(404), Answer::status(503), result()] {
        stand.server.on("GET", refusal);
        let posted = stand.call(marked(Answer::sse(), "e1", "").close());
        expect_failure(&posted, "transport_closed", "unexpected_eof", 502);
    }
    assert_eq!(stand.server.count("GET"), 4);
}

#[test] // mcp-32, mcp-37
fn a_stateless_stream_that_breaks_is_lost() {
    let stand = Stand::start();
    stand.server.on("tools/call", marked(Answer::sse(), "e1", NOTE).close());
    stand.control_plane.push(modern_call("r1"));
    assert_eq!(stand.control_plane.next_response().resp_json(), NOTE);
    let posted = stand.control_plane.next_response();
    expect_failure(&posted, "transport_closed", "unexpected_eof", 502);
    assert_eq!(stand.server.count("GET") + stand.server.count("DELETE"), 0);
    assert_eq!(stand.server.count("tools/call"), 1);
}

#[test] // forwarding-21, forwarding-203, mcp-10, mcp-31
fn a_request_of_the_server_is_answered_and_the_call_goes_on() {
    let stand = Stand::start();
    let answer = Answer::sse()
        .event(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
        .event(r#"{"jsonrpc":"2.0","id":"é","method":"roots/list"}"#)
        .event(r#"{"jsonrpc":"2.0","id":3.0,"method":"sampling/createMessage","params":{}}"#)
        .event(RESULT);
    stand.server.on("tools/call", answer);
    let command = call("r1").header("Mcp-Session-Id", "s1").header("Authorization", "Bearer c");
    assert_eq!(stand.answer(command).resp_json(), RESULT);
    let ping = stand.server.next("POST");
    assert_eq!(ping.text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    for id in [r#""é""#, "3.0"] {
        let post = stand.server.next("POST");
        assert!(post.text().contains(&format!("\"id\":{id},")), "{}", post.text());
        assert_eq!(post.json()["error"]["code"], -32601);
        assert_eq!(post.header_values("Mcp-Session-Id"), ["s1"]);
        assert_eq!(post.header_values("Authorization"), ["Bearer c"]);
        assert_eq!(post.header_values("Content-Type"), ["application/json"]);
    }
}

#[test] // forwarding-203, mcp-10
fn a_server_that_does_not_take_the_answer_to_its_request_still_answers_the_call() {
    let stand = Stand::start();
    // Silence costs as long as such a courtesy may take.
    for refusal in [Answer::status(500), Answer::reset_at_once(), Answer::silence(&Gate::new())] {
        stand.server.on("POST", refusal);
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(stand.call(Answer::sse().event(ping).event(RESULT)).resp_json(), RESULT);
        stand.server.next("POST");
    }
}

#[test] // mcp-22, mcp-32
fn nothing_is_answered_to_a_stateless_server() {
    let stand = Stand::start();
    let answer = Answer::sse().event(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).event(RESULT);
    stand.server.on("tools/call", answer);
    assert_eq!(stand.answer(modern_call("r1")).resp_json(), RESULT);
    assert_eq!(stand.server.count("POST"), 0);
}

#[test] // forwarding-227
fn a_slow_control_plane_gets_the_latest_progress_and_every_other_notification() {
    let stand = Stand::start();
    // While the first notification is posted, the server says all the rest.
    let slow = Answer::status(200).pause(Duration::from_millis(1200)).body("{}");
    stand.control_plane.on_response(slow);
    let mut answer = Answer::sse().event(&progress(1));
    for step in 2..200 {
        answer = answer.event(&progress(step));
        if step == 100 {
            answer = answer.event(NOTE);
        }
    }
    stand.server.on("tools/call", answer.event(RESULT));
    stand.control_plane.push(call("r1"));
    let mut posted = Vec::new();
    while posted.last().is_none_or(|last| last != RESULT) {
        posted.push(stand.control_plane.next_response().resp_json());
    }
    assert_eq!(posted, [&progress(1), NOTE, &progress(199), RESULT]);
}

#[test] // forwarding-22
fn a_quick_control_plane_gets_every_step() {
    let stand = Stand::start();
    let steps: Vec<String> = (0..50).map(progress).collect();
    let answer = steps.iter().fold(Answer::sse(), |answer, step| answer.event(step));
    stand.server.on("tools/call", answer.event(RESULT));
    stand.control_plane.push(call("r1"));
    let posted: Vec<String> =
        steps.iter().map(|_| stand.control_plane.next_response().resp_json()).collect();
    assert_eq!(posted, steps);
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
}

#[test] // forwarding-21, forwarding-22
fn after_a_lost_notification_only_the_answer_is_posted() {
    let stand = Stand::start();
    stand.control_plane.on_response(Answer::json(400, r#"{"error":{"message":"no"}}"#));
    let gate = Gate::new();
    let answer = Answer::sse().event(NOTE).wait(&gate).event(&progress(1)).event(RESULT);
    stand.server.on("tools/call", answer);
    stand.control_plane.push(call("r1"));
    assert_eq!(stand.control_plane.next_response().resp_json(), NOTE);
    gate.open();
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
}

#[test] // forwarding-91, mcp-38
fn a_call_that_nobody_waits_for_any_more_is_stopped() {
    let stand = Stand::start();
    for (command, era) in
        [(call("r1").header("Mcp-Session-Id", "s1"), "legacy"), (modern_call("r1"), "modern")]
    {
        stand.control_plane.on_response(Answer::json(404, "{}"));
        let closed = Gate::new();
        stand.server.on("tools/call", Answer::sse().event(NOTE).until_peer_closes(&closed));
        stand.control_plane.push(command);
        assert_eq!(stand.control_plane.next_response().resp_json(), NOTE);
        closed.wait("the tunnel to close the stream");
        if era == "legacy" {
            let cancel = stand.server.next("notifications/cancelled");
            assert_eq!(cancel.json()["params"]["requestId"], 1);
            assert_eq!(cancel.header_values("Mcp-Session-Id"), ["s1"]);
        }
    }
    // No final answer, no second cancel: the next thing posted is another call's.
    assert_eq!(stand.call(result()).resp_json(), RESULT);
    assert_eq!(stand.server.count("notifications/cancelled"), 1);
    eventually("both to be counted", || {
        let metrics = stand.tunnel.page("/metrics").1;
        let counted = |line: &str| line.contains("reason=\"gone\"") && line.ends_with(" 2");
        metrics.lines().any(counted).then_some(())
    });
}

#[test] // forwarding-91, mcp-21
fn an_initialize_that_nobody_waits_for_any_more_is_not_cancelled() {
    let stand = Stand::with(|settings| settings.env("MCP_MAX_CONCURRENT_REQUESTS", "1"));
    stand.server.next("initialize");
    stand.control_plane.on_response(Answer::json(404, "{}"));
    let closed = Gate::new();
    stand.server.on("initialize", Answer::sse().event(NOTE).until_peer_closes(&closed));
    stand.control_plane.push(Command::call("r1", "1", "initialize", "{}"));
    assert_eq!(stand.control_plane.next_response().resp_json(), NOTE);
    closed.wait("the tunnel to close the stream");
    // The one worker is through with it when it takes the next call.
    assert_eq!(stand.call(result()).resp_json(), RESULT);
    assert_eq!(stand.server.count("notifications/cancelled"), 0);
}

#[test] // forwarding-39, forwarding-95, stdio-202
fn a_cancel_ends_a_wait_to_resume_a_stream() {
    let stand = Stand::start();
    let answer = Answer::sse().body("id: 1\nretry: 3600000\ndata:\n\n").close();
    stand.server.on("tools/call", answer);
    stand.control_plane.push(call("r1").header("Mcp-Session-Id", "s1"));
    stand.server.next("tools/call");
    stand.control_plane.push(super::cancel("c1", "1").header("Mcp-Session-Id", "s1"));
    assert_eq!(stand.control_plane.next_response_for("c1").resp_code(), 202);
    let posted = stand.control_plane.next_response_for("r1");
    assert_eq!((posted.resp_code(), &posted.message()["error"]["code"]), (200, &json!(-32603)));
    assert_eq!(stand.server.count("GET"), 0);
}

//! The named bounds of the private hop, each hit. Those of the queue are in `order`, those of
//! redirects in `headers`, those of resumption in `streams`, those in time in `deadlines`.

use super::support::{Answer, Child, Command, ControlPlane, Tunnel};
use super::{Stand, call, expect_failure, result};

/// `MESSAGE_MAX` of `mcp`.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// `ERROR_BODY_MAX` of `mcp::http`.
const ERROR_BODY_MAX: usize = 102_400;

/// A successful answer to request 1 of this many bytes.
fn result_of(bytes: usize) -> Vec<u8> {
    let (head, tail) = (br#"{"jsonrpc":"2.0","id":1,"result":""#, br#""}"#);
    let filling = vec![b'x'; bytes - head.len() - tail.len()];
    [head.as_slice(), &filling, tail].concat()
}

#[test] // forwarding-35
fn of_an_error_body_so_much_is_read_and_no_more() {
    let stand = Stand::start();
    let error = |bytes: usize| {
        let (head, tail) = (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""#, r#""}}"#);
        format!("{head}{}{tail}", "m".repeat(bytes - head.len() - tail.len()))
    };
    let fits = error(ERROR_BODY_MAX);
    assert_eq!(stand.call(Answer::json(500, fits.clone())).resp_json(), fits);
    let over = error(ERROR_BODY_MAX + 1);
    let posted = stand.call(Answer::json(500, over.clone()));
    expect_failure(&posted, "target_http", "response_body_too_large", 500);
    let posted = stand.call(Answer::json(500, over).chunked());
    expect_failure(&posted, "target_http", "response_body_too_large", 500);
}

#[test] // forwarding-219, mcp-12
fn a_large_answer_passes_both_as_a_body_and_as_an_event() {
    let stand = Stand::start();
    let large = result_of(16 * 1024 * 1024);
    let posted = stand.call(Answer::json(200, large.clone()));
    assert!(posted.resp_json().as_bytes() == large);
    let event = [b"data: ", large.as_slice(), b"\n\n"].concat();
    let posted = stand.call(Answer::sse().body(event));
    assert!(posted.resp_json().as_bytes() == large);
}

#[test] // forwarding-219, mcp-12
fn an_answer_over_the_limit_is_a_failure_and_the_next_call_is_served() {
    let stand = Stand::start();
    // Refused for the length that it declares.
    let declared = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{{",
        MESSAGE_MAX + 1
    );
    let posted = stand.call(Answer::raw(declared));
    expect_failure(&posted, "protocol", "response_body_too_large", 502);
    // Refused when it does not end.
    let endless = [b"data: ", vec![b'x'; MESSAGE_MAX].as_slice()].concat();
    let posted = stand.call(Answer::sse().body(endless));
    expect_failure(&posted, "protocol", "response_body_too_large", 502);
    assert_eq!(stand.call(result()).resp_code(), 200);
}

#[test] // forwarding-219
fn a_line_over_the_limit_of_a_child_fails_its_call_and_nothing_else() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let _tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let mut running = child.next_start();
    control_plane.push(call("r1"));
    let line = crate::support::calls::next_of(&mut running, "tools/call");
    let id = line.id.unwrap();
    let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"");
    running.write(&[head.as_bytes(), &vec![b'x'; MESSAGE_MAX], b"\"}\n"].concat());
    let posted = control_plane.next_response();
    expect_failure(&posted, "protocol", "response_body_too_large", 502);
    control_plane.push(Command::call("r2", "2", "tools/list", "{}"));
    let line = crate::support::calls::next_of(&mut running, "tools/list");
    running.reply(&line, "{}");
    assert_eq!(control_plane.next_response().resp_code(), 200);
}

#[test] // forwarding-227
fn notifications_beyond_the_backlog_wait_in_the_stream_and_none_is_lost() {
    let stand = Stand::start();
    // More than 256 of them, and more than 1 MiB.
    let note = |n: usize| {
        let filling = "x".repeat(4096);
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":[{n},"{filling}"]}}"#
        )
    };
    let answer = (0..600).fold(Answer::sse(), |answer, n| answer.event(&note(n)));
    stand.server.on("tools/call", answer.event(super::RESULT));
    stand.control_plane.push(call("r1"));
    for n in 0..600 {
        assert_eq!(stand.control_plane.next_response().resp_json(), note(n));
    }
    assert_eq!(stand.control_plane.next_response().resp_json(), super::RESULT);
}

#[test] // forwarding-19, forwarding-219
fn a_head_of_an_answer_over_the_limit_is_a_failure() {
    let stand = Stand::start();
    let answer = result().header("X-Long", &"x".repeat(70 * 1024));
    let posted = stand.call(answer);
    expect_failure(&posted, "protocol", "invalid_protocol_response", 502);
}

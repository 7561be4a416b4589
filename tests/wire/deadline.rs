//! `response_timeout`: what it may be, and that nothing outlives it (wire-55 to wire-58).

use std::time::Duration;

use crate::support::{Answer, BlackHole, Command, ControlPlane, Gate, McpServer, Tunnel, between};
use crate::{RESULT, call};

/// Shows that nothing was posted so far, and that the daemon goes on.
fn nothing_posted(control_plane: &ControlPlane) {
    control_plane.push(Command::call("proof", "9", "tools/list", "{}"));
    assert_eq!(control_plane.next_response().request_id(), "proof");
    assert_eq!(control_plane.responses_waiting(), 0);
}

fn unanswered(tunnel: &Tunnel, reason: &str) {
    let name = format!(r#"mcp_tunnel_commands_unanswered_total{{reason="{reason}"}}"#);
    tunnel.wait_metric(&name, 1.0);
}

#[test] // wire-55, wire-57, wire-58
fn a_timeout_of_zero_drops_a_command_and_what_is_no_timeout_sets_no_deadline() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    let zero = ["0s", "0h", "0ns", "0us", "0ms", "0m", "000s"].map(|t| format!("\"{t}\""));
    let kept = [
        "30s",
        "4500ms",
        "007s",
        "1h",
        "1m",
        "60000000us",
        "9223372036854775807ns",
        "9223372036s",
        "2562047h",
        "9223372036854775808ns",
        "9223372037s",
        "2562048h",
        "4.5s",
        "1m30s",
        "-1s",
        "-0s",
        "+1s",
        "0",
        "1e3s",
        "1d",
        "1µs",
        "1S",
        " 1s",
        "1s ",
        "",
        "s",
        "0.0s",
        "٠s",
        "18446744073709551616h",
    ];
    let mut kept: Vec<String> = kept.map(|t| format!("\"{t}\"")).to_vec();
    kept.extend(
        ["30", "0", "true", "{}", "[]", "null", r#""1s\n""#, r#""0s\u0000""#].map(String::from),
    );
    let commands = zero
        .iter()
        .map(|timeout| ("zero", timeout))
        .chain(kept.iter().map(|timeout| ("kept", timeout)))
        .enumerate()
        .map(|(n, (id, timeout))| call(&format!("{id}-{n}")).member("response_timeout", timeout));
    control_plane.push_batch(commands);
    for n in 0..kept.len() {
        control_plane.next_response_for(&format!("kept-{}", n + zero.len()));
    }
    let dropped = r#"mcp_tunnel_commands_unanswered_total{reason="deadline_queued"}"#;
    tunnel.wait_metric(dropped, zero.len() as f64);
    assert_eq!(server.count("tools/call"), kept.len());
    assert_eq!(control_plane.responses_waiting(), 0);
    tunnel.program.stderr_line("the drop", |line| {
        line.contains("INFO")
            && line.contains("dropping command whose response deadline has passed")
    });
}

#[test] // wire-56
fn the_date_of_a_command_has_no_part_in_its_deadline() {
    let (control_plane, _server, _tunnel) = between();
    control_plane.push_batch([
        call("old").member("created_at", "\"2001-01-01T00:00:00Z\"").response_timeout("60s"),
        call("new").member("created_at", "\"2999-01-01T00:00:00Z\"").response_timeout("60s"),
    ]);
    for id in ["old", "new"] {
        assert_eq!(control_plane.next_response_for(id).resp_code(), 200);
    }
}

#[test] // wire-57
fn a_command_that_expires_in_the_queue_reaches_neither_the_server_nor_the_control_plane() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .start();
    let slow = Answer::status(200).header("Content-Type", "application/json");
    server.on("tools/call", slow.pause(Duration::from_millis(400)).body(RESULT));
    control_plane.push_batch([call("slow"), call("late").response_timeout("200ms")]);
    assert_eq!(control_plane.next_response().request_id(), "slow");
    unanswered(&tunnel, "deadline_queued");
    nothing_posted(&control_plane);
    assert_eq!(server.count("tools/call"), 1);
}

#[test] // wire-57
fn a_deadline_ends_a_connection_to_the_server_that_does_not_come_about() {
    let (control_plane, server, hole) =
        (ControlPlane::start(), McpServer::start(), BlackHole::new());
    let servers = format!("{}\nchannel=hole,url={}", server.url(), hole.url());
    let tunnel = Tunnel::to(&control_plane.url()).http(&servers).start();
    control_plane.push(call("r1").channel("hole").response_timeout("200ms"));
    unanswered(&tunnel, "deadline_server");
    nothing_posted(&control_plane);
}

#[test] // wire-57
fn a_deadline_ends_the_wait_for_the_first_byte_and_drops_the_connection() {
    let (control_plane, server, tunnel) = between();
    let gone = Gate::new();
    server.on("tools/call", Answer::silence(&gone));
    control_plane.push(call("r1").response_timeout("200ms"));
    gone.wait("the connection to be dropped");
    unanswered(&tunnel, "deadline_server");
    nothing_posted(&control_plane);
}

#[test] // wire-57
fn a_deadline_ends_an_answer_that_is_slow_with_its_body() {
    let (control_plane, server, tunnel) = between();
    let gone = Gate::new();
    let body = Answer::json(200, r#"{"jsonrpc":"2.0","#);
    server.on("tools/call", body.chunked().until_peer_closes(&gone));
    control_plane.push(call("r1").response_timeout("200ms"));
    gone.wait("the connection to be dropped");
    unanswered(&tunnel, "deadline_server");
    nothing_posted(&control_plane);
}

#[test] // wire-57
fn progress_does_not_put_off_a_deadline() {
    let (control_plane, server, tunnel) = between();
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
    let mut stream = Answer::sse();
    for _ in 0..100 {
        stream = stream.event(progress).pause(Duration::from_millis(50));
    }
    server.on("tools/call", stream);
    control_plane.push(call("r1").response_timeout("300ms"));
    unanswered(&tunnel, "deadline_server");
    let mut seen = 0;
    control_plane.push(Command::call("proof", "9", "tools/list", "{}"));
    loop {
        let answer = control_plane.next_response();
        if answer.request_id() == "proof" {
            break;
        }
        assert_eq!(answer.resp_type(), "jsonrpc_notify");
        seen += 1;
    }
    assert!((1..100).contains(&seen), "{seen} notifications before the deadline");
}

#[test] // wire-57, wire-68
fn a_deadline_ends_a_response_post_and_no_other_one_follows() {
    let (control_plane, server, tunnel) = between();
    let gone = Gate::new();
    control_plane.on_response(Answer::silence(&gone));
    control_plane.push(call("r1").response_timeout("300ms"));
    assert_eq!(control_plane.next_response().request_id(), "r1");
    gone.wait("the post to be given up");
    unanswered(&tunnel, "deadline_post");
    nothing_posted(&control_plane);
    assert_eq!(server.count("tools/call"), 1);
}

#[test] // wire-57, wire-72
fn a_deadline_ends_the_wait_for_another_attempt() {
    let (control_plane, _server, tunnel) = between();
    control_plane.on_response(Answer::status(503).header("Retry-After", "60"));
    control_plane.push(call("r1").response_timeout("2s"));
    assert_eq!(control_plane.next_response().request_id(), "r1");
    unanswered(&tunnel, "deadline_post");
    nothing_posted(&control_plane);
}

#[test] // wire-57
fn an_answer_of_the_server_that_comes_too_late_is_not_posted() {
    let (control_plane, server, tunnel) = between();
    let slow = Answer::status(200).header("Content-Type", "application/json");
    server.on("tools/call", slow.pause(Duration::from_millis(300)).body(RESULT));
    control_plane.push(call("r1").response_timeout("150ms"));
    unanswered(&tunnel, "deadline_server");
    server.next("tools/call");
    // The server is told that nobody waits any more.
    server.next("notifications/cancelled");
    nothing_posted(&control_plane);
}

#[test] // wire-64
fn a_control_plane_that_is_slow_with_the_body_of_its_ok_holds_nobody_up() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let _tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .start();
    control_plane.on_response(Answer::json(200, "{").chunked().wait(&Gate::new()));
    control_plane.push_batch([call("r1"), call("r2").response_timeout("5s")]);
    for id in ["r1", "r2"] {
        assert_eq!(control_plane.next_response().request_id(), id);
    }
}

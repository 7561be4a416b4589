//! The end of the process: what is given up, and what is still brought to its end (wire-72,
//! wire-88, wire-89).

use crate::support::{
    Answer, BlackHole, ControlPlane, Gate, McpServer, Signal, Tunnel, between, eventually,
};
use crate::{call, held};

#[test] // wire-88, wire-89
fn a_stop_ends_the_held_poll_at_once_and_says_no_goodbye() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let gone = Gate::new();
    control_plane.on_poll(Answer::silence(&gone));
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    control_plane.next_poll();
    control_plane.next_other();
    tunnel.stop();
    gone.wait("the poll's connection to end");
    assert_eq!(control_plane.polls_waiting() + control_plane.responses_waiting(), 0);
}

#[test] // wire-88
fn commands_in_hand_are_finished_and_answered() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let mut tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .env("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "2")
        .start();
    let gate = Gate::new();
    server.on("tools/call", held(&gate));
    // One with a worker, two that wait, and two that do not even fit.
    control_plane.push_batch(["r1", "r2", "r3", "r4", "r5"].map(call));
    server.next("tools/call");
    tunnel.wait_metric("commands_queue_length", 2.0);
    tunnel.program.signal(Signal::TERM);
    tunnel.program.stderr_line("the stop", |line| line.contains("stopping"));
    gate.open();
    for id in ["r1", "r2", "r3", "r4", "r5"] {
        assert_eq!(control_plane.next_response_for(id).resp_code(), 200);
    }
    assert_eq!(tunnel.program.exit_code(), 0);
}

#[test] // wire-88
fn commands_that_are_on_their_way_when_the_stop_comes_are_not_lost() {
    let command = format!(r#"{{"commands":[{}]}}"#, call("r1").text());
    let (begun, rest) = command.split_at(20);
    let ended = [Gate::new(), Gate::new()];
    for answer in [
        Answer::json(200, "").once_peer_ends(&ended[0]).body(command.as_str()),
        Answer::json(200, begun).once_peer_ends(&ended[1]).body(rest),
    ] {
        let (control_plane, server) = (ControlPlane::start(), McpServer::start());
        control_plane.on_poll(answer);
        let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
        control_plane.next_poll();
        tunnel.stop();
        assert_eq!(control_plane.next_response().request_id(), "r1");
        assert_eq!(server.count("tools/call"), 1);
        assert_eq!(control_plane.polls_waiting(), 0);
    }
}

#[test] // wire-88
fn a_stop_ends_the_metadata_request() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let gone = Gate::new();
    control_plane.on_metadata(Answer::silence(&gone));
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    control_plane.next_other();
    tunnel.stop();
    gone.wait("the metadata request to end");
}

#[test] // wire-72, wire-88
fn a_stop_ends_the_wait_for_another_poll() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    // Longer than the patience of this test.
    control_plane.every_poll(Some(Answer::status(503).header("Retry-After", "60")));
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    tunnel.program.stderr_line("the wait", |line| line.contains("retry_in_ms=60000"));
    tunnel.stop();
    control_plane.next_poll();
    assert_eq!(control_plane.polls_waiting(), 0);
}

#[test] // wire-72, wire-88
fn a_stop_ends_the_wait_for_room() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let mut tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .env("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "1")
        .start();
    let gate = Gate::new();
    server.on("tools/call", held(&gate));
    control_plane.push_batch(["r1", "r2"].map(call));
    server.next("tools/call");
    tunnel.wait_metric("commands_queue_length", 1.0);
    tunnel.program.signal(Signal::TERM);
    tunnel.program.stderr_line("the stop", |line| line.contains("stopping"));
    gate.open();
    assert_eq!(tunnel.program.exit_code(), 0);
    control_plane.next_poll();
    assert_eq!(control_plane.polls_waiting(), 0);
}

#[test] // wire-88
fn a_stop_ends_a_connection_that_does_not_come_about() {
    let server = McpServer::start();
    let hole = BlackHole::new();
    let tunnel = Tunnel::to(&hole.url()).http(&server.url()).start();
    server.next("initialize");
    tunnel.stop();
}

#[test] // wire-72, wire-88
fn an_answer_that_is_tried_again_is_delivered_after_the_stop() {
    let (control_plane, _server, mut tunnel) = between();
    control_plane.on_response(Answer::status(503).header("Retry-After", "1"));
    control_plane.push(call("r1"));
    tunnel.program.stderr_line("the wait", |line| line.contains("trying again"));
    tunnel.program.signal(Signal::TERM);
    assert_eq!(tunnel.program.exit_code(), 0);
    for _ in 0..2 {
        assert_eq!(control_plane.next_response().request_id(), "r1");
    }
}

#[test] // wire-72, wire-88
fn an_answer_that_can_not_be_delivered_does_not_outlast_the_grace_period() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    control_plane.on_response(Answer::status(503).header("Retry-After", "60"));
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_TUNNEL_SHUTDOWN_GRACE", "100ms")
        .start();
    control_plane.push(call("r1").response_timeout("1h"));
    tunnel.program.stderr_line("the wait", |line| line.contains("trying again"));
    tunnel.stop();
    control_plane.next_response();
    assert_eq!(control_plane.responses_waiting(), 0);
}

#[test] // wire-72, wire-88
fn an_answer_for_a_control_plane_that_is_away_is_kept_for_the_grace_period() {
    for comes_back in [true, false] {
        let (control_plane, server) = (ControlPlane::start(), McpServer::start());
        let mut tunnel = Tunnel::to(&control_plane.url())
            .http(&server.url())
            .env("MCP_TUNNEL_SHUTDOWN_GRACE", if comes_back { "60s" } else { "100ms" })
            .start();
        let called = Gate::new();
        server.on("tools/call", held(&called));
        control_plane.push(call("r1").response_timeout("1h"));
        server.next("tools/call");
        control_plane.server().refuse();
        called.open();
        tunnel.wait_metric("mcp_tunnel_response_retries_total", 3.0);
        tunnel.program.signal(Signal::TERM);
        tunnel.program.stderr_line("the stop", |line| line.contains("stopping"));
        if comes_back {
            control_plane.server().accept();
            assert_eq!(control_plane.next_response().request_id(), "r1");
        } else {
            tunnel.program.stderr_line("the loss", |line| {
                line.contains("WARN") && line.contains("no answer was posted before the end")
            });
        }
        assert_eq!(tunnel.program.exit_code(), 0);
    }
}

#[test] // wire-89
fn a_daemon_asks_for_nothing_but_metadata_polls_and_responses() {
    let (control_plane, _server, mut tunnel) = between();
    control_plane.push(call("r1"));
    control_plane.next_response();
    control_plane.next_other();
    tunnel.program.kill();
    eventually("its connections to end", || {
        (control_plane.server().connections() == 0).then_some(())
    });
    assert_eq!(control_plane.others_waiting(), 0);
}

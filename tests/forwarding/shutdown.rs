//! The way down: nothing that was taken is dropped without an answer.

use super::support::{Answer, Child, Command, ControlPlane, Gate, McpServer, Signal, Tunnel};
use super::{RESULT, Stand, call, expect_failure, notification, result};
use crate::support::calls::next_of;

/// One worker, so that commands wait; and a grace period.
fn with_grace(grace: &str) -> Stand {
    Stand::with(|settings| {
        let settings = settings.env("MCP_MAX_CONCURRENT_REQUESTS", "1");
        settings.env("MCP_TUNNEL_SHUTDOWN_GRACE", grace)
    })
}

fn json() -> Answer {
    Answer::status(200).header("Content-Type", "application/json")
}

/// Waits until the lanes hold all that was handed out.
fn taken(stand: &Stand, calls: &str) {
    let line = format!("commands_enqueued_total {calls}");
    super::support::eventually("the commands to be taken", || {
        stand.tunnel.page("/metrics").1.contains(&line).then_some(())
    });
}

#[test] // forwarding-7, forwarding-95, forwarding-216, operations-206, cli-11
fn what_waits_and_what_runs_is_finished_and_posted_within_the_grace() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut stand = with_grace("5m");
        let gate = Gate::new();
        stand.server.on("tools/call", json().wait(&gate).body(RESULT));
        stand.control_plane.push(call("runs"));
        stand.server.next("tools/call");
        stand.control_plane.push_batch([call("waits"), call("waits-too")]);
        stand.control_plane.push(notification("note", "notifications/message"));
        assert_eq!(stand.control_plane.next_response().request_id(), "note");
        stand.tunnel.program.signal(signal);
        stand.tunnel.wait_not_ready(|reason| reason.contains("draining"));
        gate.open();
        for id in ["runs", "waits", "waits-too"] {
            assert_eq!(stand.control_plane.next_response_for(id).resp_json(), RESULT);
        }
        assert_eq!(stand.tunnel.program.exit_code(), 0);
        assert_eq!(stand.control_plane.commands_waiting(), 0);
    }
}

#[test] // forwarding-7, forwarding-216, forwarding-58
fn what_is_past_the_grace_is_answered_with_a_failure() {
    let mut stand = with_grace("200ms");
    let gone = Gate::new();
    stand.server.on("tools/call", Answer::silence(&gone));
    stand.control_plane.push(call("runs"));
    stand.server.next("tools/call");
    stand
        .control_plane
        .push_batch([call("waits"), Command::call("initialize", "1", "initialize", "{}")]);
    taken(&stand, "3");
    let probes = stand.server.count("initialize");
    stand.tunnel.program.signal(Signal::TERM);
    for id in ["runs", "waits", "initialize"] {
        let posted = stand.control_plane.next_response_for(id);
        expect_failure(&posted, "client_internal", "connection_closed", 502);
    }
    assert_eq!(stand.tunnel.program.exit_code(), 0);
    gone.wait("the connection to be closed");
    assert_eq!(stand.server.count("tools/call"), 1, "what waited never reached the server");
    assert_eq!(stand.server.count("initialize"), probes);
}

#[test] // forwarding-95, forwarding-216
fn a_wait_to_resume_a_stream_and_a_gate_are_given_up_too() {
    let mut stand = Stand::with(|s| s.env("MCP_TUNNEL_SHUTDOWN_GRACE", "200ms"));
    let broken = Answer::sse().body("id: 1\nretry: 3600000\ndata:\n\n").close();
    stand.server.on("tools/call", broken);
    let never = Gate::new();
    let method = "notifications/initialized";
    stand.server.on(method, Answer::silence(&never));
    stand.control_plane.push_batch([
        call("resumes"),
        notification("note", method).header("Mcp-Session-Id", "s1"),
        call("gated").header("Mcp-Session-Id", "s1"),
    ]);
    stand.server.next("tools/call");
    stand.server.next(method);
    stand.tunnel.program.signal(Signal::TERM);
    for id in ["resumes", "note", "gated"] {
        assert_eq!(stand.control_plane.next_response_for(id).resp_code(), 502);
    }
    assert_eq!(stand.tunnel.program.exit_code(), 0);
    assert_eq!(stand.server.count("tools/call"), 1);
}

#[test] // forwarding-216
fn a_command_without_time_left_is_not_answered_on_the_way_down_either() {
    let mut stand = with_grace("5m");
    let gate = Gate::new();
    stand.server.on("tools/call", json().wait(&gate).body(RESULT));
    stand.control_plane.push(call("runs"));
    stand.server.next("tools/call");
    stand.control_plane.push(call("expires").response_timeout("1ms"));
    taken(&stand, "2");
    stand.tunnel.program.signal(Signal::TERM);
    stand.tunnel.wait_not_ready(|reason| reason.contains("draining"));
    gate.open();
    assert_eq!(stand.control_plane.next_response().request_id(), "runs");
    assert_eq!(stand.tunnel.program.exit_code(), 0);
    assert_eq!(stand.control_plane.responses_waiting(), 0);
}

#[test] // forwarding-216, operations-206
fn a_second_signal_ends_it_at_once() {
    let mut stand = with_grace("5m");
    let gone = Gate::new();
    stand.server.on("tools/call", Answer::silence(&gone));
    stand.control_plane.push(call("runs"));
    stand.server.next("tools/call");
    stand.tunnel.program.signal(Signal::TERM);
    stand.tunnel.wait_not_ready(|reason| reason.contains("draining"));
    stand.tunnel.program.signal(Signal::TERM);
    assert_eq!(stand.tunnel.program.exit_code(), 128 + 15);
    gone.wait("the connection to be closed");
    assert_eq!(stand.control_plane.responses_waiting(), 0);
}

#[test] // stdio-70, forwarding-216, stdio-217, mcp-24
fn the_child_is_ended_only_when_its_calls_are_answered() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let mut tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let mut running = child.next_start();
    control_plane.push(call("r1"));
    let line = next_of(&mut running, "tools/call");
    tunnel.program.signal(Signal::TERM);
    tunnel.wait_not_ready(|reason| reason.contains("draining"));
    running.reply(&line, "{}");
    assert_eq!(control_plane.next_response().resp_json(), RESULT);
    assert!(running.lines_to_end().is_empty(), "its input is closed, and nothing is said before");
    assert_eq!(tunnel.program.exit_code(), 0);
    running.wait_gone();
}

#[test] // forwarding-10, forwarding-95, forwarding-216
fn an_idle_daemon_ends_at_once() {
    let control_plane = ControlPlane::start();
    let server = McpServer::start();
    let mut tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    control_plane.next_poll();
    tunnel.program.signal(Signal::TERM);
    assert_eq!(tunnel.program.exit_code(), 0);
    server.on("tools/call", result());
    control_plane.push(call("late"));
    assert_eq!(control_plane.commands_waiting(), 1, "nothing is taken any more");
}

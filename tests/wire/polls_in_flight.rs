//! Several polls in flight (wire-46): `control_plane.polls_in_flight`.

use std::collections::HashSet;

use crate::support::process::Signal;
use crate::support::stack::Settings;
use crate::support::{Command, ControlPlane, McpServer, Tunnel};

fn tunnel(control_plane: &ControlPlane, server: &McpServer) -> Settings {
    Tunnel::to(&control_plane.url()).http(&server.url())
}

#[test] // wire-38
fn one_poll_is_in_flight_unless_the_setting_says_otherwise() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let _tunnel = tunnel(&control_plane, &server).start_ready();
    // Ready means that the first poll has been held for a while.
    assert_eq!(control_plane.polls_waiting(), 1);
}

#[test] // wire-39, wire-46
fn two_polls_wait_at_once_and_ask_together_for_no_more_than_fits() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let settings = tunnel(&control_plane, &server).env("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "5");
    let _tunnel = settings.env("MCP_TUNNEL_POLLS_IN_FLIGHT", "2").start();
    let (first, second) = (control_plane.next_poll(), control_plane.next_poll());
    assert_ne!(first.connection, second.connection);
    let limit = |poll: &crate::support::Request| poll.query("limit")[0].parse::<usize>().unwrap();
    // Which thread is the first to ask is open.
    let limits = [limit(&first), limit(&second)];
    assert!(limits == [3, 2] || limits == [2, 3], "{limits:?}");
    let id = "X-Tunnel-Client-Instance-Id";
    assert_eq!(first.header(id), second.header(id));
}

#[test] // wire-46
fn every_command_is_answered_once_whichever_poll_brought_it() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let settings = tunnel(&control_plane, &server).arg("--control-plane.polls-in-flight=4");
    let mut tunnel = settings.start();
    for number in 0..60 {
        let id = format!("r{number}");
        control_plane.push(Command::call(&id, &number.to_string(), "tools/list", "{}"));
    }
    let answered: HashSet<String> =
        (0..60).map(|_| control_plane.next_response().request_id()).collect();
    assert_eq!(answered.len(), 60);
    tunnel.program.signal(Signal::TERM);
    assert_eq!(tunnel.program.exit_code(), 0);
    assert_eq!(control_plane.responses_waiting(), 0);
    assert_eq!(server.count("tools/list"), 60);
}

//! Mistakes that an operator makes, through the real binary: each gives one clear line and the
//! right exit code or state.

mod support;

use std::net::TcpListener;

use support::stack::Settings;
use support::{Answer, Child, Command, ControlPlane, McpServer, Scratch, Tunnel};

/// Where nobody listens: a port that was free a moment ago.
fn dead_url() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("http://127.0.0.1:{port}")
}

/// Settings that are right but for what a test adds.
fn settings() -> Settings {
    Tunnel::to(&dead_url()).http(&dead_url())
}

/// The one line that the program refuses its settings with, which must name each of `parts`.
fn refused(settings: Settings, parts: &[&str]) {
    let mut program = settings.spawn();
    assert_eq!(program.exit_code(), 1);
    assert_eq!(program.stdout(), "");
    let said = program.stderr();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    assert!(said.starts_with("mcp-tunnel: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in: {said}");
    }
}

#[test]
fn a_missing_key_is_named_with_its_setting() {
    refused(settings().without_env("CONTROL_PLANE_API_KEY"), &["CONTROL_PLANE_API_KEY"]);
}

#[test]
fn a_missing_tunnel_id_is_named_with_its_setting() {
    refused(settings().without_env("CONTROL_PLANE_TUNNEL_ID"), &["CONTROL_PLANE_TUNNEL_ID"]);
}

#[test] // W-1
fn a_malformed_tunnel_id_is_named_with_what_would_be_right() {
    let settings = settings().env("CONTROL_PLANE_TUNNEL_ID", "tunnel_ABC");
    refused(settings, &["CONTROL_PLANE_TUNNEL_ID", "tunnel_", "32"]);
}

#[test] // W-2
fn a_malformed_key_is_named_but_not_shown() {
    let mut program = settings().env("CONTROL_PLANE_API_KEY", "hush hush").spawn();
    assert_eq!(program.exit_code(), 1);
    let said = program.stderr();
    assert!(said.contains("CONTROL_PLANE_API_KEY") && !said.contains("hush"), "{said}");
}

#[test]
fn a_missing_mcp_server_is_named_with_its_settings() {
    refused(settings().without_env("MCP_SERVER_URL"), &["MCP_COMMAND", "MCP_SERVER_URL"]);
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    refused(settings().arg("-c").arg("/no/such/mcp-tunnel.conf"), &["/no/such/mcp-tunnel.conf"]);
    let scratch = Scratch::new();
    let directory = scratch.path("").to_str().unwrap().to_owned();
    refused(settings().arg("-c").arg(&directory), &[&directory]);
}

#[test]
fn a_health_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(settings().env("HEALTH_LISTEN_ADDR", &address), &[&address, "in use"]);
}

#[test] // F-66
fn a_command_that_is_written_for_a_shell_is_told_that_there_is_none() {
    refused(
        settings().without_env("MCP_SERVER_URL").stdio("cd /tmp && exec my-server"),
        &["`cd`", "without a shell", "sh -c"],
    );
}

#[test] // F-66
fn a_command_that_is_not_there_is_named() {
    refused(
        settings().without_env("MCP_SERVER_URL").stdio("/no/such/server --stdio"),
        &["/no/such/server"],
    );
}

#[test]
fn an_unreachable_control_plane_is_tried_until_it_is_there() {
    let url = dead_url();
    let server = McpServer::start();
    let tunnel = Tunnel::to(&url).http(&server.url()).start();
    let reason = tunnel.wait_not_ready(|reason| reason.contains("connect"));
    assert_eq!(reason.lines().count(), 1, "{reason}");
    let _control_plane = ControlPlane::start_on(url.rsplit(':').next().unwrap().parse().unwrap());
    tunnel.wait_ready();
}

#[test] // W-73, D-9
fn a_refused_key_is_told_with_the_permission_it_lacks_and_knocks_ever_more_slowly() {
    for (status, code) in [(401, "tunnel_use_forbidden"), (403, "tunnel_use_forbidden")] {
        let control_plane = ControlPlane::start();
        let body = format!(
            r#"{{"error":{{"message":"refused","type":"authentication_error","param":null,"code":"{code}"}}}}"#
        );
        control_plane.every_poll(Some(Answer::json(status, body)));
        let server = McpServer::start();
        let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
        let reason = tunnel.wait_not_ready(|reason| reason.contains(&status.to_string()));
        assert!(reason.contains("Use permission"), "{reason}");
        let line = tunnel.program.stderr_line("the refusal", |line| line.contains("poll failed"));
        assert!(line.contains("Use permission"), "{line}");
        assert!(line.contains("retry_in_ms=10000"), "{line}");
    }
}

#[test] // B-28
fn an_mcp_server_that_is_down_at_the_start_is_awaited() {
    let control_plane = ControlPlane::start();
    let url = dead_url();
    let tunnel = Tunnel::to(&control_plane.url()).http(&format!("{url}/mcp")).start();
    tunnel.wait_not_ready(|reason| reason.contains("connect"));
    let _server = McpServer::start_on(url.rsplit(':').next().unwrap().parse().unwrap());
    tunnel.wait_ready();
    control_plane.push(Command::call("r1", "1", "tools/list", "{}"));
    assert_eq!(control_plane.next_response().resp_code(), 200);
}

#[test] // M-15
fn a_child_that_prints_a_banner_is_told_of_and_served() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let mut running = child.next_start();
    running.write(b"Welcome to the server!\n{\"not\": \"a message\"}\n\xff\xfe\n\n");
    let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;
    control_plane.push(Command::call("r0", "0", "initialize", params));
    running.handshake();
    assert_eq!(control_plane.next_response().resp_code(), 200);
    tunnel.wait_ready();
    tunnel.program.stderr_line("the banner", |line| line.contains("Welcome to the server!"));
    control_plane.push(Command::call("r1", "1", "tools/call", r#"{"name":"x"}"#));
    let call = running.expect("tools/call");
    running.write(b"oops, a stray line\n");
    running.reply(&call, r#"{"content":[]}"#);
    let answer = control_plane.next_response();
    assert_eq!(answer.resp_json(), r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
}

#[test]
fn a_child_that_exits_at_once_is_told_of_and_tried_again_ever_more_slowly() {
    let control_plane = ControlPlane::start();
    let mut tunnel = Tunnel::to(&control_plane.url()).stdio("sh -c 'exit 7'").start();
    let reason = tunnel.wait_not_ready(|reason| reason.contains("exit"));
    assert!(reason.contains('7'), "{reason}");
    // A command that comes meanwhile is answered, and the daemon goes on.
    control_plane.push(Command::call("r1", "1", "tools/list", "{}"));
    let answer = control_plane.next_response();
    assert_eq!(answer.tunnel_failure()["source"], "transport_closed", "{}", answer.0.text());
    assert!(tunnel.program.has_ended().is_none());
}

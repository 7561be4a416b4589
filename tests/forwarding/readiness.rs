//! Whether the daemon says the truth about its MCP server, and when it begins to poll.

use super::support::{Answer, ControlPlane, Gate, McpServer, Tunnel, each_at_once, eventually};
use super::{RESULT, Stand, call, dead_url, result};

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

#[test] // forwarding-82, forwarding-228
fn readiness_goes_down_and_up_with_the_server_as_often_as_it_likes() {
    let control_plane = ControlPlane::start();
    let url = dead_url();
    let tunnel = Tunnel::to(&control_plane.url()).http(&format!("{url}/mcp")).start();
    for _ in 0..2 {
        tunnel.wait_not_ready(|reason| reason.contains("refused"));
        let server = McpServer::start_on(port_of(&url));
        tunnel.wait_ready();
        drop(server);
        // Real traffic tells first.
        control_plane.push(call("r1"));
        assert_eq!(control_plane.next_response().resp_code(), 502);
    }
}

#[test] // forwarding-82, forwarding-228
fn a_server_that_answers_only_errors_is_not_ready_until_it_answers_well() {
    let stand = Stand::start();
    stand.tunnel.wait_ready();
    let posted = stand.call(Answer::status(503));
    assert_eq!(posted.resp_code(), 503);
    // The probe finds it well again.
    stand.tunnel.wait_ready();
    // An MCP error is an answer, whatever its status.
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}"#;
    let before = stand.server.count("initialize");
    stand.call(Answer::json(500, error));
    assert_eq!(stand.tunnel.page("/readyz").0, 200);
    assert_eq!(stand.server.count("initialize"), before);
}

#[test] // forwarding-80, forwarding-81, forwarding-82, forwarding-229
fn a_server_that_wants_credentials_is_there() {
    let control_plane = ControlPlane::start();
    let server = McpServer::start();
    server.always("initialize", Answer::status(401).header("WWW-Authenticate", "Bearer"));
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start_ready();
    assert_eq!(tunnel.page("/readyz").0, 200);
    assert_eq!(server.count("initialize"), 1, "asked once");
    assert_eq!(server.count("GET") + server.count("DELETE"), 0);
}

#[test] // forwarding-82, forwarding-228, operations-59
fn what_answers_and_is_no_mcp_server_for_us_is_not_ready_and_why_is_told() {
    let no_server = "there is no MCP server at the path of its URL";
    let html = || Answer::status(200).header("Content-Type", "text/html").body("<h1>hello</h1>");
    each_at_once(
        [
            (Answer::status(404), no_server),
            (Answer::status(405).body("no"), no_server),
            (Answer::status(403), "answers `initialize` with status 403"),
            (
                Answer::status(302).header("Location", "/login"),
                "answers `initialize` with status 302",
            ),
            (html(), "answers `initialize` with what is not MCP"),
            (Answer::json(200, "{}"), "answers `initialize` with what is not MCP"),
        ],
        |(answer, why)| {
            let (control_plane, server) = (ControlPlane::start(), McpServer::start());
            server.always("initialize", answer.clone());
            let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
            tunnel.program.stderr_line(why, |line| {
                line.contains("MCP server cannot be used") && line.contains(why)
            });
            tunnel.wait_not_ready(|reason| reason.contains(why));
            // A call that is answered the same does not make it one.
            server.on("tools/call", answer);
            control_plane.push(call("r1"));
            control_plane.next_response();
            tunnel.wait_not_ready(|reason| reason.contains(why));
            // One that is answered in MCP does.
            server.on("tools/call", result());
            control_plane.push(call("r2"));
            assert_eq!(control_plane.next_response().resp_json(), RESULT);
            tunnel.wait_ready();
        },
    );
}

#[test] // forwarding-82, forwarding-228
fn a_server_that_moves_away_from_its_path_is_noticed_by_a_call_and_when_it_comes_back() {
    let stand = Stand::start();
    stand.tunnel.wait_ready();
    stand.server.always("initialize", Answer::status(404));
    assert_eq!(stand.call(Answer::status(404)).resp_code(), 404);
    stand.tunnel.wait_not_ready(|reason| reason.contains("no MCP server at the path"));
    // A session that has ended is answered the same: the probe tells them apart.
    let initialized = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-06-18"}}"#;
    stand.server.always("initialize", Answer::json(200, initialized));
    stand.tunnel.wait_ready();
    stand.call(Answer::status(404));
    stand.tunnel.wait_ready();
}

#[test] // forwarding-83, operations-96
fn polling_does_not_wait_for_the_server() {
    let control_plane = ControlPlane::start();
    let _tunnel = Tunnel::to(&control_plane.url()).http(&format!("{}/mcp", dead_url())).start();
    control_plane.next_poll();
}

#[test] // forwarding-83, forwarding-84, operations-64
fn with_a_startup_wait_polling_begins_when_the_server_is_there() {
    let control_plane = ControlPlane::start();
    let url = dead_url();
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&format!("{url}/mcp"))
        .env("MCP_STARTUP_WAIT_TIMEOUT", "5m")
        .start();
    tunnel.program.stderr_line("the refusal", |line| line.contains("refused"));
    control_plane.next_other();
    assert_eq!(control_plane.polls_waiting(), 0);
    let _server = McpServer::start_on(port_of(&url));
    control_plane.next_poll();
    tunnel.wait_ready();
}

#[test] // forwarding-83, forwarding-84
fn with_a_startup_wait_any_sign_of_the_server_lets_polling_begin() {
    for status in [401, 500] {
        let control_plane = ControlPlane::start();
        let server = McpServer::start();
        server.always("initialize", Answer::status(status));
        let _tunnel = Tunnel::to(&control_plane.url())
            .http(&server.url())
            .env("MCP_STARTUP_WAIT_TIMEOUT", "5m")
            .start();
        control_plane.next_poll();
    }
}

#[test] // forwarding-83, forwarding-84, operations-64
fn a_startup_wait_ends_in_polling_although_nobody_came() {
    let control_plane = ControlPlane::start();
    let _tunnel = Tunnel::to(&control_plane.url())
        .http(&format!("{}/mcp", dead_url()))
        .env("MCP_STARTUP_WAIT_TIMEOUT", "100ms")
        .start();
    control_plane.next_poll();
}

#[test] // forwarding-82, forwarding-84
fn a_server_that_does_not_answer_the_probe_settles_the_wait_and_is_not_ready() {
    let control_plane = ControlPlane::start();
    let server = McpServer::start();
    let gone = Gate::new();
    server.always("initialize", Answer::silence(&gone));
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_STARTUP_WAIT_TIMEOUT", "5m")
        .start();
    control_plane.next_poll();
    tunnel.wait_not_ready(|reason| reason.contains("initialize"));
    // It serves calls, which is what counts.
    server.on("tools/call", result());
    control_plane.push(call("r1"));
    assert_eq!(control_plane.next_response().resp_json(), RESULT);
    eventually("readiness to follow the call", || (tunnel.page("/readyz").0 == 200).then_some(()));
}

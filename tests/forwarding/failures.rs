//! Each way in which the private hop can fail, told apart.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::support::{Answer, ControlPlane, Posted, Tunnel};
use super::{Stand, call, dead_url, expect_failure};

/// What becomes of a call to this server.
fn call_to(url: &str) -> Posted {
    let control_plane = ControlPlane::start();
    let _tunnel = Tunnel::to(&control_plane.url()).http(url).start();
    control_plane.push(call("r1"));
    control_plane.next_response()
}

/// Takes one connection after another, reads something and leaves these bytes behind.
fn listener_that_says(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(bytes);
        }
    });
    port
}

#[test] // forwarding-36, forwarding-58, forwarding-59, forwarding-61, forwarding-62, forwarding-94,
// forwarding-213
fn a_refused_connection_is_told() {
    let posted = call_to(&format!("{}/mcp", dead_url()));
    expect_failure(&posted, "connect", "connection_refused", 502);
    assert_eq!(
        posted.resp_json(),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Bad Gateway","data":{"tunnel_failure":{"version":1,"source":"connect","transport_error_kind":"connection_refused","upstream_response_received":false}}}}"#
    );
}

#[test] // forwarding-58, forwarding-59, forwarding-94, forwarding-213
fn a_name_that_is_not_known_is_told() {
    expect_failure(&call_to("http://no-such-host.invalid/mcp"), "dns", "dns", 502);
}

#[test] // forwarding-58, forwarding-59, forwarding-94, forwarding-213
fn a_server_without_tls_where_it_is_due_is_told() {
    let port = listener_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    expect_failure(&call_to(&format!("https://127.0.0.1:{port}/mcp")), "tls", "tls", 502);
}

#[test] // forwarding-58, forwarding-59, forwarding-63, forwarding-94, forwarding-213
fn a_connection_that_ends_is_told_by_how_it_ends() {
    let stand = Stand::start();
    let cut = |bytes: &str| Answer::raw(bytes).close();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for (answer, kind) in [
        (Answer::reset_at_once(), "connection_reset"),
        (cut(""), "eof"),
        (cut(&format!("{head}Content-Length: 100\r\n\r\n{{")), "unexpected_eof"),
        (cut(&format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{")), "unexpected_eof"),
        (Answer::raw(format!("{head}Content-Length: 100\r\n\r\n{{")).reset(), "connection_reset"),
    ] {
        let posted = stand.call(answer);
        expect_failure(&posted, "transport_closed", kind, 502);
        let failure = posted.tunnel_failure();
        assert_eq!(failure["upstream_response_received"], false, "{failure}");
        assert!(failure.get("upstream_status").is_none(), "{failure}");
    }
}

#[test] // forwarding-58, forwarding-59
fn an_answer_that_is_not_http_is_told() {
    let port = listener_that_says(b"220 mail.example ESMTP\r\n");
    let posted = call_to(&format!("http://127.0.0.1:{port}/mcp"));
    expect_failure(&posted, "protocol", "invalid_protocol_response", 502);
}

#[test] // forwarding-57, forwarding-88, forwarding-91
fn neither_failure_nor_log_shows_target_body_or_header_values() {
    let stand = Stand::with(|settings| settings.env("MCP_EXTRA_HEADERS", "X-Key: site-secret"));
    let answer = Answer::status(503)
        .header("Mcp-Session-Id", "session-secret")
        .header("X-Trace", "trace-secret")
        .body("body-secret");
    stand.server.on("tools/call", answer);
    let command = call("r1").header("Authorization", "Bearer client-secret");
    let posted = stand.answer(command.header("Mcp-Session-Id", "session-secret"));
    let line = stand
        .tunnel
        .program
        .stderr_line("the failure", |line| line.contains("failure_source=target_http"));
    for field in [
        "transport_error_kind=malformed_json",
        "upstream_response_received=true",
        "upstream_status=503",
        "tunnel_client_version=",
        "request_id=r1",
        "channel=main",
    ] {
        assert!(line.contains(field), "{field} in {line}");
    }
    let log = stand.tunnel.program.stderr();
    for secret in
        ["body-secret", "trace-secret", "client-secret", "site-secret", "session-secret", "/mcp"]
    {
        assert!(!posted.resp_json().contains(secret), "{secret}: {}", posted.resp_json());
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

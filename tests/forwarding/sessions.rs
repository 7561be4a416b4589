//! Sessions end when the remote client says so, and not otherwise.

use serde_json::json;

use super::support::{Answer, Command};
use super::{Stand, call, result};

#[test] // forwarding-34, forwarding-53, forwarding-54, mcp-33
fn a_session_end_is_a_delete_with_the_clients_headers() {
    let stand = Stand::with(|settings| settings.env("MCP_EXTRA_HEADERS", "X-Site: s"));
    let answer = Answer::status(204).header("Mcp-Session-Id", "s1").header("Server", "x");
    stand.server.on("DELETE", answer);
    let command = Command::termination("t1", "s1").header("Mcp-Protocol-Version", "2025-06-18");
    let posted = stand.answer(command.header("Authorization", "Bearer c"));
    assert_eq!(posted.resp_type(), "session_termination_response");
    assert_eq!(posted.resp_code(), 204);
    assert_eq!(posted.json()["resp_headers"], json!({"Mcp-Session-Id": ["s1"]}));
    let delete = stand.server.next("DELETE");
    assert_eq!(delete.target, "/mcp");
    assert!(delete.body.is_empty());
    assert_eq!(delete.header_values("Mcp-Session-Id"), ["s1"]);
    assert_eq!(delete.header_values("Mcp-Protocol-Version"), ["2025-06-18"]);
    assert_eq!(delete.header_values("Authorization"), ["Bearer c"]);
    assert_eq!(delete.header_values("X-Site"), ["s"]);
    assert_eq!(delete.header_values("Accept"), [""; 0], "no default for it");
    assert_eq!(delete.header_values("Content-Type"), [""; 0]);
}

#[test] // forwarding-54, forwarding-61, mcp-33
fn any_answer_to_a_session_end_is_passed_on_without_its_body() {
    let stand = Stand::start();
    for status in [200, 202, 204, 302, 400, 401, 404, 405, 500, 503] {
        let answer = Answer::status(status);
        stand.server.on("DELETE", if status == 204 { answer } else { answer.body("{\"x\":1}") });
        let posted = stand.answer(Command::termination("t1", "s1"));
        assert_eq!(posted.resp_type(), "session_termination_response");
        assert_eq!(posted.resp_code(), u64::from(status));
        assert!(posted.json().get("resp_json").is_none(), "{}", posted.0.text());
    }
    stand.server.on("DELETE", Answer::reset_at_once());
    let posted = stand.answer(Command::termination("t1", "s1"));
    assert_eq!(posted.resp_code(), 502);
    assert!(posted.json().get("resp_json").is_none(), "{}", posted.0.text());
    assert_eq!(stand.server.count("DELETE"), 11, "each was sent once");
}

#[test] // forwarding-53
fn a_session_end_without_a_session_is_dropped() {
    let stand = Stand::start();
    stand.control_plane.push(Command::of("session_termination", "t1"));
    stand.control_plane.push(Command::termination("t2", ""));
    stand.server.on("tools/call", result());
    assert_eq!(stand.answer(call("r1")).request_id(), "r1");
    assert_eq!(stand.server.count("DELETE"), 0);
}

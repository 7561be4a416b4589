//! Limits in time: the command's deadline and the connection's time to live.

use super::support::{Answer, Command, Gate};
use super::{RESULT, Stand, call, expect_failure, modern_call, notification, result};

/// A deadline that passes while a test waits for something else, and that a loaded machine still
/// reaches the server within.
const SOON: &str = "500ms";

/// A daemon whose calls may take no longer than this without a deadline of their own.
fn with_ttl(ttl: &str) -> Stand {
    Stand::with(|settings| settings.env("MCP_CONNECTION_MAX_TTL", ttl))
}

fn without_deadline(command: Command) -> Command {
    command.without("response_timeout")
}

/// Shows that nothing was posted before the answer to a later call.
fn expect_nothing_posted(stand: &Stand) {
    let posted = stand.answer(Command::call("later", "1", "later", "{}"));
    assert_eq!(posted.request_id(), "later");
    assert_eq!(stand.control_plane.responses_waiting(), 0);
}

#[test] // forwarding-9, forwarding-10, forwarding-24, forwarding-91, forwarding-92, forwarding-211,
// mcp-8, mcp-38, wire-57
fn a_deadline_at_the_server_ends_the_call_in_silence_and_the_server_is_told() {
    let stand = Stand::start();
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
    for (n, answer) in [
        |gone: &Gate| Answer::silence(gone),
        |gone: &Gate| Answer::json(200, "{").chunked().until_peer_closes(gone),
        |gone: &Gate| Answer::sse().head().until_peer_closes(gone),
    ]
    .into_iter()
    .enumerate()
    {
        let gone = Gate::new();
        stand.server.on("tools/call", answer(&gone));
        let command = Command::call("r1", &format!("\"c{n}\""), "tools/call", "{}");
        stand.control_plane.push(command.response_timeout(SOON).header("Mcp-Session-Id", "s1"));
        gone.wait("the tunnel to give up");
        let cancel = stand.server.next("notifications/cancelled");
        assert_eq!(cancel.json()["params"]["requestId"], format!("c{n}"));
        assert_eq!(cancel.header_values("Mcp-Session-Id"), ["s1"]);
        expect_nothing_posted(&stand);
    }
    // Progress does not put it off.
    let gone = Gate::new();
    let answer = Answer::sse().event(progress).until_peer_closes(&gone);
    stand.server.on("tools/call", answer);
    stand.control_plane.push(call("r1").response_timeout(SOON));
    assert_eq!(stand.control_plane.next_response().resp_json(), progress);
    gone.wait("the tunnel to give up");
    expect_nothing_posted(&stand);
    assert_eq!(stand.server.count("DELETE"), 0);
}

#[test] // forwarding-24, forwarding-211, mcp-21, mcp-38
fn an_initialize_and_a_stateless_call_are_not_cancelled_by_a_message() {
    let stand = Stand::with(|settings| settings.env("MCP_MAX_CONCURRENT_REQUESTS", "1"));
    stand.server.next("initialize");
    for command in [Command::call("r1", "1", "initialize", "{}"), modern_call("r1")] {
        let gone = Gate::new();
        let method =
            if command.text().contains("\"initialize\"") { "initialize" } else { "tools/call" };
        stand.server.on(method, Answer::silence(&gone));
        stand.control_plane.push(command.response_timeout(SOON));
        gone.wait("the tunnel to close the connection");
        // The one worker is through with it when it takes the next call.
        expect_nothing_posted(&stand);
    }
    assert_eq!(stand.server.count("notifications/cancelled"), 0);
}

#[test] // forwarding-10, forwarding-19, forwarding-55
fn a_deadline_of_a_notification_or_a_session_end_passes_in_silence() {
    let stand = Stand::start();
    for command in [notification("n1", "notifications/message"), Command::termination("t1", "s")] {
        let kind = if command.text().contains("n1") { "notifications/message" } else { "DELETE" };
        let gone = Gate::new();
        stand.server.on(kind, Answer::silence(&gone));
        stand.control_plane.push(command.response_timeout(SOON));
        gone.wait("the tunnel to give up");
        expect_nothing_posted(&stand);
    }
}

#[test] // forwarding-10, wire-57
fn an_expired_command_reaches_neither_the_server_nor_the_control_plane() {
    let stand = Stand::start();
    for command in [
        call("r1"),
        notification("r2", "notifications/message"),
        Command::termination("r3", "s"),
        Command::of("oauth_discovery", "r4"),
        call("r5").channel("other"),
    ] {
        stand.control_plane.push(command.response_timeout("0s"));
    }
    expect_nothing_posted(&stand);
    assert_eq!(stand.server.count("tools/call") + stand.server.count("DELETE"), 0);
    assert_eq!(stand.server.count("notifications/message"), 0);
    for id in ["r1", "r2", "r3", "r4", "r5"] {
        let id = format!("request_id={id}");
        let dropped = |line: &str| line.contains(&id) && line.contains("dropping command");
        let line = stand.tunnel.program.stderr_line("the drop", dropped);
        assert!(line.contains("INFO") && line.contains("deadline"), "{line}");
    }
}

#[test] // forwarding-9, forwarding-11, forwarding-21, forwarding-26, forwarding-27, forwarding-58,
// forwarding-59, forwarding-214, forwarding-220, mcp-8
fn a_call_without_a_deadline_that_outlives_the_time_to_live_is_answered_with_a_timeout() {
    let stand = with_ttl("300ms");
    for answer in [
        |gone: &Gate| Answer::silence(gone),
        |gone: &Gate| Answer::sse().head().until_peer_closes(gone),
    ] {
        let gone = Gate::new();
        stand.server.on("tools/call", answer(&gone));
        let command = without_deadline(call("r1").header("Mcp-Session-Id", "s1"));
        let posted = stand.answer(command);
        expect_failure(&posted, "timeout", "timeout", 502);
        gone.wait("the tunnel to close the connection");
        let cancel = stand.server.next("notifications/cancelled");
        assert_eq!(cancel.header_values("Mcp-Session-Id"), ["s1"]);
    }
    // With a deadline that is further away it is the same.
    let gone = Gate::new();
    stand.server.on("tools/call", Answer::silence(&gone));
    expect_failure(&stand.answer(call("r1")), "timeout", "timeout", 502);
    // It limits one answer, not the connection.
    assert_eq!(stand.call(result()).resp_json(), RESULT);
    assert_eq!(stand.server.count("DELETE"), 0);
}

#[test] // forwarding-11, wire-57
fn a_deadline_before_the_time_to_live_is_the_one_that_counts() {
    let stand = with_ttl("10s");
    let gone = Gate::new();
    stand.server.on("tools/call", Answer::silence(&gone));
    stand.control_plane.push(call("r1").response_timeout(SOON));
    gone.wait("the tunnel to give up");
    expect_nothing_posted(&stand);
}

#[test] // forwarding-26, forwarding-55, forwarding-214, forwarding-220
fn the_time_to_live_ends_notifications_and_session_ends_too() {
    let stand = with_ttl("300ms");
    let gone = Gate::new();
    stand.server.on("notifications/message", Answer::silence(&gone));
    let posted = stand.answer(without_deadline(notification("n1", "notifications/message")));
    assert_eq!((posted.resp_type().as_str(), posted.resp_code()), ("notify_ack", 502));
    stand.server.on("DELETE", Answer::silence(&gone));
    let posted = stand.answer(without_deadline(Command::termination("t1", "s")));
    assert_eq!(posted.resp_type(), "session_termination_response");
    assert_eq!(posted.resp_code(), 502);
}

#[test] // forwarding-25, wire-57
fn a_deadline_while_the_answer_is_posted_leaves_the_server_alone() {
    let stand = Stand::start();
    let gone = Gate::new();
    stand.control_plane.on_response(Answer::silence(&gone));
    stand.server.on("tools/call", result());
    stand.control_plane.push(call("r1").response_timeout(SOON));
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
    gone.wait("the tunnel to abandon the post");
    expect_nothing_posted(&stand);
    assert_eq!(stand.server.count("notifications/cancelled") + stand.server.count("DELETE"), 0);
}

#[test] // forwarding-92, forwarding-95
fn a_deadline_ends_a_wait_to_resume_a_stream() {
    let stand = Stand::start();
    let answer = Answer::sse().body("id: 1\nretry: 3600000\ndata:\n\n").close();
    stand.server.on("tools/call", answer);
    stand.control_plane.push(call("r1").response_timeout(SOON));
    stand.server.next("notifications/cancelled");
    expect_nothing_posted(&stand);
    assert_eq!(stand.server.count("GET"), 0);
}

//! One child process for all.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::calls::{
    RESULT, call, cancel, expect_failure, modern_call, next_of, notification,
};
use crate::support::child::{Line, Running};
use crate::support::{
    self, Answer, Child, Command, ControlPlane, Posted, Scratch, Tunnel, eventually,
};

/// A daemon between a scripted control plane and a child that a test plays.
struct Stand {
    control_plane: ControlPlane,
    child: Child,
    tunnel: Tunnel,
}

impl Stand {
    fn start() -> (Stand, Running) {
        let control_plane = ControlPlane::start();
        let child = Child::new();
        let tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
        let running = child.next_start();
        (Stand { control_plane, child, tunnel }, running)
    }

    /// Has a call made that the child answers with this result.
    fn call(&self, running: &mut Running, command: Command, result: &str) -> Posted {
        self.control_plane.push(command);
        let line = next_of(running, "tools/call");
        running.reply(&line, result);
        self.control_plane.next_response()
    }
}

fn of(session: &str, command: Command) -> Command {
    command.header("Mcp-Session-Id", session)
}

fn call_with_token(request_id: &str, token: &str) -> Command {
    let params = format!(r#"{{"name":"x","_meta":{{"progressToken":{token}}}}}"#);
    Command::call(request_id, "1", "tools/call", &params)
}

fn progress(token: &str, step: u32) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#
    )
}

fn token_of(line: &Line) -> String {
    line.json()["params"]["_meta"]["progressToken"].to_string()
}

const STRAY: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;

#[test] // stdio-68, stdio-69, mcp-2, mcp-3, mcp-13, mcp-27, forwarding-221
fn a_message_is_one_line_with_another_id_and_without_headers() {
    let (stand, mut running) = Stand::start();
    let message = "{\n  \"jsonrpc\": \"2.0\",\r\n  \"method\": \"tools/call\", \"id\": 1.0,\n\t\"params\": {\"a\": 1e400, \"b\": \"\\n \u{2028}\"}, \"x\": 12345678901234567890\n}";
    stand
        .control_plane
        .push(of("s1", Command::jsonrpc("r1", message)).header("Authorization", "Bearer secret"));
    let line = next_of(&mut running, "tools/call");
    let id = line.id.clone().unwrap();
    let expected = format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"id\":{id},\"params\":{{\"a\":1e400,\"b\":\"\\n \u{2028}\"}},\"x\":12345678901234567890}}"
    );
    assert_eq!(line.text, expected);
    running.reply(&line, "{\"n\": 1e400,\"n\":1.0}");
    let posted = stand.control_plane.next_response();
    assert_eq!(
        posted.resp_json(),
        "{\"jsonrpc\":\"2.0\",\"id\":1.0,\"result\":{\"n\": 1e400,\"n\":1.0}}"
    );
}

#[test] // forwarding-32, forwarding-41, stdio-67, stdio-68, mcp-14, mcp-15
fn lines_are_cut_at_line_feeds_and_what_is_no_message_is_skipped() {
    let (stand, mut running) = Stand::start();
    stand.control_plane.push(call("r1"));
    let id = next_of(&mut running, "tools/call").id.unwrap();
    running.write("Starting\u{2028} server...\n\n\r\n{\"not\":\"one\"}\n[]\n\u{7f}\n".as_bytes());
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"é\u{2028}\"}}");
    let batch = format!("[{STRAY},{answer}]\r\n");
    // In pieces, one of which ends inside a character.
    let cut = batch.find('é').unwrap() + 1;
    running.write(&batch.as_bytes()[..cut]);
    running.write(&batch.as_bytes()[cut..]);
    let posted = stand.control_plane.next_response();
    assert_eq!(
        (posted.resp_type().as_str(), posted.resp_json().as_str()),
        ("jsonrpc_notify", STRAY)
    );
    assert_eq!(posted.json()["resp_headers"]["Content-Type"][0], "text/event-stream");
    let posted = stand.control_plane.next_response();
    assert_eq!(posted.resp_json(), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"é\u{2028}\"}");
    assert_eq!(posted.json()["resp_headers"]["Content-Type"][0], "application/json");
    assert_eq!(posted.resp_code(), 200);
}

#[test] // stdio-69, stdio-74, stdio-201, stdio-208, mcp-1, mcp-4, mcp-5, mcp-63, mcp-64
fn calls_of_many_clients_run_at_once_and_each_gets_its_own() {
    let (stand, mut running) = Stand::start();
    let mut lines = Vec::new();
    for session in ["s1", "s2"] {
        stand.control_plane.push(of(session, call_with_token(session, "\"1\"")));
        lines.push(next_of(&mut running, "tools/call"));
    }
    assert_ne!(lines[0].id, lines[1].id);
    assert_ne!(token_of(&lines[0]), token_of(&lines[1]));
    // The later one is answered first, and one without an address belongs to nobody.
    for (line, session) in lines.iter().zip(["s1", "s2"]).rev() {
        running.write(format!("{}\n", progress(&token_of(line), 1)).as_bytes());
        running.write(format!("{}\n", progress("\"1\"", 7)).as_bytes());
        if session == "s2" {
            running.write(format!("{STRAY}\n").as_bytes());
        }
        let posted = stand.control_plane.next_response();
        assert_eq!(posted.request_id(), session);
        assert_eq!(posted.resp_json(), progress("\"1\"", 1));
        running.reply(line, &format!("\"of {session}\""));
        let posted = stand.control_plane.next_response();
        assert_eq!(posted.request_id(), session);
        let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"of {session}\"}}");
        assert_eq!(posted.resp_json(), answer);
    }
}

#[test] // stdio-78, stdio-209, mcp-64
fn what_a_child_says_between_calls_is_for_nobody() {
    let (stand, mut running) = Stand::start();
    running.write(format!("{STRAY}\n{}\n", progress("1", 1)).as_bytes());
    // Once its question is answered, what it said before is dealt with.
    running.write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}\n");
    loop {
        let line = running.line();
        match line.method {
            Some(_) => running.reply(&line, "{}"),
            None => break,
        }
    }
    let posted = stand.call(&mut running, call_with_token("r1", "1"), "{}");
    assert_eq!(posted.resp_json(), RESULT);
}

#[test] // forwarding-24, stdio-75, stdio-202, mcp-11, mcp-21
fn a_cancel_reaches_the_child_under_the_id_that_it_knows() {
    let (stand, mut running) = Stand::start();
    stand.control_plane.push(of("s1", call("r1")));
    let line = next_of(&mut running, "tools/call");
    // Of another session, and of no call: nothing for the child.
    stand.control_plane.push(of("s2", cancel("c0", "1")));
    stand.control_plane.push(of("s1", cancel("c1", "1")));
    let cancelled = next_of(&mut running, "notifications/cancelled");
    assert_eq!(cancelled.json()["params"]["requestId"].to_string(), line.id.clone().unwrap());
    for id in ["c0", "c1"] {
        let posted = stand.control_plane.next_response_for(id);
        assert_eq!((posted.resp_type().as_str(), posted.resp_code()), ("notify_ack", 200));
    }
    running.reply(&line, "{}");
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
}

#[test] // forwarding-21, stdio-72, forwarding-203, mcp-10
fn requests_of_the_child_are_answered_in_and_between_calls() {
    let (stand, mut running) = Stand::start();
    let ask = |running: &mut Running, id: &str, method: &str| {
        let request = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\"}}\n");
        running.write(request.as_bytes());
        loop {
            let line = running.line();
            match line.method.as_deref() {
                Some("ping") => running.reply(&line, "{}"),
                _ => return line,
            }
        }
    };
    let line = ask(&mut running, "1", "ping");
    assert_eq!(line.text, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    stand.control_plane.push(call("r1"));
    let called = next_of(&mut running, "tools/call");
    let line = ask(&mut running, "\"1\"", "roots/list");
    assert_eq!(line.id.as_deref(), Some("\"1\""));
    assert_eq!(line.json()["error"]["code"], -32601);
    running.reply(&called, "{}");
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
}

#[test] // forwarding-24, forwarding-27, stdio-76, stdio-116, stdio-207, stdio-208, forwarding-211,
// mcp-8, mcp-11, mcp-21
fn a_deadline_cancels_the_call_at_the_child_and_changes_nothing_else() {
    let (stand, mut running) = Stand::start();
    // Not an `initialize`, which may come back late and still counts.
    stand
        .control_plane
        .push(Command::call("r0", "1", "initialize", "{}").response_timeout("500ms"));
    let initialize = next_of(&mut running, "initialize");
    stand.tunnel.program.stderr_line("the drop", |line| {
        line.contains("dropping command") && line.contains("request_id=r0")
    });
    running.reply(&initialize, "{}");
    next_of(&mut running, "notifications/initialized");

    stand.control_plane.push(call_with_token("r1", "1").response_timeout("500ms"));
    let line = next_of(&mut running, "tools/call");
    let cancelled = next_of(&mut running, "notifications/cancelled");
    assert_eq!(cancelled.json()["params"]["requestId"].to_string(), line.id.clone().unwrap());
    // Its late words are nobody's, the id is free again, and progress of the next call comes.
    running.write(format!("{}\n", progress(&token_of(&line), 9)).as_bytes());
    running.reply(&line, "\"late\"");
    stand.control_plane.push(call_with_token("r2", "1"));
    let line = next_of(&mut running, "tools/call");
    running.write(format!("{}\n", progress(&token_of(&line), 1)).as_bytes());
    running.reply(&line, "{}");
    let posted = stand.control_plane.next_response();
    assert_eq!((posted.request_id().as_str(), posted.resp_json()), ("r2", progress("1", 1)));
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
    assert!(!stand.child.was_started());
}

#[test] // forwarding-26, forwarding-214, forwarding-211
fn the_time_to_live_of_a_call_does_not_end_the_child() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let settings = Tunnel::to(&control_plane.url()).stdio(&child.command());
    let _tunnel = settings.env("MCP_CONNECTION_MAX_TTL", "300ms").start();
    let mut running = child.next_start();
    control_plane.push(call("r1").without("response_timeout"));
    let line = next_of(&mut running, "tools/call");
    expect_failure(&control_plane.next_response(), "timeout", "timeout", 502);
    let cancelled = next_of(&mut running, "notifications/cancelled");
    assert_eq!(cancelled.json()["params"]["requestId"].to_string(), line.id.unwrap());
    assert!(!child.was_started());
}

#[test] // forwarding-58, forwarding-59, forwarding-62, stdio-71, stdio-205, stdio-206, mcp-6,
// mcp-17, mcp-25, mcp-26, operations-207
fn a_dead_child_fails_its_calls_and_the_next_one_is_brought_to_the_same_state() {
    let (mut stand, mut running) = Stand::start();
    let params = r#"{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}"#;
    stand.control_plane.push(Command::call("i1", "\"first\"", "initialize", params));
    let line = next_of(&mut running, "initialize");
    running.reply(&line, r#"{"protocolVersion":"2025-06-18"}"#);
    next_of(&mut running, "notifications/initialized");
    assert_eq!(stand.control_plane.next_response().message()["id"], "first");
    stand.tunnel.wait_ready();

    stand.control_plane.push(call("r1"));
    let lost = next_of(&mut running, "tools/call");
    drop(running);
    expect_failure(&stand.control_plane.next_response(), "transport_closed", "eof", 502);
    stand.control_plane.push(call("r2"));
    let mut running = stand.child.next_start();
    stand.tunnel.wait_not_ready(|_| true);
    let line = running.expect("initialize");
    assert_eq!(line.json()["params"], serde_json::from_str::<serde_json::Value>(params).unwrap());
    // What the old process was asked is nothing to the new one.
    running.reply(&lost, "\"of the old process\"");
    running.reply(&line, r#"{"protocolVersion":"2025-06-18"}"#);
    running.expect("notifications/initialized");
    let line = next_of(&mut running, "tools/call");
    running.reply(&line, "{}");
    let posted = stand.control_plane.next_response();
    assert_eq!((posted.request_id().as_str(), posted.resp_json().as_str()), ("r2", RESULT));
    stand.tunnel.wait_ready();
    assert!(stand.tunnel.program.has_ended().is_none());
}

#[test] // forwarding-25, stdio-72, stdio-206, stdio-115
fn an_answer_that_can_not_be_posted_leaves_the_child_alone() {
    let (stand, mut running) = Stand::start();
    stand.control_plane.on_response(Answer::json(400, "{}"));
    stand.call(&mut running, call("r1"), "{}");
    let posted = stand.call(&mut running, call("r2"), "{}");
    assert_eq!(posted.resp_json(), RESULT);
    assert!(!stand.child.was_started());
}

#[test] // forwarding-91, mcp-21
fn a_call_that_nobody_waits_for_any_more_is_cancelled_at_the_child() {
    let (stand, mut running) = Stand::start();
    stand.control_plane.on_response(Answer::json(404, "{}"));
    stand.control_plane.push(call_with_token("r1", "1"));
    let line = next_of(&mut running, "tools/call");
    running.write(format!("{}\n", progress(&token_of(&line), 1)).as_bytes());
    assert_eq!(stand.control_plane.next_response().resp_json(), progress("1", 1));
    let cancelled = next_of(&mut running, "notifications/cancelled");
    assert_eq!(cancelled.json()["params"]["requestId"].to_string(), line.id.clone().unwrap());
    running.reply(&line, "{}");
    assert_eq!(stand.call(&mut running, call("r2"), "{}").request_id(), "r2");
}

#[test] // stdio-69, mcp-17, mcp-65, mcp-66
fn one_initialize_reaches_the_child_and_every_session_has_its_answer() {
    let (stand, mut running) = Stand::start();
    stand.control_plane.push(of("s1", Command::call("i1", "0", "initialize", r#"{"a":1}"#)));
    let line = next_of(&mut running, "initialize");
    running.reply(&line, r#"{"serverInfo":1.0}"#);
    next_of(&mut running, "notifications/initialized");
    assert_eq!(
        stand.control_plane.next_response().resp_json(),
        r#"{"jsonrpc":"2.0","id":0,"result":{"serverInfo":1.0}}"#
    );
    stand.control_plane.push(of("s1", notification("n1", "notifications/initialized")));
    assert_eq!(stand.control_plane.next_response().resp_code(), 200);
    stand.control_plane.push(of("s2", Command::call("i2", "\"x\"", "initialize", r#"{"b":1}"#)));
    assert_eq!(
        stand.control_plane.next_response().resp_json(),
        r#"{"jsonrpc":"2.0","id":"x","result":{"serverInfo":1.0}}"#
    );
    // Nothing of the second one came to the child before this.
    assert_eq!(stand.call(&mut running, call("r1"), "{}").resp_json(), RESULT);
}

#[test] // mcp-9, mcp-18, mcp-20
fn a_stateless_request_never_reaches_a_child_of_the_older_protocol() {
    let (stand, mut running) = Stand::start();
    stand.control_plane.push(modern_call("r1"));
    let probe = next_of(&mut running, "server/discover");
    let error = r#"{"code":-32602,"message":"no","data":{"supported":["2025-11-25"]}}"#;
    let id = probe.id.unwrap();
    running.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}\n").as_bytes());
    let posted = stand.control_plane.next_response();
    assert_eq!(posted.resp_code(), 400);
    assert_eq!(posted.message()["error"]["code"], -32603, "no code of the stateless era");
    assert_eq!(stand.call(&mut running, call("r2"), "{}").resp_json(), RESULT);
}

#[test] // stdio-64, stdio-65, stdio-218, stdio-234
fn the_command_line_needs_no_shell_and_the_child_gets_no_secrets() {
    let control_plane = ControlPlane::start();
    let scratch = Scratch::new();
    let script = scratch.file(
        "server.sh",
        "printf '[%s]' \"$@\" > \"$OUT\"\nenv >> \"$OUT\"\nexec cat >/dev/null\n",
    );
    let out = scratch.path("out");
    let command =
        format!(" sh  '{}' ''\t\"\" a'b c'\"d\\\"e\" \\  '$HOME' * #x\n", script.display());
    let tunnel = Tunnel::to(&control_plane.url())
        .stdio(&command)
        .env("OUT", out.to_str().unwrap())
        .env("KEPT_ONE", "1")
        .env("LEFT", "1")
        .env("MCP_PASS_ENV", "OUT,KEPT_*")
        .start();
    let text = eventually("the child's words", || {
        std::fs::read_to_string(&out).ok().filter(|text| text.contains("KEPT_ONE=1"))
    });
    assert!(text.starts_with("[][][ab cd\"e][ ][$HOME][*][#x]"), "{text}");
    assert!(!text.contains(support::control_plane::API_KEY), "{text}");
    assert!(text.contains("\nPATH=") && !text.contains("LEFT"), "{text}");
    // Who misses it finds out why, and of nothing else.
    tunnel.program.stderr_line("the note", |line| {
        line.ends_with("get a clean environment; left out: LEFT (see mcp.pass_env)")
    });
}

#[test] // forwarding-17, forwarding-18, forwarding-20, forwarding-61, forwarding-62, stdio-71,
// stdio-205, forwarding-224
fn without_a_child_calls_and_notifications_are_answered_with_a_failure() {
    let control_plane = ControlPlane::start();
    let scratch = Scratch::new();
    // It can be started once, and never again.
    let program = scratch.file("server", "#!/bin/sh\nrm \"$0\"\nexit 7\n");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let command = format!("'{}'", program.display());
    let mut tunnel = Tunnel::to(&control_plane.url()).stdio(&command).start();
    eventually("the program to be gone", || (!program.exists()).then_some(()));
    // Before that, they might still reach the one that ends.
    tunnel.program.stderr_line("its end", |line| line.contains("child exited with status 7"));
    // Both wait for the next start, until its turn is too far away.
    control_plane.push_batch([call("r1"), notification("n1", "notifications/message")]);
    let posted = control_plane.next_response_for("r1");
    expect_failure(&posted, "transport_closed", "closed_pipe", 502);
    let posted = control_plane.next_response_for("n1");
    assert_eq!((posted.resp_type().as_str(), posted.resp_code()), ("notify_ack", 502));
    let body = posted.json();
    assert!(body.get("resp_json").is_none() && body.get("resp_headers").is_none(), "{body}");
    assert!(tunnel.program.has_ended().is_none());
}

#[test] // mcp-18, mcp-19, mcp-22, mcp-53
fn a_stateless_child_is_asked_for_its_era_once() {
    let (stand, mut running) = Stand::start();
    stand.control_plane.push(modern_call("r1"));
    let probe = next_of(&mut running, "server/discover");
    running.reply(&probe, r#"{"resultType":"complete","supportedVersions":["2026-07-28"]}"#);
    let line = next_of(&mut running, "tools/call");
    // It has no business asking, and must not be sent a response.
    running.write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}\n");
    running.reply(&line, "{}");
    assert_eq!(stand.control_plane.next_response().resp_json(), RESULT);
    for (code, status) in
        [(-32601, 404), (-32020, 400), (-32021, 400), (-32022, 400), (-32000, 200)]
    {
        stand.control_plane.push(modern_call("r2"));
        let id = next_of(&mut running, "tools/call").id.unwrap();
        let error = format!("{{\"code\":{code},\"message\":\"m\"}}");
        running
            .write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}\n").as_bytes());
        let posted = stand.control_plane.next_response();
        assert_eq!(
            (posted.resp_code(), &posted.message()["error"]["code"]),
            (status, &code.into())
        );
    }
}

#[test] // forwarding-22, forwarding-227
fn a_slow_control_plane_gets_the_latest_progress_of_a_child() {
    let (stand, mut running) = Stand::start();
    let slow = Answer::status(200).pause(Duration::from_millis(1200)).body("{}");
    stand.control_plane.on_response(slow);
    stand.control_plane.push(call_with_token("r1", "1"));
    let line = next_of(&mut running, "tools/call");
    let step = |step: u32| progress(&token_of(&line), step) + "\n";
    running.write(step(1).as_bytes());
    // While this one is posted, the child says all the rest.
    assert_eq!(stand.control_plane.next_response().resp_json(), progress("1", 1));
    let rest: Vec<String> = (2..50).map(step).collect();
    running.write(format!("{}{STRAY}\n{}", rest.concat(), step(50)).as_bytes());
    running.reply(&line, "{}");
    for expected in [STRAY, &progress("1", 50), RESULT] {
        assert_eq!(stand.control_plane.next_response().resp_json(), expected);
    }
}

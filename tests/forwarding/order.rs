//! Who waits for whom: workers, lanes, and the order within a session.

use super::support::{Answer, Command, Gate, Posted, Tunnel, eventually};
use super::{RESULT, Stand, call, cancel, notification, result};

fn with_workers(count: &str) -> Stand {
    Stand::with(|settings| settings.env("MCP_MAX_CONCURRENT_REQUESTS", count))
}

/// Lets a call occupy a worker until the gate opens.
fn occupy(stand: &Stand, request_id: &str, session: &str) -> Gate {
    let gate = Gate::new();
    let json = Answer::status(200).header("Content-Type", "application/json");
    stand.server.on("tools/slow", json.wait(&gate).body(RESULT));
    let command = Command::call(request_id, "1", "tools/slow", "{}");
    stand.control_plane.push(command.header("Mcp-Session-Id", session));
    stand.server.next("tools/slow");
    gate
}

#[test] // forwarding-4, forwarding-22, stdio-201, mcp-4
fn a_slow_call_delays_no_other_while_a_worker_is_free() {
    let stand = with_workers("2");
    let gate = occupy(&stand, "slow", "s1");
    for n in 0..20 {
        stand.server.on("tools/list", result());
        let command = Command::call(&format!("r{n}"), "1", "tools/list", "{}");
        let posted = stand.answer(command.header("Mcp-Session-Id", "s1"));
        assert_eq!(posted.request_id(), format!("r{n}"));
    }
    gate.open();
    assert_eq!(stand.control_plane.next_response().request_id(), "slow");
}

#[test] // forwarding-1, forwarding-2, forwarding-3, forwarding-4, forwarding-5, wire-44
fn more_commands_than_room_are_all_served_and_started_in_order() {
    let stand = Stand::with(|settings| {
        let settings = settings.env("MCP_MAX_CONCURRENT_REQUESTS", "1");
        settings.env("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "2")
    });
    let ids: Vec<String> = (0..30).map(|n| format!("r{n}")).collect();
    for id in &ids {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"for":"{id}"}}}}"#);
        stand.server.on("tools/call", Answer::json(200, answer));
    }
    stand.control_plane.push_batch(ids.iter().map(|id| call(id)));
    for id in &ids {
        let posted = stand.control_plane.next_response();
        assert_eq!(&posted.request_id(), id);
        assert_eq!(posted.message()["result"]["for"], id.as_str());
    }
}

#[test] // forwarding-2, forwarding-3, forwarding-96
fn no_more_is_asked_for_than_there_is_room() {
    let stand = Stand::with(|settings| {
        let settings = settings.env("MCP_MAX_CONCURRENT_REQUESTS", "1");
        settings.env("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "3")
    });
    let first = stand.control_plane.next_poll();
    assert_eq!(first.query("limit"), ["3"]);
    let gate = occupy(&stand, "slow", "s");
    // One that waits takes one place of the three.
    stand.control_plane.push(call("waits"));
    eventually("a poll that leaves the waiting one its place", || {
        (stand.control_plane.next_poll().query("limit") == ["2"]).then_some(())
    });
    gate.open();
    let metrics = stand.tunnel.page("/metrics").1;
    assert!(metrics.contains("dispatcher_worker_pool_capacity 1"), "{metrics}");
}

#[test] // forwarding-8
fn no_workers_are_refused_at_the_start() {
    let stand = Stand::start();
    let settings = Tunnel::to(&stand.control_plane.url()).http(&stand.server.url());
    let mut program = settings.env("MCP_MAX_CONCURRENT_REQUESTS", "0").spawn();
    assert_eq!(program.exit_code(), 1);
    assert_eq!(program.stderr().lines().count(), 1, "{}", program.stderr());
}

#[test] // forwarding-24, stdio-75, stdio-202, mcp-4
fn a_cancel_and_a_session_end_overtake_waiting_calls() {
    let stand = with_workers("1");
    let gate = occupy(&stand, "slow", "s1");
    stand.server.on("tools/call", result());
    stand.control_plane.push(call("waits").header("Mcp-Session-Id", "s2"));
    // Of a request that the tunnel knows nothing of, but the server may.
    let posted = stand.answer(cancel("c1", "99").header("Mcp-Session-Id", "s1"));
    assert_eq!((posted.request_id().as_str(), posted.resp_type().as_str()), ("c1", "notify_ack"));
    assert_eq!(posted.resp_code(), 202);
    let sent = stand.server.next("notifications/cancelled");
    assert_eq!(sent.json()["params"]["requestId"], 99);
    assert_eq!(sent.header_values("Mcp-Session-Id"), ["s1"]);
    let posted = stand.answer(Command::termination("t1", "s3"));
    assert_eq!(posted.request_id(), "t1");
    gate.open();
    for id in ["slow", "waits"] {
        stand.control_plane.next_response_for(id);
    }
}

#[test] // stdio-202
fn a_cancel_keeps_a_waiting_call_from_the_server() {
    let stand = with_workers("1");
    let gate = occupy(&stand, "slow", "s1");
    let waiting = |request_id: &str, id: &str, session: &str| {
        let method = format!("tools/{request_id}");
        Command::call(request_id, id, &method, "{}").header("Mcp-Session-Id", session)
    };
    stand.control_plane.push(waiting("other", "7", "s2"));
    stand.control_plane.push(waiting("mine", "7", "s1"));
    stand.control_plane.push(cancel("c1", "7.0").header("Mcp-Session-Id", "s1"));
    // Both are answered while the one worker is still busy.
    let posted = stand.control_plane.next_response_for("mine");
    assert_eq!((posted.resp_type().as_str(), posted.resp_code()), ("jsonrpc_response", 200));
    assert_eq!(
        posted.resp_json(),
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"Request cancelled before it was started"}}"#
    );
    assert_eq!(posted.shard_token(), Some("shard-of-mine"));
    let posted = stand.control_plane.next_response_for("c1");
    assert_eq!((posted.resp_type().as_str(), posted.resp_code()), ("notify_ack", 202));
    gate.open();
    stand.control_plane.next_response_for("slow");
    stand.control_plane.next_response_for("other");
    assert_eq!(stand.server.count("tools/mine"), 0);
    assert_eq!(stand.server.count("tools/other"), 1);
    assert_eq!(stand.server.count("notifications/cancelled"), 0, "the server knows of no call");
}

#[test] // stdio-202, mcp-70
fn a_cancel_without_a_session_is_not_taken_for_somebody_elses() {
    let stand = with_workers("1");
    let gate = occupy(&stand, "slow", "");
    stand.server.on("tools/call", result());
    stand.control_plane.push(call("waits"));
    assert_eq!(stand.answer(cancel("c1", "1")).request_id(), "c1");
    gate.open();
    stand.control_plane.next_response_for("slow");
    assert_eq!(stand.control_plane.next_response_for("waits").resp_json(), RESULT);
    assert_eq!(stand.server.count("notifications/cancelled"), 1, "the server may know");
}

#[test] // forwarding-4, forwarding-233, mcp-5
fn a_notification_is_delivered_before_later_commands_of_its_session_start() {
    let stand = Stand::start();
    let gate = Gate::new();
    let method = "notifications/initialized";
    stand.server.on(method, Answer::status(202).wait(&gate));
    let of = |command: Command, session: &str| command.header("Mcp-Session-Id", session);
    stand.control_plane.push_batch([
        of(notification("n1", method), "s1"),
        of(Command::call("mine", "1", "tools/mine", "{}"), "s1"),
        of(Command::termination("end", "s1"), "s1"),
        of(Command::call("other", "2", "tools/list", "{}"), "s2"),
    ]);
    assert_eq!(stand.control_plane.next_response().request_id(), "other");
    assert_eq!(stand.server.count("tools/mine") + stand.server.count("DELETE"), 0);
    gate.open();
    let mut rest: Vec<Posted> = (0..3).map(|_| stand.control_plane.next_response()).collect();
    rest.sort_by_key(Posted::request_id);
    assert_eq!(rest.iter().map(Posted::request_id).collect::<Vec<_>>(), ["end", "mine", "n1"]);
}

#[test] // forwarding-233
fn a_notification_that_is_not_delivered_holds_up_its_session_no_longer() {
    let stand = Stand::start();
    stand.server.on("notifications/initialized", Answer::reset_at_once());
    stand.server.on("tools/call", result());
    stand.control_plane.push_batch([
        notification("n1", "notifications/initialized").header("Mcp-Session-Id", "s1"),
        call("r1").header("Mcp-Session-Id", "s1"),
    ]);
    assert_eq!(stand.control_plane.next_response_for("r1").resp_json(), RESULT);
}

#[test] // forwarding-95, mcp-4
fn a_notification_that_hangs_at_the_server_does_not_hold_up_a_cancel() {
    let stand = with_workers("1");
    let gate = occupy(&stand, "slow", "s1");
    let gone = Gate::new();
    stand.server.on("notifications/message", Answer::silence(&gone));
    let hangs = notification("hangs", "notifications/message").header("Mcp-Session-Id", "s2");
    stand.control_plane.push(hangs);
    stand.server.next("notifications/message");
    let posted = stand.answer(cancel("c1", "99").header("Mcp-Session-Id", "s3"));
    assert_eq!(posted.request_id(), "c1");
    gate.open();
    assert_eq!(stand.control_plane.next_response().request_id(), "slow");
}

#[test] // forwarding-90, forwarding-230, forwarding-231
fn what_became_of_commands_is_counted_and_nothing_of_the_client_becomes_a_label() {
    let stand = Stand::with(|settings| settings.env("MCP_CONNECTION_MAX_TTL", "300ms"));
    let never = Gate::new();
    stand.control_plane.push(call("r1").response_timeout("0s"));
    stand.server.on("tools/call", Answer::silence(&never));
    assert_eq!(stand.answer(call("r2")).resp_code(), 502);
    assert_eq!(stand.answer(Command::call("r3", "1", "of/the-client", "{}")).resp_code(), 200);
    let command = call("r4").channel("of-the-client").member("created_at", "null");
    assert_eq!(stand.answer(command).resp_code(), 400);
    let metrics = eventually("the counts", || {
        let metrics = stand.tunnel.page("/metrics").1;
        metrics.contains("mcp_tunnel_commands_answered_total 3").then_some(metrics)
    });
    let count = |start: &str, labels: &[&str]| -> f64 {
        let lines = metrics.lines().filter(|line| line.starts_with(start));
        let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let unanswered = "mcp_tunnel_commands_unanswered_total{";
    assert_eq!(count(unanswered, &["reason=\"deadline_queued\""]), 1.0, "{metrics}");
    assert_eq!(count("mcp_tunnel_ttl_expired_total", &[]), 1.0);
    let failures = "mcp_tunnel_mcp_failures_total{";
    assert_eq!(count(failures, &["source=\"timeout\"", "kind=\"timeout\""]), 1.0);
    assert_eq!(count("mcp_tunnel_command_phase_seconds_count{", &["phase=\"queued\""]), 4.0);
    let latency = "command_end_to_end_latency_milliseconds_count{";
    let other = "request_method=\"other\"";
    assert_eq!(count(latency, &["latency_type=\"poll_to_response\"", other]), 1.0);
    assert_eq!(count(latency, &["latency_type=\"enqueue_to_response\"", other]), 1.0);
    assert!(!metrics.contains("of/the-client"), "{metrics}");
}

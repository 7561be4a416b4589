//! The poll loop (wire-17, wire-19, wire-22, wire-38 to wire-48) and the metadata request
//! (wire-79).

use std::collections::HashSet;

use crate::support::{
    Answer, BlackHole, Command, ControlPlane, Gate, McpServer, Tunnel, between, each_at_once,
    eventually,
};
use crate::{call, held, refused};

#[test] // wire-38, wire-212
fn a_poll_asks_for_channels_limit_and_wait_sorted_by_name() {
    let server = McpServer::start();
    let servers = format!("{0}\nchannel=b-2,url={0}\nchannel=b_1,url={0}", server.url());
    each_at_once(
        [
            ("", "", "", "limit=20&timeout_ms=30000"),
            (
                "main,b_1,b-2",
                "",
                "",
                "channel=b-2&channel=b_1&channel=main&limit=20&timeout_ms=30000",
            ),
            ("", "1000", "1999999us", "limit=25&timeout_ms=1999"),
            ("b_1", "3", "100us", "channel=b_1&limit=3&timeout_ms=1"),
        ],
        |(channels, inflight, timeout, expected)| {
            let control_plane = ControlPlane::start();
            let mut settings = Tunnel::to(&control_plane.url()).http(&servers);
            for (name, value) in [
                ("CONTROL_PLANE_POLL_CHANNELS", channels),
                ("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", inflight),
                ("CONTROL_PLANE_POLL_TIMEOUT", timeout),
            ] {
                if !value.is_empty() {
                    settings = settings.env(name, value);
                }
            }
            let _tunnel = settings.start();
            let poll = control_plane.next_poll();
            assert_eq!(poll.target.split_once('?').unwrap().1, expected);
        },
    );
}

#[test] // wire-38, wire-39
fn a_poll_asks_for_what_fits_and_a_full_buffer_pauses_polling() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "3")
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .start();
    let (first, second) = (Gate::new(), Gate::new());
    server.on("tools/call", held(&first));
    server.on("tools/call", held(&second));
    let limits = |count| -> Vec<String> {
        (0..count).map(|_| control_plane.next_poll().query("limit")[0].to_owned()).collect()
    };
    control_plane.push(call("r1"));
    server.next("tools/call");
    assert_eq!(limits(2)[0], "3");
    // What a worker has taken does not count, what waits for one does.
    control_plane.push(call("r2"));
    assert_eq!(limits(1), ["2"]);
    control_plane.push_batch([call("r3"), call("r4")]);
    tunnel.wait_metric("commands_queue_length", 3.0);
    assert_eq!(control_plane.polls_waiting(), 0);
    first.open();
    server.next("tools/call");
    assert_eq!(limits(1), ["1"]);
    second.open();
    for id in ["r1", "r2", "r3", "r4"] {
        control_plane.next_response_for(id);
    }
}

#[test] // wire-38
fn there_is_one_poll_at_a_time() {
    let (control_plane, server, tunnel) = between();
    let gate = Gate::new();
    server.on("tools/call", held(&gate));
    control_plane.push(call("r1"));
    control_plane.push(Command::call("r2", "2", "tools/list", "{}"));
    control_plane.next_response_for("r2");
    gate.open();
    control_plane.next_response_for("r1");
    let polls = tunnel.metric("commands_poll_cycles_total") as usize;
    (0..polls).for_each(|_| drop(control_plane.next_poll()));
    assert_eq!(control_plane.polls_waiting(), 0);
    // The last one is held; all that came before it have ended.
    assert!(polls <= 3, "{polls} polls for two commands");
}

#[test] // wire-40
fn poll_channels_are_canonical_distinct_and_served() {
    let with = |channels: &str| {
        Tunnel::to("http://127.0.0.1:9")
            .http("http://127.0.0.1:9/mcp\nchannel=side,url=http://127.0.0.1:9/mcp")
            .env("CONTROL_PLANE_POLL_CHANNELS", channels)
    };
    for (channels, what) in [
        ("main,", "main"),
        ("main, side", "canonical"),
        ("Main", "canonical"),
        ("main,side,main", "twice"),
        ("main,other", "other"),
        ("a b", "a-z"),
        ("harpoon", "harpoon"),
    ] {
        refused(with(channels), &["CONTROL_PLANE_POLL_CHANNELS", what]);
    }
    let no_main = Tunnel::to("http://127.0.0.1:9")
        .http("channel=side,url=http://127.0.0.1:9/mcp")
        .env("CONTROL_PLANE_POLL_CHANNELS", "main");
    refused(no_main, &["CONTROL_PLANE_POLL_CHANNELS", "main"]);
}

#[test] // wire-41, wire-43, wire-78
fn any_status_but_200_and_204_is_a_poll_error_and_none_is_fatal() {
    // 401 and 403 wait longer: see bad_input.
    let statuses = [201, 202, 206, 304, 400, 404, 408, 409, 413, 418, 429, 500, 501, 502, 503, 504];
    let server = McpServer::start();
    each_at_once(statuses, |status| {
        let control_plane = ControlPlane::start();
        control_plane.on_poll(Answer::status(status).body(r#"{"commands":[]}"#));
        let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
        let said = format!("status {status}");
        tunnel
            .program
            .stderr_line(&said, |line| line.contains("poll failed") && line.contains(&said));
        control_plane.push(call("r1"));
        assert_eq!(control_plane.next_response().resp_code(), 200);
        assert_eq!(tunnel.metric(r#"commands_poll_errors_total{error_kind="other"}"#), 1.0);
    });
}

#[test] // wire-41, wire-48, wire-217
fn a_poll_without_commands_is_a_success_and_is_followed_at_once() {
    let (control_plane, _server, tunnel) = between();
    control_plane.on_poll(Answer::status(204));
    for body in ["{}", " null ", r#"{"commands":null,"x":{}}"#, r#"{"commands":[],"more":7}"#] {
        control_plane.on_poll(Answer::json(200, body));
    }
    // What an answer says of its type is not looked at (wire-10).
    control_plane.on_poll(Answer::status(200).header("Content-Type", "text/html").body("{}"));
    control_plane.push(call("r1"));
    control_plane.next_response();
    for kind in ["other", "timeout", "context_canceled"] {
        let errors = format!(r#"commands_poll_errors_total{{error_kind="{kind}"}}"#);
        assert_eq!(tunnel.metric(&errors), 0.0);
    }
}

#[test] // wire-41, wire-48
fn a_200_that_is_no_envelope_is_a_poll_error() {
    let bodies = [
        "",
        "<html>",
        r#"{"commands":{}}"#,
        r#"{"commands":"x"}"#,
        "{} {}",
        "[]",
        "7",
        r#"{"commands":[{"request_id":"r"#,
    ];
    let server = McpServer::start();
    each_at_once(bodies, |body| {
        let control_plane = ControlPlane::start();
        control_plane.on_poll(Answer::json(200, body));
        let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
        let line = tunnel.program.stderr_line("the error", |line| line.contains("poll failed"));
        assert!(line.contains("no command envelope"), "{body}: {line}");
        control_plane.push(call("r1"));
        assert_eq!(control_plane.next_response().resp_code(), 200);
    });
}

#[test] // wire-42, wire-56
fn the_deadline_counts_from_the_headers_of_the_answer_and_not_from_its_body() {
    let (control_plane, server, tunnel) = between();
    let late = call("late").response_timeout("300ms").text();
    let patient = call("patient").text();
    control_plane.on_poll(
        Answer::status(200)
            .head()
            .body(r#"{"commands":["#)
            .pause(std::time::Duration::from_millis(400))
            .body(format!("{late},{patient}]}}")),
    );
    assert_eq!(control_plane.next_response().request_id(), "patient");
    tunnel
        .program
        .stderr_line("the drop", |line| line.contains("dropping command") && line.contains("late"));
    assert_eq!(server.count("tools/call"), 1);
    assert_eq!(control_plane.responses_waiting(), 0);
}

#[test] // wire-43, wire-70
fn a_success_is_told_as_recovery_and_resets_the_backoff() {
    let (control_plane, _server, tunnel) = between();
    for _ in 0..2 {
        control_plane.on_poll(Answer::status(500));
        control_plane.on_poll(Answer::json(200, "{}"));
    }
    let count = |part: &str| tunnel.program.stderr().lines().filter(|l| l.contains(part)).count();
    eventually("two recoveries", || (count("poller recovered") == 2).then_some(()));
    assert_eq!(
        count("retry_in_ms=200 "),
        2,
        "each first wait is 200 ms: {}",
        tunnel.program.stderr()
    );
}

#[test] // wire-17, wire-43
fn a_poll_that_the_service_holds_too_long_ends_as_a_timeout() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let gone = Gate::new();
    control_plane.on_poll(Answer::silence(&gone));
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("CONTROL_PLANE_POLL_TIMEOUT", "50ms")
        .env("CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL", "50ms")
        .start();
    gone.wait("the poll to be given up");
    tunnel.wait_metric(r#"commands_poll_errors_total{error_kind="timeout"}"#, 1.0);
    control_plane.push(call("r1"));
    control_plane.next_response();
}

#[test] // wire-17
fn a_control_plane_where_connections_hang_is_a_timeout_too() {
    let server = McpServer::start();
    let tunnel = Tunnel::to(&BlackHole::new().url())
        .http(&server.url())
        .env("CONTROL_PLANE_POLL_TIMEOUT", "50ms")
        .env("CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL", "50ms")
        .start();
    tunnel
        .program
        .stderr_line("the timeout", |l| l.contains("poll failed") && l.contains("timed out"));
    tunnel
        .program
        .stderr_line("the metadata's", |l| l.contains("metadata") && l.contains("timed out"));
}

#[test] // wire-19
fn a_poll_on_a_connection_that_had_gone_stale_is_repeated_at_once_and_is_no_error() {
    let (control_plane, _server, tunnel) = between();
    for death in [Answer::raw("").close(), Answer::reset_at_once()] {
        control_plane.on_poll(Answer::json(200, "{}"));
        control_plane.on_poll(death);
    }
    control_plane.on_poll(Answer::json(200, "{}"));
    control_plane.push(call("r1"));
    control_plane.next_response();
    let errors = tunnel.metric(r#"commands_poll_errors_total{error_kind="other"}"#);
    assert_eq!(errors, 0.0);
    let polls: Vec<_> = (0..6).map(|_| control_plane.next_poll().connection).collect();
    assert!(polls[1] == polls[0] && polls[2] != polls[1], "{polls:?}");
}

#[test] // wire-19, wire-43
fn a_poll_that_dies_on_a_fresh_connection_is_an_error() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    control_plane.on_poll(Answer::reset_at_once());
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    control_plane.push(call("r1"));
    control_plane.next_response();
    assert_eq!(tunnel.metric(r#"commands_poll_errors_total{error_kind="other"}"#), 1.0);
}

#[test] // wire-22
fn a_big_poll_answer_passes_and_one_over_the_limit_is_an_error() {
    let (control_plane, server, tunnel) = between();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\n";
    control_plane.on_poll(Answer::raw(head).body("{").wait(&Gate::new()));
    tunnel.program.stderr_line("the limit", |l| l.contains("poll failed") && l.contains("over"));
    let text = "x".repeat(1 << 20);
    let params = format!(r#"{{"name":"x","arguments":{{"text":"{text}"}}}}"#);
    control_plane
        .push_batch((0..8).map(|n| Command::call(&format!("r{n}"), "1", "tools/call", &params)));
    for n in 0..8 {
        assert_eq!(control_plane.next_response_for(&format!("r{n}")).resp_code(), 200);
    }
    assert!(server.next("tools/call").body.len() > text.len());
}

#[test] // wire-44
fn commands_beyond_what_was_asked_for_are_all_processed() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "2")
        .env("MCP_MAX_CONCURRENT_REQUESTS", "2")
        .start();
    control_plane.push_batch((0..30).map(|n| call(&format!("r{n}"))));
    let answered: HashSet<_> =
        (0..30).map(|_| control_plane.next_response().request_id()).collect();
    assert_eq!(answered.len(), 30);
    assert_eq!(server.count("tools/call"), 30);
    let line = tunnel.program.stderr_line("the error", |line| line.contains("ERROR"));
    assert!(line.contains("limit=2") && line.contains("total=30"), "{line}");
}

#[test] // wire-45, wire-79
fn polling_does_not_wait_for_the_metadata() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    control_plane.on_metadata(Answer::silence(&Gate::new()));
    let _tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    control_plane.push(call("r1"));
    assert_eq!(control_plane.next_response().resp_code(), 200);
    assert_eq!(control_plane.next_other().method, "GET");
}

#[test] // wire-45
fn the_first_poll_waits_for_the_server_only_if_it_is_told_to_and_not_for_ever() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let there = Gate::new();
    server.on("initialize", held(&there));
    let _tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_STARTUP_WAIT_TIMEOUT", "60s")
        .start();
    server.next("initialize");
    control_plane.next_other();
    assert_eq!(control_plane.polls_waiting(), 0);
    there.open();
    control_plane.next_poll();

    let control_plane = ControlPlane::start();
    let _tunnel = Tunnel::to(&control_plane.url())
        .http(&BlackHole::new().url())
        .env("MCP_STARTUP_WAIT_TIMEOUT", "50ms")
        .start();
    control_plane.next_poll();
}

#[test] // wire-46
fn two_daemons_on_one_tunnel_execute_each_command_once() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let start = || Tunnel::to(&control_plane.url()).http(&server.url()).start();
    let _daemons = [start(), start()];
    let instances: HashSet<_> = (0..2)
        .map(|_| {
            control_plane.next_poll().header("X-Tunnel-Client-Instance-Id").unwrap().to_owned()
        })
        .collect();
    assert_eq!(instances.len(), 2);
    for n in 0..20 {
        control_plane.push_batch([call(&format!("r{n}"))]);
    }
    for n in 0..20 {
        control_plane.next_response_for(&format!("r{n}"));
    }
    assert_eq!(server.count("tools/call"), 20);
    assert_eq!(control_plane.responses_waiting(), 0);
}

#[test] // wire-47
fn the_instruments_of_the_poll_loop_have_their_names() {
    let (control_plane, _server, tunnel) = between();
    control_plane.push(call("r1"));
    control_plane.next_response();
    // The worker may be done with the command before the poll thread has counted it.
    tunnel.wait_metric("commands_enqueued_total", 1.0);
    let (_, page) = tunnel.page("/metrics");
    for name in [
        "commands_polled_total 1",
        "commands_enqueued_total 1",
        "commands_poll_cycles_total ",
        r#"commands_poll_latency_seconds_count{error="false"} 1"#,
        r#"commands_poll_latency_seconds_count{error="true"} 0"#,
        r#"commands_poll_errors_total{error_kind="timeout"} 0"#,
        r#"commands_queue_drops_total{drop_reason="context_canceled"} 0"#,
        "commands_age_seconds_count 1",
        "commands_poll_last_successful_timestamp_seconds ",
        "commands_queue_capacity 20",
        "commands_queue_length ",
    ] {
        assert!(page.lines().any(|line| line.starts_with(name)), "{name} in:\n{page}");
    }
}

#[test] // wire-79, wire-78
fn a_failed_metadata_request_is_one_warning_and_is_not_repeated() {
    let error = r#"{"error":{"message":"no such use","type":"t","param":null,"code":"tunnel_use_forbidden"}}"#;
    let server = McpServer::start();
    each_at_once(
        [
            (Answer::json(403, error), vec!["status 403", "no such use", "mitigation: "]),
            (Answer::json(429, "slow down").header("Retry-After", "0"), vec!["429", "slow down"]),
            (Answer::status(500), vec!["status 500"]),
            (Answer::json(200, r#"["id","name",""]"#), vec!["no tunnel document"]),
            (Answer::json(200, r#"{"name":7}"#), vec!["no tunnel document"]),
            (Answer::reset_at_once(), vec!["reset"]),
        ],
        |(answer, parts)| {
            let control_plane = ControlPlane::start();
            control_plane.on_metadata(answer);
            let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
            let line = tunnel.program.stderr_line("the warning", |l| l.contains("metadata fetch"));
            assert!(line.contains("WARN"), "{line}");
            for part in parts {
                assert!(line.contains(part), "{part:?} in: {line}");
            }
            control_plane.push(call("r1"));
            control_plane.next_response();
            control_plane.next_other();
            let said = tunnel.program.stderr();
            assert_eq!(said.matches("metadata fetch").count(), 1, "{said}");
        },
    );
}

#[test] // wire-79
fn the_metadata_of_the_tunnel_is_shown_once() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = r#"{"id":"t","name":"Payroll","description":null,"more":[1]}"#;
    control_plane.on_metadata(Answer::json(201, tunnel));
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    let line = tunnel.program.stderr_line("the name", |line| line.contains("Payroll"));
    assert!(line.contains("INFO") && line.contains(r#"description="""#), "{line}");
}

#[test] // wire-49
fn bytes_that_are_no_text_do_not_cost_a_whole_batch() {
    let (control_plane, _server, _tunnel) = between();
    let mut body = br#"{"commands":["#.to_vec();
    body.extend(
        call("broken")
            .text()
            .replace("\"x\"", "\"@\"")
            .bytes()
            .map(|b| if b == b'@' { 0xff } else { b }),
    );
    body.extend(format!(",{}]}}", call("whole").text()).bytes());
    control_plane.on_poll(Answer::json(200, body));
    assert_eq!(control_plane.next_response_for("broken").resp_code(), 200);
    assert_eq!(control_plane.next_response_for("whole").resp_code(), 200);
}

//! What is tried again, what is not, and what an error says of itself (wire-19, wire-68 to
//! wire-78).

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::support::http::Server;
use crate::support::{
    Answer, Command, ControlPlane, Gate, McpServer, Posted, Relay, Tunnel, between, each_at_once,
    eventually,
};
use crate::{call, held};

const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
const RESULT: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#;

/// Two attempts at the same answer.
fn same(first: &Posted, again: &Posted) {
    assert_eq!(first.0.body, again.0.body);
    for name in ["Content-Type", "X-Tunnel-Shard-Token", "X-Client-Request-Id", "Content-Length"] {
        assert_eq!(first.0.header_values(name), again.0.header_values(name), "{name}");
    }
    assert_eq!(first.0.header_names(), again.0.header_names());
}

#[test] // wire-68, wire-69, wire-78
fn a_final_answer_is_tried_three_times_where_another_attempt_may_help() {
    let server = McpServer::start();
    let gone = Gate::new();
    each_at_once(
        [
            ("status 408", Answer::status(408)),
            ("status 429", Answer::status(429)),
            ("status 502", Answer::status(502)),
            ("status 503", Answer::status(503)),
            ("status 504", Answer::status(504)),
            ("reset", Answer::reset_at_once()),
            ("closed", Answer::raw("").close()),
            ("HTTP/1.1", Answer::raw("SSH-2.0-server\r\n\r\n").close()),
            ("timed out", Answer::silence(&gone)),
        ],
        |(said, answer)| {
            let control_plane = ControlPlane::start();
            control_plane.every_response(Some(answer));
            let tunnel = Tunnel::to(&control_plane.url())
                .http(&server.url())
                .env("CONTROL_PLANE_POLL_TIMEOUT", "100ms")
                .env("CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL", "100ms")
                .start();
            control_plane.push(call("r1").header("X-Request-Id", "remote-1"));
            let posts = [(); 3].map(|()| control_plane.next_response());
            same(&posts[0], &posts[1]);
            same(&posts[0], &posts[2]);
            let line =
                tunnel.program.stderr_line("the end", |line| line.contains("not be delivered"));
            assert!(line.contains(said) && line.contains("WARN"), "{said}: {line}");
            control_plane.every_response(None);
            control_plane.push(call("r2"));
            assert_eq!(control_plane.next_response().request_id(), "r2");
        },
    );
    assert_eq!(server.count("tools/call"), 18, "no call is made twice");
}

#[test] // wire-68, wire-78, wire-208
fn a_final_answer_is_tried_once_where_another_attempt_can_not_help() {
    let server = McpServer::start();
    let statuses = [201, 202, 204, 304, 400, 401, 403, 405, 409, 413, 422, 500, 501, 505];
    each_at_once(statuses, |status| {
        let control_plane = ControlPlane::start();
        control_plane.on_response(Answer::status(status).header("Retry-After", "0"));
        let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
        control_plane.push(call("r1"));
        let line = tunnel.program.stderr_line("the end", |line| line.contains("not be delivered"));
        assert!(line.contains(&format!("status {status}")), "{line}");
        control_plane.push(call("r2"));
        for id in ["r1", "r2"] {
            assert_eq!(control_plane.next_response().request_id(), id);
        }
        assert_eq!(tunnel.metric("mcp_tunnel_response_retries_total"), 0.0);
    });
}

#[test] // wire-68, wire-69
fn an_answer_is_delivered_by_a_later_attempt_and_only_once() {
    let (control_plane, server, tunnel) = between();
    control_plane.on_response(Answer::status(503));
    control_plane.on_response(Answer::reset_at_once());
    control_plane.push(call("r1"));
    let posts = [(); 3].map(|()| control_plane.next_response());
    same(&posts[0], &posts[2]);
    tunnel.wait_metric("mcp_tunnel_responses_delivered_total", 1.0);
    assert_eq!(tunnel.metric("mcp_tunnel_response_retries_total"), 2.0);
    assert_eq!(server.count("tools/call"), 1);
}

/// A daemon with one worker, which has a call in hand, and a control plane that has closed its
/// port: the worker has no connection yet.
fn away_with_a_call_in_hand(command: Command) -> (ControlPlane, McpServer, Tunnel) {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .env("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "1")
        .start();
    let called = Gate::new();
    server.on("tools/call", held(&called));
    control_plane.push(command);
    server.next("tools/call");
    control_plane.server().refuse();
    called.open();
    tunnel.program.stderr_line("the outage", |line| {
        line.contains("INFO") && line.contains("trying again: connection refused")
    });
    (control_plane, server, tunnel)
}

#[test] // wire-57, wire-68, wire-69
fn an_answer_outlasts_a_control_plane_that_is_away_for_seconds_and_arrives_once() {
    let (control_plane, server, tunnel) = away_with_a_call_in_hand(call("r1"));
    // Far more than the three attempts that may reach it, and seconds by the backoff.
    tunnel.wait_metric("mcp_tunnel_response_retries_total", 5.0);
    control_plane.server().accept();
    assert_eq!(control_plane.next_response().request_id(), "r1");
    tunnel.program.stderr_line("the end of the outage", |line| {
        line.contains("INFO") && line.contains("reached again") && line.contains("request_id=r1")
    });
    control_plane.push(call("r2"));
    assert_eq!(control_plane.next_response().request_id(), "r2");
    assert_eq!(server.count("tools/call"), 2);
    tunnel.wait_metric("mcp_tunnel_responses_delivered_total", 2.0);
}

#[test] // wire-69
fn attempts_that_may_have_arrived_count_and_those_before_them_do_not() {
    let (control_plane, _server, tunnel) = away_with_a_call_in_hand(call("r1"));
    tunnel.wait_metric("mcp_tunnel_response_retries_total", 3.0);
    for answer in [Answer::status(503), Answer::reset_at_once(), Answer::raw("").close()] {
        control_plane.on_response(answer);
    }
    control_plane.server().accept();
    let posts = [(); 3].map(|()| control_plane.next_response());
    same(&posts[0], &posts[1]);
    same(&posts[0], &posts[2]);
    tunnel.program.stderr_line("the end", |line| line.contains("not be delivered"));
    control_plane.push(call("r2"));
    assert_eq!(control_plane.next_response().request_id(), "r2");
}

#[test] // wire-57, wire-72
fn an_answer_for_a_control_plane_that_is_away_ends_with_its_deadline() {
    let command = call("r1").response_timeout("2s");
    let (control_plane, _server, tunnel) = away_with_a_call_in_hand(command);
    let dropped = r#"mcp_tunnel_commands_unanswered_total{reason="deadline_post"}"#;
    tunnel.wait_metric(dropped, 1.0);
    control_plane.server().accept();
    control_plane.push(call("r2"));
    assert_eq!(control_plane.next_response().request_id(), "r2");
}

#[test] // wire-39, wire-69
fn while_answers_wait_for_a_control_plane_that_is_away_no_more_commands_are_taken_than_fit() {
    let (control_plane, server, tunnel) = away_with_a_call_in_hand(call("r1"));
    // The poll's own connection stands: it goes on as far as there is room.
    for id in ["r2", "r3", "r4"] {
        control_plane.push_batch([call(id)]);
    }
    tunnel.wait_metric("commands_queue_length", 1.0);
    tunnel.wait_metric("mcp_tunnel_response_retries_total", 3.0);
    assert_eq!(tunnel.metric("commands_queue_length"), 1.0);
    assert_eq!((control_plane.commands_waiting(), server.count("tools/call")), (2, 1));
    control_plane.server().accept();
    for id in ["r1", "r2", "r3", "r4"] {
        assert_eq!(control_plane.next_response().request_id(), id);
    }
}

/// Stands before a relay, and loses its answer to the first response POST in one of several ways.
fn losing_one_receipt(relay: &Relay, lost: Answer) -> (Server, Arc<Mutex<Vec<u16>>>) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let (to, receipts) = (relay.url.clone(), Arc::<Mutex<Vec<u16>>>::default());
    let said = receipts.clone();
    let between = Server::start(move |request, _| {
        let mut passing = ureq::http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("{}{}", to.trim_end_matches('/'), request.target));
        for (name, value) in &request.headers {
            if !name.eq_ignore_ascii_case("host") {
                passing = passing.header(name, value);
            }
        }
        let mut answer = match request.method.as_str() {
            "POST" => agent.run(passing.body(request.body.as_slice()).unwrap()),
            _ => agent.run(passing.body(()).unwrap()),
        }
        .unwrap();
        let (status, body) = (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap());
        if request.path().ends_with("/response") {
            said.lock().unwrap().push(status);
            if said.lock().unwrap().len() == 1 {
                return lost.clone();
            }
        }
        Answer::json(status, body)
    });
    (between, receipts)
}

#[test] // wire-64, wire-68, relay-5
fn an_answer_whose_receipt_was_lost_is_sent_again_and_reaches_its_client_once() {
    each_at_once(
        [
            Answer::reset_at_once(),
            Answer::raw("").close(),
            Answer::raw("HTTP/1.1 200").close(),
            Answer::status(502),
        ],
        |lost| {
            let (relay, server) = (Relay::start(), McpServer::start());
            let (between, receipts) = losing_one_receipt(&relay, lost);
            let tunnel = Tunnel::to(&between.url()).http(&server.url()).start_ready();
            for text in ["first", "second"] {
                let call = format!(
                    r#"{{"jsonrpc":"2.0","id":"{text}","method":"tools/call","params":{{}}}}"#
                );
                let mut answer = ureq::post(relay.mcp_url())
                    .header("Content-Type", "application/json")
                    .header("Accept", "application/json, text/event-stream")
                    .send(&call)
                    .unwrap();
                let body = answer.body_mut().read_to_string().unwrap();
                assert!(body.contains(&format!("\"id\":\"{text}\"")), "{body}");
            }
            // The second call may be over before the first answer is sent again.
            eventually("three posts", || (receipts.lock().unwrap().len() == 3).then_some(()));
            let mut receipts = receipts.lock().unwrap().clone();
            receipts.sort();
            assert_eq!(receipts, [200, 200, 404], "the relay takes an answer once");
            tunnel.program.stderr_line("what became of it", |line| {
                line.contains("WARN") && line.contains("waits no longer for an answer, or has it")
            });
            tunnel.wait_metric("mcp_tunnel_responses_gone_total", 1.0);
            assert_eq!(server.count("tools/call"), 2, "no call is made twice");
        },
    );
}

#[test] // wire-68
fn a_notification_is_sent_again_only_when_it_was_not_taken() {
    let server = McpServer::start();
    let gone = Gate::new();
    each_at_once(
        [
            (Answer::status(429).header("Retry-After", "0"), true),
            (Answer::status(408), false),
            (Answer::status(500), false),
            (Answer::status(502), false),
            (Answer::status(503).header("Retry-After", "0"), false),
            (Answer::status(504), false),
            (Answer::status(202), false),
            (Answer::status(401), false),
            (Answer::reset_at_once(), false),
            (Answer::raw("").close(), false),
            (Answer::silence(&gone), false),
        ],
        |(answer, again)| {
            let (control_plane, server) = (ControlPlane::start(), McpServer::start());
            control_plane.on_response(answer);
            server.on("tools/call", Answer::sse().event(PROGRESS).event(RESULT));
            let _tunnel = Tunnel::to(&control_plane.url())
                .http(&server.url())
                .env("CONTROL_PLANE_POLL_TIMEOUT", "200ms")
                .env("CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL", "200ms")
                .start();
            control_plane.push(call("r1"));
            let first = control_plane.next_response();
            assert_eq!(first.resp_type(), "jsonrpc_notify");
            if again {
                same(&first, &control_plane.next_response());
            }
            assert_eq!(control_plane.next_response().resp_type(), "jsonrpc_response");
        },
    );
    drop(server);
}

#[test] // wire-68
fn a_notification_for_which_no_connection_came_about_is_sent_again() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    let polled = Gate::new();
    let stream = Answer::sse().head().wait(&polled).event(PROGRESS).event(RESULT);
    server.on("tools/call", stream);
    control_plane.push(call("r1"));
    server.next("tools/call");
    control_plane.server().refuse();
    polled.open();
    tunnel.program.stderr_line("the refusal", |line| {
        line.contains("trying again") && line.contains("refused")
    });
    control_plane.server().accept();
    assert_eq!(control_plane.next_response().resp_type(), "jsonrpc_notify");
    assert_eq!(control_plane.next_response().resp_type(), "jsonrpc_response");
}

#[test] // wire-19, wire-68
fn a_connection_that_has_gone_stale_costs_no_attempt() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .start();
    control_plane.on_response(Answer::json(200, "{}").close());
    control_plane.push(call("r1"));
    let first = control_plane.next_response();
    eventually("the connection to end", || {
        (control_plane.server().connections() < 2).then_some(())
    });
    server.on("tools/call", Answer::sse().event(PROGRESS).event(RESULT));
    control_plane.push(call("r2"));
    let notify = control_plane.next_response();
    assert_eq!(notify.resp_type(), "jsonrpc_notify");
    assert_ne!(notify.0.connection, first.0.connection);
    assert_eq!(control_plane.next_response().resp_type(), "jsonrpc_response");
    assert_eq!(tunnel.metric("mcp_tunnel_response_retries_total"), 0.0);
}

#[test] // wire-70, wire-71, wire-208
fn the_wait_is_the_greater_of_backoff_and_what_the_service_asks_for() {
    let server = McpServer::start();
    let date = |seconds| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds));
    each_at_once(
        [
            ("7".to_owned(), 7_000..=7_000),
            (" 061 ".to_owned(), 60_000..=60_000),
            ("99999999999999999999999".to_owned(), 60_000..=60_000),
            ("0".to_owned(), 200..=200),
            ("-1".to_owned(), 200..=200),
            ("1.5".to_owned(), 200..=200),
            ("soon".to_owned(), 200..=200),
            (date(30), 1_000..=30_000),
            (date(7_200), 60_000..=60_000),
            ("Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), 200..=200),
        ],
        |(value, expected)| {
            let control_plane = ControlPlane::start();
            // Every status that is tried again counts, and all of them for the poll.
            let busy = |status| Answer::status(status).header("Retry-After", &value);
            control_plane.on_response(busy(408));
            let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
            control_plane.push(call("r1").response_timeout("1h"));
            let wait = |what: &str| {
                let line = tunnel.program.stderr_line(what, |line| line.contains(what));
                let wait = line.split("retry_in_ms=").nth(1).unwrap();
                wait.split(' ').next().unwrap().parse::<u64>().unwrap()
            };
            assert!(expected.contains(&wait("response POST failed")), "{value}");
            control_plane.on_poll(busy(404));
            assert!(expected.contains(&wait("poll failed")), "{value}");
        },
    );
}

#[test] // wire-74, wire-75, wire-76, wire-77
fn an_error_body_is_told_in_one_line_whatever_its_form() {
    let (control_plane, _server, tunnel) = between();
    let long = "\u{e9}".repeat(600);
    let cut = format!("{}...", "\u{e9}".repeat(512));
    let huge = format!("<html>{}", "x".repeat(200_000));
    for (n, (body, said)) in [
        ("", "status 413"),
        (r#"{"error":{"code":"c-1","type":"t","message":"m-1","param":null}}"#, ": c-1: m-1"),
        (r#"{"error":{"code":null,"message":"m-2"}}"#, ": m-2"),
        (r#"{"code":"c-3","message":"m-3"}"#, ": c-3: m-3"),
        (r#"{"detail":[{"loc":"l-4"}]}"#, r#": [{"loc":"l-4"}]"#),
        (r#"{"error":"text-5"}"#, r#": {"error":"text-5"}"#),
        (r#"["x-6"]"#, r#": ["x-6"]"#),
        (r#"{"error":{"code":7}}"#, r#": {"error":{"code":7}}"#),
        (r#"{"error":{"code":"request_body_too_large","message":"m-8"}}"#, "mitigation: "),
        ("plain\nlines\u{1b}[1m-9", "lines"),
        (&long, &cut),
        (&huge, "<html>xxx"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("r-{n}-");
        control_plane.on_response(Answer::json(413, body));
        control_plane.push(call(&id));
        let line = tunnel
            .program
            .stderr_line(&id, |line| line.contains("not be delivered") && line.contains(&id));
        assert!(line.contains(said), "{said:?} in: {line}");
        assert!(line.contains("status 413") && !line.contains('\u{1b}'), "{line:?}");
        assert!(line.len() < 2500, "{} bytes", line.len());
    }
}

#[test] // wire-74
fn an_error_body_that_breaks_off_is_told_as_such() {
    let (control_plane, _server, tunnel) = between();
    control_plane
        .on_response(Answer::raw("HTTP/1.1 413 Big\r\nContent-Length: 100\r\n\r\n{").close());
    control_plane.push(call("r1"));
    tunnel.program.stderr_line("the cause", |line| {
        line.contains("status 413") && line.contains("read error body: ")
    });
}

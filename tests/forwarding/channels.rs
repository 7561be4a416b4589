//! Which channel a command is for, and what becomes of one for a channel that is not served.

use serde_json::json;

use super::support::{Child, Command, ControlPlane, McpServer, Tunnel};
use super::{Stand, call, notification, result};

#[test] // forwarding-12, forwarding-13
fn each_channel_has_its_own_server_and_its_name_is_read_generously() {
    let control_plane = ControlPlane::start();
    let (main, other) = (McpServer::start(), McpServer::start());
    let urls = format!("channel=main,url={}\nchannel=Docs_1,url={}", main.url(), other.url());
    let _tunnel = Tunnel::to(&control_plane.url()).http(&urls).start();
    for (name, canonical) in [("docs_1", "docs_1"), (" DOCS_1\t", "docs_1"), ("", "main")] {
        let server = if canonical == "main" { &main } else { &other };
        server.on("tools/call", result());
        control_plane.push(call("r1").channel(name));
        let posted = control_plane.next_response();
        assert_eq!(posted.json()["channel"], canonical);
        assert_eq!(posted.resp_code(), 200);
        server.next("tools/call");
    }
    // Names that are none are dropped by the parser, unanswered.
    for bad in ["a.b", "a/b", &"x".repeat(65)] {
        control_plane.push(call("bad").channel(bad));
    }
    main.on("tools/call", result());
    control_plane.push(call("r2"));
    assert_eq!(control_plane.next_response().request_id(), "r2");
}

#[test] // forwarding-13
fn one_channel_can_not_be_configured_twice() {
    let control_plane = ControlPlane::start();
    let urls = "channel=a,url=http://127.0.0.1:1/\nchannel=A,url=http://127.0.0.1:2/";
    let mut program = Tunnel::to(&control_plane.url()).http(urls).spawn();
    assert_eq!(program.exit_code(), 1);
    assert_eq!(program.stderr().lines().count(), 1, "{}", program.stderr());
}

#[test] // forwarding-13, forwarding-14, forwarding-90, forwarding-91, forwarding-204, wire-54,
// oauth-31
fn a_command_for_a_channel_that_is_not_served_is_refused_and_never_given_to_another() {
    let stand = Stand::start();
    let error = |id: &str, channel: &str| {
        format!(
            r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32603,"message":"Bad Request: unsupported channel \"{channel}\""}}}}"#
        )
    };
    let id = r#""id":1.0,"#;
    // Harpoon without a target is not served either.
    for channel in ["other", "harpoon"] {
        let command = Command::call("r1", "1.0", "tools/call", "{}").channel(channel);
        let posted = stand.answer(command);
        assert_eq!(posted.resp_type(), "jsonrpc_response");
        assert_eq!(posted.resp_json(), error(id, channel));
        assert_eq!(posted.json()["channel"], channel);
        assert!(posted.json().get("resp_headers").is_none());
        assert_eq!(posted.resp_code(), 400);

        let posted = stand.answer(notification("r2", "notifications/message").channel(channel));
        assert_eq!(posted.resp_type(), "jsonrpc_response");
        assert_eq!((posted.resp_json(), posted.resp_code()), (error("", channel), 400));

        let posted = stand.answer(Command::termination("r3", "s").channel(channel));
        assert_eq!(posted.resp_type(), "session_termination_response");
        let body = posted.json();
        assert_eq!(posted.resp_code(), 400);
        assert!(body.get("resp_json").is_none() && body.get("resp_headers").is_none(), "{body}");

        let posted = stand.answer(Command::of("oauth_discovery", "r4").channel(channel));
        assert_eq!(posted.resp_type(), "oauth_discovery_response");
        assert_eq!(posted.resp_code(), 400);
        assert_eq!(
            posted.message(),
            json!({"error": {
                "message": format!("unsupported channel \"{channel}\""),
                "type": "invalid_request_error",
                "code": "unsupported_channel",
            }})
        );

        let answer = Command::jsonrpc("r5", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        let posted = stand.answer(answer.channel(channel));
        assert_eq!((posted.resp_type().as_str(), posted.resp_code()), ("notify_ack", 400));
    }
    assert_eq!(stand.server.count("tools/call") + stand.server.count("DELETE"), 0);
    let metrics = stand.tunnel.page("/metrics").1;
    let counted = |command_type: &str| -> f64 {
        metrics
            .lines()
            .filter(|line| line.starts_with("command_unsupported_channel_total{"))
            .filter(|line| line.contains(&format!("command_type=\"{command_type}\"")))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    assert_eq!(counted("jsonrpc"), 6.0, "{metrics}");
    assert_eq!(counted("session_termination"), 2.0);
    assert_eq!(counted("oauth_discovery"), 2.0);
    assert!(!metrics.contains("channel=\"other\",command_type"), "{metrics}");
}

#[test] // forwarding-14, forwarding-15, forwarding-16, forwarding-215, oauth-30
fn a_discovery_that_can_not_be_done_is_answered() {
    let stand = Stand::start();
    let posted = stand.answer(Command::of("oauth_discovery", "r1"));
    assert_eq!(posted.resp_type(), "oauth_discovery_response");
    assert_eq!(posted.resp_code(), 502);
    assert!(posted.message()["error"]["message"].is_string(), "{}", posted.0.text());
}

#[test] // forwarding-15, forwarding-56, forwarding-91
fn a_child_has_no_session_to_end_and_serves_on() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let _tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let mut running = child.next_start();
    control_plane.push(Command::termination("r1", "s1"));
    let posted = control_plane.next_response();
    assert_eq!(posted.resp_type(), "session_termination_response");
    assert_eq!(posted.resp_code(), 405);
    assert!(posted.json().get("resp_json").is_none());
    control_plane.push(call("r2"));
    loop {
        let line = running.line();
        running.reply(&line, "{}");
        if line.method.as_deref() == Some("tools/call") {
            break;
        }
    }
    assert_eq!(control_plane.next_response().resp_json(), super::RESULT);
}

//! What goes to the MCP server beside the message, and where it goes.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::support::{Answer, Command, ControlPlane, McpServer, Scratch, Tunnel};
use super::{RESULT, Stand, call, modern_call, notification, result};

/// What a remote client's headers may hold and the MCP server must not get: they belong to the
/// connection, to the browser or to the transport.
const STOPPED: [&str; 15] = [
    "Accept-Encoding",
    "Connection",
    "Content-Length",
    "Cookie",
    "Expect",
    "Host",
    "Keep-Alive",
    "Origin",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// Names that only the control plane removes (forwarding-51): a daemon that did so too could not be
/// told from one that loses headers.
const PASSED: [&str; 27] = [
    "CF-Connecting-IP",
    "Forwarded",
    "OpenAI-Organization",
    "True-Client-IP",
    "User-Agent",
    "Via",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Custom-CF-Witness-Actor",
    "X-Custom-CF-Witness-Authorization",
    "X-Envoy-External-Address",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-OAI-BRTE-Redeemable-Token",
    "X-OpenAI-Actor-Authorization",
    "X-OpenAI-Authorization",
    "X-OpenAI-Authorization-Error",
    "X-OpenAI-BRTE-Redeemable-Token",
    "X-OpenAI-Internal-Caller",
    "X-OpenAI-Request-Path",
    "X-OpenAI-Skip-Auth",
    "X-Original-Forwarded-For",
    "X-Real-IP",
    "X-Tunnel-Traffic-Source",
    "Authorization",
];

#[test] // forwarding-34, forwarding-51, forwarding-52, forwarding-226, mcp-40
fn headers_of_the_client_pass_but_for_those_of_its_own_hop() {
    let stand = Stand::start();
    let mut command = call("r1").header("X-Many", "b").header("X-Many", "a").header("X-Hop", "1");
    for name in STOPPED.iter().filter(|name| **name != "Connection") {
        command = command.header(name, "7");
    }
    command = command.header("Connection", "close, X-Hop");
    for name in PASSED {
        command = command.header(name, &format!("of {name}"));
    }
    let command = command.header("Content-Type", "text/plain").header("X-Empty", "");
    stand.server.on("tools/call", result());
    assert_eq!(stand.answer(command).resp_code(), 200);
    let post = stand.server.next("tools/call");
    for name in PASSED {
        assert_eq!(post.header_values(name), [format!("of {name}")], "{name}");
    }
    assert_eq!(post.header_values("X-Many"), ["b", "a"]);
    assert_eq!(post.header_values("X-Hop"), [""; 0]);
    // The transport has its own.
    let host = stand.server.url().replace("http://", "").replace("/mcp", "");
    assert_eq!(post.header_values("Host"), [host]);
    let length = post.body.len().to_string();
    assert_eq!(post.header_values("Content-Length"), [length]);
    for name in STOPPED.iter().filter(|name| !["Host", "Content-Length"].contains(name)) {
        assert_eq!(post.header_values(name), [""; 0], "{name}");
    }
}

#[test] // forwarding-34, forwarding-52, mcp-28
fn defaults_give_way_to_the_operator_and_he_to_the_client() {
    let stand = Stand::with(|settings| {
        settings.env("MCP_EXTRA_HEADERS", "Authorization: of-site,X-Site: s,Accept: text/html")
    });
    let send = |command: Command| {
        stand.server.on("tools/call", result());
        stand.answer(command);
        stand.server.next("tools/call")
    };
    let post = send(call("r1"));
    assert_eq!(post.header_values("Authorization"), ["of-site"]);
    assert_eq!(post.header_values("X-Site"), ["s"]);
    assert_eq!(post.header_values("Accept"), ["application/json, text/event-stream"]);
    let agent = post.header("User-Agent").unwrap();
    assert!(agent.starts_with("mcp-tunnel/"), "{agent}");

    let own = call("r1")
        .header("Authorization", "Bearer a")
        .header("Authorization", "Bearer b")
        .header("X-SITE", "mine")
        .header("Accept", "text/event-stream, application/json;q=0.1")
        .header("User-Agent", "client/1");
    let post = send(own);
    assert_eq!(post.header_values("Authorization"), ["Bearer a", "Bearer b"]);
    assert_eq!(post.header_values("X-Site"), ["mine"]);
    let accept = ["text/event-stream, application/json;q=0.1"];
    assert_eq!(post.header_values("Accept"), accept);
    assert_eq!(post.header_values("User-Agent"), ["client/1"]);

    // A client that takes one type only must still be served by a server that demands both.
    let post = send(call("r1").header("Accept", "application/json"));
    assert_eq!(post.header_values("Accept"), ["application/json, text/event-stream"]);
}

#[test] // forwarding-52
fn the_clients_request_id_goes_both_ways() {
    let stand = Stand::start();
    stand.server.on("tools/call", result());
    let posted = stand.answer(call("r1").header("X-Request-Id", "abc"));
    assert_eq!(stand.server.next("tools/call").header_values("X-Request-Id"), ["abc"]);
    assert_eq!(posted.0.header_values("X-Client-Request-Id"), ["abc"]);
}

#[test] // forwarding-33, mcp-31
fn session_and_version_are_those_of_the_command_alone() {
    let stand = Stand::start();
    let answer = result().header("Mcp-Session-Id", "s1").header("Mcp-Protocol-Version", "v");
    stand.call(answer);
    stand.server.next("tools/call");
    stand.server.on("tools/call", result());
    stand.answer(call("r2"));
    let post = stand.server.next("tools/call");
    assert_eq!(post.header_values("Mcp-Session-Id"), [""; 0]);
    stand.server.on("tools/call", result());
    let command = call("r3").header("Mcp-Session-Id", "s2");
    stand.answer(command.header("Mcp-Protocol-Version", "2025-06-18"));
    let post = stand.server.next("tools/call");
    assert_eq!(post.header_values("Mcp-Session-Id"), ["s2"]);
    assert_eq!(post.header_values("Mcp-Protocol-Version"), ["2025-06-18"]);
    assert_eq!(post.header_values("Mcp-Method"), [""; 0]);
}

#[test] // mcp-29, mcp-30, mcp-32
fn a_stateless_request_has_the_headers_of_its_era_and_none_of_the_other() {
    let stand = Stand::start();
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    let send = |method: &str, member: &str, headers: &[(&str, &str)]| {
        let command = Command::call("r1", "1", method, &format!("{{{member}{meta}}}"));
        let command = headers.iter().fold(command, |c, (name, value)| c.header(name, value));
        stand.answer(command);
        stand.server.next(method)
    };
    for (method, member, name) in [
        ("tools/call", r#""name":"x y","#, Some("x y")),
        ("prompts/get", r#""name":"\u00e9","#, Some("=?base64?w6k=?=")),
        ("resources/read", r#""uri":" file:///a","#, Some("=?base64?IGZpbGU6Ly8vYQ==?=")),
        ("tasks/get", r#""taskId":"=?base64?x?=","#, Some("=?base64?PT9iYXNlNjQ/eD89?=")),
        ("tasks/update", r#""taskId":"t","#, Some("t")),
        ("tasks/cancel", r#""taskId":"t","#, Some("t")),
        ("tools/list", r#""name":"x","#, None),
    ] {
        let post = send(method, member, &[("Mcp-Session-Id", "s"), ("Last-Event-ID", "7")]);
        assert_eq!(post.header_values("Mcp-Protocol-Version"), ["2026-07-28"]);
        assert_eq!(post.header_values("Mcp-Method"), [method]);
        assert_eq!(post.header("Mcp-Name"), name);
        assert_eq!(post.header_values("Mcp-Session-Id"), [""; 0]);
        assert_eq!(post.header_values("Last-Event-ID"), [""; 0]);
    }
    let own = [
        ("Mcp-Name", "=?base64?eA==?="),
        ("Mcp-Param-Region", "=?base64?ZXU=?="),
        ("Mcp-Param-Unknown", "1"),
    ];
    let post = send("tools/call", r#""name":"x","#, &own);
    for (name, value) in own {
        assert_eq!(post.header_values(name), [value]);
    }
}

#[test] // forwarding-46, forwarding-47, forwarding-81, forwarding-229
fn the_operators_headers_for_discovery_go_with_the_probe_alone() {
    let control_plane = ControlPlane::start();
    let server = McpServer::start();
    let hello = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#;
    server.on("initialize", Answer::json(200, hello).header("Mcp-Session-Id", "probe-1"));
    let _tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_EXTRA_HEADERS", "X-Site: s,X-Both: runtime")
        .env("MCP_DISCOVERY_EXTRA_HEADERS", "X-Probe: p,x-both: discovery")
        .start();
    let probe = server.next("initialize");
    assert_eq!(probe.header_values("X-Site"), ["s"]);
    assert_eq!(probe.header_values("X-Probe"), ["p"]);
    assert_eq!(probe.header_values("X-Both"), ["discovery"]);
    assert_eq!(probe.json()["params"]["protocolVersion"], "2025-06-18");
    let end = server.next("DELETE");
    assert_eq!(end.header_values("Mcp-Session-Id"), ["probe-1"]);
    assert_eq!(end.header_values("X-Both"), ["runtime"], "ending a session is no discovery");

    server.on("tools/call", result());
    control_plane.push(call("r1"));
    let posted = control_plane.next_response();
    let post = server.next("tools/call");
    assert_eq!(post.header_values("X-Both"), ["runtime"]);
    assert_eq!(post.header_values("X-Probe"), [""; 0]);
    assert_eq!(posted.0.header_values("X-Site"), [""; 0], "nothing of it for the control plane");
    assert_eq!(server.count("notifications/initialized") + server.count("GET"), 0);
}

/// An answer that sends the client elsewhere.
fn redirect(status: u16, location: &str) -> Answer {
    Answer::status(status).header("Location", location).body("moved")
}

#[test] // forwarding-45, forwarding-46, forwarding-225
fn a_redirect_on_the_same_origin_is_followed_with_the_message() {
    let stand = Stand::with(|s| s.env("MCP_EXTRA_HEADERS", "X-Site-Key: secret"));
    for (status, location, keeps_site_headers) in
        [(307, "/mcp/", true), (308, "elsewhere?x=1", false), (307, "/a/b", false)]
    {
        stand.server.on("tools/call", redirect(status, location));
        stand.server.on("tools/call", result());
        let command = call("r1").header("Authorization", "Bearer c");
        assert_eq!(stand.answer(command).resp_json(), RESULT);
        stand.server.next("tools/call");
        let second = stand.server.next("tools/call");
        assert_eq!(second.method, "POST");
        assert_eq!(second.json()["id"], 1);
        assert_eq!(second.header_values("Authorization"), ["Bearer c"]);
        assert_eq!(second.header("X-Site-Key").is_some(), keeps_site_headers, "{location}");
    }
}

#[test] // forwarding-36, forwarding-45, forwarding-225, mcp-41
fn a_redirect_elsewhere_is_the_answer_and_nothing_goes_there() {
    let stand = Stand::start();
    let other = McpServer::start();
    let port = stand.server.server().port();
    for (status, location) in [
        (307, other.url()),
        (308, other.url()),
        (301, "/mcp2".to_owned()),
        (302, other.url()),
        (303, "/mcp2".to_owned()),
        (307, format!("http://localhost:{port}/mcp")),
        (307, format!("https://127.0.0.1:{port}/mcp")),
    ] {
        let posted = stand.call(redirect(status, &location));
        super::expect_failure(&posted, "protocol", "malformed_json", u64::from(status));
        stand.server.next("tools/call");
    }
    assert_eq!(other.count("tools/call") + other.count("GET") + stand.server.count("GET"), 0);
    assert_eq!(stand.server.count("tools/call"), 7);
}

#[test] // forwarding-45
fn a_redirect_in_a_circle_ends() {
    let stand = Stand::start();
    stand.server.always("tools/call", redirect(307, "/mcp"));
    let posted = stand.answer(call("r1"));
    super::expect_failure(&posted, "protocol", "invalid_protocol_response", 502);
    assert_eq!(stand.server.count("tools/call"), 10);
}

#[test] // mcp-32
fn notifications_of_both_eras_have_their_headers_too() {
    let stand = Stand::start();
    let command = notification("n1", "notifications/message").header("Mcp-Session-Id", "s1");
    assert_eq!(stand.answer(command).resp_code(), 202);
    let post = stand.server.next("notifications/message");
    assert_eq!(post.header_values("Mcp-Session-Id"), ["s1"]);
    stand.server.on("tools/call", result());
    stand.answer(modern_call("r1").header("Mcp-Session-Id", "s1"));
    assert_eq!(stand.server.next("tools/call").header_values("Mcp-Session-Id"), [""; 0]);
}

/// Head and body of one request, however many pieces it comes in.
fn whole_request(connection: &mut impl Read) -> String {
    let mut request = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = connection.read(&mut piece).unwrap_or(0);
        request.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let length = |head: &str| {
            let head = head.to_ascii_lowercase();
            let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        let is_whole =
            text.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= length(head));
        if count == 0 || is_whole {
            return text;
        }
    }
}

#[test] // forwarding-50, forwarding-84
fn a_server_behind_a_unix_socket_is_spoken_to_by_its_url() {
    let control_plane = ControlPlane::start();
    let scratch = Scratch::new();
    let socket = scratch.path("mcp.sock");
    let url = format!("channel=main,url=http://mcp.internal:81/x,unix-socket={}", socket.display());
    let _tunnel =
        Tunnel::to(&control_plane.url()).http(&url).env("MCP_STARTUP_WAIT_TIMEOUT", "5m").start();
    // Not there yet, so that polling waits; then it is.
    control_plane.next_other();
    assert_eq!(control_plane.polls_waiting(), 0);
    let listener = UnixListener::bind(&socket).unwrap();
    let heads = std::thread::spawn(move || {
        let mut heads = Vec::new();
        while heads.len() < 2 {
            let (mut connection, _) = listener.accept().unwrap();
            let request = whole_request(&mut connection).to_ascii_lowercase();
            let body = RESULT;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            // A client that has given up its request hears nothing.
            let _ = connection.write_all(answer.as_bytes());
            // The rest is OAuth discovery.
            if request.contains("jsonrpc") {
                heads.push(request);
            }
        }
        heads
    });
    control_plane.next_poll();
    control_plane.push(call("r1"));
    assert_eq!(control_plane.next_response().resp_json(), RESULT);
    for head in heads.join().unwrap() {
        assert!(head.starts_with("post /x http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: mcp.internal:81\r\n"), "{head}");
    }
}

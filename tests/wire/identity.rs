//! Who speaks, to where, and with which headers (wire-1 to wire-23).

use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;

use crate::support::control_plane::{API_KEY, TUNNEL_ID};
use crate::support::stack::Settings;
use crate::support::{
    Answer, Command, ControlPlane, McpServer, Request, Scratch, Tunnel, between, each_at_once,
    programs,
};
use crate::{call, refused};

/// The headers of every request.
const COMMON: [&str; 8] = [
    "accept",
    "authorization",
    "host",
    "user-agent",
    "x-tunnel-client-instance-id",
    "x-tunnel-client-name",
    "x-tunnel-client-version",
    "x-tunnel-mcp-server-info",
];

/// Settings that are right but for what a test adds; nothing listens there.
fn good() -> Settings {
    Tunnel::to("http://127.0.0.1:9").http("http://127.0.0.1:9/mcp")
}

/// One request of each kind, of a daemon with these settings: metadata, poll, response.
fn one_of_each(control_plane: &ControlPlane, settings: Settings) -> [Request; 3] {
    let _tunnel = settings.start();
    control_plane.push(call("r1").header("X-Request-Id", "remote-7"));
    let response = control_plane.next_response().0;
    [control_plane.next_other(), control_plane.next_poll(), response]
}

#[test] // wire-1, wire-201
fn a_tunnel_id_is_trimmed_once_and_need_not_be_hex() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let settings = Tunnel::to(&control_plane.url())
        .env("CONTROL_PLANE_TUNNEL_ID", &format!(" {TUNNEL_ID}\n"))
        .http(&server.url());
    let [_, poll, _] = one_of_each(&control_plane, settings);
    assert_eq!(poll.path(), format!("/v1/tunnels/{TUNNEL_ID}/poll"));
}

#[test] // wire-2
fn a_key_of_a_file_is_trimmed_and_one_of_the_environment_is_not() {
    let scratch = Scratch::new();
    let file = scratch.file("key", " sk-of_the-file \n");
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let _tunnel = Tunnel::to(&control_plane.url())
        .without_env("CONTROL_PLANE_API_KEY")
        .arg(&format!("--control-plane.api-key=file:{}", file.display()))
        .http(&server.url())
        .start();
    let poll = control_plane.next_poll();
    assert_eq!(poll.header("Authorization"), Some("Bearer sk-of_the-file"));
    refused(good().env("CONTROL_PLANE_API_KEY", "sk-1\n"), &["CONTROL_PLANE_API_KEY"]);
}

#[test] // wire-4, wire-7
fn every_request_of_a_process_names_the_same_instance_and_no_other_process_does() {
    let server = McpServer::start();
    let instance = || {
        let control_plane = ControlPlane::start();
        let settings = Tunnel::to(&control_plane.url()).http(&server.url());
        let requests = one_of_each(&control_plane, settings);
        let ids = requests.map(|r| r.header("X-Tunnel-Client-Instance-Id").unwrap().to_owned());
        assert!(ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
        ids[0].clone()
    };
    let (first, second) = (instance(), instance());
    assert_ne!(first, second);
    assert_eq!(first.len(), 32);
    assert!(first.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{first}");
}

#[test] // wire-5, wire-7, wire-18
fn requests_carry_the_headers_of_the_table_and_no_others() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let settings = Tunnel::to(&control_plane.url()).http(&server.url());
    let [metadata, poll, response] = one_of_each(&control_plane, settings);
    for request in [&metadata, &poll, &response] {
        let value = |name| request.header_values(name);
        assert_eq!(request.version, "HTTP/1.1");
        assert_eq!(value("Authorization"), [format!("Bearer {API_KEY}")]);
        assert_eq!(value("Accept"), ["application/json"]);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(value("X-Tunnel-Client-Name"), ["mcp-tunnel"]);
        assert_eq!(value("X-Tunnel-Client-Version"), [version]);
        assert_eq!(value("User-Agent"), [format!("mcp-tunnel/{version}")]);
        assert_eq!(value("Host"), [control_plane.url().strip_prefix("http://").unwrap()]);
    }
    assert_eq!(
        (metadata.method.as_str(), metadata.header_names()),
        ("GET", COMMON.map(String::from).to_vec())
    );
    assert_eq!(
        (poll.method.as_str(), poll.header_names()),
        ("GET", COMMON.map(String::from).to_vec())
    );
    assert_eq!(response.method, "POST");
    let mut names = COMMON.map(String::from).to_vec();
    for name in ["content-length", "content-type", "x-client-request-id", "x-tunnel-shard-token"] {
        names.push(name.to_owned());
    }
    names.sort();
    assert_eq!(response.header_names(), names);
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    assert_eq!(response.header("X-Client-Request-Id"), Some("remote-7"));
    assert_eq!(response.header("X-Tunnel-Shard-Token"), Some("shard-of-r1"));
    assert_eq!(response.header("Content-Length"), Some(&*response.body.len().to_string()));
}

#[test] // wire-7
fn the_request_id_of_the_remote_client_goes_back_only_if_there_is_one() {
    let (control_plane, _server, _tunnel) = between();
    control_plane.push(call("r1"));
    control_plane.push(call("r2").header("X-Request-Id", ""));
    control_plane.push(call("r3").header("x-request-id", "").header("X-Request-Id", "later"));
    let sent = |id| {
        let response = control_plane.next_response_for(id).0;
        response.header("X-Client-Request-Id").map(str::to_owned)
    };
    assert_eq!(sent("r1"), None);
    assert_eq!(sent("r2"), None);
    assert_eq!(sent("r3").as_deref(), Some("later"));
}

#[test] // wire-6
fn urls_are_the_origin_the_configured_path_and_the_route() {
    let server = McpServer::start();
    each_at_once(
        [
            ("", "", ""),
            ("/", "/", ""),
            ("/v1/tunnel?x=1", "", ""),
            ("", "/team/eu", "/team/eu"),
            ("/ignored", " /team//eu/./x/../ ", "/team/eu"),
            ("", "/a%20b/c", "/a%20b/c"),
        ],
        |(base_path, url_path, expected)| {
            let control_plane = ControlPlane::start();
            let base = format!("{}{base_path}", control_plane.url());
            let settings =
                Tunnel::to(&base).env("CONTROL_PLANE_URL_PATH", url_path).http(&server.url());
            let [metadata, poll, response] = one_of_each(&control_plane, settings);
            assert_eq!(metadata.target, format!("{expected}/v1/tunnels/{TUNNEL_ID}"));
            assert_eq!(poll.path(), format!("{expected}/v1/tunnels/{TUNNEL_ID}/poll"));
            assert_eq!(response.target, format!("{expected}/v1/tunnels/{TUNNEL_ID}/response"));
        },
    );
}

#[test] // wire-6
fn a_base_url_or_url_path_of_another_form_is_refused() {
    for base in ["gateway.example", "ftp://gateway.example", "https://"] {
        refused(good().env("CONTROL_PLANE_BASE_URL", base), &["CONTROL_PLANE_BASE_URL"]);
    }
    for path in ["team", "https://h/team", "//h/team", "/team?x=1", "/team#x"] {
        refused(good().env("CONTROL_PLANE_URL_PATH", path), &["CONTROL_PLANE_URL_PATH"]);
    }
}

#[test] // wire-8, wire-202
fn extra_headers_are_checked_at_the_start() {
    let extra = |headers: &str| good().env("CONTROL_PLANE_EXTRA_HEADERS", headers);
    for reserved in [
        "Authorization",
        "accept",
        "User-Agent",
        "x-tunnel-client-NAME",
        "X-Tunnel-Client-Version",
        "X-Tunnel-Client-Instance-Id",
        "X-Tunnel-MCP-Server-Info",
    ] {
        refused(
            extra(&format!("{reserved}: x")),
            &["CONTROL_PLANE_EXTRA_HEADERS", "tunnel itself"],
        );
    }
    refused(extra("X Y: 1"), &["CONTROL_PLANE_EXTRA_HEADERS"]);
    refused(extra("X-A: a\u{1}b"), &["CONTROL_PLANE_EXTRA_HEADERS", "X-A"]);
    refused(extra("X-A: 1, x-a: 2"), &["CONTROL_PLANE_EXTRA_HEADERS", "twice"]);
}

#[test] // wire-7, wire-8
fn extra_headers_go_with_every_request() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let settings = Tunnel::to(&control_plane.url())
        .env("CONTROL_PLANE_EXTRA_HEADERS", "X-Team: eu \u{fc}, x-team: eu \u{fc}, x-other: 1:2")
        .http(&server.url());
    for request in one_of_each(&control_plane, settings) {
        assert_eq!(request.header_values("X-Team"), ["eu \u{fc}"]);
        assert_eq!(request.header_values("X-Other"), ["1:2"]);
    }
}

#[test] // wire-9, wire-20
fn an_extra_header_can_not_break_the_transport_or_the_answer() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let names = [
        "Content-Type",
        "X-Tunnel-Shard-Token",
        "X-Client-Request-Id",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Trailer",
        "Accept-Encoding",
    ];
    let headers = names.map(|name| format!("{name}: 7")).join(", ");
    let tunnel = Tunnel::to(&control_plane.url())
        .env("CONTROL_PLANE_EXTRA_HEADERS", &headers)
        .http(&server.url())
        .start();
    control_plane.push(call("r1"));
    let response = control_plane.next_response().0;
    let mut expected = COMMON.map(String::from).to_vec();
    expected.extend(["content-length", "content-type", "x-tunnel-shard-token"].map(String::from));
    expected.sort();
    assert_eq!(response.header_names(), expected);
    assert_eq!(response.header_values("Content-Type"), ["application/json"]);
    assert_eq!(response.header_values("X-Tunnel-Shard-Token"), ["shard-of-r1"]);
    assert_eq!(control_plane.next_poll().header_names(), COMMON);
    for name in names {
        tunnel.program.stderr_line("the warning", |line| {
            line.contains("WARN") && line.to_ascii_lowercase().contains(&name.to_ascii_lowercase())
        });
    }
}

#[test] // wire-7
fn the_organization_wins_over_an_extra_header_of_its_name() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let settings = Tunnel::to(&control_plane.url())
        .env("CONTROL_PLANE_EXTRA_HEADERS", "openai-organization: other")
        .env("CONTROL_PLANE_ORGANIZATION_ID", " org-1 ")
        .http(&server.url());
    for request in one_of_each(&control_plane, settings) {
        assert_eq!(request.header_values("OpenAI-Organization"), ["org-1"]);
    }
    let broken = "org\r\nX-Injected: 1";
    refused(good().env("CONTROL_PLANE_ORGANIZATION_ID", broken), &["ORGANIZATION_ID"]);
}

#[test] // wire-10
fn the_services_own_request_id_is_in_the_log() {
    let (control_plane, _server, tunnel) = between();
    control_plane.on_poll(Answer::status(503).header("X-Request-Id", "poll-503"));
    control_plane.on_poll(Answer::json(200, "{}").header("X-Request-Id", "poll-200"));
    control_plane.on_response(Answer::status(413).header("X-Request-Id", "post-413"));
    control_plane.push(call("r1"));
    for id in ["poll-503", "poll-200", "post-413"] {
        tunnel.program.stderr_line(id, |line| line.contains(id));
    }
    tunnel.program.stderr_line("the lost answer", |line| {
        line.contains("WARN")
            && line.contains("could not be delivered")
            && line.contains("post-413")
    });
}

#[test] // wire-3, wire-11, wire-12, wire-13, wire-15
fn the_server_info_names_each_binding_in_the_order_of_the_configuration() {
    let server = McpServer::start();
    let channel = |name: &str| format!("channel={name},url={}", server.url());
    let servers = [channel("zeta"), server.url(), channel(" ALPHA ")].join("\n");
    each_at_once(
        [
            (
                ("MCP_SERVER_URL", servers.clone()),
                "",
                r#"{"name":"zeta"},{"name":"main"},{"name":"alpha"}"#,
            ),
            (
                ("MCP_COMMAND", format!("'{}' mcp-stub", programs::tunnel())),
                "",
                r#"{"name":"main","proc_affinity":true}"#,
            ),
            (
                ("MCP_SERVER_URL", servers.clone()),
                "alpha,zeta",
                r#"{"name":"zeta"},{"name":"alpha"}"#,
            ),
        ],
        |((setting, value), polled, channels)| {
            let control_plane = ControlPlane::start();
            let mut settings = Tunnel::to(&control_plane.url()).env(setting, &value);
            if !polled.is_empty() {
                settings = settings.env("CONTROL_PLANE_POLL_CHANNELS", polled);
            }
            let _tunnel = settings.start();
            let expected = format!(r#"{{"version":1,"channels":[{channels}]}}"#);
            for request in [control_plane.next_poll(), control_plane.next_other()] {
                assert_eq!(request.header_values("X-Tunnel-MCP-Server-Info"), [expected.as_str()]);
            }
        },
    );
}

#[test] // wire-14
fn more_channels_than_the_server_info_holds_are_refused_at_the_start() {
    let servers = |count: usize| {
        let url = "http://127.0.0.1:9/mcp";
        let mut list = vec![url.to_owned()];
        list.extend((1..count).map(|n| format!("channel=c{n},url={url}")));
        list.join("\n")
    };
    refused(good().http(&servers(33)), &["32 channels"]);
    let control_plane = ControlPlane::start();
    let _tunnel = Tunnel::to(&control_plane.url()).http(&servers(32)).start();
    let info = control_plane.next_poll().header("X-Tunnel-MCP-Server-Info").unwrap().to_owned();
    assert_eq!(info.matches("name").count(), 32);
}

#[test] // wire-18, wire-19
fn one_connection_serves_poll_after_poll_and_one_the_posts_of_a_worker() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let _tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .start();
    let mut posts = Vec::new();
    for n in 0..4 {
        control_plane.push(call(&format!("r{n}")));
        posts.push(control_plane.next_response().0.connection);
    }
    let polls: Vec<_> = (0..5).map(|_| control_plane.next_poll().connection).collect();
    assert!(polls.iter().all(|c| *c == polls[0]), "{polls:?}");
    assert!(posts.iter().all(|c| *c == posts[0]), "{posts:?}");
}

#[test] // wire-21
fn a_redirect_on_the_same_origin_is_followed_with_method_body_and_key() {
    let (control_plane, _server, _tunnel) = between();
    for status in [301, 302, 303, 307, 308] {
        control_plane.on_poll(Answer::status(status).header("Location", "/moved/poll?limit=9"));
        control_plane.on_poll(Answer::json(200, r#"{"commands":[]}"#));
    }
    control_plane.on_response(Answer::status(307).header("Location", "/moved/response"));
    control_plane.on_response(
        Answer::status(308).header("Location", &format!("{}/again/response", control_plane.url())),
    );
    control_plane.push(call("r1"));
    let first = control_plane.next_response().0;
    for path in ["/moved/response", "/again/response"] {
        let moved = control_plane.next_response().0;
        assert_eq!((moved.method.as_str(), moved.path()), ("POST", path));
        assert_eq!(moved.body, first.body);
        assert_eq!(moved.header("X-Tunnel-Shard-Token"), Some("shard-of-r1"));
        assert_eq!(moved.header("Authorization"), first.header("Authorization"));
    }
    for _ in 0..5 {
        let asked = control_plane.next_poll();
        let moved = control_plane.next_poll();
        assert!(asked.path().ends_with(&format!("{TUNNEL_ID}/poll")), "{}", asked.target);
        assert_eq!((moved.method.as_str(), moved.target.as_str()), ("GET", "/moved/poll?limit=9"));
        assert_eq!(moved.header("Authorization"), asked.header("Authorization"));
    }
}

#[test] // wire-21
fn neither_key_nor_shard_token_goes_to_another_origin() {
    let (control_plane, elsewhere) = (ControlPlane::start(), ControlPlane::start());
    let server = McpServer::start();
    let to = |route: &str| format!("{}/{route}", elsewhere.url());
    control_plane.on_poll(Answer::status(307).header("Location", &to("poll")));
    control_plane.on_metadata(Answer::status(302).header("Location", &to("metadata")));
    control_plane.on_response(Answer::status(308).header("Location", &to("response")));
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    tunnel
        .program
        .stderr_line("the poll error", |l| l.contains("poll failed") && l.contains("307"));
    tunnel
        .program
        .stderr_line("the metadata error", |l| l.contains("metadata") && l.contains("302"));
    control_plane.push(call("r1"));
    tunnel.program.stderr_line("the lost answer", |l| l.contains("delivered: status 308"));
    control_plane.push(call("r2"));
    assert_eq!(control_plane.next_response_for("r2").resp_code(), 200);
    assert_eq!(elsewhere.polls_waiting() + elsewhere.responses_waiting(), 0);
    assert_eq!(elsewhere.server().connections(), 0);
}

#[test] // wire-21
fn a_post_is_not_taken_for_delivered_by_a_redirect_to_a_get() {
    for status in [301, 302, 303] {
        let (control_plane, _server, tunnel) = between();
        control_plane.on_response(Answer::status(status).header("Location", "/gone/response"));
        control_plane.push(call("r1"));
        let said = format!("delivered: status {status}");
        tunnel.program.stderr_line("the lost answer", |line| line.contains(&said));
        control_plane.push(call("r2"));
        assert_eq!(control_plane.next_response().request_id(), "r1");
        assert_eq!(control_plane.next_response().request_id(), "r2");
    }
}

#[test] // wire-21
fn the_eleventh_request_of_a_chain_of_redirects_is_not_made() {
    let (control_plane, _server, tunnel) = between();
    for _ in 0..10 {
        control_plane.on_poll(Answer::status(307).header("Location", "/round/poll"));
    }
    tunnel.program.stderr_line("the poll error", |line| line.contains("10 redirects"));
    control_plane.push(call("r1"));
    control_plane.next_response();
    let polls: Vec<_> = (0..11).map(|_| control_plane.next_poll()).collect();
    let rounds = polls.iter().filter(|poll| poll.path() == "/round/poll").count();
    assert_eq!(rounds, 9, "one request and nine redirects, then a new poll");
}

#[test] // wire-23
fn a_unix_socket_takes_the_place_of_the_connection_and_of_nothing_else() {
    let (control_plane, server, scratch) =
        (ControlPlane::start(), McpServer::start(), Scratch::new());
    let path = scratch.path("control-plane.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let port = control_plane.port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let (mut from_far, mut to_near) = (far, near);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_near, &mut to_far);
                let _ = to_far.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || std::io::copy(&mut from_far, &mut to_near));
        }
    });
    let settings = Tunnel::to("http://gateway.invalid:8080/ignored")
        .env("CONTROL_PLANE_URL_PATH", "/team")
        .env("TUNNEL_INTEGRATION_TUNNEL_SERVICE_SOCKET_PATH", path.to_str().unwrap())
        .http(&server.url());
    for request in one_of_each(&control_plane, settings) {
        assert_eq!(request.header("Host"), Some("gateway.invalid:8080"));
        assert!(request.path().starts_with("/team/v1/tunnels/"), "{}", request.target);
    }
}

#[test] // wire-1
fn the_tunnel_id_is_one_segment_of_every_path() {
    let (control_plane, _server, _tunnel) = between();
    control_plane.push(Command::termination("r1", "s1"));
    let paths = [
        control_plane.next_other().target,
        control_plane.next_poll().target,
        control_plane.next_response().0.target,
    ];
    for path in paths {
        assert_eq!(path.split('/').nth(3).map(|s| s.split('?').next().unwrap()), Some(TUNNEL_ID));
    }
}

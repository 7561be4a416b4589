//! Discovery of OAuth-protected servers (oauth.md, sections 1 and 8), through the real
//! binary between a scripted control plane and scripted servers.

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};
use support::http::Server;
use support::stack::Settings;
use support::{
    Answer, BlackHole, Child, Command, ControlPlane, Gate, McpServer, Posted, Scratch, Tunnel,
    each_at_once, eventually,
};

const PATH: &str = "/.well-known/oauth-protected-resource/mcp";
const ROOT: &str = "/.well-known/oauth-protected-resource";
const AS: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

/// Metadata of a server whose tokens come from `issuers`.
fn metadata(issuers: &[&str]) -> String {
    json!({"resource": "http://private/mcp", "authorization_servers": issuers}).to_string()
}

fn document() -> Answer {
    Answer::json(200, metadata(&[]))
}

fn challenge(url: &str) -> Answer {
    Answer::status(401).header("WWW-Authenticate", &format!(r#"Bearer resource_metadata="{url}""#))
}

fn not_found() -> Answer {
    Answer::json(404, r#"{"error":"not found"}"#)
}

/// A daemon in front of one scripted server.
struct Stand {
    control_plane: ControlPlane,
    server: McpServer,
    tunnel: Tunnel,
}

impl Stand {
    fn of(server: McpServer) -> Stand {
        Stand::with(server, |settings| settings)
    }

    fn with(server: McpServer, settings: impl FnOnce(Settings) -> Settings) -> Stand {
        let control_plane = ControlPlane::start();
        // The other origins of these tests have ports that no confinement knows of.
        let plain = Tunnel::to(&control_plane.url()).http(&server.url()).arg("--confinement=off");
        let tunnel = settings(plain).start();
        Stand { control_plane, server, tunnel }
    }

    /// `/api/oauth` once the first discovery has ended.
    fn report(&self) -> Value {
        report(&self.tunnel)
    }

    fn discover(&self) -> Posted {
        self.control_plane.push(Command::of("oauth_discovery", "d1"));
        self.control_plane.next_response_for("d1")
    }
}

fn report(tunnel: &Tunnel) -> Value {
    eventually("the end of the discovery", || {
        let (status, body) = tunnel.page("/api/oauth");
        assert_eq!(status, 200, "{body}");
        let report: Value = serde_json::from_str(&body).unwrap();
        (report["pending"] != true).then_some(report)
    })
}

/// `url source outcome` of each attempt, with the server's origin left out.
fn attempts(report: &Value, origin: &str) -> Vec<String> {
    let attempts = report["metadata"]["attempts"].as_array().unwrap();
    let shown = attempts.iter().map(|attempt| {
        let url = attempt["url"].as_str().unwrap().replace(origin, "");
        let outcome = match (&attempt["selected"], &attempt["status_code"], &attempt["tried"]) {
            (Value::Bool(true), status, _) => format!("selected {status}"),
            (_, Value::Number(status), _) => status.to_string(),
            (_, _, Value::Bool(true)) => "tried".to_owned(),
            _ => "untried".to_owned(),
        };
        format!("{url} {} {outcome}", attempt["source"].as_str().unwrap())
    });
    shown.collect()
}

#[test] // oauth-4, oauth-6, oauth-7, oauth-9, oauth-10, oauth-13, oauth-24, oauth-25, oauth-26,
// operations-54, operations-61
fn a_server_without_oauth_is_asked_and_found_to_have_none() {
    let stand = Stand::of(McpServer::start());
    stand.tunnel.wait_ready();
    let origin = stand.server.server().url();
    let report = stand.report();
    assert_eq!(
        attempts(&report, &origin),
        [format!("{PATH} well_known_path 404"), format!("{ROOT} well_known_root 404")]
    );
    assert_eq!(report["metadata_source"], "not_advertised");
    assert_eq!(report["state"], "not_advertised");
    assert!(report.get("error").is_none() && report.get("pending").is_none(), "{report}");
    let probe = &report["www_authenticate_probe"];
    assert_eq!(probe["attempted"], true);
    assert_eq!(probe["error"], "POST: HTTP 400; GET: HTTP 405");
    for kind in ["challenge POST", "challenge GET", PATH, ROOT] {
        let request = stand.server.next(kind);
        assert_eq!(request.header("Accept"), Some("application/json"));
        let agent = request.header("User-Agent").unwrap();
        assert!(agent.starts_with("mcp-tunnel/"), "{agent}");
        assert!(request.header("Content-Type").is_none() && request.body.is_empty());
        assert!(request.header("Authorization").is_none());
    }
    // Once is enough.
    assert_eq!(stand.server.count(ROOT), 1);
}

#[test] // oauth-10, oauth-16, oauth-17, oauth-19, oauth-20, oauth-21, oauth-23
fn metadata_and_the_authorization_servers_document_are_found() {
    let issuer = Server::start(|request, _| match request.path() {
        "/.well-known/oauth-authorization-server/tenant" => {
            let named = format!("http://{}/tenant", request.header("Host").unwrap());
            Answer::json(200, format!(r#"{{"issuer":"{named}","token_endpoint":"t"}}"#))
                .header("Set-Cookie", "planted-cookie")
                .header("X-Secret", "planted-header")
        }
        _ => Answer::status(404),
    });
    let server = McpServer::start();
    let issuer_url = format!("{}/tenant", issuer.url());
    server.always(PATH, Answer::json(200, metadata(&[&issuer_url, "https://second.example"])));
    let stand = Stand::of(server);
    stand.tunnel.wait_ready();
    let report = stand.report();
    assert_eq!(report["state"], "found");
    assert_eq!(report["metadata_source"], "well_known");
    assert_eq!(report["authorization_server_count"], 2);
    assert_eq!(report["selected_authorization_server"], issuer_url);
    assert_eq!(
        report["auth_server_metadata_mode"],
        "authorization_servers[0] only (source of truth)"
    );
    let found = &report["metadata"];
    assert_eq!(found["url"], format!("{}{PATH}", stand.server.server().url()));
    assert_eq!(found["status_code"], 200);
    assert_eq!(found["body"]["resource"], "http://private/mcp");
    assert_eq!(found["headers"]["Content-Type"], json!(["application/json"]));
    assert!(found["fetched_at"].as_str().unwrap().ends_with('Z'));
    let authority = &found["auth_server_metadata"];
    assert_eq!(authority["issuer_url"], issuer_url);
    let tried = authority["attempts"].as_array().unwrap();
    assert_eq!(tried[0]["path_style"], "append");
    assert_eq!((&tried[0]["status_code"], &tried[0]["tried"]), (&json!(404), &json!(true)));
    assert_eq!(tried[1]["document"], "oauth-authorization-server");
    assert_eq!((&tried[1]["path_style"], &tried[1]["selected"]), (&json!("prepend"), &json!(true)));
    assert_eq!(tried[1]["body"]["token_endpoint"], "t");
    assert_eq!(tried[1]["headers"]["X-Secret"], json!(["[redacted]"]));
    assert_eq!((&tried[2]["tried"], tried.len()), (&json!(false), 4));
    assert_eq!(authority["selected_url"], tried[1]["url"]);
    assert!(!report.to_string().contains("planted"), "{report}");
    stand.tunnel.program.stderr_line("the count", |line| line.contains("count=2"));
}

#[test] // oauth-21
fn another_issuers_document_is_taken_with_a_warning_only_if_no_document_is_right() {
    for (second_is_right, selected) in [(false, 0), (true, 1)] {
        let issuer = Server::start(move |request, _| {
            let named = format!("http://{}", request.header("Host").unwrap());
            match request.path() {
                AS => Answer::json(200, r#"{"issuer":"http://other.example/private"}"#),
                OPENID if second_is_right => {
                    Answer::json(200, format!(r#"{{"issuer":"{named}"}}"#))
                }
                _ => Answer::status(404),
            }
        });
        let server = McpServer::start();
        server.always(PATH, Answer::json(200, metadata(&[&issuer.url()])));
        let stand = Stand::of(server);
        let report = stand.report();
        let authority = &report["metadata"]["auth_server_metadata"];
        let taken = &authority["attempts"][selected];
        assert_eq!(taken["selected"], true, "{authority}");
        if second_is_right {
            assert!(taken.get("issuer_mismatch").is_none());
        } else {
            assert_eq!(taken["issuer_mismatch"], true);
            assert_eq!(taken["expected_issuer_url"], issuer.url());
            assert_eq!(taken["metadata_issuer"], "http://other.example/private");
            assert!(taken["warning"].is_string());
            let warned = |line: &str| line.contains("WARN") && line.contains("another issuer");
            stand.tunnel.program.stderr_line("a warning", warned);
        }
        stand.tunnel.wait_ready();
    }
}

#[test] // oauth-5, oauth-13, oauth-20, oauth-22, forwarding-47
fn the_operators_headers_go_to_the_servers_own_origin_alone() {
    let elsewhere = Server::start(|request, _| {
        let planted = request.headers.iter().any(|(_, value)| value.contains("planted"));
        assert!(!planted, "{request:?}");
        match request.path() {
            "/metadata" => Answer::json(200, metadata(&[]).replace("[]", r#"["$AS"]"#))
                .fill("$AS", &format!("http://{}", request.header("Host").unwrap())),
            _ => Answer::status(500),
        }
    });
    let server = McpServer::start();
    server.always("challenge POST", challenge(&format!("{}/metadata", elsewhere.url())));
    let stand = Stand::with(server, |settings| {
        settings
            .env("MCP_EXTRA_HEADERS", "X-Site: planted-site,X-Both: planted-runtime")
            .env("MCP_DISCOVERY_EXTRA_HEADERS", "X-Probe: planted-probe,x-both: planted-discovery")
    });
    stand.tunnel.wait_ready();
    let report = stand.report();
    assert_eq!(report["metadata_source"], "www_authenticate");
    assert_eq!(report["metadata"]["url"], format!("{}/metadata", elsewhere.url()));
    // No authorization server's document is no failure.
    assert!(report["metadata"]["auth_server_metadata"].get("selected_url").is_none());
    let probe = stand.server.next("challenge POST");
    assert_eq!(probe.header_values("X-Site"), ["planted-site"]);
    assert_eq!(probe.header_values("X-Both"), ["planted-discovery"]);

    // On the server's own origin they go on any path, also after a redirect.
    stand.server.always("challenge POST", Answer::status(401));
    stand.server.always(PATH, Answer::status(302).header("Location", "/.well-known/moved"));
    stand.server.always("/.well-known/moved", document());
    let posted = stand.discover();
    assert_eq!(posted.resp_code(), 200);
    for path in [PATH, "/.well-known/moved"] {
        let request = stand.server.next(path);
        assert_eq!(request.header_values("X-Probe"), ["planted-probe"], "{path}");
    }
}

#[test] // oauth-6, oauth-7, oauth-12
fn the_server_is_asked_by_post_then_by_get_until_it_names_a_url() {
    let server = McpServer::start();
    let origin = server.server().url();
    let named = challenge(&format!("{origin}/.well-known/named?x=1"));
    server.always("/.well-known/named", document());
    server.on("challenge POST", Answer::status(403).header("WWW-Authenticate", "Bearer x=y"));
    server.on("challenge GET", named.clone());
    let stand = Stand::of(server);
    stand.tunnel.wait_ready();
    let report = stand.report();
    assert_eq!(report["www_authenticate_probe"]["url"], format!("{origin}/.well-known/named?x=1"));
    assert_eq!(
        attempts(&report, &origin),
        [
            "/.well-known/named?x=1 www_authenticate selected 200".to_owned(),
            format!("{PATH} well_known_path untried"),
            format!("{ROOT} well_known_root untried")
        ]
    );
    stand.server.on("challenge POST", named);
    assert_eq!(stand.discover().resp_code(), 200);
    assert_eq!(stand.server.count("challenge GET"), 1, "the POST was enough");
    // Only the first field counts, and only an absolute URL.
    for answer in [
        challenge("/relative"),
        Answer::status(401)
            .header("WWW-Authenticate", "Basic realm=x")
            .header("WWW-Authenticate", &format!("Bearer resource_metadata={origin}/x")),
    ] {
        stand.server.on("challenge POST", answer);
        assert_eq!(stand.discover().resp_code(), 502);
    }
}

/// What a failed discovery says of a server that answers like this.
fn failure(script: impl FnOnce(&McpServer)) -> (String, Value) {
    let server = McpServer::start();
    script(&server);
    let stand = Stand::of(server);
    let line = stand.tunnel.wait_not_ready(|line| line.starts_with("oauth discovery failed"));
    (line, stand.report())
}

#[test] // oauth-15, oauth-16, oauth-17, oauth-24, oauth-25, oauth-71
fn a_document_that_is_none_ends_the_search_and_hurts_readiness() {
    let huge = format!(r#"{{"resource":"{}"}}"#, "x".repeat(1_048_576));
    for (answer, why) in [
        (Answer::status(200), "HTTP 200 with an empty body"),
        (Answer::json(200, "{}"), "HTTP 200 without metadata: `resource` is missing"),
        (Answer::json(401, "{}"), "HTTP 401 without metadata"),
        (Answer::status(405), "HTTP 405 with an empty body"),
        (Answer::json(200, huge), "more than 1048576 bytes"),
    ] {
        let (line, report) = failure(|server| {
            server.always(PATH, answer);
            server.always(ROOT, document());
        });
        assert!(line.contains(why), "{line}");
        assert!(!line.contains("/.well-known"), "{line}");
        assert_eq!(report["metadata"]["attempts"][1]["tried"], false);
        assert!(report["error"].as_str().unwrap().contains(why));
    }
}

#[test] // oauth-16
fn some_answers_lead_to_the_next_candidate() {
    let port = BlackHole::new();
    for answer in [
        not_found(),
        Answer::status(404),
        Answer::json(500, metadata(&[])),
        Answer::status(503),
        Answer::reset_at_once(),
        Answer::status(302).header("Location", "/.well-known/loop"),
        Answer::status(307).header("Location", &port.url()),
        Answer::status(500).header("Content-Length", "100").head().close(),
    ] {
        let server = McpServer::start();
        server.always(PATH, answer);
        let circle = Answer::status(302).header("Location", "/.well-known/loop");
        server.always("/.well-known/loop", circle);
        server.always(ROOT, document());
        let stand = Stand::of(server);
        stand.tunnel.wait_ready();
        let report = stand.report();
        assert_eq!(report["metadata"]["attempts"][1]["selected"], true, "{report}");
    }
}

#[test] // oauth-16
fn the_last_candidate_may_have_any_status() {
    each_at_once([401, 403, 404, 500], |status| {
        let server = McpServer::start();
        server.always(ROOT, Answer::json(status, metadata(&[])));
        let stand = Stand::of(server);
        stand.tunnel.wait_ready();
        assert_eq!(stand.report()["metadata"]["status_code"], status);
        assert_eq!(stand.discover().resp_code(), u64::from(status));
    });
}

#[test] // oauth-14
fn a_redirect_leaves_no_origin() {
    let asked = Gate::new();
    let other = asked.clone();
    let elsewhere = Server::start(move |_, _| {
        other.open();
        document()
    });
    let port = elsewhere.port();
    let (line, _) = failure(|server| {
        let own = server.server().port();
        let location = format!("http://localhost:{own}{ROOT}");
        server.always(PATH, Answer::status(302).header("Location", &elsewhere.url()));
        server.always(ROOT, Answer::status(308).header("Location", &location));
    });
    assert!(line.contains("redirects to other origins are not followed"), "{line}");
    assert!(!line.contains(&port.to_string()), "{line}");
    assert!(!asked.is_open() && elsewhere.connections() == 0);
}

#[test] // oauth-12, oauth-24
fn a_named_url_that_fails_is_a_failure_even_if_all_else_is_absent() {
    let elsewhere = Server::start(|_, _| Answer::status(404));
    let named = format!("{}/planted-path?planted-query", elsewhere.url());
    let (line, report) = failure(|server| server.always("challenge POST", challenge(&named)));
    assert!(line.contains(&format!("{}: HTTP 404", elsewhere.url())), "{line}");
    assert!(!line.contains("planted"), "{line}");
    assert_eq!(report["metadata"]["attempts"][0]["url"], named);
}

#[test] // oauth-24, oauth-25
fn a_server_that_does_not_answer_is_named_before_its_failed_discovery() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let control_plane = ControlPlane::start();
    let tunnel = Tunnel::to(&control_plane.url()).http(&format!("http://{nobody}/mcp")).start();
    eventually("the failed discovery", || (report(&tunnel)["state"] == "failed").then_some(()));
    let line = tunnel.wait_not_ready(|line| line.contains("connection refused"));
    assert!(line.starts_with("MCP server of channel main: "), "{line}");
}

#[test] // oauth-1, oauth-23, oauth-24
fn a_failed_discovery_is_made_again_until_it_is_none() {
    let server = McpServer::start();
    server.always(PATH, Answer::status(403));
    let stand = Stand::of(server);
    stand.tunnel.wait_not_ready(|line| line.contains("oauth discovery failed"));
    assert_eq!(stand.tunnel.metric("mcp_tunnel_condition{condition=\"oauth\"}"), 0.0);
    stand.server.always(PATH, document());
    stand.tunnel.wait_ready();
    assert_eq!(stand.report()["state"], "found");
    // What was found stands.
    stand.server.always(PATH, Answer::status(403));
    let found = stand.server.count(PATH);
    assert_eq!(stand.discover().resp_code(), 502);
    assert_eq!(stand.server.count(PATH), found + 1);
    assert_eq!(stand.tunnel.page("/readyz").0, 200);
    assert_eq!(stand.report()["state"], "found", "a command changes nothing (oauth-1)");
}

#[test] // oauth-1, oauth-24
fn a_server_that_comes_late_is_discovered_then() {
    let control_plane = ControlPlane::start();
    let gone = McpServer::start();
    let (url, port) = (gone.url(), gone.server().port());
    drop(gone);
    let tunnel = Tunnel::to(&control_plane.url()).http(&url).start();
    tunnel.wait_not_ready(|line| line.contains("connection refused"));
    let server = McpServer::start_on(port);
    server.always(PATH, document());
    tunnel.wait_ready();
    assert_eq!(report(&tunnel)["state"], "found");
    // It is not told again and again.
    let told = tunnel.program.stderr();
    assert_eq!(told.matches("OAuth discovery failed").count(), 1, "{told}");
}

#[test] // oauth-2, oauth-24, oauth-25, oauth-30
fn a_child_has_nothing_to_discover() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let report = report(&tunnel);
    assert_eq!(report["state"], "not_applicable");
    assert_eq!(report["metadata_source"], "not_advertised");
    assert!(report.get("error").is_none());
    assert_eq!(report["discovery_urls"], json!([]));
    control_plane.push(Command::of("oauth_discovery", "d1"));
    assert_eq!(control_plane.next_response_for("d1").resp_code(), 502);
}

#[test] // oauth-2, operations-65
fn without_a_main_channel_nothing_is_asked() {
    let control_plane = ControlPlane::start();
    let server = McpServer::start();
    let url = format!("channel=docs,url={}", server.url());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&url)
        .env("CONTROL_PLANE_POLL_CHANNELS", "docs")
        .start_ready();
    let report = report(&tunnel);
    assert!(report.get("metadata_source").is_none() && report.get("error").is_none(), "{report}");
    assert_eq!(server.count("challenge POST"), 0);
}

#[test] // oauth-3
fn with_a_startup_wait_discovery_begins_when_the_probe_has_ended() {
    let control_plane = ControlPlane::start();
    let server = McpServer::start();
    let gate = Gate::new();
    let hello = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#;
    server.on(
        "initialize",
        Answer::status(200).header("Content-Type", "application/json").wait(&gate).body(hello),
    );
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_STARTUP_WAIT_TIMEOUT", "5m")
        .start();
    server.next("initialize");
    assert_eq!(server.count("challenge POST"), 0);
    let (status, line) = tunnel.page("/readyz");
    assert_eq!(status, 503, "{line}");
    let (_, body) = tunnel.page("/api/oauth");
    assert!(body.contains("\"pending\":true"), "{body}");
    gate.open();
    server.next("challenge POST");
    tunnel.wait_ready();
}

#[test] // oauth-4, oauth-25, oauth-26, operations-52, operations-53
fn a_silent_server_is_pending_first_and_a_failure_then_and_calls_go_on() {
    let server = McpServer::start();
    let gone = Gate::new();
    server.always(PATH, Answer::silence(&gone));
    let stand = Stand::of(server);
    stand.server.next(PATH);
    stand.tunnel.wait_not_ready(|line| line == "oauth discovery pending");
    let (_, body) = stand.tunnel.page("/api/oauth");
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(report["discovery_urls"].as_array().unwrap().len(), 2);
    stand.server.on("tools/call", Answer::json(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    stand.control_plane.push(Command::call("r1", "1", "tools/call", r#"{"name":"x"}"#));
    assert_eq!(stand.control_plane.next_response().resp_code(), 200);
    let line = stand.tunnel.wait_not_ready(|line| line.starts_with("oauth discovery failed"));
    assert!(line.contains("timed out"), "{line}");
    gone.wait("the request to be given up");
    // The way down does not wait for a discovery.
    stand.tunnel.stop();
}

#[test] // forwarding-16, oauth-27, oauth-28, oauth-29, oauth-32
fn a_command_gets_the_document_as_it_is() {
    let server = McpServer::start();
    let text = r#"{"resource":"http://private/mcp", "x":[1.0, "é"],"authorization_servers":["https://as.example"]}"#;
    server.always(
        PATH,
        Answer::json(200, format!(" {text}\n"))
            .header("Cache-Control", "max-age=60")
            .header("Set-Cookie", "planted")
            .header("X-Hop", "planted")
            .header("X-Kept", "1")
            .header("Connection", "X-Hop"),
    );
    let stand = Stand::of(server);
    stand.report();
    let asked = stand.server.count(PATH);
    let command = Command::of("oauth_discovery", "d1")
        .channel("")
        .header("Authorization", "Bearer planted")
        .header("X-Planted", "planted");
    stand.control_plane.push(command);
    let posted = stand.control_plane.next_response_for("d1");
    assert_eq!(posted.resp_type(), "oauth_discovery_response");
    assert_eq!((posted.resp_code(), posted.resp_json()), (200, text.to_owned()));
    assert_eq!(posted.json()["channel"], "main");
    let body = posted.0.text();
    assert!(
        body.contains(r#""Cache-Control":["max-age=60"]"#) && body.contains(r#""X-Kept":["1"]"#)
    );
    assert!(!body.contains("planted") && !body.contains("Content-Length"), "{body}");
    assert_eq!(stand.server.count(PATH), asked + 1, "no cache");
    let last = std::iter::repeat_with(|| stand.server.next(PATH)).nth(asked).unwrap();
    assert!(!last.headers.iter().any(|(_, value)| value.contains("planted")), "{last:?}");
    let latency = "command_end_to_end_latency_milliseconds_count{request_kind=\"oauth_discovery\",\
                   channel=\"main\",tunnel_service_status=\"200\",latency_type=\"poll_to_response\"}";
    // It is counted a moment after the answer was taken.
    eventually("the latency of the command", || {
        stand.tunnel.page("/metrics").1.contains(&format!("{latency} 1")).then_some(())
    });
}

#[test] // oauth-28, wire-57
fn the_commands_deadline_ends_its_search_in_silence() {
    let stand = Stand::of(McpServer::start());
    stand.report();
    let gone = Gate::new();
    stand.server.always(PATH, Answer::silence(&gone));
    stand.control_plane.push(Command::of("oauth_discovery", "d1").response_timeout("300ms"));
    gone.wait("the search to be given up");
    stand.control_plane.push(Command::call("r1", "1", "tools/list", "{}"));
    stand.control_plane.next_response_for("r1");
    let late = "mcp_tunnel_commands_unanswered_total{reason=\"deadline_server\"}";
    stand.tunnel.wait_metric(late, 1.0);
    assert_eq!(stand.control_plane.responses_waiting(), 0);
}

#[test] // oauth-5
fn a_shutdown_ends_a_search_at_once() {
    let server = McpServer::start();
    let gone = Gate::new();
    server.always(PATH, Answer::silence(&gone));
    let stand = Stand::of(server);
    stand.server.next(PATH);
    stand.tunnel.stop();
    gone.wait("the search to be given up");
}

#[test] // oauth-71, oauth-72, oauth-73, oauth-76, operations-85, operations-86
fn nothing_but_origins_is_logged() {
    let elsewhere = Server::start(|_, _| Answer::json(200, r#"{"resource":7,"planted":1}"#));
    let server = McpServer::start();
    let url = format!("{}/planted/mcp?planted", server.server().url());
    let host = elsewhere.url().replace("http://", "http://user:planted@");
    server.always("challenge POST", challenge(&format!("{host}/planted?planted")));
    let control_plane = ControlPlane::start();
    let tunnel = Tunnel::to(&control_plane.url()).http(&url).arg("--confinement=off").start();
    let line = tunnel.wait_not_ready(|line| line.contains("oauth discovery failed"));
    assert!(line.contains(&elsewhere.url()), "{line}");
    control_plane.push(Command::of("oauth_discovery", "d1"));
    let posted = control_plane.next_response_for("d1");
    tunnel.program.stderr_line("the failure", |l| l.contains("no OAuth metadata to pass on"));
    for text in [line.as_str(), posted.0.text(), &tunnel.program.stderr()] {
        assert!(!text.contains("planted"), "{text}");
    }
    // The operator on this host sees whole URLs, but no password.
    let (_, report) = tunnel.page("/api/oauth");
    assert!(report.contains("/planted?planted") && !report.contains("user:planted"), "{report}");
}

#[test] // oauth-12
fn a_confined_daemon_says_which_ports_it_may_not_connect_to() {
    let elsewhere = Server::start(|_, _| document());
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    server.always("challenge POST", challenge(&format!("{}/metadata", elsewhere.url())));
    let confined = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    let why =
        format!("ports 80, 443 and those of the configuration open, not {}", elsewhere.port());
    let report = report(&confined);
    let attempt = &report["metadata"]["attempts"][0];
    let can_be = confined.page("/api/system").1.contains(r#""confinement":"full""#);
    match can_be {
        true => assert!(attempt["error"].as_str().unwrap().contains(&why), "{attempt}"),
        // The kernel has no rule for ports.
        false => assert_eq!(attempt["selected"], true),
    }
    // The port of another channel is open.
    let both = format!("{}\nchannel=other,url={}/mcp", server.url(), elsewhere.url());
    let tunnel = Tunnel::to(&control_plane.url()).http(&both).start();
    let report = self::report(&tunnel);
    assert_eq!(report["metadata"]["attempts"][0]["selected"], true, "{report}");
}

/// A server behind any name: its metadata are at `http://other.example/metadata`, the document of
/// its authorization server at another one.
fn of_many_names(host: &str, path: &str) -> Answer {
    match (host, path) {
        ("mcp.example:81", "/mcp") => challenge("http://other.example/metadata"),
        ("other.example", "/metadata") => Answer::json(200, metadata(&["http://as.example"])),
        ("as.example", AS) => Answer::json(200, r#"{"issuer":"http://as.example"}"#),
        _ => Answer::status(404),
    }
}

fn all_names_are_reached(tunnel: &Tunnel) {
    let report = report(tunnel);
    assert_eq!(report["metadata"]["url"], "http://other.example/metadata", "{report}");
    let document = format!("http://as.example{AS}");
    assert_eq!(report["metadata"]["auth_server_metadata"]["selected_url"], document, "{report}");
}

#[test] // oauth-5, wire-31
fn other_origins_are_reached_through_the_servers_proxy() {
    let proxy = Server::start(|request, _| {
        let rest = request.target.strip_prefix("http://").expect("a request in absolute form");
        let (host, path) = rest.split_once('/').unwrap();
        of_many_names(host, &format!("/{path}"))
    });
    let control_plane = ControlPlane::start();
    let tunnel = Tunnel::to(&control_plane.url())
        .http("http://mcp.example:81/mcp")
        .env("MCP_HTTP_PROXY", &proxy.url())
        .start();
    all_names_are_reached(&tunnel);
}

#[test] // oauth-5
fn other_origins_are_reached_through_the_servers_socket() {
    let control_plane = ControlPlane::start();
    let scratch = Scratch::new();
    let socket = scratch.path("mcp.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut lines = BufReader::new(&connection).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            let host = lines.find_map(|line| line.strip_prefix("host: ").map(str::to_owned));
            let path = first.split(' ').nth(1).unwrap().to_owned();
            let answer = of_many_names(&host.unwrap(), &path).header("Connection", "close");
            let _ = (&connection).write_all(&answer.bytes());
        }
    });
    let url =
        format!("channel=main,url=http://mcp.example:81/mcp,unix-socket={}", socket.display());
    let tunnel = Tunnel::to(&control_plane.url()).http(&url).start();
    all_names_are_reached(&tunnel);
}

//! The operator page in headless Chromium, with the real daemon in good and bad states, and the
//! JSON behind it. Rule numbers are those of the specification of the operations surface.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::support::browser::Browser;
use crate::support::control_plane::{API_KEY, TUNNEL_ID};
use crate::support::http::Server;
use crate::support::{
    Answer, Command, ControlPlane, McpServer, PATIENCE, Signal, Tunnel, eventually, programs,
};
use serde_json::Value;

/// What no page may ever hold.
const PAYLOAD: &str = "planted-payload-7f3a";
/// Text of a hostile server: markup, an escape of a terminal, and a mark that turns the writing
/// direction.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\u{1b}[2J\u{202e}";

fn stub() -> String {
    format!("{} mcp-stub", programs::tunnel())
}

fn call(request_id: &str, tool: &str) -> Command {
    let params = format!(r#"{{"name":"{tool}","arguments":{{"text":"{PAYLOAD}"}}}}"#);
    Command::call(request_id, "1", "tools/call", &params)
}

/// Has a command done, and gives the answer.
fn done(control_plane: &ControlPlane, id: &str, command: Command) -> Value {
    control_plane.push(command);
    control_plane.next_response_for(id).message()
}

/// One request as a client of the listener makes it: status, head, body.
fn ask(tunnel: &Tunnel, request: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(tunnel.health.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

/// What a client of the protocol with sessions begins with.
fn introduce(control_plane: &ControlPlane, channel: &str) {
    let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},
        "clientInfo":{"name":"t","version":"1"}}"#;
    let id = format!("req-{channel}-");
    for (number, method, params) in [(1, "initialize", params), (2, "tools/list", "{}")] {
        let id = format!("{id}{number}");
        done(control_plane, &id, Command::call(&id, "1", method, params).channel(channel));
    }
}

/// Where pictures of the page go, for people to look at.
fn picture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn open(tunnel: &Tunnel) -> Browser {
    let mut browser = Browser::start(1200, 1500);
    browser.open(&format!("{}/ui", tunnel.health));
    browser
}

/// Every one of these is there.
fn has(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object.get(field).is_some_and(|value| !value.is_null()), "{field}: {object}");
    }
}

#[test] // operations-24, operations-26 to operations-30, operations-33 to operations-38,
// operations-40, operations-217, operations-218, operations-224
fn each_route_of_the_reference_answers_with_its_fields() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .stdio(&stub())
        .arg("--mcp.server-url")
        .arg(&format!("channel=tickets,url={}", server.url()))
        .start_ready();
    introduce(&control_plane, "main");
    done(&control_plane, "r1", call("r1", "echo"));
    eventually("the records", || (tunnel.json("/api/commands")["total"] == 3).then_some(()));

    let status = tunnel.json("/api/status");
    has(
        &status,
        &[
            "version",
            "client_instance_id",
            "started_at",
            "uptime_seconds",
            "health_listen_addr",
            "control_plane_base_url",
            "control_plane_tunnel_id",
            "control_plane_max_inflight",
            "control_plane_poll_timeout",
            "control_plane_poll_deadline_guardrail",
            "channels",
            "control_plane_route",
            "mcp_routes",
            "raw_http_logging_enabled",
            "tunnel_metadata",
            "warnings",
            "readiness",
            "advice",
            "live",
            "state_since",
            "state_seconds",
        ],
    );
    assert_eq!(status["control_plane_tunnel_id"], TUNNEL_ID);
    let route = ["kind", "name", "target", "route_mode", "proxy_source"];
    has(&status["control_plane_route"], &route);
    has(&status["mcp_routes"][0], &route);
    let names: Vec<_> = (0..2).map(|n| status["channels"][n]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["main", "tickets"], "sorted by name");
    let main = &status["channels"][0];
    has(main, &["enabled", "server_kind", "transport_kind", "probe_status", "details", "restarts"]);
    assert_eq!((&main["probe_status"], &main["transport_kind"]), (&"ok".into(), &"stdio".into()));
    let keys: Vec<_> = (0..2).map(|n| main["details"][n]["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["pid", "command"]);
    has(&main["server_info"], &["name", "version", "protocol_version", "seen_at"]);
    has(&main["tools"], &["names", "more", "seen_at"]);
    assert!(main["tools"]["names"].to_string().contains("\"echo\""), "{main}");
    let tickets = &status["channels"][1];
    assert_eq!(tickets["transport_kind"], "http-streamable");
    assert_eq!(tickets["details"][0]["key"], "address");
    assert!(tickets.get("probe_status").is_none(), "of main alone: {tickets}");
    assert_eq!(tickets["server_info"]["name"], "scripted", "by the answer to the tunnel's probe");

    let system = tunnel.json("/api/system");
    has(
        &system,
        &[
            "tls",
            "proxy_identity_map",
            "proxy_health",
            "main_channel_probe_status",
            "certificates",
            "process",
        ],
    );
    has(
        &tunnel.json("/api/oauth"),
        &[
            "discovery_urls",
            "auth_server_metadata_mode",
            "authorization_server_count",
            "metadata_source",
        ],
    );
    has(&system["tls"]["system_trust"], &["enabled", "source", "fallback_note"]);
    has(&system["proxy_health"][0], &["route", "health_state"]);
    assert_eq!(system["proxy_health"][0]["health_state"], "direct");

    let commands = tunnel.json("/api/commands?limit=1");
    assert_eq!(commands["commands"].as_array().unwrap().len(), 1);
    has(
        &commands["commands"][0],
        &[
            "time",
            "request_id",
            "channel",
            "kind",
            "method",
            "tool",
            "outcome",
            "status",
            "bytes_in",
            "bytes_out",
            "queued_ms",
            "mcp_ms",
            "duration_ms",
        ],
    );
    let events = |query: &str| {
        let page = tunnel.json(&format!("/api/logs{query}"));
        page["events"].as_array().unwrap().clone()
    };
    assert_eq!(events("?limit=1").len(), 1);
    for query in ["", "?limit=0", "?limit=x", "?limit=999999"] {
        assert!(events(query).len() > 1, "{query}");
    }
    has(&events("?limit=1")[0], &["seq", "time", "level", "message", "attrs"]);
    let level = tunnel.json("/api/log-level");
    assert_eq!(level["supported_levels"], serde_json::json!(["debug", "info", "warn"]));
    let settings = tunnel.json("/api/settings").to_string();
    assert!(settings.contains("CONTROL_PLANE_TUNNEL_ID") && !settings.contains(API_KEY));

    let harpoon = tunnel.json("/api/harpoon/status");
    assert_eq!(
        (&harpoon["enabled"], &harpoon["reason"]),
        (&false.into(), &"harpoon not initialized".into())
    );
    has(
        &harpoon,
        &["capture_payloads", "allow_plaintext_http", "max_response_bytes", "max_redirects"],
    );
    assert_eq!(tunnel.page("/api/harpoon/targets").1.trim(), r#"{"targets":[]}"#);
    assert_eq!(tunnel.page("/api/harpoon/calls?label=x&limit=1").1.trim(), r#"{"calls":[]}"#);
    assert_eq!(ask(&tunnel, "GET /harpoon/mcp", "").0, 404);
    for request in ["GET /api/codex/status", "GET /api/codex/events", "POST /api/codex/turn/start"]
    {
        let (code, _, body) = ask(&tunnel, request, "{}");
        assert_eq!((code, body.as_str()), (503, "codex bridge unavailable\n"), "{request}");
    }

    let (code, head, body) = ask(&tunnel, "GET /api/status", "");
    let head = head.to_lowercase();
    assert!(code == 200 && body.ends_with("}\n"), "{body}");
    for header in ["content-type: application/json; charset=utf-8", "nosniff", "no-store"] {
        assert!(head.contains(header), "{header}: {head}");
    }
    for path in ["/", "/ui", "/ui/"] {
        let (code, head, body) = ask(&tunnel, &format!("GET {path}"), "");
        assert_eq!(code, 200);
        let head = head.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; connect-src 'self';",
            "frame-ancestors 'none'",
            "nosniff",
            "etag: ",
            "x-frame-options: deny",
            "content-type: text/html; charset=utf-8",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(header), "{header}: {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
        assert!(body.len() < 60 * 1024);
    }
    assert_eq!(ask(&tunnel, "HEAD /ui", "").2, "");
    let head = ask(&tunnel, "GET /ui", "").1;
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
    let known = format!("GET /ui HTTP/1.1\r\nIf-None-Match: {etag}\r\nX: y\r\nX-Rest:");
    assert_eq!(ask(&tunnel, &known, "").0, 304);
    assert_eq!(ask(&tunnel, "GET /favicon.ico", "").0, 204);
    assert_eq!(ask(&tunnel, "GET /api/none", "").0, 404);
    assert_eq!(ask(&tunnel, "DELETE /api/status", "").0, 405);
}

#[test] // operations-220
fn the_log_stream_goes_on_where_a_list_ended() {
    let (_control_plane, _server, tunnel) = crate::support::between();
    tunnel.wait_ready();
    let mut stream = TcpStream::connect(tunnel.health.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/logs/stream?after=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    tunnel.program.signal(Signal::TERM);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let numbers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let all: Vec<String> = (2..2 + numbers.len()).map(|number| number.to_string()).collect();
    assert!(numbers.len() > 2 && numbers == all, "{text}");
}

#[test] // ops 2.1
fn the_main_channel_says_what_was_found_of_its_server() {
    let (control_plane, server, tunnel) = crate::support::between();
    let found = |word: &str| {
        eventually(word, || {
            let status = tunnel.json("/api/status");
            let main = &status["channels"][0];
            (main["probe_status"] == word).then(|| main.clone())
        })
    };
    let main = found("ok");
    assert!(main["enabled"] == true && main.get("probe_error").is_none(), "{main}");
    server.always("initialize", Answer::status(401));
    server.always("tools/call", Answer::status(401));
    control_plane.push(call("r1", "x"));
    control_plane.next_response_for("r1");
    assert_eq!(found("auth-required")["enabled"], true);
    let (status, verbose) = tunnel.page("/readyz?verbose");
    assert_eq!(status, 200, "whose authorization that is the client knows");
    assert!(verbose.contains("probe=\"auth-required\""), "{verbose}");
    let port = server.server().port();
    drop(server);
    control_plane.push(call("r2", "x"));
    control_plane.next_response_for("r2");
    let main = found("failed");
    assert!(main["enabled"] == false, "{main}");
    assert!(main["probe_error"].as_str().unwrap().contains("refused"), "{main}");
    let silent = McpServer::start_on(port);
    silent.always("initialize", Answer::silence(&crate::support::Gate::new()));
    found("timeout");
    assert_eq!(tunnel.json("/api/system")["main_channel_probe_status"], "timeout");
}

#[test] // operations-217, operations-218
fn the_page_shows_a_tunnel_that_serves_with_its_servers_tools_commands_log_and_settings() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .stdio(&stub())
        .arg("--mcp.server-url")
        .arg(&format!("channel=tickets,url={}", server.url()))
        .start_ready();
    let mut browser = open(&tunnel);
    browser.wait_for_in("#verdict", "The tunnel is up");
    browser.wait_for_in("#commands", "No command yet.");
    browser.wait_for_in("#channels", "no client has asked yet");
    let list = |names: &str| {
        Answer::json(200, format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"tools":[{names}]}}}}"#))
    };
    server.always("tools/list", list(r#"{"name":"search_tickets"},{"name":"close_ticket"}"#));
    introduce(&control_plane, "main");
    introduce(&control_plane, "tickets");
    for number in 0..12 {
        let id = format!("req-{number:02}");
        let (tool, channel) = [("echo", "main"), ("search_tickets", "tickets")][number % 2];
        done(&control_plane, &id, call(&id, tool).channel(channel));
    }
    browser.wait_for_in("#commands", "tools/call \u{b7} echo");
    browser.wait_for_in("#commands", "answered 200");
    for text in ["mcp-tunnel started", "command is over"] {
        browser.wait_for_in("#log", text);
    }
    // Who the servers are, and what they can do, from answers that passed.
    for text in ["mcp-stub", "protocol 2025-11-25", "scripted 1.0.0", "child process, pid "] {
        browser.wait_for_in("#channels", text);
    }
    browser.value("document.querySelectorAll('#channels details')[1].open = true");
    browser.wait_for_in("#channels", "search_tickets");
    browser.wait_for_in("#path", "scripted 1.0.0");
    let hops = browser.value("document.querySelectorAll('#path .box.good').length");
    assert_eq!(hops, 4, "control plane, tunnel, two servers");
    // It stays open, though the page is drawn again and again.
    browser.wait_until("document.querySelectorAll('#charts polyline')[3].getAttribute('points').split(' ').length >= 4");
    assert_eq!(browser.value("document.querySelectorAll('#channels details')[1].open"), true);
    for chart in 0..5 {
        browser.wait_until(&format!(
            "document.querySelectorAll('#charts polyline')[{chart}].getAttribute('points').length > 0"
        ));
    }
    browser.picture(&picture("good.png"));
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)");
    browser.wait_for_in("#settings", "control_plane.tunnel_id");
    browser.wait_for_in("#settings", "variable CONTROL_PLANE_TUNNEL_ID");
    browser.wait_for_in("#system", "pid ");
    browser.wait_for_in("#system", "Confinement");
    assert!(!browser.text("#system").contains("unknown"));
    // What is not there has no panel.
    let panels = browser.value(
        "[...document.querySelectorAll('section:not([hidden])')].map(s => s.ariaLabel).join()",
    );
    assert_eq!(panels, "Path,Rates,Channels,Recent commands,Log,Settings,System");
    let text = browser.text("body");
    assert!(!text.contains(PAYLOAD) && !text.contains(API_KEY), "{text}");
    let archive = browser.value(
        "fetch(document.querySelector('a[download]').href).then(r => r.headers.get('content-type'))",
    );
    assert_eq!(archive, "application/gzip");
    browser.assert_clean(&tunnel.health);
}

#[test]
fn each_bad_state_is_named_at_first_sight_with_what_to_do() {
    // A key that is refused.
    let (control_plane, server, tunnel) = crate::support::between();
    tunnel.wait_ready();
    let mut browser = open(&tunnel);
    browser.wait_for_in("#verdict", "The tunnel is up");
    control_plane.every_poll(Some(Answer::json(403, "{}")));
    tunnel.wait_not_ready(|_| true);
    browser.wait_for_in("#verdict", "The tunnel is down");
    browser.wait_for_in("#reason", "Down for");
    browser.wait_for_in("#advice", "Put the runtime key right");
    browser.wait_for_in("#facts", "ago, as above");
    browser.wait_for_in("#path .hop:first-child", "not working");
    browser.wait_for_in("#path .hop:first-child", "key refused");
    browser.wait_until("document.title.startsWith('DOWN')");
    browser.wait_for_in("#log", "poll failed");
    browser.picture(&picture("bad.png"));
    browser.emulate(1200, 1500, true);
    browser.picture(&picture("bad-dark.png"));
    browser.emulate(390, 844, false);
    browser.picture(&picture("bad-phone.png"));
    // It mends itself; what went wrong is still to be seen.
    control_plane.every_poll(None);
    browser.wait_for_in("#verdict", "The tunnel is up");
    browser.wait_for_in("#facts", "ago:");
    assert_eq!(browser.text("#advice"), "");

    // A server that is not there.
    let port = server.server().port();
    drop(server);
    control_plane.push(call("r1", "x"));
    control_plane.next_response_for("r1");
    browser.wait_for_in("#verdict", "The tunnel is down");
    browser.wait_for_in("#advice", "Check that the MCP server runs");
    browser.wait_for_in("#path .hop:last-child", "not working");
    browser.wait_for_in("#commands", "failed 502");
    browser.wait_for_in("#channels", "refused");
    let server = McpServer::start_on(port);
    browser.wait_for_in("#verdict", "The tunnel is up");
    browser.assert_clean(&tunnel.health);
    drop((tunnel, server));

    // A child that ends at once; and before that, a start that takes its time.
    let tunnel =
        Tunnel::to(&control_plane.url()).stdio("sh -c 'echo no licence >&2; exit 3'").start();
    let mut browser = open(&tunnel);
    browser.wait_for_in("#verdict", "The tunnel is down");
    browser.wait_for_in("#advice", "The MCP server's process does not serve");
    browser.wait_for_in("#log", "no licence");
    browser.wait_for_in("#channels", "restart");
    browser.picture(&picture("bad-child.png"));
    browser.assert_clean(&tunnel.health);
}

#[test]
fn a_daemon_that_stops_is_gone_and_comes_back_is_followed() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = || {
        Tunnel::to(&control_plane.url())
            .http(&server.url())
            .env("HEALTH_LISTEN_ADDR", &format!("127.0.0.1:{port}"))
            .start_ready()
    };
    let mut tunnel = start();
    let mut browser = open(&tunnel);
    browser.wait_for_in("#verdict", "The tunnel is up");
    let gate = crate::support::Gate::new();
    let slow = Answer::status(200).header("Content-Type", "application/json").wait(&gate);
    server.on("tools/call", slow.body(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    control_plane.push(call("r1", "x"));
    server.next("tools/call");
    tunnel.program.signal(Signal::TERM);
    browser.wait_for_in("#verdict", "The tunnel is stopping");
    browser.wait_for_in("#advice", "calls in flight finish");
    browser.assert_clean(&tunnel.health);
    gate.open();
    assert_eq!(tunnel.program.exit_code(), 0);
    browser.wait_for_in("#verdict", "The daemon does not answer");
    browser.wait_for_in("#advice", "systemctl status mcp-tunnel");
    browser.picture(&picture("gone.png"));
    let again = start();
    browser.wait_for_in("#verdict", "The tunnel is up");
    browser.wait_for_in("#log", "mcp-tunnel started");
    drop(again);
}

#[test]
fn what_a_server_calls_itself_is_text_and_nothing_else() {
    let (control_plane, server, tunnel) = crate::support::between();
    let text = Value::from(HOSTILE).to_string();
    let result = |result: String| {
        Answer::json(200, format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#))
    };
    server.always(
        "initialize",
        result(format!(
            r#"{{"serverInfo":{{"name":{text},"version":{text}}},"protocolVersion":{text}}}"#
        )),
    );
    server.always("tools/list", result(format!(r#"{{"tools":[{{"name":{text}}}]}}"#)));
    introduce(&control_plane, "main");
    let params = format!(r#"{{"name":{text}}}"#);
    done(&control_plane, "r1", Command::call("r1", "1", "tools/call", &params));
    let mut browser = open(&tunnel);
    browser.wait_for_in("#channels", "<img src=x onerror=alert(1)>\\u{1b}[2J\\u{202e}");
    browser.value("document.querySelector('#channels details').open = true");
    browser.wait_for_in("#channels .tools", "<img src=x onerror=alert(1)>\\u{1b}[2J\\u{202e}");
    browser.wait_for_in("#commands", "<img");
    assert_eq!(browser.value("document.images.length"), 0);
    // And were it markup, it could do nothing.
    browser.value(
        "window.ran = false; document.body.insertAdjacentHTML('beforeend',
           '<p onclick=\"window.ran = true\" id=planted>x</p>'); planted.click()",
    );
    assert_eq!(browser.value("window.ran"), false);
    browser.console.retain(|line| !line.contains("Content Security Policy"));
    browser.assert_clean(&tunnel.health);
    // What went over the wire is no markup either, whatever it is taken for.
    let (_, status) = tunnel.page("/api/status");
    assert!(!status.contains('<') && !status.contains('\u{202e}'), "{status}");
}

#[test] // oauth-23, oauth-24
fn the_oauth_panel_tells_what_was_found_and_what_failed() {
    let issuer = Server::start(|request, _| match request.path() {
        "/.well-known/oauth-authorization-server" => {
            let named = format!("http://{}", request.header("Host").unwrap());
            Answer::json(200, format!(r#"{{"issuer":"{named}","token_endpoint":"{named}/token"}}"#))
        }
        _ => Answer::status(404),
    });
    let (path, root) =
        ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource");
    let document = serde_json::json!({"resource": "http://private/mcp",
        "authorization_servers": [issuer.url()], "resource_name": HOSTILE});
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    server.always(path, Answer::json(500, "{}"));
    server.always(root, Answer::json(403, "{}"));
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    let mut browser = open(&tunnel);
    browser.wait_for_in("#verdict", "The tunnel is down");
    browser.wait_for_in("#reason", "oauth discovery failed");
    browser.wait_for_in("#advice", "under OAuth on the page");
    // It opens by itself.
    browser.wait_for_in("#oauth-body", "well known root");
    browser.wait_for_in("#oauth-body td.n", "500");
    browser.picture(&picture("oauth-bad.png"));

    server.always(path, Answer::json(200, document.to_string()));
    browser.wait_for_in("#verdict", "The tunnel is up");
    browser.wait_for_in("#oauth-line", "protected; its metadata is at the well-known address");
    browser.value("document.getElementById('oauth-more').open = true");
    for text in [&issuer.url(), "oauth-authorization-server", "taken", "<img src=x"] {
        browser.wait_for_in("#oauth-body", text);
    }
    assert_eq!(browser.value("document.images.length"), 0);
    browser.picture(&picture("oauth.png"));
    for width in [320, 1200] {
        browser.emulate(width, 900, false);
        let wide = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(wide <= u64::from(width), "{width} px would scroll sideways: {wide}");
    }
    browser.assert_clean(&tunnel.health);

    // A server that has none of it says so in one line.
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start_ready();
    let mut browser = open(&tunnel);
    browser.wait_for_in("#oauth-line", "the MCP server advertises none");
    assert_eq!(browser.value("document.getElementById('oauth-more').open"), false);
    browser.assert_clean(&tunnel.health);
}

#[test]
fn all_of_the_page_is_reached_and_worked_with_the_keyboard() {
    let (control_plane, server, tunnel) = crate::support::between();
    tunnel.wait_ready();
    introduce(&control_plane, "main");
    drop(server);
    let mut browser = open(&tunnel);
    browser.wait_for_in("#channels", "scripted 1.0.0");
    browser.wait_for_in("#log", "mcp-tunnel started");
    let mut reached = Vec::new();
    for _ in 0..30 {
        browser.press("Tab");
        let what = browser.value(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);
               if (e === document.body) return ['', true];
               return [e.id || e.textContent.trim() || e.getAttribute('aria-label'),
                       s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0]; })()",
        );
        let name = what[0].as_str().unwrap_or_default().to_owned();
        assert!(name.is_empty() || what[1] == true, "the focus is to be seen: {name}");
        if reached.contains(&name) {
            break;
        }
        reached.push(name);
        match reached.last().unwrap().as_str() {
            "filter" => {
                for letter in ["s", "t", "a", "r", "t", "e", "d"] {
                    browser.press(letter);
                }
                browser.wait_until("document.getElementById('log').childElementCount === 1");
            }
            "pause" => {
                browser.press("Enter");
                browser.wait_for_in("#pause", "Go on");
            }
            "level" => {
                // From debug to info.
                browser.press("ArrowDown");
                eventually("the level to change", || {
                    (tunnel.json("/api/log-level")["level"] == "info").then_some(())
                });
            }
            "Settings and where they come from" | "System" => {
                browser.press("Enter");
                browser.wait_until("document.activeElement.parentElement.open");
            }
            _ => {}
        }
    }
    for control in ["filter", "least", "pause", "level", "Support archive", "logbox", "System"] {
        assert!(reached.iter().any(|name| name == control), "{control}: {reached:?}");
    }
    browser.wait_for_in("#settings", "control_plane.tunnel_id");
    browser.assert_clean(&tunnel.health);
}

#[test]
fn the_log_is_filtered_by_text_and_level_and_can_be_held() {
    let (control_plane, server, tunnel) = crate::support::between();
    tunnel.wait_ready();
    let mut browser = open(&tunnel);
    browser.wait_for_in("#log", "mcp-tunnel started");
    let set = |id: &str, value: &str| {
        format!(
            "(() => {{ const e = document.getElementById('{id}'); e.value = '{value}';
               e.dispatchEvent(new Event('{}')); }})()",
            if id == "filter" { "input" } else { "change" }
        )
    };
    let lines = "document.getElementById('log').childElementCount";
    browser.value(&set("filter", "METADATA"));
    browser.wait_until(&format!("{lines} === 1"));
    browser.value(&set("filter", ""));
    browser.value(&set("least", "2"));
    browser.wait_until(&format!("{lines} === 0"));
    drop(server);
    control_plane.push(call("r1", "x"));
    control_plane.next_response_for("r1");
    browser.wait_for_in("#log", "MCP server does not answer");
    browser.value("document.getElementById('pause').click()");
    let held = browser.value(lines);
    control_plane.every_poll(Some(Answer::json(500, "{}")));
    browser.wait_for_in("#facts", "status 500");
    assert_eq!(browser.value(lines), held);
    browser.value("document.getElementById('pause').click()");
    browser.wait_for_in("#log", "poll failed");
    browser.assert_clean(&tunnel.health);
}

#[test]
fn no_width_scrolls_sideways_and_every_text_stands_out_in_both_schemes() {
    let (control_plane, server, tunnel) = crate::support::between();
    tunnel.wait_ready();
    introduce(&control_plane, "main");
    let long = "long_".repeat(20);
    done(&control_plane, "r1", call("r1", &long));
    let mut browser = open(&tunnel);
    browser.wait_for_in("#commands", "long_");
    drop(server);
    control_plane.every_poll(Some(Answer::json(401, "{}")));
    control_plane.push(call("r2", "x"));
    tunnel.wait_not_ready(|_| true);
    browser.wait_for_in("#verdict", "The tunnel is down");
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)");
    // WCAG 2: contrast of text and what is behind it, 4.5 to 1.
    let faint = "(() => {
        const rgb = c => c.match(/[0-9.]+/g).map(Number);
        const light = c => { const [r, g, b] = rgb(c).map(v => { v /= 255;
            return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (rgb(c)[3] !== 0) return c; } return 'rgb(255, 255, 255)'; };
        const out = [];
        for (const e of document.querySelectorAll('main *')) {
            if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.offsetParent) continue;
            const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) out.push(e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 30) + ' ' + ratio.toFixed(2));
        }
        return out.join('; '); })()";
    for dark in [false, true] {
        for width in [320, 390, 768, 1200, 1920] {
            browser.emulate(width, 900, dark);
            let wide = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
            assert!(wide <= u64::from(width), "{width} px would scroll sideways: {wide}");
        }
        assert_eq!(browser.value(faint), "", "dark: {dark}");
    }
    browser.emulate(390, 844, true);
    browser.picture(&picture("phone-dark.png"));
    browser.assert_clean(&tunnel.health);
}

//! What the operator sees of a running daemon, through the real binary: probes, the service
//! manager, signals, the audit trail, the operator page's routes and the support archive. Rule
//! numbers are those of the specification of the operations surface.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use crate::support::control_plane::{API_KEY, TUNNEL_ID};
use crate::support::{
    Answer, Command, ControlPlane, McpServer, PATIENCE, Scratch, Signal, Tunnel, eventually,
    programs,
};
use serde_json::Value;

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
/// What no page, log or file may ever hold.
const PAYLOAD: &str = "planted-payload-7f3a";

fn call(request_id: &str) -> Command {
    let params = format!(r#"{{"name":"x","arguments":{{"a":"{PAYLOAD}"}}}}"#);
    Command::call(request_id, "1", "tools/call", &params)
}

/// One request as a client of the listener makes it: status, head, body.
fn ask(tunnel: &Tunnel, request: &str, headers: &[&str], body: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(tunnel.health.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        text.push_str("Host: localhost\r\n");
    }
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

fn json(tunnel: &Tunnel, path: &str) -> Value {
    let (status, body) = tunnel.page(path);
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {status} {e}: {body}"))
}

fn condition<'a>(report: &'a Value, name: &str) -> &'a Value {
    let conditions = report["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

#[test] // operations-60, operations-67, operations-201, operations-202, operations-203
fn readiness_names_every_condition_in_stable_words() {
    let (control_plane, server, tunnel) = crate::support::between();
    tunnel.wait_ready();
    let report = json(&tunnel, "/readyz?format=json");
    assert_eq!((&report["ready"], &report["line"]), (&Value::Bool(true), &"ready".into()));
    assert_eq!(condition(&report, "control_plane")["state"], "ok");
    assert_eq!(condition(&report, "mcp/main")["state"], "ok");
    assert_eq!(condition(&report, "mcp/main")["transport"], "http-streamable");
    let (_, head, _) = ask(&tunnel, "GET /readyz", &["Accept: application/json"], "");
    assert!(head.contains("application/json"), "{head}");
    let (_, verbose) = tunnel.page("/readyz?verbose");
    assert!(verbose.starts_with("ok control_plane"), "{verbose}");
    assert!(!verbose.contains("=null"), "{verbose}");
    assert!(verbose.ends_with("\nready\n"), "{verbose}");
    assert_eq!(tunnel.page("/livez"), (200, "live".to_owned()));
    assert_eq!(tunnel.page("/startupz"), (200, "started".to_owned()));

    control_plane.every_poll(Some(Answer::json(401, "{}")));
    tunnel.wait_not_ready(|_| true);
    let report = json(&tunnel, "/readyz?format=json");
    let failed = condition(&report, "control_plane");
    assert_eq!(
        (&failed["state"], &failed["last_error_class"]),
        (&"failed".into(), &"key_refused".into())
    );
    assert_eq!(tunnel.metric("mcp_tunnel_condition{condition=\"control_plane\"}"), 0.0);
    assert!(tunnel.metric("mcp_tunnel_poll_failures_total{class=\"key_refused\"}") >= 1.0);
    assert_eq!(tunnel.page("/livez").0, 200, "a refused key is not mended by a restart");
    control_plane.every_poll(None);
    tunnel.wait_ready();
    // What went wrong is still to be seen.
    let report = json(&tunnel, "/readyz?format=json");
    assert_eq!(condition(&report, "control_plane")["last_error_class"], "key_refused");
    drop(server);
}

/// The service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    heard: String,
}

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, heard: String::new() }
    }

    /// Reads notices until one says this.
    fn wait_for(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.heard.contains(text) {
            let count = self.socket.recv(&mut buffer).unwrap_or_else(|e| {
                panic!("in vain for {text:?}: {e}; heard {:?}", self.heard);
            });
            self.heard.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    }
}

#[test] // operations-204, operations-205
fn the_service_manager_hears_of_start_state_reload_and_stop() {
    let scratch = Scratch::new();
    // Short, because a socket's path has at most 107 bytes.
    let path = std::env::temp_dir().join(format!("mt-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let mut manager = Manager::at(&path);
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let audit = scratch.path("audit.log");
    let mut tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "300000")
        .env("LOG_AUDIT_FILE", audit.to_str().unwrap())
        .start();
    manager.wait_for("READY=1\nSTATUS=");
    manager.wait_for("STATUS=ready\n");
    manager.wait_for("WATCHDOG=1\n");
    manager.heard.clear();

    let old = audit.with_extension("1");
    std::fs::rename(&audit, &old).unwrap();
    tunnel.program.signal(Signal::HUP);
    manager.wait_for("RELOADING=1\nMONOTONIC_USEC=");
    manager.wait_for("READY=1\nSTATUS=ready\n");
    server.on("tools/call", Answer::json(200, RESULT));
    control_plane.push(call("r1"));
    control_plane.next_response();
    eventually("the new audit file", || {
        std::fs::read_to_string(&audit).ok().filter(|text| text.ends_with('\n'))
    });
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "");
    assert_eq!(tunnel.metric("mcp_tunnel_reloads_total{outcome=\"ok\"}"), 1.0);

    tunnel.program.signal(Signal::TERM);
    manager.wait_for("STOPPING=1\n");
    assert_eq!(tunnel.program.exit_code(), 0);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn signals_dump_the_state_and_switch_the_log_level() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel =
        Tunnel::to(&control_plane.url()).http(&server.url()).without_env("LOG_LEVEL").start_ready();
    tunnel.program.signal(Signal::USR1);
    tunnel.program.stderr_line("the dump", |line| line.contains("state: commands in_hand=0"));
    tunnel.program.stderr_line("a condition", |line| line.contains("state: ok mcp/main"));
    for level in ["debug", "info"] {
        tunnel.program.signal(Signal::USR2);
        eventually(level, || (json(&tunnel, "/api/log-level")["level"] == level).then_some(()));
    }
    tunnel.stop();
}

#[test]
fn the_audit_trail_has_a_line_for_each_command_and_no_payload() {
    let scratch = Scratch::new();
    let audit = scratch.path("audit.log");
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("LOG_AUDIT_FILE", audit.to_str().unwrap())
        .start_ready();
    server.on("tools/call", Answer::json(200, RESULT));
    control_plane.push(call("r1"));
    control_plane.next_response();
    server.on("tools/call", Answer::reset_at_once());
    control_plane.push(call("r2"));
    control_plane.next_response();
    control_plane.push(call("r3").channel("nobody"));
    control_plane.next_response();
    let text = eventually("three lines", || {
        std::fs::read_to_string(&audit).ok().filter(|text| text.lines().count() == 3)
    });
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let line = |id: &str| lines.iter().find(|line| line["request_id"] == id).unwrap();
    for (id, outcome, status) in
        [("r1", "answered", 200), ("r2", "failed", 502), ("r3", "unsupported_channel", 400)]
    {
        let line = line(id);
        assert_eq!(
            (&line["outcome"], &line["status"]),
            (&outcome.into(), &status.into()),
            "{line}"
        );
        assert_eq!((&line["method"], &line["tool"]), (&"tools/call".into(), &"x".into()));
        assert!(line["bytes_in"].as_u64().unwrap() > 0 && line["duration_ms"].as_f64().is_some());
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }
    assert!(!text.contains(PAYLOAD));
    let mode = std::fs::metadata(&audit).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    // The page has the same, the newest first.
    let recent = json(&tunnel, "/api/commands?limit=2");
    assert_eq!(recent["total"], 3);
    assert_eq!(recent["commands"].as_array().unwrap().len(), 2);
    assert!(!recent.to_string().contains(PAYLOAD));
    tunnel.stop();
}

#[test] // operations-12, operations-15, operations-16, operations-212
fn another_site_and_another_name_are_turned_away() {
    let (_control_plane, _server, tunnel) = crate::support::between();
    let level = r#"{"level":"warn"}"#;
    for headers in [
        &["Host: evil.example"][..],
        &["Origin: http://evil.example"],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &["Origin: null"],
    ] {
        for request in ["PUT /api/log-level", "GET /api/status", "GET /api/logs"] {
            assert_eq!(ask(&tunnel, request, headers, level).0, 403, "{request} {headers:?}");
        }
    }
    assert_eq!(json(&tunnel, "/api/log-level")["level"], "debug");
    for headers in
        [&[][..], &["Origin: http://localhost"], &["Sec-Fetch-Site: same-origin"], &["Host: [::1]"]]
    {
        assert_eq!(ask(&tunnel, "PUT /api/log-level", headers, level).0, 200, "{headers:?}");
    }
    assert_eq!(json(&tunnel, "/api/log-level")["level"], "warn");
}

#[test] // operations-88, operations-89
fn the_level_is_changed_only_by_a_whole_and_known_wish() {
    let (_control_plane, _server, tunnel) = crate::support::between();
    let put = |body: &str| ask(&tunnel, "PUT /api/log-level", &[], body);
    for body in ["", "x", r#"{"level":"error"}"#, r#"{"level":"info","more":1}"#, r#"{"level":1}"#]
    {
        assert_eq!(put(body).0, 400, "{body}");
    }
    assert_eq!(put(&format!(r#"{{"level":"{}"}}"#, "x".repeat(10_000))).0, 413);
    let (code, head, _) = ask(&tunnel, "POST /api/log-level", &[], "");
    assert!(code == 405 && head.contains("Allow: GET, PUT"), "{head}");
    let (code, _, body) = put(r#"{"level":" INFO "}"#);
    assert_eq!(code, 200);
    let shown: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(shown["level"], "info");
    assert_eq!(shown["supported_levels"], serde_json::json!(["debug", "info", "warn"]));
}

#[test]
fn with_a_token_a_change_must_carry_it() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let token = "page-token-4711";
    let tunnel =
        Tunnel::to(&control_plane.url()).http(&server.url()).env("ADMIN_UI_TOKEN", token).start();
    let body = r#"{"level":"warn"}"#;
    let put = |headers: &[&str]| ask(&tunnel, "PUT /api/log-level", headers, body).0;
    assert_eq!(put(&[]), 401);
    assert_eq!(put(&["Authorization: Bearer page-token-4712"]), 401);
    assert_eq!(put(&[&format!("Authorization: Bearer {token}")]), 200);
    assert_eq!(tunnel.page("/api/status").0, 200, "reading needs none");
    assert!(!json(&tunnel, "/api/settings").to_string().contains(token));
}

#[test] // operations-205
fn a_new_token_in_its_file_counts_after_sighup() {
    let scratch = Scratch::new();
    let file = scratch.file("token", "first-token-0001\n");
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .arg(&format!("--admin-ui.token=file:{}", file.display()))
        .start();
    let put = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        ask(&tunnel, "PUT /api/log-level", &[&header], r#"{"level":"debug"}"#).0
    };
    assert_eq!((put("first-token-0001"), put("second-token-0002")), (200, 401));
    std::fs::write(&file, "second-token-0002\n").unwrap();
    tunnel.program.signal(Signal::HUP);
    tunnel.wait_metric("mcp_tunnel_reloads_total{outcome=\"ok\"}", 1.0);
    assert_eq!((put("first-token-0001"), put("second-token-0002")), (401, 200));
}

/// An address of this host that is not loopback: who connects to it comes from it.
fn outer_address() -> Option<std::net::IpAddr> {
    // Nothing is sent: connecting only chooses the route.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test] // operations-12, operations-13, operations-212
fn other_hosts_see_the_page_only_if_allowed_and_change_nothing_without_a_token() {
    // A host without a network has no other hosts either.
    let Some(ip) = outer_address() else { return };
    let start = |settings: &[(&str, &str)]| {
        let (control_plane, server) = (ControlPlane::start(), McpServer::start());
        let mut tunnel = Tunnel::to(&control_plane.url())
            .http(&server.url())
            .env("HEALTH_LISTEN_ADDR", &format!("{ip}:0"));
        for (name, value) in settings {
            tunnel = tunnel.env(name, value);
        }
        (tunnel.start(), control_plane, server)
    };
    let host = format!("Host: {ip}");
    let level = r#"{"level":"warn"}"#;
    let (tunnel, ..) = start(&[]);
    for path in ["/healthz", "/livez", "/readyz?verbose", "/metrics"] {
        let (status, _, _) = ask(&tunnel, &format!("GET {path}"), &[&host], "");
        assert!(status != 403 && status != 404, "{path}: {status}");
    }
    tunnel.program.stderr_line("a warning", |line| line.contains("other hosts can read probes"));
    assert_eq!(ask(&tunnel, "PUT /api/log-level", &[&host], level).0, 403);
    for path in ["/ui", "/api/status", "/api/logs/export", "/none"] {
        let (status, _, body) = ask(&tunnel, &format!("GET {path}"), &[&host], "");
        assert_eq!(status, 403, "{path}");
        assert!(body.starts_with(b"admin UI is restricted to loopback"), "{path}");
    }

    let (tunnel, ..) = start(&[("ALLOW_REMOTE_UI", "true")]);
    assert_eq!(ask(&tunnel, "GET /api/status", &[&host], "").0, 200);
    assert_eq!(ask(&tunnel, "GET /api/status", &["Host: evil.example"], "").0, 403);
    assert_eq!(ask(&tunnel, "PUT /api/log-level", &[&host], level).0, 403);

    let token = "page-token-4711";
    let (tunnel, ..) = start(&[("ALLOW_REMOTE_UI", "true"), ("ADMIN_UI_TOKEN", token)]);
    assert_eq!(ask(&tunnel, "PUT /api/log-level", &[&host], level).0, 401);
    let bearer = format!("Authorization: Bearer {token}");
    assert_eq!(ask(&tunnel, "PUT /api/log-level", &[&host, &bearer], level).0, 200);
}

#[test] // operations-41, operations-220, operations-31, operations-44
fn the_log_stream_opens_at_once_and_goes_on_where_the_client_was() {
    let (_control_plane, _server, mut tunnel) = crate::support::between();
    tunnel.wait_ready();
    let mut stream = TcpStream::connect(tunnel.health.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/logs/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 1\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("event: log\nid: 2\ndata: {\"seq\":2,") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(text.contains("text/event-stream"), "{text}");
    // An open stream does not hold up the end.
    tunnel.program.signal(Signal::TERM);
    assert_eq!(tunnel.program.exit_code(), 0);
}

#[test] // operations-136, operations-137, operations-138, operations-215,
// operations-32, operations-139
fn the_support_archive_holds_no_secret_wherever_one_was_put() {
    let scratch = Scratch::new();
    let secret = |place: &str| format!("planted-secret-{place}");
    let child = format!(
        "sh -c 'echo {} >&2; exec {} mcp-stub' {}",
        secret("stderr"),
        programs::tunnel(),
        secret("argument")
    );
    let control_plane = ControlPlane::start();
    let tunnel = Tunnel::to(&control_plane.url())
        .stdio(&child)
        .env("CONTROL_PLANE_API_KEY", &secret("key"))
        .env("CONTROL_PLANE_EXTRA_HEADERS", &format!("X-Team: {}", secret("header")))
        .env("MCP_EXTRA_HEADERS", &format!("Authorization: Bearer {}", secret("bearer")))
        .env("ADMIN_UI_TOKEN", &secret("token"))
        .env("SOME_VARIABLE", &secret("variable"))
        .start_ready();
    control_plane.push(
        Command::call(
            "r1",
            "1",
            "tools/call",
            &format!(r#"{{"name":"echo","arguments":{{"text":"{}"}}}}"#, secret("payload")),
        )
        .header("Authorization", &secret("client"))
        .header("Mcp-Session-Id", &secret("session")),
    );
    control_plane.next_response();
    eventually("the child's line in the log", || {
        tunnel.page("/api/logs").1.contains(&secret("stderr")).then_some(())
    });
    eventually("the record of the call", || {
        tunnel.page("/api/commands").1.contains("r1").then_some(())
    });
    let (names, all) = archive(&tunnel, &scratch);
    assert_eq!(
        names,
        [
            "manifest.json",
            "README.txt",
            "tunnel-client.runtime.yaml",
            "tunnel-client.logs.ndjson",
            "tunnel-client.metrics.prom",
            "admin/status.json",
            "admin/system.json",
            "admin/oauth.json",
            "admin/harpoon.json",
            "admin/commands.json"
        ]
    );
    assert!(all.contains("\"redacted\": true") && all.contains("r1"), "{all}");
    assert!(
        all.contains("\"metrics_bytes\": ") && all.contains("\"effective_config\": {"),
        "{all}"
    );
    assert_holds_no_secret(&all);
}

/// The names of the files in the support archive, and all that is in them.
fn archive(tunnel: &Tunnel, scratch: &Scratch) -> (Vec<String>, String) {
    let (status, head, archive) = ask(tunnel, "GET /api/logs/export?minutes=5", &[], "");
    assert_eq!(status, 200);
    assert!(head.contains("filename=\"tunnel-client-logs-2"), "{head}");
    let file = scratch.path("archive.tar.gz");
    std::fs::write(&file, archive).unwrap();
    let tar = |args: &[&str]| {
        let mut tar = Process::new("tar");
        let output = tar.args(args).arg("-f").arg(&file).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    (tar(&["-tz"]).lines().map(str::to_owned).collect(), tar(&["-xzO"]))
}

fn assert_holds_no_secret(text: &str) {
    if let Some((at, _)) = text.match_indices("planted-secret-").next() {
        panic!("{}", String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..at + 60]));
    }
}

#[test] // operations-140 to operations-144, operations-214, operations-211
fn nor_does_it_hold_what_urls_proxies_keys_and_whole_messages_carry() {
    let scratch = Scratch::new();
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let (cert, key) = self_signed(&scratch);
    let port = server.server().port();
    let header = scratch.file("header", "planted-secret-header-file");
    let file = scratch.file(
        "c.yaml",
        &format!(
            "config_version: 1
control_plane:
  extra_headers: {{X-Team: planted-secret-team}}
mcp:
  extra_headers: {{X-Gateway-Key: 'file:{}', X-Other: planted-secret-inline}}
  discovery_extra_headers: {{X-Discovery: planted-secret-discovery}}
  server_urls:
    - channel: main
      url: 'http://127.0.0.1:{port}/mcp/planted-secret-path?key=planted-secret-query'
    - channel: far
      url: 'https://127.0.0.1:1/planted-secret-far'
      http_proxy: 'http://planted-secret-user:planted-secret-password@127.0.0.1:1'
      client_cert: '{cert}'
      client_key: '{key}'
",
            header.display()
        ),
    );
    let ambient = "http://planted-secret-user:planted-secret-ambient@127.0.0.1:1";
    let tunnel = Tunnel::to(&control_plane.url())
        .arg("-c")
        .arg(file.to_str().unwrap())
        .env("HTTPS_PROXY", ambient)
        .env("http_proxy", ambient)
        .env("OPENAI_ADMIN_KEY", "planted-secret-admin")
        .env("LOG_HTTP_RAW_UNSAFE", "true")
        .start();
    server.on("tools/call", Answer::json(200, RESULT));
    control_plane.push(call("r1").header("Cookie", "planted-secret-cookie"));
    assert_eq!(control_plane.next_response().resp_code(), 200);
    tunnel.wait_not_ready(|why| why.contains("channel far"));
    eventually("the check of the proxy", || {
        tunnel.page("/readyz?verbose").1.contains("no connection to it is possible").then_some(())
    });
    let (_, all) = archive(&tunnel, &scratch);
    // What it is made of, and beside it all that the listener shows and the log has.
    let mut shown = vec![all, tunnel.program.stderr()];
    for path in ["/readyz?verbose", "/metrics", "/api/status", "/api/system", "/api/settings"] {
        shown.push(tunnel.page(path).1);
    }
    let pem = std::fs::read_to_string(&key).unwrap();
    for (number, text) in shown.iter().enumerate() {
        let is_log = number == 1;
        // A URL's path is shown by whole messages in the log alone.
        let text = match is_log {
            true => text.replace("/planted-secret-path", "").replace("/planted-secret-far", ""),
            false => text.clone(),
        };
        assert_holds_no_secret(&text);
        assert!(!text.contains(pem.lines().nth(1).unwrap()), "the private key");
        assert!(is_log || !text.contains(PAYLOAD), "a payload");
    }
    assert!(shown[0].contains("channel far"), "{}", shown[0]);
    tunnel.stop();
}

#[test] // operations-213
fn a_thousand_half_open_connections_hurt_neither_calls_nor_probes() {
    let (control_plane, server, tunnel) = crate::support::between();
    tunnel.wait_ready();
    let address = tunnel.health.strip_prefix("http://").unwrap().to_owned();
    let mut scanners = Vec::new();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(&address).unwrap();
        let _ = stream.write_all(b"GET /readyz HTT");
        scanners.push(stream);
        if number % 100 == 0 {
            let id = format!("r{number}");
            server.on("tools/call", Answer::json(200, RESULT));
            control_plane.push(call(&id));
            assert_eq!(control_plane.next_response_for(&id).resp_code(), 200);
        }
    }
    eventually("a probe to be answered", || {
        crate::support::http::get(&format!("{}/readyz", tunnel.health))
            .filter(|(status, _)| *status == 200)
    });
    drop(scanners);
    tunnel.stop();
}

#[test]
fn lines_for_the_journal_carry_their_priority() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let path = scratch.file("stderr", "");
    let meta = std::fs::metadata(&path).unwrap();
    let mut command = crate::support::stack::binary(programs::tunnel());
    let mut child = command
        .arg("run")
        .env("CONTROL_PLANE_BASE_URL", "http://127.0.0.1:1")
        .env("CONTROL_PLANE_TUNNEL_ID", TUNNEL_ID)
        .env("CONTROL_PLANE_API_KEY", API_KEY)
        .env("MCP_SERVER_URL", "http://127.0.0.1:1/mcp")
        .env("HEALTH_LISTEN_ADDR", "127.0.0.1:0")
        .env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()))
        .stderr(std::fs::OpenOptions::new().append(true).open(&path).unwrap())
        .spawn()
        .unwrap();
    let text = eventually("a warning", || {
        let text = std::fs::read_to_string(&path).unwrap();
        text.contains("\n<4>[controlplane] poll failed").then_some(text)
    });
    assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
    assert!(text.contains("<6>[process] mcp-tunnel started"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs promtool and gives what it says, good or bad.
fn promtool(args: &[&str], input: &str) -> (bool, String) {
    let mut child = Process::new("promtool")
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus (tests/sdk/bootstrap)");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test] // operations-71, operations-72, operations-80, operations-210
fn prometheus_has_nothing_to_say_against_the_metrics_but_a_name_of_the_reference() {
    let (control_plane, server, tunnel) = crate::support::between();
    tunnel.wait_ready();
    for (id, answer) in [("r1", Answer::json(200, RESULT)), ("r2", Answer::reset_at_once())] {
        server.on("tools/call", answer);
        control_plane.push(call(id));
        control_plane.next_response();
    }
    tunnel.wait_metric("mcp_tunnel_commands_answered_total", 2.0);
    let (_, page) = tunnel.page("/metrics");
    // Each exchange over HTTP is there, by hop and without what a peer could choose.
    let name = "http_client_request_duration_seconds_count{hop=";
    for labels in [
        "\"control-plane\",http_request_method=\"POST\",\
         http_route=\"/v1/tunnels/{tunnel_id}/response\",http_response_status_code=\"200\"",
        "\"main\",http_request_method=\"POST\",http_route=\"/{mcp}\",\
         http_response_status_code=\"200\"",
        "\"main\",http_request_method=\"POST\",http_route=\"/{mcp}\",error_type=\"reset\"",
    ] {
        assert!(page.contains(&format!("{name}{labels}")), "{labels}: {page}");
    }
    let sizes = page.lines().filter(|l| l.starts_with("http_client_request_body_size_bytes_sum{"));
    let bodies = sizes.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(bodies.sum::<f64>() > 100.0);
    let (_, said) = promtool(&["check", "metrics"], &page);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let known = "command_end_to_end_latency_milliseconds use base unit";
    assert!(lines.iter().all(|line| line.starts_with(known)), "{said}");

    // What the dashboard and the alerts ask for is there: with all that a daemon can have.
    let scratch = Scratch::new();
    let (cert, key) = self_signed(&scratch);
    let other = Tunnel::to("https://127.0.0.1:1")
        .stdio(&format!("{} mcp-stub", programs::tunnel()))
        .env("LOG_AUDIT_FILE", scratch.path("audit").to_str().unwrap())
        .env("CONTROL_PLANE_CLIENT_CERT", &cert)
        .env("CONTROL_PLANE_CLIENT_KEY", &key)
        .start();
    let page = page + &other.page("/metrics").1;
    let files = [
        include_str!("../../packaging/prometheus/mcp-tunnel.dashboard.json"),
        include_str!("../../packaging/prometheus/mcp-tunnel.rules.yml"),
    ];
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = 0;
    for word in files.iter().flat_map(|text| text.split(|c| !is_word(c))) {
        let prefixes = ["mcp_tunnel_", "commands_", "dispatcher_", "process_", "http_client_"];
        if prefixes.iter().any(|prefix| word.starts_with(prefix)) {
            names += 1;
            let name = ["_bucket", "_count"].iter().find_map(|part| word.strip_suffix(part));
            let name = name.unwrap_or(word);
            assert!(page.contains(&format!("# TYPE {name} ")), "{name} is on no page");
        }
    }
    assert!(names > 20);
}

/// A certificate of its own with its key, as paths.
fn self_signed(scratch: &Scratch) -> (String, String) {
    let path = |name: &str| scratch.path(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let mut openssl = Process::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "30", "-subj", "/CN=test", "-out", &cert, "-keyout", &key]);
    assert!(openssl.stderr(Stdio::null()).status().unwrap().success());
    (cert, key)
}

#[test]
fn the_alerts_come_when_they_should_and_only_then() {
    let (good, said) = promtool(&["check", "rules", "mcp-tunnel.rules.yml"], "");
    assert!(good, "{said}");
    let (good, said) = promtool(&["test", "rules", "mcp-tunnel.rules.test.yml"], "");
    assert!(good, "{said}");
}

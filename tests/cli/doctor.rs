//! `doctor` and `runtimes` against the real relay and the built-in MCP server: what is said of a
//! good configuration and of each part that is wrong; daemons started and stopped by alias.

use std::net::TcpListener;

use crate::support::control_plane::{API_KEY, TUNNEL_ID};
use crate::support::http::Answer;
use crate::support::stack::binary;
use crate::support::{Command, ControlPlane, McpServer, Relay, Tunnel, eventually, programs};
use serde_json::Value;

/// The report and the exit code of `doctor --json` with these variables.
fn doctor(relay: &Relay, env: &[(&str, &str)]) -> (Value, i32) {
    doctor_at(&relay.url, env)
}

fn doctor_at(url: &str, env: &[(&str, &str)]) -> (Value, i32) {
    let output = binary(programs::tunnel())
        .args(["doctor", "--json"])
        .env("CONTROL_PLANE_BASE_URL", url)
        .env("CONTROL_PLANE_TUNNEL_ID", TUNNEL_ID)
        .env("CONTROL_PLANE_API_KEY", API_KEY)
        .env("HEALTH_LISTEN_ADDR", "127.0.0.1:0")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(API_KEY), "{text}");
    (serde_json::from_str(&text).unwrap(), output.status.code().unwrap())
}

fn stub() -> String {
    format!("'{}' mcp-stub", programs::tunnel())
}

/// The status of a check.
fn status<'a>(report: &'a Value, id: &str) -> &'a str {
    let row = report["checks"].as_array().unwrap().iter().find(|row| row["id"] == id);
    row.map_or("absent", |row| row["status"].as_str().unwrap())
}

#[track_caller]
fn is(report: &Value, id: &str, expected: &str) {
    assert_eq!(status(report, id), expected, "{id} in {report:#}");
}

#[test] // cli.md, 11.2
fn a_good_configuration_passes_with_the_names_and_order_of_the_surface() {
    let relay = Relay::start();
    let (report, code) = doctor(&relay, &[("MCP_COMMAND", &stub())]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["result"], "ok");
    assert_eq!(report["next"], "mcp-tunnel run");
    let ids: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    let wanted = [
        "config_source",
        "profile_load",
        "tunnel_id",
        "control_plane_api_key",
        "tunnels_management_url",
        "runtime_api_keys_url",
        "admin_api_keys_url",
        "chatgpt_connector_settings_url",
        "mcp_target",
        "mcp_command_executable",
        "mcp_server_reachable",
        "oauth_metadata",
        "health_listener",
        "ui",
    ];
    let places: Vec<_> =
        wanted.iter().map(|id| ids.iter().position(|i| i == id).expect(id)).collect();
    assert!(places.is_sorted(), "{ids:?}");
    for id in ["control_plane_reachable", "control_plane_auth", "mcp_initialize", "mcp_tools"] {
        is(&report, id, "PASS");
    }
    is(&report, "mcp_server_reachable", "SKIP");
    // No poll is made for it.
    is(&report, "control_plane_use", "SKIP");
    is(&report, "tunnel_daemons", "PASS");
}

#[test]
fn a_wrong_key_and_an_unknown_tunnel_are_told_apart_from_no_connection() {
    let relay = Relay::start();
    let command = stub();
    let with = |name, value| doctor(&relay, &[("MCP_COMMAND", &command), (name, value)]);
    let (report, code) = with("CONTROL_PLANE_API_KEY", "wrong");
    assert_eq!(code, 2);
    assert_eq!(report["failed_checks"], serde_json::json!(["control_plane_auth"]));
    is(&report, "control_plane_reachable", "PASS");
    let other = format!("tunnel_{}", "9".repeat(32));
    let (report, code) = with("CONTROL_PLANE_TUNNEL_ID", &other);
    assert_eq!(code, 2);
    is(&report, "control_plane_auth", "FAIL");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (report, code) = with("CONTROL_PLANE_BASE_URL", &format!("http://{closed}"));
    assert_eq!(code, 2);
    is(&report, "control_plane_reachable", "FAIL");
    is(&report, "control_plane_auth", "SKIP");
    is(&report, "mcp_tools", "PASS");
}

#[test]
fn one_certificate_or_key_for_both_hops_is_a_warning() {
    let (relay, server) = (Relay::start(), McpServer::start());
    let scratch = crate::support::Scratch::new();
    let file = |name: &str| scratch.path(name).to_str().unwrap().to_owned();
    let openssl = |key: &[&str], cert: &str| {
        let mut command = std::process::Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-subj", "/CN=a host", "-out", &file(cert)]);
        assert!(command.args(key).output().unwrap().status.success());
    };
    let key = file("ours.key");
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", &key];
    openssl(&new, "ours.pem");
    openssl(&["-key", &key], "theirs.pem");
    std::os::unix::fs::symlink(file("ours.key"), file("theirs.key")).unwrap();
    let (report, _) = doctor(
        &relay,
        &[
            ("MCP_SERVER_URL", &server.url()),
            ("CONTROL_PLANE_CLIENT_CERT", &file("ours.pem")),
            ("CONTROL_PLANE_CLIENT_KEY", &file("ours.key")),
            ("MCP_CLIENT_CERT", &file("theirs.pem")),
            ("MCP_CLIENT_KEY", &file("theirs.key")),
        ],
    );
    is(&report, "client_certificates", "WARN");
}

#[test]
fn a_server_that_is_not_there_or_dies_fails_and_the_rest_is_still_checked() {
    let relay = Relay::start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (report, code) = doctor(&relay, &[("MCP_SERVER_URL", &format!("http://{closed}/mcp"))]);
    assert_eq!(code, 2);
    is(&report, "mcp_server_reachable", "FAIL");
    is(&report, "mcp_initialize", "SKIP");
    is(&report, "health_listener", "PASS");
    let (report, _) = doctor(&relay, &[("MCP_COMMAND", "sh -c 'echo why >&2; exit 3'")]);
    is(&report, "mcp_command_executable", "PASS");
    is(&report, "mcp_initialize", "FAIL");
    assert!(report.to_string().contains("why"), "{report:#}");
    let (report, _) = doctor(&relay, &[("MCP_COMMAND", "no-such-command")]);
    is(&report, "mcp_command_executable", "FAIL");
    is(&report, "mcp_initialize", "SKIP");
    // A server that answers and speaks no MCP there.
    let (report, code) = doctor(&relay, &[("MCP_SERVER_URL", &format!("{}/x", relay.url))]);
    assert_eq!(code, 2);
    is(&report, "mcp_server_reachable", "PASS");
    assert!(report.to_string().contains("no MCP server at this path"), "{report:#}");
}

#[test]
fn every_error_of_the_configuration_is_a_row() {
    let relay = Relay::start();
    let (report, code) =
        doctor(&relay, &[("CONTROL_PLANE_TUNNEL_ID", "x"), ("CONTROL_PLANE_API_KEY", "a b")]);
    assert_eq!(code, 2);
    for id in ["tunnel_id", "control_plane_api_key", "mcp_target"] {
        is(&report, id, "FAIL");
    }
    let (report, _) = doctor(&relay, &[("TUNNEL_CLIENT_CONFIG", "/nonexistent/file")]);
    is(&report, "profile_load", "FAIL");
}

#[test]
fn doctor_works_while_the_daemon_runs() {
    let relay = Relay::start();
    let tunnel = Tunnel::to(&relay.url).stdio(&stub()).start_ready();
    let address = tunnel.health.trim_start_matches("http://").to_owned();
    let env = [("MCP_COMMAND", stub()), ("HEALTH_LISTEN_ADDR", address)];
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (report, code) = doctor(&relay, &env);
    assert_eq!(code, 0, "{report:#}");
    is(&report, "health_listener", "PASS");
    is(&report, "control_plane_use", "PASS");
    // Another program at the address is a failure.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    drop(tunnel);
    let (report, code) =
        doctor(&relay, &[("MCP_COMMAND", &stub()), ("HEALTH_LISTEN_ADDR", &taken)]);
    assert_eq!(code, 2);
    is(&report, "health_listener", "FAIL");
    is(&report, "ui", "SKIP");
}

#[test]
fn the_admin_key_in_the_environment_is_a_warning() {
    let relay = Relay::start();
    let (report, code) =
        doctor(&relay, &[("MCP_COMMAND", &stub()), ("OPENAI_ADMIN_KEY", "sk-admin-secret")]);
    assert_eq!(code, 0);
    is(&report, "config_warnings", "WARN");
    assert!(!report.to_string().contains("sk-admin-secret"));
}

#[test] // cli.md, 11.1
fn the_embedded_server_is_served_without_any_other() {
    let relay = Relay::start();
    let tunnel = Tunnel::to(&relay.url)
        .env("MCP_COMMAND", "no-such-command")
        .arg("--embedded-mcp-stub")
        .start_ready();
    assert!(tunnel.program.stdout().starts_with("mcp-stub serves http://127.0.0.1:"));
    let mut refused =
        Tunnel::to(&relay.url).arg("--embedded-mcp-stub").arg("--mcp.command=x").spawn();
    assert_eq!(refused.exit_code(), 1);
    assert!(refused.stderr().contains("exclude each other"), "{}", refused.stderr());
}

#[test] // cli.md, 11.8
fn a_runtime_is_connected_listed_stopped_and_removed() {
    let relay = Relay::start();
    let home = crate::support::Scratch::new();
    let run = |args: &[&str]| {
        let output = binary(programs::tunnel())
            .arg("runtimes")
            .args(args)
            .env("HOME", home.path(""))
            .env("CONTROL_PLANE_BASE_URL", &relay.url)
            .env("CONTROL_PLANE_API_KEY", API_KEY)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    // Nothing is left running if a line below fails.
    struct StopAtEnd<F: Fn()>(F);
    impl<F: Fn()> Drop for StopAtEnd<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let _stop = StopAtEnd(|| drop(run(&["stop", "my-demo"])));
    let command = stub();
    let connect = ["connect", "My Demo", "--tunnel-id", TUNNEL_ID, "--mcp-command", &command];
    let (code, out, err) = run(&connect);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("my-demo\t") && out.ends_with(&format!("\t{TUNNEL_ID}\n")), "{out}");
    // A second one uses the first; with flags it would replace the profile.
    assert_eq!(run(&["connect", "--alias", "my-demo"]).0, 0);
    assert!(run(&connect).2.contains("--force"));
    let (_, out, _) = run(&["status", "my-demo", "--json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["running"], true);
    assert_eq!(status["tunnel_id"], TUNNEL_ID);
    assert!(run(&["list"]).1.contains("my-demo\t"));
    assert_eq!(run(&["cleanup", "--apply"]).1, "my-demo\tlive_runtime\n");
    assert!(run(&["rm", "my-demo"]).2.contains("stop it first"));
    let (code, out, err) = run(&["stop", "my-demo"]);
    assert_eq!(
        (code, out.as_str()),
        (0, format!("my-demo\tstopped\t{TUNNEL_ID}\n").as_str()),
        "{err}"
    );
    assert_eq!(run(&["stop", "my-demo"]).0, 0);
    assert_eq!(run(&["rm", "my-demo"]).0, 0);
    assert_eq!(run(&["list"]).1, "");
    assert_eq!(run(&["status", "my-demo"]).0, 1);
    // One that can not start says why, and exits with 2.
    let failing = ["connect", "bad", "--tunnel-id", TUNNEL_ID, "--mcp-command", "no-such-command"];
    let (code, _, err) = run(&failing);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("no-such-command"), "{err}");
}

/// A control plane that gives the tunnel document out and refuses polls.
fn read_without_use() -> ControlPlane {
    let control_plane = ControlPlane::start();
    control_plane.on_metadata(Answer::json(200, r#"{"id":"t","name":"n","description":""}"#));
    let refusal = r#"{"error":{"code":"tunnel_use_forbidden","message":"no","type":"x"}}"#;
    control_plane.every_poll(Some(Answer::json(403, refusal)));
    control_plane
}

#[test] // wire-73, wire-77
fn a_key_that_may_read_and_not_use_is_told_from_every_other() {
    let (control_plane, server) = (read_without_use(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    let why = tunnel.wait_not_ready(|why| why.contains("lacks the Tunnels Use permission"));
    assert!(why.contains("tunnel_use_forbidden"), "{why}");
    let address = tunnel.health.trim_start_matches("http://");
    let env = [("MCP_SERVER_URL", server.url()), ("HEALTH_LISTEN_ADDR", address.to_owned())];
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (report, code) = doctor_at(&control_plane.url(), &env);
    assert_eq!(code, 2);
    is(&report, "control_plane_auth", "PASS");
    is(&report, "control_plane_use", "FAIL");
    // This control plane does not say how many daemons there are.
    is(&report, "tunnel_daemons", "absent");
    assert!(report.to_string().contains("Tunnels Use permission"), "{report:#}");
}

#[test]
fn a_tunnel_of_another_organization_is_named_as_such() {
    let control_plane = ControlPlane::start();
    let code = "tunnel_principal_association_unverified";
    let body = format!(r#"{{"error":{{"code":"{code}","message":"no","type":"x"}}}}"#);
    control_plane.on_metadata(Answer::json(403, body));
    let (report, code) = doctor_at(&control_plane.url(), &[("MCP_COMMAND", &stub())]);
    assert_eq!(code, 2);
    is(&report, "control_plane_auth", "FAIL");
    assert!(report.to_string().contains("another organization or workspace"), "{report:#}");
}

#[test] // relay.md 2.5, wire-145, stdio-118
fn two_daemons_with_a_child_each_on_one_tunnel_are_named_everywhere() {
    let relay = Relay::start();
    let start = || {
        let settings = Tunnel::to(&relay.url).env("CONTROL_PLANE_POLL_TIMEOUT", "1s");
        settings.stdio(&stub()).start_ready()
    };
    let first = start();
    assert_eq!(first.page("/readyz").1, "ready");
    let second = start();
    for tunnel in [&first, &second] {
        eventually("the daemon to see the other one", || {
            tunnel.page("/readyz").1.contains("2 daemons poll this tunnel").then_some(())
        });
        assert_eq!(tunnel.page("/readyz").0, 200, "calls are served all the same");
        tunnel.program.stderr_line("the warning", |line| line.contains("2 daemons poll"));
    }
    let (report, code) = doctor(&relay, &[("MCP_COMMAND", &stub())]);
    assert_eq!(code, 0);
    is(&report, "tunnel_daemons", "WARN");
    // In front of one server they may be two.
    let (report, _) = doctor(&relay, &[("MCP_SERVER_URL", "http://127.0.0.1:9/mcp")]);
    is(&report, "tunnel_daemons", "PASS");
    drop(second);
}

#[test] // mcp-33
fn a_session_of_another_daemon_is_named_once_where_the_control_plane_says_nothing() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
    let call = |id: &str, session: &str| {
        let command = Command::call(id, "1", "tools/list", "{}");
        control_plane.push(command.header("Mcp-Session-Id", session));
        control_plane.next_response_for(id)
    };
    let stray = |line: &str| line.contains("never began in this daemon");
    // One that has served here and then ends is everyday.
    let good = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#;
    server.on("tools/list", Answer::json(200, good));
    assert_eq!(call("r1", "ours-secret").resp_code(), 200);
    server.always("tools/list", Answer::status(404));
    assert_eq!(call("r2", "ours-secret").resp_code(), 404);
    assert!(!tunnel.program.stderr().contains("never began"));
    assert_eq!(call("r3", "theirs-secret").resp_code(), 404);
    let line = tunnel.program.stderr_line("the warning", stray);
    assert!(line.contains("another daemon"), "{line}");
    call("r4", "more-secret");
    let log = tunnel.program.stderr();
    assert_eq!(log.lines().filter(|line| stray(line)).count(), 1, "{log}");
    assert!(!log.contains("theirs-secret"), "{log}");
}

#[test]
fn what_is_to_be_typed_next_tells_of_flags_and_fits_on_a_terminal() {
    let relay = Relay::start();
    let output = binary(programs::tunnel())
        .args(["doctor", "--mcp.command", &stub()])
        .env("CONTROL_PLANE_BASE_URL", &relay.url)
        .env("CONTROL_PLANE_TUNNEL_ID", TUNNEL_ID)
        .env("CONTROL_PLANE_API_KEY", API_KEY)
        .env("HEALTH_LISTEN_ADDR", "127.0.0.1:0")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("NEXT   mcp-tunnel run (with the same flags)\n"), "{text}");
    // What a check found may be a long path; what is said about a good start is not long.
    for id in ["control_plane_use", "tunnel_daemons", "control_plane_auth", "mcp_tools"] {
        let line = text.lines().find(|line| line.contains(id)).unwrap();
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test] // cli.md, 11.2 12a
fn the_servers_oauth_metadata_is_told_and_what_is_none_fails() {
    let relay = Relay::start();
    let metadata = r#"{"resource":"r","authorization_servers":["https://as.example"]}"#;
    for (answer, expected, detail) in [
        (Answer::json(200, metadata), "PASS", "https://as.example"),
        (Answer::status(404), "PASS", "no OAuth"),
        (Answer::status(403), "FAIL", "HTTP 403"),
    ] {
        let server = McpServer::start();
        server.always("/.well-known/oauth-protected-resource/mcp", answer);
        let (report, code) = doctor(&relay, &[("MCP_SERVER_URL", &server.url())]);
        is(&report, "oauth_metadata", expected);
        assert!(report.to_string().contains(detail), "{report:#}");
        assert_eq!(code, if expected == "FAIL" { 2 } else { 0 }, "{report:#}");
    }
}

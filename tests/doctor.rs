//! `doctor` against the real relay and the built-in MCP server: what it says of a good
//! configuration, and of each part that is wrong.

mod support;

use std::net::TcpListener;

use serde_json::Value;
use support::control_plane::{API_KEY, TUNNEL_ID};
use support::stack::binary;
use support::{Relay, Tunnel};

/// The report and the exit code of `doctor --json` with these variables.
fn doctor(relay: &Relay, env: &[(&str, &str)]) -> (Value, i32) {
    let output = binary(env!("CARGO_BIN_EXE_mcp-tunnel"))
        .args(["doctor", "--json"])
        .env("CONTROL_PLANE_BASE_URL", &relay.url)
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
    format!("'{}' mcp-stub", env!("CARGO_BIN_EXE_mcp-tunnel"))
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

#[test] // cfg 11.2
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

#[test] // cfg 11.1
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

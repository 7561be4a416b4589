//! The ways out, with parts that nobody here wrote: a private CA of openssl, nginx as the server
//! with TLS, squid and tinyproxy as proxies. The rules are wire-24 to wire-37 of
//! `tests/spec/wire.md`.

mod addresses;
mod authority;
mod cancel;
mod discovery;
mod identity;
mod leak;
mod memory;
mod mounts;
mod page;
mod peers;
mod proxies;
mod rotation;
mod trust;

use std::io::Write;

use crate::support::stack::Settings;
use crate::support::{Command, ControlPlane, Program, Tunnel, eventually};

/// A call of a tool.
fn call(request_id: &str) -> Command {
    Command::call(request_id, "1", "tools/call", r#"{"name":"x"}"#)
}

/// Settings of a daemon for this control plane and a private server that is not asked.
fn towards(control_plane_url: &str) -> Settings {
    Tunnel::to(control_plane_url).http("http://127.0.0.1:9/mcp").without_env("SSL_CERT_FILE")
}

/// Has one call made, and its answer posted; gives the poll and the response as the control plane
/// saw them.
fn one_call(control_plane: &ControlPlane) -> (crate::support::Request, crate::support::Request) {
    let poll = control_plane.next_poll();
    control_plane.push(call("r1"));
    (poll, control_plane.next_response_for("r1").0)
}

/// What `doctor` says of these settings.
fn doctor(control_plane_url: &str, env: &[(&str, &str)]) -> serde_json::Value {
    let mut command = crate::support::stack::binary(crate::support::programs::tunnel());
    command
        .args(["doctor", "--json"])
        .env("CONTROL_PLANE_BASE_URL", control_plane_url)
        .env("CONTROL_PLANE_TUNNEL_ID", crate::support::control_plane::TUNNEL_ID)
        .env("CONTROL_PLANE_API_KEY", crate::support::control_plane::API_KEY)
        .env("HEALTH_LISTEN_ADDR", "127.0.0.1:0")
        .envs(env.iter().copied());
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

/// A check of doctor's.
fn row(report: &serde_json::Value, id: &str) -> serde_json::Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|c| c["id"] == id).unwrap_or_else(|| panic!("{id} in {report}")).clone()
}

/// The daemon refuses to start with one line that names each of `parts`.
fn refused(settings: Settings, parts: &[&str]) {
    let mut program = settings.spawn();
    assert_eq!(program.exit_code(), 1);
    let said = program.stderr();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in: {said}");
    }
}

/// Says that the machine lacks what a test needs. Not by the macro, whose output is shown of tests
/// that fail alone.
fn skipped(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Waits for the line that says why polls fail.
fn poll_failure(program: &Program, part: &str) -> String {
    program.stderr_line(&format!("a failed poll with {part:?}"), |line| {
        line.contains("poll") && line.contains("failed") && line.contains(part)
    })
}

/// Waits for a poll that the control plane saw in this way; those before it are taken.
fn poll_with(control_plane: &ControlPlane, name: &str, value: &str) {
    eventually(&format!("a poll with {name}: {value}"), || {
        // Each command ends the poll that waits, and so begins the next one.
        control_plane.push(call("r1"));
        let poll = control_plane.next_poll();
        (poll.header(name) == Some(value)).then_some(())
    });
}

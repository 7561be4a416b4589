//! The whole path with an official SDK client and server, while something on it goes away.

use crate::support::sdk::{self, Era::Handshake, Language, ServerKind};
use crate::support::{Program, Relay, Signal, Tunnel};

const PYTHON: ServerKind = ServerKind::Python(Handshake);

fn client(relay: &Relay, steps: &[&str]) -> Program {
    sdk::client(Language::Python, Handshake, &relay.mcp_url(), steps, &[])
}

/// Waits until `count` calls of the client are being worked on by the server.
fn wait_running(client: &Program, count: usize) {
    crate::support::eventually("the calls to run", || {
        (client.stdout().matches("running").count() == count).then_some(())
    });
}

fn assert_success(client: &mut Program) {
    let status = client.exit();
    assert!(status.success(), "{status}: {}", client.stdout());
}

#[test]
fn a_stdio_server_that_dies_in_a_call_fails_that_call_and_the_session_goes_on() {
    let relay = Relay::start();
    let tunnel = Tunnel::to(&relay.url).stdio(&PYTHON.stdio_command()).start_ready();
    let mut client = client(&relay, &["server_dies", "tools"]);
    assert_success(&mut client);
    let report: serde_json::Value =
        serde_json::from_str(client.stdout().lines().next().unwrap()).unwrap();
    let failure = &report["data"]["tunnel_failure"];
    assert_eq!(failure["source"], "transport_closed", "{report}");
    tunnel.wait_ready();
}

#[test]
fn an_http_server_that_dies_in_a_call_fails_that_call_and_takes_readiness_with_it() {
    let relay = Relay::start();
    let (_server, url) = PYTHON.http();
    let tunnel = Tunnel::to(&relay.url).http(&url).start_ready();
    let client = client(&relay, &["server_dies"]);
    tunnel.wait_not_ready(|_| true);
    drop(client);
}

#[test]
fn a_relay_that_is_restarted_in_a_poll_is_found_again() {
    let mut relay = Relay::start();
    let tunnel = Tunnel::to(&relay.url).stdio(&PYTHON.stdio_command()).start_ready();
    assert_success(&mut client(&relay, &["initialize", "progress"]));
    relay.program.kill();
    tunnel.wait_not_ready(|_| true);
    let relay = Relay::start_on(relay.port());
    tunnel.wait_ready();
    assert_success(&mut client(&relay, &["initialize", "progress"]));
}

#[test]
fn sigterm_ends_polling_and_delivers_the_calls_in_flight() {
    for signal in [Signal::TERM, Signal::INT] {
        let relay = Relay::start();
        let mut tunnel = Tunnel::to(&relay.url).stdio(&PYTHON.stdio_command()).start_ready();
        let mut client = client(&relay, &["slow_calls"]);
        wait_running(&client, 5);
        tunnel.program.signal(signal);
        assert_eq!(tunnel.program.exit_code(), 0);
        crate::support::eventually("the client to have its answers", || {
            client.stdout().contains("slow_calls").then_some(())
        });
        client.kill();
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let relay = Relay::start();
    let mut tunnel = Tunnel::to(&relay.url).stdio(&PYTHON.stdio_command()).start_ready();
    let client = client(&relay, &["endless_call"]);
    wait_running(&client, 1);
    tunnel.program.signal(Signal::TERM);
    tunnel.program.stderr_line("the first signal to be taken", |line| line.contains("stopping"));
    tunnel.program.signal(Signal::TERM);
    assert_ne!(tunnel.program.exit().code(), Some(0));
}

//! wire.md through the real binary: the hop between daemon and control plane. `edges` has its TLS,
//! proxies and addresses with parts that nobody here wrote.

mod admin;
mod commands;
mod deadline;
mod edges;
mod identity;
mod poll;
mod polls_in_flight;
mod response;
mod retry;
mod shutdown;
#[path = "../support/mod.rs"]
mod support;

use support::stack::Settings;
use support::{Answer, Command, Gate};

/// A result for whatever was asked.
const RESULT: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"ok":true}}"#;

/// A call of a tool, the request that a server may answer as a test wants.
fn call(request_id: &str) -> Command {
    Command::call(request_id, "1", "tools/call", r#"{"name":"x"}"#)
}

/// An answer of the MCP server that waits for the gate, status line and all.
fn held(gate: &Gate) -> Answer {
    Answer::status(200).header("Content-Type", "application/json").wait(gate).body(RESULT)
}

/// The daemon refuses these settings with one line that names each of `parts`.
fn refused(settings: Settings, parts: &[&str]) {
    let mut program = settings.spawn();
    assert_eq!(program.exit_code(), 1);
    let said = program.stderr();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in: {said}");
    }
}

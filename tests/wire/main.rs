//! The rules of the wire between daemon and control plane, each by its number, through the real
//! binary: the table is `tests/rules.txt`. One binary for all, since each costs a link.

mod commands;
mod deadline;
mod identity;
mod poll;
mod response;
mod retry;
mod shutdown;
#[path = "../support/mod.rs"]
mod support;

use support::Command;

/// A call of a tool, the request that a server may answer as a test wants.
fn call(request_id: &str) -> Command {
    Command::call(request_id, "1", "tools/call", r#"{"name":"x"}"#)
}

//! `mcp-tunnel run`: the daemon.

use std::process::ExitCode;

use crate::settings::{Config, Problem};

/// Runs the daemon until a signal; `warnings` are logged once the log is set up.
pub fn run(_config: Config, _warnings: &[Problem]) -> ExitCode {
    super::fail("run is not wired yet")
}

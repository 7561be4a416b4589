//! The daemon's binary: arguments in, one command run, exit code out.

use std::ffi::OsString;
use std::process::ExitCode;

use mcp_tunnel::{cli, commands};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    commands::internal(&args).unwrap_or_else(|| cli::main(&commands::PROGRAM, args))
}

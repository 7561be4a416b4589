//! The programs under test: those that cargo has just built, or those of the directory that
//! `MCP_TUNNEL_TEST_PROGRAMS` names. `make test` names that of the static ones, which are shipped.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::path::Path;
use std::sync::OnceLock;

pub fn tunnel() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| program(env!("CARGO_BIN_EXE_mcp-tunnel")))
}

pub fn ctl() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| program(env!("CARGO_BIN_EXE_mcp-tunnel-ctl")))
}

pub fn relay() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| program(env!("CARGO_BIN_EXE_mcp-tunnel-relay")))
}

/// The directory of programs to test in place of cargo's, if there is one.
pub fn directory() -> Option<String> {
    std::env::var("MCP_TUNNEL_TEST_PROGRAMS").ok().filter(|directory| !directory.is_empty())
}

fn program(built: &str) -> String {
    let Some(directory) = directory() else { return built.to_owned() };
    let path = Path::new(&directory).join(Path::new(built).file_name().unwrap());
    // Tests change directories, and a program that is not there must not be looked for elsewhere.
    let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path.to_str().unwrap().to_owned()
}

//! `mcp-tunnel mcp-stub`: a small MCP server, so that a host without Python or Node can prove the
//! path from the control plane to an MCP server and back. It is a test part: no authentication,
//! nothing behind it.

mod server;
mod stdio;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use lexopt::prelude::*;

use self::server::Identity;

const HELP: &str = "\
A small MCP server for trying out a tunnel: tools echo, add, slow, big, uppercase, server_info.

Usage: mcp-tunnel mcp-stub [--server-name NAME] [--server-version VERSION]

Speaks MCP on stdin and stdout, as a tunnel starts it.

  --server-name NAME        what it calls itself [mcp-stub]
  --server-version VERSION  its version [0.1.0]

Example: MCP_COMMAND='mcp-tunnel mcp-stub' mcp-tunnel run
";

struct Options {
    identity: Identity,
}

/// Runs the command with the arguments that follow its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("mcp-tunnel: mcp-stub: {e} (`mcp-tunnel mcp-stub --help` lists the options)");
            return ExitCode::FAILURE;
        }
    };
    match stdio::serve(&options.identity) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mcp-tunnel: mcp-stub: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The options, or nothing if help was asked for.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    let mut identity = Identity { name: "mcp-stub".to_owned(), version: "0.1.0".to_owned() };
    let mut args = lexopt::Parser::from_args(args);
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("server-name") => identity.name = args.value()?.string()?,
            Long("server-version") => identity.version = args.value()?.string()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(Options { identity }))
}

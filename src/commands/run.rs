//! `run` and `mcp-stub`: start the daemon and the built-in MCP server.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::{FAILURE, Invocation, complain_about, fail, say};
use crate::settings::{Env, Flags, Id, Setting};
use crate::{daemon, stub};

/// `run`: the checked configuration goes to the daemon.
pub fn run(invocation: &Invocation) -> ExitCode {
    let mut settings = invocation.settings.clone();
    let _stub = match embedded_stub(invocation, &mut settings) {
        Ok(stub) => stub,
        Err(wrong) => return fail(&wrong),
    };
    let loaded = crate::settings::load(&settings, &Env::of_process());
    match loaded.config {
        Some(config) => {
            let again = move || crate::settings::load(&settings, &Env::of_process());
            daemon::run(config, &loaded.effective, Box::new(again))
        }
        None => {
            complain_about(&loaded.problems);
            ExitCode::from(FAILURE)
        }
    }
}

/// `--embedded-mcp-stub`: the built-in server takes the channel `main`, as if by a flag.
fn embedded_stub(
    invocation: &Invocation,
    settings: &mut Flags,
) -> Result<Option<stub::Serving>, String> {
    const FLAG: &str = "--embedded-mcp-stub";
    if !invocation.is_on("embedded-mcp-stub") {
        return Ok(None);
    }
    for id in [Id::ServerUrls, Id::Commands] {
        if let Some((_, other)) = settings.last(id) {
            return Err(format!("{FLAG} and {other} exclude each other: give one"));
        }
    }
    let or = |flag, default: &str| invocation.last(flag).unwrap_or(default).to_owned();
    let stub = stub::Serving::embedded(
        or("embedded-mcp-server-name", "mcp-stub"),
        or("embedded-mcp-server-version", "0.1.0"),
        &or("embedded-mcp-listen-addr", "127.0.0.1:0"),
    )
    .map_err(|e| format!("{FLAG}: {e}"))?;
    let entry = format!("channel=main,url={}", stub.url);
    settings.add(Setting::of(Id::ServerUrls), FLAG.to_owned(), true, entry);
    say(&format!("mcp-stub serves {}\n", stub.url));
    Ok(Some(stub))
}

/// `mcp-stub`: the server speaks on its standard streams unless it is told to listen.
pub fn stub_on_streams(args: Vec<OsString>) -> ExitCode {
    stub::main(args)
}

/// `dev mcp-stub`: the server listens on a loopback port unless it is told where.
pub fn stub_on_loopback(args: Vec<OsString>) -> ExitCode {
    let listen = ["--listen", "127.0.0.1:0"].map(OsString::from);
    stub::main(listen.into_iter().chain(args))
}

//! The command line: which command, what it was given, what it prints, how it exits.
//!
//! One file for each command; `commands` has the table of them. `main` alone calls it, and it
//! may call every other room.

mod admin;
mod admin_profiles;
pub(crate) mod command;
pub(crate) mod commands;
pub(crate) mod config;
mod dev_proxy;
pub mod docs;
pub(crate) mod health;
pub(crate) mod help;
pub(crate) mod init;
pub(crate) mod output;
mod profiles;
mod runtimes;
pub(crate) mod samples;
pub(crate) mod state;
mod top;
mod topics;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::confine::{self, Confinement, Needs};
use crate::launcher;
use crate::net::Ledger;
use crate::net::client::ClientConfig;
use crate::settings::{Env, Flags, Id, Loaded, Problem, Setting};
use crate::{daemon, stub};

use command::{Invocation, Parsed};

/// Exit code of anything that went wrong: flags, configuration, start (section 13).
pub(crate) const FAILURE: u8 = 1;

/// Exit code of a check that was completed and failed (section 13).
pub(crate) const NEGATIVE: u8 = 2;

/// What the exit codes mean, for the manual.
const EXIT_CODES: [(u8, &str); 3] = [
    (0, "Success, help, or a stop by a signal."),
    (FAILURE, "An error in flags or configuration, a failed start, a failed request."),
    (
        NEGATIVE,
        "A check was completed and its result is negative: `doctor`, `health`, `runtimes`, `top`.",
    ),
];

/// Runs the command that the arguments, without the program's name, ask for.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().peekable();
    // Not for people, so not in the table of commands.
    if args.next_if(|first| first == launcher::ARGUMENT).is_some() {
        return launcher::main(args);
    }
    if args.next_if(|first| first == confine::PROBE).is_some() {
        say(&Confinement::begin(&Needs::default()).to_string());
        return ExitCode::SUCCESS;
    }
    match command::parse(args) {
        Ok(Parsed::Help { path, long }) => {
            say(&help::of(&path, long));
            ExitCode::SUCCESS
        }
        Ok(Parsed::Welcome) => {
            say(help::WELCOME);
            ExitCode::SUCCESS
        }
        Ok(Parsed::Version) => {
            say(&format!("mcp-tunnel {}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Ok(Parsed::Stub(args)) => stub::main(args),
        Ok(Parsed::Run(invocation)) => (invocation.command.run)(&invocation),
        Err(usage) => fail(&usage),
    }
}

/// Prints to stdout. A reader that has gone away (`mcp-tunnel help | head`) is no error.
pub(crate) fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints one line to stderr with the program's name before it.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "mcp-tunnel: {message}");
}

/// Says what is wrong and gives the exit code for it.
pub(crate) fn fail(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(FAILURE)
}

/// Prints every problem of a configuration, in the order in which they were found.
pub(crate) fn complain_about(problems: &[Problem]) {
    for problem in problems {
        complain(&problem.to_string());
    }
}

/// A client of a command for one or two exchanges over plain HTTP.
pub(crate) fn plain_client(unix_socket: Option<PathBuf>) -> ClientConfig {
    ClientConfig {
        tls: None,
        unix_socket,
        proxy: None,
        idle: Duration::ZERO,
        linger: None,
        secrets_keep_path: false,
        ledger: Ledger::default(),
    }
}

/// The configuration that the command was given.
pub(crate) fn load(invocation: &Invocation) -> Loaded {
    crate::settings::load(&invocation.settings, &Env::of_process())
}

/// `help`: a topic, a command, or the list of both.
fn help_command(invocation: &Invocation) -> ExitCode {
    if invocation.words.last().is_some_and(|word| word == commands::STUB) {
        return stub::main(["--help".into()]);
    }
    match help::on(&invocation.words) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(wrong) => fail(&wrong),
    }
}

/// `run`: the checked configuration goes to the daemon.
fn run_command(invocation: &Invocation) -> ExitCode {
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

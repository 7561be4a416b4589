//! Output and exit codes of the commands.

use std::io::Write;
use std::process::ExitCode;
use std::sync::OnceLock;

use crate::settings::Problem;

/// Exit code of anything that went wrong: flags, configuration, start (cli.md, section 13).
pub const FAILURE: u8 = 1;

/// Exit code of a check that was completed and failed (cli.md, section 13).
pub const NEGATIVE: u8 = 2;

/// The program's name, which begins every line on stderr.
static PROGRAM: OnceLock<&'static str> = OnceLock::new();

/// Sets the name of the program, once at startup.
pub fn speak_as(program: &'static str) {
    let _ = PROGRAM.set(program);
}

/// Prints to stdout. A reader that has gone away (`mcp-tunnel help | head`) is no error.
pub fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints one line to stderr with the program's name before it.
pub fn complain(message: &str) {
    let program = PROGRAM.get().unwrap_or(&"mcp-tunnel");
    let _ = writeln!(std::io::stderr(), "{program}: {message}");
}

/// Prints a problem and returns the exit code for it.
pub fn fail(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(FAILURE)
}

/// Prints every problem of a configuration, in the order in which they were found.
pub fn complain_about(problems: &[Problem]) {
    for problem in problems {
        complain(&problem.to_string());
    }
}

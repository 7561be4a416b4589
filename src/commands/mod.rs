//! The program `mcp-tunnel`: its command table and its small commands. The large ones are rooms of
//! their own: `daemon`, `doctor`, `stub`.
//!
//! `main` alone calls it.

mod config;
mod forward;
mod health;
mod init;
mod run;
mod table;
mod topics;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::say;
use crate::confine::{self, Confinement, Needs};
use crate::launcher;

pub use table::PROGRAM;

/// Runs the internal commands with which this program starts itself as a child: the launcher and
/// the confinement probe. Nobody types them, so they are not in the table. `None` if the arguments
/// name neither.
pub fn internal(args: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = args.split_first()?;
    if first == launcher::ARGUMENT {
        return Some(launcher::main(rest.iter().cloned()));
    }
    if first == confine::PROBE {
        say(&Confinement::begin(&Needs::default()).to_string());
        return Some(ExitCode::SUCCESS);
    }
    None
}

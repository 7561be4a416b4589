//! `mcp-tunnel run`: a daemon in its three states, each a type that is made of the one before.
//!
//! ```text
//! Prepared    everything that can fail without the network has not failed: files, sockets and
//!             certificates are open, the launcher runs, the listener is bound
//!   confine   rights that the daemon does not need are given up
//! Confined    still one thread; all further threads inherit what was given up
//!   start     the threads, the listener's first
//! Running     signals, reload, and the way down
//! ```
//!
//! A failed start is one line on stderr and exit code 1. `mcp-tunnel`'s command table calls
//! [`run`], and nobody calls the rest.

mod advice;
mod conditions;
mod confined;
mod confinement;
mod metrics;
mod page;
mod poll_state;
mod prepared;
mod probe;
mod reload;
mod running;
mod shared;
mod since;
mod system;
mod threads;
mod timers;
mod views;
mod watch;

use std::process::ExitCode;

pub(crate) use self::prepared::refuse_unsupported;
pub use self::reload::LoadAgain;

use self::confined::Confined;
use self::prepared::Prepared;
use self::running::Running;
use crate::settings::{Config, Effective};

/// Runs the daemon until a signal ends it.
/// `started` are the settings as they are shown to people, `again` loads them anew.
pub fn run(config: Config, started: &[Effective], again: LoadAgain) -> ExitCode {
    match start(&config, started, again) {
        Ok(daemon) => {
            // It holds the first secrets, which a reload may replace.
            drop(config);
            daemon.serve()
        }
        Err(line) => {
            eprintln!("mcp-tunnel: {line}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Config, started: &[Effective], again: LoadAgain) -> Result<Running, String> {
    let prepared = Prepared::open(config)?;
    let confined = Confined::begin(prepared)?;
    Running::start(confined, started, again)
}

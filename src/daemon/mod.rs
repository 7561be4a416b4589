//! `mcp-tunnel run`: the daemon in three states, each a type made from the one before.
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
//! A failed start prints one line for each problem on stderr and exits with code 1. The command
//! table calls [`run`]. `config check` and `doctor` call [`verdict`], which the first state also
//! asks before it opens anything.

mod advice;
mod command_record;
mod command_stats;
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
pub(crate) mod verdict;
mod views;
mod watch;

use std::process::ExitCode;

pub use self::reload::LoadAgain;

use self::confined::Confined;
use self::prepared::Prepared;
use self::running::Running;
use crate::settings::{Config, Effective, Problem};

/// Runs the daemon until a signal ends it. `started` holds the settings in their printable form;
/// `again` loads them anew.
pub fn run(config: Config, started: &[Effective], again: LoadAgain) -> ExitCode {
    match start(&config, started, again) {
        Ok(daemon) => {
            // This holds the first secrets, which a reload may replace.
            drop(config);
            daemon.serve()
        }
        Err(problems) => {
            for problem in problems {
                eprintln!("mcp-tunnel: {problem}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(
    config: &Config,
    started: &[Effective],
    again: LoadAgain,
) -> Result<Running, Vec<Problem>> {
    let prepared = Prepared::open(config, started)?;
    Confined::begin(prepared)
        .and_then(|confined| Running::start(confined, started, again))
        .map_err(|line| vec![Problem::general(line)])
}

//! A process that is to end with the one that started it, also when that one is killed.
//!
//! `dev proxy` says so to its children; `run` and the relay's `serve` look. The kernel sends the
//! signal when the *thread* ends that started the process: it must be one that lives as long as
//! the whole parent, such as the main thread.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Names the process that must not be outlived.
pub const VARIABLE: &str = "MCP_TUNNEL_PARENT";

/// Has SIGTERM come when the parent ends, if the environment asks for that.
///
/// # Errors
/// If the parent has ended already, or the kernel refuses.
pub fn end_with_it() -> Result<(), String> {
    let Ok(parent) = std::env::var(VARIABLE) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|e| format!("{VARIABLE}: the end of that process can not be watched: {e}"))?;
    // One that ended before gives no signal.
    match getppid().map(Pid::as_raw_nonzero) {
        Some(now) if now.to_string() == parent => Ok(()),
        _ => Err(format!("{VARIABLE}: process {parent} did not start this one, or has ended")),
    }
}

//! Lets a process end with its parent, even if the parent is killed.
//!
//! `dev proxy` asks its children for this; `run` and the relay's `serve` obey. The kernel sends the
//! signal when the *thread* that started the child ends, so that thread must live as long as its
//! process, like the main thread.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The variable that names the parent's process id.
pub const VARIABLE: &str = "MCP_TUNNEL_PARENT";

/// Asks the kernel for SIGTERM when the parent ends, if the environment asks for that.
///
/// # Errors
/// If the parent has ended already, or the kernel refuses.
pub fn end_with_it() -> Result<(), String> {
    let Ok(parent) = std::env::var(VARIABLE) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|e| format!("{VARIABLE}: the end of that process cannot be watched: {e}"))?;
    // A parent that has ended already causes no signal.
    match getppid().map(Pid::as_raw_nonzero) {
        Some(now) if now.to_string() == parent => Ok(()),
        _ => Err(format!("{VARIABLE}: process {parent} did not start this one, or has ended")),
    }
}

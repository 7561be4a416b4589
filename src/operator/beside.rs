//! The daemon's program, which `runtimes connect` and `dev proxy` start.

use std::path::PathBuf;

use crate::settings::reference::text_of;

/// `mcp-tunnel`, beside this program's own file.
///
/// # Errors
/// One line if it is not there.
pub fn daemon() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("/proc/self/exe: {}", text_of(&e)))?;
    let path = own.with_file_name("mcp-tunnel");
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} is not there: it is the daemon that is to be started", path.display()))
}

//! Files of the host, replaced for one program alone: a mount namespace.

use std::path::Path;
use std::process::{Command, Stdio};

/// For [`crate::support::stack::Settings::started_by`]: starts a program where each first file
/// lies in the place of the second one, if there is one.
pub fn in_place_of(files: &[(&Path, &str)]) -> Command {
    const SCRIPT: &str = "while [ \"$1\" != -- ]; do \
                              [ ! -e \"$2\" ] || mount --bind \"$1\" \"$2\" || exit; shift 2; \
                          done; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
    for (file, place) in files {
        command.arg(file).arg(place);
    }
    command.arg("--");
    command
}

/// Why that can not be done, if it can not.
pub fn missing() -> Option<&'static str> {
    let mut mounts = Command::new("unshare");
    match mounts.args(["--mount", "true"]).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => None,
        Ok(_) => Some("only root may make a mount namespace"),
        Err(_) => Some("there is no `unshare`"),
    }
}

//! Commands of `mcp-tunnel-ctl` that are typed as commands of `mcp-tunnel`: this process becomes
//! `mcp-tunnel-ctl`, with the same arguments.
//!
//! That program is looked up beside this program's own file, never on `PATH`. It is executed only
//! if all of these hold:
//!
//! - it is a regular file, not a symbolic link;
//! - everyone who can write it can also write `mcp-tunnel` itself: its owner is that of `mcp-tunnel`
//!   or root, others may not write it, and its group only if the same group may write `mcp-tunnel`;
//! - it contains [`Mark`], which names the program and this version. A mark is not a signature: it
//!   only catches a foreign file or another release. The rule above keeps strangers out.
//!
//! One open file is checked and executed, so the program cannot be exchanged in between.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::cli::{NEGATIVE, complain};
use crate::settings::reference::text_of;

/// The program that has the commands.
const PROGRAM: &str = "mcp-tunnel-ctl";
/// The version that fits.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// This program's own file, whatever it is called and however it was found.
const OWN_FILE: &str = "/proc/self/exe";
/// Bytes that are searched for the mark at once.
const CHUNK: usize = 64 * 1024;

/// Executes `mcp-tunnel-ctl` with these arguments; returns only if it cannot.
pub fn forward(args: Vec<OsString>) -> ExitCode {
    let Err(wrong) = execute(args);
    complain(&wrong);
    ExitCode::from(NEGATIVE)
}

/// No value: `exec` does not return when it succeeds.
enum Never {}

fn execute(args: Vec<OsString>) -> Result<Never, String> {
    let own_path = fs::read_link(OWN_FILE).map_err(|e| format!("{OWN_FILE}: {}", text_of(&e)))?;
    let own = fs::metadata(OWN_FILE).map_err(|e| format!("{OWN_FILE}: {}", text_of(&e)))?;
    let path = own_path.with_file_name(PROGRAM);
    let file = checked(&path, &own)?;
    // It speaks as the program that was typed.
    let error = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .arg0("mcp-tunnel")
        .args(args)
        .exec();
    Err(format!("{} cannot be executed: {}", path.display(), text_of(&error)))
}

/// The open program, if it may be executed.
fn checked(path: &Path, own: &Metadata) -> Result<File, String> {
    let shown = path.display();
    // Without waiting, should it be a pipe.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let mut file = opened.map_err(|e| match e.kind() {
        ErrorKind::NotFound => format!(
            "this command is in {PROGRAM}, which is not installed: install the package {PROGRAM} \
             {VERSION}, or put that program at {shown}"
        ),
        _ if e.raw_os_error() == Some(libc::ELOOP) => {
            format!("{shown} is a symbolic link, and is not executed: put the program itself there")
        }
        _ => format!("{shown} cannot be opened: {}", text_of(&e)),
    })?;
    let found = file.metadata().map_err(|e| format!("{shown}: {}", text_of(&e)))?;
    if !found.is_file() {
        return Err(format!("{shown} is no regular file, and is not executed"));
    }
    if !as_safe_as(own, &found) {
        return Err(format!(
            "{shown} can be changed by others than mcp-tunnel can, and is not executed: give it \
             the owner and the mode of mcp-tunnel"
        ));
    }
    let mark = Mark::of_this_version();
    match mark.is_in(&mut file) {
        Ok(true) => Ok(file),
        Ok(false) => Err(format!(
            "{shown} is not {PROGRAM} {VERSION}, and is not executed: install that version beside \
             mcp-tunnel"
        )),
        Err(e) => Err(format!("{shown} cannot be read: {}", text_of(&e))),
    }
}

/// True if everyone who can write `other` can also write `own`, the file of this program.
fn as_safe_as(own: &Metadata, other: &Metadata) -> bool {
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;
    let owner = other.uid() == own.uid() || other.uid() == 0;
    let group = other.mode() & GROUP_WRITES == 0
        || (own.mode() & GROUP_WRITES != 0 && other.gid() == own.gid());
    owner && group && other.mode() & OTHERS_WRITE == 0
}

/// The bytes by which the program is known: the line that its `--version` prints, backwards.
///
/// Only `mcp-tunnel-ctl` may hold them, or a copy of `mcp-tunnel` under the other name would execute
/// itself again and again. Forwards, the parts of the line may happen to lie one behind the other
/// in this program too.
struct Mark(Vec<u8>);

impl Mark {
    fn of_this_version() -> Self {
        let line = [PROGRAM, " ", VERSION, "\n"].concat();
        Self(line.bytes().rev().collect())
    }

    fn is_in(&self, file: &mut impl Read) -> io::Result<bool> {
        let mut seen: Vec<u8> = Vec::with_capacity(CHUNK + self.0.len());
        loop {
            let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut seen)?;
            if memchr::memmem::find(&seen, &self.0).is_some() {
                return Ok(true);
            }
            if read == 0 {
                return Ok(false);
            }
            // It may lie across two chunks.
            seen.drain(..seen.len().saturating_sub(self.0.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_found_wherever_it_lies() {
        let mark = Mark::of_this_version();
        for before in [0, 1, CHUNK - 3, CHUNK, 3 * CHUNK - mark.0.len() / 2] {
            let bytes = [vec![b'm'; before], mark.0.clone(), vec![0; 9]].concat();
            assert!(mark.is_in(&mut bytes.as_slice()).unwrap(), "{before}");
        }
        let forwards: Vec<u8> = mark.0.iter().rev().copied().collect();
        assert!(!mark.is_in(&mut forwards.as_slice()).unwrap());
        assert!(!mark.is_in(&mut &mark.0[..mark.0.len() - 1]).unwrap());
    }
}

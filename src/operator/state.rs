//! Small records that a user's commands keep: JSON files with mode 0600 in a directory with mode
//! 0700. `runtimes` and `admin-profiles` use them.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::settings::reference::text_of;
use crate::settings::{Env, output};

/// Most bytes of a record that are read.
const RECORD_MAX: u64 = 4 * 1024 * 1024;

/// The directory of records, PID files, URL files and logs.
///
/// # Errors
/// If no variable names one.
pub fn root(env: &Env) -> Result<PathBuf, String> {
    let dir = if let Some(dir) = env.non_blank("TUNNEL_CLIENT_STATE_DIR") {
        PathBuf::from(dir)
    } else if let Some(dir) = env.non_blank("XDG_STATE_HOME") {
        Path::new(dir).join("tunnel-client")
    } else if let Some(home) = env.non_blank("HOME") {
        Path::new(home).join(".local/state/tunnel-client")
    } else {
        return Err("no place for state: set HOME or TUNNEL_CLIENT_STATE_DIR".to_owned());
    };
    Ok(dir.canonicalize().unwrap_or(dir))
}

/// Reads a record; a file that does not exist is an empty one.
///
/// # Errors
/// One line that names the file. A file that cannot be parsed is left as it is.
pub fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T, String> {
    use std::io::Read;
    let shown = path.display();
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(RECORD_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => serde_json::from_str(&text).map_err(|e| {
            format!("{shown}:{}:{}: this is no record of mcp-tunnel", e.line(), e.column())
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(e) => Err(format!("cannot read {shown}: {}", text_of(&e))),
    }
}

/// Replaces a file at once.
///
/// # Errors
/// One line that names the file.
pub fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), String> {
    let text = serde_json::to_string_pretty(record).expect("records are plain values");
    output::write(path, &format!("{text}\n"), true)
}

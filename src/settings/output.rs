//! Writes a configuration file: whole or not at all, readable by its owner only.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use super::reference::text_of;

/// Mode of files that are written here.
const FILE_MODE: u32 = 0o600;
/// Mode of directories that are made here.
const DIR_MODE: u32 = 0o700;

/// The most permissions that a replacement takes over from the old file: its group may read it,
/// others may not.
const KEPT_MODE: u32 = 0o640;

/// Writes a file with mode 0600, making its directory (0700) if there is none. An existing file
/// is replaced at once and only if `force` says so; its owner and its group may then read the new
/// one as they could the old, as the daemon's group has to with the file of the packages.
///
/// # Errors
/// One line that names the file.
pub fn write(path: &Path, text: &str, force: bool) -> Result<(), String> {
    let shown = path.display();
    let wrong = |e: &io::Error| format!("cannot write {shown}: {}", text_of(e));
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(|e| wrong(&e))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let result = write_new(&temporary, text).and_then(|()| {
        if force {
            if let Ok(old) = path.metadata() {
                chown(&temporary, Some(old.uid()), Some(old.gid()))?;
                let mode = FILE_MODE | old.mode() & KEPT_MODE;
                fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
            }
            fs::rename(&temporary, path)
        } else {
            // Unlike a rename, a link does not replace what is there.
            fs::hard_link(&temporary, path)
        }
    });
    let _ = fs::remove_file(&temporary);
    result.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{shown} exists; --force replaces it")
        }
        _ => wrong(&e),
    })
}

/// Creates a file that must not exist yet.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_written_for_its_owner_and_never_overwritten_unasked() {
        let dir = std::env::temp_dir().join(format!("mcp-tunnel-out-{}", std::process::id()));
        let path = dir.join("new/p.yaml");
        write(&path, "a", false).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
        let refused = write(&path, "b", false).unwrap_err();
        assert!(refused.contains("--force"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a");
        write(&path, "b", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        for (old, new) in [(0o600, 0o600), (0o640, 0o640), (0o666, 0o640)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(old)).unwrap();
            write(&path, "c", true).unwrap();
            assert_eq!(path.metadata().unwrap().mode() & 0o777, new);
        }
        fs::remove_dir_all(dir).unwrap();
    }
}

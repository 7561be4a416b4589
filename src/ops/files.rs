//! Small files that help other programs find the daemon: its health URL and its process id.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

/// Most bytes that are read back to see whether a file is still ours.
const CONTENT_MAX: u64 = 8_192;

/// A file that holds the health URL while the daemon runs. It is removed when dropped, unless
/// someone else has replaced its content in the meantime.
#[derive(Debug)]
pub struct UrlFile(OwnFile);

/// A file that holds the process id while the daemon runs, locked so that a second daemon with
/// the same file is refused. It is removed when dropped.
#[derive(Debug)]
pub struct PidFile {
    own: OwnFile,
    _lock: File,
}

#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    content: String,
}

impl UrlFile {
    /// Writes `url` without a line end, with mode 0600; creates the parent directories
    /// (operations-11).
    ///
    /// # Errors
    /// If a directory or the file cannot be written.
    pub fn create(path: &Path, url: &str) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        replace(path, url, 0o600)?;
        Ok(Self(OwnFile { path: path.to_owned(), content: url.to_owned() }))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl PidFile {
    /// Writes this process's id and a line end, with mode 0644; the parent directory must exist
    /// (operations-91).
    ///
    /// # Errors
    /// If another running process holds the file, or it cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        // Someone may have put a link or a pipe there: follow no link, wait for no pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        if let Ok(old) = OpenOptions::new().read(true).custom_flags(flags).open(path)
            && rustix::fs::flock(&old, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            let holder = head(old).unwrap_or_default();
            let text = format!("process {} holds it; is it running twice?", holder.trim());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let content = format!("{}\n", std::process::id());
        let lock = replace(path, &content, 0o644)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { own: OwnFile { path: path.to_owned(), content }, _lock: lock })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.own.path
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let ours = File::open(&self.path).and_then(head).is_ok_and(|text| text == self.content);
        if ours && let Err(e) = fs::remove_file(&self.path) {
            log::warn!("could not remove {}: {e}", self.path.display());
        }
    }
}

/// Replaces the file at `path` in one step: a reader sees the old file or the whole new one. A
/// symbolic link is replaced, not followed.
fn replace(path: &Path, content: &str, mode: u32) -> io::Result<File> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let write = || {
        // A dead process with the same id may have left one behind.
        let _ = fs::remove_file(&temporary);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content.as_bytes())?;
        fs::rename(&temporary, path)?;
        Ok(file)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

fn head(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(CONTENT_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let name = format!("mcp-tunnel-files-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test] // operations-11
    fn a_url_file_is_one_line_without_end_and_goes_with_its_owner() {
        let dir = Dir::new("url");
        let (path, target) = (dir.0.join("a/b/url"), dir.0.join("target"));
        let file = UrlFile::create(&path, "http://localhost:1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "http://localhost:1");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        drop(file);
        assert!(!path.exists());

        fs::write(&target, "keep").unwrap();
        symlink(&target, &path).unwrap();
        let file = UrlFile::create(&path, "http://localhost:2").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "keep");
        fs::write(&path, "http://localhost:3").unwrap();
        drop(file);
        assert!(path.exists(), "the file of another daemon was removed");
    }

    #[test] // operations-91, operations-93, operations-221
    fn a_second_daemon_with_the_same_pid_file_is_refused() {
        let dir = Dir::new("pid");
        let path = dir.0.join("pid");
        fs::write(&path, "4194305\n").unwrap();
        let first = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        let second = PidFile::create(&path).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
        drop(first);
        assert!(!path.exists());
        assert!(PidFile::create(&dir.0.join("none/pid")).is_err());
    }
}

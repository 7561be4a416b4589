//! The verdict on a configuration that `settings` has accepted: can `run` start with it?
//!
//! **The rule.** Everything that `run` opens, creates or starts from the configuration is checked
//! here first, by `run` itself and by `config check`, so the two cannot differ. The check changes
//! nothing: it creates, empties or locks no file, creates no directory, starts no program and binds
//! no port. So a configuration can be checked while its daemon runs. Consequences:
//!
//! - It checks whether a file could be created or appended to, not whether it is in use: a PID file
//!   or a socket of a running daemon is fine here. Only `run` notices a second daemon.
//! - Checks that need the network or a bound port are left to `run` and `doctor`: the listener's
//!   address, the control plane, the MCP servers.
//! - So are limits of the host: threads, descriptors, and the kernel's means of confinement.
//! - It holds for the user who runs it: a file that only the service's user may write is a problem
//!   for everybody else.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::hops::{Hops, bindings, commands};
use crate::settings::config::{Config, HealthListener};
use crate::settings::reference::text_of;
use crate::settings::table::Section;
use crate::settings::{Effective, Id, Problem, Setting, Source};

/// The channel of the built-in server, which this version does not have.
const HARPOON: &str = "harpoon";

/// Builds the hops, or returns every problem that would prevent a start.
///
/// # Errors
/// The problems, in the order in which `run` would meet them.
pub(crate) fn of(config: &Config, effective: &[Effective]) -> Result<Hops, Vec<Problem>> {
    let mut problems = unsupported(config, effective);
    problems.extend(files(config, effective));
    let hops = Hops::of(config).map_err(|e| Problem::general(e.line));
    // Any id will do: the real one is made at each start.
    let access = |hops: &Hops| bindings::access(config, "0".to_owned(), hops.control_plane());
    let unusable = hops.as_ref().ok().and_then(|hops| access(hops).err());
    problems.extend(unusable.map(Problem::general));
    problems.extend(bindings::mcp_headers(config).err().map(Problem::general));
    problems.extend(commands::unstartable(config).map(|e| at(effective, Id::Commands, e)));
    match hops {
        Ok(hops) if problems.is_empty() => Ok(hops),
        Ok(_) => Err(problems),
        Err(problem) => {
            problems.push(problem);
            Err(problems)
        }
    }
}

/// Settings that this version does not act on. They are refused, so that nobody relies on them.
pub(crate) fn unsupported(config: &Config, effective: &[Effective]) -> Vec<Problem> {
    let is_harpoon = |e: &&Effective| {
        Setting::of(e.id).section == Section::Harpoon && e.source != Source::Default
    };
    let wrong = |e: &Effective| {
        at(effective, e.id, "Harpoon cannot be used yet: remove the setting".to_owned())
    };
    let mut problems: Vec<Problem> = effective.iter().filter(is_harpoon).map(wrong).collect();
    let polled = config.control_plane.poll_channels.iter().flatten();
    if polled.into_iter().any(|channel| channel.as_str() == HARPOON) {
        let text = format!("the channel `{HARPOON}` cannot be served yet: leave it out");
        problems.push(at(effective, Id::PollChannels, text));
    }
    problems
}

/// Files and sockets that could not be created or written.
pub(crate) fn files(config: &Config, effective: &[Effective]) -> Vec<Problem> {
    let socket = match &config.health.listener {
        HealthListener::Unix(path) => Some(path),
        HealthListener::Tcp { .. } => None,
    };
    let log = [(Id::LogFile, &config.log.file), (Id::AuditFile, &config.log.audit_file)];
    let appended = log.map(|(id, path)| (id, path.as_ref(), can_append as Check));
    let made = [
        (Id::HealthUnixSocket, socket, can_listen as Check),
        (Id::HealthUrlFile, config.health.url_file.as_ref(), can_make_with_parents),
        (Id::PidFile, config.process.pid_file.as_ref(), can_make),
    ];
    appended
        .into_iter()
        .chain(made)
        .filter_map(|(id, path, check)| {
            let path = path?;
            let error = check(path).err()?;
            let text = format!("cannot write {}: {}", path.display(), text_of(&error));
            Some(at(effective, id, text))
        })
        .collect()
}

type Check = fn(&Path) -> io::Result<()>;

/// The problem, with the place of its setting.
fn at(effective: &[Effective], id: Id, message: String) -> Problem {
    let source = effective.iter().find(|e| e.id == id).map(|e| e.source.clone());
    Problem { id: Some(id), source, message }
}

/// Checks that a file could be appended to, or created if it does not exist.
fn can_append(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            // It would be created at the target of the link.
            Ok(target) => can_make(&parent(path).join(target)),
            Err(_) => can_make(path),
        },
        Err(error) => Err(error),
    }
}

/// Checks that a file could be created or replaced.
fn can_make(path: &Path) -> io::Result<()> {
    refuse_directory(path)?;
    can_make_in(&parent(path))
}

/// The same for a file whose directories would be created too.
fn can_make_with_parents(path: &Path) -> io::Result<()> {
    refuse_directory(path)?;
    let parent = parent(path);
    let there = parent.ancestors().find(|dir| dir.as_os_str().is_empty() || dir.exists());
    match there {
        Some(dir) if !dir.as_os_str().is_empty() => can_make_in(dir),
        _ => can_make_in(Path::new(".")),
    }
}

/// Checks that a socket could be bound: an existing one is in use, or left over and replaced.
fn can_listen(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(meta) if !meta.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and is no socket"))
        }
        _ => can_make_with_parents(path),
    }
}

fn can_make_in(dir: &Path) -> io::Result<()> {
    if fs::metadata(dir)?.is_dir() {
        return Ok(accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?);
    }
    Err(io::ErrorKind::NotADirectory.into())
}

fn refuse_directory(path: &Path) -> io::Result<()> {
    let named = path.as_os_str().as_bytes();
    if named.ends_with(b"/") || path.file_name().is_none() || path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}

/// The directory of a file; the working directory for a bare name.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

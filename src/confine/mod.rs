//! The rights that the process gives up once it has everything it needs. The kernel then refuses
//! them to any mistake in this program, and to anyone who took it over.
//!
//! Landlock makes the file system read-only except for the directories that the configuration
//! names, forbids to execute anything, and allows TCP connections to the configured ports alone. A
//! filter of system calls leaves those that a network program needs. New privileges and core dumps
//! are given up. None of it can be taken back, and giving it up needs no privilege.
//!
//! A kernel may lack a part: the rest is done all the same, and [`Confinement`] names each missing
//! part with its reason. A thread inherits the confinement of the thread that starts it, so this is
//! done before the first one starts. Children inherit it too; programs are therefore started by
//! [`crate::launcher`], which has a looser rule of its own.
//!
//! `daemon`, `doctor`, `relay` and `launcher` call it; it calls no other room.

mod paths;
mod syscalls;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};

/// The first argument of a process that confines itself, prints how, and ends. `doctor` starts it.
pub const PROBE: &str = "confinement-probe";

/// A part of the confinement. Each has a stable name for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// No new privileges: a set-user-ID program gives none.
    Privileges,
    /// No core dumps, and no look into the memory from processes of the same user.
    Memory,
    /// The file system is read-only, and nothing can be executed.
    Files,
    /// TCP connections to the configured ports alone, no further listener.
    Ports,
    /// No abstract socket and no signal of another process.
    Processes,
    /// Only the system calls of a network program.
    Syscalls,
}

impl Part {
    /// In the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Privileges, Self::Memory, Self::Files, Self::Ports, Self::Processes, Self::Syscalls];

    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Privileges => "privileges",
            Self::Memory => "memory",
            Self::Files => "files",
            Self::Ports => "ports",
            Self::Processes => "processes",
            Self::Syscalls => "syscalls",
        }
    }
}

/// The rights that the process keeps.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Files that are opened again for appending, or created, after a rotation.
    pub appended: Vec<PathBuf>,
    /// Files and sockets that are removed at the end.
    pub removed: Vec<PathBuf>,
    /// TCP ports that may be connected to.
    pub ports: BTreeSet<u16>,
    /// A socket in the abstract namespace, outside the process, is written to.
    pub abstract_socket: bool,
}

/// How the process is confined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Each part, and why it is missing if it is; empty if the confinement is off.
    parts: Vec<(Part, Option<String>)>,
}

impl Confinement {
    /// It was turned off.
    pub fn off() -> Self {
        Self::default()
    }

    /// Gives up everything but `needs`, for this thread and those that it starts; the filter of
    /// system calls holds for every thread. To be called once.
    pub fn begin(needs: &Needs) -> Self {
        // Its first use reads the address of the kernel's clock, which later is hidden.
        let _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let mut parts = vec![
            (Part::Privileges, said(rustix::thread::set_no_new_privs(true))),
            (Part::Memory, said(close_memory())),
        ];
        parts.extend(paths::restrict(needs));
        // Last: it refuses the calls that make all others.
        parts.push((Part::Syscalls, syscalls::of_the_daemon().err()));
        Self { parts }
    }

    /// True if a part holds.
    pub fn holds(&self, part: Part) -> bool {
        self.parts.iter().any(|(one, missing)| *one == part && missing.is_none())
    }

    /// Parts that should hold and do not, with the reason.
    pub fn missing(&self) -> impl Iterator<Item = (Part, &str)> {
        self.parts.iter().filter_map(|(part, missing)| Some((*part, missing.as_deref()?)))
    }

    /// `full`, `partial` or `off`.
    pub fn word(&self) -> &'static str {
        match self.parts.is_empty() {
            true => "off",
            false if self.missing().next().is_some() => "partial",
            false => "full",
        }
    }
}

/// One line: `full`, `off`, or `partial` with the missing parts. Parts with the same reason are
/// named together.
impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        let mut before = None;
        for (part, reason) in self.missing() {
            match before {
                None => write!(f, ": no confinement of {}", part.name())?,
                Some(same) if same == reason => write!(f, ", {}", part.name())?,
                Some(other) => write!(f, " ({other}); of {}", part.name())?,
            }
            before = Some(reason);
        }
        before.map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// The looser rule of the launcher and its children: no new privileges, and none of the calls that
/// administer a kernel.
///
/// # Errors
/// Names the part that the kernel lacks; the rest is done.
pub fn launcher() -> Result<(), String> {
    let privileges = said(rustix::thread::set_no_new_privs(true));
    syscalls::of_the_launcher()?;
    privileges.map_or(Ok(()), Err)
}

/// Memory holds keys and payloads, which must not end in a file. The limit alone does not hold
/// for a core dump that goes to a program.
fn close_memory() -> rustix::io::Result<()> {
    no_core_file();
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Lets no core dump be written to a file. A child may raise its own limit again.
pub fn no_core_file() {
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    // It can only be lowered, which is always allowed.
    let _ = setrlimit(Resource::Core, limit);
}

fn said(result: rustix::io::Result<()>) -> Option<String> {
    result.err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_in_one_line() {
        assert_eq!(Confinement::off().to_string(), "off");
        let parts = |missing: &[(Part, &str)]| {
            let reason = |part| missing.iter().find(|(one, _)| *one == part);
            let one = |part| (part, reason(part).map(|(_, reason)| (*reason).to_owned()));
            Confinement { parts: Part::ALL.map(one).to_vec() }
        };
        assert_eq!(parts(&[]).to_string(), "full");
        let old = "it needs Linux 6.7";
        let some = parts(&[(Part::Files, "old"), (Part::Ports, "old"), (Part::Syscalls, old)]);
        assert_eq!(
            some.to_string(),
            "partial: no confinement of files, ports (old); of syscalls (it needs Linux 6.7)"
        );
        assert!(some.holds(Part::Memory) && !some.holds(Part::Files));
    }
}

//! A process that starts the MCP commands for the daemon.
//!
//! The kernel applies the restrictions of a process to its children too, so a daemon that may
//! execute nothing (see [`crate::confine`]) cannot start an MCP server. Before the daemon confines itself,
//! it therefore starts this program once more, as the launcher: one thread that knows the
//! configured commands and their environment, and nothing else of the daemon.
//!
//! The two talk over a socket. On request the launcher starts a command by its number, hands back
//! the ends of its pipes, signals it, and reports how it ended. Only the launcher reaps, so no
//! signal can hit a process that merely got the id of a dead child. The daemon can only have the
//! configured commands started. When the daemon is gone, however it ended, the launcher ends the
//! children and itself.
//!
//! `mcp::stdio` calls [`Launcher`], `daemon` makes one, and the program's `main` calls [`main`]. It
//! calls `confine`.

mod message;
mod serve;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};

use self::message::{Event, Request, receive, send};

pub use self::serve::main;
use crate::unpoisoned::Unpoisoned;

/// The first argument of the launcher's process.
pub const ARGUMENT: &str = "launcher";

/// Its second argument: whether it confines itself.
const CONFINED: &str = "confined";
const FREE: &str = "free";

/// This program, even after a new version was installed in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long a start may take, until the program is loaded from its disk.
const START_MAX: Duration = Duration::from_secs(30);

/// Stack of the thread that listens to the launcher, in bytes: it keeps no buffers.
const STACK: usize = 128 * 1024;

/// The daemon's side.
#[derive(Debug)]
pub struct Launcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: OwnedFd,
    children: Mutex<Children>,
}

#[derive(Debug, Default)]
struct Children {
    last_number: u32,
    /// The children that were asked for and have not ended.
    open: BTreeMap<u32, Entry>,
    /// The launcher is gone; nothing can be started any more.
    gone: bool,
}

/// The process id of a child and our ends of its pipes.
type Birth = (i32, [OwnedFd; 3]);

#[derive(Debug)]
struct Entry {
    /// Waits for the start; `None` once the child runs.
    started: Option<Sender<io::Result<Birth>>>,
    ended: Sender<ExitStatus>,
}

/// A child that was started.
#[derive(Debug)]
pub struct Started {
    /// Its number in the messages to the launcher.
    pub number: u32,
    /// Its process id, for people.
    pub pid: i32,
    /// Our end of its standard input.
    pub stdin: OwnedFd,
    /// Our end of its standard output.
    pub stdout: OwnedFd,
    /// Our end of its standard error.
    pub stderr: OwnedFd,
    /// Gives its status once it has ended and its group with it. Disconnects without a status if
    /// the launcher is gone.
    pub ended: Receiver<ExitStatus>,
}

/// A launcher's process before its listener: no thread may be started yet.
#[derive(Debug)]
pub struct Prepared {
    socket: OwnedFd,
    process: Child,
}

/// Everything that the launcher knows.
#[derive(Debug, Clone)]
pub struct Commands<'a> {
    /// Program and arguments of each command.
    pub argv: Vec<&'a [String]>,
    /// Their environment, which is also the launcher's own.
    pub environment: Vec<(OsString, OsString)>,
    /// True if the launcher and its children are confined, by the looser rule of
    /// [`crate::confine`].
    pub confined: bool,
}

impl Prepared {
    /// Starts this very program as the launcher.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn of_this_program(commands: &Commands<'_>) -> io::Result<Self> {
        Self::start(Path::new(THIS_PROGRAM), commands)
    }

    /// Starts `program`, which is `mcp-tunnel`, as the launcher.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(program: &Path, commands: &Commands<'_>) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(program);
        let rule = if commands.confined { CONFINED } else { FREE };
        command.arg0("mcp-tunnel").args([ARGUMENT, rule]);
        for words in &commands.argv {
            command.arg(words.len().to_string()).args(*words);
        }
        let environment = commands.environment.iter().map(|(name, value)| (name, value));
        // In a group of its own: a Ctrl-C must reach only the daemon, which knows how to end a
        // child.
        command.env_clear().envs(environment).stdin(theirs).process_group(0);
        // Our copy of the launcher's end is closed with the command, so that its death shows.
        Ok(Self { socket: ours, process: command.spawn()? })
    }

    /// Starts the thread that listens to the launcher.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn listen(self) -> io::Result<Launcher> {
        let Self { socket, process } = self;
        let inner = Arc::new(Inner { socket, children: Mutex::default() });
        let listening = inner.clone();
        thread::Builder::new()
            .name("launcher".to_owned())
            .stack_size(STACK)
            .spawn(move || listening.listen(process))?;
        Ok(Launcher(inner))
    }
}

impl Launcher {
    /// Starts the command of this index.
    ///
    /// # Errors
    /// As the system refused it, or if the launcher is gone.
    pub fn launch(&self, command: usize) -> io::Result<Started> {
        let command = u32::try_from(command).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (answer, started) = bounded(1);
        let (end, ended) = bounded(1);
        let number = {
            let mut children = self.0.lock();
            if children.gone {
                return Err(gone());
            }
            children.last_number += 1;
            let number = children.last_number;
            children.open.insert(number, Entry { started: Some(answer), ended: end });
            number
        };
        let given_up = |error: io::Error| {
            self.0.lock().open.remove(&number);
            error
        };
        let request = Request::Start { child: number, command };
        send(&self.0.socket, request.words(), &[]).map_err(|_| given_up(gone()))?;
        match started.recv_timeout(START_MAX) {
            Ok(result) => {
                let (pid, [stdin, stdout, stderr]) = result?;
                Ok(Started { number, pid, stdin, stdout, stderr, ended })
            }
            Err(RecvTimeoutError::Timeout) => {
                // It arrives after the request, so it undoes a start that succeeds late.
                self.kill(number);
                Err(given_up(io::ErrorKind::TimedOut.into()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(given_up(gone())),
        }
    }

    /// Sends SIGTERM to the child and all of its process group, unless it has ended.
    pub fn terminate(&self, child: u32) {
        // If the launcher is gone, so is the child.
        let _ = send(&self.0.socket, Request::Terminate { child }.words(), &[]);
    }

    /// Sends SIGKILL to the child and all of its process group, unless it has ended.
    pub fn kill(&self, child: u32) {
        let _ = send(&self.0.socket, Request::Kill { child }.words(), &[]);
    }

    /// True if nothing can be started any more, until the daemon is restarted.
    pub fn is_gone(&self) -> bool {
        self.0.lock().gone
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Ends the launcher, its children, and the listener.
        let _ = shutdown(&self.0.socket, Shutdown::Both);
    }
}

fn gone() -> io::Error {
    io::Error::other("the process that starts MCP commands is gone: restart mcp-tunnel")
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unpoisoned()
    }

    /// The thread: until the launcher is gone.
    fn listen(&self, mut process: Child) {
        while let Ok(Some((words, pipes))) = receive(&self.socket) {
            match Event::of(words) {
                Some(event) => self.note(event, pipes),
                None => break,
            }
        }
        let _ = shutdown(&self.socket, Shutdown::Both);
        let mut children = self.lock();
        children.gone = true;
        // Their channels disconnect, so no thread waits for a child any longer.
        children.open.clear();
        drop(children);
        let _ = process.wait();
    }

    fn note(&self, event: Event, pipes: Vec<OwnedFd>) {
        let mut children = self.lock();
        match event {
            Event::Started { child, pid } => {
                let waiting = children.open.get_mut(&child).and_then(|entry| entry.started.take());
                // Pipes are missing if this process may not open more files.
                let result = <[OwnedFd; 3]>::try_from(pipes)
                    .map(|pipes| (pid, pipes))
                    .map_err(|_| io::Error::from(rustix::io::Errno::MFILE));
                let failed = result.is_err();
                let told = waiting.is_some_and(|waiting| waiting.send(result).is_ok());
                if failed || !told {
                    children.open.remove(&child);
                    let _ = send(&self.socket, Request::Kill { child }.words(), &[]);
                }
            }
            Event::Failed { child, errno } => {
                if let Some(Entry { started: Some(waiting), .. }) = children.open.remove(&child) {
                    let _ = waiting.send(Err(io::Error::from_raw_os_error(errno)));
                }
            }
            Event::Ended { child, status } => {
                if let Some(entry) = children.open.remove(&child) {
                    let _ = entry.ended.send(ExitStatus::from_raw(status));
                }
            }
        }
    }
}

//! One child process and the threads on its pipes.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Receiver;
use signal_hook::consts::SIGSYS;

use super::shared::Shared;
use super::stdin::{Stdin, WriterEnd};
use super::{reader, stderr};
use crate::launcher::Started;
use crate::net::Cancel;

/// Stack of the threads of a channel, in bytes. They do not recurse and keep no buffers on it.
const STACK: usize = 256 * 1024;

/// How long a child whose start is undone may take to end after SIGKILL.
const UNDO_MAX: Duration = Duration::from_secs(1);

/// Words that have a meaning only in a shell.
const SHELL_WORDS: [&str; 9] = ["&&", "||", "|", ";", ">", "<", "cd", "export", "source"];

/// The reason why the command could not be started.
#[derive(Debug)]
pub struct StartError {
    program: String,
    /// True if the command was written for a shell.
    for_a_shell: bool,
    error: io::Error,
}

impl StartError {
    /// The error for a command that the system does not start for this reason.
    pub fn of(argv: &[String], error: io::Error) -> Self {
        let program = argv.first().cloned().unwrap_or_default();
        let for_a_shell = argv.iter().any(|word| SHELL_WORDS.contains(&word.as_str()));
        Self { program, for_a_shell, error }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, for_a_shell, error } = self;
        write!(f, "cannot start the MCP command `{program}`: ")?;
        match error.kind() {
            io::ErrorKind::NotFound if program.contains('/') => f.write_str(
                "there is no such file, or the interpreter in its first line is missing",
            ),
            io::ErrorKind::NotFound if *for_a_shell => {
                f.write_str("commands run without a shell: if this one needs it, write sh -c '...'")
            }
            io::ErrorKind::NotFound => {
                f.write_str("there is no such program on PATH (install it, or give its whole path)")
            }
            io::ErrorKind::PermissionDenied => f.write_str(
                "it is not an executable file (is it a directory, or is `chmod +x` due?), or the \
                 service may start no programs: see stdio.conf in mcp-tunnel(1)",
            ),
            _ => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A started child with its threads. The launcher owns the process and alone reaps it.
pub(super) struct Running {
    shared: Arc<Shared>,
    number: u32,
    pub pid: i32,
    pub stdin: Arc<Stdin>,
    /// Delivers the child's status once it and the rest of its process group have ended.
    pub ended: Receiver<ExitStatus>,
    gone: Cancel,
    /// The reader comes first.
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts the command, without a shell and in a process group of its own (stdio-64, mcp-24),
    /// and the threads on its pipes. The child is installed in the state of the server.
    pub fn launch(shared: &Arc<Shared>) -> Result<Self, StartError> {
        Self::try_launch(shared).map_err(|error| StartError::of(&shared.config.argv, error))
    }

    fn try_launch(shared: &Arc<Shared>) -> io::Result<Self> {
        let (gone, closed) = (Cancel::new()?, Cancel::new()?);
        let config = &shared.config;
        let Started { number, pid, stdin, stdout, stderr, ended } =
            config.launcher.launch(config.command)?;
        // This affects only our end: the child's end of the pipe is another open file.
        let unblocked = [&stdin, &stdout, &stderr]
            .into_iter()
            .try_for_each(|pipe| rustix::io::ioctl_fionbio(pipe, true));
        let stdin = Arc::new(Stdin::new(stdin, closed, config.limits.stdin_stall));
        let (shared, threads) = (shared.clone(), Vec::new());
        let mut running = Self { shared, number, pid, stdin, ended, gone, threads };
        match unblocked.map_err(io::Error::from).and_then(|()| running.attach(stdout, stderr)) {
            Ok(()) => Ok(running),
            Err(error) => {
                // Out of threads: undo the start, so that the next attempt starts clean.
                running.kill();
                let _ = running.ended.recv_timeout(UNDO_MAX);
                running.clear_away();
                Err(error)
            }
        }
    }

    fn attach(&mut self, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<()> {
        let (shared, stdin) = (&self.shared, &self.stdin);
        shared.stats.starts.inc();
        let number = shared.number();
        shared.lock().install(self.pid, stdin.clone(), &shared.config.limits, number);
        self.threads.push(thread("stdio-reader", {
            let (shared, gone) = (shared.clone(), self.gone.clone());
            move || reader::run(&shared, &stdout, &gone)
        })?);
        self.threads.push(thread("stdio-stderr", {
            let (shared, gone) = (shared.clone(), self.gone.clone());
            move || stderr::run(&shared, &stderr, &gone)
        })?);
        self.threads.push(thread("stdio-writer", {
            let (shared, stdin) = (shared.clone(), stdin.clone());
            move || write(&shared, &stdin)
        })?);
        Ok(())
    }

    /// Sends SIGTERM to the child and all of its process group.
    pub fn terminate(&self) {
        self.shared.config.launcher.terminate(self.number);
    }

    /// Sends SIGKILL to the child and all of its process group.
    pub fn kill(&self) {
        self.shared.config.launcher.kill(self.number);
    }

    /// After the end of the child: reads its last output, fails the calls that are still open, and
    /// joins the threads. Its state stays until the server knows what follows.
    pub fn clear_away(self) {
        if let Some(live) = &mut self.shared.lock().live {
            live.exited = true;
        }
        self.gone.cancel();
        self.stdin.close();
        let mut threads = self.threads.into_iter();
        let _ = threads.next().map(JoinHandle::join);
        self.shared.lose_calls();
        let _ = threads.try_for_each(JoinHandle::join);
    }
}

/// The thread on the child's standard input.
fn write(shared: &Shared, stdin: &Stdin) {
    let limits = &shared.config.limits;
    // A child that is still starting need not read yet.
    let is_starting = || {
        shared.lock().live.as_ref().is_some_and(|live| {
            live.answered_at.is_none() && live.born.elapsed() < limits.initialize
        })
    };
    match stdin.run(is_starting) {
        WriterEnd::Closed => {}
        // The child may answer the requests that it has, but takes no more.
        WriterEnd::Broken => {
            shared.end_child("child closed its standard input", limits.closed_wait);
        }
        WriterEnd::Stalled => {
            shared.stats.stalls.inc();
            let reason =
                format!("child has not read its standard input for {:?}", limits.stdin_stall);
            shared.end_child(&reason, Duration::ZERO);
        }
    }
}

/// Starts a thread of the channel.
pub(super) fn thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(body)
}

/// Describes how a child ended; the status is `None` if the launcher could not tell.
pub(super) fn exit_words(status: Option<ExitStatus>) -> String {
    let code = status.and_then(|status| status.code());
    let signal = status.and_then(|status| status.signal());
    match (code, signal) {
        (Some(code), _) => format!("child exited with status {code}"),
        // The signal of a system call filter, ours or another.
        (None, Some(SIGSYS)) => {
            "child was ended by SIGSYS: confinement takes no 32-bit programs".to_owned()
        }
        (None, Some(signal)) => format!("child was ended by signal {signal}"),
        (None, None) => "child ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(program: &str, kind: io::ErrorKind) -> String {
        StartError { program: program.to_owned(), for_a_shell: false, error: kind.into() }
            .to_string()
    }

    #[test]
    fn a_command_that_does_not_start_says_what_to_do() {
        let missing = message("mcp-thing", io::ErrorKind::NotFound);
        assert!(missing.contains("`mcp-thing`") && missing.contains("PATH"), "{missing}");
        let file = message("/opt/x", io::ErrorKind::NotFound);
        assert!(file.contains("no such file"), "{file}");
        let denied = message("/etc", io::ErrorKind::PermissionDenied);
        assert!(denied.contains("chmod +x"), "{denied}");
    }

    #[test]
    fn an_exit_is_told_in_words() {
        assert_eq!(exit_words(Some(ExitStatus::from_raw(3 << 8))), "child exited with status 3");
        assert_eq!(exit_words(Some(ExitStatus::from_raw(9))), "child was ended by signal 9");
    }
}

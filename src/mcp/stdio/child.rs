//! One child process and the threads on its pipes.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use log::info;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::SIGSYS;

use super::StdioConfig;
use super::lines::Lines;
use super::server::Shared;
use super::stdin::{Stdin, WriterEnd};
use super::throttle::{Heads, Throttle, printable};
use crate::launcher::{Launcher, Started};
use crate::net::Cancel;
use crate::record_kind::RecordKind;

/// How much is read from a pipe at once, in bytes: what a pipe holds.
const READ_CHUNK: usize = 64 * 1024;

/// Most bytes that are still read from a pipe after its child is gone. A full pipe of the
/// largest usual size; more comes only from a process that escaped the group.
const DRAIN_MAX: usize = 1024 * 1024;

/// How much of a line of the child's stderr reaches the log, in bytes.
const STDERR_LINE: usize = 1024;

/// Lines of the child's stderr that reach the log in one minute.
const STDERR_PER_MINUTE: u32 = 300;

/// Stack of the threads of a channel, in bytes. They neither recurse nor keep buffers on it.
const STACK: usize = 256 * 1024;

/// How long a child whose start is undone may take to end after SIGKILL.
const UNDO_MAX: Duration = Duration::from_secs(1);

/// Words that only a shell understands.
const SHELL_WORDS: [&str; 9] = ["&&", "||", "|", ";", ">", "<", "cd", "export", "source"];

/// Why the command could not be started.
#[derive(Debug)]
pub struct StartError {
    program: String,
    /// Whether it was written for a shell.
    for_a_shell: bool,
    error: io::Error,
}

impl StartError {
    pub(super) fn of(config: &StdioConfig, error: io::Error) -> Self {
        let program = config.argv.first().cloned().unwrap_or_default();
        let for_a_shell = config.argv.iter().any(|word| SHELL_WORDS.contains(&word.as_str()));
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
    launcher: Arc<Launcher>,
    number: u32,
    pub pid: i32,
    pub stdin: Arc<Stdin>,
    /// Gives its status once it has ended, and what it left behind in its group with it.
    pub ended: Receiver<ExitStatus>,
    gone: Cancel,
    reader: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts the command, without a shell and in a process group of its own (F-64, M-24), and
    /// the threads on its pipes. The child is installed in the state of the channel.
    pub fn launch(shared: &Arc<Shared>) -> Result<Self, StartError> {
        let config = &shared.config;
        Self::try_launch(shared, config).map_err(|error| StartError::of(config, error))
    }

    fn try_launch(shared: &Arc<Shared>, config: &StdioConfig) -> io::Result<Self> {
        let gone = Cancel::new()?;
        let started = config.launcher.launch(config.command)?;
        let (number, pid, ended) = (started.number, started.pid, started.ended.clone());
        let mut threads = Vec::new();
        match Self::attach(shared, started, &gone, &mut threads) {
            Ok(stdin) => {
                let reader = threads.remove(0);
                let launcher = config.launcher.clone();
                Ok(Self { launcher, number, pid, stdin, ended, gone, reader, others: threads })
            }
            Err(error) => {
                // Out of threads or descriptors: undo, so that the next attempt starts clean.
                config.launcher.kill(number);
                gone.cancel();
                if let Some(live) = shared.lock().live.take() {
                    live.stdin.close();
                }
                for thread in threads {
                    let _ = thread.join();
                }
                let _ = ended.recv_timeout(UNDO_MAX);
                Err(error)
            }
        }
    }

    fn attach(
        shared: &Arc<Shared>,
        started: Started,
        gone: &Cancel,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> io::Result<Arc<Stdin>> {
        let pipe = |pipe: OwnedFd| -> io::Result<OwnedFd> {
            // Ours alone: the child's end of the pipe is another open file.
            rustix::io::ioctl_fionbio(&pipe, true)?;
            Ok(pipe)
        };
        let stdin = pipe(started.stdin)?;
        let stdout = pipe(started.stdout)?;
        let stderr = pipe(started.stderr)?;
        let stdin = Arc::new(Stdin::new(stdin, shared.config.limits.stdin_stall)?);
        shared.stats.starts.inc();
        shared.lock().install(started.pid, stdin.clone(), &shared.config.limits, Instant::now());

        let mut spawn = |name: &str, body: Box<dyn FnOnce() + Send>| -> io::Result<()> {
            threads.push(thread(name, body)?);
            Ok(())
        };
        spawn("stdio-reader", {
            let (shared, gone) = (shared.clone(), gone.clone());
            Box::new(move || read_messages(&shared, stdout, &gone))
        })?;
        spawn("stdio-stderr", {
            let (shared, gone) = (shared.clone(), gone.clone());
            Box::new(move || log_stderr(&shared, stderr, &gone))
        })?;
        spawn("stdio-writer", {
            let (shared, stdin) = (shared.clone(), stdin.clone());
            Box::new(move || match stdin.run(|| shared.is_starting()) {
                WriterEnd::Closed => {}
                WriterEnd::Broken => shared.input_broken(),
                WriterEnd::Stalled => shared.input_stalled(),
            })
        })?;
        Ok(stdin)
    }

    /// Sends SIGTERM to the child and all of its process group.
    pub fn terminate(&self) {
        self.launcher.terminate(self.number);
    }

    /// Sends SIGKILL to the child and all of its process group.
    pub fn kill(&self) {
        self.launcher.kill(self.number);
    }

    /// After the end of the child: reads what it said last, then calls `read` before the rest is
    /// cleared away.
    pub fn clear_away(self, read: impl FnOnce()) {
        self.gone.cancel();
        self.stdin.close();
        let _ = self.reader.join();
        read();
        for thread in self.others {
            let _ = thread.join();
        }
    }
}

/// Starts a thread of the channel.
pub(super) fn thread(name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(body)
}

/// How a child ended, in words; `None` if the launcher could not tell.
pub(super) fn exit_words(status: Option<ExitStatus>) -> String {
    let code = status.and_then(|status| status.code());
    let signal = status.and_then(|status| status.signal());
    match (code, signal) {
        (Some(code), _) => format!("child exited with status {code}"),
        // A filter of system calls does it, ours or another's.
        (None, Some(SIGSYS)) => {
            "child was ended by SIGSYS: confinement takes no 32-bit programs".to_owned()
        }
        (None, Some(signal)) => format!("child was ended by signal {signal}"),
        (None, None) => "child ended".to_owned(),
    }
}

/// The thread on the child's standard output: never blocked by anything but the pipe.
fn read_messages(shared: &Shared, pipe: OwnedFd, gone: &Cancel) {
    let mut inbox = shared.inbox();
    let mut lines = Lines::new(shared.config.limits.line);
    read_pipe(&pipe, gone, |bytes| lines.push(bytes, &mut |line| inbox.line(line)));
    lines.end(&mut |line| inbox.line(line));
    if !gone.is_cancelled() {
        shared.output_closed();
    }
}

/// The thread on the child's standard error, which is drained whatever happens to the lines
/// (M-16).
fn log_stderr(shared: &Shared, pipe: OwnedFd, gone: &Cancel) {
    let mut heads = Heads::new(STDERR_LINE);
    let mut throttle = Throttle::new(STDERR_PER_MINUTE);
    let channel = &shared.config.channel;
    let mut each = |line: &[u8]| match throttle.admit(Instant::now()) {
        None => shared.stats.stderr_held_back.inc(),
        Some(held_back) => {
            if held_back > 0 {
                info!(
                    target: RecordKind::ChildEvent.target(),
                    channel:%, lines = held_back;
                    "lines of the child's stderr were left out"
                );
            }
            let shown = printable(line, STDERR_LINE);
            info!(target: RecordKind::ChildOutput.target(), channel:%; "child: {shown}");
        }
    };
    read_pipe(&pipe, gone, |bytes| heads.push(bytes, &mut each));
    heads.end(&mut each);
}

/// Reads until the pipe ends. Once `gone`, only what is in the pipe already: a process that left
/// the child's group may hold the other end for ever.
fn read_pipe(pipe: &OwnedFd, gone: &Cancel, mut each: impl FnMut(&[u8])) {
    let mut buffer = vec![0; READ_CHUNK];
    let mut drained = 0;
    loop {
        let mut set = [
            PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(gone.fd(), PollFlags::IN),
        ];
        // A failed wait shows in the read.
        let _ = poll(&mut set, None);
        match rustix::io::read(pipe, &mut buffer[..]) {
            Ok(0) => return,
            Ok(n) => {
                each(&buffer[..n]);
                if gone.is_cancelled() {
                    drained += n;
                }
            }
            Err(Errno::AGAIN) if gone.is_cancelled() => return,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return,
        }
        if drained > DRAIN_MAX {
            return;
        }
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

//! The launcher's own process: one thread that waits for the daemon and for its children.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, kill_process_group,
    set_dumpable_behavior, waitid,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::message::{Event, Request, receive, send};
use super::{CONFINED, FREE};

/// How long children may take to end after SIGTERM, once the daemon is gone.
const LAST_TERM: Duration = Duration::from_secs(2);

/// How long they may then take to end after SIGKILL. Only a child that hangs in the kernel takes
/// longer.
const LAST_KILL: Duration = Duration::from_secs(1);

/// Most children at once. The daemon needs two for each command, and asks for no more.
const CHILDREN_MAX: usize = 256;

/// The launcher's `main`; `arguments` as [`super::Prepared::start`] writes them.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let rule = arguments.next();
    let served = commands(arguments).and_then(|commands| match rule {
        Some(rule) if rule == CONFINED => {
            // The daemon has reported missing parts: its own rule needs the same of the kernel.
            let _ = crate::confine::launcher();
            serve(&commands)
        }
        Some(rule) if rule == FREE => serve(&commands),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp-tunnel: launcher: {error} (it is started by `mcp-tunnel run` alone)");
            ExitCode::FAILURE
        }
    }
}

/// Each command: the number of its words, then the words.
fn commands(mut arguments: impl Iterator<Item = OsString>) -> io::Result<Vec<Vec<OsString>>> {
    let mut commands = Vec::new();
    while let Some(count) = arguments.next() {
        let count = count.to_str().and_then(|count| count.parse::<usize>().ok());
        let words: Vec<OsString> = arguments.by_ref().take(count.unwrap_or(0)).collect();
        if words.is_empty() || Some(words.len()) != count {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        commands.push(words);
    }
    Ok(commands)
}

fn serve(commands: &[Vec<OsString>]) -> io::Result<()> {
    // It holds the environment of its children: none of that may end in a file, and no child may
    // look into it or stop it with a debugger.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let _ = rustix::thread::set_name(c"mcp-launcher");
    let wake = woken_by_signals()?;
    // The socket is the standard input.
    let stdin = io::stdin();
    if socket_type(&stdin)? != SocketType::SEQPACKET {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut launcher = Serving { socket: stdin.as_fd(), commands, children: Vec::new() };
    // Only the socket can fail: the daemon is gone.
    let _ = launcher.attend(&wake);
    launcher.end_all(&wake);
    Ok(())
}

/// A descriptor that is readable after a child has ended. The other signals change nothing here:
/// the launcher lives as long as the daemon does. A handler, unlike an ignored signal, is not
/// inherited by the children.
fn woken_by_signals() -> io::Result<UnixStream> {
    let (wake, signalled) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, signalled)?;
    let nothing = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(signal, nothing.clone())?;
    }
    Ok(wake)
}

struct Serving<'a> {
    socket: BorrowedFd<'a>,
    commands: &'a [Vec<OsString>],
    /// Children that are not reaped yet, so their process ids belong to no other process.
    children: Vec<(u32, Child)>,
}

impl Serving<'_> {
    /// Serves until the daemon is gone.
    fn attend(&mut self, wake: &UnixStream) -> io::Result<()> {
        loop {
            let mut set = [
                PollFd::from_borrowed_fd(self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
            ];
            match poll(&mut set, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let heard = !set[0].revents().is_empty();
            for (child, status) in self.reap(wake) {
                let event = Event::Ended { child, status: status.into_raw() };
                send(self.socket, event.words(), &[])?;
            }
            if heard {
                let Some((words, _)) = receive(self.socket)? else { return Ok(()) };
                self.act(Request::of(words).ok_or(io::ErrorKind::InvalidData)?)?;
            }
        }
    }

    fn act(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Start { child, command } => match self.start(command) {
                Ok((process, pipes)) => {
                    let pid = process.id().cast_signed();
                    // Before the daemon is told: if it is gone, this child is ended too.
                    self.children.push((child, process));
                    send(self.socket, Event::Started { child, pid }.words(), &pipes)
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
                    send(self.socket, Event::Failed { child, errno }.words(), &[])
                }
            },
            Request::Terminate { child } => {
                self.signal(child, Signal::TERM);
                Ok(())
            }
            Request::Kill { child } => {
                self.signal(child, Signal::KILL);
                Ok(())
            }
        }
    }

    /// Without a shell and in a process group of its own (stdio-64, mcp-24).
    fn start(&self, command: u32) -> io::Result<(Child, [OwnedFd; 3])> {
        let words = self.commands.get(command as usize).ok_or(io::ErrorKind::InvalidInput)?;
        if self.children.len() >= CHILDREN_MAX {
            return Err(Errno::AGAIN.into());
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        match (process.stdin.take(), process.stdout.take(), process.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                Ok((process, [stdin.into(), stdout.into(), stderr.into()]))
            }
            _ => unreachable!("all three were asked for"),
        }
    }

    fn signal(&self, child: u32, signal: Signal) {
        // A child that is already reaped needs none.
        if let Some((_, process)) = self.children.iter().find(|(number, _)| *number == child) {
            // The only possible failure is that the group has no process left.
            let _ = kill_process_group(Pid::from_child(process), signal);
        }
    }

    /// Reaps the children that have ended. The rest of a child's group is ended before the id of
    /// the group is free.
    fn reap(&mut self, mut wake: &UnixStream) -> Vec<(u32, ExitStatus)> {
        // Before the look at the children: a child that ends meanwhile writes again.
        let mut bytes = [0; 64];
        while wake.read(&mut bytes).is_ok_and(|count| count > 0) {}
        let mut ended = Vec::new();
        self.children.retain_mut(|(number, process)| {
            let pid = Pid::from_child(process);
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if matches!(waitid(WaitId::Pid(pid), options), Ok(None)) {
                return true;
            }
            let _ = kill_process_group(pid, Signal::KILL);
            ended.push((*number, process.wait().unwrap_or_default()));
            false
        });
        ended
    }

    /// No child outlives the daemon.
    fn end_all(&mut self, wake: &UnixStream) {
        for (signal, patience) in [(Signal::TERM, LAST_TERM), (Signal::KILL, LAST_KILL)] {
            for (_, process) in &self.children {
                let _ = kill_process_group(Pid::from_child(process), signal);
            }
            let until = Instant::now() + patience;
            loop {
                self.reap(wake);
                let left = until.saturating_duration_since(Instant::now());
                if self.children.is_empty() || left.is_zero() {
                    break;
                }
                let mut set = [PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
                // A failed wait shows in the next look.
                let _ = poll(&mut set, Timespec::try_from(left).ok().as_ref());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_words() {
        let read = |text: &str| commands(text.split(' ').map(OsString::from));
        let read = |text| read(text).map(|commands| commands.iter().map(Vec::len).collect());
        assert_eq!(read("2 sh -c 1 true").ok(), Some(vec![2, 1]));
        for wrong in ["2 sh", "0", "x", "1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

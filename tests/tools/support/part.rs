//! One program that a demo or a measurement runs: started with a clean environment, its output in
//! a file, ended when dropped.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a part may take to end in an orderly way.
const STOP: Duration = Duration::from_secs(15);

/// How often a state outside the part is looked at while waiting for it.
const TICK: Duration = Duration::from_millis(20);

/// A running program.
pub struct Part {
    name: &'static str,
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    log: PathBuf,
}

impl Part {
    /// Starts `program` with these arguments and variables, and nothing else in its environment.
    pub fn start(
        name: &'static str,
        program: &Path,
        args: &[&str],
        variables: &[(&str, &str)],
        dir: &Path,
    ) -> Result<Self, String> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).map_err(|e| format!("cannot write {log:?}: {e}"))?;
        let spawn = || -> io::Result<(Child, Pid, OwnedFd)> {
            let child = Command::new(program)
                .args(args)
                .env_clear()
                .envs(variables.iter().copied())
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output)
                .spawn()?;
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            Ok((child, pid, pidfd))
        };
        let (child, pid, pidfd) =
            spawn().map_err(|e| format!("{name} cannot be started: {}: {e}", program.display()))?;
        Ok(Self { name, child, pid, pidfd, log })
    }

    /// The process id.
    #[allow(dead_code, reason = "only measurements look at the process")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `state` gives something, at most `limit`. The error says in words what was
    /// awaited, whether the part has ended, and what it said last.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut state: impl FnMut() -> Option<T>,
    ) -> Result<T, String> {
        let begun = Instant::now();
        loop {
            if let Some(found) = state() {
                return Ok(found);
            }
            let why = if self.ended_within(TICK) {
                let status = self.child.wait().map_err(|e| e.to_string())?;
                format!("{} has ended ({status}) before {what}", self.name)
            } else if begun.elapsed() > limit {
                format!("{} did not reach this within {limit:?}: {what}", self.name)
            } else {
                continue;
            };
            return Err(self.explain(&why));
        }
    }

    /// `why`, and the last lines of the part's log.
    pub fn explain(&self, why: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(8)..];
        let mut text = format!("{why}\nThe last lines of {}:", self.name);
        if last.is_empty() {
            text.push_str(" none");
        }
        for line in last {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }

    fn ended_within(&self, time: Duration) -> bool {
        let mut set = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let time = Timespec::try_from(time).ok();
        poll(&mut set, time.as_ref()).is_ok_and(|n| n > 0)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Neither fails for anything but a part that has ended, which is what is wanted.
        let _ = kill_process(self.pid, Signal::TERM);
        if !self.ended_within(STOP) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The directory of the built programs: above that of the examples.
pub fn programs() -> Result<PathBuf, String> {
    let me = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let dir = me.parent().and_then(Path::parent).ok_or("cannot find the built programs")?;
    Ok(dir.to_owned())
}

/// `count` random characters of `a-z0-9`.
pub fn random_text(count: usize) -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = vec![0; count];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    let alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789";
    bytes.iter().map(|b| char::from(alphabet[usize::from(*b) % alphabet.len()])).collect()
}

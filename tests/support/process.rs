//! A program under test as a process: its output is kept, and it does not outlive the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

use super::{PATIENCE, Scratch};

/// The lines that a program has written so far; a bell for those who wait for the next one.
#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Output {
    fn read_all(self: Arc<Self>, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                self.lines.lock().unwrap().push(text);
                self.more.notify_all();
                line.clear();
            }
            self.more.notify_all();
        })
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    ended: Option<ExitStatus>,
    _scratch: Option<Scratch>,
}

impl Program {
    /// Starts a command in a process group of its own.
    pub fn spawn(mut command: Command) -> Program {
        let program = command.get_program().to_string_lossy().into_owned();
        let name = program.rsplit('/').next().unwrap().to_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let (stdout, stderr) = (Arc::<Output>::default(), Arc::<Output>::default());
        let readers = vec![
            stdout.clone().read_all(child.stdout.take().unwrap()),
            stderr.clone().read_all(child.stderr.take().unwrap()),
        ];
        let stdin = child.stdin.take();
        Program { name, child, stdin, stdout, stderr, readers, ended: None, _scratch: None }
    }

    /// Keeps a directory for as long as the program is kept.
    pub fn with(mut self, scratch: Scratch) -> Program {
        self._scratch = Some(scratch);
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for a line on standard output that `wanted` takes.
    pub fn stdout_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.line(&self.stdout, what, wanted)
    }

    /// Waits for a line on standard error that `wanted` takes.
    pub fn stderr_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.line(&self.stderr, what, wanted)
    }

    fn line(&self, output: &Output, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        let mut lines = output.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("{}: waited {PATIENCE:?} in vain for {what}", self.name);
            }
            lines = output.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    /// Its exit code if it has ended by itself.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits until it ends by itself, and for all that it wrote.
    pub fn exit(&mut self) -> ExitStatus {
        let what = format!("{} to exit", self.name);
        let status = super::eventually(&what, || self.has_ended());
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Waits for the end and gives the exit code; panics when a signal ended it.
    pub fn exit_code(&mut self) -> i32 {
        let status = self.exit();
        status.code().unwrap_or_else(|| panic!("{}: {status}", self.name))
    }

    /// Ends it at once, as a crash of the host would.
    pub fn kill(&mut self) {
        if self.has_ended().is_none() {
            let _ = kill_process_group(self.process(), Signal::KILL);
            self.ended = self.child.wait().ok();
        }
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} wrote on standard output:\n{}", self.name, self.stdout());
            eprintln!("--- {} wrote on standard error:\n{}", self.name, self.stderr());
        }
    }
}

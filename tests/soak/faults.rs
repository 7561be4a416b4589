//! What happens to the MCP servers: they are killed, stopped and started again.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::stack::binary;
use crate::support::{Program, eventually, programs};

/// The built-in server over HTTP, always on the same port.
pub struct Stub {
    program: Program,
    pub port: u16,
}

impl Stub {
    pub fn start() -> Stub {
        let mut command = Stub::command("127.0.0.1:0");
        let scratch = crate::support::Scratch::new();
        let file = scratch.path("stub-url");
        command.arg("--url-file").arg(&file);
        let program = Program::spawn(command);
        let url = eventually("the stub's URL", || {
            fs::read_to_string(&file).ok().filter(|text| text.contains("/mcp"))
        });
        let port = url.trim().trim_end_matches("/mcp").rsplit(':').next().unwrap().parse().unwrap();
        Stub { program, port }
    }

    pub fn restart(&mut self) {
        self.program.kill();
        self.program = Program::spawn(Stub::command(&format!("127.0.0.1:{}", self.port)));
    }

    fn command(listen: &str) -> Command {
        let mut command = binary(programs::tunnel());
        command.args(["mcp-stub", "--listen", listen]);
        command
    }
}

/// The servers of a daemon whose command line contains `what`: children of its launcher.
pub fn children(daemon: u32, what: &str) -> Vec<Pid> {
    let named = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(what)
    };
    let servers = children_of(daemon).into_iter().flat_map(children_of).filter(named);
    servers.filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect()
}

fn children_of(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Sends a signal to such children; one that has just ended needs none.
pub fn signal_children(parent: u32, what: &str, signal: Signal) {
    for pid in children(parent, what) {
        let _ = kill_process(pid, signal);
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub threads: usize,
    pub sockets: usize,
    /// Open files that are no sockets: pipes, event counters, the log.
    pub files: usize,
    pub rss_kib: usize,
    /// MCP servers that are its children, by way of the launcher.
    pub servers: usize,
}

impl Held {
    pub fn by(pid: u32) -> Held {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets: Vec<_> = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
        let is_socket = |target: &&PathBuf| target.to_string_lossy().starts_with("socket:");
        let sockets = targets.iter().filter(is_socket).count();
        let files = targets.len() - sockets;
        let servers = children(pid, "").len();
        Held { threads: value("Threads:"), sockets, files, rss_kib: value("VmRSS:"), servers }
    }
}

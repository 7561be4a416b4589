//! The confined daemon and the process that starts MCP commands, seen from outside. What is refused
//! to them is in `tests/confined.rs`.

use std::fs;
use std::path::Path;

use crate::support::stack::binary;
use crate::support::{Child, ControlPlane, Relay, Signal, Tunnel, eventually, programs};
use rustix::process::{Pid, kill_process, test_kill_process};

/// The process that started `pid`.
fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.unwrap().trim().parse().unwrap()
}

fn wait_gone(pid: i32) {
    eventually(&format!("process {pid} to be gone"), || {
        test_kill_process(Pid::from_raw(pid)?).is_err().then_some(())
    });
}

#[test] // mcp-24
fn neither_child_nor_launcher_outlives_a_daemon_that_is_killed() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let mut tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let mut running = child.next_start();
    let launcher = parent(running.pid());
    assert_eq!(parent(launcher).cast_unsigned(), tunnel.program.pid());
    tunnel.program.kill();
    running.wait_gone();
    wait_gone(launcher);
}

#[test]
fn signals_for_everybody_leave_the_launcher_to_its_work() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let running = child.next_start();
    let launcher = Pid::from_raw(parent(running.pid())).unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2] {
        kill_process(launcher, signal).unwrap();
    }
    drop(running);
    // It is there to start the next one.
    let running = child.next_start();
    assert_eq!(parent(running.pid()), launcher.as_raw_pid());
    tunnel.stop();
    wait_gone(launcher.as_raw_pid());
}

#[test]
fn without_its_launcher_the_daemon_asks_to_be_restarted() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let mut running = child.next_start();
    kill_process(Pid::from_raw(parent(running.pid())).unwrap(), Signal::KILL).unwrap();
    let why = tunnel.wait_not_ready(|why| why.contains("restart mcp-tunnel"));
    assert!(why.contains("MCP server of channel main"), "{why}");
    let (status, why) = tunnel.page("/livez");
    assert_eq!((status, why.contains("starts MCP commands")), (503, true), "{why}");
    // Its input has ended, which ends a server on standard streams.
    running.lines_to_end();
    tunnel.stop();
}

/// A field of a process's status file.
fn field(status: &Path, name: &str) -> String {
    field_of(&fs::read_to_string(status).unwrap(), name)
}

fn field_of(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

#[test]
fn every_thread_is_confined_and_children_live_under_their_own_rule() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start_ready();
    let running = child.next_start();
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", tunnel.program.pid()))
        .unwrap()
        // One that has ended meanwhile says nothing.
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("status")).ok())
        .collect();
    assert!(threads.len() > 10, "{}", threads.len());
    for thread in threads {
        // The hostile calls, and all that are not needed.
        assert_eq!(field_of(&thread, "Seccomp_filters"), "2", "{thread}");
        assert_eq!(field_of(&thread, "NoNewPrivs"), "1", "{thread}");
    }
    for process in [parent(running.pid()), running.pid()] {
        let status = format!("/proc/{process}/status");
        assert_eq!(field(Path::new(&status), "Seccomp_filters"), "1");
        assert_eq!(field(Path::new(&status), "NoNewPrivs"), "1");
    }
    for part in ["privileges", "memory", "files", "ports", "processes", "syscalls"] {
        assert_eq!(tunnel.metric(&format!("mcp_tunnel_confinement{{part=\"{part}\"}}")), 1.0);
    }
    assert!(tunnel.page("/api/system").1.contains(r#""confinement":"full""#));
    tunnel.program.stderr_line("its start", |line| line.contains("confinement=full"));
}

#[test]
fn the_relay_is_confined_too() {
    let relay = Relay::start();
    // It writes its URL file before it gives up the right to write files.
    relay.program.stdout_line("its start", |line| line.contains("listening on"));
    let status = format!("/proc/{}/status", relay.program.pid());
    assert_eq!(field(Path::new(&status), "Seccomp_filters"), "2");
    assert_eq!(field(Path::new(&status), "NoNewPrivs"), "1");
    assert!(!relay.program.stderr().contains("confine"), "{}", relay.program.stderr());
}

#[test]
fn doctor_tells_how_daemon_and_commands_would_live() {
    let doctor = |confinement: &str| {
        let mut command = binary(programs::tunnel());
        command
            .args(["doctor", "--mcp.command=true", "--control-plane.base-url=http://127.0.0.1:9"])
            .arg("--control-plane.tunnel-id=tunnel_0123456789abcdefghijklmnopqrstuv")
            .arg(format!("--confinement={confinement}"))
            .env("CONTROL_PLANE_API_KEY", "sk-doctor")
            .env("GITHUB_TOKEN", "ghp-x");
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let row = |report: &str, id: &str| {
        let line = report.lines().find(|line| line.starts_with(&format!("CHECK {id} ")));
        line.unwrap().split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row(&doctor("on"), "confinement"), "PASS full");
    assert_eq!(row(&doctor("require"), "confinement"), "PASS full");
    assert_eq!(row(&doctor("off"), "confinement"), "WARN off");
    let environment = row(&doctor("on"), "mcp_environment");
    assert_eq!(environment, "PASS clean; left out: GITHUB_TOKEN (see mcp.pass_env)");
}

#[test]
fn nothing_is_confined_if_the_operator_says_so() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let settings = Tunnel::to(&control_plane.url()).stdio(&child.command());
    let tunnel = settings.arg("--confinement=off").start();
    let running = child.next_start();
    let own = rustix::process::getpid().as_raw_pid();
    for process in [tunnel.program.pid().cast_signed(), parent(running.pid()), running.pid()] {
        for name in ["Seccomp", "NoNewPrivs"] {
            let of = |process| field(Path::new(&format!("/proc/{process}/status")), name);
            assert_eq!(of(process), of(own), "{name}");
        }
    }
    assert_eq!(tunnel.metric("mcp_tunnel_confinement{part=\"files\"}"), 0.0);
    tunnel.program.stderr_line("its start", |line| line.contains("confinement=off"));
}

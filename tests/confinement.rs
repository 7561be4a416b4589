//! The process that starts MCP commands, seen from outside: nothing outlives the daemon.

mod support;

use std::fs;

use rustix::process::{Pid, kill_process, test_kill_process};
use support::{Child, ControlPlane, Signal, Tunnel, eventually};

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

#[test] // M-24
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

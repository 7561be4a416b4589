//! What is promised of the static programs beyond their work: how little memory they take, and
//! what that rests on in the sources. What they are made of is checked by `make static` itself.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{ControlPlane, Tunnel, programs};

const MIB: u64 = 1024 * 1024;

/// Resident memory of an idle daemon, in bytes: the promise for the program that is shipped. A
/// debug build has ten times the code, and still a bound.
fn idle_budget() -> u64 {
    if programs::directory().is_some() { 6 * MIB } else { 24 * MIB }
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn an_idle_daemon_with_ten_workers_and_a_stdio_child_fits_its_memory_budget() {
    let control_plane = ControlPlane::start();
    let tunnel = Tunnel::to(&control_plane.url())
        .stdio(&format!("'{}' mcp-stub", programs::tunnel()))
        .env("MCP_MAX_CONCURRENT_REQUESTS", "10")
        .env("LOG_LEVEL", "info")
        .start_ready();
    let (resident, budget) = (resident(tunnel.program.pid()), idle_budget());
    println!("{} KiB resident, {} KiB allowed", resident / 1024, budget / 1024);
    assert!(resident <= budget, "{resident} bytes resident, {budget} allowed");
    tunnel.stop();
}

#[test]
fn every_thread_is_made_with_a_name_and_a_stack_of_a_stated_size() {
    let mut threads = 0;
    for path in sources("src").into_iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let made = code.matches("thread::Builder::new()").count();
        threads += made;
        let place = path.display();
        assert_eq!(made, code.matches(".stack_size(").count(), "stacks in {place}");
        assert!(!code.contains("thread::spawn("), "a thread without a name or size in {place}");
    }
    assert!(threads > 5, "where are the threads?");
}

#[test]
fn no_test_runs_a_program_that_is_not_the_one_under_test() {
    // In two pieces, so that this file does not find itself.
    let variable = concat!("CARGO_BIN", "_EXE");
    let found: Vec<_> = sources("tests")
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains(variable))
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(found, [root.join("tests/support/programs.rs")]);
}

/// The sources under a folder of the crate.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

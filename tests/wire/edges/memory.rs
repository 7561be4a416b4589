//! What the memory of the daemon holds once a secret was replaced.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::edges::authority::Authority;
use crate::edges::peers::Nginx;
use crate::edges::{call, poll_with};
use crate::support::{ControlPlane, McpServer, Signal, Tunnel, eventually};

/// The mappings of a process that can be written and have this text in them.
fn holding(pid: u32, text: &str) -> Vec<String> {
    let [memory, pages] =
        ["mem", "pagemap"].map(|name| fs::File::open(format!("/proc/{pid}/{name}")).unwrap());
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let holds = |line: &&str| {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        rights.starts_with("rw")
            && used(&pages, start, end).into_iter().any(|(start, end)| {
                let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
                // What can not be read holds nothing.
                memory.read_exact_at(&mut bytes, start).is_ok()
                    && bytes.windows(text.len()).any(|window| window == text.as_bytes())
            })
    };
    maps.lines().filter(holds).map(str::to_owned).collect()
}

/// Bytes of one page.
fn page_size() -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let line = smaps.lines().find_map(|line| line.strip_prefix("KernelPageSize:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// The parts of a mapping that have pages: an allocator reserves far more than it uses.
fn used(pages: &fs::File, start: u64, end: u64) -> Vec<(u64, u64)> {
    let size = page_size();
    let mut entries = vec![0; usize::try_from((end - start) / size * 8).unwrap()];
    pages.read_exact_at(&mut entries, start / size * 8).unwrap();
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for (entry, at) in entries.chunks_exact(8).zip((start..end).step_by(size as usize)) {
        // In memory, or in swap (proc_pid_pagemap(5)).
        if u64::from_ne_bytes(entry.try_into().unwrap()) >> 62 == 0 {
            continue;
        }
        match parts.last_mut() {
            Some((_, end)) if *end == at => *end = at + size,
            _ => parts.push((at, at + size)),
        }
    }
    parts
}

#[test] // wire-27
fn a_secret_that_was_replaced_is_nowhere_in_memory() {
    let authority = Authority::new();
    let (old_key, old_header) =
        ("replaced-key-5f0c71d2a9e34b68", "replaced-header-8be1d0647fc2a593");
    let (new_key, new_header) = ("present-key-c3a95e7710d84f2b", "present-header-4f6d2b90ce8a7135");
    for with_tls in [false, true] {
        let (control_plane, server) = (ControlPlane::start(), McpServer::start());
        let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
        let url = if with_tls { nginx.url() } else { control_plane.url() };
        let scratch = crate::support::Scratch::new();
        let (key, header) = (scratch.file("key", old_key), scratch.file("header", old_header));
        let tunnel = Tunnel::to(&url)
            .http(&server.url())
            .without_env("CONTROL_PLANE_API_KEY")
            .arg(&format!("--control-plane.api-key=file:{}", key.display()))
            .env("MCP_EXTRA_HEADERS", &format!("X-Team: file:{}", header.display()))
            .env("CONTROL_PLANE_EXTRA_HEADERS", &format!("X-Team: file:{}", header.display()))
            .env("CA_BUNDLE", &authority.bundle())
            .start_ready();
        let pid = tunnel.program.pid();
        poll_with(&control_plane, "Authorization", &format!("Bearer {old_key}"));
        assert_eq!(server.next("tools/call").header("X-Team"), Some(old_header));
        assert!(!holding(pid, old_key).is_empty() && !holding(pid, old_header).is_empty());

        fs::write(&key, new_key).unwrap();
        fs::write(&header, new_header).unwrap();
        tunnel.program.signal(Signal::HUP);
        poll_with(&control_plane, "Authorization", &format!("Bearer {new_key}"));
        eventually("a call with the new header", || {
            control_plane.push(call("r2"));
            (server.next("tools/call").header("X-Team") == Some(new_header)).then_some(())
        });
        for old in [old_key, old_header] {
            // A worker that was busy with the old one may be on its way out.
            eventually(&format!("no {old} in memory (TLS: {with_tls})"), || {
                holding(pid, old).is_empty().then_some(())
            });
        }
        assert!(!holding(pid, new_key).is_empty());
    }
}

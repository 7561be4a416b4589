//! What the log promises, through the real binaries: a fault that repeats is counted, a single
//! request can still be followed, and a reader that does not read holds up nobody. Rule numbers
//! are those of the specification of the operations surface.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command as Process, Stdio};

use crate::support::control_plane::{API_KEY, TUNNEL_ID};
use crate::support::{
    Answer, Command, ControlPlane, McpServer, PATIENCE, Scratch, Signal, Tunnel, eventually,
    programs,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, kill_process};

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
/// Lines of one kind that are written before the rest is counted.
const BURST: usize = 20;

fn call(request_id: &str) -> Command {
    Command::call(request_id, "1", "tools/call", r#"{"name":"x"}"#)
}

/// How many lines say this, and how many were left out by their count.
fn told(log: &str, what: &str) -> (usize, usize) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(what)).collect();
    let count = |line: &&str| line.split_once("left_out=")?.1.parse::<usize>().ok();
    (lines.len(), lines.iter().filter_map(count).sum())
}

#[test] // operations-219
fn whatever_a_remote_party_repeats_is_said_a_few_times_and_then_counted() {
    const TIMES: usize = 100;
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let mut tunnel =
        Tunnel::to(&control_plane.url()).http(&server.url()).env("LOG_LEVEL", "info").start_ready();
    for number in 0..TIMES {
        let id = format!("nobody{number}");
        control_plane.push(call(&id).channel("nobody"));
        control_plane.next_response_for(&id);
        let id = format!("reset{number}");
        server.on("tools/call", Answer::reset_at_once());
        control_plane.push(call(&id));
        control_plane.next_response_for(&id);
        let id = format!("gone{number}");
        server.on("tools/call", Answer::json(200, RESULT));
        control_plane.on_response(Answer::json(404, "{}"));
        control_plane.push(call(&id));
        control_plane.next_response_for(&id);
        let id = format!("late{number}");
        control_plane.push(call(&id).response_timeout("1ns"));
        control_plane.push(r#"{"request_id":"no command"}"#);
    }
    tunnel.wait_metric("commands_queue_drops_total{drop_reason=\"invalid_command_type\"}", 100.0);
    let late = "mcp_tunnel_commands_unanswered_total{reason=\"deadline_queued\"}";
    tunnel.wait_metric(late, 100.0);
    let gone = "mcp_tunnel_commands_unanswered_total{reason=\"gone\"}";
    tunnel.wait_metric(gone, 100.0);
    assert!(tunnel.metric("mcp_tunnel_log_left_out_total") >= 4.0 * (TIMES - BURST) as f64);
    tunnel.program.signal(Signal::TERM);
    assert_eq!(tunnel.program.exit_code(), 0);
    let log = tunnel.program.stderr();
    for what in [
        "command for a channel that is not served here",
        "no answer of the MCP server",
        "control-plane command dropped",
    ] {
        assert_eq!(told(&log, what), (BURST + 1, TIMES - BURST), "{what}: {log}");
    }
    // The server's state goes up and down with each failure; late and gone share their place.
    assert!(told(&log, "dropping command").0 + told(&log, "waits no longer").0 <= BURST + 1);
    assert!(log.lines().count() < 200, "{log}");
}

#[test]
fn at_level_debug_each_request_can_be_followed_by_its_id() {
    let (control_plane, server, mut tunnel) = crate::support::between();
    tunnel.wait_ready();
    for number in 0..2 * BURST {
        server.on("tools/call", Answer::reset_at_once());
        control_plane.push(call(&format!("id-{number}-")));
        control_plane.next_response_for(&format!("id-{number}-"));
    }
    tunnel.wait_metric("mcp_tunnel_commands_answered_total", 2.0 * BURST as f64);
    tunnel.program.signal(Signal::TERM);
    assert_eq!(tunnel.program.exit_code(), 0);
    let log = tunnel.program.stderr();
    for number in 0..2 * BURST {
        let id = format!("request_id=id-{number}-");
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
        for phase in
            ["command taken", "no answer of the MCP server", "command is over outcome=failed"]
        {
            let words = phase.split(' ').collect::<Vec<_>>();
            let tells = |line: &&&str| words.iter().all(|word| line.contains(word));
            assert!(lines.iter().any(|line| tells(&line)), "{phase}: {lines:?}");
        }
    }
}

#[test] // operations-219
fn a_start_and_a_stop_are_a_handful_of_lines_and_an_outage_has_a_beginning_and_an_end() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let mut tunnel =
        Tunnel::to(&control_plane.url()).http(&server.url()).env("LOG_LEVEL", "info").start_ready();
    tunnel.program.stderr_line("the first readiness", |line| line.contains("ready: commands"));
    let quiet = tunnel.program.stderr().lines().count();
    control_plane.every_poll(Some(Answer::json(401, "{}")));
    tunnel.program.stderr_line("the outage with its reason", |line| {
        line.contains("WARN") && line.contains("not ready: control plane: status 401")
    });
    control_plane.every_poll(None);
    tunnel.program.stderr_line("its end", |line| line.contains("ready again after "));
    let outage = tunnel.program.stderr().lines().count();
    tunnel.program.signal(Signal::TERM);
    assert_eq!(tunnel.program.exit_code(), 0);
    let log = tunnel.program.stderr();
    assert!(quiet <= 4, "{log}");
    assert!(log.lines().count() - outage <= 2, "{log}");
    assert!(log.lines().last().unwrap().ends_with("stopped"), "{log}");
}

#[test]
fn a_full_disk_costs_lines_and_is_seen_where_one_looks() {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("LOG_FILE", "/dev/full")
        .env("LOG_AUDIT_FILE", "/dev/full")
        .start_ready();
    server.on("tools/call", Answer::json(200, RESULT));
    control_plane.push(call("r1"));
    assert_eq!(control_plane.next_response().resp_code(), 200);
    let verbose = eventually("the audit trail's complaint", || {
        let (status, text) = tunnel.page("/readyz?verbose");
        assert_eq!(status, 200);
        text.contains("ok audit: the audit trail /dev/full cannot be written").then_some(text)
    });
    assert!(verbose.contains("ok log: the log file /dev/full cannot be written"), "{verbose}");
    assert!(tunnel.metric("mcp_tunnel_log_lost_total") >= 1.0);
    assert_eq!(tunnel.metric("mcp_tunnel_audit_lost_total"), 1.0);
    let stderr = tunnel.program.stderr();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("/dev/full cannot be written, lines are lost"), "{stderr}");
    tunnel.stop();
}

#[test] // operations-87, operations-214
fn whole_messages_are_logged_only_on_demand_and_without_credentials() {
    let payload = "planted-payload-5e1d";
    let run = |level: &str| {
        let (control_plane, server) = (ControlPlane::start(), McpServer::start());
        let mut tunnel = Tunnel::to(&control_plane.url())
            .http(&server.url())
            .env("LOG_LEVEL", level)
            .env("LOG_HTTP_RAW_UNSAFE", "true")
            .env("MCP_EXTRA_HEADERS", "X-Team: planted-secret-header")
            .env("CONTROL_PLANE_EXTRA_HEADERS", "X-Own: planted-secret-own")
            .start_ready();
        let answer = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"t":"{payload}","access_token":"planted-secret-a"}}}}"#
        );
        server.on("tools/call", Answer::sse().event(&answer));
        let params = r#"{"name":"x","arguments":{"password":"planted-secret-b"}}"#;
        control_plane.push(
            Command::call("r1", "1", "tools/call", params)
                .header("Authorization", "Bearer planted-secret-client")
                .header("Mcp-Session-Id", "planted-secret-session"),
        );
        assert!(control_plane.next_response().resp_json().contains(payload));
        let (_, logs) = tunnel.page("/api/logs?limit=5000");
        assert!(!logs.contains(payload), "the page shows no payload");
        tunnel.program.signal(Signal::TERM);
        assert_eq!(tunnel.program.exit_code(), 0);
        tunnel.program.stderr()
    };
    let log = run("debug");
    for text in [
        "raw http request dump=\"GET http://127.0.0.1",
        "raw http request dump=\"POST http://127.0.0.1",
        "raw http response dump=\"200 OK",
        "data: {",
        payload,
        "[redacted]",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
    for secret in ["planted-secret", API_KEY, "shard-of-r1"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let log = run("info");
    assert!(log.contains("payloads are written to the log at level debug"), "{log}");
    assert!(!log.contains("raw http") && !log.contains(payload), "{log}");
}

/// A program whose stderr is not what it should be.
struct Muted {
    child: Child,
    health: String,
    _scratch: Scratch,
}

/// What becomes of stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stderr {
    /// Nobody reads it, and it is full.
    Full,
    /// The same, and it is the socket of a journal that has stopped.
    Journal,
    /// Its reader has gone.
    Gone,
    /// There is none.
    Closed,
}

const STDERRS: [Stderr; 4] = [Stderr::Full, Stderr::Journal, Stderr::Gone, Stderr::Closed];

/// A pipe or a socket that takes no byte more.
fn full(stderr: Stderr) -> (OwnedFd, OwnedFd) {
    let (reader, writer): (OwnedFd, OwnedFd) = match stderr {
        Stderr::Journal => {
            let (reader, writer) = UnixStream::pair().unwrap();
            (reader.into(), writer.into())
        }
        _ => pipe_with(PipeFlags::CLOEXEC).unwrap(),
    };
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

impl Muted {
    /// Starts it; `url_file` says where it writes its URL.
    fn start(command: &mut Process, stderr: Stderr, scratch: Scratch) -> (Muted, Option<OwnedFd>) {
        let (reader, writer) = full(stderr);
        let reader = match stderr {
            Stderr::Closed => {
                let mut shell = Process::new("/bin/sh");
                shell.args(["-c", "exec \"$0\" \"$@\" 2>&-"]).arg(command.get_program());
                shell.args(command.get_args()).env_clear();
                let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
                shell.envs(variables);
                *command = shell;
                None
            }
            Stderr::Full => Some(reader),
            Stderr::Journal => {
                let stat = rustix::fs::fstat(&writer).unwrap();
                command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
                Some(reader)
            }
            Stderr::Gone => None,
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::from(writer)).spawn().unwrap();
        let health = eventually("the URL file", || {
            std::fs::read_to_string(scratch.path("url")).ok().filter(|url| !url.is_empty())
        });
        (Muted { child, health: health.trim().to_owned(), _scratch: scratch }, reader)
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = eventually("the end", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Muted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_neither_holds_up_nor_ends_the_daemon() {
    crate::support::each_at_once(STDERRS, |stderr| {
        let (control_plane, server) = (ControlPlane::start(), McpServer::start());
        let scratch = Scratch::new();
        let mut command = crate::support::stack::binary(programs::tunnel());
        command
            .arg("run")
            .env("CONTROL_PLANE_BASE_URL", control_plane.url())
            .env("CONTROL_PLANE_TUNNEL_ID", TUNNEL_ID)
            .env("CONTROL_PLANE_API_KEY", API_KEY)
            .env("MCP_SERVER_URL", server.url())
            .env("HEALTH_LISTEN_ADDR", "127.0.0.1:0")
            .env("HEALTH_URL_FILE", scratch.path("url"))
            .env("LOG_LEVEL", "debug");
        let (daemon, reader) = Muted::start(&mut command, stderr, scratch);
        let ask = |numbers: std::ops::Range<u32>| {
            for number in numbers {
                server.on("tools/call", Answer::json(200, RESULT));
                control_plane.push(call(&format!("r{number}")));
                assert_eq!(control_plane.next_response().resp_code(), 200, "{stderr:?}");
            }
        };
        ask(0..100);
        let (_, metrics) =
            crate::support::http::get(&format!("{}/metrics", daemon.health)).unwrap();
        let lost = |page: &str| {
            let line = page.lines().find(|line| line.starts_with("mcp_tunnel_log_lost_total "));
            line.unwrap().split(' ').nth(1).unwrap().parse::<u32>().unwrap()
        };
        if let Some(reader) = reader {
            assert!(lost(&metrics) > 50);
            // Somebody reads again: what was lost is said.
            rustix::io::ioctl_fionbio(&reader, true).unwrap();
            let (mut text, mut number) = (Vec::new(), 100);
            eventually("the line on what was lost", || {
                let mut piece = [0; 4096];
                while let Ok(count) = rustix::io::read(&reader, &mut piece) {
                    text.extend_from_slice(&piece[..count]);
                }
                ask(number..number + 1);
                number += 1;
                String::from_utf8_lossy(&text).contains("the log has lost ").then_some(())
            });
            // And now nobody will for ever.
            drop(reader);
            ask(number..number + 10);
        }
        daemon.stop();
    });
}

#[test]
fn a_log_that_nobody_reads_neither_holds_up_nor_ends_the_relay() {
    crate::support::each_at_once(STDERRS, |stderr| {
        let scratch = Scratch::new();
        let mut command = crate::support::stack::binary(programs::relay());
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-key", "env:ADMIN"])
            .args(["--tunnel-id", TUNNEL_ID, "--runtime-key", "env:KEY"])
            .arg("--url-file")
            .arg(scratch.path("url"))
            .env("KEY", API_KEY)
            .env("ADMIN", "admin-key-0123456789abcdef0123456789abcdef");
        let (relay, reader) = Muted::start(&mut command, stderr, scratch);
        // Each makes a line.
        let body = format!(r#"{{"role":"runtime","tunnel_ids":["{TUNNEL_ID}"]}}"#);
        let make_key = || {
            let address = relay.health.strip_prefix("http://").unwrap();
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            write!(
                stream,
                "POST /relay/v1/keys HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
                 Authorization: Bearer admin-key-0123456789abcdef0123456789abcdef\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 20"), "{stderr:?}: {answer}");
        };
        (0..10).for_each(|_| make_key());
        drop(reader);
        (0..5).for_each(|_| make_key());
        relay.stop();
    });
}

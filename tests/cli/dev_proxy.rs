//! `mcp-tunnel dev proxy` as an integration test uses it (section 11.11 of the configuration
//! surface).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::support::http::get;
use crate::support::stack::binary;
use crate::support::{PATIENCE, Program, Scratch, Signal, eventually, programs};
use serde_json::Value;

const PATH: &str = "/v1/mcp/tunnel_22222222222222222222222222222222";
/// More than any machine needs, for the limit itself is not under test.
const ENOUGH: &str = "--readiness-timeout=30s";

fn proxy(scratch: &Scratch, args: &[&str]) -> Program {
    let mut command = binary(programs::tunnel());
    command.args(["dev", "proxy"]).args(args);
    command.env("HOME", scratch.path("")).env("TMPDIR", scratch.path(""));
    Program::spawn(command)
}

/// The stub as a stdio server.
fn stub() -> String {
    format!("--mcp-command={} mcp-stub", programs::tunnel())
}

/// One MCP message to the path of the tunnel, and the JSON of its answer.
fn post(host: &str, mut stream: impl Read + Write, message: &str) -> Value {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Content-Length: {}\r\n\r\n",
        message.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(message.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Calls the stub's `echo` through the tunnel.
#[track_caller]
fn echo<S: Read + Write>(host: &str, connect: impl Fn() -> S) {
    let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#;
    let answer = post(host, connect(), initialize);
    assert_eq!(answer["result"]["serverInfo"]["name"], "mcp-stub");
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"through the tunnel"}}}"#;
    let answer = post(host, connect(), call);
    assert_eq!(answer["result"]["structuredContent"]["echoed"], "through the tunnel");
}

#[test] // cli.md, 11.11
fn a_tool_is_called_through_the_printed_url_and_nothing_stays_behind() {
    let scratch = Scratch::new();
    let url_file = scratch.path("ready.json");
    let file = format!("--url-file={}", url_file.display());
    let mut program = proxy(&scratch, &[&stub(), &file, ENOUGH]);
    let url = program.stdout_line("the MCP URL", |line| line.starts_with("http://"));
    let host = url.strip_prefix("http://").unwrap().strip_suffix(PATH).unwrap();
    echo(host, || {
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    });

    let ready: Value = serde_json::from_str(&fs::read_to_string(&url_file).unwrap()).unwrap();
    assert_eq!(url_file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(ready["mcp_url"], url.as_str());
    assert_eq!(ready["control_plane_base_url"], format!("http://{host}"));
    let health = ready["health_url"].as_str().unwrap();
    assert_eq!(get(&format!("{health}/readyz")).unwrap().0, 200);

    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), 0, "{}", program.stderr());
    assert!(get(&format!("http://{host}/healthz")).is_none(), "the relay is still there");
    assert!(get(&format!("{health}/healthz")).is_none(), "the daemon is still there");
    let left: Vec<_> = fs::read_dir(scratch.path("")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test] // cli.md, 11.11
fn it_serves_a_unix_socket_and_says_so_in_json() {
    let scratch = Scratch::new();
    let socket = scratch.path("mcp.sock");
    let listen = format!("--listen-unix-socket={}", socket.display());
    let args = [&stub(), &listen, "--print-json", ENOUGH];
    let mut program = proxy(&scratch, &args);
    program.stdout_line("the end of the object", |line| line == "}");
    let ready: Value = serde_json::from_str(&program.stdout()).unwrap();
    assert_eq!(ready["mcp_transport"], "unix");
    assert_eq!(ready["mcp_unix_socket"], socket.to_str().unwrap());
    assert_eq!(ready["mcp_url_path"], PATH);
    echo("localhost", || UnixStream::connect(&socket).unwrap());
    program.signal(Signal::INT);
    assert_eq!(program.exit_code(), 0, "{}", program.stderr());
    assert!(UnixStream::connect(&socket).is_err(), "the relay is still there");
}

#[test] // cli.md, 11.11
fn it_ends_by_itself_after_the_given_time() {
    let scratch = Scratch::new();
    let mut program = proxy(&scratch, &[&stub(), "--duration=1ms", ENOUGH]);
    assert_eq!(program.exit_code(), 0, "{}", program.stderr());
    assert!(program.stdout().ends_with(PATH), "{}", program.stdout());
}

/// The processes that `pid` has started, and those that they have, with their command lines.
fn descendants(pid: u32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    let children = children.flatten().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for child in children.split_whitespace() {
        found.push((child.to_owned(), command_line(child)));
        found.extend(descendants(child.parse().unwrap()));
    }
    found
}

/// Empty for a process that has ended.
fn command_line(pid: &str) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

#[test]
fn killed_it_leaves_no_process_behind() {
    let scratch = Scratch::new();
    let mut program = proxy(&scratch, &[&stub(), ENOUGH]);
    program.stdout_line("the MCP URL", |line| line.starts_with("http://"));
    let started = descendants(program.pid());
    for part in ["mcp-tunnel-relay serve", "mcp-tunnel run", "mcp-stub"] {
        assert!(started.iter().any(|(_, line)| line.contains(part)), "{part} in {started:?}");
    }
    program.kill();
    eventually("all processes to end", || {
        started.iter().all(|(pid, line)| command_line(pid) != *line).then_some(())
    });
}

#[test]
fn without_the_relays_program_it_says_what_to_install() {
    let scratch = Scratch::new();
    let alone = scratch.path("mcp-tunnel");
    fs::hard_link(programs::tunnel(), &alone).unwrap();
    fs::hard_link(programs::ctl(), scratch.path("mcp-tunnel-ctl")).unwrap();
    let mut command = binary(alone.to_str().unwrap());
    command.args(["dev", "proxy", &stub()]).env("PATH", scratch.path(""));
    let mut program = Program::spawn(command);
    assert_eq!(program.exit_code(), 1);
    let said = program.stderr();
    assert!(said.starts_with("mcp-tunnel: `mcp-tunnel-relay` is neither beside"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test] // cli.md, 11.11
fn what_is_not_built_in_or_does_not_fit_is_refused() {
    let scratch = Scratch::new();
    for (args, what) in [
        (&["--backend=rust"][..], "--backend: `rust` is not built in"),
        (&["--engine-queue-backend=redis"], "`redis` is not built in"),
        (&["--listen=127.0.0.1:0", "--listen-unix-socket=/x"], "exclude each other"),
        (&["--tunnel-id=x"], "--tunnel-id: found `x`"),
        (&["--duration=3"], "--duration: "),
        (&["--response-timeout=-1s"], "must not be negative"),
        (&["word"], "does not take the word `word`"),
        (&[ENOUGH], "no MCP server"),
    ] {
        let mut program = proxy(&scratch, args);
        assert_eq!(program.exit_code(), 1, "{args:?}");
        let said = program.stderr();
        assert!(said.contains(what), "{args:?}: {said}");
    }
}

#[test] // cli.md, 11.11
fn a_tunnel_that_does_not_get_ready_says_why_and_ends() {
    let scratch = Scratch::new();
    let args = ["--mcp-server-url=http://127.0.0.1:1/mcp", "--readiness-timeout=2s"];
    let mut program = proxy(&scratch, &args);
    assert_eq!(program.exit_code(), 1);
    let said = program.stderr();
    assert!(said.contains("mcp-tunnel: the tunnel is not ready in time"), "{said}");
    assert_eq!(program.stdout(), "");
    assert!(fs::read_dir(scratch.path("")).unwrap().next().is_none());
}

//! A peer that hangs in each phase of a connection: the stop ends it at once, and so does the
//! deadline of a command.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::authority::Authority;
use crate::peers::Nginx;
use crate::support::{Answer, BlackHole, ControlPlane, Gate, Signal, Tunnel, each_at_once};
use crate::{call, towards};

/// Longer than a stop takes, and far below every limit of a phase.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A peer that takes connections and hangs at some point.
struct Hanging {
    port: u16,
    /// Opens when a connection has reached that point.
    hangs: Gate,
}

impl Hanging {
    /// Says `answer` to the first bytes of each connection, and nothing more.
    fn after(answer: &'static [u8]) -> Hanging {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hanging = Hanging { port: listener.local_addr().unwrap().port(), hangs: Gate::new() };
        let gate = hanging.hangs.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let gate = gate.clone();
                std::thread::spawn(move || hang(stream, answer, &gate));
            }
        });
        hanging
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

fn hang(mut stream: TcpStream, answer: &[u8], hangs: &Gate) {
    let mut buf = [0; 4096];
    let Ok(1..) = stream.read(&mut buf) else { return };
    if !answer.is_empty() {
        let _ = stream.write_all(answer);
        // What comes after the answer, such as the first flight of TLS.
        let Ok(1..) = stream.read(&mut buf) else { return };
    }
    hangs.open();
    while matches!(stream.read(&mut buf), Ok(1..)) {}
}

#[test] // W-88
fn a_stop_ends_a_poll_that_hangs_in_any_phase() {
    let authority = Authority::new();
    let bundle = authority.bundle();
    let opened = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let target = "https://localhost:9";
    let phases: [(&str, Hanging, Option<&str>); 4] = [
        ("TLS handshake", Hanging::after(b""), None),
        ("CONNECT", Hanging::after(b""), Some(target)),
        ("half an answer to CONNECT", Hanging::after(b"HTTP/1.1 200"), Some(target)),
        ("TLS handshake inside a tunnel", Hanging::after(opened), Some(target)),
    ];
    each_at_once(phases, |(phase, peer, proxied)| {
        let settings = match proxied {
            None => towards(&peer.url("https")),
            Some(target) => towards(target).env("CONTROL_PLANE_HTTP_PROXY", &peer.url("http")),
        };
        let tunnel = settings.env("CA_BUNDLE", &bundle).start();
        if phase != "half an answer to CONNECT" {
            peer.hangs.wait(phase);
        }
        let begin = Instant::now();
        tunnel.stop();
        assert!(begin.elapsed() < AT_ONCE, "{phase}: {:?}", begin.elapsed());
    });
}

#[test] // W-88
fn a_stop_ends_a_dial_and_a_wait_for_headers_and_a_body() {
    let authority = Authority::new();
    let black_hole = BlackHole::new();
    let tunnel = towards(&black_hole.url()).start();
    let begin = Instant::now();
    tunnel.stop();
    assert!(begin.elapsed() < AT_ONCE);

    for answer in [Answer::silence(&Gate::new()), Answer::status(200).chunked().head().body("{")] {
        let control_plane = ControlPlane::start();
        let hold = Gate::new();
        control_plane.every_poll(Some(answer.wait(&hold)));
        let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
        let tunnel = towards(&nginx.url()).env("CA_BUNDLE", &authority.bundle()).start();
        control_plane.next_poll();
        let begin = Instant::now();
        tunnel.stop();
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
        hold.open();
    }
}

#[test] // W-57, W-34
fn a_deadline_is_honoured_in_connect_and_in_a_handshake() {
    let authority = Authority::new();
    let bundle = authority.bundle();
    let opened = b"HTTP/1.1 200 OK\r\n\r\n";
    let phases = [
        (Hanging::after(b""), None),
        (Hanging::after(b""), Some("https://localhost:9/mcp")),
        (Hanging::after(opened), Some("https://localhost:9/mcp")),
    ];
    each_at_once(phases, |(peer, proxied)| {
        let control_plane = ControlPlane::start();
        let settings = Tunnel::to(&control_plane.url()).env("CA_BUNDLE", &bundle);
        let settings = match proxied {
            None => settings.http(&format!("{}/mcp", peer.url("https"))),
            Some(target) => settings.http(target).env("MCP_HTTP_PROXY", &peer.url("http")),
        };
        let tunnel = settings.start();
        control_plane.push(call("r1").response_timeout("1s"));
        // An expired command is dropped without an answer.
        tunnel
            .program
            .stderr_line("the deadline", |line| line.contains("r1") && line.contains("deadline"));
        assert_eq!(control_plane.responses_waiting(), 0);
    });
}

#[test] // W-88
fn a_second_signal_ends_a_stop_that_waits_for_a_handshake() {
    let authority = Authority::new();
    let peer = Hanging::after(b"");
    let control_plane = ControlPlane::start();
    let mut tunnel = Tunnel::to(&control_plane.url())
        .http(&format!("{}/mcp", peer.url("https")))
        .env("CA_BUNDLE", &authority.bundle())
        .start();
    control_plane.push(call("r1"));
    peer.hangs.wait("a handshake");
    crate::support::eventually("the call", || {
        (tunnel.metric("dispatcher_worker_pool_occupancy") > 0.0).then_some(())
    });
    tunnel.program.signal(Signal::TERM);
    tunnel.program.stderr_line("the stop", |line| line.contains("stopping"));
    tunnel.program.signal(Signal::TERM);
    assert!(tunnel.program.exit_code() > 0);
}

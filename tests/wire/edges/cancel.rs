//! A peer that hangs: the table of [`PHASES`] has each phase that a request goes through, and
//! each test shows for all of them that somebody is heard who says "give up": the operator who
//! stops the daemon, while it polls and while it calls; the deadline of a command; the longest
//! time of a call; the limit of a poll.

use std::any::Any;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::edges::authority::{Authority, Pair};
use crate::edges::peers::Nginx;
use crate::edges::{call, eventually, mounts, poll_failure, skipped, towards};
use crate::support::stack::Settings;
use crate::support::{BlackHole, ControlPlane, Gate, Scratch, Signal, Tunnel, each_at_once};

/// Longer than a stop takes, and far below the limit that each phase has of its own.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A phase of a request, and how a peer is made that hangs in it.
type Phase = (&'static str, fn(&World) -> Peer);

/// The phases of a request.
const PHASES: [Phase; 9] = [
    ("name lookup", |world| Peer {
        url: "http://never-answered.example".to_owned(),
        resolver: Some(Resolver::start(world)),
        ..Peer::default()
    }),
    ("connect", |_| {
        let hole = BlackHole::new();
        let port = hole.url().rsplit(':').next().unwrap().parse().unwrap();
        Peer { url: hole.url(), hangs: Hangs::OnceDialled(port), ..Peer::default() }.keep(hole)
    }),
    ("CONNECT", |_| Peer::behind(Hanging::silent())),
    ("half an answer to CONNECT", |_| Peer::behind(Hanging::after("HTTP/1.1 200"))),
    ("TLS handshake", |_| Peer::at(Hanging::silent(), "https")),
    ("TLS handshake inside a tunnel", |_| {
        Peer::behind(Hanging::after_more("HTTP/1.1 200 Connection established\r\n\r\n"))
    }),
    ("wait for headers", |_| Peer::at(Hanging::silent(), "http")),
    ("body", |_| Peer::at(Hanging::after(HALF_A_BODY), "http")),
    ("body over TLS", |world| {
        let hanging = Hanging::after(HALF_A_BODY);
        let nginx = Nginx::start(&world.server, &hanging.url("http"), "");
        let url = nginx.url();
        Peer { url, hangs: Hangs::Once(hanging.hangs), ..Peer::default() }.keep(nginx)
    }),
];

const HALF_A_BODY: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";

/// What the peers of all phases share.
struct World {
    authority: Authority,
    server: Pair,
    scratch: Scratch,
}

/// A host that hangs in one phase.
#[derive(Default)]
struct Peer {
    /// Its base URL.
    url: String,
    /// The proxy on the way to it.
    proxy: Option<String>,
    /// Who is asked for its name.
    resolver: Option<Resolver>,
    hangs: Hangs,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

/// When a request is in the phase.
#[derive(Default)]
enum Hangs {
    #[default]
    OnceAsked,
    Once(Gate),
    OnceDialled(u16),
}

impl Peer {
    fn at(hanging: Hanging, scheme: &str) -> Peer {
        let url = hanging.url(scheme);
        Peer { url, hangs: Hangs::Once(hanging.hangs), ..Peer::default() }
    }

    /// It is the proxy that hangs.
    fn behind(hanging: Hanging) -> Peer {
        let (url, proxy) = ("https://localhost:9".to_owned(), Some(hanging.url("http")));
        Peer { url, proxy, hangs: Hangs::Once(hanging.hangs), ..Peer::default() }
    }

    fn keep(mut self, kept: impl Any + Send + Sync) -> Peer {
        self.kept.push(Box::new(kept));
        self
    }

    /// Starts a daemon with all that it needs to reach this peer.
    fn start(&self, settings: Settings, world: &World, proxy_variable: &str) -> Tunnel {
        let mut settings = settings.env("CA_BUNDLE", &world.authority.bundle());
        if let Some(proxy) = &self.proxy {
            settings = settings.env(proxy_variable, proxy);
        }
        if let Some(resolver) = &self.resolver {
            settings = settings.started_by(resolver.mounted());
        }
        settings.start()
    }

    /// A daemon that polls this peer.
    fn polled(&self, world: &World) -> Tunnel {
        let settings = towards(&self.url)
            .env("CONTROL_PLANE_POLL_TIMEOUT", "30s")
            .env("CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL", "30s");
        self.start(settings, world, "CONTROL_PLANE_HTTP_PROXY")
    }

    /// A daemon that has taken `command` for a server at this peer.
    fn called(
        &self,
        world: &World,
        command: crate::edges::Command,
        (name, value): (&str, &str),
    ) -> (ControlPlane, Tunnel) {
        let control_plane = ControlPlane::start();
        let settings =
            Tunnel::to(&control_plane.url()).http(&format!("{}/mcp", self.url)).env(name, value);
        let tunnel = self.start(settings, world, "MCP_HTTP_PROXY");
        control_plane.push(command);
        (control_plane, tunnel)
    }

    /// Waits until a request is in the phase.
    fn wait(&self, phase: &str) {
        match (&self.hangs, &self.resolver) {
            (Hangs::Once(gate), _) => gate.wait(phase),
            (Hangs::OnceAsked, Some(resolver)) => resolver.asked.wait(phase),
            (Hangs::OnceAsked, None) => unreachable!("{phase}: a peer without a resolver"),
            // Its half-open connection, as /proc/net/tcp shows it: state 2 is SYN_SENT.
            (Hangs::OnceDialled(port), _) => eventually(phase, || {
                let dialled = format!(" 0100007F:{port:04X} 02 ");
                let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
                all.contains(&dialled).then_some(())
            }),
        }
    }
}

/// A peer that takes connections and says little.
struct Hanging {
    port: u16,
    /// Opens when a connection hangs.
    hangs: Gate,
}

impl Hanging {
    /// Says nothing to what it is told first.
    fn silent() -> Hanging {
        Hanging::start("", false)
    }

    /// Says `answer` to it, and nothing more.
    fn after(answer: &'static str) -> Hanging {
        Hanging::start(answer, false)
    }

    /// The same, and hangs when it is told more, such as the first flight of TLS.
    fn after_more(answer: &'static str) -> Hanging {
        Hanging::start(answer, true)
    }

    fn start(answer: &'static str, more: bool) -> Hanging {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hanging = Hanging { port: listener.local_addr().unwrap().port(), hangs: Gate::new() };
        let gate = hanging.hangs.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let gate = gate.clone();
                std::thread::spawn(move || hang(stream, answer, more, &gate));
            }
        });
        hanging
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

fn hang(mut stream: TcpStream, answer: &str, more: bool, hangs: &Gate) {
    let mut buf = [0; 4096];
    let Ok(1..) = stream.read(&mut buf) else { return };
    if stream.write_all(answer.as_bytes()).is_err() {
        return;
    }
    if more && !matches!(stream.read(&mut buf), Ok(1..)) {
        return;
    }
    hangs.open();
    while matches!(stream.read(&mut buf), Ok(1..)) {}
}

/// A name server that hears and does not answer, for a daemon in a mount namespace where
/// /etc/resolv.conf names it.
struct Resolver {
    /// Opens with the first question.
    asked: Gate,
    resolv_conf: PathBuf,
    nsswitch_conf: PathBuf,
}

impl Resolver {
    fn start(world: &World) -> Resolver {
        let socket = name_server_socket().expect("port 53 of a loopback address");
        let lines = format!(
            "nameserver {}\noptions timeout:30 attempts:1\n",
            socket.local_addr().unwrap().ip()
        );
        let resolver = Resolver {
            asked: Gate::new(),
            resolv_conf: world.scratch.file("resolv.conf", &lines),
            nsswitch_conf: world.scratch.file("nsswitch.conf", "hosts: files dns\n"),
        };
        let asked = resolver.asked.clone();
        std::thread::spawn(move || {
            while socket.recv(&mut [0; 512]).is_ok() {
                asked.open();
            }
        });
        resolver
    }

    /// For a program that is to ask it.
    fn mounted(&self) -> Command {
        let files = [
            (self.resolv_conf.as_path(), "/etc/resolv.conf"),
            (&self.nsswitch_conf, "/etc/nsswitch.conf"),
        ];
        mounts::in_place_of(&files)
    }

    /// Why there can be none, if there can not.
    fn missing() -> Option<&'static str> {
        let no_socket = || name_server_socket().is_none().then_some("port 53 is for root");
        mounts::missing().or_else(no_socket)
    }
}

/// Port 53 of an address that this process alone uses.
fn name_server_socket() -> Option<UdpSocket> {
    let [.., high, low] = std::process::id().to_be_bytes();
    (1..250).find_map(|last| UdpSocket::bind((Ipv4Addr::new(127, high, low, last), 53)).ok())
}

/// Runs a test for all phases at once.
fn in_every_phase(test: impl Fn(&str, &Peer, &World) + Sync) {
    let authority = Authority::new();
    let server = authority.server("server");
    let world = World { authority, server, scratch: Scratch::new() };
    let missing = Resolver::missing();
    if let Some(reason) = &missing {
        skipped("the phase of the name lookup", reason);
    }
    let phases = PHASES.iter().skip(usize::from(missing.is_some()));
    each_at_once(phases, |(phase, peer)| test(phase, &peer(&world), &world));
}

fn stops_at_once(tunnel: Tunnel, phase: &str) {
    let begin = Instant::now();
    tunnel.stop();
    assert!(begin.elapsed() < AT_ONCE, "{phase}: {:?}", begin.elapsed());
}

#[test] // wire-88
fn a_stop_ends_a_poll_in_every_phase() {
    in_every_phase(|phase, peer, world| {
        let tunnel = peer.polled(world);
        peer.wait(phase);
        stops_at_once(tunnel, phase);
    });
}

#[test] // wire-88
fn a_stop_ends_a_call_in_every_phase_once_the_grace_period_is_over() {
    in_every_phase(|phase, peer, world| {
        let no_grace = ("MCP_TUNNEL_SHUTDOWN_GRACE", "0s");
        let (control_plane, tunnel) = peer.called(world, call("r1"), no_grace);
        tunnel.wait_metric("dispatcher_worker_pool_occupancy", 1.0);
        peer.wait(phase);
        stops_at_once(tunnel, phase);
        // Its caller is not left without an answer.
        let failure = control_plane.next_response_for("r1").tunnel_failure();
        assert!(failure.is_object(), "{phase}: {failure}");
    });
}

#[test] // wire-57, forwarding-9
fn a_deadline_ends_a_call_in_every_phase() {
    in_every_phase(|phase, peer, world| {
        let other = ("MCP_MAX_CONCURRENT_REQUESTS", "1");
        let (control_plane, tunnel) = peer.called(world, call("r1").response_timeout("1s"), other);
        // After its deadline a command is not answered; the one worker is free for the next.
        for id in ["r1", "r2"] {
            let named = format!("request_id={id}");
            tunnel.program.stderr_line(&format!("{phase}: the deadline of {id}"), |line| {
                line.contains(&named) && line.contains("deadline")
            });
            control_plane.push(call("r2").response_timeout("1s"));
        }
        assert_eq!(control_plane.responses_waiting(), 0, "{phase}");
    });
}

#[test] // forwarding-26, forwarding-27
fn a_call_that_takes_too_long_is_answered_in_every_phase() {
    in_every_phase(|phase, peer, world| {
        let patient = call("r1").without("response_timeout");
        let longest = ("MCP_CONNECTION_MAX_TTL", "1s");
        let (control_plane, _tunnel) = peer.called(world, patient, longest);
        let failure = control_plane.next_response_for("r1").tunnel_failure();
        assert_eq!(failure["transport_error_kind"], "timeout", "{phase}: {failure}");
    });
}

#[test] // wire-17
fn a_poll_ends_at_its_limit_in_every_phase() {
    in_every_phase(|phase, peer, world| {
        let settings = towards(&peer.url)
            .env("CONTROL_PLANE_POLL_TIMEOUT", "500ms")
            .env("CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL", "500ms");
        let tunnel = peer.start(settings, world, "CONTROL_PLANE_HTTP_PROXY");
        let line = poll_failure(&tunnel.program, "timed out");
        assert!(line.contains("poll failed"), "{phase}: {line}");
    });
}

#[test] // wire-88
fn a_second_signal_ends_a_stop_that_waits_for_a_handshake() {
    let authority = Authority::new();
    let peer = Hanging::silent();
    let control_plane = ControlPlane::start();
    let mut tunnel = Tunnel::to(&control_plane.url())
        .http(&format!("{}/mcp", peer.url("https")))
        .env("CA_BUNDLE", &authority.bundle())
        .start();
    control_plane.push(call("r1"));
    peer.hangs.wait("a handshake");
    eventually("the call", || {
        (tunnel.metric("dispatcher_worker_pool_occupancy") > 0.0).then_some(())
    });
    tunnel.program.signal(Signal::TERM);
    tunnel.program.stderr_line("the stop", |line| line.contains("stopping"));
    tunnel.program.signal(Signal::TERM);
    assert!(tunnel.program.exit_code() > 0);
}

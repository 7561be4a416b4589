//! A host whose only way out is its proxy: a network namespace without a default route.

use std::process::Command;

use crate::edges::authority::Authority;
use crate::edges::peers::Nginx;
use crate::support::{ControlPlane, Program, Scratch, programs};

/// A namespace that a pair of interfaces connects with this one; both ends have an address of the
/// network 10.213.N.0/30, and there is no route to anywhere else.
struct Namespace {
    name: String,
    outside: String,
}

fn ip(args: &str) -> Result<(), String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("ip").env("PATH", path).args(args.split(' ')).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("ip {args}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("ip: {error}")),
    }
}

impl Namespace {
    fn new() -> Result<Namespace, String> {
        if !rustix::process::getuid().is_root() {
            return Err("only root may make a network namespace".to_owned());
        }
        let number = std::process::id() % 250 + 1;
        let name = format!("mcpt{number}");
        let namespace = Namespace { name: name.clone(), outside: format!("10.213.{number}.1") };
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {name}o type veth peer name {name}i netns {name}"))?;
        ip(&format!("addr add {}/30 dev {name}o", namespace.outside))?;
        ip(&format!("link set {name}o up"))?;
        ip(&format!("-n {name} addr add 10.213.{number}.2/30 dev {name}i"))?;
        ip(&format!("-n {name} link set {name}i up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Passes bytes on from an address to a port of this host; gives the port to connect to.
pub fn pass_on(from: &str, to: u16) -> u16 {
    let listener = std::net::TcpListener::bind((from, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = std::net::TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (mut a, mut b) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (mut c, mut d) = (client, server);
            std::thread::spawn(move || std::io::copy(&mut a, &mut b));
            std::thread::spawn(move || std::io::copy(&mut d, &mut c));
        }
    });
    port
}

#[test] // wire-31, wire-34
fn nothing_goes_past_the_proxy_where_there_is_no_other_way() {
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(reason) => {
            crate::edges::skipped("the leak test", &reason);
            return;
        }
    };
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let pair = authority.server("server");
    let nginx = Nginx::start(&pair, &control_plane.url(), "");
    let squid = crate::edges::peers::ProxyProgram::squid("http_access allow all");
    let proxy = pass_on(&namespace.outside, squid.port);
    let scratch = Scratch::new();
    let run = |proxied: bool| {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &namespace.name, programs::tunnel(), "run"])
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()))
            .env("HOME", scratch.path(""))
            .env("CONTROL_PLANE_BASE_URL", nginx.url())
            .env("CONTROL_PLANE_TUNNEL_ID", crate::support::control_plane::TUNNEL_ID)
            .env("CONTROL_PLANE_API_KEY", crate::support::control_plane::API_KEY)
            .env("HEALTH_LISTEN_ADDR", "127.0.0.1:0")
            .env("CA_BUNDLE", authority.bundle())
            .env("MCP_SERVER_URL", "http://127.0.0.1:9/mcp");
        if proxied {
            let proxy = format!("http://{}:{proxy}", namespace.outside);
            command.env("TUNNEL_CLIENT_HTTP_PROXY", proxy);
        }
        Program::spawn(command)
    };
    // `localhost` of the namespace is not ours: only the proxy reaches the control plane.
    let without = run(false);
    without.stderr_line("a failed poll", |line| line.contains("poll failed"));
    assert_eq!(control_plane.polls_waiting(), 0);
    drop(without);
    let _with = run(true);
    let poll = control_plane.next_poll();
    assert_eq!(poll.header("X-Seen-Protocol"), Some("TLSv1.3"));
}

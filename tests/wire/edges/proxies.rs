//! The ways through a proxy, with squid and tinyproxy.

use crate::edges::authority::{Authority, names};
use crate::edges::peers::{Nginx, ProxyProgram, free_port};
use crate::edges::{one_call, poll_failure, refused, towards};
use crate::support::{ControlPlane, McpServer, Tunnel};

const OPEN: &str = "http_access allow all";

fn with_password(folder: &std::path::Path) -> String {
    let hash = std::process::Command::new("openssl")
        .args(["passwd", "-apr1", "s3cret/"])
        .output()
        .unwrap()
        .stdout;
    let users = folder.join("users");
    std::fs::write(&users, format!("user:{}", String::from_utf8(hash).unwrap())).unwrap();
    format!(
        "auth_param basic program /usr/lib/squid/basic_ncsa_auth {}\n\
         acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all",
        users.display()
    )
}

#[test] // wire-30, wire-34, wire-31
fn both_hops_go_through_squid_by_connect_and_in_absolute_form() {
    let authority = Authority::new();
    let squid = ProxyProgram::squid(OPEN);
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
    // Loopback targets: an explicit proxy does not care.
    let tunnel = Tunnel::to(&nginx.url())
        .http(&server.url())
        .env("CA_BUNDLE", &authority.bundle())
        .env("TUNNEL_CLIENT_HTTP_PROXY", &squid.url(""))
        .start_ready();
    let (poll, response) = one_call(&control_plane);
    assert_eq!(poll.header("X-Seen-Protocol"), Some("TLSv1.3"));
    assert_eq!(poll.header("Proxy-Authorization"), None);
    assert_eq!(response.json()["resp_code"], 200);
    // squid adds `Via` to what it reads, which is the plain hop alone.
    assert!(server.next("tools/call").header("Via").is_some_and(|via| via.contains("squid")));
    assert_eq!(poll.header("Via"), None);
    assert!(!tunnel.program.stderr().contains("Proxy-Authorization"));
}

#[test] // wire-34, wire-35
fn credentials_of_the_url_open_a_proxy_and_are_seen_nowhere() {
    let authority = Authority::new();
    let squid = ProxyProgram::squid_with(with_password);
    let tinyproxy = ProxyProgram::tinyproxy("BasicAuth user s3cret");
    for (proxy, userinfo) in [(squid, "user:s3cret%2F"), (tinyproxy, "user:s3cret")] {
        let (control_plane, server) = (ControlPlane::start(), McpServer::start());
        let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
        let tunnel = Tunnel::to(&nginx.url())
            .http(&server.url())
            .env("CA_BUNDLE", &authority.bundle())
            .env("CONTROL_PLANE_HTTP_PROXY", &proxy.url(userinfo))
            .env("MCP_HTTP_PROXY", &proxy.url(userinfo))
            .start_ready();
        let (poll, _) = one_call(&control_plane);
        assert_eq!(poll.header("Proxy-Authorization"), None);
        assert_eq!(server.next("tools/call").header("Proxy-Authorization"), None);
        let (_, metrics) = tunnel.page("/metrics");
        let seen = format!("{}{}{metrics}", tunnel.program.stdout(), tunnel.program.stderr());
        for secret in ["s3cret", "dXNlcj"] {
            assert!(!seen.contains(secret), "{seen}");
        }
    }
}

#[test] // wire-34
fn each_refusal_of_a_proxy_has_its_own_line() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
    let closed = ProxyProgram::squid_with(with_password);
    let forbidding = ProxyProgram::squid("http_access deny all");
    let strict = ProxyProgram::tinyproxy("ConnectPort 1");
    let open = ProxyProgram::tinyproxy("");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let nowhere = format!("https://localhost:{}", free_port());
    for (proxy, target, line) in [
        (closed.url(""), nginx.url(), "asks for a user name and password"),
        (closed.url("user:wrong"), nginx.url(), "does not accept the user name and password"),
        (forbidding.url(""), nginx.url(), "does not allow connections to localhost"),
        (strict.url(""), nginx.url(), "does not allow connections to localhost"),
        (nobody.clone(), nginx.url(), "connection refused (at the proxy"),
        (open.url(""), nowhere, "cannot reach localhost"),
    ] {
        let tunnel = towards(&target)
            .env("CA_BUNDLE", &authority.bundle())
            .env("CONTROL_PLANE_HTTP_PROXY", &proxy)
            .start();
        poll_failure(&tunnel.program, line);
        assert!(!tunnel.program.stderr().contains("wrong"));
    }
    // In absolute form a refusal is an answer.
    let tunnel =
        towards(&control_plane.url()).env("CONTROL_PLANE_HTTP_PROXY", &closed.url("")).start();
    poll_failure(&tunnel.program, "asks for a user name and password");
    assert_eq!(control_plane.polls_waiting(), 0);
}

#[test] // wire-34, wire-25
fn tls_that_is_opened_on_the_way_is_told_from_a_broken_server() {
    let (ours, theirs) = (Authority::new(), Authority::named("Inspection"));
    let inspecting = Nginx::start(&theirs.server("mitm"), "http://127.0.0.1:9", "");
    let port = inspecting.port;
    let squid = ProxyProgram::squid(OPEN);
    let tunnel = towards(&format!("https://localhost:{port}"))
        .env("CA_BUNDLE", &ours.bundle())
        .env("CONTROL_PLANE_HTTP_PROXY", &squid.url(""))
        .start();
    let line = poll_failure(&tunnel.program, "`Inspection Intermediate` is signed by");
    assert!(line.contains("which may open TLS itself"), "{line}");
}

#[test] // wire-34
fn a_proxy_may_itself_be_spoken_to_over_tls() {
    let authority = Authority::new();
    let pair =
        authority.leaf("proxy", &names("IP:127.0.0.1"), "20250101000000Z", "20600101000000Z");
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
    let open = ProxyProgram::tinyproxy("");
    let (port, plain) = (free_port(), open.port);
    // TLS in front of a plain proxy, by a program that passes bytes on.
    let _terminator = tls_in_front(&authority, &pair, port, plain);
    let tunnel = towards(&nginx.url())
        .env("CA_BUNDLE", &authority.bundle())
        .env("CONTROL_PLANE_HTTP_PROXY", &format!("https://127.0.0.1:{port}"))
        .start();
    assert_eq!(control_plane.next_poll().header("X-Seen-Protocol"), Some("TLSv1.3"));
    drop(tunnel);
}

/// Python's own TLS in front of a plain port.
fn tls_in_front(
    authority: &Authority,
    pair: &crate::edges::authority::Pair,
    port: u16,
    plain: u16,
) -> crate::support::Program {
    const TERMINATOR: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", int(sys.argv[3])))
def copy(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try: s.shutdown(socket.SHUT_RDWR)
        except OSError: pass
def serve(client):
    try:
        client = context.wrap_socket(client, server_side=True)
        server = socket.create_connection(("127.0.0.1", int(sys.argv[4])))
    except OSError:
        return
    threading.Thread(target=copy, args=(client, server), daemon=True).start()
    copy(server, client)
print("listening", flush=True)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
"#;
    let script = authority.scratch.file("terminator.py", TERMINATOR);
    let mut command = std::process::Command::new("python3");
    command.arg(script).args([pair.cert(), pair.key(), &port.to_string(), &plain.to_string()]);
    let program = crate::support::Program::spawn(command);
    program.stdout_line("the terminator", |line| line == "listening");
    program
}

#[test] // wire-30, wire-31, wire-32, forwarding-49
fn the_nearest_setting_names_the_proxy_and_the_environment_comes_last() {
    let seen_by = |settings: &[(&str, usize)]| {
        let proxies: Vec<_> = (0..3).map(|_| ControlPlane::start()).collect();
        let mut tunnel = towards("http://control-plane.invalid");
        for (name, proxy) in settings {
            tunnel = tunnel.env(name, &proxies[*proxy].url());
        }
        let _tunnel = tunnel.start();
        let found = crate::support::eventually("a poll at a proxy", || {
            proxies.iter().position(|proxy| proxy.polls_waiting() > 0)
        });
        let poll = proxies[found].next_poll();
        assert!(poll.target.starts_with("http://control-plane.invalid/v1/"), "{}", poll.target);
        assert_eq!(poll.header("Host"), Some("control-plane.invalid"));
        found
    };
    let (own, global, env) = (0, 1, 2);
    let all = [
        ("CONTROL_PLANE_HTTP_PROXY", own),
        ("TUNNEL_CLIENT_HTTP_PROXY", global),
        ("HTTP_PROXY", env),
    ];
    assert_eq!(seen_by(&all), own);
    assert_eq!(seen_by(&all[1..]), global);
    assert_eq!(seen_by(&all[2..]), env);
    assert_eq!(seen_by(&[("http_proxy", env), ("HTTPS_PROXY", own)]), env);
    assert_eq!(seen_by(&[all[1], ("NO_PROXY", 0)]), global);
}

#[test] // wire-32, wire-33
fn loopback_and_no_proxy_pass_the_proxy_of_the_environment_by() {
    let (control_plane, dead) =
        (ControlPlane::start(), format!("http://127.0.0.1:{}", free_port()));
    let tunnel = towards(&control_plane.url()).env("HTTP_PROXY", &dead).start();
    control_plane.next_poll();
    drop(tunnel);
    let tunnel = towards("http://h.invalid").env("HTTP_PROXY", &dead).env("NO_PROXY", ".invalid");
    poll_failure(&tunnel.start().program, "not resolved");
    refused(
        towards("https://h.invalid").env("HTTPS_PROXY", "socks5://127.0.0.1:9"),
        &["HTTPS_PROXY", "SOCKS", "http://"],
    );
}

#[test] // wire-23
fn a_unix_socket_takes_no_proxy() {
    let control_plane = ControlPlane::start();
    let dead = format!("http://127.0.0.1:{}", free_port());
    let scratch = crate::support::Scratch::new();
    let socket = scratch.path("mcp.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let entry = format!("url=http://mcp.internal/mcp,unix-socket={}", socket.display());
    let _tunnel = Tunnel::to(&control_plane.url())
        .env("MCP_SERVER_URL", &entry)
        .env("MCP_HTTP_PROXY", &dead)
        .start();
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = [0; 256];
    let read = std::io::Read::read(&mut stream, &mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..read]).to_ascii_lowercase();
    assert!(head.starts_with("post /mcp http/1.1\r\n"), "{head}");
    assert!(head.contains("host: mcp.internal"), "{head}");
}

#[test] // wire-36, wire-37, wire-206
fn proxies_are_tried_out_and_their_health_is_a_metric() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
    let (open, closed) = (ProxyProgram::squid(OPEN), ProxyProgram::squid("http_access deny all"));
    let tunnel = Tunnel::to(&nginx.url())
        .env("MCP_SERVER_URL", "http://mcp.invalid/mcp\nchannel=direct,url=http://127.0.0.1:9/")
        .env("CA_BUNDLE", &authority.bundle())
        .env("CONTROL_PLANE_HTTP_PROXY", &open.url(""))
        .env("HTTP_PROXY", &closed.url(""))
        .start();
    let line = |name: &str, labels: &[&str]| {
        crate::support::eventually(name, || {
            let (_, page) = tunnel.page("/metrics");
            page.lines()
                .find(|l| l.starts_with(name) && labels.iter().all(|label| l.contains(label)))
                .and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
                .filter(|value| *value > 0.0)
        })
    };
    line("proxy_health_state", &["route=\"control-plane\""]);
    line("proxy_last_success_timestamp", &["route=\"control-plane\""]);
    line(
        "proxy_check_failures_total",
        &["route=\"main\"", "phase=\"connect\"", "reason=\"bad_status\""],
    );
    let (_, page) = tunnel.page("/metrics");
    assert!(!page.contains("route=\"direct\""), "{page}");
    // A failed check does not stop polls.
    control_plane.next_poll();
}

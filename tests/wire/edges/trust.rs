//! Whom the daemon believes.

use crate::edges::authority::{Authority, CLIENT, names, openssl};
use crate::edges::peers::Nginx;
use crate::edges::{call, doctor, one_call, poll_failure, refused, row, towards};
use crate::support::{ControlPlane, McpServer, Tunnel, eventually};

const LONG: (&str, &str) = ("20250101000000Z", "20600101000000Z");

#[test] // wire-24, wire-25, wire-18
fn a_bundle_is_trusted_beside_the_system_on_both_hops_with_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let pair = authority.server("server");
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let (control_plane, server) = (ControlPlane::start(), McpServer::start());
        let only = format!("ssl_protocols {protocol};");
        let outer = Nginx::start(&pair, &control_plane.url(), &only);
        let inner = Nginx::start(&pair, &server.url().replace("/mcp", ""), &only);
        let tunnel = Tunnel::to(&outer.url())
            .http(&format!("https://127.0.0.1:{}/mcp", inner.port))
            .env("CA_BUNDLE", &authority.bundle())
            .start_ready();
        let (poll, response) = one_call(&control_plane);
        assert_eq!(poll.header("X-Seen-Protocol"), Some(protocol));
        assert_eq!(response.json()["resp_code"], 200, "{}", response.text());
        assert_eq!(server.next("tools/call").header("X-Seen-Protocol"), Some(protocol));
        // Connections with TLS serve one request after the other as well.
        eventually("a call on a connection that had served one", || {
            control_plane.push(call("r2"));
            control_plane.next_response_for("r2");
            (server.next("tools/call").header("X-Seen-Requests") > Some("1")).then_some(())
        });
        eventually("a poll on a connection that had served one", || {
            control_plane.push(call("r3"));
            let poll = control_plane.next_poll();
            (poll.header("X-Seen-Requests") > Some("1")).then_some(())
        });
        let left = tunnel.metric(
            "mcp_tunnel_certificate_expiry_seconds{hop=\"control-plane\",certificate=\"server\"}",
        );
        assert!(left > 86_400.0 * 365.0, "{left}");
    }
}

#[test] // wire-24
fn the_variables_of_the_system_store_are_honoured() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
    let folder = authority.scratch.path("store");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(authority.bundle(), folder.join("root.pem")).unwrap();
    let folder = folder.to_str().unwrap();
    openssl(&["rehash", folder]);
    for (name, value) in [("SSL_CERT_FILE", authority.bundle().as_str()), ("SSL_CERT_DIR", folder)]
    {
        let tunnel = towards(&nginx.url()).env(name, value).start();
        assert_eq!(control_plane.next_poll().header("X-Seen-Protocol"), Some("TLSv1.3"), "{name}");
        tunnel.stop();
    }
}

#[test] // wire-24
fn on_a_host_without_a_store_the_bundle_alone_is_believed_and_that_is_said() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
    let without = || towards(&nginx.url()).env("SSL_CERT_FILE", "/nowhere/store.pem");
    refused(
        without(),
        &["system's certificates cannot be read", "/nowhere/store.pem", "CA_BUNDLE"],
    );
    let tunnel = without().env("CA_BUNDLE", &authority.bundle()).start();
    control_plane.next_poll();
    tunnel.program.stderr_line("a warning", |line| {
        line.contains("/nowhere/store.pem") && line.contains("only those of ca_bundle")
    });
    let settings = [
        ("SSL_CERT_FILE", "/nowhere/store.pem"),
        ("CA_BUNDLE", &authority.bundle()),
        ("MCP_SERVER_URL", "http://127.0.0.1:9/mcp"),
    ];
    assert_eq!(row(&doctor(&nginx.url(), &settings), "system_trust")["status"], "WARN");
}

#[test] // wire-25
fn each_broken_handshake_has_its_own_line() {
    let authority = Authority::new();
    let pair = authority.server("server");
    let control_plane = ControlPlane::start();
    let strange = Nginx::start(&pair, &control_plane.url(), "ssl_reject_handshake on;");
    let old = "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0;";
    let old = Nginx::start(&pair, &control_plane.url(), old);
    for (url, line) in [
        (saying("HTTP/1.1 400 Bad Request\r\n\r\n"), "the peer does not speak TLS"),
        (saying(""), "the peer closed the connection during the handshake"),
        (strange.url(), "the peer does not know this host name"),
        (old.url(), "no cipher suite in common"),
    ] {
        let tunnel = towards(&url).env("CA_BUNDLE", &authority.bundle()).start();
        poll_failure(&tunnel.program, line);
    }
    assert_eq!(control_plane.polls_waiting(), 0);
}

/// A peer that says this to the first bytes of each connection, and closes it.
fn saying(answer: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test] // wire-25
fn a_handshake_that_comes_byte_by_byte_comes_about() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
    let port = byte_by_byte(nginx.port);
    let tunnel =
        towards(&format!("https://localhost:{port}")).env("CA_BUNDLE", &authority.bundle()).start();
    assert_eq!(control_plane.next_poll().header("X-Seen-Protocol"), Some("TLSv1.3"));
    tunnel.stop();
}

/// Passes connections on to a port, what comes back in segments of one byte.
fn byte_by_byte(to: u16) -> u16 {
    use std::io::{Read, Write, copy};
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            client.set_nodelay(true).unwrap();
            let (mut asked, mut forward) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || copy(&mut asked, &mut forward));
            std::thread::spawn(move || {
                let mut byte = [0];
                while matches!(server.read(&mut byte), Ok(1)) && client.write_all(&byte).is_ok() {}
            });
        }
    });
    port
}

#[test] // wire-25
fn tls_below_1_2_is_refused() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let old = "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;";
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), old);
    let tunnel = towards(&nginx.url()).env("CA_BUNDLE", &authority.bundle()).start();
    poll_failure(&tunnel.program, "TLS");
    assert_eq!(control_plane.polls_waiting(), 0);
}

#[test] // wire-25
fn each_fault_of_a_certificate_has_its_own_line() {
    let authority = Authority::new();
    let localhost = names("DNS:localhost");
    let faults = [
        (
            "expired",
            localhost.as_str(),
            ("20250101000000Z", "20250301000000Z"),
            "expired on 2025-03-01",
        ),
        ("early", &localhost, ("20590101000000Z", LONG.1), "is not valid before 2059-01-01"),
        ("named", &names("DNS:other.example"), LONG, "made for other.example, not for localhost"),
        ("purpose", &format!("{CLIENT}subjectAltName=DNS:localhost\n"), LONG, "wrong purpose"),
    ];
    for (name, extensions, (from, to), line) in faults {
        let control_plane = ControlPlane::start();
        let pair = authority.leaf(name, extensions, from, to);
        let nginx = Nginx::start(&pair, &control_plane.url(), "");
        let tunnel = towards(&nginx.url()).env("CA_BUNDLE", &authority.bundle()).start();
        poll_failure(&tunnel.program, line);
        tunnel.wait_not_ready(|why| why.contains(line));
        assert_eq!(control_plane.polls_waiting(), 0);
    }
}

#[test] // wire-25
fn an_unknown_issuer_is_named_with_the_link_that_fails() {
    let (ours, theirs) = (Authority::new(), Authority::named("Other"));
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&theirs.server("server"), &control_plane.url(), "");
    let tunnel = towards(&nginx.url()).env("CA_BUNDLE", &ours.bundle()).start();
    let line = poll_failure(&tunnel.program, "unknown issuer");
    assert!(line.contains("`Other Intermediate` is signed by `Other Root`"), "{line}");
    drop(tunnel);
    let namesake = Authority::named("Other");
    let tunnel = towards(&nginx.url()).env("CA_BUNDLE", &namesake.bundle()).start();
    poll_failure(&tunnel.program, "with another key than that of the trusted certificate");
}

#[test] // wire-26
fn a_self_signed_ca_certificate_in_the_bundle_is_trusted_for_its_name_and_dates_alone() {
    let authority = Authority::new();
    let ca = "basicConstraints=critical,CA:TRUE\n";
    let good =
        authority.self_signed("pin", "localhost", &format!("{ca}subjectAltName=DNS:localhost\n"));
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&good, &control_plane.url(), "");
    let tunnel = towards(&nginx.url()).env("CA_BUNDLE", good.cert()).start();
    control_plane.next_poll();
    drop(tunnel);

    let tunnel = towards(&nginx.url().replace("localhost", "127.0.0.1"))
        .env("CA_BUNDLE", good.cert())
        .start();
    poll_failure(&tunnel.program, "made for localhost, not for 127.0.0.1");

    let tunnel = towards(&nginx.url()).env("CA_BUNDLE", &authority.bundle()).start();
    poll_failure(&tunnel.program, "add it to `ca_bundle`");
}

#[test] // wire-25
fn versions_and_suites_are_those_of_the_manual_page() {
    let authority = Authority::new();
    let manual = include_str!("../../../man/mcp-tunnel.1").replace('\n', " ");
    let pair = authority.server("server");
    let control_plane = ControlPlane::start();
    let nginx = Nginx::start(&pair, &control_plane.url(), "");
    let _tunnel = towards(&nginx.url()).env("CA_BUNDLE", &authority.bundle()).start();
    let offered = control_plane.next_poll().header("X-Seen-Ciphers").unwrap().to_owned();
    let named = |suite: &str| {
        let suite = suite.replace("ECDHE-ECDSA-", "").replace("ECDHE-RSA-", "");
        suite.replace("AES128", "AES_128").replace("AES256", "AES_256").replace('-', "_")
    };
    // The last one is no suite but the mark of RFC 5746.
    let offered = offered.strip_suffix(":TLS_EMPTY_RENEGOTIATION_INFO_SCSV").unwrap();
    assert_eq!(offered.split(':').count(), 9, "{offered}");
    for suite in offered.split(':') {
        assert!(manual.contains(&named(suite)), "{suite} of {offered}");
    }
}

//! Whom the daemon believes.

use crate::authority::{Authority, CLIENT, names};
use crate::peers::Nginx;
use crate::support::{ControlPlane, McpServer, Tunnel, eventually};
use crate::{call, one_call, poll_failure, towards};

const LONG: (&str, &str) = ("20250101000000Z", "20600101000000Z");

#[test] // W-24, W-25, W-18
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

#[test] // W-25
fn tls_below_1_2_is_refused() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let old = "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;";
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), old);
    let tunnel = towards(&nginx.url()).env("CA_BUNDLE", &authority.bundle()).start();
    poll_failure(&tunnel.program, "TLS");
    assert_eq!(control_plane.polls_waiting(), 0);
}

#[test] // W-25
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

#[test] // W-25
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

#[test] // W-26
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

#[test] // W-25
fn versions_and_suites_are_those_of_the_manual_page() {
    let authority = Authority::new();
    let manual = include_str!("../../man/mcp-tunnel.1").replace('\n', " ");
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

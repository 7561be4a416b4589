//! Who the daemon is on each hop.

use time::OffsetDateTime;

use crate::edges::authority::{Authority, openssl};
use crate::edges::peers::Nginx;
use crate::edges::{one_call, poll_failure, refused, towards};
use crate::support::{ControlPlane, McpServer, Tunnel};

fn asking(authority: &Authority) -> String {
    format!(
        "ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate {};",
        authority.bundle()
    )
}

#[test] // wire-27, wire-29, forwarding-48
fn each_hop_shows_its_own_certificate_and_never_the_other() {
    let authority = Authority::new();
    let pair = authority.server("server");
    let (ours, theirs) = (authority.client("Outer"), authority.client("Inner"));
    let channel = authority.client("Channel");
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let outer = Nginx::start(&pair, &control_plane.url(), &asking(&authority));
    let inner = Nginx::start(&pair, &server.url().replace("/mcp", ""), &asking(&authority));
    let of_channel = format!(
        "channel=other,url={}/mcp,client-cert={},client-key={}",
        inner.url(),
        channel.cert(),
        channel.key()
    );
    let tunnel = Tunnel::to(&outer.url())
        .env("MCP_SERVER_URL", &format!("{}/mcp\n{of_channel}", inner.url()))
        .env("CA_BUNDLE", &authority.bundle())
        .env("CONTROL_PLANE_CLIENT_CERT", ours.cert())
        .env("CONTROL_PLANE_CLIENT_KEY", ours.key())
        .env("MCP_CLIENT_CERT", theirs.cert())
        .env("MCP_CLIENT_KEY", theirs.key())
        .start_ready();
    let (poll, response) = one_call(&control_plane);
    assert_eq!(poll.header("X-Seen-Client"), Some("CN=Outer"));
    assert!(poll.header("Authorization").is_some_and(|v| v.starts_with("Bearer ")));
    assert_eq!(response.header("X-Seen-Client"), Some("CN=Outer"));
    assert_eq!(server.next("tools/call").header("X-Seen-Client"), Some("CN=Inner"));
    control_plane.push(crate::edges::call("r2").channel("other"));
    control_plane.next_response_for("r2");
    assert_eq!(server.next("tools/call").header("X-Seen-Client"), Some("CN=Channel"));
    tunnel.stop();
}

#[test] // wire-29
fn a_server_that_is_not_satisfied_is_told_from_one_that_is_down() {
    let (ours, theirs) = (Authority::new(), Authority::named("Other"));
    let control_plane = ControlPlane::start();
    let stranger = theirs.client("Stranger");
    let port = crate::edges::peers::free_port();
    let pair = ours.server("server");
    let mut command = std::process::Command::new("openssl");
    command
        .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
        .args([
            "-cert",
            pair.cert(),
            "-cert_chain",
            pair.cert(),
            "-key",
            pair.key(),
            "-Verify",
            "3",
            "-verify_return_error",
        ])
        .args(["-CAfile", &ours.bundle()]);
    let _server = crate::support::Program::spawn(command);
    let url = format!("https://localhost:{port}");
    let tunnel = towards(&url).env("CA_BUNDLE", &ours.bundle()).start();
    poll_failure(&tunnel.program, "client certificate");
    drop(tunnel);
    let tunnel = towards(&url)
        .env("CA_BUNDLE", &ours.bundle())
        .env("CONTROL_PLANE_CLIENT_CERT", stranger.cert())
        .env("CONTROL_PLANE_CLIENT_KEY", stranger.key())
        .start();
    poll_failure(&tunnel.program, "does not accept our client certificate");
    assert_eq!(control_plane.polls_waiting(), 0);
}

#[test] // wire-27
fn a_pair_that_can_not_be_used_is_refused_with_its_own_line() {
    let authority = Authority::new();
    let (one, two) = (authority.client("one"), authority.client("two"));
    let encrypted = authority.scratch.path("encrypted.key");
    let encrypted = encrypted.to_str().unwrap();
    openssl(&["ec", "-in", one.key(), "-aes128", "-passout", "pass:x", "-out", encrypted]);
    let nothing = authority.scratch.file("nothing.pem", "no PEM\n");
    let nothing = nothing.to_str().unwrap();
    for (cert, key, parts) in [
        (Some(one.cert()), Some(two.key()), ["does not belong", "one.pem"]),
        (Some(one.cert()), None, ["come together", "client_key"]),
        (None, Some(one.key()), ["come together", "client_cert"]),
        (Some(one.cert()), Some(encrypted), ["is encrypted", "encrypted.key"]),
        (Some(one.cert()), Some("/nowhere"), ["cannot read", "/nowhere"]),
        (Some("/nowhere"), Some(one.key()), ["cannot read", "/nowhere"]),
        (Some(nothing), Some(one.key()), ["no certificate", "nothing.pem"]),
        (Some(one.cert()), Some(nothing), ["no private key", "nothing.pem"]),
    ] {
        for (cert_name, key_name) in [
            ("CONTROL_PLANE_CLIENT_CERT", "CONTROL_PLANE_CLIENT_KEY"),
            ("MCP_CLIENT_CERT", "MCP_CLIENT_KEY"),
        ] {
            // Also on a hop that does not speak TLS.
            for scheme in ["https", "http"] {
                let mut settings = Tunnel::to(&format!("{scheme}://localhost:9"))
                    .http(&format!("{scheme}://localhost:9/mcp"))
                    .env("CA_BUNDLE", &authority.bundle());
                for (name, value) in [(cert_name, cert), (key_name, key)] {
                    if let Some(value) = value {
                        settings = settings.env(name, value);
                    }
                }
                refused(settings, &parts);
            }
            let (url, bundle) = ("https://localhost:9", authority.bundle());
            let mut settings =
                vec![("MCP_SERVER_URL", "https://localhost:9/mcp"), ("CA_BUNDLE", &bundle)];
            let pair = [(cert_name, cert), (key_name, key)];
            settings.extend(pair.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
            let report = crate::edges::doctor(url, &settings).to_string();
            assert!(parts.iter().all(|part| report.contains(part)), "{parts:?} in {report}");
        }
    }
}

#[test] // wire-27
fn a_certificate_that_expires_soon_or_has_expired_is_warned_of() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let soon = OffsetDateTime::now_utc() + time::Duration::days(5);
    let day = soon.date().to_string();
    let end = format!("{}000000Z", day.replace('-', ""));
    for (name, end, line) in [
        ("Old", "20250301000000Z", "client certificate `Old` expired on 2025-03-01".to_owned()),
        ("Soon", &end, format!("client certificate `Soon` expires on {day}")),
    ] {
        let pair = authority.leaf(name, crate::edges::authority::CLIENT, "20250101000000Z", end);
        let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), "");
        let bundle = authority.bundle();
        let identity = [
            ("CA_BUNDLE", bundle.as_str()),
            ("CONTROL_PLANE_CLIENT_CERT", pair.cert()),
            ("CONTROL_PLANE_CLIENT_KEY", pair.key()),
        ];
        let settings = identity.iter().fold(towards(&nginx.url()), |s, (n, v)| s.env(n, v));
        let tunnel = settings.start();
        tunnel.program.stderr_line("a warning", |said| said.contains(&line));
        let left = tunnel.metric(
            "mcp_tunnel_certificate_expiry_seconds{hop=\"control-plane\",certificate=\"client\"}",
        );
        assert_eq!(left < 0.0, name == "Old", "{left}");
        assert!(left < 86_400.0 * 5.0, "{left}");
        let mut settings = vec![("MCP_SERVER_URL", "http://127.0.0.1:9/mcp")];
        settings.extend(identity);
        let own = crate::edges::row(
            &crate::edges::doctor(&nginx.url(), &settings),
            "client_certificate:control-plane",
        );
        assert_eq!(own["status"], "WARN");
        assert!(own["summary"].to_string().contains(&line), "{own}");
    }
}

#[test] // wire-27
fn doctor_names_chains_dates_and_an_identity_that_serves_both_hops() {
    let authority = Authority::new();
    let pair = authority.server("server");
    let ours = authority.client("Ours");
    let copy = authority.scratch.path("copy.key");
    std::fs::copy(&ours.key, &copy).unwrap();
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let outer = Nginx::start(&pair, &control_plane.url(), "");
    let inner = Nginx::start(&pair, &server.url().replace("/mcp", ""), "");
    let strange = Authority::named("Other");
    let stranger = Nginx::start(&strange.server("stranger"), &server.url().replace("/mcp", ""), "");
    let servers = format!("{}/mcp\nchannel=strange,url={}/mcp", inner.url(), stranger.url());
    let settings = [
        ("MCP_SERVER_URL", servers.as_str()),
        ("CA_BUNDLE", &authority.bundle()),
        ("CONTROL_PLANE_CLIENT_CERT", ours.cert()),
        ("CONTROL_PLANE_CLIENT_KEY", ours.key()),
        ("MCP_CLIENT_CERT", ours.cert()),
        ("MCP_CLIENT_KEY", copy.to_str().unwrap()),
    ];
    let report = crate::edges::doctor(&outer.url(), &settings);
    let row = |id: &str| crate::edges::row(&report, id);
    assert_eq!(row("client_certificates")["status"], "WARN");
    for hop in ["control-plane", "main"] {
        let certificate = row(&format!("server_certificate:{hop}"));
        assert_eq!(certificate["status"], "PASS");
        let chain = certificate["evidence"].to_string();
        assert!(chain.contains("`server`, issued by `Test Intermediate`, valid until 2060"));
        assert!(chain.contains("`Test Intermediate`, issued by `Test Root`"), "{chain}");
        let own = row(&format!("client_certificate:{hop}"));
        assert!(own["summary"].to_string().contains("`Ours`, issued by"), "{own}");
    }
    assert_eq!(row("control_plane_reachable")["status"], "PASS");
    let refused = row("server_certificate:strange");
    assert_eq!(refused["status"], "FAIL");
    let line = refused["summary"].to_string();
    assert!(line.contains("`Other Intermediate` is signed by `Other Root`"), "{line}");
}

#[test]
fn the_daemon_leaves_no_core_dump() {
    let control_plane = ControlPlane::start();
    let tunnel = towards(&control_plane.url()).start();
    let path = format!("/proc/{}/limits", tunnel.program.pid());
    let limits = std::fs::read_to_string(path).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

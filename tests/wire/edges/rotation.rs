//! Keys and certificates that are replaced while the daemon runs.

use std::fs;

use crate::edges::authority::Authority;
use crate::edges::peers::Nginx;
use crate::edges::{call, poll_with, towards};
use crate::support::{ControlPlane, McpServer, Signal, Tunnel, eventually};

#[test] // wire-27
fn a_new_key_and_new_headers_are_used_after_sighup_and_a_broken_one_is_not() {
    let scratch = crate::support::Scratch::new();
    let (key, header) = (scratch.file("key", "first-key\n"), scratch.file("header", "old\n"));
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .without_env("CONTROL_PLANE_API_KEY")
        .arg(&format!("--control-plane.api-key=file:{}", key.display()))
        .env("MCP_EXTRA_HEADERS", &format!("X-Team: file:{}", header.display()))
        .start_ready();
    poll_with(&control_plane, "Authorization", "Bearer first-key");
    fs::write(&key, "second-key\n").unwrap();
    fs::write(&header, "new\n").unwrap();
    tunnel.program.signal(Signal::HUP);
    tunnel.program.stderr_line("the reload", |line| line.contains("reloaded: SIGHUP"));
    poll_with(&control_plane, "Authorization", "Bearer second-key");
    eventually("the new header", || {
        control_plane.push(call("r2"));
        (server.next("tools/call").header("X-Team") == Some("new")).then_some(())
    });

    fs::write(&key, "not a key\n").unwrap();
    tunnel.program.signal(Signal::HUP);
    tunnel.wait_metric("mcp_tunnel_reloads_total{outcome=\"failed\"}", 1.0);
    let (status, line) = tunnel.page("/readyz");
    assert_eq!(status, 200, "{line}");
    assert!(line.contains("reload failed"), "{line}");
    let told = tunnel.program.stderr_line("a line", |line| line.contains("stays in use"));
    assert!(!told.contains("not a key"), "{told}");
    poll_with(&control_plane, "Authorization", "Bearer second-key");

    fs::write(&key, "third-key\n").unwrap();
    tunnel.program.signal(Signal::HUP);
    tunnel.wait_metric("mcp_tunnel_reloads_total{outcome=\"ok\"}", 2.0);
    assert!(!tunnel.page("/readyz").1.contains("reload"));
}

#[test] // wire-27, wire-29
fn a_pair_that_is_swapped_in_place_is_shown_on_new_connections_and_a_mismatch_is_not() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let asking = format!(
        "ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate {}; \
         ssl_session_tickets off; keepalive_requests 1;",
        authority.bundle()
    );
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), &asking);
    let (before, after) = (authority.client("Before"), authority.client("After"));
    let tunnel = towards(&nginx.url())
        .env("CA_BUNDLE", &authority.bundle())
        .env("CONTROL_PLANE_CLIENT_CERT", before.cert())
        .env("CONTROL_PLANE_CLIENT_KEY", before.key())
        .start();
    poll_with(&control_plane, "X-Seen-Client", "CN=Before");
    // Half of the pair: what was read before stays.
    fs::copy(&after.key, &before.key).unwrap();
    tunnel.program.signal(Signal::HUP);
    tunnel.program.stderr_line("the fault", |line| {
        line.contains("does not belong to the client certificate") && line.contains("stays in use")
    });
    poll_with(&control_plane, "X-Seen-Client", "CN=Before");
    fs::copy(&after.cert, &before.cert).unwrap();
    tunnel.program.signal(Signal::HUP);
    poll_with(&control_plane, "X-Seen-Client", "CN=After");
}

#[test] // wire-29
fn a_pair_that_was_revoked_is_swapped_in_place_and_the_tunnel_recovers() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let (before, after) = (authority.client("Before"), authority.client("After"));
    let asking = format!(
        "ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate {}; ssl_crl {};",
        authority.bundle(),
        authority.revocation_list().display()
    );
    let nginx = Nginx::start(&authority.server("server"), &control_plane.url(), &asking);
    let tunnel = towards(&nginx.url())
        .env("CA_BUNDLE", &authority.bundle())
        .env("CONTROL_PLANE_CLIENT_CERT", before.cert())
        .env("CONTROL_PLANE_CLIENT_KEY", before.key())
        .start();
    poll_with(&control_plane, "X-Seen-Client", "CN=Before");

    authority.revoke(&before);
    authority.revocation_list();
    nginx.reload();
    // Polls that are under way end as they began.
    eventually("a poll that is refused", || {
        control_plane.push(call("r2"));
        tunnel.program.stderr().contains("backing off: status 400").then_some(())
    });
    tunnel.wait_not_ready(|why| why.contains("status 400"));
    // Nobody tells the daemon: it looks at its files.
    fs::copy(&after.key, &before.key).unwrap();
    fs::copy(&after.cert, &before.cert).unwrap();
    poll_with(&control_plane, "X-Seen-Client", "CN=After");
}

#[test] // wire-27, wire-29
fn connections_that_were_kept_alive_do_not_keep_the_old_identity() {
    let authority = Authority::new();
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let asking = format!(
        "ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate {};",
        authority.bundle()
    );
    let pair = authority.server("server");
    let outer = Nginx::start(&pair, &control_plane.url(), &asking);
    let inner = Nginx::start(&pair, &server.url().replace("/mcp", ""), &asking);
    let (before, after) = (authority.client("Before"), authority.client("After"));
    let tunnel = Tunnel::to(&outer.url())
        .http(&format!("{}/mcp", inner.url()))
        .env("CA_BUNDLE", &authority.bundle())
        .env("CONTROL_PLANE_CLIENT_CERT", before.cert())
        .env("CONTROL_PLANE_CLIENT_KEY", before.key())
        .env("MCP_CLIENT_CERT", before.cert())
        .env("MCP_CLIENT_KEY", before.key())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .start_ready();
    // Each connection has served a request, and is kept.
    assert_eq!(control_plane.next_poll().header("X-Seen-Client"), Some("CN=Before"));
    control_plane.push(call("r1"));
    let posted = control_plane.next_response_for("r1").0;
    assert_eq!(posted.header("X-Seen-Client"), Some("CN=Before"));
    assert_eq!(server.next("tools/call").header("X-Seen-Client"), Some("CN=Before"));
    // This one is held open over the reload: it is the old one's, and it is answered.
    assert_eq!(control_plane.next_poll().header("X-Seen-Client"), Some("CN=Before"));
    fs::copy(&after.cert, &before.cert).unwrap();
    fs::copy(&after.key, &before.key).unwrap();
    tunnel.program.signal(Signal::HUP);
    tunnel.program.stderr_line("the reload", |line| line.contains("reloaded: SIGHUP"));
    control_plane.push(call("r2"));
    let posted = control_plane.next_response_for("r2").0;
    assert_eq!(posted.header("X-Seen-Client"), Some("CN=After"));
    assert_eq!(server.next("tools/call").header("X-Seen-Client"), Some("CN=After"));
    assert_eq!(control_plane.next_poll().header("X-Seen-Client"), Some("CN=After"));
}

#[test] // wire-24
fn a_new_ca_is_trusted_after_sighup_and_a_broken_bundle_is_not_taken() {
    let (old, new) = (Authority::new(), Authority::named("Next"));
    let control_plane = ControlPlane::start();
    let bundle = old.scratch.path("bundle.pem");
    fs::copy(old.bundle(), &bundle).unwrap();
    let nginx = Nginx::start(&old.server("server"), &control_plane.url(), "keepalive_requests 1;");
    let other = Nginx::start(&new.server("server"), &control_plane.url(), "");
    let tunnel = towards(&nginx.url()).env("CA_BUNDLE", bundle.to_str().unwrap()).start();
    control_plane.next_poll();
    fs::write(&bundle, "nothing\n").unwrap();
    tunnel.program.signal(Signal::HUP);
    tunnel.wait_metric("mcp_tunnel_reloads_total{outcome=\"failed\"}", 1.0);
    poll_with(&control_plane, "X-Seen-Protocol", "TLSv1.3");
    drop(tunnel);

    let tunnel = towards(&other.url()).env("CA_BUNDLE", &old.bundle()).start();
    crate::edges::poll_failure(&tunnel.program, "unknown issuer");
    fs::copy(new.bundle(), old.bundle()).unwrap();
    tunnel.program.signal(Signal::HUP);
    control_plane.next_poll();
}

#[test]
fn the_log_file_is_opened_anew_on_sighup() {
    let control_plane = ControlPlane::start();
    let scratch = crate::support::Scratch::new();
    let (log, old) = (scratch.path("tunnel.log"), scratch.path("tunnel.log.1"));
    let tunnel = towards(&control_plane.url()).env("LOG_FILE", log.to_str().unwrap()).start();
    control_plane.next_poll();
    fs::rename(&log, &old).unwrap();
    tunnel.program.signal(Signal::HUP);
    eventually("the reload in the new file", || {
        fs::read_to_string(&log).ok().filter(|text| text.contains("reloaded: SIGHUP"))
    });
    assert!(fs::read_to_string(&old).unwrap().contains("mcp-tunnel started"));
}

#[test]
fn settings_that_need_a_restart_are_named() {
    let control_plane = ControlPlane::start();
    let scratch = crate::support::Scratch::new();
    // Passwords too, which are shown nowhere; a token is taken over.
    let yaml = |workers: u32, password: &str| {
        format!(
            "config_version: 1\nmcp:\n  max_concurrent_requests: {workers}\n  \
             http_proxy: http://user:{password}@127.0.0.1:9\nadmin_ui:\n  token: \
             a-long-enough-token-{password}\n"
        )
    };
    let file = scratch.file("c.yaml", &yaml(3, "before"));
    let tunnel = towards(&control_plane.url()).arg("-c").arg(file.to_str().unwrap()).start();
    fs::write(&file, yaml(4, "after")).unwrap();
    tunnel.program.signal(Signal::HUP);
    let line = tunnel.program.stderr_line("a line", |line| line.contains("need a restart"));
    let (_, named) = line.rsplit_once(": ").unwrap();
    let mut named: Vec<&str> = named.split(", ").collect();
    named.sort_unstable();
    assert_eq!(named, ["mcp.http_proxy", "mcp.max_concurrent_requests"]);
    assert!(!tunnel.program.stderr().contains("after@"));
}

#[test] // wire-27
fn a_pair_that_is_not_shown_is_checked_at_a_reload_too() {
    let authority = Authority::new();
    let control_plane = ControlPlane::start();
    let (one, two) = (authority.client("One"), authority.client("Two"));
    let tunnel = towards(&control_plane.url())
        .env("MCP_CLIENT_CERT", one.cert())
        .env("MCP_CLIENT_KEY", one.key())
        .start();
    fs::copy(&two.key, &one.key).unwrap();
    tunnel.program.signal(Signal::HUP);
    tunnel.program.stderr_line("the fault", |line| {
        line.contains("does not belong to the client certificate") && line.contains("stays in use")
    });
}

#[test] // wire-27
fn a_file_that_changes_is_read_again_without_a_signal() {
    let scratch = crate::support::Scratch::new();
    let key = scratch.file("key", "first-key\n");
    let control_plane = ControlPlane::start();
    let tunnel = towards(&control_plane.url())
        .without_env("CONTROL_PLANE_API_KEY")
        .arg(&format!("--control-plane.api-key=file:{}", key.display()))
        .start();
    poll_with(&control_plane, "Authorization", "Bearer first-key");
    // As secrets are replaced by those who take care: a new file in the place of the old.
    fs::rename(scratch.file("new", "second-key\n"), &key).unwrap();
    tunnel.program.stderr_line("the reload", |line| line.contains("has changed"));
    poll_with(&control_plane, "Authorization", "Bearer second-key");
}

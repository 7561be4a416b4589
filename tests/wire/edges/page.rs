//! What the operator page and its JSON tell of certificates and proxies.

use crate::edges::authority::{Authority, names};
use crate::edges::peers::{Nginx, ProxyProgram};
use crate::support::browser::Browser;
use crate::support::{ControlPlane, McpServer, Tunnel, eventually};

#[test] // wire-37
fn the_page_and_the_api_tell_of_certificates_with_days_left_and_of_proxies_with_their_checks() {
    let authority = Authority::new();
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let nginx = Nginx::start(&authority.server("plane.example"), &control_plane.url(), "");
    let soon = time::OffsetDateTime::now_utc() + time::Duration::days(5);
    let soon = format!("{}235959Z", soon.date().to_string().replace('-', ""));
    let localhost = names("DNS:localhost,IP:127.0.0.1");
    let expiring = authority.leaf("tickets.example", &localhost, "20250101000000Z", &soon);
    let inner = Nginx::start(&expiring, &server.url().replace("/mcp", ""), "");
    let proxy = ProxyProgram::tinyproxy("");
    let client = authority.client("this-host");
    let tunnel = Tunnel::to(&nginx.url())
        .http(&format!("https://127.0.0.1:{}/mcp", inner.port))
        .without_env("SSL_CERT_FILE")
        .env("CA_BUNDLE", &authority.bundle())
        .env("CONTROL_PLANE_HTTP_PROXY", &proxy.url("user:planted-secret"))
        .env("CONTROL_PLANE_CLIENT_CERT", client.cert())
        .env("CONTROL_PLANE_CLIENT_KEY", client.key())
        .env("PROXY_CHECK_INTERVAL", "100ms")
        .start_ready();

    let system = eventually("both servers' certificates and two checks", || {
        let system = tunnel.json("/api/system");
        let checks = system["proxy_health"][0]["history"].as_array()?.len();
        let known = system["certificates"].as_array()?.len();
        (checks >= 2 && known == 3).then_some(system)
    });
    let extra = &system["tls"]["extra_bundle"];
    assert_eq!((&extra["cert_count"], &extra["parse_errors"]), (&1.into(), &0.into()), "{extra}");
    let trusted = &extra["certificates"][0];
    assert_eq!(trusted["cert_id"].as_str().unwrap().len(), 64);
    for (field, value) in [
        ("subject_cn", "Test Root"),
        ("issuer_cn", "Test Root"),
        ("not_before", "2025-01-01T00:00:00Z"),
        ("not_after", "2060-01-01T00:00:00Z"),
        ("parse_status", "ok"),
        ("source", &authority.bundle()),
    ] {
        assert_eq!(trusted[field], value, "{field}: {trusted}");
    }
    let shown: Vec<_> = system["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| [&c["hop"], &c["whose"], &c["subject_cn"]].map(|v| v.as_str().unwrap()).join(" "))
        .collect();
    assert_eq!(
        shown,
        [
            "control-plane client this-host",
            "control-plane server plane.example",
            "main server tickets.example"
        ]
    );
    assert!(system["certificates"][2]["warning"].as_str().unwrap().contains("expires on"));
    let health = &system["proxy_health"];
    assert_eq!(health[0]["health_state"], "healthy");
    assert_eq!(health[0]["route"]["kind"], "control_plane");
    assert_eq!(health[0]["route"]["proxy_id"], system["proxy_identity_map"][0]["proxy_id"]);
    for field in ["timestamp", "success", "tcp_duration_ms", "connect_duration_ms"] {
        assert!(health[0]["history"][0].get(field).is_some(), "{field}: {health}");
    }
    assert_eq!(health[0]["history"][0]["http_status_category"], "2xx");
    assert_eq!(health[1]["health_state"], "direct");
    assert!(health[0]["last_check"].is_string() && health[0]["last_success"].is_string());
    assert!(!system.to_string().contains("planted-secret"));

    let mut browser = Browser::start(1200, 1500);
    browser.open(&format!("{}/ui", tunnel.health));
    browser.wait_for_in("#verdict", "The tunnel is up");
    browser.wait_for_in("#reason", "expires on");
    browser.wait_for_in("#advice", "Replace the certificate");
    for text in ["this-host", "plane.example", "tickets.example", "Test Root", "CA bundle"] {
        browser.wait_for_in("#certificates", text);
    }
    browser.wait_for_in("#certificates .warn", "days");
    browser.wait_for_in("#proxies", "healthy");
    browser.wait_for_in("#proxies", "✓");
    browser.wait_for_in("#path", "Proxy");
    let pictures = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&pictures).unwrap();
    browser.picture(&pictures.join("certificates.png"));
    drop(proxy);
    // The first one that fails may have found the proxy on its way down.
    eventually("a check that finds nobody", || {
        let system = tunnel.json("/api/system");
        let route = &system["proxy_health"][0];
        let last = route["history"].as_array().unwrap().last().unwrap();
        let found = (&last["error_phase"], &last["error_reason"], &route["health_state"]);
        (found == (&"tcp".into(), &"dial_error".into(), &"unhealthy".into())).then_some(())
    });
    browser.wait_for_in("#proxies", "unhealthy");
    browser.wait_for_in("#proxies", "tcp: dial error");
    browser.wait_for_in("#advice", "Check that the proxy runs");
    browser.picture(&pictures.join("proxy-down.png"));
    browser.assert_clean(&tunnel.health);
}

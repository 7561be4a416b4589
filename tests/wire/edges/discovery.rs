//! Who the daemon is where the OAuth metadata of its server lead it.

use crate::edges::authority::Authority;
use crate::edges::peers::Nginx;
use crate::support::http::Server;
use crate::support::{Answer, ControlPlane, Gate, McpServer, Tunnel, eventually};

const METADATA: &str = r#"{"resource":"r","authorization_servers":["AS"]}"#;

fn wait_for(tunnel: &Tunnel, wanted: &str) {
    eventually(&format!("{wanted} in the report"), || {
        tunnel.page("/api/oauth").1.contains(wanted).then_some(())
    });
}

#[test] // oauth-5
fn the_servers_client_certificate_goes_to_its_own_origin_alone() {
    let authority = Authority::new();
    let pair = authority.server("server");
    let ours = authority.client("Inner");
    let asking = format!(
        "ssl_verify_client optional; ssl_verify_depth 3; ssl_client_certificate {};",
        authority.bundle()
    );
    let shown = Gate::new();
    let seen = shown.clone();
    let elsewhere = Server::start(move |request, _| {
        if request.header("X-Seen-Client").is_some_and(|name| !name.is_empty()) {
            seen.open();
        }
        let issuer = format!("https://{}", request.header("Host").unwrap());
        match request.path() {
            "/metadata" => Answer::json(200, METADATA.replace("AS", &issuer)),
            _ => Answer::json(200, format!(r#"{{"issuer":"{issuer}"}}"#)),
        }
    });
    let server = McpServer::start();
    let (control_plane, inner) =
        (ControlPlane::start(), Nginx::start(&pair, &server.url().replace("/mcp", ""), &asking));
    let outer = Nginx::start(&pair, &elsewhere.url(), &asking);
    let challenge = format!("Bearer resource_metadata={}/metadata", outer.url());
    let refusal = Answer::status(401).header("WWW-Authenticate", &challenge);
    server.always("challenge POST", refusal.clone());
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&format!("{}/mcp", inner.url()))
        .env("CA_BUNDLE", &authority.bundle())
        .env("MCP_CLIENT_CERT", ours.cert())
        .env("MCP_CLIENT_KEY", ours.key())
        .arg("--confinement=off")
        .start_ready();
    assert_eq!(server.next("challenge POST").header("X-Seen-Client"), Some("CN=Inner"));
    wait_for(&tunnel, &format!("\"selected_url\":\"{}/.well-known", outer.url()));
    assert!(!shown.is_open(), "the client certificate was shown to another origin");

    // A server without TLS may have an authorization server with TLS.
    let plain = McpServer::start();
    plain.always("challenge POST", refusal);
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&plain.url())
        .arg("--confinement=off")
        .env("CA_BUNDLE", &authority.bundle())
        .start_ready();
    wait_for(&tunnel, &format!("\"selected_url\":\"{}/.well-known", outer.url()));
}

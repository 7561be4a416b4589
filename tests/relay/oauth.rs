//! relay-42 and relay-43: how MCP clients find the authorization server of a server behind the
//! tunnel.

use crate::support::*;

/// Where clients look for the metadata of a tunnel's server.
fn metadata(tunnel: &str) -> Request {
    Request::new("GET", &format!("/.well-known/oauth-protected-resource/v1/mcp/{tunnel}"))
}

const DOCUMENT: &str = r#"{"resource":"http://10.0.0.1/mcp", "authorization_servers":["https://as.example"],"x":1e400}"#;

fn found(document: &str) -> String {
    format!(r#","resp_code":200,"resp_type":"oauth_discovery_response","resp_json":{document}"#)
}

#[test] // relay-42
fn the_metadata_are_the_servers_own_but_for_the_resource() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(metadata(A).bearer("token-of-the-client"));
    let command = daemon.take_one();
    assert_eq!(command["command_type"], "oauth_discovery");
    assert_eq!(command["channel"], "main");
    assert_eq!(command["response_timeout"], "5000ms");
    assert_eq!(command["headers"], serde_json::json!({}), "no Authorization, nothing at all");
    assert!(command.get("jsonrpc").is_none());
    assert_eq!(daemon.post(&command, &found(DOCUMENT)).status, 200);
    let answer = client.join().unwrap();
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
    let own = format!("http://{}/v1/mcp/{A}", relay.address);
    assert_eq!(answer.text(), DOCUMENT.replace("http://10.0.0.1/mcp", &own));
    // It is known now: no daemon is asked again, and the name is the one that the client uses.
    let port = relay.address.rsplit(':').next().unwrap();
    let again = relay.send(&metadata(A).with("Host", &format!("localhost:{port}")));
    let own = format!(r#"{{"resource":"http://localhost:{port}/v1/mcp/{A}","#);
    assert!(again.text().starts_with(&own), "{}", again.text());
    assert!(daemon.finds_nothing());
    assert_eq!(
        relay.metric(r#"relay_mcp_requests_total{kind="discovery",status="200",code=""}"#),
        2
    );
}

#[test] // relay-42
fn many_clients_at_once_are_one_question_to_the_daemon() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let clients: Vec<_> = (0..20).map(|_| relay.send_later(metadata(A))).collect();
    let command = daemon.take_one();
    assert_eq!(daemon.post(&command, &found(DOCUMENT)).status, 200);
    for client in clients {
        assert_eq!(client.join().unwrap().status, 200);
    }
    assert!(daemon.finds_nothing());
}

#[test] // relay-42, relay-49
fn without_metadata_the_answer_is_404_for_a_while() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(metadata(A));
    let command = daemon.take_one();
    let none = r#","resp_code":502,"resp_type":"oauth_discovery_response","resp_json":{"error":{"message":"m","type":"server_error","code":"oauth_discovery_failed"}}"#;
    assert_eq!(daemon.post(&command, none).status, 200);
    let missed = client.join().unwrap();
    assert_eq!(missed.status, 404);
    assert_eq!(relay.send(&metadata(A)).status, 404);
    assert!(daemon.finds_nothing());
    // An unknown tunnel, one without a daemon, and one without metadata look the same.
    for other in [NOWHERE, B] {
        let answer = relay.send(&metadata(other));
        assert_eq!((answer.status, answer.text()), (404, missed.text()), "{other}");
    }
    assert_eq!(relay.send(&metadata("tunnel_x")).status, 400);
    let longer = metadata(&format!("{A}/docs"));
    assert_eq!(relay.send(&longer).status, 404);
    for path in ["", "/", "/x"] {
        for document in ["oauth-protected-resource", "oauth-authorization-server"] {
            let path = format!("/.well-known/{document}{path}");
            assert_eq!(relay.send(&Request::new("GET", &path)).status, 404, "{path}");
        }
    }
    let post = Request { method: "POST".to_owned(), ..metadata(A) };
    assert_eq!(relay.send(&post).header("Allow"), Some("GET, OPTIONS"));
}

#[test] // relay-42
fn a_daemon_that_does_not_answer_is_not_waited_for_longer_than_a_probe_lasts() {
    let relay = Relay::start(&["--response-timeout", "10m"]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(metadata(A));
    let command = daemon.take_one();
    // The end of the wait is awaited, not timed.
    assert_eq!(client.join().unwrap().status, 404);
    assert_eq!(daemon.post(&command, &found(DOCUMENT)).status, 404);
    relay.wait_metric("relay_expired_total", 1);
}

#[test] // relay-42
fn a_guarded_tunnel_tells_where_tokens_are_to_be_had() {
    let relay = Relay::start(&[]);
    let daemon = Daemon { relay: &relay, tunnel: C, key: KEY_C };
    assert_eq!(daemon.poll_raw("timeout_ms=1").status, 204);
    let client = relay.send_later(metadata(C));
    let command = daemon.take_one();
    assert_eq!(daemon.post(&command, &found(DOCUMENT)).status, 200);
    assert_eq!(client.join().unwrap().status, 200);
}

#[test] // relay-42, relay-43
fn behind_a_proxy_the_urls_are_those_of_the_proxy() {
    let public = "https://relay.example";
    let relay = Relay::start(&["--public-url", public]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(metadata(A));
    let command = daemon.take_one();
    assert_eq!(daemon.post(&command, &found(DOCUMENT)).status, 200);
    let own = format!(r#"{{"resource":"{public}/v1/mcp/{A}","#);
    assert!(client.join().unwrap().text().starts_with(&own));
    assert_eq!(
        challenge(&relay, &daemon, ""),
        format!(
            r#"Bearer error="invalid_token", resource_metadata="{public}/.well-known/oauth-protected-resource/v1/mcp/{A}""#
        )
    );
}

/// What a client gets to see of the challenge of a server with private metadata.
fn challenge(relay: &Relay, daemon: &Daemon<'_>, channel: &str) -> String {
    let client = relay.send_later(mcp(&format!("{A}{channel}"), &rpc("1", "tools/list")));
    let command = daemon.take_one();
    let members = r#","resp_code":401,"resp_headers":{"Www-Authenticate":["Bearer error=\"invalid_token\", resource_metadata=\"http://10.0.0.1/private\""]},"resp_json":{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}"#;
    assert_eq!(daemon.post(&command, members).status, 200);
    let answer = client.join().unwrap();
    assert_eq!(answer.status, 401);
    answer.header("WWW-Authenticate").unwrap().to_owned()
}

#[test] // relay-43
fn a_challenge_points_to_the_relay_for_metadata() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let url = format!("http://{}/.well-known/oauth-protected-resource/v1/mcp/{A}", relay.address);
    assert_eq!(
        challenge(&relay, &daemon, ""),
        format!(r#"Bearer error="invalid_token", resource_metadata="{url}""#)
    );
    // Another channel's server is another resource, of which nothing is known here.
    assert!(challenge(&relay, &daemon, "/docs").contains("http://10.0.0.1/private"));
}

#[test] // relay-42
fn a_web_page_may_look_for_the_metadata_if_it_may_call() {
    let relay = Relay::start(&["--allowed-origin", "https://app.example"]);
    let preflight = Request { method: "OPTIONS".to_owned(), ..metadata(A) }
        .with("Origin", "https://app.example")
        .with("Access-Control-Request-Headers", "mcp-protocol-version");
    let answer = relay.send(&preflight);
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("Access-Control-Allow-Methods"), Some("GET, OPTIONS"));
    assert_eq!(answer.header("Access-Control-Allow-Headers"), Some("mcp-protocol-version"));
    let stranger = metadata(A).with("Origin", "https://evil.example");
    assert_eq!(relay.send(&stranger).status, 403);
}

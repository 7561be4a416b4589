//! relay-44 to relay-52: who gets in, from where, with how much.

use std::io::Read;

use serde_json::Value;

use crate::support::*;

/// A key that the relay makes, with its id.
fn made_key(relay: &Relay, body: &str) -> (String, String) {
    let request = Request::new("POST", "/relay/v1/keys").bearer(ADMIN).body(body);
    let answer = relay.send(&request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    (text("key"), text("id"))
}

#[test] // relay-44
fn each_role_opens_its_own_doors_only() {
    let relay = Relay::start(&[]);
    let runtime = format!(r#"{{"role":"runtime","tunnel_ids":["{C}"]}}"#);
    let (expired, _) = made_key(&relay, &runtime.replace('}', r#","expires_in_seconds":0}"#));
    let endless = runtime.replace('}', r#","expires_in_seconds":18446744073709551615}"#);
    let request = Request::new("POST", "/relay/v1/keys").bearer(ADMIN).body(endless);
    assert_eq!(relay.send(&request).status, 400);
    let (revoked, id) = made_key(&relay, &runtime);
    let revoke = Request::new("DELETE", &format!("/relay/v1/keys/{id}")).bearer(ADMIN);
    assert_eq!(relay.send(&poll(C, &revoked, "timeout_ms=1")).status, 204);
    assert_eq!(relay.send(&revoke).status, 200);
    assert_eq!(relay.send(&revoke).status, 404);

    let keys = [
        ("runtime", KEY_C),
        ("runtime of another tunnel", KEY_A),
        ("admin", ADMIN),
        ("connector", CONNECTOR),
        ("none", ""),
        ("expired", &expired),
        ("revoked", &revoked),
    ];
    let tunnel = format!("/v1/tunnels/{C}");
    let doors = [
        ("GET", format!("{tunnel}/poll?timeout_ms=1"), [204, 401, 401, 401, 401, 401, 401]),
        ("POST", format!("{tunnel}/response"), [400, 401, 401, 401, 401, 401, 401]),
        ("GET", tunnel.clone(), [200, 403, 200, 403, 401, 401, 401]),
        ("POST", tunnel.clone(), [403, 403, 200, 403, 401, 401, 401]),
        ("GET", "/v1/tunnels".to_owned(), [403, 403, 200, 403, 401, 401, 401]),
        ("GET", "/relay/v1/keys".to_owned(), [403, 403, 200, 403, 401, 401, 401]),
        ("POST", "/relay/v1/keys".to_owned(), [403, 403, 400, 403, 401, 401, 401]),
        // The daemon is there: 404 would mean that it is not.
        ("POST", format!("/v1/mcp/{C}"), [401, 401, 401, 400, 401, 401, 401]),
        ("GET", "/metrics".to_owned(), [200; 7]),
    ];
    for (method, path, statuses) in doors {
        for ((name, key), status) in keys.iter().zip(statuses) {
            let mut request = Request::new(method, &path).with("Content-Type", "application/json");
            if !key.is_empty() {
                request = request.bearer(key);
            }
            let request = if method == "POST" { request.body("{}") } else { request };
            assert_eq!(relay.send(&request).status, status, "{method} {path} as {name}");
        }
    }
    let listed = relay.send(&Request::new("GET", "/relay/v1/keys").bearer(ADMIN)).text();
    assert!(!listed.contains("0123456789abcdef") && !listed.contains(&expired), "{listed}");
}

#[test] // relay-44, relay-40
fn a_connector_key_is_taken_from_two_places_and_goes_no_further() {
    let relay = Relay::start(&[]);
    assert_eq!(relay.send(&poll(C, KEY_C, "timeout_ms=1")).status, 204);
    let daemon = Daemon { relay: &relay, tunnel: C, key: KEY_C };
    let request = mcp(C, &rpc("1", "m"));
    for (request, forwarded) in [
        (request.clone().with("X-Tunnel-Connector-Key", CONNECTOR), Value::Null),
        (request.clone().bearer(CONNECTOR), Value::Null),
        (
            request.clone().with("X-Tunnel-Connector-Key", CONNECTOR).bearer("of-the-server"),
            serde_json::json!(["Bearer of-the-server"]),
        ),
    ] {
        let client = relay.begin(&request);
        let command = daemon.take_one();
        assert_eq!(command["headers"]["Authorization"], forwarded);
        assert!(!command.to_string().contains(CONNECTOR));
        drop(client);
    }
    let query = Request { path: format!("/v1/mcp/{C}?key={CONNECTOR}"), ..request.clone() };
    for request in [request.clone().with("X-Tunnel-Connector-Key", "wrong"), query, request] {
        let answer = relay.send(&request);
        assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, Some("Bearer")));
    }
}

#[test] // relay-45
fn a_credential_is_one_header_of_one_form() {
    let relay = Relay::start(&[]);
    let bare = poll(A, KEY_A, "timeout_ms=1").without("Authorization");
    for value in [
        format!("Bearer {KEY_A} extra"),
        format!("bearer {KEY_A}"),
        format!("Bearer   {KEY_A}"),
        KEY_A.to_owned(),
        format!("Basic {KEY_A}"),
    ] {
        let request = bare.clone().with("Authorization", &value);
        assert_eq!(relay.send(&request).status, 401, "{value}");
    }
    let value = format!("Bearer {KEY_A}");
    let twice = bare.with("Authorization", &value).with("Authorization", &value);
    assert_eq!(relay.send(&twice).status, 401);
}

#[test] // relay-46, mcp-43
fn foreign_origins_and_hosts_are_refused_before_anything_happens() {
    let relay = Relay::start(&["--allowed-origin", "https://app.example"]);
    let daemon = Daemon::of_a(&relay);
    let request = mcp(A, &rpc("1", "m"));
    for request in [
        request.clone().with("Origin", "https://evil.example"),
        request.clone().with("Origin", "null"),
        request.clone().with("Host", "evil.example"),
        request.clone().with("Host", "evil.example:80"),
        Request { method: "DELETE".into(), ..request.clone() }.with("Origin", "null"),
        Request { method: "OPTIONS".into(), ..request.clone() }.with("Origin", "null"),
        Request::new("GET", &format!("/v1/mcp/{A}")).with("Origin", "https://evil.example"),
        Request::new("GET", "/metrics").with("Host", "evil.example"),
    ] {
        assert_eq!(relay.send(&request).status, 403, "{:?}", request.headers);
    }
    assert_eq!(relay.metric("relay_accepted_total"), 0);
    let preflight = Request { method: "OPTIONS".into(), body: None, ..request.clone() };
    let preflight = preflight
        .with("Origin", "https://app.example")
        .with("Access-Control-Request-Headers", "content-type,mcp-session-id");
    let answer = relay.send(&preflight);
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("https://app.example"));
    let headers = answer.header("Access-Control-Allow-Headers");
    assert_eq!(headers, Some("content-type,mcp-session-id"));
    let client = relay.send_later(request.with("Origin", "https://app.example"));
    daemon.answer_id(&daemon.take_one());
    assert_eq!(client.join().unwrap().status, 200);
}

#[test] // relay-47
fn a_start_that_would_open_the_relay_fails_with_one_line() {
    let tunnel = ["serve", "--tunnel-id", A, "--runtime-key", "env:KEY_A"];
    let proxy = ["--behind-tls-proxy", "--public-url", "https://relay.example"];
    for (more, said) in [
        (vec!["--listen", "0.0.0.0:0"], "--behind-tls-proxy"),
        ([&["--listen", "0.0.0.0:0"], &proxy[..]].concat(), "--connector-key"),
    ] {
        let args = [&tunnel[..], &more].concat();
        let output = command(&args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.starts_with("mcp-tunnel-relay: ") && error.contains(said), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test] // relay-48, mcp-62
fn no_key_and_no_payload_is_in_the_log_the_metrics_or_an_error() {
    let relay = Relay::start(&["--log-level", "debug", "--response-timeout", "200ms"]);
    let daemon = Daemon::of_a(&relay);
    let mut seen = String::new();
    let planted = r#"{"jsonrpc":"2.0","id":1,"method":"planted-method","params":"planted-params"}"#;
    let client = relay.send_later(mcp(A, planted).with("Mcp-Session-Id", "planted-session"));
    let command = daemon.take_one();
    let body = r#"{"planted-response":1}"#.to_owned();
    seen += &relay.send(&daemon.response(&command, body)).text();
    seen += &client.join().unwrap().text();
    seen += &relay.send(&poll(A, "planted-key", "")).text();
    seen += &relay.send(&mcp(A, "planted-nonsense")).text();
    seen += &relay.send(&Request::new("GET", "/planted-path")).text();
    seen += &relay.send(&Request::new("GET", "/metrics")).text();
    relay.signal("-TERM");
    seen += &relay.wait().1;
    let token = command["shard_token"].as_str().unwrap();
    for secret in ["planted", KEY_A, ADMIN, CONNECTOR, token] {
        assert!(!seen.contains(secret), "{secret} is in {seen}");
    }
}

#[test] // relay-49, mcp-59
fn an_unknown_tunnel_and_a_forbidden_one_look_the_same() {
    let relay = Relay::start(&[]);
    let of = |request: Request| {
        let mut answer = relay.send(&request);
        answer.headers.retain(|(name, _)| name != "X-Request-Id" && name != "Date");
        format!("{answer:?}")
    };
    for request in [
        poll("TUNNEL", KEY_A, "timeout_ms=1"),
        Request::new("GET", "/v1/tunnels/TUNNEL").bearer(KEY_A),
        Request::new("GET", "/v1/tunnels/TUNNEL/cloudflare/runtime").bearer(KEY_A),
        Request::new("POST", "/v1/tunnels/TUNNEL/response").bearer(KEY_A).body("{}"),
        mcp("TUNNEL", &rpc("1", "m")),
        mcp("TUNNEL", &rpc("1", "m")).bearer("wrong"),
        Request::new("DELETE", "/v1/mcp/TUNNEL").with("Mcp-Session-Id", "s"),
    ] {
        let on = |tunnel: &str| {
            of(Request { path: request.path.replace("TUNNEL", tunnel), ..request.clone() })
        };
        assert_eq!(on(C), on(NOWHERE), "{}", request.path);
    }
}

#[test] // relay-50
fn a_request_that_two_readers_could_delimit_differently_is_refused() {
    let relay = Relay::start(&[]);
    let start = format!("POST /v1/mcp/{A} HTTP/1.1\r\nHost: {}\r\n", relay.address);
    for fields in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2, 2\r\n",
    ] {
        let mut conn = relay.connect();
        conn.write_raw(format!("{start}{fields}\r\n{{}}").as_bytes());
        let answer = conn.read();
        assert_eq!((answer.status, answer.header("Connection")), (400, Some("close")), "{fields}");
        assert!(conn.is_closed());
    }
    assert_eq!(relay.metric("relay_accepted_total"), 0);
}

#[test] // relay-51
fn a_client_that_does_not_finish_its_request_holds_no_place_in_the_queue() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let whole = mcp(A, &rpc("1", "m")).bytes(&relay.address);
    let mut halves: Vec<Conn> = (0..120).map(|_| relay.connect()).collect();
    for conn in &mut halves {
        conn.write_raw(&whole[..whole.len() - 1]);
    }
    let client = relay.send_later(mcp(A, &rpc("2", "m")));
    let command = daemon.take_one();
    assert_eq!(command["jsonrpc"]["id"], 2);
    daemon.answer_id(&command);
    assert_eq!(client.join().unwrap().status, 200);
}

#[test] // relay-52, mcp-12
fn what_is_too_large_gets_413_and_its_client_502() {
    const REQUEST: usize = 32 * 1024 * 1024 + 1;
    // What the daemon takes from a server, and the envelope.
    const RESPONSE: usize = 65 * 1024 * 1024 + 1;
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let announced = |path: &str, length: usize, more: &str| {
        let mut conn = relay.connect();
        let host = &relay.address;
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
        conn.write_raw(format!("{head}{more}Content-Length: {length}\r\n\r\n").as_bytes());
        conn.read()
    };
    let answer = announced(&format!("/v1/mcp/{A}"), REQUEST, "");
    assert_eq!((answer.status, answer.code().as_str()), (413, "request_body_too_large"));

    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    let token = command["shard_token"].as_str().unwrap();
    let more = format!("Authorization: Bearer {KEY_A}\r\nX-Tunnel-Shard-Token: {token}\r\n");
    let answer = announced(&format!("/v1/tunnels/{A}/response"), RESPONSE, &more);
    assert_eq!((answer.status, answer.code().as_str()), (413, "request_body_too_large"));
    let seen = client.join().unwrap();
    assert_eq!(
        (seen.status, seen.tunnel_error()["code"].as_str()),
        (502, Some("response_body_too_large"))
    );
}

#[test] // relay-52
fn the_memory_for_requests_is_bounded_for_the_whole_relay() {
    let relay = Relay::start(&[]);
    // Each of these announces the largest body and sends none of it; the budget holds 16.
    let head = format!(
        "POST /v1/mcp/{A} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        relay.address,
        32 * 1024 * 1024
    );
    let mut conns: Vec<Conn> = (0..40)
        .map(|_| {
            let mut conn = relay.connect();
            conn.write_raw(head.as_bytes());
            conn
        })
        .collect();
    let refusals = r#"relay_mcp_requests_total{kind="request",status="503",code="tunnel_transport_unavailable"}"#;
    relay.wait_metric(refusals, 40 - 16);
    let mut first = [0; 12];
    let refused = conns.iter_mut().any(|conn| {
        conn.stream.get_ref().set_nonblocking(true).unwrap();
        conn.stream.read(&mut first).is_ok_and(|count| &first[..count] == b"HTTP/1.1 503")
    });
    assert!(refused);
}

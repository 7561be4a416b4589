//! relay-1 to relay-10: what daemons and operators may rely on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

#[test] // relay-1
fn a_poll_without_work_ends_with_204_and_not_before_its_time() {
    let relay = Relay::start(&[]);
    let begun = Instant::now();
    let answer = relay.send(&poll(A, KEY_A, "timeout_ms=80"));
    assert!(begun.elapsed() >= Duration::from_millis(80));
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert!(answer.header("Content-Length").is_none());
}

#[test] // relay-2
fn a_poll_asks_for_1_to_25_commands_and_never_gets_more() {
    let relay = Relay::start(&[]);
    for query in ["limit=0", "limit=26", "limit=x", "timeout_ms=0"] {
        assert_eq!(relay.send(&poll(A, KEY_A, query)).status, 400, "{query}");
    }
    let daemon = Daemon::of_a(&relay);
    let clients: Vec<_> = (0..5).map(|i| relay.begin(&mcp(A, &rpc(&i.to_string(), "m")))).collect();
    relay.wait_metric("relay_queued_commands", 5);
    assert_eq!(daemon.take("limit=2").len(), 2);
    assert_eq!(daemon.take("").len(), 1);
    assert_eq!(daemon.take("limit=25").len(), 2);
    drop(clients);
}

#[test] // relay-3, relay-4
fn a_command_has_all_that_the_contract_names() {
    let relay = Relay::start(&["--response-timeout", "45s"]);
    let daemon = Daemon::of_a(&relay);
    let end = Request::new("DELETE", &format!("/v1/mcp/{A}/Files")).with("Mcp-Session-Id", "s");
    let clients = [relay.begin(&mcp(A, &rpc("1", "m"))), relay.begin(&end)];
    relay.wait_metric("relay_queued_commands", 2);
    let commands = daemon.take("limit=25");
    assert_eq!(commands.len(), 2);
    for command in &commands {
        let text = |name: &str| command[name].as_str().unwrap_or_default().to_owned();
        assert!(text("request_id").starts_with("req_") && !text("shard_token").is_empty());
        let created = mcp_tunnel::wire::time::parse_rfc3339(&text("created_at"));
        assert!(created.is_some() && text("created_at").ends_with('Z'));
        assert_eq!(text("response_timeout"), "45000ms");
        assert!(command["headers"].is_object());
    }
    let by_type = |name: &str| {
        let mut found = commands.iter().filter(|c| c["command_type"] == name);
        found.next().unwrap().as_object().unwrap().clone()
    };
    let call = by_type("jsonrpc");
    assert_eq!(call["channel"], "main");
    assert_eq!(call["jsonrpc"], json!({"jsonrpc": "2.0", "id": 1, "method": "m"}));
    let end = by_type("session_termination");
    assert_eq!((&end["channel"], end.contains_key("jsonrpc")), (&json!("files"), false));
    assert_eq!(end["headers"]["Mcp-Session-Id"], json!(["s"]));
    drop(clients);
}

#[test] // relay-4
fn the_metadata_of_a_tunnel_is_its_id_name_and_description() {
    let relay = Relay::start(&[]);
    let get = |tunnel: &str, key: &str| {
        relay.send(&Request::new("GET", &format!("/v1/tunnels/{tunnel}")).bearer(key))
    };
    let expected = json!({"id": C, "name": "guarded", "description": ""});
    assert_eq!(get(C, KEY_C).json(), expected);
    let foreign = get(C, KEY_A);
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "tunnel_use_forbidden"));
    assert_eq!(get(C, "unknown").status, 401);
}

#[test] // relay-5
fn a_response_is_accepted_once() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    let first = daemon.answer_id(&command);
    assert_eq!((first.status, first.json()), (200, json!({"status": "ok"})));
    let second = daemon.answer_id(&command);
    assert_eq!((second.status, second.code().as_str()), (404, "pending_request_not_found"));
    assert_eq!(client.join().unwrap().json()["result"]["was"], 1);
}

#[test] // relay-6
fn without_the_genuine_token_nothing_is_settled() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    let other = relay.begin(&mcp(A, &rpc("2", "m")));
    let (first, second) = (daemon.take_one(), daemon.take_one());
    let (command, foreign) =
        if first["jsonrpc"]["id"] == 1 { (first, second) } else { (second, first) };
    let token = command["shard_token"].as_str().unwrap();
    let changed = token.replacen(&token[20..21], if &token[20..21] == "A" { "B" } else { "A" }, 1);
    let body =
        format!(r#"{{"request_id":{},"resp_code":200,"resp_json":{{}}}}"#, command["request_id"]);
    let genuine = daemon.response(&command, body.clone());
    for request in [
        genuine.clone().without("X-Tunnel-Shard-Token"),
        genuine.clone().but("X-Tunnel-Shard-Token", &changed),
        genuine.clone().but("X-Tunnel-Shard-Token", "nonsense"),
        genuine.clone().with("X-Tunnel-Shard-Token", token),
    ] {
        assert_eq!(relay.send(&request).status, 400);
    }
    // A genuine token of another request: that one is told, this one is not.
    let mixed = daemon.response(&foreign, body);
    assert_eq!(relay.send(&mixed).status, 400);
    let mut other = other;
    assert_eq!(other.read().status, 502);
    assert_eq!(daemon.answer_id(&command).status, 200);
    assert_eq!(client.join().unwrap().status, 200);
}

#[test] // relay-6
fn an_undecodable_response_under_the_genuine_token_ends_the_wait() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    for body in [
        "",
        "{",
        "[]",
        r#"{"resp_code":200}"#,
        r#"{"request_id":"req_other","resp_code":200}"#,
        r#"{"request_id":ID}"#,
        r#"{"request_id":ID,"resp_code":"200"}"#,
        r#"{"request_id":ID,"resp_code":2e2}"#,
        r#"{"request_id":ID,"resp_code":200,"resp_json":[]}"#,
        r#"{"request_id":ID,"resp_code":200,"resp_headers":{"a":"b"}}"#,
        r#"{"request_id":ID,"resp_code":200,"resp_type":"jsonrpc_notify"}"#,
    ] {
        let client = relay.send_later(mcp(A, &rpc("1", "m")));
        let command = daemon.take_one();
        let body = body.replace("ID", &command["request_id"].to_string());
        let answer = relay.send(&daemon.response(&command, body.clone()));
        assert_eq!(answer.status, 400, "{body}");
        let seen = client.join().unwrap();
        assert_eq!((seen.status, seen.json()["id"].as_i64()), (502, Some(1)), "{body}");
        assert_eq!(seen.tunnel_error()["delivered"], "unknown");
    }
}

#[test] // relay.md 1.4
fn a_response_of_unknown_type_or_wrong_channel_settles_nothing() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    let wrong = daemon.post(&command, r#","resp_code":200,"resp_type":"hologram""#);
    assert_eq!(wrong.status, 400);
    for channel in ["other", "not a channel"] {
        let answer = daemon.post(&command, &format!(r#","resp_code":200,"channel":"{channel}""#));
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_channel_format"));
    }
    let members = r#","resp_code":200,"channel":"main","resp_type":"jsonrpc_response","x":1,"resp_json":{"a":1}"#;
    assert_eq!(daemon.post(&command, members).status, 200);
    assert_eq!(client.join().unwrap().text(), r#"{"a":1}"#);
}

#[test] // relay-7
fn a_response_on_the_path_of_another_tunnel_is_refused() {
    let relay = Relay::start(&[]);
    let (of_a, of_b) = (Daemon::of_a(&relay), Daemon::of_b(&relay));
    let client = relay.send_later(mcp(B, &rpc("1", "m")));
    let command = of_b.take_one();
    let strayed = of_a.answer_id(&command);
    assert_eq!((strayed.status, strayed.code().as_str()), (401, "tunnel_request_mismatch"));
    assert_eq!(of_b.answer_id(&command).status, 200);
    assert_eq!(client.join().unwrap().status, 200);
}

#[test] // relay-8
fn a_malformed_tunnel_id_is_named_on_every_plane() {
    let relay = Relay::start(&[]);
    let bad = "tunnel_SHOUTING";
    for request in [
        mcp(bad, &rpc("1", "m")),
        poll(bad, KEY_A, ""),
        Request::new("POST", &format!("/v1/tunnels/{bad}/response")).bearer(KEY_A).body("{}"),
        Request::new("GET", &format!("/v1/tunnels/{bad}")).bearer(KEY_A),
        Request::new("GET", &format!("/v1/tunnels/{bad}")).bearer(ADMIN),
        Request::new("DELETE", &format!("/v1/tunnels/{bad}")).bearer(ADMIN),
    ] {
        let answer = relay.send(&request);
        let path = &request.path;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_tunnel_id_format"),
            "{path}"
        );
    }
    let bad_channel = Request { path: format!("/v1/mcp/{A}/a%20b"), ..mcp(A, &rpc("1", "m")) };
    assert_eq!(relay.send(&bad_channel).code(), "invalid_channel_format");
}

#[test] // relay-9
fn tunnels_are_created_listed_read_changed_and_deleted() {
    let relay = Relay::start(&[]);
    let admin = |method: &str, path: &str, body: &str| {
        relay.send(&Request::new(method, path).bearer(ADMIN).body(body))
    };
    let body =
        r#"{"name":"n","description":"d","workspace_ids":["w1","w2"],"organization_ids":["o"]}"#;
    let created = admin("POST", "/v1/tunnels", body);
    assert_eq!(created.status, 200, "{}", created.text());
    let tunnel = created.json();
    let id = tunnel["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/tunnels/{id}");
    assert_eq!(admin("GET", &path, "").json(), tunnel);
    let listed =
        |query: &str| admin("GET", &format!("/v1/tunnels{query}"), "").json()["tunnels"].clone();
    assert_eq!(listed("?workspace_id=w2"), json!([tunnel]));
    assert_eq!(listed("?workspace_id=w3"), json!([]));
    assert_eq!(listed("").as_array().unwrap().len(), 4);

    let changed = admin("POST", &path, r#"{"name":"n2","workspace_ids":[]}"#).json();
    assert_eq!((&changed["name"], &changed["description"]), (&json!("n2"), &json!("d")));
    assert_eq!(
        (&changed["workspace_ids"], &changed["organization_ids"]),
        (&json!([]), &json!(["o"]))
    );

    // The tunnel works: a key for it, a daemon, a call.
    let key =
        admin("POST", "/relay/v1/keys", &format!(r#"{{"role":"runtime","tunnel_ids":["{id}"]}}"#));
    let key = key.json()["key"].as_str().unwrap().to_owned();
    let held = relay.send_later(poll(&id, &key, "timeout_ms=20000"));
    relay.wait_metric("relay_parked_polls", 1);
    let client = relay.send_later(mcp(&id, &rpc("1", "m")));
    assert_eq!(held.join().unwrap().json()["commands"][0]["jsonrpc"]["id"], 1);

    // Its end is the end of whatever waits.
    let held = relay.send_later(poll(&id, &key, "timeout_ms=20000"));
    relay.wait_metric("relay_parked_polls", 1);
    assert_eq!(admin("DELETE", &path, "").json()["id"], Value::from(id.clone()));
    assert_eq!(client.join().unwrap().status, 404);
    assert_eq!(held.join().unwrap().status, 401);
    assert_eq!(admin("GET", &path, "").status, 404);
    assert_eq!(relay.send(&poll(&id, &key, "")).status, 401);

    assert_eq!(admin("POST", "/v1/tunnels", "{").status, 400);
    assert_eq!(admin("POST", "/v1/tunnels", r#"{"name":" ","description":"d"}"#).status, 400);
    let many: Vec<String> = (0..51).map(|i| format!("\"{i}\"")).collect();
    let body = format!(r#"{{"name":"n","description":"d","tenant_ids":[{}]}}"#, many.join(","));
    assert_eq!(admin("POST", "/v1/tunnels", &body).code(), "tunnel_principal_limit_exceeded");
}

#[test] // relay-10
fn paths_that_are_not_ours_are_404_and_wrong_methods_405() {
    let relay = Relay::start(&[]);
    for path in [
        format!("/v1/tunnel/{A}/poll"),
        format!("/v1/tunnel/{A}"),
        "/".to_owned(),
        "/v1".to_owned(),
        "/v1/mcp".to_owned(),
        format!("/v1/tunnels/{A}/nothing"),
        format!("/.well-known/oauth-protected-resource/v1/mcp/{A}"),
    ] {
        assert_eq!(relay.send(&Request::new("GET", &path).bearer(KEY_A)).status, 404, "{path}");
    }
    let path = format!("/v1/tunnels/{A}/cloudflare/runtime");
    let runtime = relay.send(&Request::new("GET", &path).bearer(KEY_A));
    assert_eq!((runtime.status, runtime.header("Cache-Control")), (404, Some("no-store")));
    let wrong = relay.send(&Request::new("POST", &format!("/v1/tunnels/{A}/poll")).bearer(KEY_A));
    assert_eq!((wrong.status, wrong.header("Allow")), (405, Some("GET")));
    let id = wrong.header("X-Request-Id").unwrap();
    assert!(id.starts_with("rly_") && id.len() == 36, "{id}");
}

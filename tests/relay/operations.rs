//! relay-55 to relay-57, the first run, and the ends of the process.

use std::io::{BufRead, BufReader};

use crate::support::*;

#[test] // relay.md 6
fn health_and_readiness_are_open_to_probes() {
    let relay = Relay::start(&[]);
    for path in ["/healthz", "/readyz"] {
        let probe = Request::new("GET", path).with("Host", "load-balancer.example");
        assert_eq!(relay.send(&probe).status, 200, "{path}");
    }
}

#[test] // relay-55
fn a_drain_ends_polls_and_lets_calls_finish() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let running = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    let parked = relay.send_later(poll(A, KEY_A, "timeout_ms=20000&channel=quiet"));
    relay.wait_metric("relay_parked_polls", 1);
    let queued = relay.send_later(mcp(A, &rpc("2", "m")));
    relay.wait_metric("relay_queued_commands", 1);
    // The listener ends with the drain, so what asks meanwhile is connected before.
    let mut asking = relay.connect();
    let mut posting = relay.connect();
    asking.write(&relay.address, &Request::new("GET", "/healthz"));
    assert_eq!(asking.read().status, 200);

    relay.signal("-TERM");
    assert_eq!(parked.join().unwrap().status, 204);
    let refused = queued.join().unwrap();
    assert_eq!((refused.status, refused.tunnel_error()["delivered"].as_str()), (503, Some("no")));
    asking.write(&relay.address, &Request::new("GET", "/readyz"));
    assert_eq!(asking.read().status, 503);
    asking.write(&relay.address, &mcp(A, &rpc("3", "m")));
    let late = asking.read();
    assert_eq!((late.status, late.header("Retry-After")), (503, Some("2")));

    let id = &command["request_id"];
    let body = format!(r#"{{"request_id":{id},"resp_code":200,"resp_json":{{"done":1}}}}"#);
    posting.write(&relay.address, &daemon.response(&command, body));
    assert_eq!(posting.read().status, 200);
    assert_eq!(running.join().unwrap().json()["done"], 1);
    let (status, log) = relay.wait();
    assert!(status.success(), "{status} {log}");
}

#[test] // relay-55
fn a_drain_has_an_end_though_calls_have_none() {
    let relay = Relay::start(&["--drain-timeout", "100ms"]);
    let daemon = Daemon::of_a(&relay);
    let running = relay.send_later(mcp(A, &rpc("1", "m")));
    daemon.take_one();
    relay.signal("-INT");
    let answer = running.join().unwrap();
    assert_eq!(
        (answer.status, answer.tunnel_error()["delivered"].as_str()),
        (503, Some("unknown"))
    );
    assert!(relay.wait().0.success());
}

#[test] // relay-55
fn a_second_signal_ends_at_once() {
    let relay = Relay::start(&["--drain-timeout", "10m", "--response-timeout", "10m"]);
    let daemon = Daemon::of_a(&relay);
    let mut running = relay.begin(&mcp(A, &rpc("1", "m")));
    daemon.take_one();
    let mut asking = relay.connect();
    relay.signal("-TERM");
    wait_until("the drain", || {
        let mut probe = relay.connect();
        probe.write(&relay.address, &Request::new("GET", "/readyz"));
        probe.read().status == 503
    });
    relay.signal("-TERM");
    let (status, log) = relay.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("second signal"), "{log}");
    assert!(running.is_closed() && asking.is_closed());
}

#[test] // relay-56
fn revoking_a_key_ends_its_parked_polls() {
    let relay = Relay::start(&[]);
    let body = format!(r#"{{"role":"runtime","tunnel_ids":["{A}"],"label":"l"}}"#);
    let made = relay.send(&Request::new("POST", "/relay/v1/keys").bearer(ADMIN).body(body)).json();
    let parked = relay.send_later(poll(A, made["key"].as_str().unwrap(), "timeout_ms=50000"));
    let other = relay.send_later(poll(A, KEY_A, "timeout_ms=300"));
    relay.wait_metric("relay_parked_polls", 2);
    let path = format!("/relay/v1/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(relay.send(&Request::new("DELETE", &path).bearer(ADMIN)).status, 200);
    assert_eq!(parked.join().unwrap().status, 401);
    assert_eq!(other.join().unwrap().status, 204);
}

#[test] // relay-57
fn every_accepted_call_is_counted_out_once() {
    let relay = Relay::start(&["--pickup-timeout", "300ms", "--response-timeout", "500ms"]);
    let daemon = Daemon::of_a(&relay);
    let call = |id: &str| relay.begin(&mcp(A, &rpc(id, "m")));
    let settled = call("1");
    daemon.answer_id(&daemon.take_one());
    let abandoned = call("2");
    daemon.take_one();
    drop(abandoned);
    relay.wait_metric("relay_abandoned_total", 1);
    let dropped = call("3");
    relay.wait_metric("relay_queued_commands", 1);
    drop(dropped);
    relay.wait_metric("relay_dropped_total", 1);
    let expired = call("4");
    daemon.take_one();
    let undelivered = call("5");
    relay.wait_metric("relay_undelivered_total", 1);
    relay.wait_metric("relay_expired_total", 1);
    daemon.poll_raw("timeout_ms=1");
    // A long stream, so that it still waits whenever the counts are read.
    let waiting = relay.begin(&mcp(A, &rpc("6", "subscriptions/listen")));
    daemon.take_one();
    let counts = [
        ("relay_accepted_total", 6),
        ("relay_settled_total", 1),
        ("relay_abandoned_total", 1),
        ("relay_dropped_total", 1),
        ("relay_expired_total", 1),
        ("relay_undelivered_total", 1),
        ("relay_queued_commands", 0),
        ("relay_handed_commands", 1),
    ];
    for (name, count) in counts {
        assert_eq!(relay.metric(name), count, "{name}");
    }
    drop((settled, expired, undelivered, waiting));
}

#[test]
fn the_first_run_needs_no_file_and_says_how_to_go_on() {
    let mut child = command(&["serve", "--dev", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| line.unwrap())
        .take_while(|line| !line.starts_with("http://"))
        .collect();
    let value = |name: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(&format!("export {name}=")));
        line.unwrap_or_else(|| panic!("{name} in {lines:?}")).to_owned()
    };
    let address = value("CONTROL_PLANE_BASE_URL").strip_prefix("http://").unwrap().to_owned();
    let path = format!("/v1/tunnels/{}", value("CONTROL_PLANE_TUNNEL_ID"));
    let request = Request::new("GET", &path).bearer(&value("CONTROL_PLANE_API_KEY"));
    let stream = std::net::TcpStream::connect(&address).unwrap();
    let mut conn = Conn { stream: BufReader::new(stream) };
    conn.write(&address, &request);
    assert_eq!(conn.read().json()["name"], "development");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_url_file_is_there_while_the_relay_listens() {
    let path = std::env::temp_dir().join(format!("relay-url-{}", std::process::id()));
    let relay = Relay::start(&["--url-file", path.to_str().unwrap()]);
    let url = std::fs::read_to_string(&path).unwrap();
    assert_eq!(url.trim(), format!("http://{}", relay.address));
    relay.signal("-TERM");
    assert!(relay.wait().0.success());
    assert!(!path.exists());
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let relay = Relay::start(&[]);
    let output = command(&["serve", "--dev", "--listen", &relay.address]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(
        error.starts_with(&format!("mcp-tunnel-relay: --listen {}: ", relay.address)),
        "{error}"
    );
}

#[test] // relay-39, relay.md 3.7
fn right_after_a_start_a_call_waits_for_its_daemon() {
    let relay = Relay::start(&["--warm-up", "10m"]);
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    relay.wait_metric("relay_queued_commands", 1);
    let daemon = Daemon { relay: &relay, tunnel: A, key: KEY_A };
    daemon.answer_id(&daemon.take_one());
    assert_eq!(client.join().unwrap().status, 200);
}

const AFFINITY: &str = r#"{"version":1,"channels":[{"name":"main","proc_affinity":true}]}"#;

#[test] // relay.md 2.5
fn daemons_that_each_hold_their_server_are_counted_and_warned_of() {
    let relay = Relay::start(&["--client-last-seen", "10m"]);
    let polls = |key: &str, tunnel: &str, instance: &str, info: &str, more: &str| {
        let request = poll(tunnel, key, &format!("timeout_ms=1{more}"))
            .with("X-Tunnel-Client-Instance-Id", instance)
            .with("X-Tunnel-MCP-Server-Info", info);
        let answer = relay.send(&request);
        assert_eq!(answer.status, 204);
        answer.header("X-Tunnel-Daemons").unwrap().to_owned()
    };
    let document = || {
        let asked = relay.send(&Request::new("GET", &format!("/v1/tunnels/{A}")).bearer(KEY_A));
        asked.header("X-Tunnel-Daemons").unwrap().to_owned()
    };
    assert_eq!(document(), "0");
    assert_eq!(polls(KEY_A, A, "one", AFFINITY, ""), "1");
    assert_eq!(polls(KEY_A, A, "one", AFFINITY, ""), "1");
    assert_eq!(relay.metric("relay_affinity_conflicts"), 0);
    // Daemons in front of one server may be many.
    let shared = r#"{"version":1,"channels":[{"name":"main"}]}"#;
    assert_eq!(polls(KEY_B, B, "one", shared, ""), "1");
    assert_eq!(polls(KEY_B, B, "two", shared, ""), "2");
    assert_eq!(relay.metric("relay_affinity_conflicts"), 0);
    assert_eq!(polls(KEY_A, A, "two", AFFINITY, ""), "2");
    assert_eq!(polls(KEY_A, A, "one", AFFINITY, ""), "2");
    assert_eq!(document(), "2");
    assert_eq!(relay.metric("relay_affinity_conflicts"), 1);
    // One that says goodbye is gone at once.
    let goodbye = poll(A, KEY_A, "timeout_ms=1")
        .with("X-Tunnel-Client-Instance-Id", "two")
        .with("X-Tunnel-Client-Closing", "1");
    assert_eq!(relay.send(&goodbye).status, 204);
    assert_eq!(document(), "1");
    assert_eq!(relay.metric("relay_affinity_conflicts"), 0);
    relay.signal("-TERM");
    let (status, log) = relay.wait();
    assert!(status.success());
    let said: Vec<_> = log.lines().filter(|line| line.contains("several daemons")).collect();
    assert!(matches!(said[..], [line] if line.contains(A)), "{log}");
}

#[test] // relay.md 2.5
fn a_daemon_that_hung_up_in_its_poll_is_not_counted() {
    let relay = Relay::start(&["--client-last-seen", "10m"]);
    let waits =
        relay.begin(&poll(A, KEY_A, "timeout_ms=20000").with("X-Tunnel-Client-Instance-Id", "one"));
    relay.wait_metric("relay_parked_polls", 1);
    drop(waits);
    let second = poll(A, KEY_A, "timeout_ms=1").with("X-Tunnel-Client-Instance-Id", "two");
    wait_until("the first one to be forgotten", || {
        relay.send(&second).header("X-Tunnel-Daemons") == Some("1")
    });
}

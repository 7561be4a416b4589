//! relay-11 to relay-25: order, hand-over, time limits, cancellation and bounds.

use std::thread;

use serde_json::Value;

use crate::support::*;

fn ids(commands: &[Value]) -> Vec<i64> {
    commands.iter().map(|c| c["jsonrpc"]["id"].as_i64().unwrap()).collect()
}

/// Queues calls one after the other, in this order.
fn queue(relay: &Relay, requests: &[Request]) -> Vec<Conn> {
    let before = relay.metric("relay_accepted_total");
    let queued = requests.iter().zip(1..).map(|(request, count)| {
        let conn = relay.begin(request);
        relay.wait_metric("relay_accepted_total", before + count);
        conn
    });
    queued.collect()
}

fn on_channel(channel: &str, id: u32) -> Request {
    Request { path: format!("/v1/mcp/{A}/{channel}"), ..mcp(A, &rpc(&id.to_string(), "m")) }
}

#[test] // relay-11
fn commands_are_delivered_in_the_order_of_arrival() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let requests: Vec<Request> = (0..60).map(|id| mcp(A, &rpc(&id.to_string(), "m"))).collect();
    let clients = queue(&relay, &requests);
    let taken: Vec<i64> = (0..60).flat_map(|_| ids(&daemon.take("limit=1"))).collect();
    assert_eq!(taken, (0..60).collect::<Vec<i64>>());
    drop(clients);
}

#[test] // relay-12
fn a_filtered_poll_drains_its_lanes_and_an_unfiltered_one_merges_all() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let requests = [
        on_channel("a", 1),
        on_channel("b", 2),
        mcp(A, &rpc("3", "m")),
        on_channel("A", 4),
        on_channel("b", 5),
    ];
    let clients = queue(&relay, &requests);
    assert_eq!(ids(&daemon.take("limit=25&channel=a")), [1, 4]);
    assert_eq!(daemon.poll_raw("timeout_ms=20&channel=a").status, 204);
    assert_eq!(ids(&daemon.take("limit=25")), [2, 3, 5]);
    drop(clients);
}

#[test] // relay-13, relay-14
fn parked_polls_get_one_command_each_in_the_order_of_parking() {
    let relay = Relay::start(&[]);
    let polls: Vec<_> = (1..=3)
        .map(|count| {
            let held = relay.send_later(poll(A, KEY_A, "timeout_ms=20000&limit=25"));
            relay.wait_metric("relay_parked_polls", count);
            held
        })
        .collect();
    for (id, held) in (1..=3).zip(polls) {
        let client = queue(&relay, &[mcp(A, &rpc(&id.to_string(), "m"))]);
        let commands = held.join().unwrap().json()["commands"].as_array().unwrap().clone();
        assert_eq!(ids(&commands), [id]);
        drop(client);
    }
}

#[test] // relay-15
fn a_poller_that_has_left_swallows_nothing() {
    let relay = Relay::start(&[]);
    let gone = relay.begin(&poll(A, KEY_A, "timeout_ms=20000"));
    relay.wait_metric("relay_parked_polls", 1);
    drop(gone);
    let daemon = Daemon { relay: &relay, tunnel: A, key: KEY_A };
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    assert_eq!(daemon.answer_id(&command).status, 200);
    assert_eq!(client.join().unwrap().status, 200);
    assert!(daemon.finds_nothing());
    assert_eq!(relay.metric("relay_settled_total"), 1);
}

#[test] // relay-16
fn a_command_that_may_have_been_received_is_never_delivered_again() {
    let relay = Relay::start(&["--response-timeout", "300ms", "--deliver-grace", "0s"]);
    let mut poller = relay.begin(&poll(A, KEY_A, "timeout_ms=20000"));
    relay.wait_metric("relay_parked_polls", 1);
    let client = relay.send_later(mcp(A, &rpc("7", "m")));
    assert_eq!(poller.line(), "HTTP/1.1 200 OK");
    drop(poller);
    let daemon = Daemon { relay: &relay, tunnel: A, key: KEY_A };
    assert!(daemon.finds_nothing());
    let answer = client.join().unwrap();
    assert_eq!((answer.status, answer.json()["id"].as_i64()), (504, Some(7)));
    assert_eq!(answer.tunnel_error()["delivered"], "unknown");
    assert!(daemon.finds_nothing());
}

#[test] // relay-18
fn a_command_that_nobody_picks_up_fails_and_is_never_delivered() {
    let relay = Relay::start(&["--pickup-timeout", "200ms"]);
    let daemon = Daemon::of_a(&relay);
    let answer = relay.send(&mcp(A, &rpc("\"x\"", "m")));
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    assert_eq!(answer.json()["id"], "x");
    let error = answer.tunnel_error();
    assert_eq!((&error["delivered"], &error["retryable"]), (&"no".into(), &true.into()));
    assert_eq!(error["code"], "tunnel_client_not_connected");
    assert!(daemon.finds_nothing());
}

#[test] // relay-19
fn an_answer_after_the_deadline_comes_too_late() {
    let relay = Relay::start(&["--response-timeout", "100ms", "--deliver-grace", "100ms"]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    assert_eq!(client.join().unwrap().status, 504);
    assert_eq!(daemon.answer_id(&command).status, 404);
    assert_eq!(relay.metric("relay_expired_total"), 1);
}

#[test] // relay-20, mcp-47, mcp-48
fn a_client_that_leaves_takes_its_command_along() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let clients = queue(&relay, &[mcp(A, &rpc("1", "m")), mcp(A, &rpc("2", "m"))]);
    let mut clients = clients.into_iter();
    drop(clients.next());
    assert_eq!(ids(&daemon.take("limit=25")), [2]);
    assert_eq!(relay.metric("relay_dropped_total"), 1);

    let left = queue(&relay, &[mcp(A, &rpc("3", "m"))]);
    let command = daemon.take_one();
    drop(left);
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
    assert_eq!(daemon.notify(&command, progress).status, 404);
    assert_eq!(daemon.answer_id(&command).status, 404);
    assert_eq!(relay.metric("relay_abandoned_total"), 1);
}

#[test] // relay-20
fn a_client_that_leaves_is_noticed_without_any_daemon() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let queued = queue(&relay, &[mcp(A, &rpc("1", "m"))]);
    drop(queued);
    relay.wait_metric("relay_dropped_total", 1);
    let handed = queue(&relay, &[mcp(A, &rpc("2", "m"))]);
    daemon.take_one();
    drop(handed);
    relay.wait_metric("relay_abandoned_total", 1);
    relay.wait_metric("relay_waiting_clients", 0);
}

#[test] // relay-21, relay-22
fn a_full_queue_refuses_and_harms_no_other_tunnel() {
    let relay = Relay::start(&[]);
    let (_of_a, of_b) = (Daemon::of_a(&relay), Daemon::of_b(&relay));
    let waiting: Vec<Conn> = (0..100).map(|_| relay.begin(&mcp(A, &rpc("1", "m")))).collect();
    relay.wait_metric("relay_queued_commands", 100);
    let refused = relay.send(&mcp(A, &rpc("9", "m")));
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("1")));
    assert_eq!(refused.tunnel_error()["code"], "tunnel_queue_full");
    let client = relay.send_later(mcp(B, &rpc("1", "m")));
    let command = of_b.take_one();
    assert_eq!(of_b.answer_id(&command).status, 200);
    assert_eq!(client.join().unwrap().status, 200);
    drop(waiting);
}

#[test] // relay-23
fn answers_find_their_clients_in_any_order_and_with_equal_ids() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let clients: Vec<_> = (0..10)
        .map(|i| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"n":{i}}}}}"#);
            (i, relay.send_later(mcp(A, &body)))
        })
        .collect();
    relay.wait_metric("relay_queued_commands", 10);
    let mut commands = daemon.take("limit=25");
    commands.reverse();
    for command in &commands {
        let n = &command["jsonrpc"]["params"]["n"];
        let result = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{n}}}"#);
        assert_eq!(daemon.answer(command, &result).status, 200);
    }
    for (i, client) in clients {
        assert_eq!(client.join().unwrap().json()["result"], i);
    }
}

#[test] // relay-24
fn a_response_that_breaks_off_settles_nothing() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let client = relay.send_later(mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    let body =
        format!(r#"{{"request_id":{},"resp_code":200,"resp_json":{{}}}}"#, command["request_id"]);
    let whole = daemon.response(&command, body).bytes(&relay.address);
    let mut conn = relay.connect();
    conn.write_raw(&whole[..whole.len() - 1]);
    drop(conn);
    assert_eq!(daemon.answer_id(&command).status, 200);
    assert_eq!(client.join().unwrap().json()["result"]["was"], 1);
}

#[test] // relay-25
fn a_client_that_does_not_read_stops_notifications_and_still_gets_its_answer() {
    let relay = Relay::start(&[]);
    let daemon = Daemon::of_a(&relay);
    let mut client = relay.begin(&mcp(A, &rpc("1", "m")));
    let command = daemon.take_one();
    let text = "x".repeat(900 * 1024);
    let mut accepted = 0;
    let refused = loop {
        let note =
            format!(r#"{{"jsonrpc":"2.0","method":"n","params":{{"n":{accepted},"t":"{text}"}}}}"#);
        let answer = daemon.notify(&command, &note);
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 1000, "the buffer has no end");
    };
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("1")));
    let reader = thread::spawn(move || client.read());
    assert_eq!(daemon.answer_id(&command).status, 200);
    let events = reader.join().unwrap().text();
    assert_eq!(events.matches("event: message").count(), accepted + 1);
    let last = events.trim_end().rsplit("data: ").next().unwrap();
    assert_eq!(last, r#"{"jsonrpc":"2.0","id":1,"result":{"was":1}}"#);
}

//! How large a message may be on its whole way, from client through relay and daemon to the
//! built-in server and back, and what is said of one that is larger. And how large the programs
//! are.

use crate::support::{Relay, Tunnel, programs};
use serde_json::Value;

const MIB: usize = 1024 * 1024;

/// Status and message that the relay gives for a request.
fn ask(relay: &Relay, method: &str, params: &str) -> (u16, Value) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let mut answer = agent
        .post(relay.mcp_url())
        .header("Content-Type", "application/json")
        .header("Accept", "application/json")
        .send(&request)
        .unwrap();
    let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec().unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&body).unwrap())
}

fn call(relay: &Relay, tool: &str, arguments: &str) -> (u16, Value) {
    ask(relay, "tools/call", &format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#))
}

/// The beginning of a message that may be large.
fn head(message: &Value) -> String {
    message.to_string().chars().take(200).collect()
}

#[test] // forwarding-219, mcp-12
fn what_fits_passes_and_what_does_not_is_refused_by_name() {
    let relay = Relay::start();
    let program = programs::tunnel();
    let _tunnel = Tunnel::to(&relay.url).stdio(&format!("'{program}' mcp-stub")).start_ready();

    let initialize = r#"{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"0"}}"#;
    assert_eq!(ask(&relay, "initialize", initialize).0, 200);

    // Its answer holds the text twice.
    let text = "x".repeat(16 * MIB);
    let (status, answer) = call(&relay, "echo", &format!(r#"{{"text":"{text}"}}"#));
    assert_eq!(status, 200, "{}", head(&answer));
    let echoed = answer["result"]["structuredContent"]["echoed"].as_str();
    assert!(echoed == Some(text.as_str()), "{}", head(&answer));

    let (status, answer) = call(&relay, "big", &format!(r#"{{"bytes":{}}}"#, 63 * MIB));
    assert_eq!(status, 200, "{}", head(&answer));
    assert_eq!(answer["result"]["content"][0]["text"].as_str().unwrap().len(), 63 * MIB);

    let (status, answer) = call(&relay, "big", &format!(r#"{{"bytes":{}}}"#, 64 * MIB));
    let failure = &answer["error"]["data"]["tunnel_failure"];
    assert_eq!(
        (status, &failure["transport_error_kind"]),
        (502, &"response_body_too_large".into())
    );

    let text = "x".repeat(32 * MIB);
    let (status, answer) = call(&relay, "echo", &format!(r#"{{"text":"{text}"}}"#));
    assert_eq!((status, &answer["error"]["code"]), (413, &"request_body_too_large".into()));
}

#[test]
fn the_static_programs_are_small() {
    for (program, limit) in [
        (programs::tunnel(), 3_400_000),
        (programs::ctl(), 3_000_000),
        (programs::relay(), 3_000_000),
    ] {
        let bytes = std::fs::metadata(program).unwrap().len();
        // A debug build has ten times the code, and all its names.
        let limit = if programs::directory().is_some() { limit } else { 30 * limit };
        println!("{program}: {bytes} bytes, {limit} allowed");
        assert!(bytes <= limit, "{program}: {bytes} bytes, {limit} allowed");
    }
}

//! The admin calls as they are on the wire (wire-82 to wire-87); tests/cli/admin.rs makes them of a
//! relay.

use serde_json::{Value, json};

use crate::support::stack::binary;
use crate::support::{Answer, ControlPlane, Request, programs};

const KEY: &str = "admin key, no pattern";
const TUNNEL: &str =
    r#"{"id":"t-1","name":"n","description":"d","organization_ids":["o"],"new":1}"#;

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn admin(control_plane: &ControlPlane, args: &[&str]) -> Ran {
    let output = binary(programs::tunnel())
        .args(["admin", "tunnels"])
        .args(args)
        .env("CONTROL_PLANE_BASE_URL", format!("{}/ignored", control_plane.url()))
        .env("CONTROL_PLANE_URL_PATH", "/team")
        .env("CONTROL_PLANE_EXTRA_HEADERS", "X-Extra: 1")
        .env("CONTROL_PLANE_ORGANIZATION_ID", "org-1")
        .env("OPENAI_ADMIN_KEY", KEY)
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Makes a call that succeeds, and gives the request.
fn sent(args: &[&str]) -> Request {
    let control_plane = ControlPlane::start();
    control_plane.on_metadata(Answer::json(200, TUNNEL));
    let ran = admin(&control_plane, args);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
    let request = control_plane.next_other();
    assert_eq!(control_plane.others_waiting(), 0, "one request for {args:?}");
    request
}

#[test] // wire-82, wire-211
fn each_call_has_its_method_path_and_body_and_only_the_headers_of_an_admin() {
    let create = ["create", "--name= n ", "--description=d", "--organization-id=o1,o2"];
    for (args, method, target, body) in [
        (
            &create[..],
            "POST",
            "/team/v1/tunnels",
            json!({"name": " n ", "description": "d", "organization_ids": ["o1", "o2"]}),
        ),
        (&["get", "t-1"], "GET", "/team/v1/tunnels/t-1", Value::Null),
        (
            &["list", "--tenant-id", "a b&c=d"],
            "GET",
            "/team/v1/tunnels?tenant_id=a%20b%26c%3Dd",
            Value::Null,
        ),
        (&["update", "t-1", "--name= n "], "POST", "/team/v1/tunnels/t-1", json!({"name": "n"})),
        (
            &["update", "t-1", "--workspace-id="],
            "POST",
            "/team/v1/tunnels/t-1",
            json!({"workspace_ids": []}),
        ),
        (&["delete", "t-1", "--confirm"], "DELETE", "/team/v1/tunnels/t-1", Value::Null),
    ] {
        let request = sent(args);
        assert_eq!((request.method.as_str(), request.target.as_str()), (method, target));
        assert_eq!(request.header("Authorization"), Some(format!("Bearer {KEY}").as_str()));
        let mut names = [
            "accept",
            "authorization",
            "host",
            "user-agent",
            "x-tunnel-client-instance-id",
            "x-tunnel-client-name",
            "x-tunnel-client-version",
        ]
        .map(String::from)
        .to_vec();
        if body.is_null() {
            assert!(request.body.is_empty());
        } else {
            assert_eq!(request.json(), body);
            assert_eq!(request.header("Content-Type"), Some("application/json"));
            names.extend(["content-length".to_owned(), "content-type".to_owned()]);
            names.sort();
        }
        assert_eq!(request.header_names(), names);
    }
}

#[test] // wire-84
fn any_2xx_is_a_success_and_an_empty_body_an_empty_result() {
    let control_plane = ControlPlane::start();
    let run = |answer: Answer, args: &[&str]| {
        control_plane.on_metadata(answer.header("X-Request-Id", "req-1"));
        let ran = admin(&control_plane, args);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
        ran.stdout
    };
    let delete = ["delete", "t-1", "--confirm"];
    for answer in [Answer::status(204), Answer::status(200), Answer::status(202).body(" \n")] {
        run(answer, &delete);
    }
    let list = ["list", "--organization-id=o", "--json"];
    let listed: Value = serde_json::from_str(&run(Answer::status(200), &list)).unwrap();
    assert_eq!(listed, json!({"tunnels": [], "request_id": "req-1"}));
    let shown = run(Answer::json(201, TUNNEL), &["get", "t-1", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        shown,
        json!({"id": "t-1", "name": "n", "description": "d", "organization_ids": ["o"],
               "request_id": "req-1"})
    );
}

#[test] // wire-86
fn a_refusal_is_told_with_all_that_is_known_of_it_and_not_repeated() {
    let control_plane = ControlPlane::start();
    let error = r#"{"error":{"code":"rate_limit_exceeded","type":"t-1","message":"m-1"}}"#;
    let busy = Answer::json(429, error).header("Retry-After", "0").header("X-Request-Id", "req-1");
    control_plane.on_metadata(busy);
    let ran = admin(&control_plane, &["get", "t-1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    let said = "request GET /team/v1/tunnels/t-1 failed: ";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    for part in ["429", "rate_limit_exceeded: m-1 mitigation: ", " (x-request-id: req-1)\n"] {
        assert!(ran.stderr.contains(part), "{part} in: {}", ran.stderr);
    }
    let ran = admin(&control_plane, &["get", "t-1", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let mut error = document["error"].clone();
    assert!(error.as_object_mut().unwrap().remove("mitigation").unwrap().is_string());
    assert_eq!(
        error,
        json!({"message": "m-1", "method": "GET", "path": "/team/v1/tunnels/t-1",
               "status_code": 429, "request_id": "req-1", "code": "rate_limit_exceeded",
               "type": "t-1"})
    );
    (0..2).for_each(|_| drop(control_plane.next_other()));
    assert_eq!(control_plane.others_waiting(), 0);
}

#[test] // wire-86
fn a_control_plane_that_can_not_delete_is_told_as_such() {
    let control_plane = ControlPlane::start();
    control_plane.on_metadata(Answer::json(404, r#"{"error":{"message":"Invalid URL (DELETE)"}}"#));
    let ran = admin(&control_plane, &["delete", "t-1", "--confirm"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("no call for deleting"), "{}", ran.stderr);
}

#[test] // wire-87
fn a_tunnel_id_is_encoded_once_and_never_leads_elsewhere() {
    assert_eq!(sent(&["get", "a b\u{e9}"]).target, "/team/v1/tunnels/a%20b%C3%A9");
    let control_plane = ControlPlane::start();
    for id in ["", "..", ".", "a/b", "%2e%2E", "a%2fb"] {
        for call in [&["get", id][..], &["update", id, "--name=n"], &["delete", id, "--confirm"]] {
            let ran = admin(&control_plane, call);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{call:?}");
        }
    }
    assert_eq!(control_plane.others_waiting(), 0);
}

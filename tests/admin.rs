//! `admin tunnels` against the real relay.

mod support;

use serde_json::Value;
use support::control_plane::TUNNEL_ID;
use support::process::Program;
use support::stack::binary;
use support::{Scratch, eventually};

const KEY: &str = "admin-key-of-this-test-0123456789abcdef";

struct Relay {
    _program: Program,
    _scratch: Scratch,
    url: String,
}

fn relay() -> Relay {
    let scratch = Scratch::new();
    let file = scratch.path("url");
    let mut command = binary(env!("CARGO_BIN_EXE_mcp-tunnel-relay"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-key", "env:KEY", "--url-file"])
        .arg(&file)
        .env("KEY", KEY);
    let program = Program::spawn(command);
    let url = eventually("the relay's URL", || {
        std::fs::read_to_string(&file).ok().filter(|text| text.starts_with("http"))
    });
    Relay { _program: program, _scratch: scratch, url: url.trim().to_owned() }
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Relay {
    fn admin(&self, args: &[&str], key: Option<(&str, &str)>) -> Ran {
        let output = binary(env!("CARGO_BIN_EXE_mcp-tunnel"))
            .args(["admin", "tunnels"])
            .args(args)
            .env("CONTROL_PLANE_BASE_URL", &self.url)
            .envs(key)
            .output()
            .unwrap();
        let ran = Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.out.contains(KEY) && !ran.err.contains(KEY));
        ran
    }

    fn ok(&self, args: &[&str]) -> String {
        let ran = self.admin(args, Some(("OPENAI_ADMIN_KEY", KEY)));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
        ran.out
    }

    #[track_caller]
    fn refused(&self, args: &[&str], what: &str) {
        let ran = self.admin(args, Some(("OPENAI_ADMIN_KEY", KEY)));
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(ran.err.starts_with("mcp-tunnel: ") && ran.err.contains(what), "{}", ran.err);
    }
}

#[test] // cfg
fn a_tunnel_is_created_described_listed_changed_and_deleted() {
    let relay = relay();
    let create =
        ["create", "--name", "demo", "--description", "A demo", "--organization-id", "org-1,org-2"];
    let text = relay.ok(&create);
    assert!(text.contains("  Organizations: org-1, org-2\n"), "{text}");
    assert!(text.contains("25 to 30 seconds"));
    let id = text.lines().next().unwrap().strip_prefix("Tunnel ").unwrap();
    let shown: Value = serde_json::from_str(&relay.ok(&["get", id, "--json"])).unwrap();
    assert_eq!(shown["name"], "demo");
    assert_eq!(shown["organization_ids"], serde_json::json!(["org-1", "org-2"]));
    assert!(shown.get("workspace_ids").is_none());
    assert!(shown["request_id"].is_string());
    let listed: Value =
        serde_json::from_str(&relay.ok(&["list", "--organization-id=org-2", "--json"])).unwrap();
    assert_eq!(listed["tunnels"][0]["id"], id);
    assert_eq!(relay.ok(&["list", "--workspace-id", "other"]), "");
    let text = relay.ok(&["update", id, "--name", " new ", "--organization-id="]);
    assert!(text.contains("Name:          new\n"), "{text}");
    assert!(text.contains("Organizations:\n"), "{text}");
    assert!(text.contains("A demo"), "{text}");
    relay.refused(&["delete", id], "--confirm");
    relay.ok(&["delete", id, "--confirm"]);
    relay.refused(&["get", id], "404");
}

#[test] // W-83, D-10, cfg
fn an_admin_key_is_needed_and_a_runtime_key_is_not_one() {
    let relay = relay();
    let ran = relay.admin(&["list", "--organization-id", "x"], None);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no admin key"), "{}", ran.err);
    let runtime = Some(("CONTROL_PLANE_API_KEY", "runtime-key"));
    let ran = relay.admin(&["list", "--organization-id", "x"], runtime);
    assert!(ran.err.contains("no admin key"), "{}", ran.err);
    // `get` sends it, and the control plane decides.
    let ran = relay.admin(&["get", TUNNEL_ID], runtime);
    assert!(ran.err.contains("401"), "{}", ran.err);
    let ran = relay.admin(&["get", "x", "--admin-key", "literal"], None);
    assert!(ran.err.contains("--admin-key") && !ran.err.contains("literal"), "{}", ran.err);
}

#[test] // W-85, cfg A-3
fn what_is_typed_wrong_is_refused_before_anything_is_sent() {
    let relay = relay();
    let create = ["create", "--name", "n", "--description", "d"];
    relay.refused(&create, "--organization-id or --workspace-id");
    relay.refused(&[&create[..3], &["--organization-id", "o"]].concat(), "--description");
    relay.refused(&[&create[..], &["--workspace-id", "a,a"]].concat(), "`a` is here twice");
    relay.refused(&["list"], "exactly one");
    relay.refused(&["list", "--organization-id", "a", "--workspace-id", "b"], "exactly one");
    relay.refused(&["list", "--organization-id", "a,b"], "exactly one");
    relay.refused(&["update", "x"], "nothing to change");
    relay.refused(&["get"], "needs ID");
    relay.refused(&["list", "--tenant-id", "a", "--profile", "x"], "--profile");
}

#[test] // W-86, cfg A-6
fn a_refused_call_is_a_document_on_stdout_with_json() {
    let relay = relay();
    let ran = relay.admin(&["get", TUNNEL_ID, "--json"], Some(("OPENAI_ADMIN_KEY", "wrong")));
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    let error = &document["error"];
    assert_eq!(error["status_code"], 401);
    assert_eq!(error["method"], "GET");
    assert_eq!(error["path"], format!("/v1/tunnels/{TUNNEL_ID}"));
    assert!(error["message"].is_string() && error["mitigation"].is_string());
}

#[test] // cfg P-10
fn an_empty_base_url_is_an_error_here() {
    let output = binary(env!("CARGO_BIN_EXE_mcp-tunnel"))
        .args(["admin", "tunnels", "get", "x"])
        .env("CONTROL_PLANE_BASE_URL", "")
        .env("OPENAI_ADMIN_KEY", KEY)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("control_plane.base_url"));
}

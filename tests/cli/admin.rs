//! `admin tunnels`, `admin-profiles` and `runtimes create` against the real relay.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::support::control_plane::TUNNEL_ID;
use crate::support::process::Program;
use crate::support::stack::binary;
use crate::support::{Scratch, eventually, programs};
use serde_json::Value;

const KEY: &str = "admin-key-of-this-test-0123456789abcdef";

struct Relay {
    _program: Program,
    _scratch: Scratch,
    url: String,
}

fn relay() -> Relay {
    let scratch = Scratch::new();
    let file = scratch.path("url");
    let mut command = binary(programs::relay());
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

impl Ran {
    /// What a program left behind, which is never the key.
    fn of(output: Output) -> Ran {
        let ran = Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.out.contains(KEY) && !ran.err.contains(KEY));
        ran
    }
}

impl Relay {
    fn admin(&self, args: &[&str], key: Option<(&str, &str)>) -> Ran {
        let output = binary(programs::tunnel())
            .args(["admin", "tunnels"])
            .args(args)
            .env("CONTROL_PLANE_BASE_URL", &self.url)
            .envs(key)
            .output()
            .unwrap();
        Ran::of(output)
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

#[test] // cli-23, cli-24, cli-25
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

#[test] // wire-83, wire-210, cli-21, cli-22
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

#[test] // wire-85, cli-23
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

#[test] // wire-86, cli-26
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

#[test] // config-20
fn an_empty_base_url_is_an_error_here() {
    let output = binary(programs::tunnel())
        .args(["admin", "tunnels", "get", "x"])
        .env("CONTROL_PLANE_BASE_URL", "")
        .env("OPENAI_ADMIN_KEY", KEY)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("control_plane.base_url"));
}

/// A user with a home of its own, and the admin key in a file.
struct User {
    home: Scratch,
}

impl User {
    fn new() -> Self {
        let home = Scratch::new();
        std::fs::write(home.path("key"), KEY).unwrap();
        std::fs::set_permissions(home.path("key"), PermissionsExt::from_mode(0o600)).unwrap();
        Self { home }
    }

    fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let output = binary(programs::tunnel())
            .args(args)
            .env("HOME", self.home.path(""))
            .envs(env.iter().copied())
            .output()
            .unwrap();
        Ran::of(output)
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
        ran.out
    }

    #[track_caller]
    fn refused(&self, args: &[&str], what: &str) {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
        assert!(ran.err.starts_with("mcp-tunnel: ") && ran.err.contains(what), "{}", ran.err);
    }

    /// `admin-profiles set NAME` for a relay, with the key's file.
    fn set(&self, name: &str, url: &str, more: &[&str]) -> String {
        let key = format!("file:{}", self.home.path("key").display());
        let args = ["admin-profiles", "set", name, "--control-plane-base-url", url];
        self.ok(&[&args[..], &["--admin-key", &key], more].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }
}

#[test] // cli.md, 11.9
fn admin_profiles_are_set_listed_activated_and_deleted() {
    let user = User::new();
    assert_eq!(user.ok(&["admin-profiles", "list"]), "");
    assert_eq!(user.set("lab", "https://lab.example", &[]), "set lab (active)\n");
    assert_eq!(user.set("prod", "https://prod.example", &["--activate=false"]), "set prod\n");
    let listed = user.ok(&["admin-profiles", "list"]);
    assert_eq!(listed, "* lab\thttps://lab.example\n  prod\thttps://prod.example\n");
    // What is not given stays as it was.
    user.ok(&["admin-profiles", "set", "prod", "--control-plane-url-path", "/eu"]);
    let shown = user.json(&["admin-profiles", "list"]);
    assert_eq!(shown["active_profile"], "prod");
    let prod = &shown["profiles"][1];
    assert_eq!(prod["name"], "prod");
    assert_eq!(prod["active"], true);
    assert_eq!(prod["control_plane_base_url"], "https://prod.example");
    assert_eq!(prod["control_plane_url_path"], "/eu");
    assert!(prod["admin_key"].as_str().unwrap().starts_with("file:"));
    assert!(prod["updated_at"].is_string());
    let file = std::path::PathBuf::from(shown["path"].as_str().unwrap());
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(user.ok(&["admin-profiles", "activate", "lab"]), "lab is active\n");
    user.refused(&["admin-profiles", "activate", "lba"], "did you mean `lab`?");
    user.refused(&["admin-profiles", "set", "x/y"], "no profile name");
    user.refused(&["admin-profiles", "set", "x", "--admin-key", "literal"], "env:NAME");
    user.refused(&["admin-profiles", "set", "x", "--control-plane-base-url", "ftp:"], "base-url");
    assert_eq!(user.ok(&["admin-profiles", "delete", "lab"]), "deleted lab\n");
    assert_eq!(user.json(&["admin-profiles", "list"])["active_profile"], "prod");
    // A file that is not understood is not overwritten.
    std::fs::write(&file, "active: x\n").unwrap();
    user.refused(&["admin-profiles", "set", "lab"], "no record of mcp-tunnel");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "active: x\n");
}

#[test] // cli.md, 11.8, config-21
fn a_tunnel_is_created_for_an_alias_once_and_its_profile_outranks_the_environment() {
    let (relay, user) = (relay(), User::new());
    user.set("lab", &relay.url, &[]);
    let create = ["runtimes", "create", "My Demo", "--organization-id", "org-1"];
    let elsewhere = [("CONTROL_PLANE_BASE_URL", "http://127.0.0.1:9")];
    let ran = user.run_with(&create, &elsewhere);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let id = ran.out.strip_prefix("my-demo\tcreated\t").unwrap().lines().next().unwrap();
    assert!(ran.out.contains("runtimes connect my-demo --mcp-server-url URL"), "{}", ran.out);
    // A second time it is the same one, without a scope too; a flag outranks the profile.
    assert!(user.ok(&create[..3]).starts_with(&format!("my-demo\trecorded\t{id}\n")));
    let away = [&create[..], &["--control-plane-base-url", "http://127.0.0.1:9"]].concat();
    assert_eq!(user.run(&away).code, 1);
    let document = user.json(&create);
    assert_eq!(document["tunnel"]["id"], id);
    assert_eq!(document["admin_profile"], "lab");
    // It is known before it has a profile, and keeps its admin profile.
    assert_eq!(user.ok(&["runtimes", "list"]), format!("my-demo\tstopped\t{id}\n"));
    assert_eq!(user.ok(&["runtimes", "cleanup"]).lines().next(), Some("my-demo\tmissing_profile"));
    user.refused(&["admin-profiles", "delete", "lab"], "runtimes rm my-demo");
    // Another alias finds the tunnel by its name.
    let found = ["runtimes", "create", "--alias", "two", "--name", "my-demo"];
    let found = user.ok(&[&found[..], &["--organization-id", "org-1"]].concat());
    assert!(found.starts_with(&format!("two\tfound\t{id}\n")), "{found}");
    // A tunnel that was deleted is made anew, and needs its scope again.
    relay.ok(&["delete", id, "--confirm"]);
    user.refused(&create[..3], "--organization-id or --workspace-id");
    assert!(user.ok(&create).starts_with("my-demo\tcreated\t"));
    user.ok(&["runtimes", "rm", "my-demo"]);
    user.ok(&["runtimes", "rm", "two"]);
    assert_eq!(user.ok(&["runtimes", "list"]), "");
    user.ok(&["admin-profiles", "delete", "lab"]);
    user.refused(&["runtimes", "create"], "needs ALIAS");
    user.refused(&[&create[..], &["--admin-profile", "lab"]].concat(), "no admin profile `lab`");
    user.refused(&create, "no admin key");
}

#[test] // cli.md, 11.8
fn what_a_daemon_left_behind_is_found_and_removed_only_when_told() {
    let user = User::new();
    let root = user.home.path(".local/state/tunnel-client");
    for file in ["health/gone.url", "logs/gone.log", "gone.pid"] {
        std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        std::fs::write(root.join(file), "1\n").unwrap();
    }
    let said = "gone\tstale_alias\nnext: mcp-tunnel runtimes cleanup --apply\n";
    assert_eq!(user.ok(&["runtimes", "cleanup"]), said);
    assert!(root.join("gone.pid").exists());
    let document = user.json(&["runtimes", "cleanup", "--apply"]);
    assert_eq!(document["removed"].as_array().unwrap().len(), 3);
    assert_eq!(document["apply"], true);
    assert!(!root.join("gone.pid").exists());
    assert_eq!(user.ok(&["runtimes", "cleanup"]), "");
}

//! The command line as a person or a script sees it: what is printed where, and the exit code.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

const ID: &str = "tunnel_0123456789abcdef0123456789abcdef";

/// What a command printed and how it ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// A directory that is removed at the end of its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcp-tunnel-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tunnel_with(args: &[&str], env: &[(&str, &str)]) -> Ran {
    let output = Command::new(crate::support::programs::tunnel())
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn tunnel(args: &[&str]) -> Ran {
    tunnel_with(args, &[])
}

/// A failure of exit code 1 that says `what` in its lines, each with the program's name.
#[track_caller]
fn refused(ran: &Ran, what: &str) {
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(what), "{what:?} not in {:?}", ran.err);
    assert!(ran.err.lines().all(|line| line.starts_with("mcp-tunnel: ")), "{:?}", ran.err);
    assert_eq!(ran.out, "");
}

#[track_caller]
fn printed(ran: &Ran, what: &str) {
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.contains(what), "{what:?} not in {:?}", ran.out);
}

#[test] // cli-7
fn a_newcomer_learns_the_three_commands_and_help_goes_to_stdout() {
    let ran = tunnel(&[]);
    printed(&ran, "mcp-tunnel run --mcp.server-url");
    printed(&tunnel(&["--help"]), "Commands:");
    printed(&tunnel(&["run", "-h"]), "--control-plane.tunnel-id ID");
    printed(&tunnel(&["run", "--help"]), "CONTROL_PLANE_API_KEY");
    printed(&tunnel(&["profiles"]), "samples");
}

#[test] // cli-8
fn the_version_is_on_the_root_only() {
    printed(&tunnel(&["--version"]), &format!("mcp-tunnel {}", env!("CARGO_PKG_VERSION")));
    printed(&tunnel(&["-v"]), env!("CARGO_PKG_VERSION"));
    refused(&tunnel(&["run", "--version"]), "--version");
}

#[test] // cli-6, cli-9
fn mistakes_on_the_command_line_are_one_line_and_exit_code_1() {
    for (args, what) in [
        (&["rnu"][..], "did you mean `run`?"),
        (&["profiles", "lsit"], "did you mean `list`?"),
        (&["run", "--log.levle", "debug"], "did you mean `--log.level`?"),
        (&["run", "--log.level"], "needs a value"),
        (&["run", "extra"], "does not take the word `extra`"),
        (&["run", "--config", "a", "--profile", "b"], "exclude each other"),
        (&["help", "quikstart"], "did you mean `quickstart`?"),
    ] {
        let ran = tunnel(args);
        refused(&ran, what);
        assert!(ran.err.lines().filter(|line| line.contains(what)).count() == 1, "{}", ran.err);
    }
}

#[test] // cli.md, 11.12
fn help_takes_topics_and_commands_of_several_words() {
    printed(&tunnel(&["help"]), "quickstart");
    printed(&tunnel(&["help", "troubleshooting"]), "/readyz");
    printed(&tunnel(&["help", "mcp-stub"]), "--listen HOST:PORT");
    printed(&tunnel(&["dev", "mcp-stub", "--help"]), "--listen HOST:PORT");
    printed(&tunnel(&["help", "config", "show"]), "Usage: mcp-tunnel config show");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = crate::support::programs::tunnel();
    let script = format!("{program} run --help | head -n 1; echo ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("\n0\n"));
}

#[test] // config-61
fn a_start_without_anything_names_everything_that_is_missing() {
    let ran = tunnel(&["run"]);
    refused(&ran, "no tunnel id");
    refused(&ran, "no runtime API key");
    refused(&ran, "no MCP server");
}

#[test]
fn every_error_of_a_file_has_its_place() {
    let dir = Dir::new("places");
    let file = dir.path("c.conf");
    fs::write(&file, "control_plane:\n  tunel_id: x\n  poll_timeout: 30\n").unwrap();
    for command in [&["run", "-c", &file][..], &["config", "check", "-c", &file]] {
        let ran = tunnel(command);
        refused(&ran, &format!("{file}:2:3: unknown key `tunel_id` in `control_plane` (did you"));
        refused(
            &ran,
            &format!(
                "{file}:3:17: `control_plane.poll_timeout`: found `30`; a duration has a unit"
            ),
        );
    }
    refused(&tunnel(&["run", "-c", "/nonexistent/x.conf"]), "/nonexistent/x.conf");
    fs::write(&file, "a: [\n").unwrap();
    let ran = tunnel(&["run", "-c", &file]);
    refused(&ran, "is not YAML");
    // What a file says that can not be read is not missed.
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
}

#[test] // config-84
fn no_error_shows_a_key() {
    let env = [("CONTROL_PLANE_API_KEY", "sk-SECRET \n"), ("CONTROL_PLANE_TUNNEL_ID", ID)];
    let ran = tunnel_with(&["run", "--mcp.command", "srv"], &env);
    refused(&ran, "CONTROL_PLANE_API_KEY: the key is malformed");
    assert!(!ran.err.contains("SECRET"), "{}", ran.err);
    let ran = tunnel(&["run", "--control-plane.api-key", "sk-SECRET"]);
    refused(&ran, "every user of the host can read arguments");
    assert!(!ran.err.contains("SECRET"), "{}", ran.err);
}

#[test]
fn config_show_says_where_each_value_comes_from() {
    let dir = Dir::new("show");
    let file = dir.path("c.conf");
    fs::write(&file, format!("control_plane:\n  tunnel_id: {ID}\n  api_key: sk-SECRET\n")).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let args = ["config", "show", "-c", &file, "--log.level=warn"];
    let env = [("MCP_COMMAND", "srv --x"), ("MCP_EXTRA_HEADERS", "X-A: SECRET")];
    let ran = tunnel_with(&args, &env);
    let line = |key: &str| {
        ran.out.lines().find(|line| line.starts_with(&format!("{key}: "))).unwrap_or_default()
    };
    assert!(line("control_plane.tunnel_id").ends_with(&format!("# {file}:2:14")), "{}", ran.out);
    assert!(line("control_plane.api_key").contains("[redacted]"), "{}", ran.out);
    assert!(line("mcp.commands").ends_with("# MCP_COMMAND"), "{}", ran.out);
    assert!(line("log.level").ends_with("# --log.level"), "{}", ran.out);
    assert!(line("mcp.connection_max_ttl").ends_with("# default"), "{}", ran.out);
    assert!(!ran.out.contains("SECRET"));
    let ran = tunnel_with(&[&args[..], &["--json"]].concat(), &env);
    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let keys: Vec<_> = shown["settings"].as_array().unwrap().iter().map(|s| &s["key"]).collect();
    assert!(keys.iter().any(|key| *key == "control_plane.extra_headers"));
    assert_eq!(shown["problems"], serde_json::json!([]));
    assert!(!ran.out.contains("SECRET"));
}

#[test] // config-83
fn a_secret_that_everybody_can_read_is_warned_about() {
    let dir = Dir::new("exposed");
    let key = dir.path("key");
    fs::write(&key, "sk-1\n").unwrap();
    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let reference = format!("--control-plane.api-key=file:{key}");
    let args =
        ["config", "check", &reference, "--mcp.command=true", "--control-plane.tunnel-id", ID];
    let ran = tunnel(&args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("warning") && ran.err.contains(&key), "{}", ran.err);
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    printed(&tunnel(&args), "ok");
}

#[test] // cli.md, 11.4
fn init_writes_a_configuration_that_run_accepts() {
    let dir = Dir::new("init");
    let file = dir.path("made/new.conf");
    let args = [
        "init",
        "--tunnel-id",
        ID,
        "--mcp-server-url",
        "http://127.0.0.1:1/mcp",
        "--output",
        &file,
    ];
    printed(&tunnel(&args), &format!("mcp-tunnel run -c {file}"));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = [("CONTROL_PLANE_API_KEY", "sk-1")];
    printed(&tunnel_with(&["config", "check", "-c", &file], &key), "ok");
    refused(&tunnel(&args), "--force");
    printed(&tunnel(&[&args[..], &["--force"]].concat()), "Wrote");
    printed(&tunnel(&[&args[..6], &["-"]].concat()), "config_version: 1");
}

#[test] // cli.md, 11.4
fn init_refuses_what_run_would_refuse_and_writes_nothing() {
    let dir = Dir::new("init-bad");
    let home = [("HOME", dir.0.to_str().unwrap())];
    let url = ["--mcp-server-url", "http://h"];
    for (args, what) in [
        (vec!["init", url[0], url[1]], "no tunnel id"),
        (vec!["init", "--tunnel-id", "x", url[0], url[1]], "found `x`"),
        (vec!["init", "--tunnel-id", ID], "needs the server"),
        (vec!["init", "--tunnel-id", ID, "--mcp-server-url", "h:1"], "--mcp-server-url"),
        (vec!["init", "--tunnel-id", ID, "--mcp-command", "no-such-command"], "PATH"),
        (vec!["init", "--tunnel-id", ID, url[0], url[1], "--sample", "x"], "no sample `x`"),
        (
            vec!["init", "--tunnel-id", ID, url[0], url[1], "--control-plane-api-key-ref", "sk-1"],
            "not the key itself",
        ),
        (vec!["init", "--tunnel-id", ID, url[0], url[1], "--profile", "../x"], "no profile name"),
    ] {
        refused(&tunnel_with(&args, &home), what);
    }
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
}

#[test] // cli.md, 11.6
fn profiles_are_added_listed_edited_and_removed() {
    let dir = Dir::new("profiles");
    let home = [("HOME", dir.0.to_str().unwrap())];
    let run = |args: &[&str]| tunnel_with(args, &home);
    printed(&run(&["profiles", "list"]), "no profiles in");
    assert_eq!(run(&["profiles", "list", "--json"]).out, "[]\n");
    let add = ["profiles", "add", "demo", "--sample", "sample_mcp_stdio_local", "--tunnel-id", ID];
    printed(&run(&[&add[..], &["--mcp-command", "true"]].concat()), "added demo");
    refused(&run(&[&add[..], &["--mcp-command", "true"]].concat()), "exists");
    let path = dir.path(".config/tunnel-client/demo.yaml");
    assert_eq!(run(&["profiles", "list"]).out, format!("demo\t{path}\n"));
    printed(&run(&["profiles", "show", "demo"]), "command: \"true\"");
    printed(&run(&["profiles", "validate", "demo"]), "ok");
    let key = [home[0], ("CONTROL_PLANE_API_KEY", "sk-1")];
    printed(&tunnel_with(&["config", "check", "--profile", "demo"], &key), "ok");
    refused(&run(&["profiles", "show", "dmeo"]), "did you mean `demo`?");
    refused(&run(&["profiles", "add", "a/b", "--from-file", "x"]), "no profile name");

    // An edit that is not valid is kept beside the profile.
    let editor = dir.path("editor");
    fs::write(&editor, "#!/bin/sh\necho 'lgo: {}' >> \"$1\"\n").unwrap();
    fs::set_permissions(&editor, PermissionsExt::from_mode(0o755)).unwrap();
    let ran = tunnel_with(&["profiles", "edit", "demo"], &[home[0], ("EDITOR", &editor)]);
    refused(&ran, "unknown key `lgo` (did you mean `log`?)");
    refused(&ran, "demo is unchanged; your text is in");
    printed(&run(&["profiles", "validate", "demo"]), "ok");
    fs::write(&editor, "#!/bin/sh\necho '# edited' >> \"$1\"\n").unwrap();
    printed(
        &tunnel_with(&["profiles", "edit", "demo"], &[home[0], ("VISUAL", &editor)]),
        "saved demo",
    );
    printed(&run(&["profiles", "show", "demo"]), "# edited");
    refused(&run(&["profiles", "edit", "demo"]), "set VISUAL or EDITOR");
    printed(&run(&["profiles", "rm", "demo"]), "removed demo");
    assert!(!Path::new(&path).exists());
}

#[test] // cli.md, 11.6
fn samples_are_listed_and_shown() {
    let listed = tunnel(&["profiles", "samples", "list"]);
    assert_eq!(listed.out.lines().count(), 4);
    printed(&tunnel(&["profiles", "samples", "show", "sample_mcp_with_dcr"]), "tunnel_id:");
    refused(&tunnel(&["profiles", "samples", "show", "sample_mcp_with_dr"]), "did you mean");
}

/// Answers each request by its path, until the test ends.
fn serve(routes: &'static [(&'static str, u16, &'static str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 2048];
            let read = stream.read(&mut head).unwrap();
            let path = String::from_utf8_lossy(&head[..read]);
            let path = path.split(' ').nth(1).unwrap_or_default();
            let (_, status, body) =
                routes.iter().find(|(route, ..)| *route == path).unwrap_or(&("", 404, ""));
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    port
}

const LAST_POLL: &str = "commands_poll_last_successful_timestamp_seconds 1.7e9\n";

#[test] // cli.md, 11.5
fn health_probes_a_live_daemon_and_fails_with_2() {
    let port = serve(&[
        ("/healthz", 200, "live"),
        ("/readyz", 200, "ready"),
        ("/metrics", 200, LAST_POLL),
    ]);
    let url = format!("http://127.0.0.1:{port}");
    let port = port.to_string();
    let ran = tunnel(&["health", "--port", &port]);
    printed(&ran, &format!("Healthz: PASS | {url}/healthz | HTTP 200 | live"));
    printed(&ran, "Result: OK");
    printed(&tunnel(&["health", "--url", &format!("{url}/readyz")]), "Result: OK");
    printed(
        &tunnel(&["health", "--health.listen-addr", &format!("127.0.0.1:{port}")]),
        "Result: OK",
    );
    let polled = ["health", "--port", &port, "--require-control-plane-poll", "--json"];
    let report: serde_json::Value = serde_json::from_str(&tunnel(&polled).out).unwrap();
    assert_eq!(report["result"], "ok");
    assert_eq!(report["control_plane_poll"]["ok"], true);
    assert_eq!(report["locator"]["kind"], "port");
    let stale = tunnel(&["health", "--port", &port, "--max-poll-age", "1m"]);
    assert_eq!(stale.code, 2);
    assert!(stale.out.contains("the last poll succeeded"), "{}", stale.out);
    let pid = std::process::id().to_string();
    printed(&tunnel(&["health", "--port", &port, "--pid", &pid]), "Process: PASS");
}

#[test] // cli.md, 11.5
fn health_says_why_a_daemon_is_not_well() {
    let port = serve(&[("/healthz", 200, "live"), ("/readyz", 503, "no poll yet")]).to_string();
    let ran = tunnel(&["health", "--port", &port]);
    assert_eq!((ran.code, ran.err.as_str()), (2, ""));
    assert!(ran.out.contains("| HTTP 503 | no poll yet"), "{}", ran.out);
    let dir = Dir::new("health");
    let gone = tunnel(&["health", "--url-file", &dir.path("none")]);
    assert_eq!(gone.code, 2);
    assert!(gone.out.contains("Locator error:"), "{}", gone.out);
    refused(&tunnel(&["health", "--port", "1", "--url", "http://h"]), "exclude each other");
    refused(&tunnel(&["health", "--port", "-1"]), "--port");
    refused(&tunnel(&["health", "--url", "h:1"]), "http://");
    refused(&tunnel(&["health", "--port", "1", "--pid", "1", "--pid-file", "x"]), "exclude");
}

/// The codes that the exit status section of a manual page names.
fn documented_codes(page: &str) -> Vec<i32> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(page);
    let text = fs::read_to_string(file).unwrap();
    let section = text.split(".Sh EXIT STATUS").nth(1).unwrap().split(".Sh ").next().unwrap();
    section.lines().filter_map(|line| line.strip_prefix(".It ")?.parse().ok()).collect()
}

#[test] // cfg 13
fn exit_codes_are_those_of_the_manual() {
    assert_eq!(documented_codes("mcp-tunnel.1"), [0, 1, 2]);
    for (args, code) in [
        (&["help"][..], 0),
        (&["run", "--nonsense"], 1),
        (&["run"], 1),
        (&["config", "check"], 1),
        (&["health", "--port", "x"], 1),
        (&["health", "--port", "1"], 2),
        (&["doctor"], 2),
    ] {
        assert_eq!(tunnel(args).code, code, "{args:?}");
    }
    assert_eq!(documented_codes("mcp-tunnel-relay.1"), [0, 1, 2]);
    let in_use = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = in_use.local_addr().unwrap().to_string();
    for (args, code) in [
        (&["--help"][..], 0),
        (&["serve", "--dev", "--listen", &taken], 1),
        (&["serve", "--nonsense"], 2),
        (&["serve"], 2),
    ] {
        let relay = crate::support::programs::relay();
        let output = Command::new(relay).args(args).env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn doctor_is_without_colours_where_nobody_looks() {
    let ran = tunnel(&["doctor", "--explain"]);
    assert!(!ran.out.contains('\x1b'), "{}", ran.out);
}

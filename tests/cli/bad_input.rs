//! Mistakes that an operator makes, through the real binary: each gives one clear line and the
//! right exit code or state.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::support::stack::Settings;
use crate::support::{
    Answer, Child, Command, ControlPlane, McpServer, Scratch, Tunnel, eventually,
};

/// Where nobody listens: a port that was free a moment ago.
fn dead_url() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("http://127.0.0.1:{port}")
}

/// Settings that are right but for what a test adds.
fn settings() -> Settings {
    Tunnel::to(&dead_url()).http(&dead_url())
}

/// The one line that `run` and `config check` both refuse the settings with, which must name each
/// of `parts`.
#[track_caller]
fn refused(settings: Settings, parts: &[&str]) {
    let checked = settings.check();
    assert_eq!(checked, (1, refused_at_start(settings, parts)));
}

/// The one line that `run` alone refuses the settings with.
#[track_caller]
fn refused_at_start(settings: Settings, parts: &[&str]) -> String {
    let mut program = settings.spawn();
    assert_eq!(program.exit_code(), 1);
    assert_eq!(program.stdout(), "");
    let said = program.stderr();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    assert!(said.starts_with("mcp-tunnel: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in: {said}");
    }
    said
}

#[test]
fn a_missing_key_is_named_with_its_setting() {
    refused(settings().without_env("CONTROL_PLANE_API_KEY"), &["CONTROL_PLANE_API_KEY"]);
}

#[test]
fn a_missing_tunnel_id_is_named_with_its_setting() {
    refused(settings().without_env("CONTROL_PLANE_TUNNEL_ID"), &["CONTROL_PLANE_TUNNEL_ID"]);
}

#[test] // wire-1
fn a_malformed_tunnel_id_is_named_with_what_would_be_right() {
    let settings = settings().env("CONTROL_PLANE_TUNNEL_ID", "tunnel_ABC");
    refused(settings, &["CONTROL_PLANE_TUNNEL_ID", "tunnel_", "32"]);
}

#[test] // wire-2
fn a_malformed_key_is_named_but_not_shown() {
    let mut program = settings().env("CONTROL_PLANE_API_KEY", "hush hush").spawn();
    assert_eq!(program.exit_code(), 1);
    let said = program.stderr();
    assert!(said.contains("CONTROL_PLANE_API_KEY") && !said.contains("hush"), "{said}");
}

#[test]
fn a_missing_mcp_server_is_named_with_its_settings() {
    refused(settings().without_env("MCP_SERVER_URL"), &["MCP_COMMAND", "MCP_SERVER_URL"]);
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    refused(settings().arg("-c").arg("/no/such/mcp-tunnel.conf"), &["/no/such/mcp-tunnel.conf"]);
    let scratch = Scratch::new();
    let directory = scratch.path("").to_str().unwrap().to_owned();
    refused(settings().arg("-c").arg(&directory), &[&directory]);
}

#[test]
fn a_health_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = settings().env("HEALTH_LISTEN_ADDR", &address);
    assert_eq!(settings.check().0, 0, "a check asks for no port");
    refused_at_start(settings, &[&address, "in use"]);
}

#[test] // stdio-66
fn a_command_that_is_written_for_a_shell_is_told_that_there_is_none() {
    refused(
        settings().without_env("MCP_SERVER_URL").stdio("cd /tmp && exec my-server"),
        &["`cd`", "without a shell", "sh -c"],
    );
}

#[test] // stdio-66
fn a_command_that_is_not_there_is_named() {
    refused(
        settings().without_env("MCP_SERVER_URL").stdio("/no/such/server --stdio"),
        &["/no/such/server"],
    );
}

#[test]
fn a_file_that_cannot_be_written_is_named_with_its_setting() {
    let directory = Scratch::new().path("").to_str().unwrap().to_owned();
    for flag in ["log.file", "log.audit-file", "pid.file"] {
        refused(settings().arg(&format!("--{flag}=/no/dir/x")), &[flag, "/no/dir/x"]);
        let taken = Scratch::new();
        let directory = taken.path("").to_str().unwrap().to_owned();
        refused(settings().arg(&format!("--{flag}={directory}")), &[flag, &directory]);
    }
    for flag in ["health.url-file", "health.unix-socket"] {
        refused(settings().arg(&format!("--{flag}=/dev/null/made/x")), &[flag, "/dev/null/made/x"]);
    }
    // It was removed: nobody may take its name for a file's.
    refused(settings().arg(&format!("--pid.file={directory}/")), &["pid.file", &directory]);
}

#[test]
fn a_program_that_cannot_be_executed_is_named() {
    let command = |command: &str| settings().without_env("MCP_SERVER_URL").stdio(command);
    refused(command("no-such-program-anywhere x"), &["MCP_COMMAND", "no-such-program-anywhere"]);
    refused(command("/tmp --stdio"), &["MCP_COMMAND", "`/tmp`", "chmod"]);
    let scratch = Scratch::new();
    let script = scratch.path("server");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    refused(command(script), &["MCP_COMMAND", script, "interpreter"]);
}

#[test]
fn a_setting_without_effect_is_refused() {
    for flag in [
        "harpoon.target=label=a,url=https://x",
        "harpoon.max-redirects=3",
        "harpoon.hosts-include-suffix=example.com",
        "harpoon.additional-transport=http-streamable",
    ] {
        let name = flag.split('=').next().unwrap();
        refused(settings().arg(&format!("--{flag}")), &[name, "Harpoon", "remove"]);
    }
    let polled = settings().env("CONTROL_PLANE_POLL_CHANNELS", "main,harpoon");
    refused(polled, &["CONTROL_PLANE_POLL_CHANNELS", "harpoon"]);
}

#[test]
fn a_proxy_that_cannot_be_used_is_named() {
    let settings = Tunnel::to("http://control-plane.example")
        .http("http://127.0.0.1:9/mcp")
        .env("HTTP_PROXY", "socks5://proxy.example:1080");
    refused(settings, &["HTTP_PROXY"]);
}

#[test]
fn a_check_changes_nothing_and_leaves_a_running_daemon_alone() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path(name).to_str().unwrap().to_owned();
    let control_plane = ControlPlane::start();
    let with_files = || {
        Tunnel::to(&control_plane.url())
            .http(&dead_url())
            .arg(&format!("--log.file={}", path("log")))
            .arg(&format!("--log.audit-file={}", path("audit")))
            .arg(&format!("--pid.file={}", path("pid")))
            .arg(&format!("--health.unix-socket={}", path("made/socket")))
            .arg(&format!("--health.url-file={}", path("made/url")))
            .without_env("HEALTH_URL_FILE")
    };
    assert_eq!(with_files().check(), (0, String::new()));
    assert_eq!(std::fs::read_dir(scratch.path("")).unwrap().count(), 0, "a check left a file");

    let mut daemon = with_files().spawn();
    eventually("the socket", || scratch.path("made/url").exists().then_some(()));
    let pid = std::fs::read_to_string(path("pid")).unwrap();
    assert_eq!(with_files().check(), (0, String::new()));
    assert_eq!(std::fs::read_to_string(path("pid")).unwrap(), pid);
    assert!(std::os::unix::net::UnixStream::connect(path("made/socket")).is_ok());
    assert!(daemon.has_ended().is_none());
    // The check does not find out that it would run twice; a start does.
    let mut second = with_files().arg(&format!("--health.unix-socket={}", path("other"))).spawn();
    assert_eq!(second.exit_code(), 1);
    assert!(second.stderr().contains("running twice"), "{}", second.stderr());
}

#[test]
fn an_unreachable_control_plane_is_tried_until_it_is_there() {
    let url = dead_url();
    let server = McpServer::start();
    let tunnel = Tunnel::to(&url).http(&server.url()).start();
    let reason = tunnel.wait_not_ready(|reason| reason.contains("connect"));
    assert_eq!(reason.lines().count(), 1, "{reason}");
    let _control_plane = ControlPlane::start_on(url.rsplit(':').next().unwrap().parse().unwrap());
    tunnel.wait_ready();
}

#[test] // wire-73, wire-209
fn a_refused_key_is_told_with_the_permission_it_lacks_and_knocks_ever_more_slowly() {
    for (status, code) in [(401, "tunnel_use_forbidden"), (403, "tunnel_use_forbidden")] {
        let control_plane = ControlPlane::start();
        let body = format!(
            r#"{{"error":{{"message":"refused","type":"authentication_error","param":null,"code":"{code}"}}}}"#
        );
        control_plane.every_poll(Some(Answer::json(status, body)));
        let server = McpServer::start();
        let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start();
        let reason = tunnel.wait_not_ready(|reason| reason.contains(&status.to_string()));
        assert!(reason.contains("Use permission"), "{reason}");
        let line = tunnel.program.stderr_line("the refusal", |line| line.contains("poll failed"));
        assert!(line.contains("Use permission"), "{line}");
        assert!(line.contains("retry_in_ms=10000"), "{line}");
    }
}

#[test] // forwarding-228
fn an_mcp_server_that_is_down_at_the_start_is_awaited() {
    let control_plane = ControlPlane::start();
    let url = dead_url();
    let tunnel = Tunnel::to(&control_plane.url()).http(&format!("{url}/mcp")).start();
    tunnel.wait_not_ready(|reason| reason.contains("connect"));
    let _server = McpServer::start_on(url.rsplit(':').next().unwrap().parse().unwrap());
    tunnel.wait_ready();
    control_plane.push(Command::call("r1", "1", "tools/list", "{}"));
    assert_eq!(control_plane.next_response().resp_code(), 200);
}

#[test] // mcp-15
fn a_child_that_prints_a_banner_is_told_of_and_served() {
    let control_plane = ControlPlane::start();
    let child = Child::new();
    let tunnel = Tunnel::to(&control_plane.url()).stdio(&child.command()).start();
    let mut running = child.next_start();
    running.write(b"Welcome to the server!\n{\"not\": \"a message\"}\n\xff\xfe\n\n");
    let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;
    control_plane.push(Command::call("r0", "0", "initialize", params));
    running.handshake();
    assert_eq!(control_plane.next_response().resp_code(), 200);
    tunnel.wait_ready();
    tunnel.program.stderr_line("the banner", |line| line.contains("Welcome to the server!"));
    control_plane.push(Command::call("r1", "1", "tools/call", r#"{"name":"x"}"#));
    let call = running.expect("tools/call");
    running.write(b"oops, a stray line\n");
    running.reply(&call, r#"{"content":[]}"#);
    let answer = control_plane.next_response();
    assert_eq!(answer.resp_json(), r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
}

#[test]
fn a_child_that_exits_at_once_is_told_of_and_tried_again_ever_more_slowly() {
    let control_plane = ControlPlane::start();
    let mut tunnel = Tunnel::to(&control_plane.url()).stdio("sh -c 'exit 7'").start();
    let reason = tunnel.wait_not_ready(|reason| reason.contains("exit"));
    assert!(reason.contains('7'), "{reason}");
    // A command that comes meanwhile is answered, and the daemon goes on.
    control_plane.push(Command::call("r1", "1", "tools/list", "{}"));
    let answer = control_plane.next_response();
    assert_eq!(answer.tunnel_failure()["source"], "transport_closed", "{}", answer.0.text());
    assert!(tunnel.program.has_ended().is_none());
}

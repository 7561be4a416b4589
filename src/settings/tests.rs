//! Whole configurations: precedence, validation, and the messages about mistakes.

use std::time::Duration;

use super::config::{Binding, HealthListener, LogFormat, Target};
use super::*;

const ID: &str = "tunnel_0123456789abcdef0123456789abcdef";

/// The settings that every valid configuration needs.
const BASE: [(&str, &str); 3] = [
    ("CONTROL_PLANE_TUNNEL_ID", ID),
    ("CONTROL_PLANE_API_KEY", "sk-env"),
    ("MCP_SERVER_URL", "http://127.0.0.1:3001/mcp"),
];

fn load_text(args: &[&str], env: &[(&str, &str)], yaml: &str) -> Loaded {
    let mut problems = Vec::new();
    let file = File::parse("f.yaml", yaml, &mut problems);
    let env = Env::of(env.iter().copied());
    load_with(&Flags::of(args), &env, file.as_ref(), problems, true)
}

fn good(args: &[&str], env: &[(&str, &str)], yaml: &str) -> Config {
    let loaded = load_text(args, env, yaml);
    assert!(loaded.problems.is_empty(), "{:?}", shown(&loaded.problems));
    loaded.config.unwrap()
}

/// Adds [`BASE`] to the given values, which override it.
fn with_base(args: &[&str], env: &[(&str, &str)], yaml: &str) -> Loaded {
    let mut all: Vec<_> = BASE.to_vec();
    all.retain(|(name, _)| env.iter().all(|(other, _)| other != name));
    all.extend(env);
    load_text(args, &all, yaml)
}

fn good_base(args: &[&str], env: &[(&str, &str)], yaml: &str) -> Config {
    let loaded = with_base(args, env, yaml);
    assert!(loaded.problems.is_empty(), "{:?}", shown(&loaded.problems));
    loaded.config.unwrap()
}

fn bad_base(args: &[&str], env: &[(&str, &str)], yaml: &str) -> Vec<String> {
    let loaded = with_base(args, env, yaml);
    assert!(loaded.config.is_none(), "accepted: {args:?} {env:?} {yaml}");
    shown(&loaded.problems)
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// One problem that says `what`.
#[track_caller]
fn only(problems: &[String], what: &str) {
    assert!(problems.len() == 1 && problems[0].contains(what), "{what:?} not in {problems:?}");
}

#[test] // config.md, section 5
fn the_defaults_are_those_of_the_surface() {
    let c = good(&[], &BASE, "");
    let (cp, mcp) = (&c.control_plane, &c.mcp);
    assert_eq!(cp.base_url.origin(), "https://api.openai.com");
    assert_eq!((cp.url_path.as_str(), cp.max_inflight, cp.polls_in_flight), ("", 20, 1));
    assert_eq!(cp.poll_timeout, Duration::from_secs(30));
    assert_eq!(cp.poll_deadline_guardrail, Duration::from_secs(5));
    assert!(cp.poll_channels.is_none() && cp.extra_headers.is_empty() && cp.identity.is_none());
    assert_eq!(mcp.startup_wait, Duration::ZERO);
    assert_eq!(mcp.connection_max_ttl, Duration::from_secs(600));
    assert_eq!(mcp.max_concurrent_requests, 10);
    assert_eq!((c.harpoon.max_response_bytes, c.harpoon.max_redirects), (102_400, 5));
    assert!(c.harpoon.hosts_include_loopback && c.harpoon.hosts_include_private);
    assert_eq!((c.log.level, c.log.format), (log::LevelFilter::Info, LogFormat::Plain));
    assert_eq!(c.health.listener, HealthListener::Tcp { host: "127.0.0.1".to_owned(), port: 8080 });
    assert_eq!(c.process.shutdown_grace, Duration::from_secs(20));
    assert_eq!(c.proxy_check_interval, Duration::from_secs(60));
    assert!(!c.admin_ui.allow_remote && !c.log.http_raw_unsafe);
}

#[test] // config.md, section 3
fn flags_win_over_environment_over_file_over_default() {
    let yaml = "control_plane: {max_inflight_requests: 3}";
    let var = [("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "4")];
    let flag = ["--control-plane.max-inflight=0x5"];
    let inflight = |args: &[&str], env: &[(&str, &str)], yaml| {
        good_base(args, env, yaml).control_plane.max_inflight
    };
    assert_eq!(inflight(&[], &[], ""), 20);
    assert_eq!(inflight(&[], &[], yaml), 3);
    assert_eq!(inflight(&[], &var, yaml), 4);
    assert_eq!(inflight(&flag, &var, yaml), 5);
}

#[test] // config-11
fn an_empty_variable_hides_the_file() {
    let yaml = "log: {format: json}\nmcp: {max_concurrent_requests: 3}";
    let env = [("LOG_FORMAT", ""), ("MCP_MAX_CONCURRENT_REQUESTS", "")];
    let loaded = with_base(&[], &env, yaml);
    let warnings = shown(&loaded.warnings);
    let config = loaded.config.unwrap();
    assert_eq!(config.log.format, LogFormat::Plain);
    assert_eq!(config.mcp.max_concurrent_requests, 10);
    assert!(warnings.iter().any(|w| w.starts_with("LOG_FORMAT:") && w.contains("f.yaml:1:15")));
    for name in [
        "CONTROL_PLANE_TUNNEL_ID",
        "CONTROL_PLANE_API_KEY",
        "CONTROL_PLANE_MAX_INFLIGHT_REQUESTS",
        "CONTROL_PLANE_POLL_CHANNELS",
        "ADMIN_UI_LOG_BUFFER_EVENTS",
        "PROXY_CHECK_INTERVAL",
    ] {
        let problems = bad_base(&[], &[(name, "")], "");
        assert!(problems[0].starts_with(name), "{problems:?}");
    }
}

#[test] // config-12
fn an_empty_flag_is_not_given_except_where_it_means_something() {
    let env = [("LOG_FORMAT", "json"), ("CA_BUNDLE", "/nonexistent")];
    let config =
        good_base(&["--log.format=", "--ca-bundle=", "--control-plane.api-key="], &env, "");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.ca_bundle, None);
    assert_eq!(config.control_plane.api_key.expose(), "sk-env");
    for flag in [
        "--control-plane.tunnel-id=",
        "--http-proxy=",
        "--mcp.http-proxy=",
        "--control-plane.http-proxy=",
        "--harpoon.http-proxy=",
        "--mcp.server-url=",
        "--mcp.command=",
        "--mcp.extra-headers=",
        "--control-plane.poll-timeout=",
        "--allow-remote-ui=",
    ] {
        let problems = bad_base(&[flag], &[], "");
        assert!(problems[0].starts_with(flag.trim_end_matches('=')), "{problems:?}");
    }
}

#[test] // config-13, config-58
fn lists_replace_and_a_higher_layer_takes_a_channel_over() {
    let yaml = "mcp: {server_urls: [{url: 'http://a'}, {channel: b, url: 'http://b'}]}";
    let env = [BASE[0], BASE[1]];
    let config = good(&["--mcp.server-url=http://c"], &env, yaml);
    assert_eq!(config.mcp.bindings.len(), 1);
    let commands = "mcp: {commands: [{command: srv}]}";
    let loaded = load_text(&["--mcp.server-url=http://c"], &env, commands);
    only(&shown(&loaded.warnings), "f.yaml:1:18: `mcp.commands`: not used: --mcp.server-url");
    assert!(matches!(
        loaded.config.unwrap().mcp.bindings[..],
        [Binding { target: Target::Http(_), .. }]
    ));
    let loaded = load_text(&["--mcp.command=srv"], &BASE, "");
    assert!(matches!(
        loaded.config.unwrap().mcp.bindings[..],
        [Binding { target: Target::Stdio { .. }, .. }]
    ));
    let both = ["--mcp.server-url=http://c", "--mcp.command=srv"];
    only(&shown(&load_text(&both, &env, "").problems), "`main` has two servers");
    let headers = "mcp: {extra_headers: {X-A: '1', X-B: '2'}}";
    let config = good_base(&["--mcp.extra-headers=X-C: 3"], &[], headers);
    assert_eq!(config.mcp.extra_headers.len(), 1);
}

#[test] // config-14
fn the_key_comes_from_flag_variable_file_and_last_the_other_variable() {
    let id = ("CONTROL_PLANE_TUNNEL_ID", ID);
    let url = ("MCP_SERVER_URL", "http://h");
    let yaml = "control_plane: {api_key: sk-file}";
    let key = |args: &[&str], more: &[(&str, &str)], yaml| {
        let env: Vec<_> = [id, url].iter().chain(more).copied().collect();
        good(args, &env, yaml).control_plane.api_key.expose().to_owned()
    };
    let other = ("OPENAI_API_KEY", "sk-other");
    let main = ("CONTROL_PLANE_API_KEY", "sk-main");
    assert_eq!(key(&[], &[other], ""), "sk-other");
    assert_eq!(key(&[], &[other], yaml), "sk-file");
    assert_eq!(key(&[], &[other, main], yaml), "sk-main");
    let flag = ["--control-plane.api-key=env:MINE"];
    assert_eq!(key(&flag, &[other, main, ("MINE", "sk-mine")], yaml), "sk-mine");
}

#[test] // config-15
fn an_overridden_reference_is_never_looked_at() {
    let yaml = "control_plane: {base_url: 'env:ABSENT', api_key: 'file:/nonexistent'}\n\
                mcp: {server_urls: [{url: 'env:ABSENT'}]}";
    let config = good_base(&["--control-plane.base-url=https://h"], &[], yaml);
    assert_eq!(config.control_plane.base_url.host, "h");
    let problems = bad_base(&[], &[], yaml);
    only(&problems, "f.yaml:1:27: `control_plane.base_url`: `env:ABSENT`: the variable ABSENT");
}

#[test] // config-16, config-65
fn the_nearest_proxy_wins_and_sockets_have_none() {
    let yaml = "http_proxy: http://global\n\
                mcp:\n  http_proxy: http://mcp\n  server_urls:\n\
                \x20   - {url: 'http://a'}\n\
                \x20   - {channel: b, url: 'http://b', http_proxy: 'http://entry'}\n\
                \x20   - {channel: c, url: 'http://c', unix_socket: /s}\n";
    let config = good(&[], &BASE[..2], yaml);
    let proxies: Vec<_> = config
        .mcp
        .bindings
        .iter()
        .map(|b| match &b.target {
            Target::Http(http) => http.http_proxy.as_ref().map(|p| p.url.to_string()),
            Target::Stdio { .. } => None,
        })
        .collect();
    assert_eq!(proxies, [Some("http://mcp".into()), Some("http://entry".into()), None]);
    assert_eq!(config.control_plane.http_proxy.unwrap().url.to_string(), "http://global");
    assert_eq!(config.harpoon.http_proxy.unwrap().url.to_string(), "http://global");
}

#[test] // wire-35
fn a_proxy_knows_where_it_was_named() {
    let entry = "mcp: {server_urls: [{url: 'http://a', http_proxy: 'http://p'}]}";
    let of_server = |config: Config| match config.mcp.bindings.into_iter().next()?.target {
        Target::Http(http) => http.http_proxy.map(|proxy| proxy.source),
        Target::Stdio { .. } => None,
    };
    let of_plane = |config: Config| config.control_plane.http_proxy.map(|proxy| proxy.source);
    let is = |label: &str| Some(label.to_owned());
    let flag = good_base(&["--control-plane.http-proxy=http://p"], &[], "");
    assert_eq!(of_plane(flag), is("control-plane.http-proxy"));
    let variable = good_base(&[], &[("CONTROL_PLANE_HTTP_PROXY", "http://p")], "");
    assert_eq!(of_plane(variable), is("CONTROL_PLANE_HTTP_PROXY"));
    let reference = good_base(&["--http-proxy=env:WAY"], &[("WAY", "http://p")], "");
    assert_eq!(of_plane(reference.clone()), is("env:WAY"));
    assert_eq!(of_server(reference), is("env:WAY"));
    assert_eq!(of_plane(good_base(&[], &[], "http_proxy: http://p")), is("http_proxy"));
    assert_eq!(of_server(good(&[], &BASE[..2], entry)), is("mcp.server_urls"));
}

#[test] // config-18, config-81
fn the_unix_socket_of_the_health_listener_wins() {
    let yaml = "health: {listen_addr: '127.0.0.1:1', unix_socket: /run/s}";
    let config = good_base(&[], &[], yaml);
    assert_eq!(config.health.listener, HealthListener::Unix("/run/s".into()));
    let literal = good_base(&[], &[("HEALTH_UNIX_SOCKET", "env:X")], "");
    assert_eq!(literal.health.listener, HealthListener::Unix("env:X".into()));
    let value = good_base(&[], &[("SOCK", " /v \n")], "health: {unix_socket: 'ENV:SOCK'}");
    assert_eq!(value.health.listener, HealthListener::Unix("/v".into()));
}

#[test] // config-19
fn a_log_file_without_format_is_struct_text_and_a_level_stands_alone() {
    let config = good_base(&["--log.file=/tmp/x"], &[], "");
    assert_eq!(config.log.format, LogFormat::StructText);
    let config = good_base(&["--log.level=debug", "--log.format=JSON"], &[], "");
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, log::LevelFilter::Debug));
    assert_eq!(good_base(&["--log.level=warn"], &[], "").log.format, LogFormat::Plain);
}

#[test] // config-61, config-62
fn what_is_required_is_named_with_every_way_to_give_it() {
    let problems = shown(&load_text(&[], &[], "").problems);
    assert_eq!(problems.len(), 3, "{problems:?}");
    for (problem, names) in problems.iter().zip([
        ["CONTROL_PLANE_TUNNEL_ID", "--control-plane.tunnel-id", "control_plane.tunnel_id"],
        ["CONTROL_PLANE_API_KEY", "--control-plane.api-key", "control_plane.api_key"],
        ["MCP_SERVER_URL", "--mcp.command", "mcp.server_urls"],
    ]) {
        assert!(names.iter().all(|name| problem.contains(name)), "{problem}");
    }
    let problems = shown(&load_text(&[], &[("OPENAI_ADMIN_KEY", "sk-admin")], "").problems);
    assert!(problems[1].contains("never uses an admin key"), "{problems:?}");
    assert!(problems.iter().all(|p| !p.contains("sk-admin")));
}

#[test] // config-42, config-43, config-84
fn malformed_ids_and_keys_are_told_apart_and_keys_are_not_shown() {
    only(&bad_base(&["--control-plane.tunnel-id=tunnel_1"], &[], ""), "`tunnel_1`");
    let spaced = format!(" {ID}\n");
    let config = good_base(&[], &[("CONTROL_PLANE_TUNNEL_ID", spaced.as_str())], "");
    assert_eq!(config.control_plane.tunnel_id.as_str(), ID);
    for (key, what) in
        [("sk-secret\n", "white space"), ("sk secret", "letters"), ("env:X", "itself")]
    {
        let problems = bad_base(&[], &[("CONTROL_PLANE_API_KEY", key)], "");
        only(&problems, what);
        assert!(!problems[0].contains("secret"), "{problems:?}");
    }
    only(&bad_base(&["--control-plane.api-key=sk-literal"], &[], ""), "env:NAME");
}

#[test] // config-63
fn poll_times_are_bounded_together() {
    only(&bad_base(&["--control-plane.poll-timeout=9m56s"], &[], ""), "at most 10m");
    good_base(&["--control-plane.poll-timeout=9m55s"], &[], "");
    only(&bad_base(&["--control-plane.poll-deadline-guardrail=1m"], &[], ""), "shorter than 1m");
    only(&bad_base(&["--control-plane.poll-timeout=0"], &[], ""), "longer than zero");
    only(&bad_base(&[], &[("MCP_STARTUP_WAIT_TIMEOUT", "-1s")], ""), "negative");
    only(&bad_base(&[], &[], "control_plane: {poll_timeout: 30}"), "`30s`");
}

#[test] // config-40, config-41, config-64, config-78
fn poll_channels_are_canonical_distinct_and_served() {
    let config = good_base(&["--control-plane.poll-channel=main"], &[], "");
    assert_eq!(config.control_plane.poll_channels.unwrap().len(), 1);
    for (list, what) in [
        ("main, b", "canonical"),
        ("Main", "`main`"),
        ("main,main", "twice"),
        ("main,", "canonical"),
        ("main,other", "no MCP server for the channel `other`"),
    ] {
        only(&bad_base(&[], &[("CONTROL_PLANE_POLL_CHANNELS", list)], ""), what);
    }
    only(&bad_base(&[], &[], "control_plane: {poll_channels: []}"), "empty");
    // `harpoon` needs a target, unless discovery may add some.
    good_base(&[], &[], "control_plane: {poll_channels: [main, harpoon]}");
    let env = [BASE[0], BASE[1]];
    let only_harpoon = "control_plane: {poll_channels: [harpoon]}";
    only(&shown(&load_text(&[], &env, only_harpoon).problems), "no target");
    let target = format!("{only_harpoon}\nharpoon: {{targets: [{{label: a, url: 'https://h'}}]}}");
    assert!(good(&[], &env, &target).mcp.bindings.is_empty());
}

#[test] // config-64
fn a_missing_main_channel_has_its_own_line() {
    let env = [BASE[0], BASE[1], ("MCP_COMMAND", "channel=b,command=srv")];
    only(&shown(&load_text(&[], &env, "").problems), "no MCP server for the channel `main`");
}

#[test] // config-53, config-57, config-65, config-67
fn entries_are_checked() {
    let url = |entry: &str| bad_base(&[], &[("MCP_SERVER_URL", entry)], "");
    only(&url("channel=harpoon,url=http://h"), "built in");
    only(&url("url=http://h,client-cert=/c"), "come together");
    only(&url("url=http://h,unix-socket=/s,http-proxy=http://p"), "not both");
    only(&url("url=http://h,colour=red"), "unknown key `colour`");
    only(&url("127.0.0.1:3001"), "https://");
    only(&url("ftp://h"), "only `https://`");
    let env = [BASE[0], BASE[1], ("MCP_COMMAND", "srv")];
    let problems = shown(&load_text(&["--mcp.client-cert=/c"], &env, "").problems);
    only(&problems, "`mcp.client_key` is missing");
}

#[test] // config-38, config-77
fn entries_of_environment_and_file_mean_the_same() {
    let env = [BASE[0], BASE[1], ("MCP_COMMAND", "a 'b c'\n\r\n channel=x,command=d, e \n")];
    let config = good(&[], &env, "");
    let yaml =
        "mcp:\n  commands:\n    - {command: \"a 'b c'\"}\n    - {channel: X, command: 'd, e'}";
    let same = good(&[], &BASE[..2], yaml);
    assert_eq!(format!("{:?}", config.mcp.bindings), format!("{:?}", same.mcp.bindings));
    // Commas, semicolons and line breaks in structured entries break the reference, and work here.
    let yaml = "mcp: {server_urls: [{url: 'http://h/a,b'}]}\n\
                harpoon: {targets: [{label: a, url: 'https://h', description: 'x, y; z'}]}";
    let config = good(&[], &BASE[..2], yaml);
    assert_eq!(config.harpoon.targets[0].description, "x, y; z");
}

#[test] // config-39, config-46, config-68, config-56
fn harpoon_targets_are_checked() {
    let target = |entry: &str| bad_base(&[], &[("HARPOON_TARGETS", entry)], "");
    only(&target("label=A,url=https://h"), "a label is");
    only(&target("label=a,url=http://h"), "allow_plaintext_http");
    only(&target("label=a,url=https://h;label=a,url=https://i"), "twice");
    only(&target("url=https://h"), "no `label`");
    let env = [("HARPOON_TARGETS", "label=a,url=http://h"), ("HARPOON_ALLOW_PLAINTEXT_HTTP", "1")];
    assert_eq!(good_base(&[], &env, "").harpoon.targets.len(), 1);
    only(&bad_base(&["--harpoon.max-redirects=6"], &[], ""), "0 to 5");
    only(&bad_base(&["--harpoon.additional-transport=stdio"], &[], ""), "http-streamable");
}

#[test] // config-36, config-37, config-48
fn headers_are_canonical_and_reserved_ones_refused() {
    let env = [("CONTROL_PLANE_EXTRA_HEADERS", "x-a: 1; X-B: env:B , x-b: two"), ("B", "two")];
    let headers = good_base(&[], &env, "").control_plane.extra_headers;
    let shown: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.expose())).collect();
    assert_eq!(shown, ["X-A=1", "X-B=two"]);
    only(&bad_base(&["--control-plane.extra-headers=AUTHORIZATION: x"], &[], ""), "itself");
    only(&bad_base(&[], &[("MCP_EXTRA_HEADERS", "x-a: 1, X-A: 2")], ""), "twice");
    good_base(&[], &[("MCP_EXTRA_HEADERS", "x-a: 1, x-a: 2")], "");
    good_base(&[], &[], "mcp: {extra_headers: {Authorization: 'Bearer x', X-N: 5}}");
    good_base(&[], &[], "mcp: {extra_headers: {}}");
}

#[test] // config-72, config-73
fn types_of_the_file_are_strict() {
    for (yaml, what) in [
        ("config_version: 2", "the only version is 1"),
        ("mcp: {max_concurrent_requests: '3'}", "without quotes"),
        ("mcp: {max_concurrent_requests: [3]}", "a single value is needed"),
        ("admin_ui: {allow_remote: 'true'}", "without quotes"),
        ("admin_ui: {allow_remote: maybe}", "`true` or `false`"),
        ("log: {level: loud}", "found `loud`; a level is"),
        ("log: {level: wran}", "(did you mean `warn`?)"),
        ("health: {listen_addr: ''}", "the value is empty"),
        ("control_plane: {poll_channels: main}", "a list is needed"),
        ("mcp: {extra_headers: [a]}", "a map of headers"),
    ] {
        only(&bad_base(&[], &[], yaml), what);
    }
    assert!(
        good_base(&[], &[], "config_version: 1\nadmin_ui: {allow_remote: True}")
            .admin_ui
            .allow_remote
    );
}

#[test] // config.md, section 10
fn cloudflared_is_refused_in_every_layer() {
    only(&bad_base(&["--cloudflared.managed=false"], &[], ""), "no cloudflared companion");
    only(&bad_base(&[], &[("CLOUDFLARED_PATH", "")], ""), "CLOUDFLARED_PATH");
    only(&bad_base(&[], &[], "cloudflared: {ready_timeout: 30s}"), "f.yaml:1:30");
    let loaded = with_base(&["--open-web-ui", "--harpoon.capture-payloads=true"], &[], "");
    assert_eq!(loaded.warnings.len(), 2);
    assert!(with_base(&["--open-web-ui=false"], &[], "").warnings.is_empty());
}

#[test] // config-17, wire-28
fn the_default_host_becomes_the_one_for_client_certificates() {
    let dir = std::env::temp_dir().join(format!("mcp-tunnel-mtls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    // Only the PEM framing is looked at here; `net` loads the pair.
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\nMAA=\n-----END {kind}-----\n");
    let (cert, key) = (dir.join("c.pem"), dir.join("k.pem"));
    std::fs::write(&cert, pem("CERTIFICATE")).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY")).unwrap();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let env = [("CONTROL_PLANE_CLIENT_CERT", cert), ("CONTROL_PLANE_CLIENT_KEY", key)];
    let host = |args: &[&str]| good_base(args, &env, "").control_plane.base_url.host;
    assert_eq!(host(&[]), "mtls.api.openai.com");
    assert_eq!(
        host(&["--control-plane.base-url= https://api.openai.com// "]),
        "mtls.api.openai.com"
    );
    assert_eq!(host(&["--control-plane.base-url=https://api.openai.com/x"]), "api.openai.com");
    assert_eq!(host(&["--control-plane.base-url=https://other"]), "other");
    only(&bad_base(&[], &env[..1], ""), "`control_plane.client_key` is missing");
    only(&bad_base(&[], &[env[1], ("CONTROL_PLANE_CLIENT_CERT", key)], ""), "no certificate");
    only(&bad_base(&[], &[("CA_BUNDLE", key)], ""), "no certificate");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_base_url_with_a_path_is_warned_about() {
    let loaded = with_base(&["--control-plane.base-url=https://h/gateway"], &[], "");
    assert!(shown(&loaded.warnings)[0].contains("url_path"));
}

#[test]
fn every_problem_is_reported_at_once() {
    let yaml = "control_plane:\n  tunnel_id: nope\n  max_inflght: 3\nlog:\n  level: loud\n";
    let env = [("MCP_CONNECTION_MAX_TTL", "10"), BASE[1]];
    let problems = shown(&load_text(&["--harpoon.max-redirects=x"], &env, yaml).problems);
    for start in [
        "f.yaml:3:3: unknown key `max_inflght` in `control_plane` (did you mean",
        "f.yaml:2:14: `control_plane.tunnel_id`: found `nope`",
        "MCP_CONNECTION_MAX_TTL: found `10`; a duration has a unit",
        "f.yaml:5:10: `log.level`: found `loud`; a level is",
        "--harpoon.max-redirects: found `x`; a whole number",
        "no MCP server",
    ] {
        assert!(problems.iter().any(|p| p.starts_with(start)), "{start} not in {problems:#?}");
    }
    assert_eq!(problems.len(), 6, "{problems:#?}");
}

#[test] // cli-4
fn integers_differ_by_layer() {
    only(&bad_base(&[], &[("MCP_MAX_CONCURRENT_REQUESTS", "0x10")], ""), "plain decimal");
    let config = good_base(&[], &[], "mcp: {max_concurrent_requests: 0x10}");
    assert_eq!(config.mcp.max_concurrent_requests, 16);
    only(&bad_base(&["--control-plane.max-inflight=10001"], &[], ""), "1 to 10000");
    only(&bad_base(&["--mcp.max-concurrent-requests=0"], &[], ""), "at least 1");
}

#[test]
fn every_setting_but_the_sources_shows_its_effect() {
    let loaded = with_base(&[], &[], "config_version: 1\n");
    let shown: Vec<Id> = loaded.effective.iter().map(|e| e.id).collect();
    for s in TABLE {
        let expected = !matches!(s.kind, table::Kind::Source(_) | table::Kind::Refused);
        assert_eq!(
            shown.iter().filter(|id| **id == s.id).count(),
            usize::from(expected),
            "{:?}",
            s.id
        );
    }
    let text = format!("{:?}", loaded.effective);
    assert!(!text.contains("sk-env"));
}

#[test]
fn the_admin_key_in_the_environment_is_warned_about() {
    let loaded = with_base(&[], &[("OPENAI_ADMIN_KEY", "sk-admin")], "");
    assert!(loaded.config.is_some());
    assert!(shown(&loaded.warnings)[0].contains("OPENAI_ADMIN_KEY"));
}

#[test] // config-5
fn an_unreadable_file_is_the_only_thing_that_is_said() {
    let loaded = load(&Flags::of(&["--config=/nonexistent/f"]), &Env::default());
    only(&shown(&loaded.problems), "cannot read the configuration file /nonexistent/f");
}

#[test] // config-79
fn a_text_is_checked_without_looking_anything_up() {
    let yaml = "ca_bundle: env:ABSENT\n\
                http_proxy: env:ABSENT\n\
                control_plane: {base_url: 'env:ABSENT', api_key: 'file:/nonexistent'}\n\
                mcp: {server_urls: [{url: 'env:ABSENT'}], extra_headers: {X-A: 'env:ABSENT'}}";
    assert!(shown(&check_text("f", yaml)).is_empty(), "{:?}", shown(&check_text("f", yaml)));
    let problems =
        shown(&check_text("f", "control_plane: {tunnel_id: x, poll_timeout: 30}\nlgo: {}"));
    assert_eq!(problems.len(), 3, "{problems:?}");
}

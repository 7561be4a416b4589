//! The checks in the order of the report: the configuration, the control plane, the MCP side,
//! the listener. Each adds rows and stops nothing.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use super::certificates::{EXPIRED, NO_WAY, client_certificates, server_certificate};
use super::{Row, Status, listener, mcp};
use crate::confine;
use crate::daemon::verdict;
use crate::hops::bindings::access;
use crate::hops::hop::HopPart;
use crate::hops::metadata::{self, FetchError};
use crate::hops::{Hop, Hops, environment};
use crate::net::{Cancel, Cause, NetError, NetErrorKind, Trust};
use crate::random;
use crate::secret::Secret;
use crate::settings::config::{Config, Confinement, Target};
use crate::settings::samples::PAGES;
use crate::settings::{Id, Loaded, Problem, Setting, Source};

/// How long the control plane may take to answer.
const CONTROL_PLANE_LIMIT: Duration = Duration::from_secs(10);

/// The ids of the four pages, in the order of [`PAGES`].
const PAGE_IDS: [&str; 4] = [
    "tunnels_management_url",
    "runtime_api_keys_url",
    "admin_api_keys_url",
    "chatgpt_connector_settings_url",
];

/// All checks of a loaded configuration.
pub fn all(loaded: &Loaded) -> Vec<Row> {
    let mut rows = source(loaded);
    let Some(config) = &loaded.config else {
        rows.extend(problems(&loaded.problems, loaded));
        rows.extend(pages());
        return rows;
    };
    rows.push(Row::pass("tunnel_id", config.control_plane.tunnel_id.as_str()));
    rows.push(api_key(loaded));
    rows.push(secret_permissions(loaded));
    rows.push(secrets_locked());
    rows.push(confinement(config.process.confinement));
    rows.extend(warnings(loaded));
    let mut refused = verdict::unsupported(config, &loaded.effective);
    refused.extend(verdict::files(config, &loaded.effective));
    rows.extend(problems(&refused, loaded));
    let hops = hops(config, &mut rows);
    rows.extend(hops.iter().flat_map(Hops::all).filter_map(|hop| {
        let (proxy, source) = hop.proxy.as_ref()?;
        Some(Row::pass(format!("proxy:{}", hop.name), format!("{} ({source})", proxy.url())))
    }));
    rows.extend(client_certificates(config, hops.as_ref()));
    rows.extend(control_plane(config, hops.as_ref().map(Hops::control_plane)));
    rows.extend(hops.as_ref().and_then(|hops| server_certificate(hops.control_plane())));
    rows.extend(pages());
    rows.extend(command_environment(config));
    for binding in &config.mcp.bindings {
        rows.extend(mcp::check(config, binding, hops.as_ref()));
    }
    rows.extend(listener::check(&config.health.listener));
    rows
}

fn source(loaded: &Loaded) -> Vec<Row> {
    match &loaded.selected {
        Some(selected) => {
            let path = selected.path.display();
            let chosen = match &selected.profile {
                Some(profile) => format!("profile {profile} ({}): {path}", selected.source),
                None => format!("{path} ({})", selected.source),
            };
            let mut rows = vec![Row::pass("config_source", chosen)];
            if !fails(loaded, "profile_load") {
                rows.push(Row::pass("profile_load", format!("{path} is readable")));
            }
            rows
        }
        None if fails(loaded, "config_source") => Vec::new(),
        None => vec![
            Row::pass("config_source", "flags and environment only"),
            Row::pass("profile_load", "no file"),
        ],
    }
}

fn fails(loaded: &Loaded, check: &str) -> bool {
    loaded.problems.iter().any(|problem| check_of(problem, loaded) == check)
}

/// Which check a problem of the configuration belongs to. One without a setting is about the
/// choice of the file if no file was chosen, about the file if nothing could be taken from it, and
/// about the MCP servers as a whole otherwise.
fn check_of(problem: &Problem, loaded: &Loaded) -> &'static str {
    match problem.id {
        Some(Id::TunnelId) => "tunnel_id",
        Some(Id::ApiKey) => "control_plane_api_key",
        Some(Id::BaseUrl) => "control_plane_base_url",
        Some(Id::ServerUrls | Id::Commands) => "mcp_target",
        Some(Id::ConfigFile | Id::Profile | Id::ProfileFile | Id::ProfileDir) => "config_source",
        Some(_) => "config_validation",
        None if problem.source.is_some() => "config_validation",
        None if !loaded.effective.is_empty() => "mcp_target",
        None if loaded.selected.is_some() => "profile_load",
        None => "config_source",
    }
}

/// One row for each check that has problems; all of them are its evidence.
fn problems(problems: &[Problem], loaded: &Loaded) -> Vec<Row> {
    let mut by_check: BTreeMap<&str, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        by_check.entry(check_of(problem, loaded)).or_default().push(problem);
    }
    by_check
        .into_iter()
        .map(|(check, problems)| {
            let summary = match problems.as_slice() {
                [one] => one.to_string(),
                [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
                [] => String::new(),
            };
            let mut row = Row::fail(check, summary)
                .why("The daemon does not start with this configuration.")
                .next("Mend it; `mcp-tunnel config check` lists everything that is wrong.");
            row.evidence = problems.iter().map(ToString::to_string).collect();
            match check {
                "tunnel_id" => row.next(format!("Tunnels are made at {}.", PAGES[0].1)),
                "control_plane_api_key" => {
                    row.next(format!("Runtime keys are made at {}.", PAGES[1].1))
                }
                _ => row,
            }
        })
        .collect()
}

fn pages() -> impl Iterator<Item = Row> {
    PAGE_IDS.into_iter().zip(PAGES).map(|(id, (_, url))| Row::pass(id, url))
}

/// Says which key is used, never the key.
fn api_key(loaded: &Loaded) -> Row {
    let found = loaded.effective.iter().find(|e| e.id == Id::ApiKey);
    let summary = match found.map(|e| (&e.source, e.value.as_deref().unwrap_or_default())) {
        Some((Source::Variable(name), _)) => format!("from the variable {name}"),
        Some((source, "[redacted]")) => format!("a literal key in {source}"),
        Some((source, reference)) => format!("{reference} ({source})"),
        None => String::new(),
    };
    Row::pass("control_plane_api_key", summary)
}

fn secret_permissions(loaded: &Loaded) -> Row {
    if loaded.exposed.is_empty() {
        return Row::pass("secret_permissions", "no secret file is open to others");
    }
    let mut row = Row::warn("secret_permissions", loaded.exposed[0].clone())
        .why("Whoever can read the key can take this tunnel's calls.")
        .next("Give the file to the daemon's user alone: chmod 600.");
    row.evidence.clone_from(&loaded.exposed);
    row
}

fn secrets_locked() -> Row {
    if Secret::all_locked() {
        return Row::pass("secrets_locked", "secrets are kept out of swap");
    }
    Row::warn("secrets_locked", "the kernel does not keep the secrets out of swap")
        .why("A key that was written to a swap device can be read there later.")
        .next("Raise RLIMIT_MEMLOCK: `ulimit -l 64`, with systemd LimitMEMLOCK=64K; or use encrypted swap.")
}

/// Which part of our environment the MCP commands get, if there are commands.
fn command_environment(config: &Config) -> Option<Row> {
    const ID: &str = "mcp_environment";
    let is_command = |target: &Target| matches!(target, Target::Stdio { .. });
    config.mcp.bindings.iter().find(|binding| is_command(&binding.target))?;
    if config.mcp.inherit_env {
        let row = Row::warn(ID, "the commands get all of it but the tunnel's secrets")
            .why("A server sees everything else that is there, and so does anyone who takes it over.")
            .next("Name what it needs in `mcp.pass_env`, and remove `mcp.inherit_env`.");
        return Some(row);
    }
    Some(match environment::of(config, std::env::vars_os()).words() {
        Some(words) => Row::pass(ID, format!("clean; {words} (see mcp.pass_env)")),
        None => Row::pass(ID, "clean"),
    })
}

/// Checks whether the kernel can confine the daemon. Another process tries it, because confinement
/// cannot be undone.
fn confinement(wanted: Confinement) -> Row {
    const ID: &str = "confinement";
    if wanted == Confinement::Off {
        return Row::warn(ID, "off")
            .why("The daemon keeps rights that it does not need.")
            .next("Remove `process.confinement`, or set it to `on`.");
    }
    let tried = std::env::current_exe()
        .and_then(|program| Command::new(program).arg(confine::PROBE).env_clear().output());
    let found = match tried {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return Row::warn(ID, format!("cannot be tried: {error}")),
    };
    let row = match wanted {
        _ if found == "full" => return Row::pass(ID, found),
        Confinement::Require => Row::fail(ID, found),
        _ => Row::warn(ID, found),
    };
    row.why("The system cannot take away all the rights that the daemon gives up.")
        .next("A newer kernel, or a container that allows Landlock and seccomp, can.")
}

fn warnings(loaded: &Loaded) -> Option<Row> {
    let lines: Vec<String> = loaded
        .warnings
        .iter()
        .map(ToString::to_string)
        .filter(|line| !loaded.exposed.contains(line))
        .collect();
    let first = lines.first()?.clone();
    let mut row = Row::warn("config_warnings", first)
        .why("The configuration works, but may not mean what it says.")
        .next("`mcp-tunnel config show` tells where each value comes from.");
    row.evidence = lines;
    Some(row)
}

/// Certificates, keys and proxies.
fn hops(config: &Config, rows: &mut Vec<Row>) -> Option<Hops> {
    match Hops::of(config) {
        Ok(hops) => {
            if let Some(path) = &config.ca_bundle {
                rows.push(Row::pass("ca_bundle", path.display().to_string()));
            }
            if let Some(why) = hops.trust().and_then(Trust::without_system) {
                rows.push(
                    Row::warn("system_trust", why)
                        .why("Only servers that `ca_bundle` vouches for are believed.")
                        .next("Install the system's CA certificates, or leave it so."),
                );
            }
            Some(hops)
        }
        Err(wrong) => {
            let check = match wrong.part {
                HopPart::Trust => "ca_bundle",
                HopPart::Identity => "client_certificates",
                HopPart::Proxy => "proxy",
            };
            let row = Row::fail(check, wrong.line);
            rows.push(match wrong.part {
                HopPart::Trust => row
                    .why("Without trusted certificates no TLS connection can be made.")
                    .next("Install the system's CA certificates, or set `ca_bundle`."),
                HopPart::Proxy => row
                    .why("The daemon does not start with this variable.")
                    .next("Set `http_proxy` in the configuration, or correct the variable."),
                HopPart::Identity => row
                    .why("The daemon does not start with this certificate and key.")
                    .next("openssl x509 -in CERT -noout -subject -enddate shows what it is."),
            });
            None
        }
    }
}

/// Asks for the tunnel with the runtime key.
fn control_plane(config: &Config, hop: Option<&Hop>) -> Vec<Row> {
    const REACHABLE: &str = "control_plane_reachable";
    const AUTH: &str = "control_plane_auth";
    let origin = config.control_plane.base_url.origin();
    let Some(hop) = hop else {
        return vec![Row::skip(REACHABLE, NO_WAY), Row::skip(AUTH, NO_WAY)];
    };
    let mut quick = config.clone();
    quick.control_plane.poll_timeout = CONTROL_PLANE_LIMIT;
    quick.control_plane.poll_deadline_guardrail = Duration::ZERO;
    let asked = random::instance_id()
        .map_err(|e| e.to_string())
        .and_then(|instance| access(&quick, instance, hop))
        .and_then(|access| Cancel::new().map(|cancel| (access, cancel)).map_err(|e| e.to_string()));
    let (access, cancel) = match asked {
        Ok(asked) => asked,
        Err(wrong) => return vec![Row::fail(REACHABLE, wrong)],
    };
    match metadata::fetch(&access, cancel) {
        Ok(tunnel) => {
            let daemon = listener::conditions(&config.health);
            let mut rows = vec![
                Row::pass(REACHABLE, &origin),
                Row::pass(AUTH, format!("the key may read the tunnel `{}`", tunnel.name)),
                may_use(daemon.as_deref()),
            ];
            rows.extend(tunnel.daemons.map(|count| alone(config, count, daemon.is_some())));
            rows
        }
        Err(FetchError::Net(error)) => {
            vec![unreachable(&origin, &error), Row::skip(AUTH, "the control plane was not reached")]
        }
        Err(FetchError::Document(what)) => vec![
            Row::warn(REACHABLE, format!("{origin} answers, but {what}"))
                .why("Something else than a control plane may listen there.")
                .next("Check the base URL and the URL path."),
            Row::skip(AUTH, "the answer was not understood"),
        ],
        Err(FetchError::Status(refused)) => {
            let status = match refused.status {
                401 | 403 | 404 => Status::Fail,
                _ => Status::Warn,
            };
            let mut row = Row::new(AUTH, status, refusal(refused.status, refused.code.as_deref()))
                .why("Polls are refused in the same way, so no call arrives.")
                .evidence(format!("HTTP {}", refused.status));
            row.evidence.extend(refused.message.clone());
            row.evidence.extend(refused.request_id.as_ref().map(|id| format!("x-request-id {id}")));
            row.next.extend(refused.mitigation().map(str::to_owned));
            row.next.push(match refused.status {
                401 => format!("Make a runtime key at {}.", PAGES[1].1),
                403 | 404 => format!("Compare the tunnel id with {}.", PAGES[0].1),
                _ => "Try again later; the daemon does so by itself.".to_owned(),
            });
            vec![Row::pass(REACHABLE, &origin), row]
        }
    }
}

/// Checks whether polls are accepted. Only a poll can tell, but a poll of our own could receive a
/// command that nobody would answer. So a running daemon is asked about its polls.
fn may_use(daemon: Option<&str>) -> Row {
    const USE: &str = "control_plane_use";
    let Some(conditions) = daemon else {
        return Row::skip(USE, "not proven: no daemon runs here")
            .why(
                "Only a poll proves the Use permission, and a poll of doctor's own could be handed \
                 a call that nobody would answer.",
            )
            .next("Start the daemon; its log and `mcp-tunnel health` say whether polls succeed.");
    };
    let said = |word: &str| {
        conditions.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(" control_plane"))
    };
    match (said("ok"), said("not ok")) {
        (_, Some(reason)) => Row::fail(USE, format!("the running daemon{reason}"))
            .why("Without polls no call arrives.")
            .next("If it is refused, give the key's principal Tunnels Read and Use.")
            .next("The running daemon may have older settings: restart it after a change."),
        (Some(but), None) => Row::pass(USE, format!("the running daemon polls{but}")),
        (None, None) => Row::warn(USE, "the running daemon does not say whether it polls")
            .next("Look at its log; it may be about to end."),
    }
}

/// Checks whether another daemon takes commands of the same tunnel.
fn alone(config: &Config, count: usize, runs_here: bool) -> Row {
    const DAEMONS: &str = "tunnel_daemons";
    let others = count.saturating_sub(usize::from(runs_here));
    let stdio = config.mcp.bindings.iter().any(|b| matches!(b.target, Target::Stdio { .. }));
    match (others, stdio) {
        (0, _) if count > 0 => Row::pass(DAEMONS, "the running daemon is the only one"),
        (0, _) => Row::pass(DAEMONS, "no daemon polls this tunnel now"),
        (others, true) => Row::warn(DAEMONS, format!("{others} other daemon(s) poll this tunnel"))
            .why(
                "Commands are shared out among all daemons of a tunnel, and each has a stdio \
                     server of its own: a session's calls reach servers that do not know it.",
            )
            .next("Stop the others, or give each daemon a tunnel id of its own.")
            .next("One that was stopped a moment ago is still counted: try again in 30 s."),
        (others, false) => {
            Row::pass(DAEMONS, format!("{others} other(s) poll it: fine for one MCP server"))
        }
    }
}

fn refusal(status: u16, code: Option<&str>) -> String {
    match (status, code) {
        (
            401 | 403,
            Some(
                "tunnel_principal_association_unverified"
                | "tunnel_active_organization_required"
                | "tunnel_active_organization_context_required",
            ),
        ) => "key of another organization or workspace".to_owned(),
        _ => refused(status),
    }
}

fn refused(status: u16) -> String {
    match status {
        401 => "the key is not accepted: wrong, revoked, or not a runtime key".to_owned(),
        403 => "the key is not one for this tunnel".to_owned(),
        404 => "the control plane does not know this tunnel id".to_owned(),
        status => format!("the control plane answered HTTP {status}"),
    }
}

fn unreachable(origin: &str, error: &NetError) -> Row {
    let row = Row::fail("control_plane_reachable", format!("{origin}: {error}"))
        .why("Without the control plane nothing can be polled.");
    match error.cause {
        Some(Cause::AtProxy) => {
            return row
                .next("Check that the proxy runs, and that its address in the settings is right.");
        }
        Some(Cause::Expired) => return row.next(EXPIRED),
        None => {}
    }
    match error.kind {
        NetErrorKind::Dns => row
            .next("Check the host name in `control_plane.base_url`.")
            .next("Check name resolution here: getent hosts HOST."),
        NetErrorKind::Tls => row
            .next("If TLS is opened on the way, set `ca_bundle` to that CA's PEM file.")
            .next("Check the clock of this host."),
        NetErrorKind::Refused => row.next("Check host and port: nobody listens there."),
        _ => row
            .next("Check that outbound connections to this host and port are allowed.")
            .next(format!("If there is a proxy, set `{}`.", Setting::of(Id::HttpProxy).key)),
    }
}

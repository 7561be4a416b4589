//! The JSON of the operator page: `/api/status`, `/api/settings`, and the record of a command
//! (operations.md, section 2).
//!
//! Text that a peer chose (names of servers and tools) is made printable here.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use super::advice::{self, Causes};
use super::command_record::CommandRecord;
use super::conditions::complaint;
use super::shared::Shared;
use super::since::Since;
use crate::hops::Hop;
use crate::mcp::Binding;
use crate::mcp::stdio::StdioState;
use crate::observed::Catalog;
use crate::ops::listener::Standstill;
use crate::ops::log::printable;
use crate::ops::readiness::Readiness;
use crate::settings::config::{Config, Target};
use crate::settings::url::bracketed;
use crate::settings::{Effective, Id, Setting};
use crate::wire::CLIENT_VERSION;
use crate::wire::time::rfc3339;

/// The tunnel's name and description, once the control plane has sent them.
#[derive(Debug, Default)]
pub(super) struct Metadata(pub(super) OnceLock<Result<(String, String, String), String>>);

pub(super) struct Status {
    pub(super) config: Config,
    pub(super) shared: Arc<Shared>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) since: Arc<Since>,
    pub(super) standstill: Standstill,
    pub(super) metadata: Arc<Metadata>,
    pub(super) health_url: String,
    pub(super) started: (Instant, SystemTime),
}

impl Status {
    pub(super) fn json(&self) -> String {
        let config = &self.config;
        let control_plane = &config.control_plane;
        let (state_for, state_since) = self.since.get();
        let (in_hand, oldest) = self.shared.queue.in_hand();
        let mut status = json!({
            "version": CLIENT_VERSION,
            "client_instance_id": self.shared.access.instance_id(),
            "started_at": rfc3339(self.started.1),
            "uptime_seconds": self.started.0.elapsed().as_secs(),
            "health_listen_addr": self.health_url.trim_start_matches("http://"),
            "control_plane_base_url": self.shared.access.origin(),
            "control_plane_tunnel_id": self.shared.access.tunnel_id().as_str(),
            "control_plane_max_inflight": control_plane.max_inflight,
            "control_plane_poll_timeout": go_duration(control_plane.poll_timeout),
            "control_plane_poll_deadline_guardrail":
                go_duration(control_plane.poll_deadline_guardrail),
            "channels": self.channels(),
            "raw_http_logging_enabled": config.log.http_raw_unsafe,
            "warnings": config.warnings,
            "state_since": rfc3339(state_since),
            "state_seconds": state_for.as_secs(),
            "standstill": (self.standstill)(),
            "live": {
                "workers": self.shared.workers,
                "busy": in_hand,
                "oldest_in_hand_seconds": oldest.as_secs_f64(),
                "queued": self.shared.queue.waiting(),
                "queue_capacity": self.shared.queue_capacity,
                "oldest_waiting_seconds": self.shared.queue.oldest_wait().as_secs_f64(),
                "answered_total": self.shared.commands.answered.get(),
                "poll_cycles_total": self.shared.poll.cycles.get(),
            },
        });
        let (first, servers) = self.routes();
        status["control_plane_route"] = first;
        status["mcp_routes"] = servers;
        let main = config.mcp.bindings.iter().find(|binding| binding.channel.is_main());
        if let Some(Target::Http(http)) = main.map(|binding| &binding.target) {
            status["mcp_server_url"] = http.url.origin().into();
        }
        match self.metadata.0.get() {
            Some(Ok((id, name, description))) => {
                status["tunnel_metadata"] =
                    json!({"id": id, "name": name, "description": description});
            }
            Some(Err(line)) => status["tunnel_metadata_error"] = line.as_str().into(),
            None => {}
        }
        let report = self.readiness.report();
        status["advice"] = advice::json(&report, &Causes::of(&self.shared));
        // The report is JSON text already.
        let text = status.to_string();
        format!("{},\"readiness\":{}}}", &text[..text.len() - 1], report.json())
    }

    /// The control plane's route, and those of the HTTP servers.
    fn routes(&self) -> (Value, Value) {
        let mut routes = self.shared.hops.all().enumerate().map(|(number, hop)| route(number, hop));
        let first = routes.next().unwrap_or_default();
        (first, routes.collect())
    }

    fn channels(&self) -> Vec<Value> {
        let channel = |configured: &crate::settings::config::Binding| {
            let name = configured.channel.as_str();
            let bound = self.shared.bindings.iter().find(|(channel, _)| channel.as_str() == name);
            let complaint = bound.and_then(|(_, binding)| complaint(binding));
            let mut shown = json!({
                "name": name,
                "enabled": complaint.is_none(),
                "server_kind": "external",
            });
            if let Some(reason) = complaint {
                shown["reason"] = reason.into();
            }
            if configured.channel.is_main() {
                let (found, complaint) = found(&self.shared);
                shown["probe_status"] = found.into();
                if let Some(complaint) = complaint {
                    shown["probe_error"] = complaint.into();
                }
            }
            if let Some((_, binding)) = bound {
                let known = match binding {
                    Binding::Http(http) => &http.server().catalog,
                    Binding::Stdio(stdio) => stdio.catalog(),
                };
                catalog(known, &mut shown);
            }
            match (&configured.target, bound.map(|(_, binding)| binding)) {
                (Target::Stdio { argv }, Some(Binding::Stdio(stdio))) => {
                    let status = stdio.status();
                    let pid = status.pid.map_or_else(|| "—".to_owned(), |pid| pid.to_string());
                    shown["transport_kind"] = "stdio".into();
                    shown["restarts"] = status.restarts.into();
                    // Arguments may be secrets, so only the program is shown.
                    let program = argv.first().cloned().unwrap_or_default();
                    shown["details"] = json!([
                        {"key": "pid", "value": pid},
                        {"key": "command", "value": program},
                    ]);
                }
                (Target::Http(http), _) => {
                    shown["transport_kind"] = "http-streamable".into();
                    shown["details"] = json!([{"key": "address", "value": http.url.origin()}]);
                }
                _ => {}
            }
            shown
        };
        let mut channels: Vec<Value> = self.config.mcp.bindings.iter().map(channel).collect();
        channels.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        channels
    }
}

/// One hop; number 0 is the one to the control plane.
pub(super) fn route(number: usize, hop: &Hop) -> Value {
    let kind = if number == 0 { "control_plane" } else { "mcp_channel" };
    let mut route = json!({
        "kind": kind,
        "name": hop.name,
        "target": format!("{}:{}", bracketed(&hop.target.host), hop.target.port),
        "route_mode": if hop.proxy.is_some() { "proxy" } else { "direct" },
        "proxy_source": hop.proxy.as_ref().map_or("none", |(_, source)| source.as_str()),
    });
    if let Some((proxy, _)) = &hop.proxy {
        route["proxy_url"] = proxy.url().into();
        route["proxy_id"] = proxy.id().into();
    }
    route
}

/// The state of the main channel's server in the reference's word, and its fault.
pub(super) fn found(shared: &Shared) -> (Option<&'static str>, Option<String>) {
    let main = shared.bindings.iter().find(|(channel, _)| channel.is_main());
    let Some((_, binding)) = main else { return (None, None) };
    let word = match binding {
        Binding::Http(http) => http.server().state.found().as_str(),
        Binding::Stdio(stdio) => match stdio.status().state {
            StdioState::Up { .. } => "ok",
            StdioState::Starting { .. } => "pending",
            StdioState::Silent { .. } => "timeout",
            StdioState::Down { .. } => "failed",
        },
    };
    (Some(word), complaint(binding))
}

/// A server's own description of itself.
fn catalog(catalog: &Catalog, shown: &mut Value) {
    let text = |text: &str| Value::from(printable(text));
    if let Some(about) = catalog.server() {
        shown["server_info"] = json!({
            "name": text(&about.name),
            "version": about.version.as_deref().map(text),
            "protocol_version": about.protocol.as_deref().map(text),
            "seen_at": rfc3339(about.seen_at),
        });
    }
    if let Some(tools) = catalog.tools() {
        shown["tools"] = json!({
            "names": tools.names.iter().map(|name| text(name)).collect::<Vec<_>>(),
            "more": tools.more,
            "seen_at": rfc3339(tools.seen_at),
        });
    }
}

/// `/api/harpoon/status`: this version has no Harpoon, and refuses its settings.
pub(super) fn harpoon(config: &Config) -> String {
    json!({
        "enabled": false,
        "reason": "harpoon not initialized",
        "capture_payloads": false,
        "allow_plaintext_http": config.harpoon.allow_plaintext_http,
        "max_response_bytes": config.harpoon.max_response_bytes,
        "max_redirects": config.harpoon.max_redirects,
    })
    .to_string()
}

/// `/api/settings`: each setting with its source. Secrets are already redacted when they are read.
/// Values that may hold an unmarked secret (arguments of a command, a path or query) are shortened
/// to their first part.
pub(super) fn settings(config: &Config, effective: &[Effective]) -> String {
    let heads = |wanted: Id| {
        let heads: Vec<String> = config
            .mcp
            .bindings
            .iter()
            .filter_map(|binding| match (&binding.target, wanted) {
                (Target::Http(http), Id::ServerUrls) => {
                    Some(format!("{}: {}", binding.channel, http.url.origin()))
                }
                (Target::Stdio { argv }, Id::Commands) => {
                    Some(format!("{}: {}", binding.channel, argv.first()?))
                }
                _ => None,
            })
            .collect();
        heads.join(", ")
    };
    let shown = |e: &Effective| {
        let value = match (e.id, &e.value) {
            (Id::ServerUrls | Id::Commands, Some(_)) => Some(heads(e.id)),
            (_, value) => value.clone(),
        };
        json!({
            "key": Setting::of(e.id).key,
            "value": value,
            "source": e.source.json(),
        })
    };
    let settings: Vec<Value> = effective.iter().map(shown).collect();
    json!({"settings": settings}).to_string()
}

/// A finished command, as the audit trail and the page show it.
pub(super) fn record(record: &CommandRecord) -> String {
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value);
    put("time", rfc3339(record.at).into());
    // These three are the remote side's text.
    let text = |text: &str| Value::from(printable(text));
    put("request_id", text(&record.request_id));
    put("channel", record.channel.as_str().into());
    put("kind", record.kind.into());
    put("method", record.method.as_deref().map(text).into());
    put("tool", record.tool.as_deref().map(text).into());
    put("outcome", record.outcome().into());
    put("status", record.status.into());
    put("bytes_in", record.bytes_in.into());
    put("bytes_out", record.bytes_out.into());
    put("queued_ms", ms(record.queued).into());
    put("mcp_ms", ms(record.server.unwrap_or_default()).into());
    put("duration_ms", ms(record.took).into());
    Value::Object(line).to_string()
}

/// A duration in Go's notation, to whole milliseconds: `30s`, `1m0s`, `1.5s`.
fn go_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let millis = time.subsec_millis();
    let tail = if millis == 0 {
        format!("{}s", seconds % 60)
    } else {
        format!("{}.{}s", seconds % 60, format!("{millis:03}").trim_end_matches('0'))
    };
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => tail,
        (0, minutes) => format!("{minutes}m{tail}"),
        (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // operations.md 2.1
    fn durations_are_written_as_go_writes_them() {
        for (ms, text) in
            [(30_000, "30s"), (60_000, "1m0s"), (1_500, "1.5s"), (3_600_000, "1h0m0s")]
        {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }
}

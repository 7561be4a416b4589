//! The support archive (`/api/logs/export`, operations-136 to operations-139): a few files about
//! the daemon, for somebody who is asked for help.
//!
//! It is made of the answers that the page gives, which hold no payload and no secret. It leaves
//! out what a child printed, because that may contain anything.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::admin::Admin;
use super::tar::tar_gz;
use crate::httpd::Exchange;
use crate::ops::answer::number;
use crate::record_kind::RecordKind;
use crate::wire::time::rfc3339;
use crate::wire::{CLIENT_NAME, CLIENT_VERSION};

/// Minutes of log if the client does not say, and at most (operations-136).
const MINUTES_DEFAULT: u64 = 30;
const MINUTES_MAX: u64 = 1_440;

const README: &str = "\
What mcp-tunnel knows of itself: its settings with their sources, its newest \
log records, its metrics, its state, and its last commands.
It holds no key, no token, no header and no payload; of what went through the tunnel it has \
the names of methods, MCP servers and their tools.
";

/// Answers with the archive. `metrics` is the page of metrics.
pub(super) fn export(admin: &Admin, exchange: Exchange<'_>, metrics: String) {
    let minutes = number(&exchange, "minutes").map_or(MINUTES_DEFAULT, |n| n as u64);
    let now = SystemTime::now();
    let files = files(admin, minutes.min(MINUTES_MAX), now, metrics);
    let archive = tar_gz(&files, now);
    let day = rfc3339(now).replace(['-', ':'], "");
    let name = format!("tunnel-client-logs-{}Z.tar.gz", &day[..15]);
    let headers = [
        ("Content-Type", "application/gzip"),
        ("Content-Disposition", &format!("attachment; filename=\"{name}\"")),
        ("Cache-Control", "no-store, max-age=0"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    let _ = exchange.respond(200, &headers, &archive);
}

/// The names and contents of the files, the manifest first.
fn files(
    admin: &Admin,
    minutes: u64,
    now: SystemTime,
    metrics: String,
) -> Vec<(&'static str, String)> {
    let since = now.checked_sub(Duration::from_secs(minutes * 60)).unwrap_or(now);
    let mut events = admin.logger.ring().newest(usize::MAX);
    events.retain(|e| e.at >= since && e.kind != Some(RecordKind::ChildOutput));
    let client = json!({
        "client_name": CLIENT_NAME,
        "semantic_version": env!("CARGO_PKG_VERSION"),
        "version": CLIENT_VERSION,
        "user_agent": format!("{CLIENT_NAME}/{CLIENT_VERSION}"),
    });
    let mut manifest = json!({
        "generated_at": rfc3339(now),
        "window_start": rfc3339(since),
        "window_end": rfc3339(now),
        "window": format!("{minutes}m0s"),
        "event_count": events.len(),
        "log_buffer_capacity": admin.logger.ring().capacity(),
        "metrics_bytes": metrics.len(),
        "redacted": true,
        "runtime": {"client": client},
    });
    let runtime = runtime(client, &(admin.settings)());
    let mut files = vec![
        ("manifest.json", String::new()),
        ("README.txt", README.to_owned()),
        ("tunnel-client.runtime.yaml", format!("{runtime:#}\n")),
        ("tunnel-client.logs.ndjson", events.iter().map(|e| format!("{}\n", e.json)).collect()),
        ("tunnel-client.metrics.prom", metrics),
        ("admin/status.json", (admin.status)()),
        ("admin/system.json", (admin.system)()),
        ("admin/oauth.json", (admin.oauth_summary)()),
        ("admin/harpoon.json", admin.harpoon.clone()),
        ("admin/commands.json", admin.recent.json(usize::MAX)),
    ];
    manifest["files"] = files.iter().map(|(name, _)| *name).collect();
    files[0].1 = format!("{manifest:#}\n");
    files
}

/// `tunnel-client.runtime.yaml` (operations-139, operations-144), as JSON, which is YAML too: the
/// settings nested as in a configuration file, and each setting with its source.
fn runtime(client: Value, settings: &str) -> Value {
    let listed: Value = serde_json::from_str(settings).unwrap_or_default();
    let mut nested = json!({});
    for setting in listed["settings"].as_array().into_iter().flatten() {
        let (Some(key), value) = (setting["key"].as_str(), &setting["value"]) else { continue };
        match key.split_once('.') {
            Some((section, name)) => nested[section][name] = value.clone(),
            None => nested[key] = value.clone(),
        }
    }
    json!({
        "client": client,
        "effective_config": nested,
        "settings": listed["settings"],
    })
}

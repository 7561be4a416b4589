//! The operator page and the JSON behind it: who may ask, and what is answered.
//!
//! Everything here is read from cells of the other rooms through closures that `cli` makes. The
//! one thing that can be changed is the log level. Nothing here holds a payload or a secret: the
//! support archive is put together from these same answers, so it is redacted by construction.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use log::LevelFilter;
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::tar_gz;
use super::log::Logger;
use super::recent::Recent;
use crate::httpd::Exchange;
use crate::secret::Secret;
use crate::unpoisoned::Unpoisoned;
use crate::wire::{CLIENT_NAME, CLIENT_VERSION, json};

/// The page: one file, with its style and its script.
const PAGE: &str = include_str!("page/ui.html");

/// Log streams at once: each holds one of the listener's few connections.
const STREAMS: usize = 4;
/// How often a quiet stream says that it is there (R-21).
const PING: Duration = Duration::from_secs(15);
/// Records that go into one piece of a stream.
const STREAM_BATCH: usize = 256;
/// Most records in one answer, and how many without a wish (R-10).
const LOGS_MAX: usize = 5_000;
const LOGS_DEFAULT: usize = 200;
/// Commands in one answer without a wish.
const COMMANDS_DEFAULT: usize = 100;
/// Minutes of log in the support archive (B-6).
const EXPORT_DEFAULT: u64 = 30;
const EXPORT_MAX: u64 = 1_440;
/// What is answered on the routes of Harpoon, which this program does not have.
const NO_TARGETS: &str = r#"{"targets":[]}"#;
const NO_CALLS: &str = r#"{"calls":[]}"#;
/// How a record begins that quotes a line of a child's stderr.
const CHILD_LINE: &str = ",\"message\":\"child: ";
/// Longest body that is read, in bytes: `{"level":"debug"}` and some air.
const BODY_MAX: usize = 4_096;

const JSON: &str = "application/json; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// A JSON object, made afresh.
pub type Text = Box<dyn Fn() -> String + Send + Sync>;

/// What the page and its routes answer from.
pub struct Admin {
    /// The log.
    pub logger: &'static Logger,
    /// Commands that are over.
    pub recent: Arc<Recent>,
    /// `/api/status`.
    pub status: Text,
    /// `/api/system`.
    pub system: Text,
    /// `/api/settings`.
    pub settings: Text,
    /// `/api/oauth`.
    pub oauth: Text,
    /// The same without what should not leave this host, for the support archive.
    pub oauth_summary: Text,
    /// `/api/harpoon/status`.
    pub harpoon: String,
    /// Whether peers that are not on this host are answered.
    pub allow_remote: bool,
    /// What a request that changes something must carry.
    pub token: Token,
}

/// The token, if there is one; a reload replaces it.
pub type Token = Arc<Mutex<Option<Secret>>>;

/// The routes.
pub(super) struct Desk {
    admin: Admin,
    configured_host: String,
    policy: String,
    etag: String,
    streams: AtomicUsize,
}

/// What `PUT /api/log-level` takes (G-9).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLevel {
    level: String,
}

impl Desk {
    pub(super) fn new(admin: Admin, configured_host: String) -> Self {
        let policy = format!(
            "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src {}; \
             script-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash_of("<style>", "</style>"),
            hash_of("<script>", "</script>")
        );
        let etag = format!("\"{}\"", &digest(PAGE)[..16]);
        Self { admin, configured_host, policy, etag, streams: AtomicUsize::new(0) }
    }

    /// Ends the log streams.
    pub(super) fn close(&self) {
        self.admin.logger.ring().close();
    }

    /// Answers a request that is for none of the probes. `metrics` makes the metrics page.
    pub(super) fn answer(&self, exchange: Exchange<'_>, metrics: &dyn Fn() -> String) {
        if let Err((status, why)) = self.admit(&exchange) {
            return text(exchange, status, why);
        }
        let head = exchange.head();
        let writes = !matches!(head.method.as_str(), "GET" | "HEAD");
        let path = head.path.clone();
        if path.starts_with("/api/codex/") {
            // There is no assistant here to be asked (operations.md, section 2.5).
            return text(exchange, 503, "codex bridge unavailable\n");
        }
        if path == "/api/log-level" {
            return self.log_level(exchange);
        }
        if writes {
            return respond(
                exchange,
                405,
                PLAIN,
                &[("Allow", "GET, HEAD")],
                "method not allowed\n",
            );
        }
        match path.as_str() {
            "/" | "/ui" | "/ui/" => self.page(exchange),
            "/favicon.ico" => respond(exchange, 204, PLAIN, &[], ""),
            "/api/status" => json(exchange, &(self.admin.status)()),
            "/api/system" => json(exchange, &(self.admin.system)()),
            "/api/settings" => json(exchange, &(self.admin.settings)()),
            "/api/oauth" => json(exchange, &(self.admin.oauth)()),
            "/api/harpoon/status" => json(exchange, &self.admin.harpoon),
            "/api/harpoon/targets" => json(exchange, NO_TARGETS),
            "/api/harpoon/calls" => json(exchange, NO_CALLS),
            "/api/commands" => {
                let limit = number(&exchange, "limit").unwrap_or(COMMANDS_DEFAULT);
                json(exchange, &self.admin.recent.json(limit));
            }
            "/api/logs" => {
                let limit = number(&exchange, "limit").unwrap_or(LOGS_DEFAULT).min(LOGS_MAX);
                let events = self.admin.logger.ring().newest(limit);
                let events: Vec<&str> = events.iter().map(|event| event.json.as_str()).collect();
                json(exchange, &format!("{{\"events\":[{}]}}", events.join(",")));
            }
            "/api/logs/stream" => self.stream(exchange),
            "/api/logs/export" => self.export(exchange, metrics),
            _ => text(exchange, 404, "404 page not found\n"),
        }
    }

    /// Who may ask (L-12, L-15, W-12).
    fn admit(&self, exchange: &Exchange<'_>) -> Result<(), (u16, &'static str)> {
        let head = exchange.head();
        if !self.admin.allow_remote && !exchange.peer().is_local() {
            let why = "admin UI is restricted to loopback; set --allow-remote-ui to override\n";
            return Err((403, why));
        }
        // A name of somebody else's that was pointed to this host (DNS rebinding) is no name of
        // ours; an address can not be pointed anywhere.
        let host = head.host.as_deref().unwrap_or("localhost");
        if !is_own_name(host, &self.configured_host) {
            return Err((403, "this listener is asked by its address or its configured name\n"));
        }
        // The page itself may be linked to: it says nothing, and no other page can frame it.
        if matches!(head.path.as_str(), "/" | "/ui" | "/ui/") {
            return Ok(());
        }
        let site = head.headers.get("Sec-Fetch-Site");
        let ours = |origin: &str| {
            origin.split_once("://").is_some_and(|(_, theirs)| theirs.eq_ignore_ascii_case(host))
        };
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
            || head.headers.get("Origin").is_some_and(|origin| !ours(origin))
        {
            return Err((403, "this request comes from another site\n"));
        }
        Ok(())
    }

    /// Who may change something.
    fn admit_change(&self, exchange: &Exchange<'_>) -> Result<(), (u16, &'static str)> {
        let token = self.admin.token.lock().unpoisoned();
        let Some(token) = &*token else {
            if exchange.peer().is_local() {
                return Ok(());
            }
            return Err((403, "changes from other hosts need a token: set admin_ui.token\n"));
        };
        let given = exchange.head().headers.get("Authorization").unwrap_or_default();
        let given = given.strip_prefix("Bearer ").unwrap_or_default();
        if token.is(given.trim()) {
            return Ok(());
        }
        Err((401, "this change needs `Authorization: Bearer` and the token of admin_ui.token\n"))
    }

    fn page(&self, exchange: Exchange<'_>) {
        let headers = [
            ("Content-Security-Policy", self.policy.as_str()),
            ("Cache-Control", "no-cache"),
            ("ETag", self.etag.as_str()),
            ("Referrer-Policy", "no-referrer"),
            ("X-Frame-Options", "DENY"),
        ];
        if exchange.head().headers.get("If-None-Match") == Some(self.etag.as_str()) {
            return respond(exchange, 304, HTML, &headers, "");
        }
        respond(exchange, 200, HTML, &headers, PAGE);
    }

    /// G-8, G-9.
    fn log_level(&self, mut exchange: Exchange<'_>) {
        match exchange.head().method.as_str() {
            "GET" | "HEAD" => {}
            "PUT" => {
                if let Err((status, why)) = self.admit_change(&exchange) {
                    return text(exchange, status, why);
                }
                let level = exchange
                    .read_body(BODY_MAX)
                    .map_err(|e| (e.status(), e.to_string()))
                    .and_then(|body| wanted_level(&body).map_err(|why| (400, why)));
                match level {
                    Ok(level) => self.admin.logger.set_level(level, "the operator page"),
                    Err((status, why)) => return text(exchange, status, &format!("{why}\n")),
                }
            }
            _ => {
                let allow = [("Allow", "GET, PUT")];
                return respond(exchange, 405, PLAIN, &allow, "method not allowed\n");
            }
        }
        let level = log::max_level().as_str().to_ascii_lowercase();
        let body =
            format!("{{\"level\":\"{level}\",\"supported_levels\":[\"debug\",\"info\",\"warn\"]}}");
        json(exchange, &body);
    }

    /// R-21 to R-24, with W-20: it opens at once, goes on where the client was, and says what was
    /// left out.
    fn stream(&self, exchange: Exchange<'_>) {
        let ring = self.admin.logger.ring();
        let _seat = Seat(&self.streams);
        if self.streams.fetch_add(1, Ordering::SeqCst) >= STREAMS {
            return text(exchange, 503, "too many log streams are open\n");
        }
        let last = exchange.head().headers.get("Last-Event-ID");
        let after = || number(&exchange, "after").map(|number| number as u64);
        let mut seen =
            last.and_then(|id| id.parse().ok()).or_else(after).unwrap_or_else(|| ring.last_seq());
        // Numbers of an earlier process say nothing here.
        seen = seen.min(ring.last_seq());
        let headers = [
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-cache"),
            ("X-Content-Type-Options", "nosniff"),
        ];
        let Ok(mut stream) = exchange.stream(200, &headers) else { return };
        if stream.send(b": open\n\n").is_err() {
            return;
        }
        loop {
            let batch = ring.after(seen, PING, STREAM_BATCH);
            let mut piece = String::new();
            if batch.missed > 0 {
                piece
                    .push_str(&format!("event: dropped\ndata: {{\"count\":{}}}\n\n", batch.missed));
            }
            for event in &batch.events {
                seen = event.seq;
                piece.push_str(&format!("event: log\nid: {}\ndata: {}\n\n", event.seq, event.json));
            }
            if batch.closed {
                let _ = stream.finish(piece.as_bytes());
                return;
            }
            if piece.is_empty() {
                piece.push_str(": ping\n\n");
            }
            if stream.client_gone() || stream.send(piece.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// B-6 to B-9.
    fn export(&self, exchange: Exchange<'_>, metrics: &dyn Fn() -> String) {
        let minutes = number(&exchange, "minutes").map_or(EXPORT_DEFAULT, |n| n as u64);
        let minutes = minutes.min(EXPORT_MAX);
        let now = SystemTime::now();
        let since = now.checked_sub(Duration::from_secs(minutes * 60)).unwrap_or(now);
        let ring = self.admin.logger.ring();
        let events = ring.newest(usize::MAX);
        let kept: Vec<&str> =
            events.iter().filter(|e| e.at >= since).map(|e| e.json.as_str()).collect();
        // What a child prints is not ours to vouch for.
        let kept: Vec<&str> = kept.into_iter().filter(|e| !e.contains(CHILD_LINE)).collect();
        let stamp = |at| crate::wire::time::rfc3339(at);
        let names = [
            "manifest.json",
            "README.txt",
            "tunnel-client.runtime.yaml",
            "tunnel-client.logs.ndjson",
            "tunnel-client.metrics.prom",
            "admin/status.json",
            "admin/system.json",
            "admin/oauth.json",
            "admin/harpoon.json",
            "admin/commands.json",
        ];
        let settings = (self.admin.settings)();
        let metrics = metrics();
        let client = json!({
            "client_name": CLIENT_NAME,
            "semantic_version": env!("CARGO_PKG_VERSION"),
            "version": CLIENT_VERSION,
            "user_agent": format!("{CLIENT_NAME}/{CLIENT_VERSION}"),
        });
        let manifest = json!({
            "generated_at": stamp(now),
            "window_start": stamp(since),
            "window_end": stamp(now),
            "window": format!("{minutes}m0s"),
            "event_count": kept.len(),
            "log_buffer_capacity": ring.capacity(),
            "metrics_bytes": metrics.len(),
            "redacted": true,
            "files": names,
            "runtime": {"client": client},
        });
        let readme = "What mcp-tunnel knows of itself: its settings with their sources, its newest \
                      log records, its metrics, its state, and its last commands.\nIt holds no key, \
                      no token, no header and no payload; of what went through the tunnel it has \
                      the names of methods, MCP servers and their tools.\n";
        let contents = [
            format!("{manifest:#}\n"),
            readme.to_owned(),
            format!("{:#}\n", runtime(client, &settings)),
            kept.iter().map(|line| format!("{line}\n")).collect(),
            metrics,
            (self.admin.status)(),
            (self.admin.system)(),
            (self.admin.oauth_summary)(),
            self.admin.harpoon.clone(),
            self.admin.recent.json(usize::MAX),
        ];
        let files: Vec<(&str, String)> = names.into_iter().zip(contents).collect();
        let archive = tar_gz(&files, now);
        let day = stamp(now).replace(['-', ':'], "");
        let name = format!("tunnel-client-logs-{}Z.tar.gz", &day[..15]);
        let headers = [
            ("Content-Type", "application/gzip"),
            ("Content-Disposition", &format!("attachment; filename=\"{name}\"")),
            ("Cache-Control", "no-store, max-age=0"),
            ("X-Content-Type-Options", "nosniff"),
        ];
        let _ = exchange.respond(200, &headers, &archive);
    }
}

/// `tunnel-client.runtime.yaml` (B-9, B-14), as JSON, which YAML takes: the settings as they are
/// nested in a configuration file, and each with its source.
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

/// A log stream's place, given back when it ends.
struct Seat<'a>(&'a AtomicUsize);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a `Host` names this listener: an address, a name of the loopback, or the name that was
/// configured.
fn is_own_name(host: &str, configured: &str) -> bool {
    let name = super::listener::host_of(host).unwrap_or(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    name == "localhost" || name == configured || name.parse::<IpAddr>().is_ok()
}

fn wanted_level(body: &[u8]) -> Result<LevelFilter, String> {
    let NewLevel { level } =
        serde_json::from_slice(body).map_err(|e| format!("decode request: {e}"))?;
    match level.trim().to_ascii_lowercase().as_str() {
        "debug" => Ok(LevelFilter::Debug),
        "info" => Ok(LevelFilter::Info),
        "warn" => Ok(LevelFilter::Warn),
        _ => Err(format!(
            "unsupported log level {} (expected one of: debug, info, warn)",
            json::quote(&level)
        )),
    }
}

fn number(exchange: &Exchange<'_>, name: &str) -> Option<usize> {
    let query = exchange.query();
    let (_, value) = query.iter().find(|(key, _)| key == name)?;
    value.parse().ok().filter(|n| *n > 0)
}

fn digest(text: &str) -> String {
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()))
}

/// The source expression of the page's one style or script.
fn hash_of(open: &str, close: &str) -> String {
    let inner = PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    format!("'sha256-{}'", digest(inner.map_or("", |(inner, _)| inner)))
}

fn json(exchange: Exchange<'_>, body: &str) {
    // HTML in a text of a remote party's stays text, whatever a browser takes this for (2).
    let safe = body.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    respond(exchange, 200, JSON, &[("Cache-Control", "no-store")], &format!("{safe}\n"));
}

fn text(exchange: Exchange<'_>, status: u16, body: &str) {
    respond(exchange, status, PLAIN, &[], body);
}

fn respond(
    exchange: Exchange<'_>,
    status: u16,
    content_type: &str,
    more: &[(&str, &str)],
    body: &str,
) {
    let mut headers = vec![("Content-Type", content_type), ("X-Content-Type-Options", "nosniff")];
    headers.extend_from_slice(more);
    // A client that has gone is nobody's concern.
    let _ = exchange.respond(status, &headers, body.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // ops W-12
    fn only_addresses_and_own_names_are_answered() {
        for host in ["127.0.0.1:80", "[::1]:80", "localhost", "10.0.0.7:8080", "box:80", "BOX."] {
            assert!(is_own_name(host, "box"), "{host}");
        }
        for host in ["evil.example:80", "localhost.evil.example", "box.evil.example", ""] {
            assert!(!is_own_name(host, "box"), "{host}");
        }
    }

    #[test] // G-9
    fn a_level_is_one_of_three_words() {
        assert_eq!(wanted_level(br#"{"level":" DEBUG "}"#), Ok(LevelFilter::Debug));
        for (body, why) in [
            (r#"{"level":"error"}"#, "expected one of: debug, info, warn"),
            (r#"{"level":"info","x":1}"#, "decode request"),
            (r#"{"level":"info"} x"#, "decode request"),
            ("", "decode request"),
        ] {
            assert!(wanted_level(body.as_bytes()).unwrap_err().contains(why), "{body}");
        }
    }

    #[test] // ops W-17
    fn the_page_is_small_and_names_no_other_host() {
        assert!(PAGE.len() < 60 * 1024, "{}", PAGE.len());
        assert!(!PAGE.replace("http://www.w3.org/2000/svg", "").contains("://"));
        assert_eq!((PAGE.matches("<script").count(), PAGE.matches("<style").count()), (1, 1));
        assert!(!PAGE.contains(" style=") && !PAGE.contains(" onclick="));
    }
}

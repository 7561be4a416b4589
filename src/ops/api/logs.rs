//! The log on the operator page: its level, its newest records, and the stream of new ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::LevelFilter;
use serde::Deserialize;

use super::access::admit_change;
use super::admin::Admin;
use crate::httpd::Exchange;
use crate::ops::answer::{PLAIN, json, number, respond, text};
use crate::wire::json::quote;

/// Log streams at once: each holds one of the listener's few connections.
const STREAMS: usize = 4;
/// How often a quiet stream shows that it is alive (operations-41).
const PING: Duration = Duration::from_secs(15);
/// Most records in one piece of a stream.
const STREAM_BATCH: usize = 256;
/// Most records in one answer, and how many if the client does not say (operations-30).
const LOGS_MAX: usize = 5_000;
const LOGS_DEFAULT: usize = 200;
/// Longest body that is read, in bytes: `{"level":"debug"}` with room to spare.
const BODY_MAX: usize = 4_096;

/// The body of `PUT /api/log-level` (operations-89).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLevel {
    level: String,
}

/// The log streams that are open.
#[derive(Default)]
pub(super) struct Streams(AtomicUsize);

/// One open log stream; dropping it gives its place to another.
struct OpenStream<'a>(&'a AtomicUsize);

impl Streams {
    fn open(&self) -> Option<OpenStream<'_>> {
        let stream = OpenStream(&self.0);
        (self.0.fetch_add(1, Ordering::SeqCst) < STREAMS).then_some(stream)
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `/api/logs`: the newest records.
pub(super) fn newest(admin: &Admin, exchange: Exchange<'_>) {
    let limit = number(&exchange, "limit").unwrap_or(LOGS_DEFAULT).min(LOGS_MAX);
    let events = admin.logger.ring().newest(limit);
    let events: Vec<&str> = events.iter().map(|event| event.json.as_str()).collect();
    json(exchange, &format!("{{\"events\":[{}]}}", events.join(",")));
}

/// `/api/log-level` (operations-88, operations-89).
pub(super) fn level(admin: &Admin, mut exchange: Exchange<'_>) {
    match exchange.head().method.as_str() {
        "GET" | "HEAD" => {}
        "PUT" => {
            if let Err((status, why)) = admit_change(admin, &exchange) {
                return text(exchange, status, why);
            }
            let level = exchange
                .read_body(BODY_MAX)
                .map_err(|e| (e.status(), e.to_string()))
                .and_then(|body| wanted_level(&body).map_err(|why| (400, why)));
            match level {
                Ok(level) => admin.logger.set_level(level, "the operator page"),
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

fn wanted_level(body: &[u8]) -> Result<LevelFilter, String> {
    let NewLevel { level } =
        serde_json::from_slice(body).map_err(|e| format!("decode request: {e}"))?;
    match level.trim().to_ascii_lowercase().as_str() {
        "debug" => Ok(LevelFilter::Debug),
        "info" => Ok(LevelFilter::Info),
        "warn" => Ok(LevelFilter::Warn),
        _ => Err(format!(
            "unsupported log level {} (expected one of: debug, info, warn)",
            quote(&level)
        )),
    }
}

/// `/api/logs/stream` (operations-41 to operations-44, operations-220): opens at once, continues
/// after the last record that the client has seen, and says how many records it missed.
pub(super) fn stream(admin: &Admin, streams: &Streams, exchange: Exchange<'_>) {
    let Some(_open) = streams.open() else {
        return text(exchange, 503, "too many log streams are open\n");
    };
    let ring = admin.logger.ring();
    let last = exchange.head().headers.get("Last-Event-ID");
    let after = || number(&exchange, "after").map(|number| number as u64);
    let mut seen =
        last.and_then(|id| id.parse().ok()).or_else(after).unwrap_or_else(|| ring.last_seq());
    // A number that an earlier process gave may be higher than any of ours.
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
            piece.push_str(&format!("event: dropped\ndata: {{\"count\":{}}}\n\n", batch.missed));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // operations-89
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
}

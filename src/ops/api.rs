//! The operator page and the JSON behind it: the routes, and the page itself.
//!
//! Every answer is read from the cells of other rooms through closures that `daemon` makes. The
//! only thing that can be changed here is the log level. No answer holds a payload or a secret.

mod access;
mod admin;
mod export;
mod logs;
mod tar;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use self::access::is_page;
pub use self::admin::{Admin, Text, Token};
use self::logs::Streams;
use super::answer::{PLAIN, json, number, respond, text};
use crate::httpd::Exchange;

/// The page: one file, with its style and its script.
const PAGE: &str = include_str!("page/ui.html");

/// Commands in one answer if the client does not say how many.
const COMMANDS_DEFAULT: usize = 100;
/// Answers on the routes of Harpoon, which this program does not have.
const NO_TARGETS: &str = r#"{"targets":[]}"#;
const NO_CALLS: &str = r#"{"calls":[]}"#;

const HTML: &str = "text/html; charset=utf-8";

/// The routes.
pub(super) struct AdminApi {
    admin: Admin,
    /// The host in `health.listen_addr`, in lower case; empty if there is none.
    configured_host: String,
    /// The page's `Content-Security-Policy`.
    policy: String,
    etag: String,
    streams: Streams,
}

impl AdminApi {
    pub(super) fn new(admin: Admin, configured_host: String) -> Self {
        let policy = format!(
            "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src {}; \
             script-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash_of("<style>", "</style>"),
            hash_of("<script>", "</script>")
        );
        let etag = format!("\"{}\"", &digest(PAGE)[..16]);
        Self { admin, configured_host, policy, etag, streams: Streams::default() }
    }

    /// Ends the log streams.
    pub(super) fn close(&self) {
        self.admin.logger.ring().close();
    }

    /// Answers every request that is not for a probe. `metrics` makes the page of metrics.
    pub(super) fn answer(&self, exchange: Exchange<'_>, metrics: &dyn Fn() -> String) {
        let admin = &self.admin;
        if let Err((status, why)) = access::admit(admin, &self.configured_host, &exchange) {
            return text(exchange, status, why);
        }
        let head = exchange.head();
        let path = head.path.clone();
        if path.starts_with("/api/codex/") {
            // There is no assistant to ask (operations.md, section 2.5).
            return text(exchange, 503, "codex bridge unavailable\n");
        }
        if path == "/api/log-level" {
            return logs::level(admin, exchange);
        }
        if !matches!(head.method.as_str(), "GET" | "HEAD") {
            let allow = [("Allow", "GET, HEAD")];
            return respond(exchange, 405, PLAIN, &allow, "method not allowed\n");
        }
        match path.as_str() {
            path if is_page(path) => self.page(exchange),
            "/favicon.ico" => respond(exchange, 204, PLAIN, &[], ""),
            "/api/status" => json(exchange, &(admin.status)()),
            "/api/system" => json(exchange, &(admin.system)()),
            "/api/settings" => json(exchange, &(admin.settings)()),
            "/api/oauth" => json(exchange, &(admin.oauth)()),
            "/api/harpoon/status" => json(exchange, &admin.harpoon),
            "/api/harpoon/targets" => json(exchange, NO_TARGETS),
            "/api/harpoon/calls" => json(exchange, NO_CALLS),
            "/api/commands" => {
                let limit = number(&exchange, "limit").unwrap_or(COMMANDS_DEFAULT);
                json(exchange, &admin.recent.json(limit));
            }
            "/api/logs" => logs::newest(admin, exchange),
            "/api/logs/stream" => logs::stream(admin, &self.streams, exchange),
            "/api/logs/export" => export::export(admin, exchange, metrics()),
            _ => text(exchange, 404, "404 page not found\n"),
        }
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
}

fn digest(text: &str) -> String {
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()))
}

/// The source expression of the page's one style or script.
fn hash_of(open: &str, close: &str) -> String {
    let inner = PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    format!("'sha256-{}'", digest(inner.map_or("", |(inner, _)| inner)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // operations-217
    fn the_page_is_small_and_names_no_other_host() {
        assert!(PAGE.len() < 60 * 1024, "{}", PAGE.len());
        assert!(!PAGE.replace("http://www.w3.org/2000/svg", "").contains("://"));
        assert_eq!((PAGE.matches("<script").count(), PAGE.matches("<style").count()), (1, 1));
        assert!(!PAGE.contains(" style=") && !PAGE.contains(" onclick="));
    }
}

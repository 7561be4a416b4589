//! How the health listener and the operator page answer one request.

use crate::httpd::Exchange;

pub(super) const PLAIN: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// Answers with a body of this type and these additional headers.
pub(super) fn respond(
    exchange: Exchange<'_>,
    status: u16,
    content_type: &str,
    more: &[(&str, &str)],
    body: &str,
) {
    let mut headers = vec![("Content-Type", content_type), ("X-Content-Type-Options", "nosniff")];
    headers.extend_from_slice(more);
    // Nobody needs to hear of a client that has gone.
    let _ = exchange.respond(status, &headers, body.as_bytes());
}

/// Answers in plain text.
pub(super) fn text(exchange: Exchange<'_>, status: u16, body: &str) {
    respond(exchange, status, PLAIN, &[], body);
}

/// Answers with JSON that is read afresh each time. HTML in a text that came from elsewhere stays
/// text, whatever type a browser takes this for (operations.md, 2).
pub(super) fn json(exchange: Exchange<'_>, body: &str) {
    let safe = body.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    respond(exchange, 200, JSON, &[("Cache-Control", "no-store")], &format!("{safe}\n"));
}

/// A number above 0 in the query; `None` if it is missing or malformed.
pub(super) fn number(exchange: &Exchange<'_>, name: &str) -> Option<usize> {
    let query = exchange.query();
    let (_, value) = query.iter().find(|(key, _)| key == name)?;
    value.parse().ok().filter(|n| *n > 0)
}

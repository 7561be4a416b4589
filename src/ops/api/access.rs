//! Access rules of the operator page: for reading, and for changing something there.

use super::admin::Admin;
use crate::httpd::Exchange;
use crate::ops::host::is_own_name;
use crate::unpoisoned::Unpoisoned;

/// Why a request is refused: a status and a line of text.
type Refusal = (u16, &'static str);

/// Checks that the client has access at all (operations-12, operations-15, operations-212).
/// `configured` is the listener's own name.
pub(super) fn admit(
    admin: &Admin,
    configured: &str,
    exchange: &Exchange<'_>,
) -> Result<(), Refusal> {
    let head = exchange.head();
    if !admin.allow_remote && !exchange.peer().is_local() {
        let why = "admin UI is restricted to loopback; set --allow-remote-ui to override\n";
        return Err((403, why));
    }
    let host = head.host.as_deref().unwrap_or("localhost");
    if !is_own_name(host, configured) {
        return Err((403, "this listener is asked by its address or its configured name\n"));
    }
    // Other sites may link to the page itself: it says nothing, and they cannot frame it.
    if is_page(&head.path) {
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

/// True if this is the path of the page itself.
pub(super) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/ui" | "/ui/")
}

/// Checks that the client may change something.
pub(super) fn admit_change(admin: &Admin, exchange: &Exchange<'_>) -> Result<(), Refusal> {
    let token = admin.token.lock().unpoisoned();
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

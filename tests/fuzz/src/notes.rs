//! What a control plane says of a failure: it becomes one line of a bounded length, whatever it
//! is; and how long it asks to wait.

use std::time::{Duration, SystemTime};

use mcp_tunnel::control_plane::error_body::StatusError;
use mcp_tunnel::control_plane::retry::{Backoff, retry_after};

/// More than a code, a text and a hint can take together.
const LINE_MAX: usize = 4 * 1024;

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for status in [302, 400, 401, 403, 404, 429, 500, 503] {
        let line = StatusError::of(status, None, &text).to_string();
        assert!(line.starts_with(&format!("status {status}")));
        assert!(line.len() <= LINE_MAX, "{} bytes", line.len());
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let asked = retry_after(&text, now);
    assert!(asked.is_none_or(|wait| wait <= Duration::from_secs(60)));
    let mut backoff = Backoff::default();
    for _ in 0..4 {
        let wait = backoff.next(asked);
        assert!(wait >= asked.unwrap_or_default() && wait <= Duration::from_secs(60));
    }
}
